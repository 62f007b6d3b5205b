//! kiln.v1's Scheduler service: who may call what, and the farm behind it. Decides nothing.

use crate::farm::Farm;
use crate::limits::NAME_MAX;
use kiln_proto::v1;
use kiln_proto::v1::scheduler_server::{Scheduler, SchedulerServer};
use kiln_rpc::limits::MESSAGE_MAX;
use kiln_rpc::{Caller, Role, require};
use tonic::{Request, Response, Status};

/// Serves workers and daemons.
#[derive(Clone)]
pub struct SchedulerService {
    farm: Farm,
}

impl SchedulerService {
    /// A service over `farm`.
    pub fn new(farm: Farm) -> SchedulerService {
        SchedulerService { farm }
    }

    /// The service with its message bounds, ready to be routed to.
    pub fn into_server(self) -> SchedulerServer<SchedulerService> {
        SchedulerServer::new(self).max_decoding_message_size(MESSAGE_MAX)
    }
}

const WORKERS: [Role; 1] = [Role::Worker];
const USERS: [Role; 1] = [Role::User];

/// The name that fairness goes by: the credential's.
fn user_of(caller: Caller) -> String {
    caller.name.chars().take(NAME_MAX).collect()
}

/// A client's name from the wire. Those of this process's own clients begin with `@`.
fn client_id(id: &str) -> Result<(), Status> {
    match id.starts_with('@') {
        true => Err(Status::invalid_argument("client_id begins with @")),
        false => Ok(()),
    }
}

#[tonic::async_trait]
impl Scheduler for SchedulerService {
    async fn register(&self, request: Request<v1::RegisterRequest>) -> Result<Response<v1::RegisterResponse>, Status> {
        require(&request, &WORKERS)?;
        Ok(Response::new(self.farm.register(request.into_inner()).await?))
    }

    async fn heartbeat(&self, request: Request<v1::HeartbeatRequest>) -> Result<Response<v1::HeartbeatResponse>, Status> {
        require(&request, &WORKERS)?;
        Ok(Response::new(self.farm.heartbeat(request.into_inner()).await?))
    }

    async fn goodbye(&self, request: Request<v1::GoodbyeRequest>) -> Result<Response<v1::GoodbyeResponse>, Status> {
        require(&request, &WORKERS)?;
        Ok(Response::new(self.farm.goodbye(request.into_inner()).await?))
    }

    async fn acquire(&self, request: Request<v1::AcquireRequest>) -> Result<Response<v1::AcquireResponse>, Status> {
        let user = user_of(require(&request, &USERS)?);
        let message = request.into_inner();
        client_id(&message.client_id)?;
        let client = message.client_id.clone();
        Ok(Response::new(self.farm.acquire(&user, &client, message).await?))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let user = user_of(require(&request, &USERS)?);
        let message = request.into_inner();
        client_id(&message.client_id)?;
        Ok(Response::new(self.farm.renew(&user, &message.client_id, message.leases).await?))
    }

    async fn release(&self, request: Request<v1::ReleaseRequest>) -> Result<Response<v1::ReleaseResponse>, Status> {
        let user = user_of(require(&request, &USERS)?);
        let message = request.into_inner();
        client_id(&message.client_id)?;
        Ok(Response::new(self.farm.release(&user, &message.client_id, message.released).await?))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        require(&request, &[Role::User, Role::Admin])?;
        Ok(Response::new(self.farm.status(request.get_ref().brief).await?))
    }
}
