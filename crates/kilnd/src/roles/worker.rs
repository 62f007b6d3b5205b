//! The worker role: from settings to `kiln_worker`, served. Knows no job.

use std::path::PathBuf;

use anyhow::Context;
use kiln_rpc::Address;
use kiln_rpc::Dial;
use kiln_rpc::Role;
use kiln_rpc::ServeOptions;
use kiln_rpc::Token;
use kiln_worker::ClusterSettings;
use kiln_worker::Settings;
use kiln_worker::Worker;
use tokio_util::sync::CancellationToken;

use super::Running;
use super::VERSION;
use super::advertised;
use super::helper_argv;
use super::name_or_host;
use crate::cgroup;
use crate::lock;
use crate::serving;

/// Runs a worker with the farm of the settings.
///
/// # Errors
/// Why it could not start.
pub(crate) async fn run(running: Running) -> anyhow::Result<()> {
    let settings = &running.settings;
    let farm = Farm { schedulers: settings.farm.schedulers.clone(), dial: serving::dial(settings, kiln_rpc::Role::Worker)? };
    let listen = settings.worker.listen.clone();
    start(&running, farm, &listen).await?.finish().await
}

/// Whom a worker registers with.
pub(crate) struct Farm {
    pub(crate) schedulers: Vec<Address>,
    pub(crate) dial: Dial,
}

/// A worker that serves.
pub(crate) struct Serves {
    runs: tokio::task::JoinHandle<()>,
    server: tokio::task::JoinHandle<kiln_rpc::Drained>,
    drained: CancellationToken,
    _lock: lock::DirLock,
}

/// Starts a worker at `listen`.
///
/// # Errors
/// Its directory, its address or its sandbox cannot be had.
pub(crate) async fn start(running: &Running, farm: Farm, listen: &[Address]) -> anyhow::Result<Serves> {
    let configured = &running.settings.worker;
    let lock = lock::take(&configured.dir, "worker")?;
    let listeners = running.serving.listen(listen).await?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let settings = Settings {
        name: name_or_host(&configured.name),
        dir: configured.dir.clone(),
        advertise: advertised(configured.advertise.as_ref(), &listeners)?,
        tls_name: String::new(),
        slots: if configured.slots == 0 { cores } else { configured.slots },
        dedicated: configured.dedicated,
        yields: configured.yields,
        schedulers: farm.schedulers,
        dial: farm.dial,
        helper_argv: helper_argv()?,
        store_bytes_max: configured.store_max,
        limits: kiln_sandbox::Limits {
            wall_ms: u64::try_from(configured.job_time_max.as_millis()).unwrap_or(u64::MAX),
            memory_bytes: configured.job_memory_max,
            processes: u32::try_from(configured.job_processes_max).unwrap_or(u32::MAX),
            scratch_bytes: configured.job_output_max,
            file_bytes: configured.job_output_max,
            ..kiln_sandbox::Limits::default()
        },
        rung: None,
        cgroups: cgroup::for_jobs(&configured.cgroups),
        machine: configured.machine.clone(),
        substitutes: configured.substitutes.iter().map(PathBuf::from).collect(),
        version: VERSION.to_owned(),
    };
    let worker = match &configured.cluster.address {
        Some(address) => gateway(running, address, settings).await?,
        None => sandboxed(settings)?,
    };
    let options = ServeOptions::new("worker", running.auth(Some(worker.admission())));
    options.registry.register(worker.metrics());
    let drained = CancellationToken::new();
    let server = kiln_rpc::serve(listeners, worker.routes(), options, drained.clone().cancelled_owned());
    let (server, stop) = (tokio::spawn(server), running.stop.clone());
    let runs = tokio::spawn(async move { worker.run(stop.cancelled()).await });
    Ok(Serves { runs, server, drained, _lock: lock })
}

fn sandboxed(settings: Settings) -> anyhow::Result<Worker> {
    let worker = tokio::task::block_in_place(|| Worker::start(settings)).map_err(anyhow::Error::msg)?;
    let report = worker.report();
    tracing::info!("sandbox: {:?}", report.rung);
    for line in report.why_not_better.iter().chain(&report.absent) {
        tracing::info!("sandbox: {line}");
    }
    Ok(worker)
}

/// A worker whose jobs a cluster of another make runs.
async fn gateway(running: &Running, address: &Address, settings: Settings) -> anyhow::Result<Worker> {
    let configured = &running.settings.worker.cluster;
    anyhow::ensure!(
        configured.root == "chroot",
        "[worker] cluster: state cluster_root = \"chroot\" if {address} runs actions with the input root as the whole file system; \
         others cannot be used"
    );
    let property = |word: &String| {
        let (name, value) =
            word.split_once('=').with_context(|| format!("[worker] cluster_platform: `{word}` is no NAME=VALUE"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    let platform = configured.platform.iter().map(property).collect::<anyhow::Result<_>>()?;
    let token = configured.token_file.as_deref().map(|path| Token::from_file(path, Role::User)).transpose();
    let token = token.context("[worker] cluster_token_file")?;
    let dial = Dial { token, ..serving::dial_without_token(&running.settings)? };
    let channel = kiln_rpc::connect(address, &dial)?;
    let used = ClusterSettings {
        instance: configured.instance.clone(),
        platform,
        slots: u32::try_from(settings.slots).unwrap_or(u32::MAX),
        output_bytes_max: settings.limits.file_bytes,
    };
    let worker = Worker::start_gateway(settings, channel, used).await.map_err(anyhow::Error::msg)?;
    tracing::info!("jobs run in the cluster at {address}");
    Ok(worker)
}

impl Serves {
    /// Waits until it was told to end and has: jobs are finished or handed back first, so that their results still go out.
    ///
    /// # Errors
    /// The server broke.
    pub(crate) async fn finish(self) -> anyhow::Result<()> {
        self.runs.await.context("the worker broke")?;
        self.drained.cancel();
        let drained = self.server.await.context("the worker's server broke")?;
        if drained.cut > 0 {
            tracing::warn!("{} connections were cut", drained.cut);
        }
        Ok(())
    }
}
