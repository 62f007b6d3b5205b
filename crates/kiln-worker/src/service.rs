//! REAPI Execution, Operations and Capabilities of one worker.

use futures::Stream;
use kiln_cas::{Action, BlobStore as _, Command, Digest, HOST_ROOT_PROPERTY, ROOT_PROPERTY};
use kiln_proto::convert::digest_from_wire;
use kiln_proto::grant::{GrantBook, GrantError, attached};
use kiln_proto::longrunning::operations_server::Operations as OperationsService;
use kiln_proto::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, ListOperationsResponse, Operation,
    WaitOperationRequest,
};
use kiln_proto::protobuf::Empty;
use kiln_proto::reapi::execution_server::Execution;
use kiln_proto::reapi::execution_stage::Value as Stage;
use kiln_proto::reapi::{ExecuteRequest, ExecuteResponse, WaitExecutionRequest};
use kiln_proto::status::{missing_blobs, operation, status};
use kiln_proto::v1::GrantToken;
use kiln_rpc::{Role, caller};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use crate::engine::Engine;
use crate::executor::{ExecuteError, Executed, store_error};
use crate::fetch::Fetcher;
use crate::host_root::Seen;
use crate::operations::{self, LEASE_DAEMON, LEASE_OTHER, Operations, Watcher};
use crate::publish::Publisher;
use crate::substitute::Offers;

/// Most bytes of outputs inside an answer, as the caller asks for: a gRPC message of 4 MiB less room for messages.
const INLINE_MAX: u64 = 512 << 10;

/// Rounds of laying out and fetching: directories hide what is below them, so a cold tree needs one a level.
const FETCH_ROUNDS: usize = 64;

/// Jobs waiting beside those that run, as a share of the slots: what hides one job's transfer.
const QUEUE_PER_SLOT: usize = 1;

/// Counters of one worker.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) executed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) doubtful: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) missing: AtomicU64,
    pub(crate) joined: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) cpu_us: AtomicU64,
    pub(crate) running: AtomicU32,
    pub(crate) queued: AtomicU32,
}

/// What all services of a worker share.
pub(crate) struct Shared {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) publisher: Publisher,
    pub(crate) operations: Operations,
    pub(crate) grants: Mutex<GrantBook>,
    pub(crate) started: Instant,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) slots_count: usize,
    pub(crate) admitted: AtomicU32,
    /// Cancelled when this worker is to take no more work.
    pub(crate) leaving: CancellationToken,
    /// Callers with a user's credential may execute without a grant: a worker that has no scheduler.
    pub(crate) standalone: bool,
    /// Names of this worker's registrations, by scheduler.
    pub(crate) registrations: Mutex<BTreeMap<String, String>>,
    pub(crate) unwell: Mutex<Option<(Instant, String)>>,
    /// The last job whose end was not believed.
    pub(crate) doubted: Mutex<Option<(Instant, String)>>,
    /// Compilers of this machine that clients may use.
    pub(crate) offers: Offers,
    pub(crate) counters: Counters,
}

/// A clonable handle that implements the services.
#[derive(Clone)]
pub(crate) struct Service(pub(crate) Arc<Shared>);

type OperationStream = Pin<Box<dyn Stream<Item = Result<Operation, Status>> + Send>>;

/// What a caller may do.
struct Leave {
    lease: String,
    token: Option<Vec<u8>>,
    attempt: u32,
}

impl Service {
    fn admit<T>(&self, request: &Request<T>) -> Result<Leave, Status> {
        let token = attached(request.metadata()).map_err(grant_status)?;
        if let Some(token) = token {
            let now = self.0.started.elapsed();
            let grant = self.book().present(now, &token).map_err(grant_status)?;
            return Ok(Leave { lease: grant.lease, token: Some(token), attempt: grant.attempt });
        }
        let caller = caller(request)?;
        let may =
            matches!(caller.role, Role::Local | Role::Worker | Role::Admin) || (self.0.standalone && caller.role == Role::User);
        match may {
            true => Ok(Leave { lease: fresh_name(), token: None, attempt: 0 }),
            false => Err(Status::permission_denied("this worker takes work from holders of a grant; ask the scheduler")),
        }
    }

