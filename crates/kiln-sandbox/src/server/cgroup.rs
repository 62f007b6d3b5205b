//! A control group a job, in directories the administrator names: the hard bound on memory and processes. Knows v1 and v2.
//!
//! The helper makes `kiln-PID` in each directory while it may still be root and gives it to the job user, so that it
//! needs no rights afterwards. Without groups, each job's init watches memory and processes by itself.

use crate::JobUser;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// What is bounded by groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) memory: bool,
    pub(crate) processes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unified,
    Memory,
    Processes,
}

#[derive(Debug)]
struct Base {
    kind: Kind,
    /// `kiln-PID` in the directory configured; whoever started the helper removes it.
    own: OwnedFd,
}

/// The directories in which groups are made.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    bases: Vec<Base>,
    made: u64,
}

/// The groups of one job; removed when dropped, which must be after its last process is gone.
#[derive(Debug, Default)]
pub(crate) struct JobGroup {
    name: String,
    entries: Vec<(Kind, OwnedFd, OwnedFd)>,
}

const DIR: OFlags =
    OFlags::from_bits_retain(OFlags::DIRECTORY.bits() | OFlags::NOFOLLOW.bits() | OFlags::CLOEXEC.bits() | OFlags::RDONLY.bits());

fn open_dir(at: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(at, name, DIR, Mode::empty())?)
}

