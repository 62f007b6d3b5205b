//! The front door for other REAPI clients: the whole farm on one address. Blobs and results go to their home, actions to the
//! worker of a grant taken for the caller; nothing is kept here. Knows nothing of toolchains.

mod action_cache;
mod bytestream;
mod capabilities;
mod cas;
mod execution;
mod operations;
mod outputs;
mod peers;
mod run;
mod tree;

use crate::farm::Farm;
use kiln_proto::bytestream::byte_stream_server::ByteStreamServer;
use kiln_proto::longrunning::operations_server::OperationsServer;
use kiln_proto::reapi;
use kiln_rpc::limits::MESSAGE_MAX;
use kiln_rpc::{Address, Caller, Dial, Role, require};
use operations::Operations;
use outputs::Outputs;
use peers::Peers;
use reapi::action_cache_server::ActionCacheServer;
use reapi::capabilities_server::CapabilitiesServer;
use reapi::content_addressable_storage_server::ContentAddressableStorageServer;
use reapi::execution_server::ExecutionServer;
use std::collections::BTreeSet;
use std::sync::Arc;
use tonic::service::Routes;
use tonic::{Request, Status};

/// The instance that workers write and daemons read; the empty name stands for it too.
pub(crate) const MAIN: &str = "main";

/// How the front door reaches the farm.
#[derive(Clone, Default)]
pub struct FrontSettings {
    /// Dials cache servers, with this scheduler's own credential.
    pub dial: Dial,
    /// Dials workers: grants are the credential, so it holds no token.
    pub worker_dial: Dial,
    /// Cache servers besides those that register.
    pub caches: Vec<Address>,
    /// Instances whose results users may write, as the cache servers are told.
    pub client_writable: BTreeSet<String>,
}

/// The front door; cheap to clone.
#[derive(Clone)]
pub struct Front(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) farm: Farm,
    pub(crate) peers: Peers,
    pub(crate) outputs: Outputs,
    pub(crate) operations: Operations,
    client_writable: BTreeSet<String>,
}

impl Front {
    /// A front door to `farm`.
    pub fn new(farm: Farm, settings: FrontSettings) -> Front {
        let peers = Peers::new(farm.clone(), &settings);
        let client_writable = settings.client_writable;
        Front(Arc::new(Shared { farm, peers, outputs: Outputs::default(), operations: Operations::default(), client_writable }))
    }

    /// Adds the services.
    pub fn add_to(&self, routes: Routes) -> Routes {
        routes
            .add_service(ContentAddressableStorageServer::new(self.clone()).max_decoding_message_size(MESSAGE_MAX))
            .add_service(ActionCacheServer::new(self.clone()).max_decoding_message_size(MESSAGE_MAX))
            .add_service(ByteStreamServer::new(self.clone()).max_decoding_message_size(MESSAGE_MAX))
            .add_service(CapabilitiesServer::new(self.clone()))
            .add_service(ExecutionServer::new(self.clone()))
            .add_service(OperationsServer::new(self.clone()))
    }

    pub(crate) fn reader<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        require(request, &[Role::User, Role::Worker, Role::Admin])
    }

    pub(crate) fn writer<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        require(request, &[Role::User, Role::Worker])
    }

    /// The instance's name inside the farm.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when there is none of that name.
    pub(crate) fn instance(&self, name: &str) -> Result<String, Status> {
        match name {
            "" | MAIN => Ok(MAIN.to_owned()),
            other if self.0.client_writable.contains(other) => Ok(other.to_owned()),
            other => {
                let name: String = other.chars().take(80).collect();
                Err(Status::invalid_argument(format!("unknown instance {name:?}")))
            }
        }
    }

    /// Whether users may write results of this instance.
    pub(crate) fn client_writable(&self, instance: &str) -> bool {
        self.0.client_writable.contains(instance)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

/// Only SHA-256 is served; unset means it.
pub(crate) fn check_function(function: i32) -> Result<(), Status> {
    use reapi::digest_function::Value;
    match Value::try_from(function) {
        Ok(Value::Unknown | Value::Sha256) => Ok(()),
        _ => Err(Status::invalid_argument("only SHA256 digests are served")),
    }
}

pub(crate) fn digest(wire: Option<&reapi::Digest>) -> Result<kiln_cas::Digest, Status> {
    kiln_proto::convert::digest_from_wire(wire).map_err(|error| Status::invalid_argument(format!("bad digest: {error}")))
}