    pub(crate) fn book(&self) -> std::sync::MutexGuard<'_, GrantBook> {
        self.0.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self, request: Request<ExecuteRequest>) -> Result<Watcher, Status> {
        let leave = self.admit(&request)?;
        let request = request.into_inner();
        let digest =
            digest_from_wire(request.action_digest.as_ref()).map_err(|error| Status::invalid_argument(error.to_string()))?;
        if leave.attempt == 0
            && let Some(watcher) = self.0.operations.join(&digest)
        {
            self.0.counters.joined.fetch_add(1, Ordering::Relaxed);
            return Ok(watcher);
        }
        if self.0.leaving.is_cancelled() {
            return Err(Status::resource_exhausted("this worker is leaving"));
        }
        let place = Place::take(&self.0).ok_or_else(|| {
            self.0.counters.rejected.fetch_add(1, Ordering::Relaxed);
            Status::resource_exhausted("all slots and the queue of this worker are taken")
        })?;
        let name = operations::name(&request.instance_name, &leave.lease);
        let abandoned_after = if leave.token.is_some() { LEASE_DAEMON } else { LEASE_OTHER };
        // After MISSING the same grant comes again: the old operation is over, and its name free.
        if self.0.operations.get(&name).is_some_and(|old| old.is_done()) {
            self.0.operations.forget(&name);
        }
        let watcher = self.0.operations.start(name, digest, abandoned_after);
        let watcher = watcher.ok_or_else(|| Status::resource_exhausted("too many operations, or this grant runs already"))?;
        let run = Run { service: self.clone(), request, leave, operation: Arc::clone(&watcher.operation), _place: place };
        tokio::spawn(run.drive());
        Ok(watcher)
    }
}

