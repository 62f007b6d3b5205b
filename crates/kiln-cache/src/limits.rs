//! Every bound of the service, with its arithmetic. Constants only; those of the wire itself are `kiln_rpc::limits`.

use std::time::Duration;

/// What Capabilities announces as `max_batch_total_size_bytes`: 3.5 MiB of blobs, so that with 128 bytes for each of up to
/// 4,096 blobs (512 KiB) a message stays under the 4 MiB that gRPC clients take unless told otherwise.
pub const BATCH_ANNOUNCED_BYTES: usize = 7 << 19;

/// Bytes of digest, status and framing a batch needs for each blob: 64 + 10 of digest, 20 of status, and some.
pub(crate) const BATCH_ENTRY_BYTES: usize = 128;

/// Most blobs of one batch: 32 Ki entries of [`BATCH_ENTRY_BYTES`] fill a 4 MiB message by themselves.
pub const BATCH_COUNT_MAX: usize = 32 << 10;

/// Bytes of a blob sent in one ByteStream message: 256 KiB, one HTTP/2 frame; larger blobs are read from files in such pieces.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Bytes of stdout, stderr and output files put into one action result at the caller's wish: beside the result's own names and
/// digests (well under 1 MiB) a message stays under 4 MiB.
pub const INLINE_BYTES_MAX: u64 = 3 << 20;

/// ByteStream uploads at once: each holds a descriptor and up to a message (4 MiB); further ones wait.
pub const UPLOADS_MAX: usize = 256;

/// An upload that sends nothing for this long is given up, for others may wait for its place.
pub const UPLOAD_IDLE_MAX: Duration = Duration::from_secs(60);

/// Largest zstd window taken: 8 MiB (2^23), what RFC 8878 asks every decoder to support, so memory of one upload is bounded.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// zstd level for what is sent: 1, for the network is faster than higher levels.
pub(crate) const ZSTD_LEVEL: i32 = 1;

/// Smaller blobs are not worth compressing in a batch: headers of both formats eat the gain.
pub(crate) const COMPRESS_MIN_BYTES: usize = 512;

/// Directories of one GetTree: 1 Mi; the set of those seen takes 64 MiB then.
pub(crate) const TREE_DIRECTORIES_MAX: usize = 1 << 20;

/// Directories in one GetTree message unless the caller asks for fewer.
pub(crate) const TREE_PAGE_DIRECTORIES: usize = 1000;

/// Bytes after which a GetTree message is sent though its page is not full: 1 MiB.
pub(crate) const TREE_PAGE_BYTES: usize = 1 << 20;

/// Blobs one action result may name, those inside its output trees included: as many as a stored result may.
pub(crate) const REFERENCED_MAX: usize = 1 << 16;

/// Time between two rounds of housekeeping in the stores.
pub(crate) const MAINTAIN_INTERVAL: Duration = Duration::from_secs(30);
