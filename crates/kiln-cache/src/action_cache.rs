//! ActionCache: results that are complete, from those who may write them, the first one kept.

use crate::context::{CasContext, digest};
use crate::failure::{blocking, from_store, missing};
use crate::limits::INLINE_BYTES_MAX;
use crate::referenced::referenced;
use kiln_cas::Digest;
use kiln_proto::convert::{digest_from_wire, digest_to_wire};
use kiln_proto::reapi;
use kiln_rpc::Role;
use kiln_rpc::limits::MESSAGE_MAX;
use kiln_store::{PutOutcome, ResultStore, StoredResult};
use prost::Message as _;
use reapi::action_cache_server::{ActionCache, ActionCacheServer};
use tonic::{Request, Response, Status};

/// Serves action results.
#[derive(Clone)]
pub struct ActionCacheService {
    context: CasContext,
    results: ResultStore,
}

impl ActionCacheService {
    /// A service over `results`, whose blobs are those of `context`.
    pub fn new(context: CasContext, results: ResultStore) -> ActionCacheService {
        ActionCacheService { context, results }
    }

    /// The service with its message bounds, ready to be routed to.
    pub fn into_server(self) -> ActionCacheServer<ActionCacheService> {
        ActionCacheServer::new(self).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX)
    }

    fn find(&self, request: &reapi::GetActionResultRequest, action: &Digest) -> Result<reapi::ActionResult, Status> {
        let miss = || Status::not_found(format!("no result for {action}"));
        let disk = self.context.blobs.disk();
        let stored = self.results.get_complete(&request.instance_name, action, disk).ok_or_else(miss)?;
        let mut result = reapi::ActionResult::decode(&stored.bytes[..]).map_err(|error| {
            tracing::error!("stored result of {action} is none: {error}");
            self.results.remove(&request.instance_name, action);
            miss()
        })?;
        self.inline(request, &mut result);
        Ok(result)
    }

    /// Puts what the caller asked for into the result, as far as it fits.
    fn inline(&self, request: &reapi::GetActionResultRequest, result: &mut reapi::ActionResult) {
        let mut room = INLINE_BYTES_MAX;
        let mut fetch = |wire: Option<&reapi::Digest>, into: &mut Vec<u8>| {
            let Ok(digest) = digest_from_wire(wire) else { return };
            if !into.is_empty() || digest.size > room {
                return;
            }
            if let Ok(Some(bytes)) = self.context.blobs.store().get(&digest) {
                room -= digest.size;
                *into = bytes.to_vec();
            }
        };
        if request.inline_stdout {
            fetch(result.stdout_digest.as_ref(), &mut result.stdout_raw);
        }
        if request.inline_stderr {
            fetch(result.stderr_digest.as_ref(), &mut result.stderr_raw);
        }
        for file in result.output_files.iter_mut().filter(|file| request.inline_output_files.contains(&file.path)) {
            fetch(file.digest.as_ref(), &mut file.contents);
        }
    }

    /// Keeps a result; answers the one that is kept.
    fn update(
        &self,
        instance: &str,
        action: &Digest,
        mut result: reapi::ActionResult,
        writer: String,
    ) -> Result<reapi::ActionResult, Status> {
        let disk = self.context.blobs.disk();
        // File contents are in the store under their digests; a second copy would only take room.
        result.output_files.iter_mut().for_each(|file| file.contents.clear());
        let referenced = referenced(&result, disk)?;
        // Looked for after the pin, so that none goes between the look and the put.
        let _pin = disk.pin(&referenced);
        let absent = disk.find_missing(&referenced);
        if !absent.is_empty() {
            return Err(missing(&absent));
        }
        let stored = StoredResult { bytes: result.encode_to_vec(), essence: essence(&result), referenced, writer };
        match self.results.put(instance, action, &stored).map_err(|error| from_store(&error))? {
            PutOutcome::Stored => Ok(result),
            PutOutcome::Same => Ok(self.first(instance, action).unwrap_or(result)),
            PutOutcome::Differs { first } => {
                let second = stored.essence;
                tracing::warn!("nondeterministic: action {action} gave {first:?} first and {second:?} from {}", stored.writer);
                Ok(self.first(instance, action).unwrap_or(result))
            }
        }
    }

    fn first(&self, instance: &str, action: &Digest) -> Option<reapi::ActionResult> {
        let stored = self.results.get(instance, action)?;
        reapi::ActionResult::decode(&stored.bytes[..]).ok()
    }
}

/// What two honest runs must agree in: everything but who ran it and when, whichever way the streams travelled.
fn essence(result: &reapi::ActionResult) -> Digest {
    let mut essence = result.clone();
    essence.execution_metadata = None;
    let streams = [(&mut essence.stdout_raw, &mut essence.stdout_digest), (&mut essence.stderr_raw, &mut essence.stderr_digest)];
    for (raw, digest) in streams {
        if !raw.is_empty() && digest.is_none() {
            *digest = Some(digest_to_wire(&Digest::of(raw)));
        }
        raw.clear();
        if digest.as_ref().is_some_and(|digest| digest.size_bytes == 0) {
            *digest = None;
        }
    }
    essence.output_files.sort_by(|one, two| one.path.cmp(&two.path));
    Digest::of(&essence.encode_to_vec())
}

#[tonic::async_trait]
impl ActionCache for ActionCacheService {
    async fn get_action_result(
        &self,
        request: Request<reapi::GetActionResultRequest>,
    ) -> Result<Response<reapi::ActionResult>, Status> {
        self.context.reader(&request)?;
        let request = request.into_inner();
        self.context.instance(&request.instance_name, request.digest_function)?;
        let action = digest(request.action_digest.as_ref())?;
        let service = self.clone();
        Ok(Response::new(blocking(move || service.find(&request, &action)).await??))
    }

    async fn update_action_result(
        &self,
        request: Request<reapi::UpdateActionResultRequest>,
    ) -> Result<Response<reapi::ActionResult>, Status> {
        let instance = self.context.instance(&request.get_ref().instance_name, request.get_ref().digest_function)?;
        let roles: &[Role] = if instance.client_writable { &[Role::User, Role::Worker] } else { &[Role::Worker] };
        let caller = kiln_rpc::require(&request, roles)?;
        let request = request.into_inner();
        let action = digest(request.action_digest.as_ref())?;
        let result = request.action_result.ok_or_else(|| Status::invalid_argument("no action_result"))?;
        let service = self.clone();
        let kept = blocking(move || service.update(&request.instance_name, &action, result, caller.name)).await??;
        Ok(Response::new(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_essence_leaves_out_who_and_when_and_how_streams_travel() {
        let inline = reapi::ActionResult {
            stderr_raw: b"warning".to_vec(),
            execution_metadata: Some(reapi::ExecutedActionMetadata { worker: "a".into(), ..Default::default() }),
            stdout_digest: Some(digest_to_wire(&Digest::EMPTY)),
            ..Default::default()
        };
        let apart = reapi::ActionResult { stderr_digest: Some(digest_to_wire(&Digest::of(b"warning"))), ..Default::default() };
        assert_eq!(essence(&inline), essence(&apart));
        let other = reapi::ActionResult { exit_code: 1, ..apart.clone() };
        assert_ne!(essence(&other), essence(&apart));
        let other = reapi::ActionResult { stderr_raw: b"error".to_vec(), ..Default::default() };
        assert_ne!(essence(&other), essence(&apart));
    }
}