fn write(at: BorrowedFd<'_>, name: &str, text: &str) -> io::Result<()> {
    let file = rustix::fs::openat(at, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

fn exists(at: BorrowedFd<'_>, name: &str) -> bool {
    rustix::fs::accessat(at, name, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
}

impl Groups {
    /// Prepares the directories; says for each that is of no use why. Called before root is given up.
    pub(crate) fn open(directories: &[String], user: JobUser) -> (Groups, Vec<String>) {
        let (mut groups, mut absent) = (Groups::default(), Vec::new());
        for directory in directories {
            match open_base(directory, user) {
                Ok(base) => groups.bases.push(base),
                Err(error) => absent.push(format!("cgroup {directory}: {error}")),
            }
        }
        (groups, absent)
    }

    pub(crate) fn limited(&self) -> Limited {
        let has = |kind| self.bases.iter().any(|base| base.kind == kind || base.kind == Kind::Unified);
        Limited { memory: has(Kind::Memory), processes: has(Kind::Processes) }
    }

    /// Makes a job's groups.
    pub(crate) fn make(&mut self, memory_bytes: u64, processes: u32) -> io::Result<JobGroup> {
        self.made += 1;
        let mut group = JobGroup { name: format!("job-{}", self.made), entries: Vec::new() };
        for base in &self.bases {
            rustix::fs::mkdirat(&base.own, &group.name, Mode::from_raw_mode(0o755))?;
            let dir = open_dir(base.own.as_fd(), &group.name)?;
            group.entries.push((base.kind, base.own.try_clone()?, dir));
            let (_, _, dir) = &group.entries[group.entries.len() - 1];
            // The job's init is one process more.
            let processes = (processes.saturating_add(1)).to_string();
            match base.kind {
                Kind::Unified => {
                    write(dir.as_fd(), "memory.max", &memory_bytes.to_string())?;
                    let _ = write(dir.as_fd(), "memory.swap.max", "0");
                    write(dir.as_fd(), "pids.max", &processes)?;
                }
                Kind::Memory => {
                    write(dir.as_fd(), "memory.limit_in_bytes", &memory_bytes.to_string())?;
                    let _ = write(dir.as_fd(), "memory.memsw.limit_in_bytes", &memory_bytes.to_string());
                }
                Kind::Processes => write(dir.as_fd(), "pids.max", &processes)?,
            }
        }
        Ok(group)
    }
}

fn open_base(directory: &str, user: JobUser) -> io::Result<Base> {
    let parent = rustix::fs::open(directory, DIR, Mode::empty())?;
    remove_leftovers(directory, parent.as_fd());
    let unified = rustix::fs::fstatfs(&parent)?.f_type as i64 == CGROUP2_MAGIC;
    if unified {
        write(parent.as_fd(), "cgroup.subtree_control", "+memory +pids")?;
    }
    let name = format!("kiln-{}", std::process::id());
    rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o755))?;
    let own = open_dir(parent.as_fd(), &name)?;
    let kind = match unified {
        true => Kind::Unified,
        false if exists(own.as_fd(), "memory.limit_in_bytes") => Kind::Memory,
        false if exists(own.as_fd(), "pids.max") => Kind::Processes,
        false => {
            rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR)?;
            return Err(io::Error::other("it bounds neither memory nor processes"));
        }
    };
    if unified {
        write(own.as_fd(), "cgroup.subtree_control", "+memory +pids")?;
        // A process is moved by who may write to the group above both ends: the helper must be below this one itself.
        rustix::fs::mkdirat(&own, "helper", Mode::from_raw_mode(0o755))?;
        write(open_dir(own.as_fd(), "helper")?.as_fd(), "cgroup.procs", "0")?;
    }
    if user.can_be_become() {
        let (uid, gid) = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
        rustix::fs::fchown(&own, uid, gid)?;
        for file in ["cgroup.procs", "cgroup.subtree_control", "tasks"] {
            let _ = rustix::fs::chownat(&own, file, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        }
    }
    Ok(Base { kind, own })
}

/// Groups of helpers that died: those in use cannot be removed, so trying harms nobody.
fn remove_leftovers(directory: &str, parent: BorrowedFd<'_>) {
    let names = |path: &std::path::Path| -> Vec<String> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    for name in names(directory.as_ref()).iter().filter(|name| name.starts_with("kiln-")) {
        for job in names(&std::path::Path::new(directory).join(name)) {
            if job == "helper" || job.starts_with("job-") {
                let _ = rustix::fs::unlinkat(parent, format!("{name}/{job}"), AtFlags::REMOVEDIR);
            }
        }
        let _ = rustix::fs::unlinkat(parent, name.as_str(), AtFlags::REMOVEDIR);
    }
}

impl JobGroup {
    /// The group to fork into, where the kernel can do that (v2).
    pub(crate) fn fork_into(&self) -> Option<BorrowedFd<'_>> {
        self.entries.iter().find(|(kind, _, _)| *kind == Kind::Unified).map(|(_, _, dir)| dir.as_fd())
    }

    /// Moves the calling process into the groups that it was not forked into.
    pub(crate) fn enter(&self) -> io::Result<()> {
        for (kind, _, dir) in &self.entries {
            if *kind != Kind::Unified {
                write(dir.as_fd(), "cgroup.procs", "0")?;
            }
        }
        Ok(())
    }

    /// Whether the kernel has killed a process of the job for memory.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.counted("memory.events", "oom_kill") || self.counted("memory.oom_control", "oom_kill")
    }

    /// Whether the kernel has refused the job a process.
    pub(crate) fn out_of_processes(&self) -> bool {
        self.counted("pids.events", "max")
    }

    fn counted(&self, file: &str, key: &str) -> bool {
        self.entries.iter().any(|(_, _, dir)| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let Ok(file) = rustix::fs::openat(dir, file, flags, Mode::empty()) else { return false };
            let mut buffer = [0; 1024];
            let len = rustix::io::read(&file, &mut buffer).unwrap_or(0);
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            text.lines().any(|line| line.split_once(' ').is_some_and(|(name, count)| name == key && count != "0"))
        })
    }
}

impl Drop for JobGroup {
    fn drop(&mut self) {
        for (_, own, _) in &self.entries {
            let _ = rustix::fs::unlinkat(own, &self.name, AtFlags::REMOVEDIR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_by_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let open = || rustix::fs::open(dir.path(), DIR, Mode::empty()).unwrap();
        let group = JobGroup { name: "absent".into(), entries: vec![(Kind::Unified, open(), open())] };
        assert!(!group.out_of_memory() && !group.out_of_processes());
        std::fs::write(dir.path().join("memory.events"), "low 0\nmax 12\noom 1\noom_kill 0\n").unwrap();
        std::fs::write(dir.path().join("pids.events"), "max 0\n").unwrap();
        assert!(!group.out_of_memory() && !group.out_of_processes());
        std::fs::write(dir.path().join("memory.events"), "low 0\noom_kill 3\n").unwrap();
        std::fs::write(dir.path().join("pids.events"), "max 4\n").unwrap();
        assert!(group.out_of_memory() && group.out_of_processes());
        std::fs::remove_file(dir.path().join("memory.events")).unwrap();
        std::fs::write(dir.path().join("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n").unwrap();
        assert!(group.out_of_memory());
    }
}
