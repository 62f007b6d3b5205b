//! `google.rpc` details that say which blobs are missing, and the envelopes of long-running operations.

use crate::{longrunning, protobuf, reapi, rpc};
use kiln_cas::Digest;
use prost::Message as _;

/// `google.rpc.PreconditionFailure`, as `google/rpc/error_details.proto` has it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PreconditionFailure {
    /// What is not as it has to be.
    #[prost(message, repeated, tag = "1")]
    pub violations: Vec<Violation>,
}

/// One violation of a precondition.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Violation {
    /// `MISSING` for a blob.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// `blobs/HASH/SIZE` for a blob.
    #[prost(string, tag = "2")]
    pub subject: String,
    /// For people.
    #[prost(string, tag = "3")]
    pub description: String,
}

const PRECONDITION_FAILURE_URL: &str = "type.googleapis.com/google.rpc.PreconditionFailure";
const EXECUTE_RESPONSE_URL: &str = "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteResponse";
const EXECUTE_METADATA_URL: &str = "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteOperationMetadata";

/// Most digests listed in one status: at 90 bytes each, under 1 MiB of a 4 MiB message.
pub const MISSING_MAX: usize = 10_000;

/// The status that asks the caller to upload `missing` and call again.
pub fn missing_blobs(missing: &[Digest]) -> rpc::Status {
    let violations = missing.iter().take(MISSING_MAX).map(|digest| Violation {
        r#type: "MISSING".to_owned(),
        subject: format!("blobs/{digest}"),
        description: String::new(),
    });
    let failure = PreconditionFailure { violations: violations.collect() };
    rpc::Status {
        code: tonic::Code::FailedPrecondition as i32,
        message: format!("{} blobs are missing", missing.len()),
        details: vec![protobuf::Any { type_url: PRECONDITION_FAILURE_URL.to_owned(), value: failure.encode_to_vec() }],
    }
}

/// The blobs a status says are missing; empty when it speaks of something else.
pub fn missing_in(status: &rpc::Status) -> Vec<Digest> {
    if status.code != tonic::Code::FailedPrecondition as i32 {
        return Vec::new();
    }
    let failures = status.details.iter().filter(|any| any.type_url == PRECONDITION_FAILURE_URL);
    let failures = failures.filter_map(|any| PreconditionFailure::decode(&any.value[..]).ok());
    let violations = failures.flat_map(|failure| failure.violations);
    let subjects = violations.filter(|violation| violation.r#type == "MISSING").map(|violation| violation.subject);
    subjects.filter_map(|subject| subject.strip_prefix("blobs/")?.parse().ok()).take(MISSING_MAX).collect()
}

/// A plain status.
pub fn status(code: tonic::Code, message: impl Into<String>) -> rpc::Status {
    rpc::Status { code: code as i32, message: message.into(), details: Vec::new() }
}

/// The operation of a running or finished execution.
pub fn operation(
    name: &str,
    stage: reapi::execution_stage::Value,
    action: &Digest,
    response: Option<&reapi::ExecuteResponse>,
) -> longrunning::Operation {
    let metadata = reapi::ExecuteOperationMetadata {
        stage: stage as i32,
        action_digest: Some(crate::convert::digest_to_wire(action)),
        ..Default::default()
    };
    longrunning::Operation {
        name: name.to_owned(),
        metadata: Some(protobuf::Any { type_url: EXECUTE_METADATA_URL.to_owned(), value: metadata.encode_to_vec() }),
        done: response.is_some(),
        result: response.map(|response| {
            longrunning::operation::Result::Response(protobuf::Any {
                type_url: EXECUTE_RESPONSE_URL.to_owned(),
                value: response.encode_to_vec(),
            })
        }),
    }
}

/// What a finished operation says; `None` while it is not done.
///
/// # Errors
/// A line when the operation is done without a response that can be read.
pub fn response_of(operation: &longrunning::Operation) -> Result<Option<reapi::ExecuteResponse>, String> {
    if !operation.done {
        return Ok(None);
    }
    match &operation.result {
        Some(longrunning::operation::Result::Response(any)) if any.type_url == EXECUTE_RESPONSE_URL => {
            reapi::ExecuteResponse::decode(&any.value[..]).map(Some).map_err(|error| format!("unreadable ExecuteResponse: {error}"))
        }
        Some(longrunning::operation::Result::Error(status)) => Err(format!("operation failed: {}", status.message)),
        _ => Err("operation is done without an ExecuteResponse".to_owned()),
    }
}
