//! Starts the services of a role and waits for their end. Knows what each service is given, not what it does.

use std::sync::Arc;

use kiln_rpc::Address;

use crate::config::Settings;
use crate::lock;
use crate::logging;
use crate::serving;
use crate::serving::Serving;
use crate::shutdown;

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

impl Start {
    /// Reads all files that the role would, and says what is wrong.
    ///
    /// # Errors
    /// The first thing that is.
    pub(crate) fn check(self) -> anyhow::Result<()> {
        Serving::prepare(&self.settings, &self.listen(), false)?;
        serving::dial(&self.settings, kiln_rpc::Role::User)?;
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
        runtime.block_on(async move {
            let serving = Serving::prepare(&self.settings, &self.listen(), true)?;
            let reloaded = serving.clone();
            let stop = shutdown::watch(Arc::new(move || {
                log.reopen();
                reloaded.reload();
            }))?;
            let _ = (lock::take(&self.settings.state, self.role.name())?, serving, stop, self.ready_fd);
            anyhow::Ok(())
        })
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
}
