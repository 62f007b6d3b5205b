//! Writes one blob aside, hashing as it comes, and publishes it only if it is what its digest says. Knows no wire.

use crate::StoreError;
use crate::index::charge;
use crate::key::Key;
use crate::pending::Pending;
use crate::shelf::{Publish, Shelf};
use crate::stats::add;
use kiln_cas::{BLOB_SIZE_MAX, Digest, Hasher};
use std::sync::Arc;

/// Room is set aside in steps of this size while a blob of unknown length is written: 1 MiB, more than most objects.
const GROW_BYTES: u64 = 1 << 20;

/// A blob on its way in. Dropped before [`BlobWriter::finish`], it leaves nothing behind.
pub struct BlobWriter {
    shelf: Arc<Shelf>,
    pending: Pending,
    hasher: Hasher,
    /// Bytes of content that room was set aside for.
    room: u64,
    size_max: u64,
    expected: Option<Digest>,
    executable: bool,
}

impl BlobWriter {
    pub(crate) fn expecting(shelf: &Arc<Shelf>, digest: &Digest, executable: bool) -> Result<BlobWriter, StoreError> {
        BlobWriter::new(shelf, Some(*digest), digest.size, digest.size, executable)
    }

    pub(crate) fn unknown(shelf: &Arc<Shelf>, size_max: u64, executable: bool) -> Result<BlobWriter, StoreError> {
        BlobWriter::new(shelf, None, 0, size_max.min(BLOB_SIZE_MAX), executable)
    }

    fn new(
        shelf: &Arc<Shelf>,
        expected: Option<Digest>,
        room: u64,
        size_max: u64,
        executable: bool,
    ) -> Result<BlobWriter, StoreError> {
        let reservation = shelf.reserve(&expected.unwrap_or(Digest::EMPTY), room)?;
        let pending = Pending { temp: shelf.create(&expected.unwrap_or(Digest::EMPTY))?, reservation };
        Ok(BlobWriter { shelf: Arc::clone(shelf), pending, hasher: Hasher::new(), room, size_max, expected, executable })
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.hasher.size()
    }

    fn named(&self) -> Digest {
        self.expected.unwrap_or(Digest { size: self.hasher.size(), ..Digest::EMPTY })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] when they are more than the digest says; [`StoreError::Full`] when they are more than allowed
    /// or than there is room for; storage failures. The writer is of no use after an error.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let size = self.hasher.size().saturating_add(bytes.len() as u64);
        if size > self.size_max {
            return Err(match self.expected {
                Some(digest) => self.mismatch(digest),
                None => {
                    add(&self.shelf.counters.full, 1);
                    StoreError::Full(self.named())
                }
            });
        }
        if size > self.room {
            let step = (size - self.room).max(GROW_BYTES.min(self.size_max - self.room));
            let more = charge(self.room + step) - charge(self.room);
            self.pending.reservation.grow(&self.named(), more)?;
            self.room += step;
        }
        self.hasher.update(bytes);
        self.pending.temp.write_all(&self.named(), bytes)
    }

    /// Appends bytes that were compared with the digest already.
    pub(crate) fn write_verified(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.pending.temp.write_all(&self.named(), bytes)
    }

    fn mismatch(&self, digest: Digest) -> StoreError {
        add(&self.shelf.counters.mismatches, 1);
        StoreError::Mismatch(digest)
    }

    /// Publishes the blob and answers its digest.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] when the bytes are others than expected; storage failures.
    pub fn finish(mut self) -> Result<Digest, StoreError> {
        let digest = std::mem::take(&mut self.hasher).finish();
        if let Some(expected) = self.expected
            && expected != digest
        {
            return Err(self.mismatch(expected));
        }
        self.publish(digest)
    }

    /// Publishes what was written as `digest`. A file this process trusts stays, so that an inode in use remains the only one;
    /// one it does not is replaced.
    pub(crate) fn publish(self, digest: Digest) -> Result<Digest, StoreError> {
        let key = Key::blob(&digest, self.executable);
        let published = match self.shelf.is_trusted(&key) {
            true => Publish::Kept,
            false => self.shelf.publish(self.pending, &key, digest.size, true)?,
        };
        if published == Publish::Kept {
            add(&self.shelf.counters.duplicates, 1);
        }
        Ok(digest)
    }
}

impl std::io::Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match BlobWriter::write(self, bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => Err(std::io::Error::other(error)),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
