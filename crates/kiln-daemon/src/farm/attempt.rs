//! One attempt of one unit on one worker, and look-ups in the cluster's action cache.

use kiln_cas::Digest;
use kiln_proto::convert::{digest_from_wire, digest_to_wire};
use kiln_proto::longrunning::CancelOperationRequest;
use kiln_proto::longrunning::operations_client::OperationsClient;
use kiln_proto::reapi::action_cache_client::ActionCacheClient;
use kiln_proto::reapi::execution_client::ExecutionClient;
use kiln_proto::reapi::{ActionResult, ExecuteRequest, ExecuteResponse, GetActionResultRequest};
use kiln_proto::status::{missing_in, response_of};
use kiln_proto::v1::{Grant, Outcome};
use kiln_rpc::{Address, Channel};
use kiln_worker::{BATCH_BLOBS_MAX, BATCH_BYTES_MAX, BlobClient, home};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tonic::{Code, Request, Status};

use super::grants::{Farm, Granted};
use super::transfer::{SOME_WORKER, Sent, TransferError};
use super::{INSTANCE, MESSAGE_MAX};
use crate::action::Analysed;
use crate::course::Setback;
use kiln_worker::GRANT_KEY;

/// Times a worker may ask for missing blobs within one attempt: directories hide what is below them, and something may be
/// evicted meanwhile.
const MISSING_ROUNDS: u32 = 4;

/// A result with all its bytes, each checked against its digest.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) result: ActionResult,
    pub(crate) blobs: BTreeMap<Digest, bytes::Bytes>,
}

/// What an attempt gave.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) arrived: Arrived,
    pub(crate) received_bytes: u64,
}

impl Farm {
    /// A result from the cluster's action cache, complete; `None` for a miss or any failure.
    pub(crate) async fn look_up(&self, unit: &Analysed) -> Option<Remote> {
        let caches = self.caches();
        let cache = home(&caches, |node| &node.name, &unit.action_digest)?;
        if !self.may_ask(cache) {
            return None;
        }
        let channel = self.servers.get(&cache.address.parse().ok()?, &cache.tls_name).ok()?;
        let request = GetActionResultRequest {
            instance_name: INSTANCE.to_owned(),
            action_digest: Some(digest_to_wire(&unit.action_digest)),
            inline_stdout: true,
            inline_stderr: true,
            ..Default::default()
        };
        let mut client = ActionCacheClient::new(channel.clone()).max_decoding_message_size(MESSAGE_MAX);
        let result = match client.get_action_result(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => {
                if status.code() == Code::Unavailable {
                    self.cache_failed(cache);
                }
                return None;
            }
        };
        self.cache_is_well(cache);
        let blobs = BlobClient::new(channel, INSTANCE);
        let (arrived, received_bytes) = gather(&blobs, result).await.ok()?;
        Some(Remote { arrived, received_bytes })
    }

    /// Runs the unit on the granted worker; `sent` counts what that takes, however it ends. Dropping the future cancels the run there.
    pub(crate) async fn attempt(&self, unit: &Arc<Analysed>, granted: &mut Granted, sent: &mut Sent) -> Result<Remote, Setback> {
        let (started, moment) = (Instant::now(), self.moment());
        let grant = granted.grant.clone();
        let outcome = tokio::select! {
            outcome = self.attempt_on(unit, &grant, sent) => outcome,
            () = granted.lost() => Err(Setback::Lost { code: "worker-silent", detail: "the scheduler hears nothing of it".to_owned() }),
        };
        let outcome = match outcome {
            // That is this machine's doing, and says nothing about the worker.
            Err(Setback::Lost { .. }) if self.stood_still_since(moment) => Err(Setback::Rejected),
            outcome => outcome,
        };
        let run_ms = started.elapsed().as_millis() as u64;
        match &outcome {
            Ok(remote) if remote.arrived.result.exit_code == 0 => granted.used(Outcome::Ok, run_ms, 0, ""),
            Ok(_) => granted.used(Outcome::JobFailed, run_ms, 0, ""),
            Err(Setback::Rejected) => granted.used(Outcome::Rejected, run_ms, 0, ""),
            Err(Setback::Lost { detail, .. }) => {
                if let Ok(address) = granted.grant.worker_address.parse() {
                    self.workers.forget(&address);
                }
                self.known.forget(&granted.grant.worker_name);
                self.known.forget(SOME_WORKER);
                self.avoid(&granted.grant);
                granted.used(Outcome::WorkerFailed, run_ms, 0, detail);
            }
            Err(Setback::Doubtful(detail)) => granted.used(Outcome::JobFailed, run_ms, 0, detail),
            Err(Setback::Unfit { detail, .. } | Setback::Missed(detail)) => granted.used(Outcome::Cancelled, run_ms, 0, detail),
        }
        outcome
    }

