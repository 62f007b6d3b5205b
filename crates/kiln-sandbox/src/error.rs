//! The ways in which laying out a root or running a job fails. None of them says anything about the job's own exit.

use crate::BlobsError;
use kiln_cas::Digest;
use std::io;

/// A root that could not be laid out. The pool has thrown away whatever was begun.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// Blobs of the tree (directories or files) that the store does not have; all that could be found out in one walk.
    #[error("{} blobs of the input root are missing", .0.len())]
    Missing(Vec<Digest>),
    /// The tree is malformed or hostile: nothing was written. REAPI's `INVALID_ARGUMENT`.
    #[error("input root entry {path:?}: {reason}")]
    Hostile {
        /// The entry, as a path from the root; cut off after 200 characters.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A directory blob cannot be read.
    #[error("directory {digest}: {source}")]
    Directory {
        /// The directory's digest.
        digest: Digest,
        /// Why.
        source: BlobsError,
    },
    /// The file system refused.
    #[error("laying out {path:?}: {source}")]
    Io {
        /// What was being written, from the root.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// A job that could not be run, or whose end is not known: a failure of the farm or of the request, never of the job.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The helper process could not be started or is of no use.
    #[error("sandbox helper: {0}")]
    Helper(String),
    /// The job's processes vanished without a report (helper killed, machine out of memory).
    #[error("the job was lost: its sandbox ended without a report")]
    Lost,
    /// [`crate::Canceller::cancel`] was called.
    #[error("the job was cancelled")]
    Cancelled,
    /// The request itself is impossible (too long, NUL in a string, working directory absent). `INVALID_ARGUMENT`.
    #[error("bad job: {0}")]
    BadJob(String),
    /// A step of setting up the job's surroundings failed.
    #[error("sandbox set-up, {step}: {source}")]
    Setup {
        /// What was being done.
        step: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The command cannot be executed.
    #[error("cannot execute {command:?}: {source}")]
    NotExecutable {
        /// The first argument.
        command: String,
        /// Why (`NotFound`, `PermissionDenied`, exec format).
        source: io::Error,
    },
    /// This machine cannot give such a root (see [`crate::RungReport`]).
    #[error("no sandbox here can give a job this root: {0}")]
    NoRoot(String),
    /// Talking to the helper failed.
    #[error("sandbox: {0}")]
    Io(#[from] io::Error),
}
