//! From what came off the wire to a unit's result: only what was asked for, all of it, and made of what was found. Knows no worker.

use bytes::Bytes;
use kiln_cas::Digest;
use kiln_proto::convert::digest_from_wire;
use kiln_proto::reapi::ActionResult;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::action::Analysed;
use crate::course::Setback;
use crate::daemon::Daemon;
use crate::farm::{Arrived, Remote};
use crate::reply::{Contents, ResultFile, UnitResult};
use crate::witness;

/// Takes a result off the wire: only files that were asked for; keeps it for next time.
pub(crate) fn take(daemon: &Arc<Daemon>, unit: &Arc<Analysed>, remote: Remote) -> Result<UnitResult, Setback> {
    daemon.counters.count(|stats| stats.downloaded_bytes += remote.received_bytes);
    let Arrived { result, blobs } = remote.arrived;
    let unfit = |detail: String| Setback::Unfit { code: "bad-result", detail };
    let mut files = Vec::with_capacity(result.output_files.len());
    for file in &result.output_files {
        if !unit.command.output_paths.contains(&file.path) {
            return Err(unfit(format!("a result names {:?}, which nobody asked for", file.path)));
        }
        files.push(ResultFile {
            path: file.path.clone(),
            executable: file.is_executable,
            contents: Contents::Bytes(blob(&blobs, file.digest.as_ref()).map_err(unfit)?),
        });
    }
    if !result.output_directories.is_empty() || !result.output_symlinks.is_empty() {
        return Err(unfit("a result holds directories or links, which nobody asked for".to_owned()));
    }
    if result.exit_code == 0 {
        let lacks = unit.unit.outputs.iter().find(|output| output.required && !files.iter().any(|file| file.path == output.path));
        if let Some(output) = lacks {
            return Err(unfit(format!("a result lacks {:?}", output.path)));
        }
    }
    let taken = UnitResult {
        exit_code: result.exit_code,
        stdout: stream(&blobs, result.stdout_digest.as_ref()).map_err(unfit)?,
        stderr: stream(&blobs, result.stderr_digest.as_ref()).map_err(unfit)?,
        files,
    };
    if let Some(missed) = witness::missed(unit, &daemon.files, &taken) {
        return Err(Setback::Missed(missed));
    }
    if result.exit_code == 0 && daemon.local.results.is_some() {
        keep_later(daemon, unit.action_digest, result, blobs);
    }
    Ok(taken)
}

fn blob(blobs: &BTreeMap<Digest, Bytes>, digest: Option<&kiln_proto::reapi::Digest>) -> Result<Bytes, String> {
    let digest = digest_from_wire(digest).map_err(|error| error.to_string())?;
    match blobs.get(&digest) {
        Some(bytes) => Ok(bytes.clone()),
        None if digest.size == 0 => Ok(Bytes::new()),
        None => Err(format!("{digest} did not come with the result")),
    }
}

fn stream(blobs: &BTreeMap<Digest, Bytes>, digest: Option<&kiln_proto::reapi::Digest>) -> Result<Bytes, String> {
    if digest.is_none() { Ok(Bytes::new()) } else { blob(blobs, digest) }
}

/// Keeps a result on this machine's disk, after the wrapper has it.
fn keep_later(daemon: &Arc<Daemon>, action: Digest, result: ActionResult, blobs: BTreeMap<Digest, Bytes>) {
    let daemon = Arc::clone(daemon);
    tokio::task::spawn_blocking(move || {
        for (digest, bytes) in &blobs {
            if let Err(error) = kiln_cas::BlobStore::put(&daemon.local.store, digest, bytes) {
                tracing::debug!("{error}");
                return;
            }
        }
        daemon.local.keep(&action, &result);
    });
}
