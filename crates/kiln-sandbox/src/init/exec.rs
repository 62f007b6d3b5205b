//! Becomes the job: streams, limits, confinement, `execve`. Knows nothing of what comes after.

use super::root::Place;
use super::streams::Streams;
use crate::confine::landlock::{self, Access};
use crate::confine::limits;
use crate::job::{Limits, RootMode};
use crate::message::{Job, Report};
use crate::server::Context;
use crate::sys::{self, Fail, Forked, Reaped, Step};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How often a file that somebody is still said to write to is tried again, and the pause between: a tenth of a second, for a process
/// of the worker that was forked while the store wrote a file and has not yet come to its own `execve`.
const BUSY_TRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// Where commands are looked for if the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Highest capability that is dropped one by one; the kernel has 41 and refuses higher ones.
const CAPABILITIES_MAX: u64 = 63;

/// Niceness of jobs: below their inits, which must be able to end them, and the services of the same machine.
const NICENESS: i32 = 5;

/// A trial starts no processes; the bound need only be no obstacle.
const PROCESSES_OF_A_TRIAL: u64 = 1 << 20;

/// What the child says when it cannot become the job: a byte for the step, four for errno.
const SAYS_EXEC: u8 = 0;
const SAYS_DIRECTORY: u8 = 1;
const SAYS_CONFINE: u8 = 2;

/// A command, ready for `execve`.
pub(super) struct Command {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
    stdin: Option<CString>,
    /// Where the input root is, for the job.
    work: String,
}

impl Command {
    /// Turns everything into C strings and looks the command up.
    pub(super) fn prepare(job: &Job, place: &Place) -> Result<Command, Report> {
        let string = |text: &str| CString::new(text).map_err(|_| Report::BadJob("a string with NUL".into()));
        let strings = |texts: &[String]| texts.iter().map(|text| string(text)).collect::<Result<Vec<_>, _>>();
        let command = job.argv.first().ok_or_else(|| Report::BadJob("no command".into()))?;
        let candidates = if command.contains('/') {
            vec![string(command)?]
        } else {
            let path = job.env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
            path.split(':').map(|dir| string(&format!("{dir}/{command}"))).collect::<Result<_, _>>()?
        };
        Ok(Command {
            candidates,
            argv: strings(&job.argv)?,
            env: strings(&job.env)?,
            cwd: string(&place.cwd)?,
            stdin: job.stdin.as_deref().map(string).transpose()?,
            work: place.output_prefix.clone(),
        })
    }

    /// Forks and becomes the job; returns its process and the streams to read.
    pub(super) fn start(&self, context: &Context, job: &Job, mut streams: Streams, beside: u64) -> Result<(i32, Streams), Report> {
        let (said, says) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).step("making a pipe")?;
        let write = streams.write.take();
        let main = match sys::fork(0, None).step("forking the job")? {
            Forked::Child => {
                let (step, errno) = self.become_job(context, job, write.as_ref(), beside);
                let mut bytes = [step, 0, 0, 0, 0];
                bytes[1..].copy_from_slice(&errno.to_ne_bytes());
                let _ = rustix::io::write(&says, &bytes);
                sys::exit_now(127)
            }
            Forked::Parent { pid } => pid,
        };
        drop((says, write));
        let mut bytes = [0; 5];
        match rustix::io::read(&said, &mut bytes) {
            Ok(0) => Ok((main, streams)),
            Ok(5) => {
                let errno = i32::from_ne_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
                Err(match bytes[0] {
                    SAYS_EXEC => Report::NotExecutable { errno },
                    SAYS_DIRECTORY => {
                        let error = io::Error::from_raw_os_error(errno);
                        Report::BadJob(format!("working directory {:?}: {error}", job.cwd))
                    }
                    _ => Report::SetupFailed { step: "confining the job".into(), errno },
                })
            }
            _ => Err(Report::SetupFailed { step: "starting the job".into(), errno: libc::EIO }),
        }
    }

    /// Never returns where it succeeds; otherwise the step and errno.
    fn become_job(&self, context: &Context, job: &Job, write: Option<&[OwnedFd; 2]>, beside: u64) -> (u8, i32) {
        let errno = |error: &io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        let prepared = (|| -> io::Result<()> {
            let [stdout, stderr] = write.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            // A group of its own, so that a signal to it reaches nobody else; the session stays the helper's, which has no terminal.
            rustix::process::setpgid(None, None)?;
            // Worse manners than asked for are no reason to fail.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            if let Some(path) = &self.stdin {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                rustix::stdio::dup2_stdin(&rustix::fs::open(&**path, flags, Mode::empty())?)?;
            } else if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
                // The job's own device rather than the helper's, where there is one.
                rustix::stdio::dup2_stdin(&null)?;
            }
            rustix::stdio::dup2_stdout(stdout)?;
            rustix::stdio::dup2_stderr(stderr)?;
            sys::unblock_signals();
            rustix::process::umask(Mode::from_raw_mode(0o022));
            confine(context, job.mode, &job.limits, &self.work, beside)
        })();
        if let Err(error) = prepared {
            return (SAYS_CONFINE, errno(&error));
        }
        if let Err(error) = rustix::process::chdir(&*self.cwd) {
            return (SAYS_DIRECTORY, error.raw_os_error());
        }
        (SAYS_EXEC, self.execute())
    }

    fn execute(&self) -> i32 {
        let (argv, env) = (pointers(&self.argv), pointers(&self.env));
        let mut worst = libc::ENOENT;
        for command in &self.candidates {
            for _ in 0..BUSY_TRIES {
                // SAFETY: all three are NUL-terminated, the latter two as arrays of pointers to strings that `self` owns.
                unsafe { libc::execve(command.as_ptr(), argv.as_ptr(), env.as_ptr()) };
                let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
                if errno != libc::ETXTBSY {
                    // As shells do: what is there but cannot be run is worth more than what is not there.
                    worst = if errno == libc::ENOENT || errno == libc::ENOTDIR { worst } else { errno };
                    break;
                }
                worst = errno;
                std::thread::sleep(BUSY_PAUSE);
            }
        }
        worst
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string: &CString| CStr::as_ptr(string)).chain([std::ptr::null()]).collect()
}

