//! Why a compiler cannot be used by the farm. Knows no compiler.

use std::path::PathBuf;

/// Why no toolchain, or no answer, was got from a driver. Each means: run the command locally, untouched.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// The driver is a script, a wrapper, another tool, or not a program at all. What it starts cannot be known.
    #[error("{} is not a compiler: {why}", driver.display())]
    NotACompiler {
        /// The driver as it was given.
        driver: PathBuf,
        /// What was found instead.
        why: String,
    },
    /// The driver is a compiler, but set up in a way whose inputs are not modelled (a configuration file, `%include` in specs).
    #[error("{} is set up in a way that is not modelled: {why}", driver.display())]
    Unmodelled {
        /// The driver as it was given.
        driver: PathBuf,
        /// The file or setting.
        why: String,
    },
    /// The driver could not be asked: it hung, crashed, failed, or answered what cannot be read.
    #[error("{} {args}: {why}", driver.display())]
    Probe {
        /// The driver as it was given.
        driver: PathBuf,
        /// The arguments of the question.
        args: String,
        /// What happened.
        why: String,
    },
    /// A file of the toolchain cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file of the toolchain changes while it is read.
    #[error("{} changes while it is read", .0.display())]
    Changing(PathBuf),
    /// A path of the toolchain cannot be named in an action.
    #[error("{} is not UTF-8", .0.display())]
    NotUtf8(PathBuf),
    /// Links on the way lead in a circle, or the toolchain is larger than any is.
    #[error("{}: {why}", path.display())]
    Unbounded {
        /// The path that was followed.
        path: PathBuf,
        /// The bound that was met.
        why: &'static str,
    },
}

/// Why the compiler gave no list of a unit's inputs.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The compiler rejected the unit; its own message is what the user would see.
    #[error("the compiler exits with {code} when asked for the unit's inputs")]
    Rejected {
        /// Exit code of the compiler.
        code: i32,
        /// Its standard error.
        stderr: Vec<u8>,
    },
    /// The list cannot be read without doubt (a newline in a name, more than one rule).
    #[error("the compiler's list of inputs is ambiguous: {0}")]
    Ambiguous(String),
    /// The compiler could not be run to its end.
    #[error(transparent)]
    Probe(#[from] ToolchainError),
}
