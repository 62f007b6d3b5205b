//! One execution of the front door: cache, grant, worker, another worker if that one fails. Knows no other execution.

use crate::front::operations::{Operation, Operations};
use crate::front::peers::{Peer, hop};
use crate::front::{Front, MAIN};
use crate::limits::{ACTION_BYTES_MAX, ATTEMPTS_MAX, FRONT_WAIT_MAX, REJECTIONS_MAX, RUN_SILENCE_MAX};
use kiln_cas::{Action, Command, Digest, ROOT_PROPERTY};
use kiln_proto::convert::{digest_to_wire, result_digests};
use kiln_proto::longrunning::CancelOperationRequest;
use kiln_proto::reapi;
use kiln_proto::reapi::execution_stage::Value as Stage;
use kiln_proto::status::{missing_blobs, missing_in, response_of, status};
use kiln_proto::v1;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::{Code, Status};

/// How often the lease of a run is renewed: twice may fail within a lease.
const RENEW: Duration = Duration::from_secs(1);
/// Longest wait of one request for a grant; then it is made anew.
const ACQUIRE_WAIT_MS: u32 = 30_000;
/// Names this process's own client in the farm, apart from all daemons.
const CLIENT: &str = "@front";

/// An execution on its way.
pub(crate) struct Run {
    front: Front,
    user: String,
    message: reapi::ExecuteRequest,
    operation: Arc<Operation>,
}

/// How an attempt ended that gave no final answer.
enum Setback {
    /// The worker was full.
    Rejected,
    /// The action names other files than that worker's own.
    Elsewhere(Status),
    /// The worker failed; what it or the connection said.
    Failed(Status),
    /// The job's end is not believed; another worker may do better.
    Doubtful(Status),
}

/// Returns a lease when the run ends, however it ends, and cancels what runs under it.
struct Held {
    front: Front,
    user: String,
    lease: String,
    peer: Peer,
    started: Instant,
    /// The worker's name for the run, once it has told.
    running: Option<String>,
    outcome: v1::Outcome,
    detail: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (front, user, peer) = (self.front.clone(), self.user.clone(), self.peer.clone());
        let running = self.running.take();
        let released = v1::Released {
            lease: std::mem::take(&mut self.lease),
            outcome: self.outcome as i32,
            run_ms: u32::try_from(self.started.elapsed().as_millis()).unwrap_or(u32::MAX),
            detail: std::mem::take(&mut self.detail),
            ..Default::default()
        };
        runtime.spawn(async move {
            if let Some(name) = running
                && let Err(status) = hop(peer.operations().cancel_operation(peer.request(CancelOperationRequest { name }))).await
            {
                tracing::debug!("run on {} not cancelled: {}", peer.name, status.message());
            }
            if let Err(error) = front.shared().farm.release(&user, CLIENT, vec![released]).await {
                tracing::debug!("lease not returned: {error}");
            }
        });
    }
}

fn failed(status: Status) -> reapi::ExecuteResponse {
    let status = kiln_proto::status::status(status.code(), status.message());
    reapi::ExecuteResponse { status: Some(status), ..Default::default() }
}

impl Run {
    pub(crate) fn new(front: Front, user: String, message: reapi::ExecuteRequest, operation: Arc<Operation>) -> Run {
        Run { front, user, message, operation }
    }

    /// Runs to the end and tells it.
    pub(crate) async fn drive(self) {
        let shared = Arc::clone(self.front.shared());
        let operation = Arc::clone(&self.operation);
        let response = tokio::select! {
            response = self.execute() => response.unwrap_or_else(failed),
            () = operation.given_up() => failed(Status::cancelled("cancelled")),
        };
        operation.set(Stage::Completed, Some(response));
        Operations::finished(shared, operation);
    }

