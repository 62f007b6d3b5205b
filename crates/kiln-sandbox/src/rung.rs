//! The ladder of sandboxes: which of them this machine allows, found out by trying. Knows no job.

/// How well jobs can be isolated here, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// User namespace, overlay, fresh `/proc`: all that kiln knows.
    UserNamespace,
    /// Root without user namespaces: the same, and the job runs as an unprivileged user of the host.
    RootNamespace,
    /// Namespaces and overlay, but the host's `/proc` is bound (unprivileged containers forbid a fresh one): jobs can see
    /// the names of other processes.
    HostProc,
    /// Root without the right to mount: `chroot` and an unprivileged user; roots are laid out anew after each job.
    Chroot,
    /// No root can be given: only jobs in [`crate::RootMode::HostUsr`] run, contained by limits and a system call filter.
    None,
}

impl Rung {
    /// Whether the kernel kills all of a job when its init dies. Where not, the init is asked, and kills them one by one.
    pub(crate) fn has_process_namespace(self) -> bool {
        !matches!(self, Rung::Chroot | Rung::None)
    }

    /// The signal that ends a job through its init.
    pub(crate) fn ending_signal(self) -> rustix::process::Signal {
        if self.has_process_namespace() { rustix::process::Signal::KILL } else { rustix::process::Signal::TERM }
    }
}

/// What was found out about this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RungReport {
    /// The rung that is used.
    pub rung: Rung,
    /// For each better rung, why it is not reached.
    pub why_not_better: Vec<String>,
    /// What an administrator can do about it, one sentence each.
    pub how_to_improve: Vec<String>,
    /// Kernel features that are absent though the rung would use them (landlock, memory cgroup, ...), and what stands in.
    pub absent: Vec<String>,
}

/// Starts a helper as `config` says and reports the rung it reached. Costs a few milliseconds.
///
/// # Errors
/// [`crate::SandboxError::Helper`] when the helper cannot be started.
pub fn probe(config: crate::SandboxConfig) -> Result<RungReport, crate::SandboxError> {
    Ok(crate::Sandbox::start(config)?.report().clone())
}
