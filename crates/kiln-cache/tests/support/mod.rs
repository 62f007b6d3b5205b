//! A cache server in a temporary directory, on a Unix socket and on loopback, and clients of every role.
#![allow(dead_code, reason = "each test binary uses its part")]

use kiln_cache::{Access, ByteStreamService, CacheConfig, CacheServer, CasContext, Instance, Instances};
use kiln_cas::Digest;
use kiln_proto::bytestream::byte_stream_client::ByteStreamClient;
use kiln_proto::bytestream::{ReadRequest, WriteRequest};
use kiln_proto::convert::digest_to_wire;
use kiln_proto::reapi;
use kiln_rpc::limits::MESSAGE_MAX;
use kiln_rpc::{Address, Auth, Channel, Credentials, Dial, Drained, Listener, Role, ServeOptions, Token};
use reapi::action_cache_client::ActionCacheClient;
use reapi::capabilities_client::CapabilitiesClient;
use reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use std::sync::Arc;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::service::Routes;

pub(crate) const UUID: &str = "01234567-89ab-4cde-8f01-23456789abcd";

pub(crate) struct TestCache {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: CacheServer,
    unix: Address,
    tcp: Address,
    stop: Option<oneshot::Sender<()>>,
    task: Option<tokio::task::JoinHandle<Drained>>,
}

pub(crate) fn token(role: Role) -> Token {
    Token::new(format!("{role}-token-0123456789")).unwrap()
}

impl TestCache {
    pub(crate) async fn start() -> TestCache {
        TestCache::with_bytes(1 << 30).await
    }

    /// A cache of at most `max_bytes`, with the instances `main` and `bazel/any` (the latter client-writable).
    pub(crate) async fn with_bytes(max_bytes: u64) -> TestCache {
        let dir = tempfile::tempdir().unwrap();
        let any = Instance { client_writable: true };
        let instances = [("main".to_owned(), Instance::default()), ("bazel/any".to_owned(), any), (String::new(), any)];
        let config = CacheConfig {
            dir: dir.path().join("cache"),
            max_bytes,
            results_max_bytes: 16 << 20,
            memory_bytes: 4 << 20,
            instances: Instances::new(instances),
        };
        let server = CacheServer::open(config).unwrap();
        let routes = server.routes();
        TestCache::serve(dir, server, routes).await
    }

    /// A cache whose uploads are given up after `idle_max` of silence.
    pub(crate) async fn impatient(idle_max: std::time::Duration) -> TestCache {
        let dir = tempfile::tempdir().unwrap();
        let config = CacheConfig {
            dir: dir.path().join("cache"),
            max_bytes: 1 << 30,
            results_max_bytes: 1 << 20,
            memory_bytes: 0,
            instances: Instances::main_only(),
        };
        let server = CacheServer::open(config).unwrap();
        let context = CasContext::new(server.blobs().clone(), Instances::main_only(), Access::cluster());
        let streams = ByteStreamService::new(context).with_idle_max(idle_max);
        TestCache::serve(dir, server, Routes::new(streams.into_server())).await
    }

    async fn serve(dir: tempfile::TempDir, server: CacheServer, routes: Routes) -> TestCache {
        let socket = format!("unix:{}", dir.path().join("s/cache.sock").display());
        let unix = Listener::bind(&socket.parse().unwrap(), None, false).await.unwrap();
        let tcp = Listener::bind(&"127.0.0.1:0".parse().unwrap(), None, false).await.unwrap();
        let (unix_address, tcp_address) = (unix.address().clone(), tcp.address().clone());
        let roles = [Role::User, Role::Worker, Role::Admin];
        let credentials = Credentials::from_tokens(roles.map(|role| (role, format!("{role}-1"), token(role))));
        let options = ServeOptions::new("cache", Arc::new(Auth::new(Arc::new(credentials))));
        server.register(&options.registry);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(kiln_rpc::serve(vec![unix, tcp], routes, options, async {
            let _ = stopped.await;
        }));
        TestCache { dir, server, unix: unix_address, tcp: tcp_address, stop: Some(stop), task: Some(task) }
    }

    /// A channel of the machine's own user.
    pub(crate) fn local(&self) -> Channel {
        kiln_rpc::connect(&self.unix, &Dial::default()).unwrap()
    }