    async fn execute(&self) -> Result<reapi::ExecuteResponse, Status> {
        let digest = self.operation.action;
        if !self.message.skip_cache_lookup
            && let Ok(result) = self.cached(&digest).await
        {
            let ok = Some(status(Code::Ok, ""));
            return Ok(reapi::ExecuteResponse { result: Some(result), cached_result: true, status: ok, ..Default::default() });
        }
        let action = match self.action(digest).await? {
            Ok(action) => action,
            Err(missing) => return Ok(reapi::ExecuteResponse { status: Some(missing_blobs(&[missing])), ..Default::default() }),
        };
        if action.is_cacheable() {
            self.front.shared().operations.offer(&self.operation);
        }
        self.operation.set(Stage::Queued, None);
        self.attempts(&action).await
    }

    /// The action with its platform; or which blob is missing.
    async fn action(&self, digest: Digest) -> Result<Result<Action, Digest>, Status> {
        let invalid = |digest: Digest, error| Status::invalid_argument(format!("{digest} is no action or command: {error}"));
        let Some(bytes) = self.message_of(digest).await? else { return Ok(Err(digest)) };
        let mut action = Action::decode(&bytes).map_err(|error| invalid(digest, error))?;
        if action.platform.is_empty() {
            // Clients of REAPI before 2.2 have it in the command.
            let digest = action.command_digest;
            let Some(bytes) = self.message_of(digest).await? else { return Ok(Err(digest)) };
            action.platform = Command::decode(&bytes).map_err(|error| invalid(digest, error))?.platform;
        }
        Ok(Ok(action))
    }

    async fn message_of(&self, digest: Digest) -> Result<Option<Vec<u8>>, Status> {
        if digest.size > ACTION_BYTES_MAX {
            return Err(Status::invalid_argument(format!("an action or command of {} bytes", digest.size)));
        }
        self.front.small_blob(MAIN, &digest).await
    }

    async fn cached(&self, digest: &Digest) -> Result<reapi::ActionResult, Status> {
        let message = reapi::GetActionResultRequest {
            instance_name: MAIN.to_owned(),
            action_digest: Some(digest_to_wire(digest)),
            inline_stdout: self.message.inline_stdout,
            inline_stderr: self.message.inline_stderr,
            inline_output_files: self.message.inline_output_files.clone(),
            ..Default::default()
        };
        self.front.look_up(message).await
    }

    /// Tries workers until one gives an answer.
    async fn attempts(&self, action: &Action) -> Result<reapi::ExecuteResponse, Status> {
        let deadline = Instant::now() + FRONT_WAIT_MAX;
        let (mut attempt, mut rejections, mut avoid) = (0, 0, Vec::new());
        let mut last = None;
        loop {
            let grant = match self.grant(action, attempt, &avoid, deadline).await {
                Ok(grant) => grant,
                // What a worker said tells more than that no other is left.
                Err(status) => return Err(last.unwrap_or(status)),
            };
            let worker = grant.worker_name.clone();
            match self.attempt(grant).await {
                Ok(response) => return Ok(response),
                Err(Setback::Rejected) => {
                    rejections += 1;
                    if rejections > REJECTIONS_MAX {
                        return Err(Status::resource_exhausted("every worker with a free slot turned the action away"));
                    }
                    // The farm takes it for full until it reports again.
                }
                // Each such worker is avoided from now on, so that this ends.
                Err(Setback::Elsewhere(status)) => {
                    avoid.push(worker);
                    last = Some(status);
                }
                Err(Setback::Failed(status) | Setback::Doubtful(status)) => {
                    attempt += 1;
                    tracing::info!("{} on {worker}: {}", self.operation.name, status.message());
                    if attempt >= ATTEMPTS_MAX {
                        return Err(status);
                    }
                    avoid.push(worker);
                    last = Some(status);
                }
            }
            self.operation.set(Stage::Queued, None);
        }
    }

