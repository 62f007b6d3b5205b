//! ContentAddressableStorage: what is missing, small blobs in batches, trees. Large blobs go by ByteStream.

use crate::compress::{pack, unpack};
use crate::context::{CasContext, digest};
use crate::failure::{blocking, from_store, to_rpc};
use crate::limits::{BATCH_COUNT_MAX, BATCH_ENTRY_BYTES};
use crate::tree::{TreeWalk, page_stream};
use kiln_cas::Digest;
use kiln_proto::convert::digest_to_wire;
use kiln_proto::{reapi, rpc};
use kiln_rpc::limits::{BATCH_MAX, MESSAGE_MAX};
use reapi::compressor::Value as Compressor;
use reapi::content_addressable_storage_server::{ContentAddressableStorage, ContentAddressableStorageServer};
use std::pin::Pin;
use std::sync::Arc;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status, Streaming};

/// Serves a store's blobs.
#[derive(Clone)]
pub struct CasService {
    context: CasContext,
}

impl CasService {
    /// A service over what `context` holds.
    pub fn new(context: CasContext) -> CasService {
        CasService { context }
    }

    /// The service with its message bounds, ready to be routed to.
    pub fn into_server(self) -> ContentAddressableStorageServer<CasService> {
        ContentAddressableStorageServer::new(self).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX)
    }

    /// A blob as a batch carries it.
    fn update_one(&self, request: &reapi::batch_update_blobs_request::Request) -> Result<(), Status> {
        let digest = digest(request.digest.as_ref())?;
        self.context.takes(&digest)?;
        let unpacked;
        let bytes = match Compressor::try_from(request.compressor) {
            Ok(Compressor::Identity) => &request.data,
            Ok(Compressor::Zstd) => {
                // The sum of sizes was checked against the batch's bound.
                let size = usize::try_from(digest.size).unwrap_or(usize::MAX).min(BATCH_MAX);
                let bad = || Status::invalid_argument(format!("data is not {digest} in zstd"));
                unpacked = unpack(&request.data, size).ok_or_else(bad)?;
                &unpacked
            }
            _ => return Err(Status::invalid_argument("compressor is not served; IDENTITY and ZSTD are")),
        };
        self.context.blobs.store().put(&digest, bytes).map_err(|error| from_store(&error))
    }

    fn read_one(&self, wanted: &Wanted, zstd: bool) -> reapi::batch_read_blobs_response::Response {
        let mut response = reapi::batch_read_blobs_response::Response { digest: wanted.digest.clone(), ..Default::default() };
        match self.load(&wanted.parsed) {
            Ok(bytes) => {
                let packed = zstd.then(|| pack(&bytes)).flatten();
                response.compressor = if packed.is_some() { Compressor::Zstd } else { Compressor::Identity } as i32;
                response.data = packed.unwrap_or_else(|| bytes.to_vec());
                response.status = Some(rpc::Status::default());
            }
            Err(status) => response.status = Some(to_rpc(&status)),
        }
        response
    }

    fn load(&self, digest: &Result<Digest, Status>) -> Result<Arc<[u8]>, Status> {
        let digest = digest.as_ref().map_err(Status::clone)?;
        if let Some(bytes) = self.context.blobs.cached(digest) {
            return Ok(bytes);
        }
        let blob = self.context.blobs.store().get(digest).map_err(|error| from_store(&error))?;
        blob.ok_or_else(|| Status::not_found(format!("{digest} is not here")))
    }
}

/// A digest of a batch, good or bad.
struct Wanted {
    digest: Option<reapi::Digest>,
    parsed: Result<Digest, Status>,
}

fn check_batch(count: usize, bytes: u64) -> Result<(), Status> {
    if count > BATCH_COUNT_MAX {
        return Err(Status::invalid_argument(format!("{count} blobs in one batch; at most {BATCH_COUNT_MAX}")));
    }
    let framed = bytes.saturating_add((count * BATCH_ENTRY_BYTES) as u64);
    if bytes > BATCH_MAX as u64 || framed > MESSAGE_MAX as u64 {
        return Err(Status::invalid_argument(format!("batch of {bytes} bytes in {count} blobs; at most {BATCH_MAX} bytes in all")));
    }
    Ok(())
}

#[tonic::async_trait]
impl ContentAddressableStorage for CasService {
    async fn find_missing_blobs(
        &self,
        request: Request<reapi::FindMissingBlobsRequest>,
    ) -> Result<Response<reapi::FindMissingBlobsResponse>, Status> {
        self.context.reader(&request)?;
        let request = request.into_inner();
        self.context.instance(&request.instance_name, request.digest_function)?;
        let digests = request.blob_digests.iter().map(|wire| digest(Some(wire))).collect::<Result<Vec<_>, _>>()?;
        let disk = self.context.blobs.disk().clone();
        let missing = blocking(move || disk.find_missing(&digests)).await?;
        let missing_blob_digests = missing.iter().map(digest_to_wire).collect();
        Ok(Response::new(reapi::FindMissingBlobsResponse { missing_blob_digests }))
    }

