//! The worker's side: starts the helper, hands it jobs, waits for reports. Knows no namespaces.

use crate::{JobOutcome, JobSpec, JobUser, Rung, RungReport, SandboxError};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

/// How a [`Sandbox`] is started.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Program and arguments of the helper; it must call [`crate::server_main`] at once, with its standard input.
    pub helper_argv: Vec<OsString>,
    /// The directory of the [`crate::RootPool`] whose roots the jobs run in.
    pub roots: PathBuf,
    /// Use this rung, or fail; `None`: the best that works.
    pub rung: Option<Rung>,
    /// The host's user that jobs run as when the worker is root; ignored otherwise.
    pub job_user: JobUser,
    /// A cgroup directory in which the helper may make children, one a job; `None`: memory and processes are watched by
    /// the job's init instead. cgroup v2, or v1's `memory` and `pids` directories.
    pub cgroups: Vec<PathBuf>,
}

/// A running helper. Dropping it kills its jobs.
#[derive(Debug)]
pub struct Sandbox {
    report: RungReport,
}

impl Sandbox {
    /// Starts the helper and waits until it has tried what works here.
    ///
    /// # Errors
    /// [`SandboxError::Helper`] when it cannot be started or the wanted rung cannot be reached.
    pub fn start(config: SandboxConfig) -> Result<Sandbox, SandboxError> {
        let _ = config;
        Err(SandboxError::Helper("not built yet".into()))
    }

    /// What the helper can do here.
    pub fn report(&self) -> &RungReport {
        &self.report
    }

    /// Starts a job. Returns when its processes exist (about a millisecond); callable from several threads.
    ///
    /// # Errors
    /// [`SandboxError`]; the job has not run then.
    pub fn run(&self, spec: JobSpec) -> Result<JobHandle, SandboxError> {
        let _ = spec;
        Err(SandboxError::Lost)
    }
}

/// A started job. Dropping it kills the job.
#[derive(Debug)]
pub struct JobHandle {
    canceller: Canceller,
}

/// Kills one job; cheap to clone, usable from any thread and after the job's end.
#[derive(Debug, Clone)]
pub struct Canceller {
    inner: Arc<()>,
}

impl Canceller {
    /// Kills every process of the job at once; [`JobHandle::wait`] then returns [`SandboxError::Cancelled`].
    pub fn cancel(&self) {
        let _ = &self.inner;
    }
}

impl JobHandle {
    /// Something to cancel the job with from another thread.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Kills every process of the job at once.
    pub fn cancel(&self) {
        self.canceller.cancel();
    }

    /// Waits until the last process of the job is gone and its outputs are collected. Blocks.
    ///
    /// # Errors
    /// [`SandboxError`] when the job could not be run to an end.
    pub fn wait(self) -> Result<JobOutcome, SandboxError> {
        Err(SandboxError::Lost)
    }
}