    pub(crate) fn tcp_address(&self) -> &Address {
        &self.tcp
    }

    /// A channel over TCP with a credential.
    pub(crate) fn with_role(&self, role: Role) -> Channel {
        kiln_rpc::connect(&self.tcp, &Dial { token: Some(token(role)), ..Dial::default() }).unwrap()
    }

    pub(crate) fn cas(&self) -> ContentAddressableStorageClient<Channel> {
        cas(self.local())
    }

    pub(crate) fn streams(&self) -> ByteStreamClient<Channel> {
        ByteStreamClient::new(self.local()).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(usize::MAX)
    }

    pub(crate) fn actions(&self, role: Role) -> ActionCacheClient<Channel> {
        ActionCacheClient::new(self.with_role(role))
    }

    pub(crate) fn capabilities(&self, role: Role) -> CapabilitiesClient<Channel> {
        CapabilitiesClient::new(self.with_role(role))
    }

    /// Puts a blob by the batch interface.
    pub(crate) async fn put(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let response = self.cas().batch_update_blobs(update(&[(digest, bytes)])).await.unwrap().into_inner();
        assert_eq!(response.responses[0].status.as_ref().unwrap().code, 0);
        digest
    }

    pub(crate) async fn missing(&self, digests: &[Digest]) -> Vec<String> {
        let request = reapi::FindMissingBlobsRequest {
            instance_name: "main".into(),
            blob_digests: digests.iter().map(digest_to_wire).collect(),
            digest_function: 1,
        };
        let response = self.cas().find_missing_blobs(request).await.unwrap().into_inner();
        response.missing_blob_digests.into_iter().map(|digest| digest.hash).collect()
    }

    /// Stops the server and waits until it has.
    pub(crate) async fn stop(mut self) -> tempfile::TempDir {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.take().unwrap().await.unwrap();
        self.dir
    }
}

pub(crate) fn cas(channel: Channel) -> ContentAddressableStorageClient<Channel> {
    ContentAddressableStorageClient::new(channel).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(usize::MAX)
}

pub(crate) fn update(blobs: &[(Digest, &[u8])]) -> reapi::BatchUpdateBlobsRequest {
    let request = |(digest, bytes): &(Digest, &[u8])| reapi::batch_update_blobs_request::Request {
        digest: Some(digest_to_wire(digest)),
        data: bytes.to_vec(),
        compressor: 0,
    };
    reapi::BatchUpdateBlobsRequest {
        instance_name: "main".into(),
        requests: blobs.iter().map(request).collect(),
        digest_function: 0,
    }
}

/// Bytes that differ for every `seed` and do not compress.
pub(crate) fn content(seed: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The messages of an upload in pieces of `piece` bytes.
pub(crate) fn upload(name: &str, bytes: &[u8], piece: usize) -> Vec<WriteRequest> {
    let mut messages: Vec<WriteRequest> = bytes
        .chunks(piece)
        .enumerate()
        .map(|(number, data)| WriteRequest {
            resource_name: if number == 0 { name.to_owned() } else { String::new() },
            write_offset: (number * piece) as i64,
            finish_write: false,
            data: data.to_vec(),
        })
        .collect();
    if messages.is_empty() {
        messages.push(WriteRequest { resource_name: name.to_owned(), ..Default::default() });
    }
    messages.last_mut().unwrap().finish_write = true;
    messages
}

pub(crate) async fn write(client: &mut ByteStreamClient<Channel>, messages: Vec<WriteRequest>) -> Result<i64, Status> {
    client.write(tokio_stream::iter(messages)).await.map(|response| response.into_inner().committed_size)
}

pub(crate) async fn read(client: &mut ByteStreamClient<Channel>, name: &str, offset: i64, limit: i64) -> Result<Vec<u8>, Status> {
    let request = ReadRequest { resource_name: name.to_owned(), read_offset: offset, read_limit: limit };
    let mut stream = client.read(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(message) = stream.message().await? {
        assert!(!message.data.is_empty() && message.data.len() <= 1 << 20);
        bytes.extend(message.data);
    }
    Ok(bytes)
}

pub(crate) fn write_name(digest: &Digest) -> String {
    format!("main/uploads/{UUID}/blobs/{digest}")
}

pub(crate) fn read_name(digest: &Digest) -> String {
    format!("main/blobs/{digest}")
}
