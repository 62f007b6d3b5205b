//! Requests: joined, placed, waiting, refused. The order of workers is the pools', the order of users the queue's.

use crate::event::{Acquire, Command, Granted, Item, Need, Refusal};
use crate::id::{ActionKey, LeaseId, Micros, RequestId, ToolchainId, WorkerId};
use crate::lease::Lease;
use crate::limits::{
    AVOID_MAX, CLIENTS_MAX, HELD_PER_CLIENT_MAX, ITEMS_MAX, JOB_MEMORY, JOB_MEMORY_MIN, LEASE, LEASES_PER_CLIENT_MAX, SCAN_MAX,
    WAIT_MAX, WAITING_MAX, WAITING_PER_CLIENT_MAX,
};
use crate::pool::PoolKey;
use crate::queue::{Misfits, Waiting};
use crate::scheduler::Scheduler;
use crate::worker::State;
use std::collections::{BTreeSet, VecDeque};

/// A worker for a job, and the substitute that it is chosen for.
struct Chosen {
    worker: WorkerId,
    substitute: Option<ToolchainId>,
}

impl Scheduler {
    pub(crate) fn acquire(&mut self, acquire: &Acquire, out: &mut Vec<Command>) {
        self.counters.requests += 1;
        let request = acquire.request;
        let new = !self.clients.contains_key(&acquire.client);
        if self.queue.get(request).is_some() {
            // The same number twice is the driver's fault; the first stands.
            self.counters.strays += 1;
            return;
        }
        if (new && self.clients.len() >= CLIENTS_MAX) || self.queue.len() >= WAITING_MAX {
            self.counters.refused_overflow += 1;
            return self.refuse(request, Refusal::Full, out);
        }
        let cut = acquire.items.len().saturating_sub(ITEMS_MAX);
        self.counters.items_cut += cut as u64;
        let client = self.client_entry(acquire.client, acquire.user);
        client.greedy += u64::from(cut > 0);
        if client.requests.len() >= WAITING_PER_CLIENT_MAX {
            client.greedy += 1;
            self.counters.refused_overflow += 1;
            return self.refuse(request, Refusal::Full, out);
        }
        let (mut grants, mut items) = (Vec::new(), VecDeque::new());
        for (place, item) in acquire.items.iter().take(ITEMS_MAX).enumerate() {
            match self.join(acquire, place, item) {
                Some(granted) => grants.push(granted),
                None => items.push_back((place, *item)),
            }
        }
        if items.is_empty() {
            out.push(Command::Answer { request, grants });
            return;
        }
        let pools = PoolKey::all_of(acquire);
        if grants.is_empty()
            && let Some(why) = self.hopeless_for(acquire, &pools)
        {
            return self.refuse(request, why, out);
        }
        let wait = if grants.is_empty() { acquire.wait.min(WAIT_MAX) } else { Micros::default() };
        self.enqueue(acquire, pools.clone(), items, wait);
        self.serve(&pools, out);
        if wait == Micros::default() && self.queue.get(request).is_some() {
            self.take_out(request);
            if grants.is_empty() {
                return self.refuse(request, Refusal::Full, out);
            }
            out.push(Command::Answer { request, grants });
        } else if !grants.is_empty() {
            merge_answer(request, grants, out);
        }
    }

    fn enqueue(&mut self, acquire: &Acquire, pools: Vec<PoolKey>, items: VecDeque<(usize, Item)>, wait: Micros) {
        if let Some(client) = self.clients.get_mut(&acquire.client) {
            client.requests.insert(acquire.request);
        }
        self.queue.push(acquire, pools, items, (self.now, self.now.plus(wait)));
    }

    /// As [`Scheduler::hopeless`], and when all that could serve are to be avoided.
    fn hopeless_for(&self, acquire: &Acquire, pools: &[PoolKey]) -> Option<Refusal> {
        let hopeless = self.hopeless(pools);
        if hopeless.is_some() || acquire.avoid.is_empty() {
            return hopeless;
        }
        let avoid: BTreeSet<WorkerId> = acquire.avoid.iter().take(AVOID_MAX).copied().collect();
        let avoided_of = |pool: &PoolKey| {
            let able = |id: &&WorkerId| {
                self.workers.get(id).is_some_and(|worker| worker.state.able() && worker.standing.pools.contains(pool))
            };
            avoid.iter().filter(able).count()
        };
        let avoided: usize = pools.iter().map(avoided_of).sum();
        let able: usize = pools.iter().map(|pool| self.pools.able(pool)).sum();
        (avoided > 0 && avoided == able).then_some(Refusal::NoWorkers)
    }

