//! Which processes a job has and what they use, read from /proc. Knows no limits.

use crate::Rung;
use crate::sys::{self, Fail, Step};
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;

/// Most processes that are looked at: far above any limit on them, so that a fork bomb cannot make the init walk for ever.
const PROCESSES_MAX: usize = 1 << 16;

/// In a user namespace of its own: the job's init, and one process that is just being reaped.
const BESIDE_ALONE: u64 = 2;

/// Elsewhere: room for this many jobs that start while this one runs.
const BESIDE_JOBS: u64 = 4;

/// How the job's processes are found.
pub(crate) struct Processes {
    proc: OwnedFd,
    /// This process is the first of a process namespace.
    own_namespace: bool,
    /// /proc shows this job's processes and no others.
    own_proc: bool,
    /// The job's user is counted apart from all others.
    own_users: bool,
    page_bytes: u64,
}

/// What they use at one moment.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Usage {
    pub(super) processes: u32,
    /// Anonymous memory of all together.
    pub(super) memory_bytes: u64,
}

impl Processes {
    /// Opens /proc while it can still be seen.
    pub(crate) fn open(rung: Rung) -> Result<Processes, Fail> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own_proc = matches!(rung, Rung::UserNamespace | Rung::RootNamespace);
        let own_users = matches!(rung, Rung::UserNamespace | Rung::HostProc);
        let own_namespace = own_proc || rung == Rung::HostProc;
        let proc = rustix::fs::open("/proc", flags, Mode::empty()).step("opening /proc")?;
        Ok(Processes { proc, own_namespace, own_proc, own_users, page_bytes: rustix::param::page_size() as u64 })
    }

    /// How many processes the kernel may count against the job that are not its own, for `RLIMIT_NPROC`.
    pub(super) fn counted_beside(&self, limit: u32) -> u64 {
        if self.own_users {
            return BESIDE_ALONE;
        }
        // All that run on this machine may be the same user's, and other jobs may start as many as this one.
        let all = self.read("loadavg").and_then(|text| text.split('/').nth(1)?.split(' ').next()?.parse::<u64>().ok());
        all.unwrap_or(0) + BESIDE_JOBS * u64::from(limit)
    }

    /// Looks once; no further than needed to know that there are more than `enough` processes.
    pub(super) fn usage(&self, enough: u32) -> Usage {
        let mut usage = Usage::default();
        let list = self.list();
        if list.len() >= enough as usize {
            // A fork bomb competes for the processor: it must not decide how long this takes.
            return Usage { processes: enough, memory_bytes: 0 };
        }
        for pid in list {
            let (threads, memory) = self.one(pid);
            usage.processes += threads;
            usage.memory_bytes += memory;
        }
        usage
    }

    /// Kills all of them; this process must be the one that inherits orphans. `main` leads a group of them, and is not reaped yet: else
    /// its number could be another's by now.
    pub(super) fn kill_all(&self, main: Option<i32>) {
        if self.own_namespace {
            sys::kill_everyone(libc::SIGKILL);
            return;
        }
        // Most are in the group that the first one leads, and those the kernel signals all at once.
        if let Some(group) = main.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        self.kill_descendants(&|_| true);
    }

    /// Without a process namespace: stops whoever is found until nobody new is, because what is stopped cannot fork. Children of this
    /// process that are not `wanted` are spared, and theirs.
    pub(crate) fn kill_descendants(&self, wanted: &dyn Fn(i32) -> bool) {
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let new: Vec<i32> = self.descendants(wanted).into_iter().filter(|pid| seen.insert(*pid)).collect();
            if new.is_empty() {
                break;
            }
            for pid in new {
                signal(pid, rustix::process::Signal::STOP);
            }
        }
        for pid in seen {
            signal(pid, rustix::process::Signal::KILL);
        }
    }

    fn list(&self) -> Vec<i32> {
        if self.own_proc { self.all() } else { self.descendants(&|_| true) }
    }

    fn all(&self) -> Vec<i32> {
        let Ok(dir) = rustix::fs::Dir::read_from(&self.proc) else { return Vec::new() };
        let pids = dir.flatten().filter_map(|entry| entry.file_name().to_str().ok()?.parse::<i32>().ok());
        pids.filter(|pid| *pid != 1).take(PROCESSES_MAX).collect()
    }

    fn descendants(&self, wanted: &dyn Fn(i32) -> bool) -> Vec<i32> {
        let (mut found, mut next) = (Vec::new(), vec!["self".to_owned()]);
        while let Some(pid) = next.pop() {
            for thread in self.threads(&pid) {
                let Some(text) = self.read(&format!("{pid}/task/{thread}/children")) else { continue };
                for child in text.split_ascii_whitespace() {
                    let Ok(number) = child.parse() else { continue };
                    if found.len() < PROCESSES_MAX && (pid != "self" || wanted(number)) {
                        found.push(number);
                        next.push(child.to_owned());
                    }
                }
            }
        }
        found
    }

    fn threads(&self, pid: &str) -> Vec<String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(dir) = rustix::fs::openat(&self.proc, format!("{pid}/task"), flags, Mode::empty()) else { return Vec::new() };
        let Ok(dir) = rustix::fs::Dir::read_from(&dir) else { return Vec::new() };
        let names = dir.flatten().filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// Threads, and anonymous memory in bytes.
    fn one(&self, pid: i32) -> (u32, u64) {
        let memory = self.read(&format!("{pid}/statm")).map_or(0, |text| {
            let mut fields = text.split_ascii_whitespace().skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
            let (resident, shared) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
            resident.saturating_sub(shared) * self.page_bytes
        });
        // `num_threads` is field 20; the second field, the command, may hold anything but ends with the last parenthesis.
        let threads = self.read(&format!("{pid}/stat")).and_then(|text| {
            let (_, rest) = text.rsplit_once(')')?;
            rest.split_ascii_whitespace().nth(17)?.parse().ok()
        });
        (threads.unwrap_or(1), memory)
    }

    fn read(&self, path: &str) -> Option<String> {
        let file = rustix::fs::openat(&self.proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut buffer = [0; 4096];
        let len = rustix::io::read(&file, &mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
    }
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}
