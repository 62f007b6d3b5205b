//! Starts the services of a role and waits for their end. Knows what each service is given, not what it does.

mod all;
mod announce;
mod cache;
mod daemon;
mod scheduler;
mod worker;

use std::ffi::OsString;
use std::sync::Arc;

use anyhow::Context;
use kiln_rpc::Address;
use kiln_rpc::Auth;
use kiln_rpc::Extra;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::logging;
use crate::serving;
use crate::serving::Serving;
use crate::shutdown;

pub(crate) use all::socket as embedded_socket;

/// What `kilnd` can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Daemon,
    Worker,
    Scheduler,
    Cache,
    All,
}

impl Role {
    pub(crate) const ALL: [Role; 5] = [Role::Daemon, Role::Worker, Role::Scheduler, Role::Cache, Role::All];

    /// Its word on the command line, and the section of its keys.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Daemon => "daemon",
            Role::Worker => "worker",
            Role::Scheduler => "scheduler",
            Role::Cache => "cache",
            Role::All => "all",
        }
    }

    pub(crate) fn about(self) -> &'static str {
        match self {
            Role::Daemon => "Compile for one user of this host: what the wrapper talks to, and starts by itself",
            Role::Worker => "Compile for others on this machine",
            Role::Scheduler => "Hand out the slots of a farm's workers",
            Role::Cache => "Keep results and blobs for a whole farm",
            Role::All => "Every role in one process, over Unix sockets: a farm of one machine",
        }
    }
}

/// A role with all that it needs.
pub(crate) struct Start {
    pub(crate) role: Role,
    pub(crate) settings: Settings,
    /// Where to say that the daemon listens.
    pub(crate) ready_fd: Option<i32>,
    /// What the environment holds that means nothing.
    pub(crate) unknown: Vec<String>,
}

/// What each service is started with.
pub(crate) struct Running {
    pub(crate) settings: Settings,
    pub(crate) serving: Serving,
    /// Cancelled by the first signal to end.
    pub(crate) stop: CancellationToken,
    pub(crate) ready_fd: Option<i32>,
}

impl Start {
    /// Reads all files that the role would, and says what is wrong.
    ///
    /// # Errors
    /// The first thing that is.
    pub(crate) fn check(self) -> anyhow::Result<()> {
        Serving::prepare(&self.settings, &self.listen(), false)?;
        serving::dial(&self.settings, self.dials_as())?;
        for line in &self.unknown {
            eprintln!("kiln: {line}");
        }
        println!("kiln: the configuration of {} is good", self.role.name());
        Ok(())
    }

    /// Runs the role until it is told to end and has drained.
    ///
    /// # Errors
    /// Why it could not start, or had to stop.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let log = logging::start(self.settings.log.file.as_deref(), &self.settings.log.level)?;
        for line in &self.unknown {
            tracing::warn!("{line}");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let role = self.role;
        let ended = runtime.block_on(async move {
            let serving = Serving::prepare(&self.settings, &self.listen(), true)?;
            let reloaded = serving.clone();
            let stop = shutdown::watch(Arc::new(move || {
                log.reopen();
                reloaded.reload();
            }))?;
            let running = Running { settings: self.settings, serving, stop, ready_fd: self.ready_fd };
            // A task of its own: some services block their thread, which the main one must not.
            tokio::spawn(async move {
                match role {
                    Role::Daemon => daemon::run(running).await,
                    Role::Worker => worker::run(running).await,
                    Role::Scheduler => scheduler::run(running).await,
                    Role::Cache => cache::run(running).await,
                    Role::All => all::run(running).await,
                }
            })
            .await
            .context("the service broke")?
        });
        // What still blocks a thread is not waited for: all that had to be finished is.
        runtime.shutdown_background();
        if ended.is_ok() {
            tracing::info!("{} has ended", role.name());
        }
        ended
    }

    /// Where the role listens.
    fn listen(&self) -> Vec<Address> {
        match self.role {
            Role::Worker => self.settings.worker.listen.clone(),
            Role::Scheduler => self.settings.scheduler.listen.clone(),
            Role::Cache => self.settings.cache.listen.clone(),
            // The daemon's socket is its own, and the embedded farm has Unix sockets alone.
            Role::Daemon | Role::All => Vec::new(),
        }
    }

    fn dials_as(&self) -> kiln_rpc::Role {
        match self.role {
            Role::Daemon | Role::All => kiln_rpc::Role::User,
            Role::Worker | Role::Scheduler | Role::Cache => kiln_rpc::Role::Worker,
        }
    }
}

impl Running {
    /// Who may call a service of this process.
    fn auth(&self, extra: Option<Arc<dyn Extra>>) -> Arc<Auth> {
        let auth = Auth::new(self.serving.credentials.clone()).with_networks(self.settings.auth.networks.clone());
        Arc::new(match extra {
            Some(extra) => auth.with_extra(extra),
            None => auth,
        })
    }
}

/// Program and arguments of the sandbox's helper: this program again.
fn helper_argv() -> anyhow::Result<Vec<OsString>> {
    let own = std::env::current_exe().context("cannot tell where kilnd is")?;
    Ok(vec![own.into(), "sandbox-server".into()])
}

/// `name`, or where it is empty the host's.
fn name_or_host(name: &str) -> String {
    if !name.is_empty() {
        return name.to_owned();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "unnamed".to_owned() } else { host.to_owned() }
}

/// The address that others are told: the one configured, else the first that is listened at.
fn advertised(configured: Option<&Address>, listeners: &[kiln_rpc::Listener]) -> anyhow::Result<Address> {
    if let Some(address) = configured {
        return Ok(address.clone());
    }
    let first = listeners.first().context("`listen` names no address")?.address();
    if let Address::Tcp { host, .. } = first
        && host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified())
    {
        anyhow::bail!("{first} is every address of this machine: name the one that others use (`advertise`)");
    }
    Ok(first.clone())
}

/// kiln's version, as services tell it.
const VERSION: &str = env!("CARGO_PKG_VERSION");
