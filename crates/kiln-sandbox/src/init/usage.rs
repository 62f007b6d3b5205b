//! Which processes a job has and what they use, read from /proc. Knows no limits.

use crate::Rung;
use crate::sys::{self, Fail, Step};
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;

/// Most processes that are looked at: far above any limit on them, so that a fork bomb cannot make the init walk for ever.
const PROCESSES_MAX: usize = 1 << 16;

/// How the job's processes are found.
pub(super) struct Processes {
    proc: OwnedFd,
    /// /proc shows this job's processes and no others.
    own: bool,
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
    pub(super) fn open(rung: Rung) -> Result<Processes, Fail> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = matches!(rung, Rung::UserNamespace | Rung::RootNamespace);
        let proc = rustix::fs::open("/proc", flags, Mode::empty()).step("opening /proc")?;
        Ok(Processes { proc, own, page_bytes: rustix::param::page_size() as u64 })
    }

    /// Looks once.
    pub(super) fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for pid in self.list() {
            let (threads, memory) = self.one(pid);
            usage.processes += threads;
            usage.memory_bytes += memory;
        }
        usage
    }

    /// Kills all of them; this process must be the one that inherits orphans.
    pub(super) fn kill_all(&self) {
        if self.own {
            sys::kill_everyone(libc::SIGKILL);
            return;
        }
        // Without a process namespace: stop whoever is found until nobody new is, because what is stopped cannot fork.
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let new: Vec<i32> = self.list().into_iter().filter(|pid| seen.insert(*pid)).collect();
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
        if self.own { self.all() } else { self.descendants() }
    }

    fn all(&self) -> Vec<i32> {
        let Ok(dir) = rustix::fs::Dir::read_from(&self.proc) else { return Vec::new() };
        let pids = dir.flatten().filter_map(|entry| entry.file_name().to_str().ok()?.parse::<i32>().ok());
        pids.filter(|pid| *pid != 1).take(PROCESSES_MAX).collect()
    }

    fn descendants(&self) -> Vec<i32> {
        let (mut found, mut next) = (Vec::new(), vec!["self".to_owned()]);
        while let Some(pid) = next.pop() {
            for thread in self.threads(&pid) {
                let Some(text) = self.read(&format!("{pid}/task/{thread}/children")) else { continue };
                for child in text.split_ascii_whitespace() {
                    if let Ok(number) = child.parse()
                        && found.len() < PROCESSES_MAX
                    {
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
