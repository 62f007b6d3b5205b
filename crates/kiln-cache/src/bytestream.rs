//! ByteStream: blobs of any size, in pieces, plain or in zstd.

use crate::blobs::Content;
use crate::compress::Packer;
use crate::context::CasContext;
use crate::failure::{blocking, from_store};
use crate::limits::{CHUNK_BYTES, UPLOAD_IDLE_MAX, UPLOADS_MAX};
use crate::reader::{Reader, message_stream};
use crate::resource::{Compressor, Resource, ResourceError, read_name, write_name};
use crate::uploader::{Upload, take};
use kiln_cas::BlobStore as _;
use kiln_proto::bytestream::byte_stream_server::{ByteStream, ByteStreamServer};
use kiln_proto::bytestream::{
    QueryWriteStatusRequest, QueryWriteStatusResponse, ReadRequest, ReadResponse, WriteRequest, WriteResponse,
};
use kiln_rpc::limits::MESSAGE_MAX;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

/// Serves a store's blobs as streams.
#[derive(Clone)]
pub struct ByteStreamService {
    context: CasContext,
    uploads: Arc<Semaphore>,
    idle_max: Duration,
}

impl ByteStreamService {
    /// A service over what `context` holds.
    pub fn new(context: CasContext) -> ByteStreamService {
        ByteStreamService { context, uploads: Arc::new(Semaphore::new(UPLOADS_MAX)), idle_max: UPLOAD_IDLE_MAX }
    }

    /// The same, giving silent uploads up after `idle_max`.
    #[must_use]
    pub fn with_idle_max(mut self, idle_max: Duration) -> ByteStreamService {
        self.idle_max = idle_max;
        self
    }

    /// The service with its message bounds, ready to be routed to.
    pub fn into_server(self) -> ByteStreamServer<ByteStreamService> {
        ByteStreamServer::new(self).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX)
    }

    fn resource(&self, parsed: Result<Resource, ResourceError>) -> Result<Resource, Status> {
        let resource = parsed.map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.context.instances.get(&resource.instance)?;
        Ok(resource)
    }

    async fn next(&self, messages: &mut Streaming<WriteRequest>) -> Result<WriteRequest, Status> {
        match tokio::time::timeout(self.idle_max, messages.message()).await {
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None)) => Err(Status::invalid_argument("the stream ended without finish_write")),
            Ok(Err(status)) => Err(status),
            Err(_) => Err(Status::deadline_exceeded("the upload fell silent")),
        }
    }

    async fn upload(&self, messages: &mut Streaming<WriteRequest>) -> Result<i64, Status> {
        let mut message = self.next(messages).await?;
        let resource = self.resource(write_name(&message.resource_name))?;
        self.context.takes(&resource.digest)?;
        let disk = self.context.blobs.disk().clone();
        if let (disk, digest) = (disk.clone(), resource.digest)
            && blocking(move || disk.contains(&digest)).await?
        {
            // Somebody else was first; the caller need not send the rest.
            return Ok(committed(&resource));
        }
        let Ok(_permit) = self.uploads.acquire().await else { return Err(Status::unavailable("shutting down")) };
        let name = message.resource_name.clone();
        let started = resource.clone();
        let mut upload = blocking(move || Upload::start(&disk, &name, &started)).await??;
        loop {
            upload = match take(upload, message).await? {
                Ok(received) => return Ok(received),
                Err(upload) => upload,
            };
            message = self.next(messages).await?;
        }
    }

    fn open(&self, resource: &Resource, request: &ReadRequest) -> Result<Reader, Status> {
        let digest = resource.digest;
        let offset = u64::try_from(request.read_offset).ok().filter(|&offset| offset <= digest.size);
        let offset = offset.ok_or_else(|| Status::out_of_range(format!("read_offset is not between 0 and {}", digest.size)))?;
        let limit = u64::try_from(request.read_limit).map_err(|_| Status::invalid_argument("read_limit is negative"))?;
        let packer = match resource.compressor {
            Compressor::Identity => None,
            Compressor::Zstd if limit != 0 => return Err(Status::invalid_argument("read_limit on a compressed read")),
            Compressor::Zstd => Some(Packer::new().map_err(|_| Status::internal("no compressor"))?),
        };
        let content = match self.context.blobs.cached(&digest) {
            Some(bytes) => Some(Content::Bytes(bytes)),
            None => self.context.blobs.open(&digest, CHUNK_BYTES as u64).map_err(|error| from_store(&error))?,
        };
        let content = content.ok_or_else(|| Status::not_found(format!("{digest} is not here")))?;
        let end = if limit == 0 { digest.size } else { offset.saturating_add(limit).min(digest.size) };
        Ok(Reader { content, digest, offset, end, packer })
    }
}

/// What a complete blob that was here already answers.
fn committed(resource: &Resource) -> i64 {
    match resource.compressor {
        Compressor::Identity => resource.digest.size as i64,
        Compressor::Zstd => -1,
    }
}

#[tonic::async_trait]
impl ByteStream for ByteStreamService {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<ReadResponse, Status>> + Send>>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        self.context.reader(&request)?;
        let request = request.into_inner();
        let resource = self.resource(read_name(&request.resource_name))?;
        let reader = match self.context.blobs.cached(&resource.digest) {
            Some(_) => self.open(&resource, &request)?,
            None => {
                let service = self.clone();
                blocking(move || service.open(&resource, &request)).await??
            }
        };
        Ok(Response::new(Box::pin(message_stream(reader)) as Self::ReadStream))
    }

    async fn write(&self, request: Request<Streaming<WriteRequest>>) -> Result<Response<WriteResponse>, Status> {
        self.context.writer(&request)?;
        let committed_size = self.upload(&mut request.into_inner()).await?;
        Ok(Response::new(WriteResponse { committed_size }))
    }

    async fn query_write_status(
        &self,
        request: Request<QueryWriteStatusRequest>,
    ) -> Result<Response<QueryWriteStatusResponse>, Status> {
        self.context.writer(&request)?;
        let resource = self.resource(write_name(&request.get_ref().resource_name))?;
        let (disk, digest) = (self.context.blobs.disk().clone(), resource.digest);
        // An upload that broke off has left nothing: it starts again at 0.
        let complete = blocking(move || disk.contains(&digest)).await?;
        let committed_size = if complete { digest.size as i64 } else { 0 };
        Ok(Response::new(QueryWriteStatusResponse { committed_size, complete }))
    }
}
