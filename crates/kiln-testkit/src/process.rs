//! Processes with deadlines, and a look at who descends from whom. Knows nothing of what the processes are.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Between two looks at something awaited.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A process that ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code, if it exited.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// From its start to when its end was seen.
    pub took: Duration,
}

impl Ran {
    /// Both streams as text, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.stdout), String::from_utf8_lossy(&self.stderr))
    }

    /// Itself, if the process exited with 0.
    ///
    /// # Panics
    /// It did not.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "signal {:?} after {:?}:\n{}", self.signal, self.took, self.text());
        self
    }
}

/// A running process; it is killed if it is dropped before it ended.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: File,
    stderr: File,
    begun: Instant,
}

impl Running {
    /// Starts `command` with both streams into files, so that no pipe can fill up.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let stdout = tempfile::tempfile().expect("a file for standard output");
        let stderr = tempfile::tempfile().expect("a file for standard error");
        command.stdin(Stdio::null());
        command.stdout(stdout.try_clone().expect("a descriptor"));
        command.stderr(stderr.try_clone().expect("a descriptor"));
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, stdout, stderr, begun: Instant::now() }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Sends `signal` to it alone.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// It did not end within `limit`.
    #[must_use]
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> Ran {
        let status = wait_within(&mut self.child, limit.saturating_sub(self.begun.elapsed()));
        let took = self.begun.elapsed();
        let (stdout, stderr) = (contents(&mut self.stdout), contents(&mut self.stderr));
        let Some(status) = status else {
            let text = String::from_utf8_lossy(&stderr).into_owned();
            panic!("still running after {limit:?}:\n{}{text}", String::from_utf8_lossy(&stdout));
        };
        Ran { code: status.code(), signal: status.signal(), stdout, stderr, took }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.runs() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits until `child` ends; `None` if it did not within `limit`.
pub(crate) fn wait_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    // One whose end was seen has no number any more.
    if let Some(status) = child.try_wait().expect("a child's status") {
        return Some(status);
    }
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child's number");
    let ended = pidfd_open(pid, PidfdFlags::empty()).expect("a child's descriptor");
    let limit = Timespec::try_from(limit).expect("a time");
    // Interrupted by a signal or at its end: the look at the child decides.
    let _ = poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&limit));
    child.try_wait().expect("a child's status")
}

pub(crate) fn contents(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = file.rewind();
    let _ = file.read_to_end(&mut bytes);
    bytes
}

/// Starts `command` and waits until it ends.
///
/// # Panics
/// It cannot be started, or did not end within `limit`.
#[must_use]
#[track_caller]
pub fn run(command: &mut Command, limit: Duration) -> Ran {
    Running::start(command).finish(limit)
}

/// Looks again and again until `look` has something.
///
/// # Panics
/// It had nothing within `limit`; `what` is in the message.
#[track_caller]
pub fn await_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Sends `signal` to one process; one that is gone is no matter.
pub(crate) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// All live processes below `root`, with their command names (15 bytes at most, as the kernel keeps them).
#[must_use]
pub fn descendants(root: u32) -> Vec<(u32, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some((parent, name)) = parse_stat(&stat) {
            all.push((pid, parent, name));
        }
    }
    let mut below = vec![root];
    let mut found = Vec::new();
    while let Some(parent) = below.pop() {
        for (pid, _, name) in all.iter().filter(|(_, of, _)| *of == parent) {
            below.push(*pid);
            found.push((*pid, name.clone()));
        }
    }
    found
}

/// Parent and name of a line of `/proc/PID/stat`; nothing for a zombie.
fn parse_stat(stat: &str) -> Option<(u32, String)> {
    let (head, tail) = stat.rsplit_once(") ")?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    Some((fields.next()?.parse().ok()?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        assert_eq!(parse_stat("7 (a) S 3) R 5 7"), Some((5, "a) S 3".to_owned())));
        assert_eq!(parse_stat("7 (a) Z 5 7"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_child_is_found_and_killed() {
        let running = Running::start(Command::new("sleep").arg("100"));
        let pid = running.pid();
        let own = std::process::id();
        let named = |(of, name): &(u32, String)| *of == pid && name == "sleep";
        await_for("a child", Duration::from_secs(5), || descendants(own).iter().any(named).then_some(()));
        drop(running);
        assert!(!descendants(own).iter().any(|(of, _)| *of == pid));
    }
}
