//! What others hold of the task that decides: calls as functions. A call that is given up is taken back. Knows no wire.

use crate::farm::actor::Actor;
use crate::farm::error::CallError;
use crate::farm::event::{AcquireCall, Event, Pass, Reply};
use crate::farm::stats::{News, Published, Stats};
use crate::limits::CALLS_MAX;
use kiln_proto::v1;
use kiln_rpc::metrics::Snapshot;
use kiln_sched::RequestId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot, watch};

/// The farm's state and decisions; cheap to clone. The task behind it ends with the last clone.
#[derive(Clone)]
pub struct Farm {
    calls: mpsc::Sender<Event>,
    /// At most one message for each call to [`Farm::acquire`] that is in flight, so bounded by requests in flight.
    cancels: mpsc::UnboundedSender<RequestId>,
    requests: Arc<AtomicU64>,
    published: Published,
}

/// Takes a request back when its asker goes away.
struct Withdraw<'a> {
    farm: &'a Farm,
    request: RequestId,
    armed: bool,
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        if self.armed {
            let _ = self.farm.cancels.send(self.request);
        }
    }
}

impl Farm {
    /// Starts the task that decides. Needs a running tokio.
    ///
    /// # Errors
    /// [`CallError::NoRandomness`].
    pub fn start(version: &str) -> Result<Farm, CallError> {
        let (calls, called) = mpsc::channel(CALLS_MAX);
        let (cancels, cancelled) = mpsc::unbounded_channel();
        let published = Published::default();
        let actor = Actor::new(version.to_owned(), published.clone())?;
        tokio::spawn(actor.run(called, cancelled));
        Ok(Farm { calls, cancels, requests: Arc::new(AtomicU64::new(1)), published })
    }

    async fn ask<T>(&self, event: impl FnOnce(Reply<T>) -> Event) -> Result<T, CallError> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(event(reply)).await.map_err(|_| CallError::Stopping)?;
        answer.await.unwrap_or(Err(CallError::Stopping))
    }

    /// A worker or cache server announces itself.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn register(&self, message: v1::RegisterRequest) -> Result<v1::RegisterResponse, CallError> {
        self.ask(|reply| Event::Register { message, reply }).await
    }

    /// A node tells how it does.
    ///
    /// # Errors
    /// [`CallError::NotRegistered`]: it has to register again.
    pub async fn heartbeat(&self, message: v1::HeartbeatRequest) -> Result<v1::HeartbeatResponse, CallError> {
        self.ask(|reply| Event::Heartbeat { message, reply }).await
    }

    /// A node leaves.
    ///
    /// # Errors
    /// [`CallError::NotRegistered`].
    pub async fn goodbye(&self, message: v1::GoodbyeRequest) -> Result<v1::GoodbyeResponse, CallError> {
        self.ask(|reply| Event::Goodbye { message, reply }).await
    }

    /// Asks for grants for `client` of `user`. Dropping the future withdraws the request; grants that were on their way then
    /// are taken back.
    ///
    /// # Errors
    /// [`CallError`]; a full farm is no error.
    pub async fn acquire(&self, user: &str, client: &str, message: v1::AcquireRequest) -> Result<v1::AcquireResponse, CallError> {
        let request = RequestId(self.requests.fetch_add(1, Ordering::Relaxed));
        let mut withdraw = Withdraw { farm: self, request, armed: true };
        let (user, client) = (user.to_owned(), client.to_owned());
        let answer = self.ask(|reply| Event::Acquire(Box::new(AcquireCall { request, user, client, message, reply }))).await;
        withdraw.armed = false;
        answer
    }

    /// Keeps leases alive.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn renew(&self, user: &str, client: &str, leases: Vec<String>) -> Result<v1::RenewResponse, CallError> {
        let (user, client) = (user.to_owned(), client.to_owned());
        self.ask(|reply| Event::Renew { user, client, leases, reply }).await
    }

    /// Returns leases.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn release(&self, user: &str, client: &str, released: Vec<v1::Released>) -> Result<v1::ReleaseResponse, CallError> {
        let (user, client) = (user.to_owned(), client.to_owned());
        self.ask(|reply| Event::Release { user, client, released, reply }).await
    }

    /// What the farm looks like; `brief` without workers and clients.
    ///
    /// # Errors
    /// [`CallError::Stopping`].
    pub async fn status(&self, brief: bool) -> Result<v1::StatusResponse, CallError> {
        self.ask(|reply| Event::Status { brief, reply }).await
    }

    /// A token that lets its bearer read and write the blobs of a worker.
    ///
    /// # Errors
    /// [`CallError::NotRegistered`] when no such worker is known.
    pub(crate) async fn pass(&self, worker: &str) -> Result<Pass, CallError> {
        let worker = worker.to_owned();
        self.ask(|reply| Event::Pass { worker, reply }).await
    }

    /// The live nodes.
    ///
    /// # Errors
    /// [`CallError::Stopping`].
    pub async fn nodes(&self) -> Result<v1::Nodes, CallError> {
        self.ask(|reply| Event::Nodes { reply }).await
    }

    /// The live nodes, as they were after the last event.
    pub(crate) fn nodes_now(&self) -> Arc<Vec<v1::Node>> {
        self.published.nodes()
    }

    /// News as they come; the present state is there at once.
    pub(crate) fn watch(&self) -> watch::Receiver<News> {
        self.published.watch()
    }

    /// The numbers of this moment.
    ///
    /// # Errors
    /// [`CallError::Stopping`].
    pub async fn stats(&self) -> Result<Stats, CallError> {
        self.ask(|reply| Event::Stats { reply }).await
    }

    /// The numbers for `/metrics`, at most a second old.
    pub fn metrics(&self) -> Arc<dyn Snapshot> {
        Arc::new(self.published.clone())
    }

    /// Answers everybody who waits, and takes no new requests. Renewals, returns and heartbeats are still taken.
    pub async fn stop(&self) {
        let _ = self.calls.send(Event::Stop).await;
    }
}
