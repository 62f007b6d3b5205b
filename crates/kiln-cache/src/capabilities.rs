//! Capabilities: what this server can do for this caller.

use crate::context::CasContext;
use crate::limits::BATCH_ANNOUNCED_BYTES;
use kiln_proto::reapi;
use kiln_proto::semver::SemVer;
use kiln_rpc::{Caller, Role};
use reapi::capabilities_server::{Capabilities, CapabilitiesServer};
use reapi::{compressor, digest_function, symlink_absolute_path_strategy};
use tonic::{Request, Response, Status};

/// Says what the other services do.
#[derive(Clone)]
pub struct CapabilitiesService {
    context: CasContext,
    action_cache: bool,
    execution: Option<reapi::ExecutionCapabilities>,
}

impl CapabilitiesService {
    /// Of a server with blobs and nothing else.
    pub fn new(context: CasContext) -> CapabilitiesService {
        CapabilitiesService { context, action_cache: false, execution: None }
    }

    /// The same beside an action cache, which those may update who may.
    #[must_use]
    pub fn with_action_cache(mut self) -> CapabilitiesService {
        self.action_cache = true;
        self
    }

    /// The same beside an execution service.
    #[must_use]
    pub fn with_execution(mut self, execution: reapi::ExecutionCapabilities) -> CapabilitiesService {
        self.execution = Some(execution);
        self
    }

    /// The service, ready to be routed to.
    pub fn into_server(self) -> CapabilitiesServer<CapabilitiesService> {
        CapabilitiesServer::new(self)
    }

    fn may_update(&self, caller: &Caller, client_writable: bool) -> bool {
        let allowed = match caller.role {
            Role::Worker | Role::Local => true,
            Role::User => client_writable,
            Role::Admin | Role::Granted => false,
        };
        self.action_cache && allowed
    }
}

fn version(major: i32, minor: i32) -> Option<SemVer> {
    Some(SemVer { major, minor, patch: 0, prerelease: String::new() })
}

#[tonic::async_trait]
impl Capabilities for CapabilitiesService {
    async fn get_capabilities(
        &self,
        request: Request<reapi::GetCapabilitiesRequest>,
    ) -> Result<Response<reapi::ServerCapabilities>, Status> {
        let caller = kiln_rpc::caller(&request)?;
        let instance = self.context.instances.get(&request.get_ref().instance_name)?;
        let update_enabled = self.may_update(&caller, instance.client_writable);
        let cache = reapi::CacheCapabilities {
            digest_functions: vec![digest_function::Value::Sha256 as i32],
            action_cache_update_capabilities: Some(reapi::ActionCacheUpdateCapabilities { update_enabled }),
            max_batch_total_size_bytes: BATCH_ANNOUNCED_BYTES as i64,
            symlink_absolute_path_strategy: symlink_absolute_path_strategy::Value::Allowed as i32,
            supported_compressors: vec![compressor::Value::Zstd as i32],
            supported_batch_update_compressors: vec![compressor::Value::Zstd as i32],
            max_cas_blob_size_bytes: i64::try_from(self.context.blob_bytes_max).unwrap_or(i64::MAX),
            ..Default::default()
        };
        Ok(Response::new(reapi::ServerCapabilities {
            cache_capabilities: Some(cache),
            execution_capabilities: self.execution.clone(),
            low_api_version: version(2, 0),
            high_api_version: version(2, 11),
            ..Default::default()
        }))
    }
}