    async fn attempt_on(&self, unit: &Arc<Analysed>, grant: &Grant, sent: &mut Sent) -> Result<Remote, Setback> {
        let lost = |detail: String| Setback::Lost { code: "worker-lost", detail };
        let address: Address = grant.worker_address.parse().map_err(|_| lost(format!("bad address {:?}", grant.worker_address)))?;
        let channel = self.workers.get(&address, &grant.tls_name).map_err(|error| lost(error.to_string()))?;
        let mut blobs = BlobClient::new(channel.clone(), INSTANCE).with_grant(grant.token.clone());
        if matches!(address, Address::Unix(_)) {
            blobs = blobs.uncompressed();
        }
        if let Err(error) = self.share(unit, sent).await {
            // The cache server being away costs time, not the unit: the worker will ask for what it lacks.
            tracing::debug!("shared blobs not sent home: {error:?}");
        }
        let own = self.known.unknown(&grant.worker_name, unit.blobs.own());
        self.send(&blobs, unit, &own, sent).await.map_err(transfer_setback)?;
        self.known.learn(&grant.worker_name, own);
        let mut again = false;
        let mut cancel = CancelOnDrop::new(channel.clone(), &grant.lease, &grant.token);
        for _ in 0..MISSING_ROUNDS {
            let response = self.execute(channel.clone(), unit, grant).await.map_err(status_setback)?;
            let status = response.status.unwrap_or_default();
            let missing = missing_in(&status);
            if !missing.is_empty() {
                self.known.forget(&grant.worker_name);
                self.supply(&blobs, unit, &missing, &mut again, sent).await.map_err(transfer_setback)?;
                continue;
            }
            if status.code != Code::Ok as i32 {
                cancel.disarm();
                return Err(status_setback(Status::new(Code::from_i32(status.code), status.message)));
            }
            let result = response.result.ok_or_else(|| lost("a finished run without a result".to_owned()))?;
            let gathered = gather(&blobs, result).await;
            cancel.disarm();
            let (arrived, received_bytes) = gathered.map_err(|status| lost(status.message().to_owned()))?;
            return Ok(Remote { arrived, received_bytes });
        }
        cancel.disarm();
        Err(lost("the worker keeps asking for blobs".to_owned()))
    }

    async fn execute(&self, channel: Channel, unit: &Analysed, grant: &Grant) -> Result<ExecuteResponse, Status> {
        let mut request = Request::new(ExecuteRequest {
            instance_name: INSTANCE.to_owned(),
            skip_cache_lookup: true,
            action_digest: Some(digest_to_wire(&unit.action_digest)),
            inline_stdout: true,
            inline_stderr: true,
            inline_output_files: unit.command.output_paths.clone(),
            ..Default::default()
        });
        let token = tonic::metadata::MetadataValue::from_bytes(&grant.token);
        request.metadata_mut().insert_bin(GRANT_KEY, token);
        let mut client = ExecutionClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
        let mut stream = client.execute(request).await?.into_inner();
        while let Some(operation) = stream.message().await? {
            if let Some(response) = response_of(&operation).map_err(Status::internal)? {
                return Ok(response);
            }
        }
        Err(Status::unavailable("the worker ended the stream before the run"))
    }
}

/// Cancels a run by its name when the attempt is given up.
struct CancelOnDrop {
    armed: Option<(Channel, String, Vec<u8>)>,
}

impl CancelOnDrop {
    fn new(channel: Channel, lease: &str, token: &[u8]) -> CancelOnDrop {
        CancelOnDrop { armed: Some((channel, kiln_worker::operation_name(INSTANCE, lease), token.to_vec())) }
    }

    fn disarm(&mut self) {
        self.armed = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let Some((channel, name, token)) = self.armed.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let mut request = Request::new(CancelOperationRequest { name });
            request.metadata_mut().insert_bin(GRANT_KEY, tonic::metadata::MetadataValue::from_bytes(&token));
            if let Err(status) = OperationsClient::new(channel).cancel_operation(request).await {
                tracing::debug!("run not cancelled: {}", status.message());
            }
        });
    }
}

fn transfer_setback(error: TransferError) -> Setback {
    match error {
        // Want of room for blobs is no want of a slot: it would lack them the next time too.
        TransferError::Node(status) if status.code() == Code::ResourceExhausted => {
            Setback::Lost { code: "worker-full", detail: status.message().to_owned() }
        }
        TransferError::Node(status) => status_setback(status),
        TransferError::Changed(path) => Setback::Unfit { code: "input-changed", detail: path },
    }
}

