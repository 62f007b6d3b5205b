//! Keeps a cache known to one scheduler: register, a heartbeat a second, again when forgotten. Knows no blob.

use std::time::Duration;

use kiln_proto::v1::HeartbeatRequest;
use kiln_proto::v1::NodeKind;
use kiln_proto::v1::RegisterRequest;
use kiln_proto::v1::scheduler_client::SchedulerClient;
use kiln_rpc::Address;
use kiln_rpc::Channel;
use kiln_rpc::Dial;
use tonic::Code;
use tonic::Status;

use super::VERSION;

/// Longest wait for an answer: the next heartbeat is due.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Heartbeats are this far apart at least and at most, whatever a scheduler asks for; milliseconds.
const HEARTBEAT_MS: (u32, u32) = (100, 5000);
/// Heartbeats without an answer before the scheduler is taken for another.
const FAILURES_MAX: u32 = 3;

/// What schedulers are told of a cache.
#[derive(Debug, Clone)]
pub(crate) struct Announced {
    pub(crate) name: String,
    pub(crate) address: Address,
}

/// Stays registered for ever; dropped to end.
pub(crate) async fn keep_announced(scheduler: Address, dial: Dial, announced: Announced) {
    let channel = match kiln_rpc::connect(&scheduler, &dial) {
        Ok(channel) => channel,
        Err(error) => {
            tracing::error!("scheduler {scheduler}: {error}");
            return;
        }
    };
    let mut client = SchedulerClient::new(channel);
    let mut told = false;
    loop {
        let status = match register(&mut client, &announced).await {
            Ok((id, period)) => {
                tracing::info!("registered with {scheduler} as {}", announced.name);
                told = false;
                beat(&mut client, id, period).await
            }
            Err(status) => status,
        };
        // Once for each time it goes: a scheduler that is away for a night is one line.
        if !std::mem::replace(&mut told, true) {
            tracing::warn!("scheduler {scheduler}: {}", status.message());
        }
        tokio::time::sleep(kiln_rpc::retry_after(&status)).await;
    }
}

async fn register(client: &mut SchedulerClient<Channel>, announced: &Announced) -> Result<(String, Duration), Status> {
    let request = RegisterRequest {
        name: announced.name.clone(),
        address: announced.address.to_string(),
        kind: NodeKind::Cache as i32,
        version: VERSION.to_owned(),
        boot_id: std::process::id().to_string(),
        machine: std::env::consts::ARCH.to_owned(),
        protocol: kiln_proto::PROTOCOL,
        substitutes: Vec::new(),
        ..RegisterRequest::default()
    };
    let answer = in_time(client.register(request)).await?;
    let period = answer.heartbeat_ms.clamp(HEARTBEAT_MS.0, HEARTBEAT_MS.1);
    Ok((answer.worker_id, Duration::from_millis(period.into())))
}

/// Heartbeats until the scheduler has forgotten this cache, or does not answer.
async fn beat(client: &mut SchedulerClient<Channel>, worker_id: String, period: Duration) -> Status {
    let mut every = tokio::time::interval(period);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut failures, mut sequence) = (0, 0);
    loop {
        every.tick().await;
        sequence += 1;
        let request = HeartbeatRequest { worker_id: worker_id.clone(), sequence, ..HeartbeatRequest::default() };
        match in_time(client.heartbeat(request)).await {
            Ok(_) => failures = 0,
            Err(status) if status.code() == Code::NotFound => return status,
            Err(status) => {
                failures += 1;
                if failures >= FAILURES_MAX {
                    return status;
                }
            }
        }
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
    let answer = tokio::time::timeout(ANSWER_WAIT, answer).await;
    answer.map_err(|_| Status::deadline_exceeded("no answer"))?.map(tonic::Response::into_inner)
}
