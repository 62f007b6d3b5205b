//! A worker that lies: it takes grants and blobs like any other and answers each compile with the lie that it was given.
//! Registered with a farm's scheduler, on a Unix socket. Runs nothing.

use futures::Stream;
use kiln_proto::bytestream::byte_stream_server::{ByteStream, ByteStreamServer};
use kiln_proto::bytestream::{
    QueryWriteStatusRequest, QueryWriteStatusResponse, ReadRequest, ReadResponse, WriteRequest, WriteResponse,
};
use kiln_proto::longrunning::Operation;
use kiln_proto::reapi::content_addressable_storage_server::{ContentAddressableStorage, ContentAddressableStorageServer};
use kiln_proto::reapi::execution_server::{Execution, ExecutionServer};
use kiln_proto::reapi::{
    ActionResult, BatchReadBlobsRequest, BatchReadBlobsResponse, BatchUpdateBlobsRequest, BatchUpdateBlobsResponse, ExecuteRequest,
    ExecuteResponse, FindMissingBlobsRequest, FindMissingBlobsResponse, GetChunkMappingRequest, GetChunkMappingResponse,
    GetTreeRequest, GetTreeResponse, RegisterChunkMappingRequest, RegisterChunkMappingResponse, SpliceBlobRequest,
    SpliceBlobResponse, SplitBlobRequest, SplitBlobResponse, WaitExecutionRequest, batch_update_blobs_response,
};
use kiln_proto::status::status;
use kiln_proto::v1::scheduler_client::SchedulerClient;
use kiln_proto::v1::{HeartbeatRequest, Load, NodeKind, RegisterRequest};
use kiln_proto::{PROTOCOL, protobuf};
use kiln_rpc::{Address, Auth, Channel, Credentials, Dial, Listener, ServeOptions};
use prost::Message as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status, Streaming};

/// What it answers.
pub(crate) type Lie = fn() -> ExecuteResponse;

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A running liar; it ends with the runtime.
pub(crate) struct Liar {
    lie: Mutex<Lie>,
    told: AtomicU32,
    address: Address,
    scheduler: Address,
    registered: Mutex<Option<JoinHandle<()>>>,
}

impl Liar {
    /// Serves at `address`, for the farm of `scheduler`. Needs a running tokio.
    pub(crate) async fn start(address: Address, scheduler: Address) -> Arc<Liar> {
        let liar = Arc::new(Liar {
            lie: Mutex::new(ExecuteResponse::default),
            told: AtomicU32::new(0),
            address: address.clone(),
            scheduler,
            registered: Mutex::default(),
        });
        let routes = Routes::new(ExecutionServer::from_arc(Arc::clone(&liar)))
            .add_service(ContentAddressableStorageServer::from_arc(Arc::clone(&liar)))
            .add_service(ByteStreamServer::from_arc(Arc::clone(&liar)));
        let listener = Listener::bind(&address, None, false).await.expect("a listener");
        let options = ServeOptions::new("liar", Arc::new(Auth::new(Arc::new(Credentials::none()))));
        tokio::spawn(kiln_rpc::serve(vec![listener], routes, options, std::future::pending()));
        liar
    }

    /// Tells this lie from now on, as a new worker that nobody has seen lie yet.
    pub(crate) fn tell(&self, name: &str, lie: Lie) {
        *self.lie.lock().expect("a lock") = lie;
        let task = tokio::spawn(keep_registered(name.to_owned(), self.address.clone(), self.scheduler.clone()));
        if let Some(before) = self.registered.lock().expect("a lock").replace(task) {
            before.abort();
        }
    }

    /// Registers as one of another version of kiln would; why it was turned away.
    pub(crate) async fn register_as(&self, name: &str, protocol: u32) -> Status {
        let answer = scheduler_at(&self.scheduler).register(about(name.to_owned(), &self.address, protocol)).await;
        answer.expect_err("another version is turned away")
    }

    /// How often it lied.
    pub(crate) fn told(&self) -> u32 {
        self.told.load(Ordering::SeqCst)
    }
}

/// What it tells of itself when it registers.
fn about(name: String, address: &Address, protocol: u32) -> RegisterRequest {
    RegisterRequest {
        name,
        address: address.to_string(),
        kind: NodeKind::Worker as i32,
        boot_id: "one".to_owned(),
        machine: std::env::consts::ARCH.to_owned(),
        slots: 4,
        cores: 4,
        kiln_root: "chroot/1".to_owned(),
        protocol,
        ..RegisterRequest::default()
    }
}

