//! The worker: REAPI CAS, ByteStream, Execution and Capabilities over the sandbox, and the executor that the daemon embeds.

#![forbid(unsafe_code)]

mod blob_client;
mod blobs;
mod cluster;
mod engine;
mod executor;
mod fetch;
mod host_root;
mod load;
mod operations;
mod publish;
mod register;
mod service;
mod substitute;
mod verdict;
mod worker;

pub use blob_client::{BATCH_BLOBS_MAX, BATCH_BYTES_MAX, BlobClient, MESSAGE_MAX, Outgoing, pieces};
pub use cluster::{Cluster, ClusterSettings};
pub use engine::{Engine, Job};
pub use executor::{
    CancelSwitch, ExecuteError, Executed, Executor, ExecutorConfig, Prepared, STDIN_PROPERTY, TERMINAL_PROPERTY, essence,
};
pub use host_root::{HostRoot, Seen};
pub use kiln_proto::grant::GRANT_METADATA as GRANT_KEY;
pub use kiln_proto::home::home;
pub use operations::name as operation_name;
pub use substitute::family_name;
pub use verdict::{Doubt, Verdict, judge, judge_plain};
pub use worker::{Settings, Worker};