/// Takes everything from the calling process that a job does not need, for good.
fn confine(context: &Context, mode: RootMode, limits: &Limits, work: &str, processes_beside: u64) -> io::Result<()> {
    let bound_address_space = !context.cgroups.memory && mode == RootMode::Chroot;
    limits::apply(limits, limits::Around { processes_beside, bound_address_space });
    drop_capabilities()?;
    rustix::thread::set_no_new_privs(true)?;
    if let Some(abi) = context.landlock {
        landlock::apply(abi, mode == RootMode::HostUsr, &visible(context, mode, work))?;
    }
    let filter = if mode == RootMode::HostUsr { &context.filter_with_sockets } else { &context.filter };
    filter.apply()
}

/// What the job may touch. With a root of its own that is all of it, and Landlock only takes device nodes, signals and sockets away;
/// without one it is the only wall before the worker's files.
fn visible<'a>(context: &'a Context, mode: RootMode, work: &'a str) -> Vec<(&'a str, Access)> {
    if context.rung.has_process_namespace() || mode == RootMode::Chroot {
        return vec![("/", Access::All)];
    }
    let host = context.host_paths.iter().map(|path| (path.as_str(), Access::Read));
    host.chain([("/proc", Access::Read), ("/dev", Access::Use), ("/tmp", Access::All), (work, Access::All)]).collect()
}

fn drop_capabilities() -> io::Result<()> {
    for capability in 0..=CAPABILITIES_MAX {
        // SAFETY: numbers only. Capabilities that the kernel does not know, or a process without the right to drop, are refused.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    let none = rustix::thread::CapabilitySets {
        effective: rustix::thread::CapabilitySet::empty(),
        permitted: rustix::thread::CapabilitySet::empty(),
        inheritable: rustix::thread::CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, none)?)
}

/// Confines a process as a job would be, and ends it.
pub(super) fn trial(context: &Context) -> Result<(), Fail> {
    super::root::settle(context)?;
    match sys::fork(0, None).step("forking a trial job")? {
        Forked::Child => {
            let confined = confine(context, RootMode::Chroot, &Limits::default(), "/", PROCESSES_OF_A_TRIAL);
            sys::exit_now(confined.map_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO), |()| 0))
        }
        Forked::Parent { .. } => match sys::reap(true) {
            Reaped::Exited(_, 0) => Ok(()),
            Reaped::Exited(_, errno) => Err(Fail { step: "confining a trial job".into(), errno }),
            _ => Err(Fail { step: "running a trial job".into(), errno: libc::EIO }),
        },
    }
}
