//! The one task that decides: owns the core and all names, takes one event after the other, and never waits for a peer.

use crate::farm::error::CallError;
use crate::farm::event::{Event, Pass, Reply};
use crate::farm::members::{Members, hex, random};
use crate::farm::names::Names;
use crate::farm::stats::Published;
use crate::farm::turned_away::TurnedAway;
use crate::limits::{NAMES_MAX, STATS_TICKS, SWEEP_TICKS, TOKEN_LEASE};
use kiln_proto::v1;
use kiln_sched::limits::{CLIENTS_MAX, TICK};
use kiln_sched::{ClientId, Command, LeaseId, Micros, RequestId, Scheduler, UserId, WorkerId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

/// A client by its names.
#[derive(Debug)]
pub(crate) struct KnownClient {
    pub(crate) user: UserId,
    /// The list of nodes it was last told.
    pub(crate) nodes_told: u64,
}

/// A call for grants that is not answered yet.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) reply: Reply<v1::AcquireResponse>,
    pub(crate) client: ClientId,
    pub(crate) user: String,
    pub(crate) instance: String,
    pub(crate) names: HeldNames,
}

/// Names that a worker or a waiting request keeps in use.
#[derive(Debug, Default)]
pub(crate) struct HeldNames {
    pub(crate) machine: Option<u32>,
    pub(crate) root: Option<u32>,
    pub(crate) toolchains: Vec<u32>,
}

/// All that the task owns.
pub(crate) struct Actor {
    pub(crate) core: Scheduler,
    pub(crate) version: String,
    /// Starts every lease's name, so that those of an earlier life or another scheduler are told apart.
    boot: String,
    pub(crate) origin: Instant,
    queue: VecDeque<kiln_sched::Event>,
    pub(crate) members: Members,
    pub(crate) worker_names: BTreeMap<WorkerId, HeldNames>,
    pub(crate) clients: Names<(String, String)>,
    pub(crate) known_clients: BTreeMap<ClientId, KnownClient>,
    pub(crate) users: Names<String>,
    pub(crate) machines: Names<String>,
    pub(crate) roots: Names<String>,
    pub(crate) toolchains: Names<String>,
    pub(crate) asked: BTreeMap<RequestId, Asked>,
    /// Leases of others that workers report, with the worker.
    pub(crate) foreign: BTreeMap<String, WorkerId>,
    /// Nodes turned away lately.
    pub(crate) turned_away: TurnedAway,
    /// The core's answer to the renewal in hand.
    pub(crate) renewed: Option<(Vec<LeaseId>, Vec<LeaseId>)>,
    published: Published,
    nodes_published: u64,
    ticks: u64,
    pub(crate) stopping: bool,
}

impl Actor {
    pub(crate) fn new(version: String, published: Published) -> Result<Actor, CallError> {
        Ok(Actor {
            core: Scheduler::new(),
            version,
            boot: hex(&random::<8>()?),
            origin: Instant::now(),
            queue: VecDeque::new(),
            members: Members::new(),
            worker_names: BTreeMap::new(),
            clients: Names::new(CLIENTS_MAX),
            known_clients: BTreeMap::new(),
            users: Names::new(CLIENTS_MAX),
            machines: Names::new(NAMES_MAX),
            roots: Names::new(NAMES_MAX),
            toolchains: Names::new(NAMES_MAX),
            asked: BTreeMap::new(),
            foreign: BTreeMap::new(),
            turned_away: TurnedAway::default(),
            renewed: None,
            published,
            nodes_published: 0,
            ticks: 0,
            stopping: false,
        })
    }

