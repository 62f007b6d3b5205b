//! What laying out a root asks of a store of blobs. Knows no store.

use kiln_cas::{DecodeError, Digest, Directory};
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Blobs that can be linked into a directory. Implemented by the worker's store.
///
/// Blobs of a root that is being laid out, or is in use, must be kept by the caller: a blob that is evicted in between
/// is reported as missing, never laid out wrongly.
pub trait Blobs {
    /// The decoded directory of that digest; `None` when the store has no such blob. Implementations keep decoded
    /// directories in memory, because every job asks for the same ones.
    ///
    /// # Errors
    /// [`BlobsError`] when the blob is no directory or cannot be read.
    fn directory(&self, digest: &Digest) -> Result<Option<Arc<Directory>>, BlobsError>;

    /// Whether the store has the blob as a file (from memory; a wrong `true` costs a failed layout, nothing else).
    fn contains(&self, digest: &Digest) -> bool;

    /// Hard-links the store's file of that digest and executable bit to `name` in `dir` (`linkat`, without following
    /// links). The file's mode must be 0444 or 0555, its modification time [`crate::NODE_MTIME_SECONDS`], and its owner
    /// the worker (root when the worker is root). [`LinkKind::CannotLink`] for `EXDEV`, `EMLINK` and `EPERM`: the caller
    /// copies then.
    ///
    /// # Errors
    /// `NotFound` when the store has no such blob; others as they come.
    fn link(&self, digest: &Digest, executable: bool, dir: BorrowedFd<'_>, name: &str) -> io::Result<LinkKind>;

    /// Opens the blob for reading, to copy it.
    ///
    /// # Errors
    /// `NotFound` when the store has no such blob; others as they come.
    fn open(&self, digest: &Digest) -> io::Result<File>;
}

/// What [`Blobs::link`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// The name is a link to the store's file.
    Linked,
    /// The file system does not link it (other file system, too many links, protected links): nothing was made.
    CannotLink,
}

/// A directory that the store cannot give.
#[derive(Debug, thiserror::Error)]
pub enum BlobsError {
    /// The blob is not a directory message, or a hostile one.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The blob cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}
