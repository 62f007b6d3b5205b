//! Brings a unit's blobs to where they are needed: shared ones once into the farm, its own to its worker.

use kiln_cas::Digest;
use kiln_proto::v1::Node;
use kiln_worker::{BATCH_BLOBS_MAX, BATCH_BYTES_MAX, BlobClient, Outgoing, home, pieces};
use rustc_hash::FxHashSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use tonic::{Code, Status};

use super::grants::Farm;
use crate::action::Analysed;
use crate::blobs::Source;
use crate::files::open_regular;

/// Why blobs could not be brought.
#[derive(Debug)]
pub(crate) enum TransferError {
    /// The other end failed.
    Node(Status),
    /// A file is not what it was when it was scanned.
    Changed(String),
}

impl From<Status> for TransferError {
    fn from(status: Status) -> TransferError {
        TransferError::Node(status)
    }
}

/// Name, among nodes, of the workers together: a blob known there was sent to one of them.
pub(crate) const SOME_WORKER: &str = "workers:";

/// What was sent, also where the rest failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
    /// The first of them that are files.
    pub(crate) files: Vec<Arc<str>>,
}

/// Files named of all that were sent for a unit: enough to see what kind they are. The first unit sends a whole toolchain.
const FILES_NAMED_MAX: usize = 50;

impl Sent {
    fn count(&mut self, unit: &Analysed, digests: &[Digest], bytes: u64) {
        self.blobs += digests.len() as u64;
        self.bytes += bytes;
        let file = |digest| match unit.blobs.get(digest) {
            Some(Source::File(path)) => Some(Arc::clone(path)),
            _ => None,
        };
        let room = FILES_NAMED_MAX.saturating_sub(self.files.len());
        self.files.extend(digests.iter().filter_map(file).take(room));
    }
}

impl Farm {
    /// Brings the shared blobs that are not known to be in the farm to their homes, each once. Without cache servers there is no
    /// home: what workers lack goes to the first that asks ([`Farm::supply`]).
    pub(crate) async fn share(&self, unit: &Arc<Analysed>, sent: &mut Sent) -> Result<(), TransferError> {
        let caches = self.caches();
        let everywhere = all_of(&caches);
        if caches.is_empty() || self.known.unknown(&everywhere, unit.blobs.shared()).is_empty() {
            return Ok(());
        }
        // One unit at a time brings what is new: in a cold burst the others find it done, and send nothing twice.
        let _turn = self.sharing.lock().await;
        let unknown = self.known.unknown(&everywhere, unit.blobs.shared());
        for cache in &caches {
            let at_home = |digest: &&Digest| home(&caches, |node| &node.name, digest).is_some_and(|node| node.name == cache.name);
            let here: Vec<Digest> = unknown.iter().filter(at_home).copied().collect();
            if here.is_empty() || !self.may_ask(cache) {
                continue;
            }
            let address = cache.address.parse().map_err(|_| Status::internal("a cache server has no address"))?;
            let channel = self.servers.get(&address, &cache.tls_name).map_err(|error| Status::internal(error.to_string()))?;
            let client = BlobClient::new(channel, super::INSTANCE);
            match self.bring(&client, unit, &here, sent).await {
                Ok(()) => {}
                Err(TransferError::Node(status)) if status.code() == Code::Unavailable => {
                    self.cache_failed(cache);
                    return Err(status.into());
                }
                Err(error) => return Err(error),
            }
            self.cache_is_well(cache);
            self.known.learn(&everywhere, here);
        }
        Ok(())
    }

    /// Sends a worker what it and its peers lack. A shared blob goes to one worker, one unit at a time: when others asked for it
    /// meanwhile, they find it at their peer if they look again, which is what `again` tells.
    pub(crate) async fn supply(
        &self,
        client: &BlobClient,
        unit: &Arc<Analysed>,
        missing: &[Digest],
        again: &mut bool,
        sent: &mut Sent,
    ) -> Result<(), TransferError> {
        let own: FxHashSet<&Digest> = unit.blobs.own().collect();
        let (own, shared): (Vec<Digest>, Vec<Digest>) = missing.iter().partition(|digest| own.contains(digest));
        self.send(client, unit, &own, sent).await?;
        if shared.is_empty() {
            return Ok(());
        }
        // Cache servers that had these have them no more.
        self.known.forget(&all_of(&self.caches()));
        let _turn = self.sharing.lock().await;
        let nowhere = match std::mem::replace(again, true) {
            false => self.known.unknown(SOME_WORKER, shared.iter()),
            true => shared,
        };
        self.send(client, unit, &nowhere, sent).await?;
        self.known.learn(SOME_WORKER, nowhere);
        Ok(())
    }

