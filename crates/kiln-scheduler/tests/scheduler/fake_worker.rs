//! A worker that runs no processes: real blob services over a real store, grants checked, commands of one word.

use crate::support::{Served, beat, loopback, token_of, worker};
use kiln_cache::{Access, Blobs, ByteStreamService, CasContext, CasService, Instance, Instances};
use kiln_cas::{Action, BlobStore as _, Command, Digest};
use kiln_proto::convert::{digest_from_wire, digest_to_wire};
use kiln_proto::grant::{GRANT_METADATA, GrantBook, GrantKey, attached};
use kiln_proto::longrunning::operations_server::{Operations, OperationsServer};
use kiln_proto::longrunning::{self, CancelOperationRequest, GetOperationRequest, ListOperationsRequest};
use kiln_proto::protobuf::Empty;
use kiln_proto::reapi;
use kiln_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use kiln_proto::reapi::execution_server::{Execution, ExecutionServer};
use kiln_proto::reapi::execution_stage::Value as Stage;
use kiln_proto::status::{missing_blobs, operation, status};
use kiln_proto::v1;
use kiln_rpc::{Auth, Credentials, Dial, Extra, Peer, Role};
use kiln_scheduler::Farm;
use kiln_store::{DiskStore, StoreConfig};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_stream::{Stream, StreamExt as _};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

/// What a worker does with actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Works,
    /// Answers each Execute with this code.
    Broken(Code),
}

pub(crate) struct Inner {
    pub(crate) name: String,
    mode: Mutex<Mode>,
    store: DiskStore,
    book: Mutex<GrantBook>,
    started: Instant,
    farm: Farm,
    pub(crate) executed: AtomicU32,
    pub(crate) cancelled: Notify,
    /// Told when a command `hang` has begun.
    pub(crate) hanging: Notify,
    /// Lets commands `hang` end.
    pub(crate) go: Notify,
}

#[derive(Clone)]
pub(crate) struct FakeWorker(pub(crate) Arc<Inner>);

type OperationStream = Pin<Box<dyn Stream<Item = Result<longrunning::Operation, Status>> + Send>>;

struct Holders(Arc<Inner>);

impl Extra for Holders {
    fn check(&self, headers: &http::HeaderMap, _: &Peer) -> Option<String> {
        let mut shown = http::HeaderMap::new();
        shown.insert(GRANT_METADATA, headers.get(GRANT_METADATA)?.clone());
        let token = attached(&tonic::metadata::MetadataMap::from_headers(shown)).ok()??;
        let now = self.0.started.elapsed();
        Some(self.0.book.lock().unwrap().present(now, &token).ok()?.user)
    }
}

impl FakeWorker {
    /// Starts one, registers it and has it report.
    pub(crate) async fn start(name: &str, slots: u32, farm: &Farm, dir: &std::path::Path) -> (FakeWorker, Served) {
        let inner = Inner {
            name: name.to_owned(),
            mode: Mutex::new(Mode::Works),
            store: DiskStore::open(StoreConfig::new(dir.join(name), 1 << 30)).unwrap(),
            book: Mutex::default(),
            started: Instant::now(),
            farm: farm.clone(),
            executed: AtomicU32::new(0),
            cancelled: Notify::new(),
            hanging: Notify::new(),
            go: Notify::new(),
        };
        let fake = FakeWorker(Arc::new(inner));
        let instances = Instances::new([("main".to_owned(), Instance::default())]);
        let context = || CasContext::new(Blobs::new(fake.0.store.clone()), instances.clone(), Access::worker());
        let routes = Routes::new(CasService::new(context()).into_server())
            .add_service(ByteStreamService::new(context()).into_server())
            .add_service(ExecutionServer::new(fake.clone()))
            .add_service(OperationsServer::new(fake.clone()));
        let credentials = Credentials::from_tokens([(Role::Worker, "w".to_owned(), token_of("w"))]);
        let auth = Auth::new(Arc::new(credentials)).with_extra(Arc::new(Holders(Arc::clone(&fake.0))));
        let served = Served::with_auth("worker", &loopback(), routes, auth).await;
        fake.register(slots, &served).await;
        (fake, served)
    }

    async fn register(&self, slots: u32, served: &Served) {
        let inner = &self.0;
        let about = v1::RegisterRequest { address: served.address.to_string(), ..worker(&inner.name, slots) };
        let registered = inner.farm.register(about).await.unwrap();
        let key = GrantKey::from_wire(&registered.grant_key_id, &registered.grant_key).unwrap();
        inner.book.lock().unwrap().learn(key, registered.worker_id.clone());
        inner.farm.heartbeat(beat(&registered.worker_id, 1, &[])).await.unwrap();
        let farm = inner.farm.clone();
        tokio::spawn(async move {
            for sequence in 2.. {
                tokio::time::sleep(Duration::from_millis(500)).await;
                if farm.heartbeat(beat(&registered.worker_id, sequence, &[])).await.is_err() {
                    return;
                }
            }
        });
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.0.mode.lock().unwrap() = mode;
    }

