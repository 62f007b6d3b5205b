//! A job as the worker describes it, and what became of it. Plain values.

use crate::LaidRoot;
use std::fs::File;

/// What stands at `/` for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootMode {
    /// The laid-out input root is `/`, and nothing else can be seen.
    Chroot,
    /// The worker's `/usr`, `/bin`, `/lib*` and loader configuration are visible read-only; the input root is a
    /// directory of its own and relative paths are relative to it (plain REAPI actions).
    HostUsr,
}

/// Size of the terminal on which a job's messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Columns; what `TIOCGWINSZ` says.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// Bounds on one job. Each that is met is reported as [`Ending::LimitMet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Wall time in milliseconds.
    pub wall_ms: u64,
    /// Memory of all the job's processes together, in bytes, without its scratch space.
    pub memory_bytes: u64,
    /// Processes and threads at one time.
    pub processes: u32,
    /// Bytes on stdout and stderr together.
    pub output_bytes: u64,
    /// Largest single file the job may write, in bytes.
    pub file_bytes: u64,
    /// Everything the job writes (outputs and `/tmp`), in bytes.
    pub scratch_bytes: u64,
    /// Open files a process.
    pub open_files: u64,
    /// Soft stack limit in bytes; the hard limit is unlimited where the machine allows it.
    pub stack_bytes: u64,
}

impl Default for Limits {
    /// A large compile: 1 h, 8 GiB, 1024 processes, 16 MiB of messages, 4 GiB a file, 8 GiB of scratch, 8 MiB of stack
    /// (what Linux gives a login).
    fn default() -> Limits {
        Limits {
            wall_ms: 3_600_000,
            memory_bytes: 8 << 30,
            processes: 1024,
            output_bytes: 16 << 20,
            file_bytes: 4 << 30,
            scratch_bytes: 8 << 30,
            open_files: 4096,
            stack_bytes: 8 << 20,
        }
    }
}

/// One job.
#[derive(Debug)]
pub struct JobSpec {
    /// The root it runs in; goes back to its pool when the job is over.
    pub root: LaidRoot,
    /// What stands at `/`.
    pub mode: RootMode,
    /// Command and arguments. A command without a slash is looked up in the `PATH` of `env`, inside the root.
    pub argv: Vec<String>,
    /// The complete environment.
    pub env: Vec<(String, String)>,
    /// Working directory: absolute for [`RootMode::Chroot`], relative to the input root for [`RootMode::HostUsr`].
    /// Must exist in the root or be listed in `make_dirs`.
    pub cwd: String,
    /// Files to collect, relative to `cwd` or absolute. Their parent directories are made beforehand.
    pub outputs: Vec<String>,
    /// Directories to collect whole (regular files, links and subdirectories), relative to `cwd` or absolute.
    pub output_trees: Vec<String>,
    /// Further directories to make before the job starts, relative to `cwd` or absolute.
    pub make_dirs: Vec<String>,
    /// Bounds.
    pub limits: Limits,
    /// Run with stdout and stderr on terminals of this size instead of pipes.
    pub terminal: Option<Terminal>,
    /// A file of the input root, absolute inside the job, that is its stdin; `None`: an empty one.
    pub stdin: Option<String>,
}

/// A bound that a job met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// [`Limits::wall_ms`].
    Time,
    /// [`Limits::memory_bytes`].
    Memory,
    /// [`Limits::processes`].
    Processes,
    /// [`Limits::output_bytes`].
    Output,
    /// [`Limits::file_bytes`].
    FileSize,
    /// [`Limits::scratch_bytes`], or the disk below it is full.
    Disk,
    /// [`Limits::open_files`].
    OpenFiles,
    /// The job was killed for a system call that no compiler makes.
    SystemCall,
    /// More outputs than [`crate::ENTRIES_MAX`] allows, or an output that is larger than [`Limits::file_bytes`].
    Outputs,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// It met a bound and was killed, or ended after it had met one: its exit says nothing about its inputs.
    LimitMet(Limit),
}

/// An output file, open for reading at offset 0. It stays readable though the job's root is gone.
#[derive(Debug)]
pub struct CollectedFile {
    /// The path as the job's `outputs` spelled it, or `TREE/relative` for files of `output_trees`.
    pub path: String,
    /// The content; a regular file that nobody writes to any more.
    pub file: File,
    /// Its length in bytes.
    pub size: u64,
    /// Whether the owner may execute it.
    pub executable: bool,
}

/// What became of a job.
pub struct JobOutcome {
    /// How it ended.
    pub ending: Ending,
    /// For a non-zero exit: a limit that the job's own messages or the state of its scratch space name (no space left, out of
    /// memory, ...). Such an exit is not the compiler's verdict either.
    pub suspected: Option<Limit>,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: Vec<u8>,
    /// Those outputs that exist as regular files; others are simply absent.
    pub outputs: Vec<CollectedFile>,
    /// Directories below `output_trees`, as `TREE/relative`, the trees themselves included where they exist.
    pub directories: Vec<String>,
    /// Symbolic links below `output_trees`, as (`TREE/relative`, target); not followed.
    pub symlinks: Vec<(String, String)>,
    /// User and system time of all its processes, in microseconds.
    pub cpu_us: u64,
    /// From start to the end of its last process, in microseconds.
    pub wall_us: u64,
    /// Largest resident set of any one of its processes, in bytes.
    pub max_rss_bytes: u64,
}

impl std::fmt::Debug for JobOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobOutcome")
            .field("ending", &self.ending)
            .field("suspected", &self.suspected)
            .field("stdout", &String::from_utf8_lossy(&self.stdout))
            .field("stderr", &String::from_utf8_lossy(&self.stderr))
            .field("outputs", &self.outputs)
            .field("directories", &self.directories)
            .field("symlinks", &self.symlinks)
            .field("cpu_us", &self.cpu_us)
            .field("wall_us", &self.wall_us)
            .field("max_rss_bytes", &self.max_rss_bytes)
            .finish()
    }
}
