//! The first process of a job's namespaces: sets its root up, starts the job, watches it, collects its outputs, reports.
//!
//! It runs in a fork of the helper and never executes anything itself. When it dies, the kernel kills the whole job.

mod collect;
mod exec;
mod lowest;
mod root;
mod streams;
pub(crate) mod usage;
mod watch;

use crate::message::{Job, Report};
use crate::server::Context;
use crate::sys::{self, Fail, Forked, Reaped, Step};
use crate::wire::SPEC_BYTES_MAX;
use crate::{Rung, socket};
use rustix::fs::OFlags;
use std::os::fd::{AsFd, OwnedFd};

pub(crate) use crate::server::JobGroup;

impl From<Fail> for Report {
    fn from(fail: Fail) -> Report {
        Report::SetupFailed { step: fail.step, errno: fail.errno }
    }
}

/// Runs one job in a process that was just forked, with the namespaces of the rung, and ends it.
pub(crate) fn main(context: &Context, group: &JobGroup, job_socket: &OwnedFd, spec: OwnedFd) -> ! {
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(context, group, job_socket, spec)));
    let report = match ran {
        Ok(Ok(())) => sys::exit_now(0),
        Ok(Err(report)) => report,
        Err(_) => Report::SetupFailed { step: "a bug in the job's init".into(), errno: libc::EIO },
    };
    let _ = socket::send(job_socket.as_fd(), &report.encode(), &[]);
    sys::exit_now(1)
}

fn run(context: &Context, group: &JobGroup, job_socket: &OwnedFd, spec: OwnedFd) -> Result<(), Report> {
    become_init(context)?;
    let own = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())
        .step("naming the job's init")?;
    socket::send(job_socket.as_fd(), &Report::Started.encode(), &[own.as_fd()]).step("reporting")?;
    drop(own);
    group.enter().step("entering the cgroup")?;
    let job = read_job(&spec)?;
    drop(spec);
    // On the lowest rungs the job's root has no /proc; on the others only the job's /proc shows its processes.
    let host = if context.rung.has_process_namespace() { None } else { Some(usage::Processes::open(context.rung)?) };
    let place = root::enter(context, &job)?;
    let streams = streams::Streams::open(context, job.terminal)?;
    let watched = host.map_or_else(|| usage::Processes::open(context.rung), Ok)?;
    root::settle(context)?;
    root::make_dirs(&place, &job)?;
    let command = exec::Command::prepare(&job, &place)?;
    let outputs = collect::Plan::prepare(&job, &place)?;
    let beside = watched.counted_beside(job.limits.processes);
    let watch = watch::Watch::start(context, group, &job, &place, watched);
    let (main, streams) = command.start(context, &job, streams, beside)?;
    let ended = watch.until_over(main, streams, job_socket);
    // Nobody is left to be killed, so that from here on the init itself may be, however it was to be asked.
    sys::unblock_signals();
    collect::finish(ended, &outputs, &place, job_socket)
}

/// Leaves nothing of the helper in this process but what it needs.
fn become_init(context: &Context) -> Result<(), Fail> {
    // The parent is in another process namespace or the helper itself: either way its death must be this one's.
    rustix::process::set_parent_process_death_signal(Some(context.rung.ending_signal())).step("tying the job to its helper")?;
    let null =
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, rustix::fs::Mode::empty()).step("opening /dev/null")?;
    rustix::stdio::dup2_stdin(&null).step("closing the helper's input")?;
    rustix::stdio::dup2_stdout(&null).step("closing the helper's output")?;
    rustix::stdio::dup2_stderr(&null).step("closing the helper's messages")?;
    if matches!(context.rung, Rung::UserNamespace | Rung::HostProc) {
        let inner = crate::server::view::INNER_ID;
        crate::server::view::map_ids(inner, inner)?;
    }
    if !context.rung.has_process_namespace() {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).step("becoming the job's reaper")?;
    }
    Ok(())
}

fn read_job(spec: &OwnedFd) -> Result<Job, Report> {
    let size = rustix::fs::fstat(spec).step("reading the job")?.st_size as usize;
    if size > SPEC_BYTES_MAX {
        return Err(Report::BadJob("too long".into()));
    }
    let mut bytes = vec![0; size];
    let mut at = 0;
    while at < size {
        match rustix::io::pread(spec, &mut bytes[at..], at as u64).step("reading the job")? {
            0 => break,
            len => at += len,
        }
    }
    Job::decode(&bytes).map_err(|_| Report::BadJob("malformed".into()))
}

/// Does once, with nothing in it, all that the init of a job on this rung does; run by a process that ends afterwards.
pub(crate) fn trial(context: &Context) -> Result<(), Fail> {
    let flags = crate::server::namespaces_of(context.rung);
    match sys::fork(flags, None).step("making a job's namespaces")? {
        Forked::Child => {
            let tried = become_init(context).and_then(|()| root::trial(context)).and_then(|()| exec::trial(context));
            match tried {
                Ok(()) => sys::exit_now(0),
                Err(fail) => {
                    let _ = context.trial_errors.as_ref().map(|fd| rustix::io::write(fd, fail.to_string().as_bytes()));
                    sys::exit_now(1)
                }
            }
        }
        Forked::Parent { .. } => match sys::reap(true) {
            Reaped::Exited(_, 0) => Ok(()),
            other => Err(Fail { step: format!("a trial job ended as {other:?}"), errno: libc::EIO }),
        },
    }
}
