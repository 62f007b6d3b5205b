//! Capabilities of the farm behind the front door.

use crate::front::{Front, MAIN};
use kiln_cache::BATCH_ANNOUNCED_BYTES;
use kiln_cas::BLOB_SIZE_MAX;
use kiln_proto::reapi;
use kiln_proto::semver::SemVer;
use kiln_rpc::Role;
use reapi::capabilities_server::Capabilities;
use reapi::{compressor, digest_function, symlink_absolute_path_strategy};
use tonic::{Request, Response, Status};

fn version(major: i32, minor: i32) -> Option<SemVer> {
    Some(SemVer { major, minor, patch: 0, prerelease: String::new() })
}

#[tonic::async_trait]
impl Capabilities for Front {
    async fn get_capabilities(
        &self,
        request: Request<reapi::GetCapabilitiesRequest>,
    ) -> Result<Response<reapi::ServerCapabilities>, Status> {
        let caller = self.reader(&request)?;
        let instance = self.instance(&request.get_ref().instance_name)?;
        let writes = matches!(caller.role, Role::User | Role::Worker | Role::Local);
        let update_enabled = writes && self.client_writable(&instance);
        let sha256 = digest_function::Value::Sha256 as i32;
        let cache = reapi::CacheCapabilities {
            digest_functions: vec![sha256],
            action_cache_update_capabilities: Some(reapi::ActionCacheUpdateCapabilities { update_enabled }),
            max_batch_total_size_bytes: i64::try_from(BATCH_ANNOUNCED_BYTES).unwrap_or(i64::MAX),
            symlink_absolute_path_strategy: symlink_absolute_path_strategy::Value::Allowed as i32,
            supported_compressors: vec![compressor::Value::Zstd as i32],
            supported_batch_update_compressors: vec![compressor::Value::Zstd as i32],
            max_cas_blob_size_bytes: i64::try_from(BLOB_SIZE_MAX).unwrap_or(i64::MAX),
            ..Default::default()
        };
        let execution = reapi::ExecutionCapabilities {
            digest_function: sha256,
            digest_functions: vec![sha256],
            exec_enabled: instance == MAIN && writes,
            ..Default::default()
        };
        Ok(Response::new(reapi::ServerCapabilities {
            cache_capabilities: Some(cache),
            execution_capabilities: Some(execution),
            low_api_version: version(2, 0),
            high_api_version: version(2, 11),
            ..Default::default()
        }))
    }
}
