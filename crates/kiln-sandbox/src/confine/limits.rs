//! Resource limits of jobs. Knows the kernel's limits, not who met them.

use crate::job::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Bound on address space, where no cgroup bounds memory: this many times the job's memory. gcc tunes its collector by it, and
/// gives up early below some four times what it needs.
const ADDRESS_SPACE_FACTOR: u64 = 4;

/// Least bound on address space: 16 GiB. Compilers reserve far more than they touch.
const ADDRESS_SPACE_MIN: u64 = 16 << 30;

/// Raises what only root may raise; called by the helper before it gives up being root.
pub(crate) fn raise_as_root() {
    if rustix::process::geteuid().is_root() {
        let stack = getrlimit(Resource::Stack);
        let _ = setrlimit(Resource::Stack, Rlimit { current: stack.current, maximum: None });
        let files = getrlimit(Resource::Nofile);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: files.current, maximum: Some(FILES_MAX) });
    }
}

/// Open files that the helper allows a job at most: what a system with default settings allows root (`fs.nr_open`).
const FILES_MAX: u64 = 1 << 20;

/// How the other limits relate to who else runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around {
    /// Processes that the kernel counts together with the job's.
    pub(crate) processes_beside: u64,
    /// The address space is to stand in for a bound on memory.
    pub(crate) bound_address_space: bool,
}

/// Sets the limits of the calling process, which is about to become the job. What the machine's hard limits forbid is
/// lowered to them.
pub(crate) fn apply(limits: &Limits, around: Around) {
    let processes = u64::from(limits.processes).saturating_add(around.processes_beside);
    set(Resource::Core, 0, Some(0));
    set(Resource::Nproc, processes, Some(processes));
    set(Resource::Nofile, limits.open_files, Some(limits.open_files));
    set(Resource::Fsize, limits.file_bytes, Some(limits.file_bytes));
    set(Resource::Stack, limits.stack_bytes, None);
    if around.bound_address_space {
        let bytes = limits.memory_bytes.saturating_mul(ADDRESS_SPACE_FACTOR).max(ADDRESS_SPACE_MIN);
        set(Resource::As, bytes, Some(bytes));
    }
}

/// `None` as the hard limit leaves it as it is.
fn set(resource: Resource, soft: u64, hard: Option<u64>) {
    let now = getrlimit(resource).maximum;
    let least = |wanted: u64| now.map_or(wanted, |now| now.min(wanted));
    let maximum = match hard {
        Some(hard) => Some(least(hard)),
        None => now,
    };
    let _ = setrlimit(resource, Rlimit { current: Some(least(soft)), maximum });
}