    /// Number of actions it ran.
    pub(crate) fn ran(&self) -> u32 {
        self.0.executed.load(Ordering::SeqCst)
    }

    /// A blob from its own store, else from the farm's nodes as a real worker asks them.
    async fn blob(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        if let Some(bytes) = self.0.store.get(digest).unwrap() {
            return Some(bytes);
        }
        for node in self.0.farm.nodes().await.unwrap().nodes {
            let dial = Dial { token: Some(token_of("w")), ..Dial::default() };
            let channel = kiln_rpc::connect(&node.address.parse().unwrap(), &dial).unwrap();
            let message = reapi::BatchReadBlobsRequest {
                instance_name: "main".to_owned(),
                digests: vec![digest_to_wire(digest)],
                ..Default::default()
            };
            let answer = ContentAddressableStorageClient::new(channel).batch_read_blobs(message).await;
            let found = answer.ok().and_then(|answer| answer.into_inner().responses.into_iter().next());
            if let Some(found) = found.filter(|found| digest.matches(&found.data)) {
                self.0.store.put(digest, &found.data).unwrap();
                return Some(found.data.into());
            }
        }
        None
    }

    fn keep(&self, bytes: &[u8]) -> reapi::Digest {
        let digest = Digest::of(bytes);
        self.0.store.put(&digest, bytes).unwrap();
        digest_to_wire(&digest)
    }

    async fn run(&self, action: &Digest) -> reapi::ExecuteResponse {
        let missing = |digest: &Digest| reapi::ExecuteResponse { status: Some(missing_blobs(&[*digest])), ..Default::default() };
        let Some(bytes) = self.blob(action).await else { return missing(action) };
        let decoded = Action::decode(&bytes).unwrap();
        for input in [&decoded.input_root_digest, &decoded.command_digest] {
            if self.blob(input).await.is_none() {
                return missing(input);
            }
        }
        let command = Command::decode(&self.blob(&decoded.command_digest).await.unwrap()).unwrap();
        self.0.executed.fetch_add(1, Ordering::SeqCst);
        let words: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
        let mut result = reapi::ActionResult::default();
        match words[..] {
            ["echo", text] => {
                let digest = self.keep(text.as_bytes());
                result.output_files.push(reapi::OutputFile { path: "out".to_owned(), digest: Some(digest), ..Default::default() });
            }
            ["fail", text] => {
                result.exit_code = 1;
                result.stderr_digest = Some(self.keep(text.as_bytes()));
            }
            ["hang", ..] => {
                self.0.hanging.notify_one();
                self.0.go.notified().await;
            }
            _ => panic!("an unknown command: {words:?}"),
        }
        reapi::ExecuteResponse { result: Some(result), status: Some(status(Code::Ok, "")), ..Default::default() }
    }
}

#[tonic::async_trait]
impl Execution for FakeWorker {
    type ExecuteStream = OperationStream;
    type WaitExecutionStream = OperationStream;

    async fn execute(&self, request: Request<reapi::ExecuteRequest>) -> Result<Response<OperationStream>, Status> {
        let mode = *self.0.mode.lock().unwrap();
        if let Mode::Broken(code) = mode {
            return Err(Status::new(code, "broken"));
        }
        let token = attached(request.metadata()).unwrap().ok_or_else(|| Status::permission_denied("no grant"))?;
        let now = self.0.started.elapsed();
        let grant = self.0.book.lock().unwrap().spend(now, &token);
        let grant = grant.map_err(|error| Status::unauthenticated(error.to_string()))?;
        assert_eq!(request.get_ref().instance_name, "main");
        let action = digest_from_wire(request.get_ref().action_digest.as_ref()).unwrap();
        let name = format!("main/operations/{}", grant.lease);
        let begun = tokio_stream::once(Ok(operation(&name, Stage::Executing, &action, None)));
        let fake = self.clone();
        let ended = futures::stream::once(async move {
            let response = fake.run(&action).await;
            fake.0.book.lock().unwrap().ended(fake.0.started.elapsed(), &grant);
            Ok(operation(&name, Stage::Completed, &action, Some(&response)))
        });
        Ok(Response::new(Box::pin(begun.chain(ended))))
    }

    async fn wait_execution(&self, _: Request<reapi::WaitExecutionRequest>) -> Result<Response<OperationStream>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}

#[tonic::async_trait]
impl Operations for FakeWorker {
    async fn list_operations(
        &self,
        _: Request<ListOperationsRequest>,
    ) -> Result<Response<longrunning::ListOperationsResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn get_operation(&self, _: Request<GetOperationRequest>) -> Result<Response<longrunning::Operation>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn delete_operation(&self, _: Request<longrunning::DeleteOperationRequest>) -> Result<Response<Empty>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn cancel_operation(&self, request: Request<CancelOperationRequest>) -> Result<Response<Empty>, Status> {
        assert!(request.get_ref().name.starts_with("main/operations/"));
        self.0.cancelled.notify_one();
        Ok(Response::new(Empty {}))
    }

    async fn wait_operation(
        &self,
        _: Request<longrunning::WaitOperationRequest>,
    ) -> Result<Response<longrunning::Operation>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}