    async fn grant(&self, action: &Action, attempt: u32, avoid: &[String], deadline: Instant) -> Result<v1::Grant, Status> {
        loop {
            let message = v1::AcquireRequest {
                machine: action.property("ISA").map(machine).unwrap_or_default().to_owned(),
                kiln_root: action.property(ROOT_PROPERTY).unwrap_or_default().to_owned(),
                requests: vec![v1::GrantRequest {
                    action: if !action.is_cacheable() { String::new() } else { self.operation.action.to_string() },
                    attempt,
                    ..Default::default()
                }],
                wait_ms: ACQUIRE_WAIT_MS,
                avoid: avoid.to_vec(),
                instance: MAIN.to_owned(),
                ..Default::default()
            };
            let response = self.front.shared().farm.acquire(&self.user, CLIENT, message).await?;
            let refusal = response.refusal();
            if let Some(grant) = response.grants.into_iter().next() {
                return Ok(grant);
            }
            match refusal {
                v1::Refusal::UnknownToolchain => {
                    return Err(Status::failed_precondition("no worker of the farm can run actions of this platform"));
                }
                v1::Refusal::NoWorkers => return Err(Status::unavailable("no worker takes work now")),
                v1::Refusal::None | v1::Refusal::Full if Instant::now() >= deadline => {
                    return Err(Status::resource_exhausted(format!("the farm was full for {FRONT_WAIT_MAX:?}")));
                }
                v1::Refusal::None | v1::Refusal::Full => {}
            }
        }
    }

    /// One run on one worker.
    async fn attempt(&self, grant: v1::Grant) -> Result<reapi::ExecuteResponse, Setback> {
        let peers = &self.front.shared().peers;
        let peer = peers.granted(&grant.worker_name, &grant.worker_address, &grant.tls_name, &grant.token);
        let peer = peer.map_err(Setback::Failed)?;
        let mut held = Held {
            front: self.front.clone(),
            user: self.user.clone(),
            lease: grant.lease.clone(),
            peer,
            started: Instant::now(),
            running: None,
            outcome: v1::Outcome::Cancelled,
            detail: String::new(),
        };
        let ended = tokio::select! {
            ended = self.watch(&mut held.running, held.peer.clone()) => ended,
            status = self.keep(&grant.lease) => Err(status),
        };
        let judged = judge(ended, &grant.worker_name);
        (held.outcome, held.detail) = match &judged {
            Ok(response) => (outcome_of(response), String::new()),
            Err(Setback::Rejected) => (v1::Outcome::Rejected, String::new()),
            Err(Setback::Elsewhere(_)) => (v1::Outcome::Unused, String::new()),
            Err(Setback::Doubtful(status)) => (v1::Outcome::JobFailed, status.message().to_owned()),
            Err(Setback::Failed(status)) => (v1::Outcome::WorkerFailed, status.message().to_owned()),
        };
        if judged.is_ok() {
            // It ended by itself: there is nothing to cancel.
            held.running = None;
        }
        if let Ok(response) = &judged
            && let Some(result) = &response.result
            && let Ok(digests) = result_digests(result)
        {
            self.front.shared().outputs.note(&grant.worker_name, digests);
        }
        judged
    }

    /// Follows the run on the worker to its end.
    async fn watch(&self, running: &mut Option<String>, peer: Peer) -> Result<reapi::ExecuteResponse, Status> {
        let answer = hop(peer.execution().execute(peer.request(self.message.clone()))).await?;
        let mut stream = answer.into_inner();
        let silent = |_| Status::unavailable(format!("the worker said nothing for {RUN_SILENCE_MAX:?}"));
        while let Some(message) = tokio::time::timeout(RUN_SILENCE_MAX, stream.message()).await.map_err(silent)?? {
            if let Some(response) = response_of(&message).map_err(Status::internal)? {
                return Ok(response);
            }
            running.get_or_insert(message.name.clone());
            if stage(&message) == Some(Stage::Executing) {
                self.operation.set(Stage::Executing, None);
            }
        }
        Err(Status::unavailable("the worker ended the stream before the run"))
    }

    /// Renews the lease; completes when its worker is given up.
    async fn keep(&self, lease: &str) -> Status {
        let mut every = tokio::time::interval(RENEW);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let renewed = self.front.shared().farm.renew(&self.user, CLIENT, vec![lease.to_owned()]).await;
            if renewed.is_ok_and(|renewed| !renewed.lost.is_empty()) {
                return Status::unavailable("the worker fell silent");
            }
        }
    }
}

