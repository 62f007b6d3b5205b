//! Brings missing blobs into this worker's store: from their home, then from peers, each blob once at a time.

use kiln_cas::{BlobStore as _, Digest};
use kiln_proto::v1::{Node, NodeKind};
use kiln_rpc::{Pool, Resting};
use kiln_store::{DiskStore, StoreError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::blob_client::{BATCH_BLOBS_MAX, BATCH_BYTES_MAX, BlobClient};

/// Most peers asked for a blob that its home does not have.
const PEERS_MAX: usize = 8;

/// Instance whose blobs nodes share.
pub(crate) const INSTANCE: &str = "main";

/// Closed when whoever fetches the blob is done with it, or was cancelled; true if this machine could not keep it.
type Flight = watch::Receiver<bool>;

/// Why a blob was not brought.
#[derive(Debug)]
enum FetchError {
    /// The other node failed, or lied.
    Node(Status),
    /// It could not be kept here.
    Store(StoreError),
}

impl From<Status> for FetchError {
    fn from(status: Status) -> FetchError {
        FetchError::Node(status)
    }
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> FetchError {
        match error {
            StoreError::Mismatch(digest) => Status::data_loss(format!("{digest} came with other content")).into(),
            error => FetchError::Store(error),
        }
    }
}

/// Fetches blobs for one worker.
pub(crate) struct Fetcher {
    store: DiskStore,
    pool: Pool,
    nodes: RwLock<Vec<Node>>,
    own_address: String,
    flights: Mutex<BTreeMap<Digest, Flight>>,
    /// Nodes that failed lately, by address.
    resting: Mutex<Resting>,
}

impl Fetcher {
    /// A fetcher that knows no nodes yet; `pool` dials them with the worker's credential.
    pub(crate) fn new(store: DiskStore, pool: Pool, own_address: String) -> Fetcher {
        Fetcher { store, pool, nodes: RwLock::default(), own_address, flights: Mutex::default(), resting: Mutex::default() }
    }

    /// The farm's nodes, as the schedulers know them.
    pub(crate) fn set_nodes(&self, nodes: Vec<Node>) {
        let others = nodes.into_iter().filter(|node| node.address != self.own_address).collect();
        *self.nodes.write().unwrap_or_else(PoisonError::into_inner) = others;
    }

    /// The cache servers.
    pub(crate) fn caches(&self) -> Vec<Node> {
        self.nodes_of(NodeKind::Cache)
    }

    fn nodes_of(&self, kind: NodeKind) -> Vec<Node> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.iter().filter(|node| node.kind == kind as i32).cloned().collect()
    }

    pub(crate) fn client(&self, node: &Node) -> Option<BlobClient> {
        let channel = self.pool.get(&node.address.parse().ok()?, &node.tls_name).ok()?;
        Some(BlobClient::new(channel, INSTANCE))
    }

    /// Brings what can be had of `digests`; answers those that nobody has. Two jobs that want one blob fetch it once.
    ///
    /// # Errors
    /// This machine cannot keep them.
    pub(crate) async fn fetch(self: &Arc<Fetcher>, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let (landed, flight) = watch::channel(false);
        let mut mine = Vec::new();
        let mut others = Vec::new();
        {
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            for digest in digests {
                match flights.get(digest) {
                    Some(flight) => others.push((*digest, flight.clone())),
                    None => {
                        flights.insert(*digest, flight.clone());
                        mine.push(*digest);
                    }
                }
            }
        }
        let landing = Landing { fetcher: self, digests: mine.clone(), landed };
        let fetched = self.fetch_now(&mine).await;
        landing.landed.send_replace(fetched.is_err());
        drop(landing);
        let mut missing = fetched?;
        for (digest, mut flight) in others {
            // This ends when the sender is gone.
            while flight.changed().await.is_ok() {}
            if *flight.borrow() {
                return Err(StoreError::Full(digest));
            }
            if !self.store.contains(&digest) {
                missing.push(digest);
            }
        }
        Ok(missing)
    }

    async fn fetch_now(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let mut missing = digests.to_vec();
        let caches = self.nodes_of(NodeKind::Cache);
        let peers = self.nodes_of(NodeKind::Worker);
        for node in caches.iter().chain(peers.iter().take(PEERS_MAX)) {
            if missing.is_empty() {
                break;
            }
            if !self.resting().may_try(&node.address, Instant::now()) {
                continue;
            }
            let Some(client) = self.client(node) else { continue };
            match self.fetch_from(&client, &mut missing).await {
                Err(FetchError::Store(error)) => return Err(error),
                Err(FetchError::Node(status)) => {
                    tracing::debug!("{}: {}", node.address, status.message());
                    if matches!(status.code(), Code::Unavailable | Code::DataLoss) {
                        self.resting().failed(&node.address, Instant::now());
                    }
                }
                Ok(()) => self.resting().well(&node.address),
            }
        }
        Ok(missing)
    }

    fn resting(&self) -> MutexGuard<'_, Resting> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes from one node what it has, and takes that off `missing`.
    async fn fetch_from(&self, client: &BlobClient, missing: &mut Vec<Digest>) -> Result<(), FetchError> {
        let absent = client.find_missing(missing).await?;
        let there: Vec<Digest> = missing.iter().filter(|digest| !absent.contains(digest)).copied().collect();
        let (small, large): (Vec<Digest>, Vec<Digest>) = there.into_iter().partition(|digest| digest.size <= BATCH_BYTES_MAX);
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        for digest in small {
            if batch_bytes + digest.size > BATCH_BYTES_MAX || batch.len() >= BATCH_BLOBS_MAX {
                self.fetch_batch(client, &std::mem::take(&mut batch), missing).await?;
                batch_bytes = 0;
            }
            batch_bytes += digest.size;
            batch.push(digest);
        }
        if !batch.is_empty() {
            self.fetch_batch(client, &batch, missing).await?;
        }
        for digest in large {
            self.fetch_large(client, &digest).await?;
            missing.retain(|other| *other != digest);
        }
        Ok(())
    }

    async fn fetch_batch(&self, client: &BlobClient, digests: &[Digest], missing: &mut Vec<Digest>) -> Result<(), FetchError> {
        let blobs = client.read(digests).await?;
        let store = self.store.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let put = blobs.into_iter().map(|(digest, bytes)| store.put(&digest, &bytes).map(|()| digest));
            put.collect::<Result<Vec<Digest>, _>>()
        });
        let kept = kept.await.map_err(|error| Status::internal(error.to_string()))??;
        missing.retain(|digest| !kept.contains(digest));
        Ok(())
    }

    async fn fetch_large(&self, client: &BlobClient, digest: &Digest) -> Result<(), FetchError> {
        let mut writer = self.store.writer(digest, false)?;
        let mut unkept = None;
        let streamed = client.stream(digest, |part| {
            writer.write(part).map_err(|error| {
                let status = Status::internal(error.to_string());
                unkept = Some(error);
                status
            })
        });
        match (streamed.await, unkept) {
            (_, Some(error)) => Err(error.into()),
            (Err(status), None) => Err(status.into()),
            (Ok(_), None) => Ok(writer.finish().map(drop)?),
        }
    }
}

/// Takes flights off the list, also when the fetching job is cancelled in the middle.
struct Landing<'a> {
    fetcher: &'a Fetcher,
    digests: Vec<Digest>,
    landed: watch::Sender<bool>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut flights = self.fetcher.flights.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in &self.digests {
            flights.remove(digest);
        }
    }
}
