//! The farm's nodes as homes of blobs and results, and how to speak with each: cache servers by this scheduler's credential,
//! workers by a pass it signs itself. Knows no message's meaning.

use crate::farm::Farm;
use crate::front::FrontSettings;
use crate::limits::{HOP_SILENCE_MAX, PASS_KEEP, PASSES_MAX, WORKER_HOMES};
use kiln_cas::Digest;
use kiln_proto::bytestream::byte_stream_client::ByteStreamClient;
use kiln_proto::grant::attach;
use kiln_proto::home::home;
use kiln_proto::longrunning::operations_client::OperationsClient;
use kiln_proto::reapi::action_cache_client::ActionCacheClient;
use kiln_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use kiln_proto::reapi::execution_client::ExecutionClient;
use kiln_proto::v1::{Node, NodeKind};
use kiln_rpc::limits::MESSAGE_MAX;
use kiln_rpc::{Address, Channel, Pool};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;
use tonic::{Request, Status};

/// A node to speak with.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) name: String,
    channel: Channel,
    token: Option<Vec<u8>>,
}

impl Peer {
    /// A request with what the node wants to see.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            attach(request.metadata_mut(), token);
        }
        request
    }

    pub(crate) fn cas(&self) -> ContentAddressableStorageClient<Channel> {
        ContentAddressableStorageClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX)
    }

    pub(crate) fn byte_stream(&self) -> ByteStreamClient<Channel> {
        ByteStreamClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX)
    }

    pub(crate) fn action_cache(&self) -> ActionCacheClient<Channel> {
        ActionCacheClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX)
    }

    pub(crate) fn execution(&self) -> ExecutionClient<Channel> {
        ExecutionClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX)
    }

    pub(crate) fn operations(&self) -> OperationsClient<Channel> {
        OperationsClient::new(self.channel.clone())
    }
}

/// The answer of a node, within [`HOP_SILENCE_MAX`].
///
/// # Errors
/// The node's own status; `UNAVAILABLE` when it says nothing.
pub(crate) async fn hop<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let silent = |_| Status::unavailable(format!("a node of the farm said nothing for {HOP_SILENCE_MAX:?}"));
    tokio::time::timeout(HOP_SILENCE_MAX, answer).await.map_err(silent)?
}

/// Tokens by a worker's name and address, with the time when each was made.
type Passes = BTreeMap<(String, String), (Instant, Vec<u8>)>;

/// Everybody to speak with.
pub(crate) struct Peers {
    farm: Farm,
    servers: Pool,
    workers: Pool,
    caches: Vec<Node>,
    passes: Mutex<Passes>,
}

impl Peers {
    pub(crate) fn new(farm: Farm, settings: &FrontSettings) -> Peers {
        let named = |address: &Address| Node {
            name: address.to_string(),
            address: address.to_string(),
            kind: NodeKind::Cache as i32,
            tls_name: String::new(),
        };
        Peers {
            farm,
            servers: Pool::new(settings.dial.clone()),
            workers: Pool::new(settings.worker_dial.clone()),
            caches: settings.caches.iter().map(named).collect(),
            passes: Mutex::default(),
        }
    }

    /// The farm's cache servers, each once.
    pub(crate) fn caches(&self) -> Vec<Node> {
        let nodes = self.farm.nodes_now();
        let listed = nodes.iter().filter(|node| node.kind == NodeKind::Cache as i32);
        let mut caches: Vec<Node> = listed.chain(&self.caches).cloned().collect();
        // A stable sort: of two names for one address the registered one stays.
        caches.sort_by(|a, b| a.address.cmp(&b.address));
        caches.dedup_by(|a, b| a.address == b.address);
        caches
    }

    /// Where blobs live: cache servers, else a few workers, at which every worker looks first.
    pub(crate) fn homes(&self) -> Vec<Node> {
        let caches = self.caches();
        if !caches.is_empty() {
            return caches;
        }
        let nodes = self.farm.nodes_now();
        nodes.iter().filter(|node| node.kind == NodeKind::Worker as i32).take(WORKER_HOMES).cloned().collect()
    }

    /// The node that is home to a blob.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the farm has no node at all.
    pub(crate) async fn home_of(&self, digest: &Digest) -> Result<Peer, Status> {
        let homes = self.homes();
        let node = home(&homes, |node| &node.name, digest);
        self.reach(node.ok_or_else(|| Status::unavailable("the farm has neither cache servers nor workers now"))?).await
    }

    /// The cache server that is home to a result; `None` in a farm without any.
    ///
    /// # Errors
    /// When its address cannot be used.
    pub(crate) async fn cache_of(&self, action: &Digest) -> Result<Option<Peer>, Status> {
        match home(&self.caches(), |node| &node.name, action) {
            Some(node) => self.reach(node).await.map(Some),
            None => Ok(None),
        }
    }

    /// A live worker by name, to read its blobs.
    pub(crate) async fn worker(&self, name: &str) -> Option<Peer> {
        let nodes = self.farm.nodes_now();
        let node = nodes.iter().find(|node| node.kind == NodeKind::Worker as i32 && node.name == name)?;
        self.reach(node).await.ok()
    }

    /// A worker that a grant is for.
    ///
    /// # Errors
    /// When its address cannot be used.
    pub(crate) fn granted(&self, name: &str, address: &str, tls_name: &str, token: &[u8]) -> Result<Peer, Status> {
        let channel = channel(&self.workers, address, tls_name)?;
        Ok(Peer { name: name.to_owned(), channel, token: Some(token.to_vec()) })
    }

    pub(crate) async fn reach(&self, node: &Node) -> Result<Peer, Status> {
        if node.kind == NodeKind::Cache as i32 {
            let channel = channel(&self.servers, &node.address, &node.tls_name)?;
            return Ok(Peer { name: node.name.clone(), channel, token: None });
        }
        let channel = channel(&self.workers, &node.address, &node.tls_name)?;
        let token = self.pass(node).await?;
        Ok(Peer { name: node.name.clone(), channel, token: Some(token) })
    }

    async fn pass(&self, node: &Node) -> Result<Vec<u8>, Status> {
        let key = (node.name.clone(), node.address.clone());
        let now = Instant::now();
        {
            let mut passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
            match passes.get(&key) {
                Some((made, token)) if now.duration_since(*made) < PASS_KEEP => return Ok(token.clone()),
                _ if passes.len() >= PASSES_MAX => passes.clear(),
                _ => {}
            }
        }
        let token = self.farm.pass(&node.name).await?.token;
        self.passes.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (now, token.clone()));
        Ok(token)
    }

    /// Makes new passes from now on: a worker refused one, most likely because it registered anew.
    pub(crate) fn forget_passes(&self) {
        self.passes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn channel(pool: &Pool, address: &str, tls_name: &str) -> Result<Channel, Status> {
    let address: Address = address.parse().map_err(|error| Status::unavailable(format!("a node's address: {error}")))?;
    pool.get(&address, tls_name).map_err(|error| Status::unavailable(error.to_string()))
}
