//! Runs the user's command in the foreground: signals reach it, and its end becomes ours. Knows no command.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use anyhow::Context;
use rustix::process::Pid;
use rustix::process::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::exit::Exit;
use crate::exit::say;

/// Exit codes of a command that could not be run, as shells give them.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// How the command ended, or that it did not begin.
pub(crate) enum Ended {
    /// It ran.
    Ran(ExitStatus),
    /// It could not be run; the line was said.
    Not(Exit),
}

/// Runs `command` with `env` laid over this process's environment, until it ends. Afterwards the process has more threads
/// than one.
///
/// # Errors
/// Signals cannot be watched.
pub(crate) fn run(command: &[OsString], env: &[(&str, OsString)]) -> anyhow::Result<Ended> {
    let (program, args) = command.split_first().context("a command is missing")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut child = tokio::process::Command::new(program);
        child.args(args).envs(env.iter().map(|(name, value)| (name, value)));
        let mut child = match child.spawn() {
            Ok(child) => child,
            Err(error) => {
                let missing = error.kind() == std::io::ErrorKind::NotFound;
                let code = if missing { NOT_FOUND } else { NOT_EXECUTABLE };
                return Ok(Ended::Not(say(&format!("cannot run {}: {error}", program.display()), Exit::Command(code))));
            }
        };
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pass = |signal: Signal| {
            // It may have ended just now.
            let _ = pid.map(|pid| rustix::process::kill_process(pid, signal));
        };
        // From the keyboard a signal reaches the whole group, the command included; passing it on would double it.
        let pass_keys = |signal: Signal| {
            if !is_foreground() {
                pass(signal);
            }
        };
        loop {
            tokio::select! {
                status = child.wait() => return Ok(Ended::Ran(status?)),
                _ = terminate.recv() => pass(Signal::TERM),
                _ = hangup.recv() => pass(Signal::HUP),
                _ = interrupt.recv() => pass_keys(Signal::INT),
                _ = quit.recv() => pass_keys(Signal::QUIT),
            }
        }
    })
}

/// Whether this process's group has the keyboard.
fn is_foreground() -> bool {
    rustix::termios::tcgetpgrp(std::io::stdin().as_fd()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Ends as the command did: by its code, or by its signal.
pub(crate) fn end_as(status: ExitStatus) -> Exit {
    if let Some(signal) = status.signal() {
        let number = u8::try_from(signal).unwrap_or(0);
        kiln_frame::sys::die_by(number);
        // Only where the signal does not kill; shells give this.
        return Exit::Command(128_u8.saturating_add(number));
    }
    Exit::Command(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
