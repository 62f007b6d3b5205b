//! The cache role: from settings to `kiln_cache`, served and announced. Knows no blob.

use anyhow::Context;
use kiln_cache::CacheConfig;
use kiln_cache::CacheServer;
use kiln_cache::Instance;
use kiln_cache::Instances;
use kiln_rpc::Address;
use kiln_rpc::ServeOptions;
use tokio::task::JoinSet;

use super::Running;
use super::advertised;
use super::announce;
use super::announce::Announced;
use super::name_or_host;
use super::worker::Farm;
use crate::lock;
use crate::serving;

/// Of the disk a cache may use, the part kept for results: a result is about a sixty-fourth of its blobs (2 KiB of names
/// and digests to 128 KiB of object).
const RESULTS_PART: u64 = 64;

/// Runs a cache with the farm of the settings.
///
/// # Errors
/// Why it could not start.
pub(crate) async fn run(running: Running) -> anyhow::Result<()> {
    let settings = &running.settings;
    let farm = Farm { schedulers: settings.farm.schedulers.clone(), dial: serving::dial(settings, kiln_rpc::Role::Worker)? };
    let listen = settings.cache.listen.clone();
    start(&running, farm, &listen).await?.finish().await
}

/// A cache that serves.
pub(crate) struct Serves {
    server: tokio::task::JoinHandle<kiln_rpc::Drained>,
    announcing: JoinSet<()>,
    stop: tokio_util::sync::CancellationToken,
    _lock: lock::DirLock,
}

/// Starts a cache at `listen`.
///
/// # Errors
/// Its directory or its address cannot be had.
pub(crate) async fn start(running: &Running, farm: Farm, listen: &[Address]) -> anyhow::Result<Serves> {
    let configured = &running.settings.cache;
    let lock = lock::take(&configured.dir, "cache")?;
    let listeners = running.serving.listen(listen).await?;
    let writable = configured.client_writable.iter().filter(|name| *name != Instances::MAIN);
    let mut instances =
        vec![(Instances::MAIN.to_owned(), Instance::default()), (running.settings.farm.instance.clone(), Instance::default())];
    instances.extend(writable.map(|name| (name.clone(), Instance { client_writable: true })));
    let config = CacheConfig {
        dir: configured.dir.join("store"),
        max_bytes: configured.disk_max - configured.disk_max / RESULTS_PART,
        results_max_bytes: configured.disk_max / RESULTS_PART,
        memory_bytes: configured.memory_max,
        instances: Instances::new(instances),
    };
    let cache = tokio::task::block_in_place(|| CacheServer::open(config)).context("cache")?;
    let options = ServeOptions::new("cache", running.auth(None));
    cache.register(&options.registry);
    // A worker of the same host has the host's name.
    let name = if configured.name.is_empty() { format!("{}-cache", name_or_host("")) } else { configured.name.clone() };
    let announced = Announced { name, address: advertised(configured.advertise.as_ref(), &listeners)? };
    let mut announcing = JoinSet::new();
    for scheduler in farm.schedulers {
        announcing.spawn(announce::keep_announced(scheduler, farm.dial.clone(), announced.clone()));
    }
    let house = cache.clone();
    announcing.spawn(async move { house.keep_house().await });
    let server = kiln_rpc::serve(listeners, cache.routes(), options, running.stop.clone().cancelled_owned());
    Ok(Serves { server: tokio::spawn(server), announcing, stop: running.stop.clone(), _lock: lock })
}

impl Serves {
    /// Waits until it was told to end and has answered what it was asked.
    ///
    /// # Errors
    /// The server broke.
    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        self.stop.cancelled().await;
        // Without its heartbeats the schedulers forget it; nothing new is sent here meanwhile.
        self.announcing.shutdown().await;
        self.server.await.context("the cache's server broke")?;
        Ok(())
    }
}
