//! Runs a compiler to ask it something: explicit arguments, environment, directory, bounded time and output. Judges no answer.

use crate::ToolchainError;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longest a question may take: 10 s. Drivers answer in some milliseconds; a loaded machine with a cold disk in one second.
pub(crate) const QUESTION_TIME_MAX: Duration = Duration::from_secs(10);

/// Longest a unit's inputs may take to list: 120 s. The largest unit's preprocessing takes some seconds.
pub(crate) const LISTING_TIME_MAX: Duration = Duration::from_secs(120);

/// Most bytes taken of each output stream: 16 MiB. A macro dump is 20 KB, the longest list of inputs seen 1 MB.
const OUTPUT_MAX: usize = 16 << 20;

/// Longest input fed to a question: what a pipe takes without anyone reading (64 KiB), so that writing never waits.
pub(crate) const INPUT_MAX: usize = 64 << 10;

/// What to run.
pub(crate) struct Question<'a> {
    pub(crate) driver: &'a Path,
    pub(crate) args: &'a [String],
    pub(crate) env: &'a [(String, String)],
    pub(crate) cwd: &'a Path,
    /// Standard input; nothing when empty.
    pub(crate) input: &'a [u8],
    pub(crate) time_max: Duration,
}

/// How it ended.
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Question<'_> {
    /// An error about this question.
    pub(crate) fn failed(&self, why: impl Into<String>) -> ToolchainError {
        let args = self.args.join(" ");
        ToolchainError::Probe { driver: self.driver.to_owned(), args: args.chars().take(200).collect(), why: why.into() }
    }

    /// Runs it; a non-zero exit is an answer, a signal is not.
    pub(crate) fn ask(&self) -> Result<Answer, ToolchainError> {
        if self.input.len() > INPUT_MAX {
            return Err(self.failed("input is larger than a pipe takes"));
        }
        let mut child = Command::new(self.driver)
            .args(self.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.cwd)
            .stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| self.failed(format!("cannot be started: {error}")))?;
        let result = self.attend(&mut child);
        if result.is_err() {
            // The group, for a driver leaves its children holding the pipes.
            if let Some(pid) = Pid::from_raw(child.id() as i32) {
                kill_process_group(pid, Signal::KILL).ok();
            }
            child.wait().ok();
        }
        result
    }

    /// Like [`Question::ask`], and a non-zero exit is an error that quotes the compiler.
    pub(crate) fn ask_well(&self) -> Result<Answer, ToolchainError> {
        let answer = self.ask()?;
        match answer.code {
            0 => Ok(answer),
            code => {
                let stderr = String::from_utf8_lossy(&answer.stderr);
                let first = stderr.lines().find(|line| line.contains("error")).or(stderr.lines().last()).unwrap_or_default();
                Err(self.failed(format!("exits with {code}: {}", first.chars().take(300).collect::<String>())))
            }
        }
    }

    fn attend(&self, child: &mut Child) -> Result<Answer, ToolchainError> {
        let deadline = Instant::now() + self.time_max;
        let system = |error: std::io::Error| self.failed(error.to_string());
        if let Some(mut stdin) = child.stdin.take() {
            // A driver that does not read its input closes the pipe: its answer says what it made of that.
            stdin.write_all(self.input).ok();
        }
        let mut stdout = child.stdout.take().ok_or_else(|| self.failed("has no standard output"))?;
        let mut stderr = child.stderr.take().ok_or_else(|| self.failed("has no standard error"))?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (mut out_open, mut err_open) = (true, true);
        while out_open || err_open {
            let mut fds = [PollFd::new(&stdout, PollFlags::IN), PollFd::new(&stderr, PollFlags::IN)];
            // A closed stream is always ready: only the open ones are asked about.
            let range = match (out_open, err_open) {
                (true, true) => 0..2,
                (true, false) => 0..1,
                _ => 1..2,
            };
            self.wait(&mut fds[range], deadline)?;
            let ready = [out_open && !fds[0].revents().is_empty(), err_open && !fds[1].revents().is_empty()];
            if ready[0] {
                out_open = take(&mut stdout, &mut out).map_err(system)?;
            }
            if ready[1] {
                err_open = take(&mut stderr, &mut err).map_err(system)?;
            }
            if out.len() > OUTPUT_MAX || err.len() > OUTPUT_MAX {
                return Err(self.failed(format!("answers with more than {OUTPUT_MAX} bytes")));
            }
        }
        let status = self.reap(child, deadline)?;
        match status.code() {
            Some(code) => Ok(Answer { code, stdout: out, stderr: err }),
            None => Err(self.failed(format!("is killed by signal {}", status.signal().unwrap_or_default()))),
        }
    }

    fn wait(&self, fds: &mut [PollFd<'_>], deadline: Instant) -> Result<(), ToolchainError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.failed(format!("gives no answer within {} s", self.time_max.as_secs_f32())));
            }
            let timeout = rustix::event::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(fds, Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(self.failed(error.to_string())),
            }
        }
    }

    fn reap(&self, child: &mut Child, deadline: Instant) -> Result<ExitStatus, ToolchainError> {
        let pid = Pid::from_raw(child.id() as i32).ok_or_else(|| self.failed("has no process id"))?;
        // Fails on kernels before 5.3 only: then the streams' end has to do.
        if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) {
            self.wait(&mut [PollFd::new(&handle, PollFlags::IN)], deadline)?;
        }
        child.wait().map_err(|error| self.failed(error.to_string()))
    }
}

/// Appends what is there; whether the stream goes on.
fn take(stream: &mut impl Read, into: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut buffer = [0; 32 << 10];
    match stream.read(&mut buffer) {
        Ok(n) => {
            into.extend_from_slice(&buffer[..n]);
            Ok(n > 0)
        }
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, time_max: Duration) -> Result<Answer, ToolchainError> {
        let args = ["-c".to_owned(), script.to_owned()];
        let env = [("A".to_owned(), "b".to_owned())];
        let (driver, cwd) = (Path::new("/bin/sh"), Path::new("/usr"));
        Question { driver, args: &args, env: &env, cwd, input: b"in", time_max }.ask()
    }

    #[test]
    fn streams_exit_directory_and_environment_are_those_given() {
        let answer = shell("pwd; env | grep -c HOME; echo $A >&2; cat; exit 3", QUESTION_TIME_MAX).unwrap();
        assert_eq!(answer.code, 3);
        assert_eq!(answer.stdout, b"/usr\n0\nin");
        assert_eq!(answer.stderr, b"b\n");
    }

    #[test]
    fn a_driver_that_hangs_is_ended_with_its_children() {
        let started = Instant::now();
        let marker = format!("{}", 86_400 + std::process::id());
        let error = shell(&format!("sleep {marker} & sleep {marker}"), Duration::from_millis(200)).err().unwrap();
        assert!(error.to_string().contains("no answer within"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(5));
        let left = Command::new("ps").args(["-eo", "stat,args"]).output().unwrap();
        let left = String::from_utf8_lossy(&left.stdout).into_owned();
        assert!(!left.lines().any(|line| line.ends_with(&format!("sleep {marker}")) && !line.starts_with('Z')), "{left}");
    }

    #[test]
    fn a_flood_and_a_signal_are_errors() {
        let flood = shell("exec yes", QUESTION_TIME_MAX).err().unwrap();
        assert!(flood.to_string().contains("more than"), "{flood}");
        let killed = shell("kill -9 $$", QUESTION_TIME_MAX).err().unwrap();
        assert!(killed.to_string().contains("signal 9"), "{killed}");
    }
}
