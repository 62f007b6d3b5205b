//! The scheduler service: kiln-sched behind gRPC, and the front door for other REAPI clients.
