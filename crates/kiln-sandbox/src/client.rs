//! The worker's side: starts the helper, hands it jobs, waits for reports. Knows no namespaces.

use crate::job::CollectedFile;
use crate::message::{Done, Found, Job, Report, Setup, decode_ready};
use crate::wire::{SPEC_BYTES_MAX, Writer};
use crate::{JobOutcome, JobSpec, JobUser, LaidRoot, Rung, RungReport, SandboxError, socket};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::MemfdFlags;
use rustix::process::Signal;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What of the worker's own files a [`crate::RootMode::HostUsr`] job sees, where it exists.
pub const HOST_PATHS: [&str; 11] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
];

/// How a [`Sandbox`] is started.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Program and arguments of the helper; it must call [`crate::server_main`] at once, with its standard input.
    pub helper_argv: Vec<OsString>,
    /// The directory of the [`crate::RootPool`] whose roots the jobs run in.
    pub roots: PathBuf,
    /// Use this rung, or fail; `None`: the best that works.
    pub rung: Option<Rung>,
    /// The host's user that jobs run as when the worker is root; ignored otherwise. Must own nothing.
    pub job_user: JobUser,
    /// Directories in which the helper makes a cgroup a job: one of cgroup v2 with the `memory` and `pids` controllers, or
    /// one each of v1's `memory` and `pids`. Empty: each job's init watches memory and processes itself.
    pub cgroups: Vec<PathBuf>,
    /// What of the worker's own files a [`crate::RootMode::HostUsr`] job sees, read-only.
    pub host_paths: Vec<PathBuf>,
}

impl SandboxConfig {
    /// The best rung, `nobody`, no cgroups, the usual host paths.
    pub fn new(helper_argv: Vec<OsString>, roots: PathBuf) -> SandboxConfig {
        SandboxConfig {
            helper_argv,
            roots,
            rung: None,
            job_user: JobUser::NOBODY,
            cgroups: Vec::new(),
            host_paths: HOST_PATHS.iter().map(PathBuf::from).collect(),
        }
    }
}

/// A running helper. Dropping it kills its jobs.
#[derive(Debug)]
pub struct Sandbox {
    socket: Option<OwnedFd>,
    helper: Child,
    roots: PathBuf,
    cgroups: Vec<PathBuf>,
    report: RungReport,
}

impl Sandbox {
    /// Starts the helper and waits until it has tried what works here.
    ///
    /// # Errors
    /// [`SandboxError::Helper`] when it cannot be started or the wanted rung cannot be reached.
    pub fn start(config: SandboxConfig) -> Result<Sandbox, SandboxError> {
        let failed = |what: String| SandboxError::Helper(what);
        let setup = Setup {
            roots: utf8(&config.roots)?,
            rung: config.rung,
            job_user: config.job_user,
            cgroups: config.cgroups.iter().map(|path| utf8(path)).collect::<Result<_, _>>()?,
            host_paths: config.host_paths.iter().map(|path| utf8(path)).collect::<Result<_, _>>()?,
        };
        let (program, args) = config.helper_argv.split_first().ok_or_else(|| failed("no helper is configured".into()))?;
        let (ours, theirs) = socket::pair()?;
        let mut helper = Command::new(program)
            .args(args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| failed(format!("{}: {error}", program.display())))?;
        let ready = (|| {
            socket::send(ours.as_fd(), &setup.encode(), &[])?;
            socket::receive(ours.as_fd())
        })();
        let ready = match ready {
            Ok(Some(message)) => decode_ready(&message.bytes).map_err(io::Error::from),
            Ok(None) => Err(io::Error::other("it ended at once")),
            Err(error) => Err(error),
        };
        match ready {
            Ok(Ok(report)) => Ok(Sandbox { socket: Some(ours), helper, roots: config.roots, cgroups: config.cgroups, report }),
            other => {
                drop(ours);
                let _ = helper.wait();
                Err(failed(match other {
                    Ok(Err(text)) => text,
                    Err(error) => error.to_string(),
                    Ok(Ok(_)) => String::new(),
                }))
            }
        }
    }

    /// What the helper can do here.
    pub fn report(&self) -> &RungReport {
        &self.report
    }

    /// Process of the helper, to be named in logs.
    pub fn helper_pid(&self) -> u32 {
        self.helper.id()
    }