    /// A grant to join an equal action's run.
    fn join(&mut self, acquire: &Acquire, place: usize, item: &Item) -> Option<Granted> {
        let action = item.action.filter(|_| item.attempt == 0)?;
        let holder = self.leases.get(self.leases.run_of(&action)?)?;
        let worker = holder.worker;
        let client = self.clients.get(&acquire.client)?;
        let takes = self.workers.get(&worker).is_some_and(|entry| entry.state.takes_work());
        if !takes || acquire.avoid.contains(&worker) || client.leases.len() >= LEASES_PER_CLIENT_MAX {
            return None;
        }
        self.counters.joins += 1;
        let chosen = Chosen { worker, substitute: None };
        Some(self.lend(acquire.local, place, item, chosen, (acquire.client, acquire.user), Some(action)))
    }

    /// Makes the lease; `join` names the run it joins.
    fn lend(
        &mut self,
        local: Option<WorkerId>,
        place: usize,
        item: &Item,
        Chosen { worker, substitute }: Chosen,
        (client, user): (crate::ClientId, crate::UserId),
        join: Option<ActionKey>,
    ) -> Granted {
        let mut lease = Lease::new(self.now, client, user, worker);
        lease.slot = join.is_none();
        // What runs on a substitute is another action: nobody joins it under this one's name.
        lease.action = join.or(item.action.filter(|_| item.attempt == 0 && substitute.is_none()));
        lease.memory = if lease.slot { expected_memory(item) } else { 0 };
        let memory = lease.memory;
        let id = self.leases.add(lease, self.now.plus(LEASE));
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.leases.insert(id);
            entry.memory_left = entry.memory_left.saturating_sub(memory);
        }
        if let Some(entry) = self.clients.get_mut(&client) {
            entry.leases.insert(id);
        }
        if join.is_none() {
            self.stamp += 1;
            self.counters.grants += 1;
            if let Some(entry) = self.workers.get_mut(&worker) {
                entry.stamp = self.stamp;
            }
            self.hold_slot(id);
        }
        let (local, join) = (local == Some(worker), join.is_some());
        Granted { lease: id, item: place, worker, attempt: item.attempt, local, join, substitute }
    }

    /// Counts a lease's slot with its worker, client and user.
    pub(crate) fn hold_slot(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get(id).copied() else { return };
        if let Some(client) = self.clients.get_mut(&lease.client) {
            client.held += 1;
        }
        if let Some(worker) = self.workers.get_mut(&lease.worker) {
            worker.held += 1;
            let key = worker.ready_key(lease.worker);
            let (present, able) = (worker.state.present(), worker.state.able());
            self.pools.enter(&mut worker.standing, present, able, key);
        }
        self.queue.take(lease.user);
    }

    /// Gives what there is in `pools` to those whose turn it is.
    pub(crate) fn serve(&mut self, pools: &[PoolKey], out: &mut Vec<Command>) {
        let (mut misfits, mut touched) = (Misfits::default(), BTreeSet::new());
        while !misfits.too_many() {
            let open = pools.iter().filter(|pool| self.pools.has_ready(pool)).copied();
            let Some(request) = self.queue.next(open, &misfits) else { break };
            let Some(user) = self.queue.get(request).map(|waiting| waiting.user) else { break };
            match self.place(request) {
                None => misfits.add(request, user),
                Some(complete) => {
                    touched.insert(request);
                    if complete {
                        self.answer(request, out);
                    }
                }
            }
        }
        for request in touched {
            self.answer(request, out);
        }
    }

    /// One grant for a waiting request; whether that was its last item. `None` when no worker fits.
    fn place(&mut self, request: RequestId) -> Option<bool> {
        let waiting = self.queue.get(request)?;
        let (place, item) = *waiting.items.front()?;
        let client = self.clients.get(&waiting.client)?;
        if client.held >= HELD_PER_CLIENT_MAX || client.leases.len() >= LEASES_PER_CLIENT_MAX {
            return None;
        }
        let chosen = self.choose(waiting, &item)?;
        let (local, who) = (waiting.local, (waiting.client, waiting.user));
        let granted = self.lend(local, place, &item, chosen, who, None);
        self.queue.granted(request, granted).map(|waiting| waiting.items.is_empty())
    }

    /// The best worker with room for the job; one with a substitute only where there is no other.
    fn choose(&self, waiting: &Waiting, item: &Item) -> Option<Chosen> {
        waiting.pools.iter().enumerate().find_map(|(index, pool)| {
            let substitute = match pool.need {
                Need::Toolchain(toolchain) if index > 0 => Some(toolchain),
                _ => None,
            };
            self.choose_in(pool, waiting, item).map(|worker| Chosen { worker, substitute })
        })
    }

    fn choose_in(&self, pool: &PoolKey, waiting: &Waiting, item: &Item) -> Option<WorkerId> {
        let memory = expected_memory(item);
        let queued = u64::from(waiting.backlog) + waiting.items.len() as u64 + waiting.granted.len() as u64;
        let spare_own = queued > u64::from(waiting.cores);
        let (mut own, mut on_trial) = (None, None);
        for id in self.pools.ready(pool).take(SCAN_MAX) {
            let Some(worker) = self.workers.get(&id) else { continue };
            if !worker.fits(memory) || waiting.avoid.iter().take(AVOID_MAX).any(|avoid| *avoid == id) {
                continue;
            }
            if spare_own && waiting.local == Some(id) {
                own = Some(id);
            } else if item.attempt > 0 && worker.state == State::Trial {
                // A unit that failed once is not what a doubtful worker is tried with.
                on_trial = on_trial.or(Some(id));
            } else {
                return Some(id);
            }
        }
        own.or(on_trial)
    }

    /// Answers a waiting request with what it got, if anything.
    fn answer(&mut self, request: RequestId, out: &mut Vec<Command>) {
        if self.queue.get(request).is_none_or(|waiting| waiting.granted.is_empty()) {
            return;
        }
        if let Some(waiting) = self.take_out(request) {
            self.counters.waited += u64::from(self.now > waiting.since);
            out.push(Command::Answer { request, grants: waiting.granted });
        }
    }

    fn take_out(&mut self, request: RequestId) -> Option<Waiting> {
        let waiting = self.queue.remove(request)?;
        if let Some(client) = self.clients.get_mut(&waiting.client) {
            client.requests.remove(&request);
            client.seen = self.now;
        }
        Some(waiting)
    }

    pub(crate) fn refuse(&mut self, request: RequestId, why: Refusal, out: &mut Vec<Command>) {
        match why {
            Refusal::Full => self.counters.refused_full += 1,
            Refusal::UnknownToolchain => self.counters.refused_unknown += 1,
            Refusal::NoWorkers => self.counters.refused_no_workers += 1,
        }
        out.push(Command::Refuse { request, why });
    }

    /// Refuses what waits for nothing.
    pub(crate) fn refuse_hopeless(&mut self, pools: &[PoolKey], out: &mut Vec<Command>) {
        for pool in pools {
            if self.hopeless(&[*pool]).is_none() {
                continue;
            }
            for request in self.queue.waiting_in(pool) {
                let why = self.queue.get(request).and_then(|waiting| self.hopeless(&waiting.pools));
                if let Some(why) = why {
                    self.take_out(request);
                    self.refuse(request, why, out);
                }
            }
        }
    }

    /// Refuses what waited long enough.
    pub(crate) fn refuse_overdue(&mut self, out: &mut Vec<Command>) {
        while let Some(request) = self.queue.overdue(self.now) {
            self.take_out(request);
            self.refuse(request, Refusal::Full, out);
        }
    }

    pub(crate) fn cancel(&mut self, request: RequestId) {
        if self.take_out(request).is_some() {
            self.counters.cancelled_requests += 1;
        }
    }
}

/// Memory to set aside for an item.
fn expected_memory(item: &Item) -> u64 {
    if item.memory == 0 { JOB_MEMORY } else { item.memory.max(JOB_MEMORY_MIN) }
}

/// Adds grants that join to the answer just given.
fn merge_answer(request: RequestId, joined: Vec<Granted>, out: &mut [Command]) {
    for command in out.iter_mut().rev() {
        if let Command::Answer { request: answered, grants } = command
            && *answered == request
        {
            grants.extend(joined);
            grants.sort_by_key(|granted| granted.item);
            return;
        }
    }
}