    /// Takes events until every handle is gone.
    pub(crate) async fn run(mut self, mut calls: mpsc::Receiver<Event>, mut cancels: mpsc::UnboundedReceiver<RequestId>) {
        let mut ticks = tokio::time::interval(Duration::from_micros(TICK.0));
        // A late tick tells the core that this process stood still; those missed meanwhile would only repeat it.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => self.tick(),
                Some(request) = cancels.recv() => self.cancel(request),
                call = calls.recv() => match call {
                    Some(event) => self.take(event),
                    None => return,
                },
            }
        }
    }

    fn take(&mut self, event: Event) {
        self.act(event);
        self.publish();
    }

    fn publish(&mut self) {
        self.published.set_able(u32::try_from(self.core.able()).unwrap_or(u32::MAX));
        let version = self.members.version();
        if std::mem::replace(&mut self.nodes_published, version) != version {
            self.published.set_nodes(self.members.nodes().nodes);
        }
    }

    fn act(&mut self, event: Event) {
        match event {
            Event::Register { message, reply } => answer(reply, self.register(message)),
            Event::Heartbeat { message, reply } => answer(reply, self.heartbeat(message)),
            Event::Goodbye { message, reply } => answer(reply, self.goodbye(&message)),
            Event::Acquire(call) => self.acquire(*call),
            Event::Renew { user, client, leases, reply } => answer(reply, self.renew(user, client, leases)),
            Event::Release { user, client, released, reply } => answer(reply, self.release(user, client, released)),
            Event::Status { brief, reply } => answer(reply, Ok(self.status(brief))),
            Event::Pass { worker, reply } => answer(reply, self.pass(&worker)),
            Event::Nodes { reply } => answer(reply, Ok(self.members.nodes())),
            Event::Stats { reply } => answer(reply, Ok(self.stats())),
            Event::Stop => self.stop(),
        }
    }

    fn tick(&mut self) {
        self.apply(kiln_sched::Event::Tick);
        self.publish();
        if self.ticks.is_multiple_of(STATS_TICKS) {
            self.published.set(self.stats());
        }
        if self.ticks.is_multiple_of(SWEEP_TICKS) {
            self.sweep();
        }
        self.ticks += 1;
    }

    /// Gives an event to the core and does what it says, until nothing follows.
    pub(crate) fn apply(&mut self, event: kiln_sched::Event) {
        self.queue.push_back(event);
        while let Some(event) = self.queue.pop_front() {
            let now = Micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX));
            let mut out = Vec::new();
            self.core.step(now, event, &mut out);
            for command in out {
                self.obey(command);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Answer { request, grants } => self.answer_granted(request, &grants),
            Command::Refuse { request, why } => self.answer_refused(request, why),
            Command::Renewed { unknown, lost, .. } => self.renewed = Some((unknown, lost)),
            // Clients learn it when they renew.
            Command::Revoke { lease, worker, why, .. } => tracing::debug!("lease {lease} on worker {worker} ended: {why:?}"),
            Command::State { worker, state } => self.state_changed(worker, state),
            Command::Forget { worker } => self.forget(worker),
        }
    }

    /// Something the core is to hear after what is in hand.
    pub(crate) fn later(&mut self, event: kiln_sched::Event) {
        self.queue.push_back(event);
    }

    fn cancel(&mut self, request: RequestId) {
        if let Some(asked) = self.asked.remove(&request) {
            self.let_go(asked.names);
            self.apply(kiln_sched::Event::Cancel { request });
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.published.set_stopping();
        let requests: Vec<RequestId> = self.asked.keys().copied().collect();
        for request in requests {
            if let Some(asked) = self.asked.remove(&request) {
                self.let_go(asked.names);
                answer(asked.reply, Err(CallError::Stopping));
            }
            self.apply(kiln_sched::Event::Cancel { request });
        }
    }

    /// A right to a worker's blobs.
    fn pass(&mut self, worker: &str) -> Result<Pass, CallError> {
        let (id, _) = self.members.find(worker).ok_or(CallError::NotRegistered)?;
        let nonce = hex(&random::<8>()?);
        let token = v1::GrantToken {
            lease: format!("pass-{}-{nonce}", self.boot),
            user: "scheduler".to_owned(),
            lease_ms: TOKEN_LEASE.as_millis() as u32,
            ..Default::default()
        };
        let member = self.members.get_mut(id).ok_or(CallError::NotRegistered)?;
        Ok(Pass { token: member.sign(token) })
    }

    /// A lease's name on the wire.
    pub(crate) fn lease_name(&self, lease: LeaseId) -> String {
        format!("{}-{lease}", self.boot)
    }

    /// The lease of a name, if this scheduler gave it in this life.
    pub(crate) fn own_lease(&self, name: &str) -> Option<LeaseId> {
        let number = name.strip_prefix(&self.boot)?.strip_prefix('-')?;
        number.parse().ok().map(LeaseId)
    }

    /// Uses of names end.
    pub(crate) fn let_go(&mut self, names: HeldNames) {
        names.machine.into_iter().for_each(|id| self.machines.drop_use(id));
        names.root.into_iter().for_each(|id| self.roots.drop_use(id));
        names.toolchains.into_iter().for_each(|id| self.toolchains.drop_use(id));
    }

    /// Drops clients that the core forgot.
    fn sweep(&mut self) {
        let waiting: std::collections::BTreeSet<ClientId> = self.asked.values().map(|asked| asked.client).collect();
        let gone = |id: &&ClientId| self.core.client(**id).is_none() && !waiting.contains(*id);
        let gone: Vec<ClientId> = self.known_clients.keys().filter(gone).copied().collect();
        for id in gone {
            if let Some(client) = self.known_clients.remove(&id) {
                self.clients.drop_use(id.0);
                self.users.drop_use(client.user.0);
            }
        }
    }
}

/// Answers, unless the asker went away.
pub(crate) fn answer<T>(reply: Reply<T>, answer: Result<T, CallError>) {
    let _ = reply.send(answer);
}
