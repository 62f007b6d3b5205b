//! The cache service: REAPI CAS, ActionCache, ByteStream and Capabilities over the stores of `kiln-store`. Knows no job and no
//! scheduler; a worker serves its own blobs by the same [`CasService`] and [`ByteStreamService`].

mod action_cache;
mod blobs;
mod bytestream;
mod capabilities;
mod cas;
mod compress;
mod context;
mod failure;
mod limits;
mod metrics;
mod reader;
mod referenced;
mod resource;
mod server;
mod tree;
mod uploader;

pub use action_cache::ActionCacheService;
pub use blobs::Blobs;
pub use bytestream::ByteStreamService;
pub use capabilities::CapabilitiesService;
pub use cas::CasService;
pub use context::{Access, CasContext, Instance, Instances};
pub use limits::{
    BATCH_ANNOUNCED_BYTES, BATCH_COUNT_MAX, CHUNK_BYTES, INLINE_BYTES_MAX, UPLOAD_IDLE_MAX, UPLOADS_MAX, ZSTD_WINDOW_LOG_MAX,
};
pub use resource::{Compressor, Resource, ResourceError, read_name, write_name};
pub use server::{CacheConfig, CacheServer};
