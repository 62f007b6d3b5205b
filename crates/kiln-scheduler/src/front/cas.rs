//! ContentAddressableStorage at the front door: each blob's call goes to its home. Keeps no blob.

use crate::front::peers::{Peer, hop};
use crate::front::{Front, check_function, digest, tree};
use crate::limits::{BATCH_COUNT_MAX, FIND_MAX};
use futures::future::{join_all, try_join_all};
use kiln_cas::Digest;
use kiln_proto::home::home;
use kiln_proto::reapi;
use kiln_proto::status::status;
use reapi::content_addressable_storage_server::ContentAddressableStorage;
use std::collections::BTreeMap;
use std::pin::Pin;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status, Streaming};

pub(crate) type TreeStream = Pin<Box<dyn Stream<Item = Result<reapi::GetTreeResponse, Status>> + Send>>;

/// Places of one request's digests, by home.
type Parts = Vec<(Peer, Vec<usize>)>;

impl Front {
    /// Divides digests among their homes.
    async fn divide(&self, digests: &[Digest]) -> Result<Parts, Status> {
        let peers = &self.shared().peers;
        let homes = peers.homes();
        let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, digest) in digests.iter().enumerate() {
            let node = home(&homes, |node| &node.name, digest);
            let node = node.ok_or_else(|| Status::unavailable("the farm has neither cache servers nor workers now"))?;
            let at = homes.iter().position(|other| std::ptr::eq(other, node)).unwrap_or_default();
            places.entry(at).or_default().push(place);
        }
        let mut parts = Vec::new();
        for (at, places) in places {
            parts.push((peers.reach(&homes[at]).await?, places));
        }
        Ok(parts)
    }

    /// A node refused this scheduler's pass: the next one is made anew.
    pub(crate) fn noted(&self, status: Status) -> Status {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                self.shared().peers.forget_passes();
                Status::unavailable(format!("a node of the farm refused this scheduler: {}", status.message()))
            }
            _ => status,
        }
    }

    async fn read_part(
        &self,
        peer: &Peer,
        instance: &str,
        digests: Vec<reapi::Digest>,
        compressors: &[i32],
    ) -> Result<Vec<reapi::batch_read_blobs_response::Response>, Status> {
        let message = reapi::BatchReadBlobsRequest {
            instance_name: instance.to_owned(),
            digests,
            acceptable_compressors: compressors.to_vec(),
            ..Default::default()
        };
        let answer = hop(peer.cas().batch_read_blobs(peer.request(message))).await.map_err(|status| self.noted(status))?;
        Ok(answer.into_inner().responses)
    }

    /// One small blob, from its home or its maker, verified; `None` when nobody has it.
    pub(crate) async fn small_blob(&self, instance: &str, wanted: &Digest) -> Result<Option<Vec<u8>>, Status> {
        let wire = kiln_proto::convert::digest_to_wire(wanted);
        let message =
            reapi::BatchReadBlobsRequest { instance_name: instance.to_owned(), digests: vec![wire], ..Default::default() };
        let found = self.read_batch(message).await?.into_iter().next();
        Ok(found.filter(|response| code(response.status.as_ref()) == Code::Ok).map(|response| response.data))
    }

    async fn read_batch(
        &self,
        message: reapi::BatchReadBlobsRequest,
    ) -> Result<Vec<reapi::batch_read_blobs_response::Response>, Status> {
        let digests = message.digests.iter().map(|wire| digest(Some(wire))).collect::<Result<Vec<_>, _>>()?;
        let (instance, compressors) = (&message.instance_name, &message.acceptable_compressors);
        let parts = self.divide(&digests).await?;
        let read = parts.iter().map(|(peer, places)| {
            let wanted = places.iter().map(|place| message.digests[*place].clone()).collect();
            self.read_part(peer, instance, wanted, compressors)
        });
        let mut found: BTreeMap<Digest, reapi::batch_read_blobs_response::Response> = BTreeMap::new();
        for response in try_join_all(read).await?.into_iter().flatten() {
            found.insert(digest(response.digest.as_ref())?, response);
        }
        self.read_from_makers(&digests, instance, compressors, &mut found).await;
        let mut responses = Vec::with_capacity(digests.len());
        for (wire, digest) in message.digests.iter().zip(&digests) {
            let response = found.get(digest).cloned().map(|response| verified(digest, response));
            responses.push(response.unwrap_or_else(|| reapi::batch_read_blobs_response::Response {
                digest: Some(wire.clone()),
                status: Some(status(Code::NotFound, format!("{digest} is not in the farm"))),
                ..Default::default()
            }));
        }
        Ok(responses)
    }

    /// Reads what is not at its home from the worker that made it.
    async fn read_from_makers(
        &self,
        digests: &[Digest],
        instance: &str,
        compressors: &[i32],
        found: &mut BTreeMap<Digest, reapi::batch_read_blobs_response::Response>,
    ) {
        let mut makers: BTreeMap<std::sync::Arc<str>, Vec<reapi::Digest>> = BTreeMap::new();
        for digest in digests {
            let here = found.get(digest).is_some_and(|response| code(response.status.as_ref()) == Code::Ok);
            if let Some(maker) = self.shared().outputs.maker(digest).filter(|_| !here) {
                makers.entry(maker).or_default().push(kiln_proto::convert::digest_to_wire(digest));
            }
        }
        let read = makers.into_iter().map(|(maker, wanted)| async move {
            let peer = self.shared().peers.worker(&maker).await?;
            self.read_part(&peer, instance, wanted, compressors).await.ok()
        });
        for response in join_all(read).await.into_iter().flatten().flatten() {
            if let Ok(digest) = digest(response.digest.as_ref())
                && code(response.status.as_ref()) == Code::Ok
            {
                found.insert(digest, response);
            }
        }
    }
}

