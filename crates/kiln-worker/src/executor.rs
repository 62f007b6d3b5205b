//! Runs one action on this machine: lay out, run, judge, keep the outputs. Knows no network; missing blobs are the caller's.

use kiln_cas::{Action, Command, Digest, HOST_ROOT_PROPERTY, ROOT_PROPERTY};
use kiln_proto::convert::digest_to_wire;
use kiln_proto::{protobuf, reapi};
use kiln_sandbox::{
    CollectedFile, JobOutcome, JobSpec, JobUser, KILN_ROOT, LayoutError, Limits, RootMode, RootPool, Rung, RungReport, Sandbox,
    SandboxConfig, SandboxError, Terminal,
};
use kiln_store::{DiskStore, StoreError};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::blobs::StoreBlobs;
use crate::host_root::HostRoot;
use crate::verdict::{Doubt, Verdict, judge, judge_plain};

/// Platform property: `COLUMNSxROWS` of the terminal an action's messages are written for.
pub const TERMINAL_PROPERTY: &str = "kiln-terminal";
/// Platform property: the file of the input root, absolute, that is an action's stdin.
pub const STDIN_PROPERTY: &str = "kiln-stdin";

/// How an [`Executor`] is made.
#[derive(Debug, Clone)]
pub struct ExecutorConfig {
    /// Scratch directory, on the store's file system; leftovers in it are removed.
    pub scratch: PathBuf,
    /// Program and arguments of the sandbox's helper.
    pub helper_argv: Vec<OsString>,
    /// Jobs at once; as many roots are kept laid out.
    pub slots: usize,
    /// Force a rung of the ladder.
    pub rung: Option<Rung>,
    /// Bounds on each job.
    pub limits: Limits,
    /// Cgroups in which children may be made.
    pub cgroups: Vec<PathBuf>,
}

/// Why an action did not come to a final end here.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// Blobs of its input root are not in the store.
    #[error("{} blobs are missing", .0.len())]
    Missing(Vec<Digest>),
    /// The action cannot be run by anyone.
    #[error("{0}")]
    Invalid(String),
    /// It names other files than this machine's own: another machine may have them.
    #[error("{0}")]
    Elsewhere(String),
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// Its end is not believed; another machine may do better.
    #[error("{0}")]
    Doubtful(Doubt),
    /// It had not begun when this worker was told to leave.
    #[error("handed back: this worker is leaving")]
    HandedBack,
    /// This machine failed.
    #[error("{0}")]
    Machine(String),
    /// This machine's disk or store is full.
    #[error("no room: {0}")]
    Full(String),
}

/// One finished action.
#[derive(Debug)]
pub struct Executed {
    /// As REAPI has it; every blob it names is in the store.
    pub result: reapi::ActionResult,
    /// Contents of stdout.
    pub stdout: Vec<u8>,
    /// Contents of stderr.
    pub stderr: Vec<u8>,
    /// CPU time of the job, microseconds.
    pub cpu_us: u64,
    /// Wall time of the job, microseconds.
    pub wall_us: u64,
    /// Largest resident set of one of its processes.
    pub max_rss_bytes: u64,
}

/// An action whose input root is laid out.
#[derive(Debug)]
pub struct Prepared(JobSpec);

/// Kills a run, whether it has begun or not.
#[derive(Debug, Clone, Default)]
pub struct CancelSwitch {
    state: Arc<Mutex<SwitchState>>,
}

#[derive(Debug, Default)]
struct SwitchState {
    cancelled: bool,
    running: Option<kiln_sandbox::Canceller>,
}

impl CancelSwitch {
    /// A switch that is off.
    pub fn new() -> CancelSwitch {
        CancelSwitch::default()
    }

    /// Kills the run now, or before it begins.
    pub fn cancel(&self) {
        let running = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.cancelled = true;
            state.running.take()
        };
        if let Some(running) = running {
            running.cancel();
        }
    }

    /// Whether it was switched.
    pub fn is_cancelled(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).cancelled
    }

    fn attach(&self, canceller: kiln_sandbox::Canceller) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.cancelled {
            true => canceller.cancel(),
            false => state.running = Some(canceller),
        }
    }
}

/// The machinery of one machine. Share it; it blocks, so call it from threads that may.
pub struct Executor {
    store: DiskStore,
    pool: RootPool,
    sandbox: Sandbox,
    limits: Limits,
    host_root: HostRoot,
}