fn status_setback(status: Status) -> Setback {
    let detail = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::ResourceExhausted => Setback::Rejected,
        Code::Aborted | Code::DeadlineExceeded => Setback::Doubtful(status.message().to_owned()),
        Code::InvalidArgument => Setback::Unfit { code: "worker-refused", detail },
        Code::Unauthenticated | Code::PermissionDenied => Setback::Lost { code: "worker-denied", detail },
        _ => Setback::Lost { code: "worker-lost", detail },
    }
}

/// Fetches whatever of a result is not inline, and checks all of it.
async fn gather(client: &BlobClient, result: ActionResult) -> Result<(Arrived, u64), Status> {
    let bad = |error: kiln_cas::DigestError| Status::data_loss(error.to_string());
    let mut arrived = Arrived { result, blobs: BTreeMap::new() };
    let mut wanted = Vec::new();
    let mut inline: Vec<(Digest, Vec<u8>)> = Vec::new();
    for file in &mut arrived.result.output_files {
        let digest = digest_from_wire(file.digest.as_ref()).map_err(bad)?;
        match file.contents.is_empty() && digest.size > 0 {
            true => wanted.push(digest),
            false => inline.push((digest, std::mem::take(&mut file.contents))),
        }
    }
    let result = &mut arrived.result;
    for (digest, raw) in [
        (result.stdout_digest.clone(), std::mem::take(&mut result.stdout_raw)),
        (result.stderr_digest.clone(), std::mem::take(&mut result.stderr_raw)),
    ] {
        match digest {
            None if raw.is_empty() => {}
            None => inline.push((Digest::of(&raw), raw)),
            Some(digest) => {
                let digest = digest_from_wire(Some(&digest)).map_err(bad)?;
                match raw.is_empty() && digest.size > 0 {
                    true => wanted.push(digest),
                    false => inline.push((digest, raw)),
                }
            }
        }
    }
    let mut received = 0;
    for (digest, bytes) in inline {
        received += bytes.len() as u64;
        if !digest.matches(&bytes) {
            return Err(Status::data_loss(format!("{digest} came with other content")));
        }
        arrived.blobs.insert(digest, bytes.into());
    }
    received += fetch(client, &wanted, &mut arrived.blobs).await?;
    Ok((arrived, received))
}

async fn fetch(client: &BlobClient, wanted: &[Digest], into: &mut BTreeMap<Digest, bytes::Bytes>) -> Result<u64, Status> {
    let mut received = 0;
    let (small, large): (Vec<Digest>, Vec<Digest>) = wanted.iter().partition(|digest| digest.size <= BATCH_BYTES_MAX);
    for batch in batches(&small) {
        for (digest, bytes) in client.read(batch).await? {
            received += bytes.len() as u64;
            into.insert(digest, bytes.into());
        }
    }
    for digest in large {
        if digest.size > OUTPUT_SIZE_MAX {
            return Err(Status::data_loss(format!("an output of {} bytes is larger than any that is taken", digest.size)));
        }
        let mut bytes = Vec::with_capacity(digest.size as usize);
        client
            .stream(&digest, |part| {
                bytes.extend_from_slice(part);
                Ok(())
            })
            .await?;
        if !digest.matches(&bytes) {
            return Err(Status::data_loss(format!("{digest} came with other content")));
        }
        received += bytes.len() as u64;
        into.insert(digest, bytes.into());
    }
    match wanted.iter().find(|digest| !into.contains_key(digest)) {
        Some(digest) => Err(Status::not_found(format!("{digest} of the result is nowhere"))),
        None => Ok(received),
    }
}

/// Parts of a list that each fit into one call.
fn batches(mut digests: &[Digest]) -> Vec<&[Digest]> {
    let mut batches = Vec::new();
    while !digests.is_empty() {
        let mut bytes = 0;
        let fits = |digest: &&Digest| {
            bytes += digest.size;
            bytes <= BATCH_BYTES_MAX
        };
        let count = digests.iter().take(BATCH_BLOBS_MAX).take_while(fits).count().max(1);
        let (batch, rest) = digests.split_at(count);
        batches.push(batch);
        digests = rest;
    }
    batches
}

/// Largest output taken from a worker: 1 GiB held in memory while it is handed over.
const OUTPUT_SIZE_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_into_one_call_goes_by_one() {
        let sized = |size| Digest { size, ..Digest::EMPTY };
        assert!(batches(&[]).is_empty());
        let half = sized(BATCH_BYTES_MAX / 2);
        assert_eq!(batches(&[half, half, half]).iter().map(|batch| batch.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(batches(&[sized(BATCH_BYTES_MAX), sized(1)]).len(), 2);
        assert_eq!(batches(&vec![sized(1); BATCH_BLOBS_MAX + 1]).len(), 2);
    }
}
