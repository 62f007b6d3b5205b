//! Blobs, action results and what outlives a process: bounded, verified, crash-safe. Knows no network and no asynchronous runtime.
//!
//! - [`DiskStore`] keeps blobs as plain files, so that they can be linked, copied and handed out as descriptors.
//! - [`ResultStore`] keeps action results, opaque but for the blobs they name.
//! - [`MemoryTier`] keeps small hot blobs in front of another store.
//! - [`Kept`] keeps what a process has found out for the next one.
//!
//! Nothing is synced on the way in: after a power failure a file may be short or wrong, so no file is believed before this
//! process wrote it or compared it with its digest, and one found wrong is removed and counts as absent.

mod disk;
mod error;
mod index;
mod kept;
mod key;
mod memory;
mod pending;
mod place;
mod record;
mod results;
mod session;
mod shelf;
mod stats;
mod writer;

pub use disk::{DirectoryError, DiskStore, PinGuard, StoreConfig};
pub use kept::{Kept, KeptBounds, Origin, Unusable, read_kept};
pub use kiln_cas::{BlobStore, StoreError};
pub use memory::{MEMORY_BLOB_BYTES_MAX, MemoryStats, MemoryTier};
pub use place::{CopyTimes, LinkOutcome, Placed};
pub use results::{PutOutcome, ResultConfig, ResultStore, StoredResult};
pub use shelf::FILE_MTIME_S;
pub use stats::StoreStats;
pub use writer::BlobWriter;

/// Bytes read and hashed at a time: large enough that system calls do not matter, small enough for every stack of buffers.
const COPY_BUFFER_BYTES: usize = 128 << 10;

/// Parsers that are no part of the interface, for the fuzzer alone.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// A stored result.
    pub fn record(bytes: &[u8]) {
        let _ = crate::record::decode(bytes);
    }
}