    async fn bring(
        &self,
        client: &BlobClient,
        unit: &Arc<Analysed>,
        digests: &[Digest],
        sent: &mut Sent,
    ) -> Result<(), TransferError> {
        let missing = client.find_missing(digests).await?;
        self.send(client, unit, &missing, sent).await
    }

    /// Sends `digests` to the node behind `client`, small ones in batches, large ones as streams.
    pub(crate) async fn send(
        &self,
        client: &BlobClient,
        unit: &Arc<Analysed>,
        digests: &[Digest],
        sent: &mut Sent,
    ) -> Result<(), TransferError> {
        let mut batch: Vec<Digest> = Vec::new();
        let mut batch_bytes = 0;
        for digest in digests {
            if digest.size > BATCH_BYTES_MAX {
                let bytes = self.send_large(client, unit, digest).await?;
                sent.count(unit, &[*digest], bytes);
                continue;
            }
            if batch_bytes + digest.size > BATCH_BYTES_MAX || batch.len() >= BATCH_BLOBS_MAX {
                send_batch(client, unit, std::mem::take(&mut batch), sent).await?;
                batch_bytes = 0;
            }
            batch.push(*digest);
            batch_bytes += digest.size;
        }
        if !batch.is_empty() {
            send_batch(client, unit, batch, sent).await?;
        }
        Ok(())
    }

    /// Bytes sent for a large blob.
    async fn send_large(&self, client: &BlobClient, unit: &Analysed, digest: &Digest) -> Result<u64, TransferError> {
        let bytes = match unit.blobs.get(digest) {
            Some(Source::File(path)) => {
                let (fd, _) = open_regular(path).map_err(|error| TransferError::Changed(format!("{path}: {error}")))?;
                client.write(digest, pieces(File::from(fd))).await?
            }
            Some(Source::Memory(bytes)) => {
                let (bytes, mut offset) = (Arc::clone(bytes), 0);
                let read = move |len: usize| {
                    let end = bytes.len().min(offset + len);
                    let part = bytes[offset..end].to_vec();
                    offset = end;
                    Ok(part)
                };
                client.write(digest, read).await?
            }
            None => return Err(Status::invalid_argument(format!("the farm asks for {digest}, no input of this unit")).into()),
        };
        Ok(bytes)
    }
}

/// Name, among nodes, of all cache servers together: what is known of one list says nothing of another.
fn all_of(caches: &[Node]) -> String {
    let mut names = String::from("homes:");
    for cache in caches {
        names.push_str(&cache.name);
        names.push(',');
    }
    names
}

async fn send_batch(client: &BlobClient, unit: &Arc<Analysed>, digests: Vec<Digest>, sent: &mut Sent) -> Result<(), TransferError> {
    let digests: Arc<[Digest]> = digests.into();
    let (of, these) = (Arc::clone(unit), Arc::clone(&digests));
    let loaded = tokio::task::spawn_blocking(move || load(&of, &these)).await;
    let outgoing = loaded.map_err(|error| Status::internal(error.to_string()))??;
    let bytes = client.update(outgoing).await?;
    sent.count(unit, &digests, bytes);
    Ok(())
}

/// Reads small blobs, each checked: a file that changed since it was scanned must not be sent under its old name.
fn load(unit: &Analysed, digests: &[Digest]) -> Result<Vec<Outgoing>, TransferError> {
    let mut outgoing = Vec::with_capacity(digests.len());
    for digest in digests {
        let bytes = match unit.blobs.get(digest) {
            Some(Source::Memory(bytes)) => bytes.to_vec(),
            Some(Source::File(path)) => {
                let read = open_regular(path).and_then(|(fd, _)| {
                    let file = File::from(fd);
                    let mut bytes = vec![0; digest.size as usize];
                    file.read_exact_at(&mut bytes, 0).map(|()| bytes)
                });
                let bytes = read.map_err(|error| TransferError::Changed(format!("{path}: {error}")))?;
                if !digest.matches(&bytes) {
                    return Err(TransferError::Changed(path.to_string()));
                }
                bytes
            }
            None => return Err(Status::invalid_argument(format!("the farm asks for {digest}, no input of this unit")).into()),
        };
        outgoing.push(Outgoing { digest: *digest, bytes });
    }
    Ok(outgoing)
}
