//! A REAPI client in short calls.

use kiln_cas::{Action, Command, Digest, Directory, HOST_ROOT_PROPERTY};
use kiln_proto::bytestream::ReadRequest;
use kiln_proto::bytestream::byte_stream_client::ByteStreamClient;
use kiln_proto::convert::digest_to_wire;
use kiln_proto::longrunning::operations_client::OperationsClient;
use kiln_proto::reapi;
use kiln_proto::reapi::action_cache_client::ActionCacheClient;
use kiln_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use kiln_proto::reapi::execution_client::ExecutionClient;
use kiln_proto::status::response_of;
use kiln_rpc::Channel;
use tonic::{Status, Streaming};

/// A REAPI client.
pub(crate) struct Client(pub(crate) Channel);

impl Client {
    pub(crate) fn cas(&self) -> ContentAddressableStorageClient<Channel> {
        ContentAddressableStorageClient::new(self.0.clone())
    }

    pub(crate) fn results(&self) -> ActionCacheClient<Channel> {
        ActionCacheClient::new(self.0.clone())
    }

    pub(crate) fn operations(&self) -> OperationsClient<Channel> {
        OperationsClient::new(self.0.clone())
    }

    pub(crate) async fn upload(&self, instance: &str, blobs: &[&[u8]]) -> Vec<Digest> {
        let digests: Vec<Digest> = blobs.iter().map(|bytes| Digest::of(bytes)).collect();
        let requests = digests.iter().zip(blobs).map(|(digest, bytes)| reapi::batch_update_blobs_request::Request {
            digest: Some(digest_to_wire(digest)),
            data: bytes.to_vec(),
            ..Default::default()
        });
        let message = reapi::BatchUpdateBlobsRequest {
            instance_name: instance.to_owned(),
            requests: requests.collect(),
            ..Default::default()
        };
        let answer = self.cas().batch_update_blobs(message).await.unwrap().into_inner();
        assert_eq!(answer.responses.len(), blobs.len());
        assert!(answer.responses.iter().all(|response| response.status.as_ref().is_none_or(|status| status.code == 0)));
        digests
    }

    pub(crate) async fn missing(&self, instance: &str, digests: &[Digest]) -> Vec<reapi::Digest> {
        let message = reapi::FindMissingBlobsRequest {
            instance_name: instance.to_owned(),
            blob_digests: digests.iter().map(digest_to_wire).collect(),
            ..Default::default()
        };
        self.cas().find_missing_blobs(message).await.unwrap().into_inner().missing_blob_digests
    }

    pub(crate) async fn read(&self, instance: &str, digests: &[Digest]) -> Vec<reapi::batch_read_blobs_response::Response> {
        let message = reapi::BatchReadBlobsRequest {
            instance_name: instance.to_owned(),
            digests: digests.iter().map(digest_to_wire).collect(),
            ..Default::default()
        };
        self.cas().batch_read_blobs(message).await.unwrap().into_inner().responses
    }

    pub(crate) async fn stream(&self, name: String) -> Result<Vec<u8>, Status> {
        let message = ReadRequest { resource_name: name, ..Default::default() };
        let mut stream = ByteStreamClient::new(self.0.clone()).read(message).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(part) = stream.message().await? {
            bytes.extend(part.data);
        }
        Ok(bytes)
    }

    /// Uploads an action that runs `words`, with everything it needs.
    pub(crate) async fn action(&self, instance: &str, words: &[&str]) -> Digest {
        self.upload_action(instance, words, plain_action).await
    }

    /// The same of one that does not name the files of workers that it sees.
    pub(crate) async fn nameless_action(&self, words: &[&str]) -> Digest {
        self.upload_action("", words, |command, root| action(command, root, Vec::new())).await
    }

    async fn upload_action(&self, instance: &str, words: &[&str], action: impl Fn(&[u8], Digest) -> Vec<u8>) -> Digest {
        let command = Command {
            arguments: words.iter().map(|word| (*word).to_owned()).collect(),
            output_paths: vec!["out".to_owned()],
            ..Default::default()
        };
        let (command, root) = (command.encode(), Directory::default().encode());
        let action = action(&command, Digest::of(&root));
        self.upload(instance, &[&command, &root, &action]).await[2]
    }

    pub(crate) async fn execute(
        &self,
        instance: &str,
        action: &Digest,
    ) -> Result<Streaming<kiln_proto::longrunning::Operation>, Status> {
        let message = reapi::ExecuteRequest {
            instance_name: instance.to_owned(),
            action_digest: Some(digest_to_wire(action)),
            ..Default::default()
        };
        Ok(ExecutionClient::new(self.0.clone()).execute(message).await?.into_inner())
    }

    pub(crate) async fn run(&self, instance: &str, action: &Digest) -> reapi::ExecuteResponse {
        end(self.execute(instance, action).await.unwrap()).await
    }
}

/// An action that names the files of workers that it sees.
pub(crate) fn plain_action(command: &[u8], input_root_digest: Digest) -> Vec<u8> {
    action(command, input_root_digest, vec![(HOST_ROOT_PROPERTY.to_owned(), "0".repeat(64))])
}

fn action(command: &[u8], input_root_digest: Digest, platform: Vec<(String, String)>) -> Vec<u8> {
    let action = Action {
        command_digest: Digest::of(command),
        input_root_digest,
        timeout_ms: None,
        do_not_cache: false,
        salt: Vec::new(),
        platform,
    };
    action.encode()
}

pub(crate) async fn end(mut stream: Streaming<kiln_proto::longrunning::Operation>) -> reapi::ExecuteResponse {
    while let Some(operation) = stream.message().await.unwrap() {
        if let Some(response) = response_of(&operation).unwrap() {
            // Clients that read to the end must find one.
            let rest = tokio::time::timeout(std::time::Duration::from_secs(5), stream.message());
            assert_eq!(rest.await.expect("the stream ends with the operation").unwrap(), None);
            return response;
        }
    }
    panic!("the stream ended before the run");
}
