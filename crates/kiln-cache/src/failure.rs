//! Store errors as statuses. Knows no request.

use kiln_cas::Digest;
use kiln_proto::{rpc, status};
use kiln_store::StoreError;
use prost::Message as _;
use tonic::{Code, Status};

/// What the caller is told: a lie is its fault, want of room is a quota, and a broken disk is nobody's business but the log's.
pub(crate) fn from_store(error: &StoreError) -> Status {
    match error {
        StoreError::Mismatch(digest) => Status::invalid_argument(format!("content does not match {digest}")),
        StoreError::Full(digest) => Status::resource_exhausted(format!("no room for {digest}")),
        StoreError::Io { .. } => {
            tracing::error!("storage failed: {error}");
            Status::internal("storage failed")
        }
    }
}

/// A status inside a batch.
pub(crate) fn to_rpc(status: &Status) -> rpc::Status {
    kiln_proto::status::status(status.code(), status.message())
}

/// The status that asks the caller to upload `missing` first.
pub(crate) fn missing(missing: &[Digest]) -> Status {
    let failure = status::missing_blobs(missing);
    let message = failure.message.clone();
    Status::with_details(Code::FailedPrecondition, message, failure.encode_to_vec().into())
}

/// Runs what may block on the disk on a thread for that.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!("a request failed: {error}");
        Status::internal("request failed")
    })
}
