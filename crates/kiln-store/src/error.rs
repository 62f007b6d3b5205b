//! Makes the store's errors from system errors. Knows no store.

use crate::StoreError;
use rustix::io::Errno;
use std::path::Path;

pub(crate) fn io_error(what: &str, path: &Path, error: impl Into<std::io::Error>) -> StoreError {
    StoreError::Io { context: format!("cannot {what} {}", path.display()), source: error.into() }
}

/// Whether the system says that the disk, not the store's own bound, is full.
pub(crate) fn is_disk_full(error: &std::io::Error) -> bool {
    [Errno::NOSPC, Errno::DQUOT].iter().any(|full| error.raw_os_error() == Some(full.raw_os_error()))
}