/// One admitted job: a slot or a place in the queue.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Option<Place> {
        let bound = (shared.slots_count * (1 + QUEUE_PER_SLOT)) as u32;
        let taken = shared.admitted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| (count < bound).then_some(count + 1));
        taken.ok().map(|_| Place(Arc::clone(shared)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.admitted.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whose result a good one is.
#[derive(Clone, Copy)]
enum Reuse {
    /// The caller's alone.
    Caller,
    /// Everyone's.
    Everyone,
    /// Everyone's, if this machine's own files were these until the run had ended.
    WhileHostIs(Seen),
}

struct Run {
    service: Service,
    request: ExecuteRequest,
    leave: Leave,
    operation: Arc<operations::Operation>,
    _place: Place,
}

impl Run {
    async fn drive(self) {
        let shared = Arc::clone(&self.service.0);
        let response = match self.execute().await {
            Ok((executed, reuse)) => self.answer(executed, reuse).await,
            Err(error) => {
                self.count(&error);
                failed(error)
            }
        };
        self.operation.set(Stage::Completed, Some(response));
        shared.operations.finished(&self.operation);
        let name = self.operation.name.clone();
        tokio::spawn(async move {
            tokio::time::sleep(operations::KEEP_FINISHED).await;
            if shared.operations.get(&name).is_some_and(|operation| operation.is_done()) {
                shared.operations.forget(&name);
            }
        });
    }

    fn count(&self, error: &ExecuteError) {
        let counters = &self.service.0.counters;
        let counter = match error {
            ExecuteError::Missing(_) => &counters.missing,
            ExecuteError::Doubtful(_) => &counters.doubtful,
            ExecuteError::Cancelled => &counters.cancelled,
            ExecuteError::HandedBack => &counters.rejected,
            ExecuteError::Invalid(_) | ExecuteError::Elsewhere(_) | ExecuteError::Machine(_) | ExecuteError::Full(_) => {
                &counters.failed
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let ExecuteError::Full(why) | ExecuteError::Machine(why) = error {
            let mut unwell = self.service.0.unwell.lock().unwrap_or_else(PoisonError::into_inner);
            *unwell = Some((Instant::now(), why.clone()));
            tracing::warn!("{why}");
        }
        if let ExecuteError::Doubtful(doubt) = error {
            tracing::info!("{doubt}");
            let doubted = &self.service.0.doubted;
            *doubted.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), doubt.to_string()));
        }
    }

    async fn execute(&self) -> Result<(Executed, Reuse), ExecuteError> {
        let shared = &self.service.0;
        let (action, command) = self.messages().await?;
        if self.leave.attempt == 0 && action.is_cacheable() {
            shared.operations.offer(&self.operation);
        }
        let reuse = self.reuse(&action).await?;
        let mut rounds = 0;
        let job = loop {
            let ready = self.blocking({
                let (engine, action, command) = (Arc::clone(&shared.engine), action.clone(), command.clone());
                move || engine.ready(&action, &command)
            });
            match ready.await {
                Err(ExecuteError::Missing(missing)) => {
                    rounds += 1;
                    let nowhere = shared.fetcher.fetch(&missing).await.map_err(store_error)?;
                    if !nowhere.is_empty() || rounds > FETCH_ROUNDS {
                        return Err(ExecuteError::Missing(nowhere));
                    }
                }
                other => break other?,
            }
        };
        let grant = self.spend()?;
        shared.counters.queued.fetch_add(1, Ordering::Relaxed);
        let slot = tokio::select! {
            biased;
            () = shared.leaving.cancelled() => None,
            slot = Arc::clone(&shared.slots).acquire_owned() => Some(slot),
        };
        shared.counters.queued.fetch_sub(1, Ordering::Relaxed);
        let slot = slot.ok_or(ExecuteError::HandedBack)?.map_err(|error| ExecuteError::Machine(error.to_string()))?;
        self.operation.set(Stage::Executing, None);
        shared.counters.running.fetch_add(1, Ordering::Relaxed);
        let executed = self.blocking({
            let cancel = self.operation.cancel.clone();
            move || job(&cancel)
        });
        let executed = executed.await;
        shared.counters.running.fetch_sub(1, Ordering::Relaxed);
        drop(slot);
        if let Some(grant) = grant {
            self.service.book().ended(shared.started.elapsed(), &grant);
        }
        Ok((executed?, reuse))
    }

    /// Whose result this run's will be, once it is good.
    async fn reuse(&self, action: &Action) -> Result<Reuse, ExecuteError> {
        if !action.is_cacheable() {
            return Ok(Reuse::Caller);
        }
        if action.property(ROOT_PROPERTY).is_some() {
            return Ok(Reuse::Everyone);
        }
        let named = action.property(HOST_ROOT_PROPERTY).unwrap_or_default().to_owned();
        let engine = Arc::clone(&self.service.0.engine);
        let look = move || {
            let root = engine.host_root().ok_or_else(|| ExecuteError::Elsewhere("this worker shows all its files".to_owned()))?;
            root.look().map_err(|error| ExecuteError::Elsewhere(format!("this worker's own files: {error}")))
        };
        let seen = self.blocking(look).await?;
        match seen.digest.hex() == named {
            true => Ok(Reuse::WhileHostIs(seen)),
            false => {
                Err(ExecuteError::Elsewhere(format!("{HOST_ROOT_PROPERTY} of this worker is {}, not {named:?}", seen.digest.hex())))
            }
        }
    }

    /// Uses the grant up: from here on it starts no other run.
    fn spend(&self) -> Result<Option<GrantToken>, ExecuteError> {
        let Some(token) = &self.leave.token else { return Ok(None) };
        let now = self.service.0.started.elapsed();
        self.service.book().spend(now, token).map(Some).map_err(|error| ExecuteError::Invalid(error.to_string()))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> Result<T, ExecuteError> + Send + 'static,
    ) -> Result<T, ExecuteError> {
        let joined = tokio::task::spawn_blocking(act).await;
        joined.unwrap_or_else(|error| Err(ExecuteError::Machine(format!("a job's thread ended early: {error}"))))
    }

    async fn messages(&self) -> Result<(Action, Command), ExecuteError> {
        let invalid = |error: kiln_cas::DecodeError| ExecuteError::Invalid(error.to_string());
        let mut action = Action::decode(&self.message(&self.operation.action).await?).map_err(invalid)?;
        let command = Command::decode(&self.message(&action.command_digest).await?).map_err(invalid)?;
        if action.platform.is_empty() {
            // Where clients of REAPI before 2.2 have it.
            action.platform.clone_from(&command.platform);
        }
        if command.arguments.is_empty() {
            return Err(ExecuteError::Invalid("the command has no arguments".to_owned()));
        }
        Ok((action, command))
    }

    async fn message(&self, digest: &Digest) -> Result<Arc<[u8]>, ExecuteError> {
        let shared = &self.service.0;
        if digest.size > kiln_cas::MESSAGE_SIZE_MAX as u64 {
            return Err(ExecuteError::Invalid(format!("a message of {} bytes", digest.size)));
        }
        for fetched in [false, true] {
            if fetched {
                shared.fetcher.fetch(&[*digest]).await.map_err(store_error)?;
            }
            let bytes = shared.engine.store().get(digest).map_err(|error| ExecuteError::Machine(error.to_string()))?;
            if let Some(bytes) = bytes {
                return Ok(bytes);
            }
        }
        Err(ExecuteError::Missing(vec![*digest]))
    }

    async fn answer(&self, executed: Executed, reuse: Reuse) -> ExecuteResponse {
        let shared = &self.service.0;
        shared.counters.executed.fetch_add(1, Ordering::Relaxed);
        shared.counters.cpu_us.fetch_add(executed.cpu_us, Ordering::Relaxed);
        if executed.result.exit_code == 0 {
            let (action, result) = (self.operation.action, || executed.result.clone());
            match reuse {
                Reuse::Caller => {}
                Reuse::Everyone => shared.publisher.publish(action, result()),
                Reuse::WhileHostIs(seen) => shared.publisher.publish_if_still(seen, action, result()),
            }
        }
        let mut result = executed.result;
        if self.request.inline_stdout {
            result.stdout_raw = executed.stdout;
        }
        if self.request.inline_stderr {
            result.stderr_raw = executed.stderr;
        }
        let wanted: BTreeSet<&str> = self.request.inline_output_files.iter().map(String::as_str).collect();
        let mut room = INLINE_MAX;
        for file in &mut result.output_files {
            let Ok(digest) = digest_from_wire(file.digest.as_ref()) else { continue };
            if wanted.contains(file.path.as_str()) && digest.size <= room {
                let store = shared.engine.store().clone();
                let read = tokio::task::spawn_blocking(move || store.get(&digest)).await;
                if let Ok(Ok(Some(bytes))) = read {
                    room -= digest.size;
                    file.contents = bytes.to_vec();
                }
            }
        }
        ExecuteResponse { result: Some(result), status: Some(status(Code::Ok, "")), ..Default::default() }
    }
}

fn failed(error: ExecuteError) -> ExecuteResponse {
    use kiln_sandbox::Limit;
    let status = match &error {
        ExecuteError::Missing(missing) => missing_blobs(missing),
        ExecuteError::Invalid(why) => status(Code::InvalidArgument, why.clone()),
        ExecuteError::Elsewhere(why) => status(Code::FailedPrecondition, why.clone()),
        ExecuteError::Cancelled => status(Code::Cancelled, "cancelled"),
        ExecuteError::HandedBack => status(Code::ResourceExhausted, error.to_string()),
        ExecuteError::Doubtful(crate::Doubt::Limit(Limit::Time)) => status(Code::DeadlineExceeded, error.to_string()),
        ExecuteError::Doubtful(_) => status(Code::Aborted, error.to_string()),
        ExecuteError::Machine(why) => status(Code::Internal, why.clone()),
        ExecuteError::Full(why) => status(Code::Unavailable, why.clone()),
    };
    ExecuteResponse { status: Some(status), ..Default::default() }
}

fn grant_status(error: GrantError) -> Status {
    Status::unauthenticated(error.to_string())
}

pub(crate) fn fresh_name() -> String {
    let mut bytes = [0u8; 16];
    let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The run's state now, then each change, and the end of the stream with the end of the run.
fn follow(watcher: Watcher) -> OperationStream {
    Box::pin(futures::stream::unfold(Some((watcher, true)), |state| async move {
        let (mut watcher, first) = state?;
        if !first {
            watcher.changes.changed().await.ok()?;
        }
        let now = watcher.changes.borrow_and_update().clone();
        let told = operation(&watcher.operation.name, now.stage, &watcher.operation.action, now.response.as_deref());
        let next = now.response.is_none().then_some((watcher, false));
        Some((Ok(told), next))
    }))
}

#[tonic::async_trait]
impl Execution for Service {
    type ExecuteStream = OperationStream;
    type WaitExecutionStream = OperationStream;

    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<OperationStream>, Status> {
        Ok(Response::new(follow(self.start(request).await?)))
    }

    async fn wait_execution(&self, request: Request<WaitExecutionRequest>) -> Result<Response<OperationStream>, Status> {
        self.admit(&request)?;
        let name = request.into_inner().name;
        let watcher = self.0.operations.watch(&name).ok_or_else(|| Status::not_found(format!("no operation {name:?}")))?;
        Ok(Response::new(follow(watcher)))
    }
}

#[tonic::async_trait]
impl OperationsService for Service {
    async fn list_operations(&self, _: Request<ListOperationsRequest>) -> Result<Response<ListOperationsResponse>, Status> {
        Err(Status::unimplemented("operations are named by those who started them"))
    }

    async fn get_operation(&self, request: Request<GetOperationRequest>) -> Result<Response<Operation>, Status> {
        self.admit(&request)?;
        let name = request.into_inner().name;
        let found = self.0.operations.get(&name).ok_or_else(|| Status::not_found(format!("no operation {name:?}")))?;
        let state = found.state();
        Ok(Response::new(operation(&found.name, state.stage, &found.action, state.response.as_deref())))
    }

    async fn delete_operation(&self, _: Request<DeleteOperationRequest>) -> Result<Response<Empty>, Status> {
        Err(Status::unimplemented("finished operations are forgotten by themselves"))
    }

    async fn cancel_operation(&self, request: Request<CancelOperationRequest>) -> Result<Response<Empty>, Status> {
        let leave = self.admit(&request)?;
        let name = request.into_inner().name;
        if leave.token.is_some() && !name.ends_with(&leave.lease) {
            return Err(Status::permission_denied("that operation belongs to another grant"));
        }
        if let Some(found) = self.0.operations.get(&name) {
            found.cancel_unless_joined();
        }
        Ok(Response::new(Empty {}))
    }

    async fn wait_operation(&self, _: Request<WaitOperationRequest>) -> Result<Response<Operation>, Status> {
        Err(Status::unimplemented("use WaitExecution"))
    }
}
