//! The worker service: REAPI CAS, ByteStream, Execution and Capabilities over the sandbox.
