//! Blobs on disk behind an optional tier in memory. Knows no wire.

use kiln_cas::{BlobStore, Digest};
use kiln_store::{DiskStore, MemoryStats, MemoryTier, StoreError};
use std::fs::File;
use std::sync::Arc;

/// A store of blobs as the services use it; cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    disk: DiskStore,
    memory: Option<Arc<MemoryTier<DiskStore>>>,
}

/// A blob to be sent.
pub(crate) enum Content {
    /// Small enough to be sent from memory.
    Bytes(Arc<[u8]>),
    /// To be read in pieces.
    File(File),
}

impl Blobs {
    /// Blobs on disk alone: the system's page cache is the memory tier.
    pub fn new(disk: DiskStore) -> Blobs {
        Blobs { disk, memory: None }
    }

    /// Blobs on disk, the small hot ones of up to `bytes` in all also in memory.
    pub fn with_memory(disk: DiskStore, bytes: u64) -> Blobs {
        let memory = (bytes > 0).then(|| Arc::new(MemoryTier::new(disk.clone(), bytes)));
        Blobs { disk, memory }
    }

    /// The store on disk.
    pub fn disk(&self) -> &DiskStore {
        &self.disk
    }

    /// The store to read and write whole blobs by.
    pub fn store(&self) -> &dyn BlobStore {
        match &self.memory {
            Some(memory) => memory.as_ref(),
            None => &self.disk,
        }
    }

    /// Counts of the memory tier, if there is one.
    pub fn memory_stats(&self) -> Option<MemoryStats> {
        self.memory.as_ref().map(|memory| memory.stats())
    }

    /// The blob if it is in memory: never blocks.
    pub(crate) fn cached(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.memory.as_ref()?.cached(digest)
    }

    /// The blob, from memory if it is at most `whole_max` bytes.
    pub(crate) fn open(&self, digest: &Digest, whole_max: u64) -> Result<Option<Content>, StoreError> {
        if digest.size <= whole_max {
            return Ok(self.store().get(digest)?.map(Content::Bytes));
        }
        Ok(self.disk.open_file(digest)?.map(Content::File))
    }
}