/// REAPI's names for processors, as `uname` has them.
fn machine(isa: &str) -> &str {
    match isa {
        "x86-64" => "x86_64",
        "arm-a64" => "aarch64",
        other => other,
    }
}

fn stage(message: &kiln_proto::longrunning::Operation) -> Option<Stage> {
    use prost::Message as _;
    let metadata = reapi::ExecuteOperationMetadata::decode(&message.metadata.as_ref()?.value[..]).ok()?;
    Stage::try_from(metadata.stage).ok()
}

fn outcome_of(response: &reapi::ExecuteResponse) -> v1::Outcome {
    let code = response.status.as_ref().map_or(0, |status| status.code);
    match (Code::from_i32(code), &response.result) {
        (Code::Ok, Some(result)) if result.exit_code == 0 => v1::Outcome::Ok,
        (Code::FailedPrecondition, _) => v1::Outcome::Unused,
        _ => v1::Outcome::JobFailed,
    }
}

/// Whether an answer is for the caller, or another worker is to try.
fn judge(ended: Result<reapi::ExecuteResponse, Status>, worker: &str) -> Result<reapi::ExecuteResponse, Setback> {
    let response = match ended {
        Ok(response) => response,
        Err(status) => failed(status),
    };
    let status = response.status.clone().unwrap_or_default();
    let said = || Status::new(Code::from_i32(status.code), format!("{worker}: {}", status.message));
    match Code::from_i32(status.code) {
        Code::Ok if response.result.is_none() => Err(Setback::Failed(Status::internal(format!("{worker} gave no result")))),
        Code::Ok | Code::DeadlineExceeded | Code::InvalidArgument => Ok(response),
        Code::FailedPrecondition if !missing_in(&status).is_empty() => Ok(response),
        Code::FailedPrecondition => Err(Setback::Elsewhere(said())),
        Code::ResourceExhausted => Err(Setback::Rejected),
        Code::Aborted => Err(Setback::Doubtful(said())),
        // That this scheduler's own grant is not accepted is no concern of the caller's.
        Code::Unauthenticated | Code::PermissionDenied => Err(Setback::Failed(Status::unavailable(said().message().to_owned()))),
        _ => Err(Setback::Failed(said())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_for_the_caller_and_failures_for_another_worker() {
        let ended = |code| Ok(reapi::ExecuteResponse { status: Some(status(code, "x")), ..Default::default() });
        let result = Some(reapi::ActionResult { exit_code: 1, ..Default::default() });
        let ok = reapi::ExecuteResponse { result, status: Some(status(Code::Ok, "")), ..Default::default() };
        assert!(judge(Ok(ok.clone()), "w").is_ok());
        assert_eq!(outcome_of(&ok), v1::Outcome::JobFailed);
        assert!(matches!(judge(ended(Code::Ok), "w"), Err(Setback::Failed(_))), "without a result");
        assert!(judge(ended(Code::DeadlineExceeded), "w").is_ok());
        assert!(judge(ended(Code::InvalidArgument), "w").is_ok());
        assert!(matches!(judge(ended(Code::FailedPrecondition), "w"), Err(Setback::Elsewhere(_))), "nothing is missing");
        let missing = reapi::ExecuteResponse { status: Some(missing_blobs(&[Digest::of(b"x")])), ..Default::default() };
        assert!(judge(Ok(missing), "w").is_ok());
        assert!(matches!(judge(ended(Code::ResourceExhausted), "w"), Err(Setback::Rejected)));
        assert!(matches!(judge(ended(Code::Aborted), "w"), Err(Setback::Doubtful(_))));
        for code in [Code::Internal, Code::Unavailable, Code::Unknown, Code::NotFound, Code::Cancelled] {
            assert!(matches!(judge(Err(Status::new(code, "x")), "w"), Err(Setback::Failed(_))), "{code:?}");
        }
        let denied = judge(Err(Status::unauthenticated("no")), "w");
        assert!(matches!(denied, Err(Setback::Failed(status)) if status.code() == Code::Unavailable));
    }
}
