//! The cache role whole: its stores opened, its services routed, its house kept. Knows no listener.

use crate::action_cache::ActionCacheService;
use crate::blobs::Blobs;
use crate::bytestream::ByteStreamService;
use crate::capabilities::CapabilitiesService;
use crate::cas::CasService;
use crate::context::{Access, CasContext, Instances};
use crate::limits::MAINTAIN_INTERVAL;
use crate::metrics::StoreMetrics;
use kiln_rpc::metrics::Registry;
use kiln_store::{DiskStore, ResultConfig, ResultStore, StoreConfig, StoreError};
use std::path::PathBuf;
use std::sync::Arc;
use tonic::service::Routes;

/// Where a cache keeps what, and how much of it.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    /// The directory; made if it is not there.
    pub dir: PathBuf,
    /// Most bytes of disk for blobs.
    pub max_bytes: u64,
    /// Most bytes of disk for results, beside that.
    pub results_max_bytes: u64,
    /// Most bytes of memory for small hot blobs; 0 for none.
    pub memory_bytes: u64,
    /// The instances served.
    pub instances: Instances,
}

/// A cache server without its listeners.
#[derive(Clone)]
pub struct CacheServer {
    context: CasContext,
    results: ResultStore,
}

impl CacheServer {
    /// Opens the stores. May take seconds where they hold much, so not on a thread that must not block.
    ///
    /// # Errors
    /// When the directory cannot be made, read or locked.
    pub fn open(config: CacheConfig) -> Result<CacheServer, StoreError> {
        let disk = DiskStore::open(StoreConfig::new(&config.dir, config.max_bytes))?;
        let results = ResultStore::open(ResultConfig { dir: config.dir, max_bytes: config.results_max_bytes })?;
        let blobs = Blobs::with_memory(disk, config.memory_bytes);
        Ok(CacheServer { context: CasContext::new(blobs, config.instances, Access::cluster()), results })
    }

    /// The blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.context.blobs
    }

    /// The results.
    pub fn results(&self) -> &ResultStore {
        &self.results
    }

    /// The services.
    pub fn routes(&self) -> Routes {
        let context = || self.context.clone();
        Routes::new(CasService::new(context()).into_server())
            .add_service(ByteStreamService::new(context()).into_server())
            .add_service(ActionCacheService::new(context(), self.results.clone()).into_server())
            .add_service(CapabilitiesService::new(context()).with_action_cache().into_server())
    }

    /// Shows the stores' counts on `/metrics`.
    pub fn register(&self, registry: &Registry) {
        registry.register(Arc::new(StoreMetrics { blobs: self.context.blobs.clone(), results: self.results.clone() }));
    }

    /// Keeps house for ever; to be dropped with the server.
    pub async fn keep_house(&self) {
        let mut ticks = tokio::time::interval(MAINTAIN_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (disk, results) = (self.context.blobs.disk().clone(), self.results.clone());
            let kept = tokio::task::spawn_blocking(move || disk.maintain().and_then(|()| results.maintain()));
            if let Ok(Err(error)) = kept.await {
                tracing::error!("housekeeping failed: {error}");
            }
        }
    }
}
