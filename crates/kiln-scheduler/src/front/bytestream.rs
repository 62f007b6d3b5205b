//! ByteStream at the front door: streams pass through, message by message, to and from a blob's home. Holds no blob.

use crate::front::Front;
use crate::front::peers::{Peer, hop};
use crate::limits::HOP_SILENCE_MAX;
use futures::stream;
use kiln_cache::{Compressor, Resource, ResourceError, read_name, write_name};
use kiln_cas::{Digest, Hasher};
use kiln_proto::bytestream::byte_stream_server::ByteStream;
use kiln_proto::bytestream::{
    QueryWriteStatusRequest, QueryWriteStatusResponse, ReadRequest, ReadResponse, WriteRequest, WriteResponse,
};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status, Streaming};

type ReadStream = Pin<Box<dyn Stream<Item = Result<ReadResponse, Status>> + Send>>;

fn parsed(resource: Result<Resource, ResourceError>) -> Result<Resource, Status> {
    resource.map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The name as the farm's nodes have it: with the instance's own name in front.
fn renamed(name: &str, from: &str, to: &str) -> String {
    let rest = name.strip_prefix(from).map_or(name, |rest| rest.strip_prefix('/').unwrap_or(rest));
    format!("{to}/{rest}")
}

/// A stream from a node on its way to the caller.
struct Relay {
    /// Read already, to see whether the node has the blob at all.
    first: Option<ReadResponse>,
    upstream: Streaming<ReadResponse>,
    /// Of a whole, uncompressed blob.
    check: Option<(Hasher, Digest)>,
}

impl Relay {
    async fn next(&mut self) -> Result<Option<ReadResponse>, Status> {
        let message = match self.first.take() {
            Some(first) => Some(first),
            None => hop(self.upstream.message()).await?,
        };
        match (&message, &mut self.check) {
            (Some(message), Some((hasher, _))) => hasher.update(&message.data),
            (None, Some(_)) => {
                if let Some((hasher, digest)) = self.check.take()
                    && hasher.finish() != digest
                {
                    tracing::error!("{digest} came with other content");
                    return Err(Status::data_loss(format!("{digest} came with other content")));
                }
            }
            _ => {}
        }
        Ok(message)
    }
}

impl Front {
    async fn read_at(&self, peer: &Peer, message: &ReadRequest, resource: &Resource) -> Result<Relay, Status> {
        let answer = hop(peer.byte_stream().read(peer.request(message.clone()))).await;
        let mut upstream = answer.map_err(|status| self.noted(status))?.into_inner();
        let first = hop(upstream.message()).await.map_err(|status| self.noted(status))?;
        let whole = message.read_offset == 0 && message.read_limit == 0 && resource.compressor == Compressor::Identity;
        Ok(Relay { first, upstream, check: whole.then(|| (Hasher::new(), resource.digest)) })
    }
}

/// What a caller uploads on its way to a node; a failure ends the stream and is kept.
struct Upload {
    first: Option<WriteRequest>,
    incoming: Streaming<WriteRequest>,
    failure: Arc<Mutex<Option<Status>>>,
}

impl Upload {
    async fn next(mut self) -> Option<(WriteRequest, Upload)> {
        if let Some(first) = self.first.take() {
            return Some((first, self));
        }
        let late = |_| Status::deadline_exceeded(format!("the upload paused for {HOP_SILENCE_MAX:?}"));
        let message = tokio::time::timeout(HOP_SILENCE_MAX, self.incoming.message()).await.map_err(late);
        match message.and_then(|message| message) {
            Ok(Some(mut message)) => {
                // Said once; the caller's own name for the instance would not be understood.
                message.resource_name.clear();
                Some((message, self))
            }
            Ok(None) => None,
            Err(status) => {
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                None
            }
        }
    }
}

#[tonic::async_trait]
impl ByteStream for Front {
    type ReadStream = ReadStream;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadStream>, Status> {
        self.reader(&request)?;
        let mut message = request.into_inner();
        let resource = parsed(read_name(&message.resource_name))?;
        let instance = self.instance(&resource.instance)?;
        message.resource_name = renamed(&message.resource_name, &resource.instance, &instance);
        let peer = self.shared().peers.home_of(&resource.digest).await?;
        let mut relay = self.read_at(&peer, &message, &resource).await;
        if relay.as_ref().is_err_and(|status| matches!(status.code(), Code::NotFound | Code::Unavailable))
            && let Some(maker) = self.shared().outputs.maker(&resource.digest)
            && let Some(peer) = self.shared().peers.worker(&maker).await
        {
            relay = self.read_at(&peer, &message, &resource).await;
        }
        let stream = stream::try_unfold(relay?, |mut relay| async { Ok(relay.next().await?.map(|message| (message, relay))) });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn write(&self, request: Request<Streaming<WriteRequest>>) -> Result<Response<WriteResponse>, Status> {
        self.writer(&request)?;
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(HOP_SILENCE_MAX, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("an upload that does not begin"))??;
        let mut first = first.ok_or_else(|| Status::invalid_argument("an upload without a message"))?;
        let resource = parsed(write_name(&first.resource_name))?;
        let instance = self.instance(&resource.instance)?;
        first.resource_name = renamed(&first.resource_name, &resource.instance, &instance);
        let peer = self.shared().peers.home_of(&resource.digest).await?;
        let failure = Arc::new(Mutex::new(None));
        let upload = Upload { first: Some(first), incoming, failure: Arc::clone(&failure) };
        // The node bounds how long it waits for each message, and how long it takes to store the last.
        let answer = peer.byte_stream().write(peer.request(stream::unfold(upload, Upload::next))).await;
        if let Some(status) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(status);
        }
        Ok(Response::new(answer.map_err(|status| self.noted(status))?.into_inner()))
    }

    async fn query_write_status(
        &self,
        request: Request<QueryWriteStatusRequest>,
    ) -> Result<Response<QueryWriteStatusResponse>, Status> {
        self.writer(&request)?;
        let mut message = request.into_inner();
        let resource = parsed(write_name(&message.resource_name))?;
        let instance = self.instance(&resource.instance)?;
        message.resource_name = renamed(&message.resource_name, &resource.instance, &instance);
        let peer = self.shared().peers.home_of(&resource.digest).await?;
        let answer = hop(peer.byte_stream().query_write_status(peer.request(message))).await;
        Ok(Response::new(answer.map_err(|status| self.noted(status))?.into_inner()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_the_instance_of_the_farm() {
        for (name, from, to, want) in [
            ("blobs/ab/1", "", "main", "main/blobs/ab/1"),
            ("main/blobs/ab/1", "main", "main", "main/blobs/ab/1"),
            ("a/b/uploads/u/blobs/ab/1/x", "a/b", "a/b", "a/b/uploads/u/blobs/ab/1/x"),
        ] {
            assert_eq!(renamed(name, from, to), want);
        }
    }
}
