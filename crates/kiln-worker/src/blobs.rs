//! Lets the sandbox lay out trees from the store.

use kiln_cas::{BlobStore as _, Digest, Directory};
use kiln_sandbox::{Blobs, BlobsError, LinkKind};
use kiln_store::{DirectoryError, DiskStore, Placed, StoreError};
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

/// A store as the sandbox wants it.
pub(crate) struct StoreBlobs<'a>(pub(crate) &'a DiskStore);

fn to_io(error: StoreError) -> io::Error {
    match error {
        StoreError::Io { source, context } => io::Error::new(source.kind(), format!("{context}: {source}")),
        other => io::Error::other(other.to_string()),
    }
}

fn absent(digest: &Digest) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{digest} is not in the store"))
}

impl Blobs for StoreBlobs<'_> {
    fn directory(&self, digest: &Digest) -> Result<Option<Arc<Directory>>, BlobsError> {
        self.0.directory(digest).map_err(|error| match error {
            DirectoryError::Store(error) => BlobsError::Io(to_io(error)),
            DirectoryError::Decode { source, .. } => BlobsError::Decode(source),
        })
    }

    fn contains(&self, digest: &Digest) -> bool {
        self.0.contains(digest)
    }

    fn link(&self, digest: &Digest, executable: bool, dir: BorrowedFd<'_>, name: &str) -> io::Result<LinkKind> {
        match self.0.link_at(digest, executable, dir, Path::new(name)).map_err(to_io)? {
            Placed::Linked => Ok(LinkKind::Linked),
            // A copy is as private as what the caller would make now.
            Placed::Copied => {
                rustix::fs::unlinkat(dir, name, rustix::fs::AtFlags::empty())?;
                Ok(LinkKind::CannotLink)
            }
            Placed::Missing => Err(absent(digest)),
        }
    }

    fn open(&self, digest: &Digest) -> io::Result<File> {
        self.0.open_file(digest).map_err(to_io)?.ok_or_else(|| absent(digest))
    }
}
