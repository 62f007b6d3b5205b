//! Sends finished results to the cluster's cache: blobs first, then the result that names them. Never delays a compile.

use kiln_cas::Digest;
use kiln_proto::convert::{digest_to_wire, result_digests};
use kiln_proto::reapi::action_cache_client::ActionCacheClient;
use kiln_proto::reapi::{ActionResult, UpdateActionResultRequest};
use kiln_proto::v1::Node;
use kiln_rpc::Pool;
use kiln_store::DiskStore;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::Status;

use crate::blob_client::{BATCH_BYTES_MAX, BlobClient, Outgoing, pieces};
use crate::engine::Engine;
use crate::fetch::{Fetcher, INSTANCE};
use crate::host_root::Seen;

/// Most results waiting to be sent; one that finds the queue full is not published, and is compiled again some day.
const QUEUE_MAX: usize = 1024;

/// Most results waiting for a look at this machine's own files.
const UNSURE_MAX: usize = 1024;

/// Results in flight at once.
const FLIGHTS: usize = 4;

/// The queue of results on their way to the cache.
pub(crate) struct Publisher {
    queue: mpsc::Sender<(Digest, ActionResult)>,
    unsure: mpsc::Sender<(Seen, Digest, ActionResult)>,
}

impl Publisher {
    /// Starts sending what is queued. Needs a running tokio.
    pub(crate) fn start(engine: Arc<dyn Engine>, fetcher: Arc<Fetcher>, pool: Arc<Pool>) -> Publisher {
        let store = engine.store().clone();
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let (unsure, waiting) = mpsc::channel(UNSURE_MAX);
        tokio::spawn(make_sure(engine, waiting, queue.clone()));
        let queued = Arc::new(tokio::sync::Mutex::new(queued));
        for _ in 0..FLIGHTS {
            let (store, fetcher, pool, queued) = (store.clone(), Arc::clone(&fetcher), Arc::clone(&pool), Arc::clone(&queued));
            tokio::spawn(async move {
                loop {
                    let next = queued.lock().await.recv().await;
                    let Some((action, result)) = next else { return };
                    if let Err(status) = send(&store, &fetcher, &pool, &action, result).await {
                        tracing::debug!("result of {action} not published: {}", status.message());
                    }
                }
            });
        }
        Publisher { queue, unsure }
    }

    /// Queues a result that is another's too if this machine's own files are still as they were seen before the run.
    pub(crate) fn publish_if_still(&self, seen: Seen, action: Digest, result: ActionResult) {
        if self.unsure.try_send((seen, action, result)).is_err() {
            tracing::debug!("result of {action} not published: the queue is full");
        }
    }

    /// Queues a result.
    pub(crate) fn publish(&self, action: Digest, result: ActionResult) {
        if self.queue.try_send((action, result)).is_err() {
            tracing::debug!("result of {action} not published: the queue is full");
        }
    }
}

/// Passes on the results of plain actions that saw no change of this machine's files: one look for all that have ended before it.
async fn make_sure(
    engine: Arc<dyn Engine>,
    mut waiting: mpsc::Receiver<(Seen, Digest, ActionResult)>,
    queue: mpsc::Sender<(Digest, ActionResult)>,
) {
    let mut ended = Vec::new();
    while waiting.recv_many(&mut ended, UNSURE_MAX).await > 0 {
        let engine = Arc::clone(&engine);
        let look = tokio::task::spawn_blocking(move || engine.host_root().and_then(|root| root.look().ok()));
        let now = look.await.ok().flatten();
        for (_, action, result) in ended.drain(..).filter(|(seen, ..)| now == Some(*seen)) {
            if queue.send((action, result)).await.is_err() {
                return;
            }
        }
    }
}

async fn send(store: &DiskStore, fetcher: &Fetcher, pool: &Pool, action: &Digest, result: ActionResult) -> Result<(), Status> {
    let caches = fetcher.caches();
    let Some(cache) = crate::home(&caches, |node: &Node| &node.name, action) else { return Ok(()) };
    let Some(client) = fetcher.client(cache) else { return Ok(()) };
    let mut digests = result_digests(&result).map_err(|error| Status::internal(error.to_string()))?;
    digests.push(*action);
    let missing = client.find_missing(&digests).await?;
    for digest in missing {
        send_blob(store, &client, digest).await?;
    }
    let address = cache.address.parse().map_err(|_| Status::internal("the cache server has no address"))?;
    let channel = pool.get(&address, &cache.tls_name).map_err(|error| Status::internal(error.to_string()))?;
    let request = UpdateActionResultRequest {
        instance_name: INSTANCE.to_owned(),
        action_digest: Some(digest_to_wire(action)),
        action_result: Some(result),
        ..Default::default()
    };
    ActionCacheClient::new(channel).update_action_result(request).await?;
    Ok(())
}

async fn send_blob(store: &DiskStore, client: &BlobClient, digest: Digest) -> Result<(), Status> {
    let gone = || Status::not_found(format!("{digest} was evicted before it was published"));
    let file = store.open_file(&digest).map_err(|error| Status::internal(error.to_string()))?.ok_or_else(gone)?;
    if digest.size <= BATCH_BYTES_MAX {
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; digest.size as usize];
            file.read_exact_at(&mut bytes, 0).map(|()| bytes)
        });
        let bytes = read.await.map_err(|error| Status::internal(error.to_string()))??;
        client.update(vec![Outgoing { digest, bytes }]).await?;
        return Ok(());
    }
    client.write(&digest, pieces(file)).await?;
    Ok(())
}