    /// Starts a job. Returns when its init exists (about a millisecond); callable from several threads.
    ///
    /// # Errors
    /// [`SandboxError`]; the job has not run then. [`SandboxError::Helper`]: the helper is gone, and another must be started.
    pub fn run(&self, mut spec: JobSpec) -> Result<JobHandle, SandboxError> {
        if spec.root.pool_dir() != self.roots {
            return Err(SandboxError::BadJob("the root is of another pool".into()));
        }
        if self.report.rung == Rung::None && spec.mode == crate::RootMode::Chroot {
            return Err(SandboxError::NoRoot("see the rung report".into()));
        }
        if matches!(self.report.rung, Rung::Chroot | Rung::None) {
            spec.root.spoil();
        }
        let job = checked_job(&spec)?;
        let bytes = job.encode();
        if bytes.len() > SPEC_BYTES_MAX {
            return Err(SandboxError::BadJob(format!("{} bytes of arguments and names are too many", bytes.len())));
        }
        let mut file = File::from(rustix::fs::memfd_create("kiln-job", MemfdFlags::CLOEXEC).map_err(io::Error::from)?);
        file.write_all(&bytes)?;
        let (ours, theirs) = socket::pair()?;
        let mut header = Writer::default();
        // A cgroup counts the scratch space too, which is in memory.
        header.long(job.limits.memory_bytes.saturating_add(job.limits.scratch_bytes));
        header.word(job.limits.processes);
        header.byte(u8::from(job.mode == crate::RootMode::HostUsr));
        let Some(helper) = &self.socket else { return Err(SandboxError::Lost) };
        socket::send(helper.as_fd(), &header.bytes, &[theirs.as_fd(), file.as_fd()])
            .map_err(|error| SandboxError::Helper(format!("it has ended: {error}")))?;
        drop(theirs);
        let first = socket::receive(ours.as_fd())?.ok_or(SandboxError::Lost)?;
        let mut fds = first.fds.into_iter();
        match (Report::decode(&first.bytes).map_err(io::Error::from)?, fds.next()) {
            (Report::Started, Some(init)) => {
                let inner = Arc::new(Cancel { init, signal: self.report.rung.ending_signal(), cancelled: AtomicBool::new(false) });
                let canceller = Canceller { inner };
                Ok(JobHandle { canceller, socket: ours, root: Some(spec.root), command: spec.argv.swap_remove(0), over: false })
            }
            (report, _) => Err(refusal(report, &spec.argv[0])),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The helper ends when its socket closes, and the kernel kills its jobs then.
        self.socket = None;
        let _ = self.helper.wait();
        // The helper has given up the rights to remove its own; a later one would.
        for cgroup in &self.cgroups {
            let own = cgroup.join(format!("kiln-{}", self.helper.id()));
            let _ = std::fs::remove_dir(own.join("helper"));
            let _ = std::fs::remove_dir(own);
        }
    }
}

fn utf8(path: &Path) -> Result<String, SandboxError> {
    path.to_str().map(str::to_owned).ok_or_else(|| SandboxError::Helper(format!("{} is not UTF-8", path.display())))
}

fn checked_job(spec: &JobSpec) -> Result<Job, SandboxError> {
    let bad = |what: &str| Err(SandboxError::BadJob(what.to_owned()));
    if spec.argv.first().is_none_or(String::is_empty) {
        return bad("no command");
    }
    if spec.env.iter().any(|(name, _)| name.is_empty() || name.contains('=')) {
        return bad("an environment variable without a proper name");
    }
    let mut texts = spec.argv.iter().chain(&spec.outputs).chain(&spec.output_trees).chain(&spec.make_dirs).chain([&spec.cwd]);
    let in_env = |(name, value): &(String, String)| name.contains('\0') || value.contains('\0');
    if texts.any(|text| text.contains('\0')) || spec.env.iter().any(in_env) {
        return bad("a string with a NUL byte");
    }
    if spec.outputs.iter().chain(&spec.output_trees).any(String::is_empty) {
        return bad("an output without a name");
    }
    Ok(Job {
        root: spec.root.name().to_owned(),
        mode: spec.mode,
        argv: spec.argv.clone(),
        env: spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        cwd: spec.cwd.clone(),
        outputs: spec.outputs.clone(),
        output_trees: spec.output_trees.clone(),
        make_dirs: spec.make_dirs.clone(),
        limits: spec.limits.clone(),
        terminal: spec.terminal,
        stdin: spec.stdin.clone(),
    })
}

fn refusal(report: Report, command: &str) -> SandboxError {
    match report {
        Report::SetupFailed { step, errno } => SandboxError::Setup { step, source: io::Error::from_raw_os_error(errno) },
        Report::NotExecutable { errno } => {
            SandboxError::NotExecutable { command: command.to_owned(), source: io::Error::from_raw_os_error(errno) }
        }
        Report::BadJob(text) => SandboxError::BadJob(text),
        Report::Started | Report::Outputs(_) | Report::Done(_) => SandboxError::Lost,
    }
}

/// A started job. Dropping it kills the job.
#[derive(Debug)]
pub struct JobHandle {
    canceller: Canceller,
    socket: OwnedFd,
    /// Goes back to its pool when the job's init is gone.
    root: Option<LaidRoot>,
    command: String,
    over: bool,
}

/// Kills one job; cheap to clone, usable from any thread and after the job's end.
#[derive(Debug, Clone)]
pub struct Canceller {
    inner: Arc<Cancel>,
}

#[derive(Debug)]
struct Cancel {
    /// The job's init, as a process descriptor: it can never mean another process.
    init: OwnedFd,
    signal: Signal,
    cancelled: AtomicBool,
}

impl Cancel {
    /// A job that is over already is no error.
    fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.init, self.signal);
    }
}

