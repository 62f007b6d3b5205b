//! ActionCache at the front door: looked up at the result's home; written only where users may write. Keeps no result.

use crate::front::peers::hop;
use crate::front::{Front, check_function, digest};
use kiln_proto::reapi;
use reapi::action_cache_server::ActionCache;
use tonic::{Request, Response, Status};

impl Front {
    /// A result, if the farm has it.
    pub(crate) async fn look_up(&self, message: reapi::GetActionResultRequest) -> Result<reapi::ActionResult, Status> {
        let action = digest(message.action_digest.as_ref())?;
        let none = || Status::not_found(format!("no result for {action}"));
        let peer = self.shared().peers.cache_of(&action).await?.ok_or_else(none)?;
        let answer = hop(peer.action_cache().get_action_result(peer.request(message))).await;
        Ok(answer.map_err(|status| self.noted(status))?.into_inner())
    }
}

#[tonic::async_trait]
impl ActionCache for Front {
    async fn get_action_result(
        &self,
        request: Request<reapi::GetActionResultRequest>,
    ) -> Result<Response<reapi::ActionResult>, Status> {
        self.reader(&request)?;
        let mut message = request.into_inner();
        check_function(message.digest_function)?;
        message.instance_name = self.instance(&message.instance_name)?;
        Ok(Response::new(self.look_up(message).await?))
    }

    async fn update_action_result(
        &self,
        request: Request<reapi::UpdateActionResultRequest>,
    ) -> Result<Response<reapi::ActionResult>, Status> {
        self.writer(&request)?;
        let mut message = request.into_inner();
        check_function(message.digest_function)?;
        message.instance_name = self.instance(&message.instance_name)?;
        // This scheduler's own credential may be allowed more than its callers: what they may do is decided here.
        if !self.client_writable(&message.instance_name) {
            return Err(Status::permission_denied(format!("results of {:?} are written by workers only", message.instance_name)));
        }
        let action = digest(message.action_digest.as_ref())?;
        let none = || Status::unavailable("the farm has no cache server now");
        let peer = self.shared().peers.cache_of(&action).await?.ok_or_else(none)?;
        let answer = hop(peer.action_cache().update_action_result(peer.request(message))).await;
        Ok(Response::new(answer.map_err(|status| self.noted(status))?.into_inner()))
    }
}