    async fn batch_update_blobs(
        &self,
        request: Request<reapi::BatchUpdateBlobsRequest>,
    ) -> Result<Response<reapi::BatchUpdateBlobsResponse>, Status> {
        self.context.writer(&request)?;
        let request = request.into_inner();
        self.context.instance(&request.instance_name, request.digest_function)?;
        let claimed = |one: &reapi::batch_update_blobs_request::Request| {
            let size = one.digest.as_ref().map_or(0, |digest| digest.size_bytes);
            u64::try_from(size).unwrap_or(0).max(one.data.len() as u64)
        };
        let bytes = request.requests.iter().map(claimed).fold(0, u64::saturating_add);
        check_batch(request.requests.len(), bytes)?;
        let service = self.clone();
        let responses = blocking(move || {
            let update = |one: reapi::batch_update_blobs_request::Request| {
                let status = service.update_one(&one).err().map_or_else(rpc::Status::default, |status| to_rpc(&status));
                reapi::batch_update_blobs_response::Response { digest: one.digest, status: Some(status) }
            };
            request.requests.into_iter().map(update).collect()
        });
        Ok(Response::new(reapi::BatchUpdateBlobsResponse { responses: responses.await? }))
    }

    async fn batch_read_blobs(
        &self,
        request: Request<reapi::BatchReadBlobsRequest>,
    ) -> Result<Response<reapi::BatchReadBlobsResponse>, Status> {
        self.context.reader(&request)?;
        let request = request.into_inner();
        self.context.instance(&request.instance_name, request.digest_function)?;
        let parse = |wire: reapi::Digest| Wanted { parsed: digest(Some(&wire)), digest: Some(wire) };
        let wanted: Vec<Wanted> = request.digests.into_iter().map(parse).collect();
        let sizes = wanted.iter().filter_map(|wanted| wanted.parsed.as_ref().ok()).map(|digest| digest.size);
        check_batch(wanted.len(), sizes.fold(0, u64::saturating_add))?;
        let zstd = request.acceptable_compressors.contains(&(Compressor::Zstd as i32));
        let service = self.clone();
        let hot = |wanted: &Wanted| wanted.parsed.as_ref().is_ok_and(|digest| service.context.blobs.cached(digest).is_some());
        // What is in memory is answered on the spot; a thread is only for what may block, or costs.
        let responses = if !zstd && wanted.iter().all(hot) {
            wanted.iter().map(|wanted| self.read_one(wanted, zstd)).collect()
        } else {
            let service = self.clone();
            blocking(move || wanted.iter().map(|wanted| service.read_one(wanted, zstd)).collect()).await?
        };
        Ok(Response::new(reapi::BatchReadBlobsResponse { responses }))
    }

    type GetTreeStream = Pin<Box<dyn Stream<Item = Result<reapi::GetTreeResponse, Status>> + Send>>;

    async fn get_tree(&self, request: Request<reapi::GetTreeRequest>) -> Result<Response<Self::GetTreeStream>, Status> {
        self.context.reader(&request)?;
        let request = request.into_inner();
        self.context.instance(&request.instance_name, request.digest_function)?;
        let root = digest(request.root_digest.as_ref())?;
        let disk = self.context.blobs.disk().clone();
        let (page_size, token) = (request.page_size, request.page_token);
        let walk = blocking(move || TreeWalk::start(disk, root, page_size, &token)).await??;
        Ok(Response::new(Box::pin(page_stream(walk)) as Self::GetTreeStream))
    }

    async fn split_blob(&self, _: Request<reapi::SplitBlobRequest>) -> Result<Response<reapi::SplitBlobResponse>, Status> {
        Err(unserved())
    }

    type GetChunkMappingStream = tokio_stream::Empty<Result<reapi::GetChunkMappingResponse, Status>>;

    async fn get_chunk_mapping(
        &self,
        _: Request<reapi::GetChunkMappingRequest>,
    ) -> Result<Response<Self::GetChunkMappingStream>, Status> {
        Err(unserved())
    }

    async fn register_chunk_mapping(
        &self,
        _: Request<Streaming<reapi::RegisterChunkMappingRequest>>,
    ) -> Result<Response<reapi::RegisterChunkMappingResponse>, Status> {
        Err(unserved())
    }

    async fn splice_blob(&self, _: Request<reapi::SpliceBlobRequest>) -> Result<Response<reapi::SpliceBlobResponse>, Status> {
        Err(unserved())
    }
}

/// Chunked blobs are not announced, so nobody asks for them.
fn unserved() -> Status {
    Status::new(Code::Unimplemented, "chunked blobs are not served")
}
