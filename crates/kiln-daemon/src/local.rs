//! Results kept on this machine, and units that run here in the embedded worker's sandbox. Blocks.

use bytes::Bytes;
use kiln_cas::{BlobStore as _, Digest};
use kiln_proto::convert::{digest_from_wire, result_digests};
use kiln_proto::reapi::ActionResult;
use kiln_store::{DiskStore, ResultStore, StoreError, StoredResult};
use kiln_worker::{CancelSwitch, ExecuteError, Executed, Executor};
use prost::Message as _;
use std::fs::File;
use std::sync::Arc;

use crate::action::Analysed;
use crate::blobs::Source;
use crate::files::open_regular;
use crate::reply::{Contents, ResultFile, UnitResult};

/// The instance under which local results are kept.
const LOCAL_INSTANCE: &str = "local";

/// Who writes local results.
const LOCAL_WRITER: &str = "local";

/// Times a unit's missing blobs are put into the store before its root is given up: one for directories, one for files, one
/// for a blob that was evicted in between.
const FILL_ROUNDS: usize = 4;

/// Why a unit could not run here in the sandbox.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    /// The wrapper has gone.
    #[error("cancelled")]
    Cancelled,
    /// The sandbox or its store failed, or the end is not believed: the compiler is run plainly.
    #[error("{0}")]
    Failed(String),
}

/// The disk and the sandbox of this machine.
pub(crate) struct Local {
    pub(crate) store: DiskStore,
    pub(crate) results: Option<ResultStore>,
    pub(crate) executor: Option<Arc<Executor>>,
    /// Why there is no executor.
    pub(crate) no_executor: String,
}

impl Local {
    /// A kept result of this action, complete.
    pub(crate) fn find(&self, action: &Digest) -> Option<UnitResult> {
        let stored = self.results.as_ref()?.get_complete(LOCAL_INSTANCE, action, &self.store)?;
        let result = ActionResult::decode(&stored.bytes[..]).ok()?;
        self.open(&result).ok()
    }

    /// Keeps a result whose blobs are in the store.
    pub(crate) fn keep(&self, action: &Digest, result: &ActionResult) {
        let Some(results) = self.results.as_ref() else { return };
        let Ok(referenced) = result_digests(result) else { return };
        let essence = Digest::of(&kiln_worker::essence(result));
        let stored = StoredResult { bytes: result.encode_to_vec(), referenced, essence, writer: LOCAL_WRITER.to_owned() };
        if let Err(error) = results.put(LOCAL_INSTANCE, action, &stored) {
            tracing::debug!("result of {action} not kept: {error}");
        }
    }

    /// Opens what a result names.
    pub(crate) fn open(&self, result: &ActionResult) -> Result<UnitResult, String> {
        let mut files = Vec::with_capacity(result.output_files.len());
        for output in &result.output_files {
            let digest = digest_from_wire(output.digest.as_ref()).map_err(|error| error.to_string())?;
            let file = self.open_blob(&digest)?;
            files.push(ResultFile {
                path: output.path.clone(),
                executable: output.is_executable,
                contents: Contents::File(file, digest.size),
            });
        }
        Ok(UnitResult {
            exit_code: result.exit_code,
            stdout: self.stream(result.stdout_digest.as_ref(), &result.stdout_raw)?,
            stderr: self.stream(result.stderr_digest.as_ref(), &result.stderr_raw)?,
            files,
        })
    }

    fn open_blob(&self, digest: &Digest) -> Result<File, String> {
        self.store.open_file(digest).map_err(|error| error.to_string())?.ok_or_else(|| format!("{digest} is not in the store"))
    }

    fn stream(&self, digest: Option<&kiln_proto::reapi::Digest>, raw: &[u8]) -> Result<Bytes, String> {
        match digest {
            None => Ok(Bytes::copy_from_slice(raw)),
            Some(_) => {
                let digest = digest_from_wire(digest).map_err(|error| error.to_string())?;
                let bytes = self.store.get(&digest).map_err(|error| error.to_string())?;
                bytes.map(|bytes| Bytes::copy_from_slice(&bytes)).ok_or_else(|| format!("{digest} is not in the store"))
            }
        }
    }

    /// Runs a unit in the sandbox of this machine.
    pub(crate) fn run(&self, unit: &Analysed, cancel: &CancelSwitch) -> Result<Executed, LocalError> {
        let executor = self.executor.as_ref().ok_or_else(|| LocalError::Failed(self.no_executor.clone()))?;
        let failed = |error: ExecuteError| match error {
            ExecuteError::Cancelled => LocalError::Cancelled,
            other => LocalError::Failed(other.to_string()),
        };
        let mut rounds = 0;
        let prepared = loop {
            match executor.prepare(&unit.action, &unit.command) {
                Ok(prepared) => break prepared,
                Err(ExecuteError::Missing(missing)) if rounds < FILL_ROUNDS => {
                    rounds += 1;
                    self.fill(unit, &missing)?;
                }
                Err(error) => return Err(failed(error)),
            }
        };
        executor.run(prepared, cancel).map_err(failed)
    }

    /// Puts the client's own blobs into the store.
    fn fill(&self, unit: &Analysed, missing: &[Digest]) -> Result<(), LocalError> {
        let failed = |text: String| LocalError::Failed(text);
        // A missing directory hides what is below it: put all of the unit's messages at once.
        for (digest, bytes) in unit.blobs.in_memory() {
            if !self.store.contains(digest) {
                self.store.put(digest, bytes).map_err(|error| failed(error.to_string()))?;
            }
        }
        for digest in missing {
            match unit.blobs.get(digest) {
                Some(Source::Memory(_)) => {}
                Some(Source::File(path)) => self.copy_in(digest, path).map_err(|error| failed(format!("{path}: {error}")))?,
                None => return Err(failed(format!("{digest} is no input of this unit"))),
            }
        }
        Ok(())
    }

    fn copy_in(&self, digest: &Digest, path: &str) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { context: path.to_owned(), source };
        let (fd, stamp) = open_regular(path).map_err(io)?;
        let got = self.store.put_file(&File::from(fd), digest.size, stamp.is_executable())?;
        match got == *digest {
            true => Ok(()),
            // The file has changed since it was scanned; what was read stays as a blob of its own.
            false => Err(StoreError::Mismatch(*digest)),
        }
    }
}