impl Canceller {
    /// Kills every process of the job at once; [`JobHandle::wait`] then returns [`SandboxError::Cancelled`].
    pub fn cancel(&self) {
        self.inner.cancelled.store(true, Ordering::SeqCst);
        self.inner.kill();
    }
}

impl JobHandle {
    /// Something to cancel the job with from another thread.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Kills every process of the job at once.
    pub fn cancel(&self) {
        self.canceller.cancel();
    }

    /// Waits until the last process of the job is gone and its outputs are collected. Blocks.
    ///
    /// # Errors
    /// [`SandboxError`] when the job could not be run to an end.
    pub fn wait(mut self) -> Result<JobOutcome, SandboxError> {
        let outcome = self.reports();
        if outcome.is_err() {
            self.end();
        }
        self.over = true;
        let cancelled = self.canceller.inner.cancelled.load(Ordering::SeqCst);
        if cancelled { Err(SandboxError::Cancelled) } else { outcome }
    }

    fn reports(&self) -> Result<JobOutcome, SandboxError> {
        let mut outputs = Vec::new();
        let (mut directories, mut symlinks) = (Vec::new(), Vec::new());
        loop {
            let message = socket::receive(self.socket.as_fd())?.ok_or(SandboxError::Lost)?;
            let mut fds = message.fds.into_iter();
            match Report::decode(&message.bytes).map_err(io::Error::from)? {
                Report::Outputs(entries) => {
                    for (path, found) in entries {
                        match found {
                            Found::File { size, executable } => {
                                let file = File::from(fds.next().ok_or(SandboxError::Lost)?);
                                outputs.push(CollectedFile { path, file, size, executable });
                            }
                            Found::Directory => directories.push(path),
                            Found::Symlink(target) => symlinks.push((path, target)),
                        }
                    }
                }
                Report::Done(done) => {
                    let (stdout, stderr) = streams(&done, &mut fds)?;
                    return Ok(JobOutcome {
                        ending: done.ending,
                        suspected: done.suspected,
                        stdout,
                        stderr,
                        outputs,
                        directories,
                        symlinks,
                        cpu_us: done.cpu_us,
                        wall_us: done.wall_us,
                        max_rss_bytes: done.max_rss_bytes,
                    });
                }
                report => return Err(refusal(report, &self.command)),
            }
        }
    }

    /// Kills the job and waits until the kernel has reaped all of it, so that its root is free.
    fn end(&self) {
        let cancel = &self.canceller.inner;
        cancel.kill();
        let mut fds = [PollFd::new(&cancel.init, PollFlags::IN)];
        while rustix::event::poll(&mut fds, None) == Err(rustix::io::Errno::INTR) {}
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        if !self.over {
            self.canceller.cancel();
            self.end();
        }
        self.root = None;
    }
}

fn streams(done: &Done, fds: &mut impl Iterator<Item = OwnedFd>) -> Result<(Vec<u8>, Vec<u8>), SandboxError> {
    if let Some(streams) = &done.streams {
        return Ok(streams.clone());
    }
    let mut read = || -> Result<Vec<u8>, SandboxError> {
        let mut file = File::from(fds.next().ok_or(SandboxError::Lost)?);
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    Ok((read()?, read()?))
}
