//! The state machine itself: takes events, keeps workers and their places in the pools. The rest is in the neighbours.

use crate::client::Client;
use crate::event::{Command, Event, Outcome, Refusal, Report, Revoked, Spec};
use crate::id::{ClientId, LeaseId, Micros, UserId, WorkerId};
use crate::lease::Leases;
use crate::limits::{JOBS_MAX, MEMORY_GROWTH, TOOLCHAINS_MAX, WORKERS_MAX};
use crate::pool::{PoolKey, Pools, Standing};
use crate::queue::Queue;
use crate::status::Counters;
use crate::worker::{State, Worker};
use std::collections::BTreeMap;

/// The scheduling core.
#[derive(Debug, Default)]
pub struct Scheduler {
    pub(crate) now: Micros,
    /// When the first event came.
    pub(crate) started: Option<Micros>,
    pub(crate) settled: bool,
    pub(crate) ticked: Option<Micros>,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) pools: Pools,
    pub(crate) queue: Queue,
    pub(crate) leases: Leases,
    pub(crate) clients: BTreeMap<ClientId, Client>,
    pub(crate) counters: Counters,
    /// Grants so far, for taking turns among equal workers.
    pub(crate) stamp: u64,
}

impl Scheduler {
    /// A core that knows nobody.
    pub fn new() -> Scheduler {
        Scheduler::default()
    }

    /// Takes in one event and appends what is to be done. A time before that of an event taken before counts as that one.
    pub fn step(&mut self, now: Micros, event: Event, out: &mut Vec<Command>) {
        if now < self.now {
            self.counters.backwards += 1;
        }
        self.now = self.now.max(now);
        self.started.get_or_insert(self.now);
        match event {
            Event::WorkerRegistered { worker, spec, restarted } => self.registered(worker, spec, restarted, out),
            Event::Heartbeat { worker, report } => self.heartbeat(worker, report, out),
            Event::WorkerGoodbye { worker } => self.change(worker, out, |worker| worker.leaving = true),
            Event::WorkerLost { worker } => self.change(worker, out, Worker::cut),
            Event::Acquire(acquire) => self.acquire(&acquire, out),
            Event::Cancel { request } => self.cancel(request),
            Event::Renew { client, leases } => self.renew(client, leases, out),
            Event::Release { client, lease, outcome } => self.release(client, lease, outcome, out),
            Event::ClientGone { client } => self.client_gone(client, out),
            Event::Tick => self.tick(out),
        }
    }