impl Executor {
    /// Starts the sandbox's helper and empties the scratch directory.
    ///
    /// # Errors
    /// A line for people: no helper, no scratch directory.
    pub fn start(store: DiskStore, config: ExecutorConfig) -> Result<Executor, String> {
        let roots = config.scratch.join("roots");
        // The helper binds the directory of roots, so it is made first.
        let pool = RootPool::open(&roots, JobUser::NOBODY, config.slots + 1)
            .map_err(|error| format!("scratch directory {}: {error}", roots.display()))?;
        let sandbox = Sandbox::start(SandboxConfig {
            rung: config.rung,
            cgroups: config.cgroups,
            ..SandboxConfig::new(config.helper_argv, roots.clone())
        })
        .map_err(|error| error.to_string())?;
        Ok(Executor { store, pool, sandbox, limits: config.limits, host_root: HostRoot::of_plain_actions() })
    }

    /// What the sandbox can do here.
    pub fn report(&self) -> &RungReport {
        self.sandbox.report()
    }

    /// Whether whole roots can be given.
    pub fn gives_roots(&self) -> bool {
        self.sandbox.report().rung != Rung::None
    }

    /// This machine's own files, as far as plain actions see them.
    pub fn host_root(&self) -> &HostRoot {
        &self.host_root
    }

    /// The store it lays out from and keeps outputs in.
    pub fn store(&self) -> &DiskStore {
        &self.store
    }

    /// Runs a prepared action to its end. Blocks.
    ///
    /// # Errors
    /// [`ExecuteError`]; nothing of an action that failed so is to be kept.
    pub fn run(&self, prepared: Prepared, cancel: &CancelSwitch) -> Result<Executed, ExecuteError> {
        if cancel.is_cancelled() {
            return Err(ExecuteError::Cancelled);
        }
        let plain = prepared.0.mode == RootMode::HostUsr;
        let handle = self.sandbox.run(prepared.0).map_err(sandbox_error)?;
        cancel.attach(handle.canceller());
        let outcome = handle.wait().map_err(sandbox_error)?;
        if cancel.is_cancelled() {
            return Err(ExecuteError::Cancelled);
        }
        let verdict = if plain { judge_plain(&outcome) } else { judge(&outcome) };
        match verdict {
            Verdict::Final(code) => self.keep(outcome, code),
            Verdict::Doubtful(doubt) => Err(ExecuteError::Doubtful(doubt)),
        }
    }

    /// Lays out an action's input root. Blocks. Needs no slot: the root waits for one.
    ///
    /// # Errors
    /// [`ExecuteError::Missing`] names blobs to fetch before trying again.
    pub fn prepare(&self, action: &Action, command: &Command) -> Result<Prepared, ExecuteError> {
        Ok(Prepared(self.job(action, command)?))
    }

    fn job(&self, action: &Action, command: &Command) -> Result<JobSpec, ExecuteError> {
        let mode = match action.property(ROOT_PROPERTY) {
            Some(KILN_ROOT) => RootMode::Chroot,
            Some(other) => return Err(ExecuteError::Invalid(format!("this worker gives no root {other:?}"))),
            None => RootMode::HostUsr,
        };
        check_properties(action, mode)?;
        let terminal = action.property(TERMINAL_PROPERTY).map(parse_terminal).transpose()?;
        let root = self.pool.lay_out(&StoreBlobs(&self.store), &action.input_root_digest).map_err(layout_error)?;
        let mut limits = self.limits.clone();
        if let Some(timeout_ms) = action.timeout_ms {
            limits.wall_ms = limits.wall_ms.min(timeout_ms.max(1));
        }
        let cwd = match mode {
            RootMode::Chroot => format!("/{}", command.working_directory),
            RootMode::HostUsr => command.working_directory.clone(),
        };
        let (outputs, output_trees) = match command.output_paths.is_empty() {
            false => (command.output_paths.clone(), Vec::new()),
            true => (command.output_files.clone(), command.output_directories.clone()),
        };
        Ok(JobSpec {
            root,
            mode,
            argv: command.arguments.clone(),
            env: command.environment.clone(),
            cwd,
            outputs,
            output_trees,
            make_dirs: Vec::new(),
            limits,
            terminal,
            stdin: action.property(STDIN_PROPERTY).map(str::to_owned),
        })
    }

