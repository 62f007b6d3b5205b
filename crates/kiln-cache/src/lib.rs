//! The cache service: REAPI CAS, ActionCache and ByteStream for the cluster.
