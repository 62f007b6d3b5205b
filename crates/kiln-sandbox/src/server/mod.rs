//! The helper process: makes namespaces and forks one init a job. Single-threaded, holds no file open for writing.

mod cgroup;
mod ladder;
pub(crate) mod view;

use crate::confine::seccomp::Filter;
use crate::init::usage::Processes;
use crate::message::{Report, Setup, encode_ready};
use crate::sys::{self, Forked};
use crate::wire::Reader;
use crate::{Rung, init, socket};
pub(crate) use cgroup::JobGroup;
use cgroup::Limited;
use rustix::event::{PollFd, PollFlags};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

/// What the inits of all jobs inherit.
pub(crate) struct Context {
    pub(crate) rung: Rung,
    /// The pool of roots: [`view::ROOTS`], or the host's path where there is no view.
    pub(crate) roots: String,
    /// The user that inits become once they have mounted what they must; `None` where the helper is no other user's root.
    pub(crate) becomes: Option<crate::JobUser>,
    pub(crate) filter: Filter,
    pub(crate) filter_with_sockets: Filter,
    pub(crate) landlock: Option<i32>,
    /// What of the worker's own files plain actions see.
    pub(crate) host_paths: Vec<String>,
    /// Processes and memory are bounded by cgroups.
    pub(crate) cgroups: Limited,
    /// Where the helper and its inits read the end of children and requests to stop.
    pub(crate) signals: OwnedFd,
    /// Where a trial says what failed.
    pub(crate) trial_errors: Option<OwnedFd>,
}

/// Runs the helper on `socket` (its end of the pair; standard input by convention) until the other end closes, then kills
/// what still runs. Must be called before any thread is made.
pub fn server_main(socket: OwnedFd) -> ! {
    let code = match serve(&socket) {
        Ok(()) => 0,
        Err(error) => {
            let _ = socket::send(socket.as_fd(), &encode_ready(&Err(error)), &[]);
            1
        }
    };
    // Inits die with this process: it is their parent, and they asked for it.
    sys::exit_now(code)
}

fn serve(socket: &OwnedFd) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let message = socket::receive(socket.as_fd()).map_err(text)?.ok_or("no set-up came")?;
    let setup = Setup::decode(&message.bytes).map_err(|_| "malformed set-up")?;
    let signals = sys::take_signals(&[libc::SIGCHLD, libc::SIGTERM]).map_err(text)?;
    ladder::prepare_process().map_err(|fail| fail.to_string())?;
    let report = ladder::choose(&setup, &signals)?;
    let (mut groups, absent) = cgroup::Groups::open(&setup.cgroups, setup.job_user);
    let become_later = view::enter(&setup, report.rung).map_err(|fail| fail.to_string())?;
    let mut context = ladder::context(&setup, report.rung, become_later, signals, None);
    context.cgroups = groups.limited();
    let mut report = report;
    let report_rung = report.rung;
    report.absent.extend(absent);
    socket::send(socket.as_fd(), &encode_ready(&Ok(report)), &[]).map_err(text)?;
    let mut running: BTreeMap<i32, JobGroup> = BTreeMap::new();
    let orphans = Orphans::watch(report_rung);
    loop {
        let mut fds = [PollFd::new(socket, PollFlags::IN), PollFd::new(&context.signals, PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(text(errno.into())),
        }
        let (request, child) = (fds[0].revents(), fds[1].revents());
        if !child.is_empty() {
            let mut buffer = [0; 1024];
            let _ = rustix::io::read(&context.signals, &mut buffer);
            while let sys::Reaped::Exited(pid, _) | sys::Reaped::Signalled(pid, _) = sys::reap(false) {
                running.remove(&pid);
            }
            orphans.kill(&running);
        }
        if !request.is_empty() {
            match socket::receive(socket.as_fd()) {
                Ok(Some(message)) => {
                    if let Some((pid, group)) = start(&context, &mut groups, message) {
                        running.insert(pid, group);
                    }
                }
                Ok(None) => {
                    end(&mut running, report_rung);
                    orphans.kill(&running);
                    return Ok(());
                }
                // One request is lost, and its worker sees its socket close.
                Err(_) => {}
            }
        }
    }
}

/// Ends what still runs, and waits for it, so that its cgroups can be removed.
fn end(running: &mut BTreeMap<i32, JobGroup>, rung: Rung) {
    for pid in running.keys().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
        let _ = rustix::process::kill_process(pid, rung.ending_signal());
    }
    while !running.is_empty() {
        match sys::reap(true) {
            sys::Reaped::Exited(pid, _) | sys::Reaped::Signalled(pid, _) => drop(running.remove(&pid)),
            sys::Reaped::Pending | sys::Reaped::Nobody => return,
        }
    }
}

/// Processes of jobs whose init was killed before it could end them. Only where no process namespace does that.
struct Orphans(Option<Processes>);

impl Orphans {
    fn watch(rung: Rung) -> Orphans {
        if rung.has_process_namespace() {
            return Orphans(None);
        }
        let adopts = rustix::process::set_child_subreaper(Some(rustix::process::getpid())).is_ok();
        Orphans(Processes::open(rung).ok().filter(|_| adopts))
    }

    /// Kills every child of this process that is no init, and all below it.
    fn kill(&self, inits: &BTreeMap<i32, JobGroup>) {
        if let Some(processes) = &self.0 {
            processes.kill_descendants(&|child| !inits.contains_key(&child));
        }
    }
}

/// The namespaces that each job has for itself; host name and (mostly) network are the helper's own.
pub(crate) fn namespaces_of(rung: Rung) -> i32 {
    let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC;
    match rung {
        Rung::UserNamespace | Rung::HostProc => libc::CLONE_NEWUSER | namespaces,
        Rung::RootNamespace => namespaces,
        Rung::Chroot | Rung::None => 0,
    }
}

/// Forks the init of one job. Whatever fails is told to whoever asked.
fn start(context: &Context, groups: &mut cgroup::Groups, message: socket::Message) -> Option<(i32, JobGroup)> {
    let mut input = Reader::new(&message.bytes);
    let (memory, processes, own_network) = (input.long().ok()?, input.word().ok()?, input.byte().ok()? != 0);
    let mut fds = message.fds.into_iter();
    let (job_socket, spec) = (fds.next()?, fds.next()?);
    let refuse = |step: &str, error: &std::io::Error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        let report = Report::SetupFailed { step: step.to_owned(), errno };
        let _ = socket::send(job_socket.as_fd(), &report.encode(), &[]);
    };
    let group = match groups.make(memory, processes) {
        Ok(group) => group,
        Err(error) => {
            refuse("making a cgroup", &error);
            return None;
        }
    };
    // Jobs without sockets share the helper's empty network; others get one of their own.
    let network = if own_network { libc::CLONE_NEWNET } else { 0 };
    let flags = match namespaces_of(context.rung) {
        0 => 0,
        flags => flags | network,
    };
    match sys::fork(flags, group.fork_into()) {
        Ok(Forked::Child) => init::main(context, &group, &job_socket, spec),
        // The init reports from here on, so that its reports come in order.
        Ok(Forked::Parent { pid }) => Some((pid, group)),
        Err(error) => {
            refuse("making a process", &error);
            None
        }
    }
}
