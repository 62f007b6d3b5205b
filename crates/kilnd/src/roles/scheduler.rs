//! The scheduler role: `kiln_scheduler`, served. Its state is soft: it keeps no directory. Knows no decision.

use anyhow::Context;
use kiln_rpc::Address;
use kiln_rpc::ServeOptions;
use kiln_scheduler::Farm;
use kiln_scheduler::Front;
use kiln_scheduler::FrontSettings;
use kiln_scheduler::SchedulerService;
use tonic::service::Routes;

use super::Running;
use super::VERSION;
use crate::serving;

/// Runs a scheduler, and the front door beside it.
///
/// # Errors
/// Why it could not start.
pub(crate) async fn run(running: Running) -> anyhow::Result<()> {
    let settings = &running.settings;
    let listen = settings.scheduler.listen.clone();
    let front = FrontSettings {
        dial: serving::dial_caches(settings, &listen)?,
        worker_dial: serving::dial_without_token(settings)?,
        caches: settings.farm.caches.clone(),
        client_writable: settings.cache.client_writable.iter().cloned().collect(),
    };
    start(&running, front, &listen).await?.finish().await
}

/// A scheduler that serves.
pub(crate) struct Serves {
    server: tokio::task::JoinHandle<kiln_rpc::Drained>,
}

/// Starts a scheduler at `listen`.
///
/// # Errors
/// Its address cannot be had.
pub(crate) async fn start(running: &Running, front: FrontSettings, listen: &[Address]) -> anyhow::Result<Serves> {
    let listeners = running.serving.listen(listen).await?;
    let farm = Farm::start(VERSION).context("scheduler")?;
    let options = ServeOptions::new("scheduler", running.auth(None));
    options.registry.register(farm.metrics());
    let service = SchedulerService::new(farm.clone()).with_denials(options.denials.clone());
    let routes = Front::new(farm.clone(), front).add_to(Routes::new(service.into_server()));
    let stop = running.stop.clone();
    // Who waits for a grant or for news is told at once, and goes elsewhere.
    let shutdown = async move {
        stop.cancelled().await;
        farm.stop().await;
    };
    let server = kiln_rpc::serve(listeners, routes, options, shutdown);
    Ok(Serves { server: tokio::spawn(server) })
}

impl Serves {
    /// Waits until it was told to end and has answered what it was asked.
    ///
    /// # Errors
    /// The server broke.
    pub(crate) async fn finish(self) -> anyhow::Result<()> {
        self.server.await.context("the scheduler's server broke").map(drop)
    }
}
