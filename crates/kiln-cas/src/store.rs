//! The `BlobStore` trait and its simplest holder, in memory. Knows no disk.

use crate::Digest;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The bytes are not what the digest names; nothing was kept.
    #[error("content does not match {0}")]
    Mismatch(Digest),
    /// The blob does not fit the store's bound.
    #[error("no room for {0}")]
    Full(Digest),
    /// The store's own storage failed.
    #[error("{context}: {source}")]
    Io {
        /// What was done to which file.
        context: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// Blobs by digest. Every implementation verifies what it takes in, and answers `None` rather than a wrong byte.
pub trait BlobStore: Send + Sync {
    /// Whether the blob is here now. A positive answer also counts as a use (it delays eviction).
    fn contains(&self, digest: &Digest) -> bool;

    /// The blob's bytes, or `None` when it is not here.
    ///
    /// # Errors
    /// When the storage fails.
    fn get(&self, digest: &Digest) -> Result<Option<Arc<[u8]>>, StoreError>;

    /// Keeps a blob. Keeping one that is here already is no error.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] when the bytes are others than the digest names; storage failures.
    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError>;
}

/// Blobs in memory, without a bound: for tests and for the few messages of one action.
#[derive(Default)]
pub struct MemoryStore {
    blobs: Mutex<BTreeMap<Digest, Arc<[u8]>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Keeps `bytes` under their own digest.
    pub fn insert(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.lock().insert(digest, bytes.into());
        digest
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Arc<[u8]>>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobStore for MemoryStore {
    fn contains(&self, digest: &Digest) -> bool {
        *digest == Digest::EMPTY || self.lock().contains_key(digest)
    }

    fn get(&self, digest: &Digest) -> Result<Option<Arc<[u8]>>, StoreError> {
        if *digest == Digest::EMPTY {
            return Ok(Some(Arc::from([])));
        }
        Ok(self.lock().get(digest).cloned())
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        if !digest.matches(bytes) {
            return Err(StoreError::Mismatch(*digest));
        }
        self.lock().insert(*digest, bytes.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lie_is_not_kept() {
        let store = MemoryStore::new();
        let digest = Digest::of(b"truth");
        assert!(matches!(store.put(&digest, b"a lie"), Err(StoreError::Mismatch(_))));
        assert!(!store.contains(&digest));
        store.put(&digest, b"truth").unwrap();
        assert_eq!(store.get(&digest).unwrap().as_deref(), Some(&b"truth"[..]));
    }
}
