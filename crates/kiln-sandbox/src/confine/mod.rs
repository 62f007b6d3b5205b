//! What takes a job's rights away, apart from namespaces. Knows no job.

pub(crate) mod landlock;
pub(crate) mod limits;
pub(crate) mod seccomp;
