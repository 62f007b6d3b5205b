//! `kilnd all`: scheduler, cache, worker and daemon in one process, over Unix sockets in a private directory.

use std::path::Path;

use kiln_daemon::FarmSettings;
use kiln_rpc::Address;
use kiln_rpc::Dial;
use kiln_scheduler::FrontSettings;
use tokio_util::sync::CancellationToken;

use super::Running;
use super::cache;
use super::daemon;
use super::name_or_host;
use super::scheduler;
use super::worker;
use super::worker::Farm;
use crate::lock;

/// The socket of `role` in the embedded farm of a state directory.
pub(crate) fn socket(state: &Path, role: &str) -> Address {
    Address::Unix(state.join("all").join(format!("{role}.sock")))
}

/// Runs a farm of one machine until it is told to end.
///
/// # Errors
/// Why a part of it could not start.
pub(crate) async fn run(running: Running) -> anyhow::Result<()> {
    let state = running.settings.state.clone();
    let _lock = lock::take(&state.join("all"), "all")?;
    let at = |role: &str| socket(&state, role);
    // Over Unix sockets the same user needs no token.
    let farm = || Farm { schedulers: vec![at("scheduler")], dial: Dial::default() };
    // The daemon goes first, for what it still has is answered by the others.
    let stop = CancellationToken::new();
    let others =
        Running { settings: running.settings.clone(), serving: running.serving.clone(), stop: stop.clone(), ready_fd: None };
    let front = FrontSettings { caches: vec![at("cache")], ..FrontSettings::default() };
    let scheduler = scheduler::start(&others, front, &[at("scheduler")]).await?;
    let cache = cache::start(&others, farm(), &[at("cache")]).await?;
    let worker = worker::start(&others, farm(), &[at("worker")]).await?;
    let settings = FarmSettings {
        schedulers: vec![at("scheduler")],
        caches: vec![at("cache")],
        dial: Dial::default(),
        worker_dial: Dial::default(),
        local_worker: name_or_host(&running.settings.worker.name),
        batch: running.settings.client.batch,
    };
    // If it ends by itself, so does the farm.
    let daemon = daemon::serve(&running, Some(settings)).await;
    stop.cancel();
    let ended = [worker.finish().await, cache.finish().await, scheduler.finish().await];
    daemon.and(ended.into_iter().collect())
}