    fn registered(&mut self, id: WorkerId, spec: Spec, restarted: bool, out: &mut Vec<Command>) {
        if !self.workers.contains_key(&id) {
            if self.workers.len() >= WORKERS_MAX {
                self.counters.strays += 1;
                return;
            }
            self.workers.insert(id, Worker::new(self.now, spec));
            out.push(Command::State { worker: id, state: State::Fresh });
            return self.refresh(id, out);
        }
        let leaving = self.workers.get(&id).is_some_and(|worker| worker.leaving);
        if restarted || leaving {
            self.lose_leases(id, out);
        }
        let before = self.leave_pools(id);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.renew(self.now, spec);
        }
        self.refresh(id, out);
        self.refuse_hopeless(&before, out);
    }

    /// Takes a worker out of its pools, and tells which they were.
    fn leave_pools(&mut self, id: WorkerId) -> Vec<PoolKey> {
        let Some(worker) = self.workers.get_mut(&id) else { return Vec::new() };
        self.pools.enter(&mut worker.standing, false, false, None);
        std::mem::take(&mut worker.standing.pools)
    }

    fn heartbeat(&mut self, id: WorkerId, mut report: Report, out: &mut Vec<Command>) {
        let Some(worker) = self.workers.get_mut(&id) else {
            self.counters.strays += 1;
            return;
        };
        report.jobs.truncate(JOBS_MAX);
        report.jobs.sort_unstable();
        report.jobs.dedup();
        let (mut known, mut unreported) = (0, 0_u64);
        for lease in &worker.leases {
            let Some(entry) = self.leases.get_mut(*lease) else { continue };
            entry.reported = report.jobs.binary_search(lease).is_ok();
            if entry.reported {
                entry.used = self.now;
                known += 1;
            }
            if entry.slot && (!entry.reported || self.now.since(entry.granted) < MEMORY_GROWTH) {
                unreported = unreported.saturating_add(entry.memory);
            }
        }
        worker.hear(self.now, &report, known, unreported);
        if worker.judge(self.now) == State::Unwell(crate::Cause::Absurd) {
            self.counters.absurd += 1;
        }
        let Some(mut toolchains) = report.toolchains else { return self.update(id, out) };
        toolchains.truncate(TOOLCHAINS_MAX);
        let before = self.leave_pools(id);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.spec.toolchains = toolchains;
            worker.standing = Standing::of(&worker.spec);
        }
        self.update(id, out);
        self.refuse_hopeless(&before, out);
    }

    /// Changes what is known of a worker and lets the consequences follow.
    pub(crate) fn change(&mut self, id: WorkerId, out: &mut Vec<Command>, change: impl FnOnce(&mut Worker)) {
        match self.workers.get_mut(&id) {
            Some(worker) => change(worker),
            None => self.counters.strays += 1,
        }
        self.update(id, out);
    }

    /// Brings a worker's state and places up to date, then serves who waits for it.
    pub(crate) fn update(&mut self, id: WorkerId, out: &mut Vec<Command>) {
        self.refresh(id, out);
        if self.queue.is_empty() {
            return;
        }
        let pools = self.workers.get(&id).map(|worker| worker.standing.pools.clone()).unwrap_or_default();
        self.serve(&pools, out);
    }

    /// The one place where a worker's state changes: sets it to what follows from what is known, moves the worker in its
    /// pools, and lets leases and hopeless requests go.
    pub(crate) fn refresh(&mut self, id: WorkerId, out: &mut Vec<Command>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let state = worker.judge(self.now);
        let fell_silent = state == State::Silent && worker.state != State::Silent;
        if state != worker.state {
            worker.state = state;
            out.push(Command::State { worker: id, state });
        }
        let was_able = worker.standing.is_able();
        let key = worker.ready_key(id);
        self.pools.enter(&mut worker.standing, state.present(), state.able(), key);
        if fell_silent {
            self.counters.silenced += 1;
            self.lose_leases(id, out);
        }
        if was_able && !state.able() {
            let pools = self.workers.get(&id).map(|worker| worker.standing.pools.clone()).unwrap_or_default();
            self.refuse_hopeless(&pools, out);
        }
    }

    /// Ends every lease on a worker that is gone, and remembers to tell.
    pub(crate) fn lose_leases(&mut self, id: WorkerId, out: &mut Vec<Command>) {
        let leases: Vec<LeaseId> = match self.workers.get(&id) {
            Some(worker) => worker.leases.iter().copied().collect(),
            None => return,
        };
        for lease in leases {
            self.counters.lost += 1;
            if let Some(ended) = self.end_lease(lease, false) {
                let until = self.now.plus(crate::limits::LEASE);
                if let Some(client) = self.clients.get_mut(&ended.client) {
                    client.lost.insert(lease, until);
                }
                out.push(Command::Revoke { lease, client: ended.client, worker: id, why: Revoked::WorkerGone });
            }
        }
        if let Some(worker) = self.workers.get_mut(&id) {
            let key = worker.ready_key(id);
            let (present, able) = (worker.state.present(), worker.state.able());
            self.pools.enter(&mut worker.standing, present, able, key);
        }
    }

    /// Drops a worker altogether.
    pub(crate) fn forget_worker(&mut self, id: WorkerId, out: &mut Vec<Command>) {
        self.lose_leases(id, out);
        if let Some(mut worker) = self.workers.remove(&id) {
            self.pools.enter(&mut worker.standing, false, false, None);
            out.push(Command::Forget { worker: id });
        }
    }

    /// The client of that number, made when it is new.
    pub(crate) fn client_entry(&mut self, id: ClientId, user: UserId) -> &mut Client {
        let now = self.now;
        let client = self.clients.entry(id).or_insert_with(|| Client::new(now, user));
        client.seen = now;
        client
    }

    /// Why requests that these pools can serve can expect nothing; `None` when waiting makes sense.
    pub(crate) fn hopeless(&self, pools: &[PoolKey]) -> Option<Refusal> {
        if !self.settled || pools.iter().any(|pool| self.pools.able(pool) > 0) {
            return None;
        }
        if self.pools.present_in_all() == 0 || pools.iter().any(|pool| self.pools.present(pool) > 0) {
            return Some(Refusal::NoWorkers);
        }
        Some(Refusal::UnknownToolchain)
    }

    /// Counts an outcome.
    pub(crate) fn count_outcome(&mut self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Unused => &mut self.counters.unused,
            Outcome::Ok | Outcome::JobFailed => &mut self.counters.done,
            Outcome::Rejected => &mut self.counters.overcommit,
            Outcome::WorkerFailed => &mut self.counters.worker_failed,
            Outcome::Cancelled => &mut self.counters.cancelled,
        };
        *counter += 1;
    }
}
