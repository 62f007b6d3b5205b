//! Everything that can happen to the task that decides: one closed list. Data only.

use crate::farm::error::CallError;
use crate::farm::stats::Stats;
use kiln_proto::v1;
use kiln_sched::RequestId;
use tokio::sync::oneshot;

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, CallError>>;

/// A call for grants, with its caller.
#[derive(Debug)]
pub(crate) struct AcquireCall {
    pub(crate) request: RequestId,
    pub(crate) user: String,
    pub(crate) client: String,
    pub(crate) message: v1::AcquireRequest,
    pub(crate) reply: Reply<v1::AcquireResponse>,
}

/// A right to read and write a worker's blobs, not to run anything.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    pub(crate) token: Vec<u8>,
}

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    Register { message: v1::RegisterRequest, reply: Reply<v1::RegisterResponse> },
    Heartbeat { message: v1::HeartbeatRequest, reply: Reply<v1::HeartbeatResponse> },
    Goodbye { message: v1::GoodbyeRequest, reply: Reply<v1::GoodbyeResponse> },
    Acquire(Box<AcquireCall>),
    Renew { user: String, client: String, leases: Vec<String>, reply: Reply<v1::RenewResponse> },
    Release { user: String, client: String, released: Vec<v1::Released>, reply: Reply<v1::ReleaseResponse> },
    Status { brief: bool, reply: Reply<v1::StatusResponse> },
    Pass { worker: String, reply: Reply<Pass> },
    Nodes { reply: Reply<v1::Nodes> },
    Stats { reply: Reply<Stats> },
    Stop,
}