fn code(status: Option<&kiln_proto::rpc::Status>) -> Code {
    Code::from_i32(status.map_or(0, |status| status.code))
}

/// The response if its bytes are what the digest names; compressed ones are for the client to check.
fn verified(digest: &Digest, response: reapi::batch_read_blobs_response::Response) -> reapi::batch_read_blobs_response::Response {
    let plain = response.compressor == reapi::compressor::Value::Identity as i32;
    if !plain || code(response.status.as_ref()) != Code::Ok || digest.matches(&response.data) {
        return response;
    }
    tracing::error!("{digest} came from its home with other content");
    reapi::batch_read_blobs_response::Response {
        digest: response.digest,
        status: Some(status(Code::DataLoss, format!("{digest} came with other content"))),
        ..Default::default()
    }
}

fn bounded(count: usize, max: usize) -> Result<(), Status> {
    match count > max {
        true => Err(Status::invalid_argument(format!("more than {max} blobs in one request"))),
        false => Ok(()),
    }
}

#[tonic::async_trait]
impl ContentAddressableStorage for Front {
    type GetTreeStream = TreeStream;

    async fn find_missing_blobs(
        &self,
        request: Request<reapi::FindMissingBlobsRequest>,
    ) -> Result<Response<reapi::FindMissingBlobsResponse>, Status> {
        self.reader(&request)?;
        let message = request.into_inner();
        check_function(message.digest_function)?;
        bounded(message.blob_digests.len(), FIND_MAX)?;
        let instance = self.instance(&message.instance_name)?;
        let digests = message.blob_digests.iter().map(|wire| digest(Some(wire))).collect::<Result<Vec<_>, _>>()?;
        let parts = self.divide(&digests).await?;
        let asked = parts.iter().map(|(peer, places)| {
            let part = reapi::FindMissingBlobsRequest {
                instance_name: instance.clone(),
                blob_digests: places.iter().map(|place| message.blob_digests[*place].clone()).collect(),
                ..Default::default()
            };
            async move { hop(peer.cas().find_missing_blobs(peer.request(part))).await.map_err(|status| self.noted(status)) }
        });
        let answers = try_join_all(asked).await?;
        let missing = answers.into_iter().flat_map(|answer| answer.into_inner().missing_blob_digests);
        Ok(Response::new(reapi::FindMissingBlobsResponse { missing_blob_digests: missing.collect() }))
    }

    async fn batch_update_blobs(
        &self,
        request: Request<reapi::BatchUpdateBlobsRequest>,
    ) -> Result<Response<reapi::BatchUpdateBlobsResponse>, Status> {
        self.writer(&request)?;
        let message = request.into_inner();
        check_function(message.digest_function)?;
        bounded(message.requests.len(), BATCH_COUNT_MAX)?;
        let instance = self.instance(&message.instance_name)?;
        let digests = message.requests.iter().map(|one| digest(one.digest.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let parts = self.divide(&digests).await?;
        let mut blobs: Vec<Option<_>> = message.requests.into_iter().map(Some).collect();
        let mut sends = Vec::new();
        for (peer, places) in &parts {
            let requests = places.iter().filter_map(|place| blobs[*place].take()).collect();
            let part = reapi::BatchUpdateBlobsRequest { instance_name: instance.clone(), requests, ..Default::default() };
            sends.push(
                async move { hop(peer.cas().batch_update_blobs(peer.request(part))).await.map_err(|status| self.noted(status)) },
            );
        }
        let answers = try_join_all(sends).await?;
        let responses = answers.into_iter().flat_map(|answer| answer.into_inner().responses);
        Ok(Response::new(reapi::BatchUpdateBlobsResponse { responses: responses.collect() }))
    }

    async fn batch_read_blobs(
        &self,
        request: Request<reapi::BatchReadBlobsRequest>,
    ) -> Result<Response<reapi::BatchReadBlobsResponse>, Status> {
        self.reader(&request)?;
        let mut message = request.into_inner();
        check_function(message.digest_function)?;
        bounded(message.digests.len(), BATCH_COUNT_MAX)?;
        message.instance_name = self.instance(&message.instance_name)?;
        let responses = self.read_batch(message).await?;
        Ok(Response::new(reapi::BatchReadBlobsResponse { responses }))
    }

    async fn get_tree(&self, request: Request<reapi::GetTreeRequest>) -> Result<Response<TreeStream>, Status> {
        self.reader(&request)?;
        let message = request.into_inner();
        check_function(message.digest_function)?;
        let instance = self.instance(&message.instance_name)?;
        if !message.page_token.is_empty() {
            return Err(Status::invalid_argument("pages are not kept; ask from the beginning"));
        }
        let root = digest(message.root_digest.as_ref())?;
        Ok(Response::new(tree::directories(self.clone(), instance, root)))
    }

    async fn split_blob(&self, _: Request<reapi::SplitBlobRequest>) -> Result<Response<reapi::SplitBlobResponse>, Status> {
        Err(unserved())
    }

    async fn splice_blob(&self, _: Request<reapi::SpliceBlobRequest>) -> Result<Response<reapi::SpliceBlobResponse>, Status> {
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
}

/// Chunking is not announced, so nobody should ask for it.
fn unserved() -> Status {
    Status::unimplemented("blobs are not split into chunks here")
}
