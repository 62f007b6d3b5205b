//! Small hot blobs in memory in front of another store. Knows no disk.

use crate::{BlobStore, StoreError};
use kiln_cas::Digest;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Largest blob kept in memory: 1 MiB. Larger ones are read from files as they are sent; the system's page cache has them.
pub const MEMORY_BLOB_BYTES_MAX: u64 = 1 << 20;

/// What an entry takes beside its bytes: key, counters and links of the cache, header of the allocation.
const ENTRY_OVERHEAD_BYTES: u64 = 128;

/// Typical size of a blob, for the cache's first guess at how many it will hold.
const TYPICAL_BLOB_BYTES: u64 = 16 << 10;

#[derive(Clone)]
struct BySize;

impl Weighter<Digest, Arc<[u8]>> for BySize {
    fn weight(&self, _: &Digest, bytes: &Arc<[u8]>) -> u64 {
        bytes.len() as u64 + ENTRY_OVERHEAD_BYTES
    }
}

/// A bounded cache of blobs over another store, admitting by S3-FIFO: a blob asked for once passes through a small queue and
/// does not displace those asked for again.
pub struct MemoryTier<S> {
    below: S,
    cache: Cache<Digest, Arc<[u8]>, BySize>,
    max_bytes: u64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Counts of a [`MemoryTier`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Reads answered from memory.
    pub hits: u64,
    /// Reads passed on.
    pub misses: u64,
    /// Blobs now.
    pub blobs: u64,
    /// Bytes now, overhead included.
    pub bytes: u64,
}

impl<S: BlobStore> MemoryTier<S> {
    /// A tier of at most `max_bytes`, overhead included, over `below`.
    pub fn new(below: S, max_bytes: u64) -> MemoryTier<S> {
        let items = (max_bytes / TYPICAL_BLOB_BYTES).clamp(16, 1 << 20) as usize;
        MemoryTier {
            below,
            cache: Cache::with_weighter(items, max_bytes, BySize),
            max_bytes,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The store below.
    pub fn below(&self) -> &S {
        &self.below
    }

    /// Counts since it was made, and its size now.
    pub fn stats(&self) -> MemoryStats {
        MemoryStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            blobs: self.cache.len() as u64,
            bytes: self.cache.weight(),
        }
    }

    /// The blob if it is in memory: never blocks. Counted as a hit if it is, and not at all if not.
    pub fn cached(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        let bytes = self.cache.get(digest)?;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(bytes)
    }

    fn keeps(&self, digest: &Digest) -> bool {
        digest.size <= MEMORY_BLOB_BYTES_MAX && digest.size + ENTRY_OVERHEAD_BYTES <= self.max_bytes / 4
    }
}

impl<S: BlobStore> BlobStore for MemoryTier<S> {
    /// Asks the store below even for what is in memory: a positive answer promises that the blob stays for a while, and only
    /// the store below can keep that promise.
    fn contains(&self, digest: &Digest) -> bool {
        self.below.contains(digest)
    }

    fn get(&self, digest: &Digest) -> Result<Option<Arc<[u8]>>, StoreError> {
        if !self.keeps(digest) {
            return self.below.get(digest);
        }
        if let Some(bytes) = self.cached(digest) {
            return Ok(Some(bytes));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let bytes = self.below.get(digest)?;
        if let Some(bytes) = &bytes {
            self.cache.insert(*digest, Arc::clone(bytes));
        }
        Ok(bytes)
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.below.put(digest, bytes)?;
        if self.keeps(digest) {
            self.cache.insert(*digest, bytes.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_cas::MemoryStore;

    #[test]
    fn the_bound_holds_and_hot_blobs_survive_a_scan() {
        let tier = MemoryTier::new(MemoryStore::new(), 1 << 20);
        let hot: Vec<Digest> = (0..8u32).map(|i| tier.below().insert(&[i as u8; 4096])).collect();
        for _ in 0..3 {
            for digest in &hot {
                assert!(tier.get(digest).unwrap().is_some());
            }
        }
        for i in 0..2000u32 {
            let mut bytes = vec![9; 4096];
            bytes[..4].copy_from_slice(&i.to_le_bytes());
            let digest = Digest::of(&bytes);
            tier.put(&digest, &bytes).unwrap();
            assert!(tier.stats().bytes <= 1 << 20);
        }
        let before = tier.stats().hits;
        for digest in &hot {
            assert!(tier.get(digest).unwrap().is_some());
        }
        assert_eq!(tier.stats().hits - before, hot.len() as u64);
    }

    #[test]
    fn large_blobs_pass_by_and_lies_are_refused() {
        let tier = MemoryTier::new(MemoryStore::new(), 64 << 20);
        let large = vec![7; MEMORY_BLOB_BYTES_MAX as usize + 1];
        tier.put(&Digest::of(&large), &large).unwrap();
        assert_eq!(tier.get(&Digest::of(&large)).unwrap().as_deref(), Some(&large[..]));
        assert_eq!(tier.stats().blobs, 0);
        assert!(tier.put(&Digest::of(b"a"), b"b").is_err());
        assert!(tier.get(&Digest::of(b"a")).unwrap().is_none());
    }
}