fn scheduler_at(address: &Address) -> SchedulerClient<Channel> {
    SchedulerClient::new(kiln_rpc::connect(address, &Dial::default()).expect("a channel"))
}

async fn keep_registered(name: String, address: Address, scheduler: Address) {
    let mut client = scheduler_at(&scheduler);
    let registered = client.register(about(name, &address, PROTOCOL)).await.expect("a registration").into_inner();
    for sequence in 1.. {
        let load = Load { memory_available_bytes: 8 << 30, memory_total_bytes: 8 << 30, ..Load::default() };
        let beat = HeartbeatRequest { worker_id: registered.worker_id.clone(), sequence, load: Some(load), ..Default::default() };
        if client.heartbeat(beat).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The answer of a finished run with this result.
pub(crate) fn finished(result: ActionResult) -> ExecuteResponse {
    ExecuteResponse { result: Some(result), status: Some(status(Code::Ok, "")), ..ExecuteResponse::default() }
}

#[tonic::async_trait]
impl Execution for Liar {
    type ExecuteStream = Messages<Operation>;
    type WaitExecutionStream = Messages<Operation>;

    async fn execute(&self, _: Request<ExecuteRequest>) -> Result<Response<Self::ExecuteStream>, Status> {
        self.told.fetch_add(1, Ordering::SeqCst);
        let response = self.lie.lock().expect("a lock")();
        let type_url = "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteResponse".to_owned();
        let any = protobuf::Any { type_url, value: response.encode_to_vec() };
        let result = Some(kiln_proto::longrunning::operation::Result::Response(any));
        let operation = Operation { name: "a/lie".to_owned(), done: true, result, ..Operation::default() };
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(operation)]))))
    }

    async fn wait_execution(&self, _: Request<WaitExecutionRequest>) -> Result<Response<Self::WaitExecutionStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Takes every blob and has none.
#[tonic::async_trait]
impl ContentAddressableStorage for Liar {
    type GetTreeStream = Messages<GetTreeResponse>;

    async fn find_missing_blobs(&self, _: Request<FindMissingBlobsRequest>) -> Result<Response<FindMissingBlobsResponse>, Status> {
        Ok(Response::new(FindMissingBlobsResponse::default()))
    }

    async fn batch_update_blobs(
        &self,
        request: Request<BatchUpdateBlobsRequest>,
    ) -> Result<Response<BatchUpdateBlobsResponse>, Status> {
        let taken = request
            .into_inner()
            .requests
            .into_iter()
            .map(|blob| batch_update_blobs_response::Response { digest: blob.digest, status: Some(status(Code::Ok, "")) });
        Ok(Response::new(BatchUpdateBlobsResponse { responses: taken.collect() }))
    }

    async fn batch_read_blobs(&self, _: Request<BatchReadBlobsRequest>) -> Result<Response<BatchReadBlobsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_tree(&self, _: Request<GetTreeRequest>) -> Result<Response<Self::GetTreeStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn split_blob(&self, _: Request<SplitBlobRequest>) -> Result<Response<SplitBlobResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn splice_blob(&self, _: Request<SpliceBlobRequest>) -> Result<Response<SpliceBlobResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type GetChunkMappingStream = Messages<GetChunkMappingResponse>;

    async fn get_chunk_mapping(&self, _: Request<GetChunkMappingRequest>) -> Result<Response<Self::GetChunkMappingStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn register_chunk_mapping(
        &self,
        _: Request<Streaming<RegisterChunkMappingRequest>>,
    ) -> Result<Response<RegisterChunkMappingResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Takes every blob; whatever is read is endless.
#[tonic::async_trait]
impl ByteStream for Liar {
    type ReadStream = Messages<ReadResponse>;

    async fn read(&self, _: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let data = vec![0x55; 1 << 20];
        Ok(Response::new(Box::pin(futures::stream::repeat_with(move || Ok(ReadResponse { data: data.clone() })))))
    }

    async fn write(&self, request: Request<Streaming<WriteRequest>>) -> Result<Response<WriteResponse>, Status> {
        let (mut stream, mut committed_size) = (request.into_inner(), 0);
        while let Some(part) = stream.message().await? {
            committed_size += i64::try_from(part.data.len()).unwrap_or(0);
        }
        Ok(Response::new(WriteResponse { committed_size }))
    }

    async fn query_write_status(&self, _: Request<QueryWriteStatusRequest>) -> Result<Response<QueryWriteStatusResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
