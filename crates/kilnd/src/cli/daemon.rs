//! `kiln daemon start|stop|restart`. Knows the daemon's socket.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use clap::ArgMatches;
use clap::Command;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::process::Pid;
use rustix::process::PidfdFlags;

use super::talk::Asker;
use crate::exit::Exit;

/// How long a daemon that was told to go may take: it finishes what it has, and a compile is bounded by this too.
const DRAIN_MAX: Duration = Duration::from_secs(600);

pub(crate) fn command() -> Command {
    Command::new("daemon")
        .about("Start or stop the daemon; a compile starts it by itself")
        .subcommand_required(true)
        .subcommand(Command::new("start"))
        .subcommand(Command::new("stop").about("Let it finish what it has, and end"))
        .subcommand(Command::new("restart"))
}

/// `kiln daemon WORD`.
///
/// # Errors
/// It does not start, or does not go.
pub(crate) fn daemon(matches: &ArgMatches) -> anyhow::Result<Exit> {
    let asker = Asker::new();
    match matches.subcommand_name() {
        Some("start") => start(&asker)?,
        Some("stop") => stop(&asker)?,
        _ => {
            stop(&asker)?;
            start(&asker)?;
        }
    }
    Ok(Exit::Success)
}

fn start(asker: &Asker) -> anyhow::Result<()> {
    let running = asker.connect()?.is_some();
    // A start that failed a moment ago is not repeated for every wrapper; whoever asks for it by name wants it tried.
    let _ = std::fs::remove_file(asker.place()?.start_failed());
    asker.ensure_daemon()?;
    eprintln!("kiln: the daemon {} at {}", if running { "runs already" } else { "runs" }, asker.place()?.socket().display());
    Ok(())
}

fn stop(asker: &Asker) -> anyhow::Result<()> {
    let Some(connection) = asker.connect()? else {
        eprintln!("kiln: no daemon runs");
        return Ok(());
    };
    let peer = kiln_frame::sys::peer(connection.stream().as_fd())?;
    // Opened before it is told to go: its number may be another's soon after.
    let process = Pid::from_raw(peer.pid.cast_signed()).context("the daemon is in another process namespace")?;
    let process = rustix::process::pidfd_open(process, PidfdFlags::empty()).context("cannot watch the daemon")?;
    drop(connection);
    asker.ask("drain", &[])?;
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    let wait = Timespec::try_from(DRAIN_MAX)?;
    if rustix::event::poll(&mut fds, Some(&wait))? == 0 {
        bail!("the daemon (pid {}) still runs after {} s", peer.pid, DRAIN_MAX.as_secs());
    }
    eprintln!("kiln: the daemon has ended");
    Ok(())
}