    fn keep(&self, outcome: JobOutcome, exit_code: i32) -> Result<Executed, ExecuteError> {
        let mut result = reapi::ActionResult { exit_code, ..Default::default() };
        for file in &outcome.outputs {
            let digest = self.keep_file(file)?;
            result.output_files.push(reapi::OutputFile {
                path: file.path.clone(),
                digest: Some(digest_to_wire(&digest)),
                is_executable: file.executable,
                ..Default::default()
            });
        }
        result.output_files.sort_by(|a, b| a.path.cmp(&b.path));
        result.stdout_digest = self.keep_stream(&outcome.stdout)?;
        result.stderr_digest = self.keep_stream(&outcome.stderr)?;
        result.execution_metadata = Some(reapi::ExecutedActionMetadata {
            virtual_execution_duration: Some(protobuf::Duration {
                seconds: (outcome.wall_us / 1_000_000) as i64,
                nanos: (outcome.wall_us % 1_000_000 * 1000) as i32,
            }),
            ..Default::default()
        });
        Ok(Executed {
            result,
            stdout: outcome.stdout,
            stderr: outcome.stderr,
            cpu_us: outcome.cpu_us,
            wall_us: outcome.wall_us,
            max_rss_bytes: outcome.max_rss_bytes,
        })
    }

    fn keep_file(&self, file: &CollectedFile) -> Result<Digest, ExecuteError> {
        self.store.put_file(&file.file, self.limits.file_bytes, file.executable).map_err(store_error)
    }

    fn keep_stream(&self, bytes: &[u8]) -> Result<Option<reapi::Digest>, ExecuteError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let digest = Digest::of(bytes);
        kiln_cas::BlobStore::put(&self.store, &digest, bytes).map_err(store_error)?;
        Ok(Some(digest_to_wire(&digest)))
    }
}

/// What two honest runs of one action must agree in: the result without times and machines' names.
pub fn essence(result: &reapi::ActionResult) -> Vec<u8> {
    let bare = reapi::ActionResult { execution_metadata: None, ..result.clone() };
    prost::Message::encode_to_vec(&bare)
}

/// What kiln's own properties change in a job is known here, or the job is not run.
fn check_properties(action: &Action, mode: RootMode) -> Result<(), ExecuteError> {
    const KNOWN: [&str; 4] = [ROOT_PROPERTY, TERMINAL_PROPERTY, STDIN_PROPERTY, HOST_ROOT_PROPERTY];
    if let Some((name, _)) = action.platform.iter().find(|(name, _)| name.starts_with("kiln-") && !KNOWN.contains(&name.as_str())) {
        return Err(ExecuteError::Invalid(format!("this worker does not know {name:?}")));
    }
    match action.property(STDIN_PROPERTY) {
        Some(path) if mode != RootMode::Chroot || !path.starts_with('/') => {
            Err(ExecuteError::Invalid(format!("{STDIN_PROPERTY} is no file of a root of its own: {path:?}")))
        }
        _ => Ok(()),
    }
}

fn parse_terminal(value: &str) -> Result<Terminal, ExecuteError> {
    let parsed = value.split_once('x').and_then(|(columns, rows)| Some((columns.parse().ok()?, rows.parse().ok()?)));
    match parsed {
        Some((columns, rows)) => Ok(Terminal { columns, rows }),
        None => Err(ExecuteError::Invalid(format!("{TERMINAL_PROPERTY} is no COLUMNSxROWS: {value:?}"))),
    }
}

fn layout_error(error: LayoutError) -> ExecuteError {
    match error {
        LayoutError::Missing(digests) => ExecuteError::Missing(digests),
        LayoutError::Hostile { .. } => ExecuteError::Invalid(error.to_string()),
        LayoutError::Directory { .. } => ExecuteError::Invalid(error.to_string()),
        LayoutError::Io { ref source, .. } if is_full(source) => ExecuteError::Full(error.to_string()),
        LayoutError::Io { .. } => ExecuteError::Machine(error.to_string()),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn sandbox_error(error: SandboxError) -> ExecuteError {
    match error {
        SandboxError::Cancelled => ExecuteError::Cancelled,
        SandboxError::BadJob(_) | SandboxError::NotExecutable { .. } | SandboxError::NoRoot(_) => {
            ExecuteError::Invalid(error.to_string())
        }
        SandboxError::Setup { ref source, .. } if is_full(source) => ExecuteError::Full(error.to_string()),
        other => ExecuteError::Machine(other.to_string()),
    }
}

pub(crate) fn store_error(error: StoreError) -> ExecuteError {
    match error {
        StoreError::Full(_) => ExecuteError::Full(error.to_string()),
        StoreError::Io { ref source, .. } if is_full(source) => ExecuteError::Full(error.to_string()),
        other => ExecuteError::Machine(other.to_string()),
    }
}
