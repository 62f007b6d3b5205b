//! The daemon role: from settings to `kiln_daemon`, on the socket of this view. Knows no request.

use anyhow::Context;
use kiln_daemon::Fallback;
use kiln_daemon::FarmSettings;
use kiln_daemon::Settings;
use kiln_frame::Identity;
use kiln_frame::Place;

use super::Running;
use super::VERSION;
use super::helper_argv;
use super::name_or_host;
use crate::cgroup;
use crate::lock;
use crate::serving;

/// Runs the daemon with the farm of the settings, if it names one.
///
/// # Errors
/// Why it could not start.
pub(crate) async fn run(running: Running) -> anyhow::Result<()> {
    let settings = &running.settings;
    let farm = match settings.farm.schedulers.is_empty() {
        true => None,
        false => Some(FarmSettings {
            schedulers: settings.farm.schedulers.clone(),
            caches: settings.farm.caches.clone(),
            dial: serving::dial(settings, kiln_rpc::Role::User)?,
            worker_dial: serving::dial_without_token(settings)?,
            local_worker: name_or_host(&settings.daemon.local_worker),
            batch: settings.client.batch,
        }),
    };
    serve(&running, farm).await
}

/// Runs the daemon with `farm` until it is told to end or nobody needs it.
///
/// # Errors
/// Its directory or its socket cannot be had.
pub(crate) async fn serve(running: &Running, farm: Option<FarmSettings>) -> anyhow::Result<()> {
    let configured = &running.settings.daemon;
    let (dir, _lock) = state_of_view(&configured.dir)?;
    let variable = |name: &str| std::env::var_os(name);
    let place = Place::find(&variable, &Identity::current())?;
    let settings = Settings {
        dir,
        helper_argv: helper_argv()?,
        farm,
        fallback: match running.settings.client.fallback.as_str() {
            "fail" => Fallback::Fail,
            "warn" => Fallback::Warn,
            _ => Fallback::Silent,
        },
        cache: configured.cache,
        remote_cache: true,
        cache_bytes_max: configured.cache_max,
        local_slots: configured.slots,
        local_sandbox: configured.sandbox,
        rung: None,
        idle_exit: Some(configured.idle_exit).filter(|limit| !limit.is_zero()),
        substitutes: configured.substitutes,
        version: VERSION.to_owned(),
        configured: running.settings.of_daemon.clone(),
    };
    let (socket, ready_fd) = (place.socket(), running.ready_fd);
    let ready = move || {
        tracing::info!("daemon listens at {}", socket.display());
        if let Some(fd) = ready_fd
            && let Err(error) = kiln_frame::report_ready(fd, Ok(()))
        {
            // Whoever waited has gone; the daemon serves the next one.
            tracing::debug!("nobody heard that the daemon is ready: {error}");
        }
        if ready_fd.is_some() {
            // The first compile does not wait for this.
            std::thread::spawn(cgroup::leave_build);
        }
    };
    let ended = kiln_daemon::run(settings, place, ready, running.stop.cancelled()).await;
    ended.map_err(anyhow::Error::msg).context("daemon")
}

/// The state directory, or one below it where a daemon of another view (container, namespace, changed root) has the first.
fn state_of_view(dir: &std::path::Path) -> anyhow::Result<(std::path::PathBuf, lock::DirLock)> {
    let taken = match lock::take(dir, "daemon") {
        Ok(lock) => return Ok((dir.to_owned(), lock)),
        Err(taken) => taken,
    };
    let other = dir.join(format!("view-{:016x}", Identity::current().hash(&[])));
    match lock::take(&other, "daemon") {
        Ok(lock) => Ok((other, lock)),
        // Both are taken: the first error names the daemon that serves this directory.
        Err(_) => Err(taken),
    }
}
