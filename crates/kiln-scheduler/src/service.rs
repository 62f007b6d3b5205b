//! kiln.v1's Scheduler service: who may call what, and the farm behind it. Decides nothing.

use crate::farm::Farm;
use crate::farm::{News, same_protocol};
use crate::limits::{NAME_MAX, NEWS_EVERY};
use futures::Stream;
use kiln_proto::v1;
use kiln_proto::v1::scheduler_server::{Scheduler, SchedulerServer};
use kiln_rpc::limits::MESSAGE_MAX;
use kiln_rpc::{Caller, Denial, Denials, Role, require};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// Serves workers and daemons.
#[derive(Clone)]
pub struct SchedulerService {
    farm: Farm,
    denials: Arc<Denials>,
}

impl SchedulerService {
    /// A service over `farm`.
    pub fn new(farm: Farm) -> SchedulerService {
        SchedulerService { farm, denials: Arc::default() }
    }

    /// Shows in the status whom the server turned away.
    #[must_use]
    pub fn with_denials(self, denials: Arc<Denials>) -> SchedulerService {
        SchedulerService { denials, ..self }
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

fn turned_away(denial: Denial) -> v1::TurnedAway {
    v1::TurnedAway {
        who: denial.who,
        why: denial.why,
        times: denial.times,
        ago_ms: u64::try_from(denial.ago.as_millis()).unwrap_or(u64::MAX),
    }
}

type NewsStream = Pin<Box<dyn Stream<Item = Result<v1::News, Status>> + Send>>;

/// Tells one watcher the news.
struct Teller {
    news: watch::Receiver<News>,
    /// The nodes it was told last.
    told: Option<Arc<Vec<v1::Node>>>,
    version: String,
}

impl Teller {
    async fn next(mut self) -> Option<(Result<v1::News, Status>, Teller)> {
        if self.told.is_some() {
            self.news.changed().await.ok()?;
            if !self.news.borrow().stopping {
                // What changes together is told together.
                tokio::time::sleep(NEWS_EVERY).await;
            }
        }
        let now = self.news.borrow_and_update().clone();
        if now.stopping {
            return None;
        }
        let changed = self.told.as_ref().is_none_or(|told| !Arc::ptr_eq(told, &now.nodes));
        let nodes = changed.then(|| v1::Nodes { nodes: now.nodes.to_vec() });
        self.told = Some(now.nodes);
        Some((Ok(v1::News { nodes, able: now.able, version: self.version.clone() }), self))
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
        let mut status = self.farm.status(request.get_ref().brief).await?;
        status.turned_away.extend(self.denials.recent().into_iter().map(turned_away));
        Ok(Response::new(status))
    }

    type WatchStream = NewsStream;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<NewsStream>, Status> {
        require(&request, &USERS)?;
        same_protocol(request.get_ref().protocol)?;
        let version = self.farm.status(true).await?.version;
        let teller = Teller { news: self.farm.watch(), told: None, version };
        Ok(Response::new(Box::pin(futures::stream::unfold(teller, Teller::next))))
    }
}
