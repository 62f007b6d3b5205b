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
