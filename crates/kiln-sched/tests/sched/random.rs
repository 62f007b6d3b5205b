//! Random events against checkers that know only events and commands: no slot lent twice, no request lost or answered twice,
//! waits bounded, nothing for workers that should get nothing, same events same commands.

use kiln_sched::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const WORKERS: u32 = 5;
const CLIENTS: u32 = 4;

/// One step of a random run; numbers are cut to what there is.
#[derive(Debug, Clone)]
enum Op {
    Register { worker: u32, slots: u32, toolchains: u32, restarted: bool },
    Beat { worker: u32, jobs: u32, foreign: u32, unwell: bool, absurd: bool, toolchains: Option<u32> },
    Goodbye { worker: u32 },
    Lost { worker: u32 },
    Acquire { client: u32, count: usize, need: u32, action: Option<u8>, attempt: u32, wait_ms: u64, avoid: u32, batch: bool },
    Cancel { back: usize },
    Renew { client: u32 },
    Release { client: u32, pick: usize, outcome: u32 },
    Gone { client: u32 },
    Tick { times: u32 },
    Stop { ms: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let (worker, client) = (0..WORKERS, 0..CLIENTS);
    prop_oneof![
        2 => (worker.clone(), 0u32..5, 0u32..4, any::<bool>())
            .prop_map(|(worker, slots, toolchains, restarted)| Op::Register { worker, slots, toolchains, restarted }),
        8 => (worker.clone(), 0u32..4, 0u32..2, prop::bool::weighted(0.05), prop::bool::weighted(0.02),
              prop::option::weighted(0.1, 0u32..4))
            .prop_map(|(worker, jobs, foreign, unwell, absurd, toolchains)| {
                Op::Beat { worker, jobs, foreign, unwell, absurd, toolchains }
            }),
        1 => worker.clone().prop_map(|worker| Op::Goodbye { worker }),
        1 => worker.clone().prop_map(|worker| Op::Lost { worker }),
        8 => (client.clone(), 0usize..6, 0u32..4, prop::option::of(0u8..3), 0u32..2, 0u64..4000, 0u32..32, any::<bool>())
            .prop_map(|(client, count, need, action, attempt, wait_ms, avoid, batch)| {
                Op::Acquire { client, count, need, action, attempt, wait_ms, avoid, batch }
            }),
        1 => (0usize..8).prop_map(|back| Op::Cancel { back }),
        4 => client.clone().prop_map(|client| Op::Renew { client }),
        8 => (client.clone(), 0usize..20, 0u32..6).prop_map(|(client, pick, outcome)| Op::Release { client, pick, outcome }),
        1 => client.prop_map(|client| Op::Gone { client }),
        8 => (1u32..6).prop_map(|times| Op::Tick { times }),
        1 => (0u64..5000).prop_map(|ms| Op::Stop { ms }),
    ]
}

/// What the checkers know of a lease.
#[derive(Debug, Clone, Copy)]
struct Lent {
    client: u32,
    worker: u32,
    slot: bool,
}

struct Run {
    core: Scheduler,
    now: Micros,
    ticked: Micros,
    requests: u64,
    /// Requests not answered yet, with their deadlines.
    open: BTreeMap<RequestId, Micros>,
    leases: BTreeMap<LeaseId, Lent>,
    ever: BTreeSet<LeaseId>,
    /// States as commands told them.
    workers: BTreeMap<u32, State>,
    log: Vec<(Event, Vec<Command>)>,
}

impl Run {
    fn new() -> Run {
        Run {
            core: Scheduler::new(),
            now: Micros::from_secs(5),
            ticked: Micros::from_secs(5),
            requests: 0,
            open: BTreeMap::new(),
            leases: BTreeMap::new(),
            ever: BTreeSet::new(),
            workers: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    fn step(&mut self, event: Event) {
        let mut out = Vec::new();
        self.core.step(self.now, event.clone(), &mut out);
        self.before(&event);
        for command in &out {
            self.check(&event, command);
        }
        self.after();
        self.log.push((event, out));
    }

    /// What an event by itself tells the checkers.
    fn before(&mut self, event: &Event) {
        match event {
            Event::WorkerRegistered { worker, .. } => {
                self.workers.entry(worker.0).or_insert(State::Fresh);
            }
            Event::Acquire(acquire) => {
                self.open.insert(acquire.request, self.now.plus(acquire.wait));
            }
            Event::Cancel { request } => {
                self.open.remove(request);
            }
            Event::Release { client, lease, .. } if self.leases.get(lease).is_some_and(|lent| lent.client == client.0) => {
                self.end(*lease);
            }
            Event::ClientGone { client } => {
                self.leases.retain(|_, lent| lent.client != client.0);
            }
            _ => {}
        }
    }

    fn end(&mut self, lease: LeaseId) {
        self.leases.remove(&lease);
    }

    fn check(&mut self, event: &Event, command: &Command) {
        match command {
            Command::Answer { request, grants } => {
                let expected = self.open.remove(request);
                assert!(expected.is_some(), "{request:?} was not open: {event:?}");
                for granted in grants {
                    self.granted(*request, granted);
                }
            }
            Command::Refuse { request, .. } => {
                assert!(self.open.remove(request).is_some(), "{request:?} was not open: {event:?}");
            }
            Command::Revoke { lease, worker, client, .. } => {
                let lent = self.leases.get(lease).copied().expect("only what was lent is revoked");
                assert_eq!((lent.worker, lent.client), (worker.0, client.0));
                self.end(*lease);
            }
            Command::State { worker, state } => {
                *self.workers.get_mut(&worker.0).expect("a known worker") = *state;
            }
            Command::Forget { worker } => {
                assert!(self.leases.values().all(|lent| lent.worker != worker.0), "leases on a forgotten worker");
                self.workers.remove(&worker.0);
            }
            Command::Renewed { unknown, .. } => {
                assert!(unknown.iter().all(|lease| !self.leases.contains_key(lease)), "a lease is forgotten while it is lent");
            }
        }
    }

    fn granted(&mut self, request: RequestId, granted: &Granted) {
        assert!(self.ever.insert(granted.lease), "{:?} was given before", granted.lease);
        let state = self.workers.get(&granted.worker.0).expect("a known worker");
        assert!(state.takes_work(), "{granted:?} on a worker that is {state:?}");
        let client = Run::client_of(request);
        self.leases.insert(granted.lease, Lent { client, worker: granted.worker.0, slot: !granted.join });
    }

    /// The number of a request tells its client.
    fn client_of(request: RequestId) -> u32 {
        (request.0 % u64::from(CLIENTS)) as u32
    }

    /// What holds after each step.
    fn after(&self) {
        for (worker, view) in self.core.workers() {
            let here: Vec<_> = self.leases.values().filter(|lent| lent.worker == worker.0).collect();
            let slots = here.iter().filter(|lent| lent.slot).count() as u32;
            // A lease that joined takes over the slot of one given up, so the core may count more, never fewer.
            assert!(view.held >= slots && view.held as usize <= here.len(), "{worker:?} {view:?} {here:?}");
        }
        assert_eq!(self.core.leases(), self.leases.len(), "core and checkers agree on what is lent");
        assert_eq!(self.core.waiting(), self.open.len(), "core and checkers agree on who waits");
        for deadline in self.open.values() {
            assert!(*deadline > self.ticked, "a wait outlasted its deadline");
        }
        for (client, view) in self.core.clients() {
            let leases = self.leases.values().filter(|lent| lent.client == client.0).count();
            assert!(view.held as usize <= leases);
        }
    }

    /// No grant exceeds what the worker has, at the moment it is given.
    fn room_before(&self) -> BTreeMap<WorkerId, (u32, u32)> {
        self.core.workers().map(|(id, view)| (id, (view.slots, view.held + view.foreign))).collect()
    }

    fn act(&mut self, op: &Op) {
        match *op {
            Op::Tick { times } => {
                for _ in 0..times {
                    self.now = self.now.plus(limits::TICK);
                    self.ticked = self.now;
                    self.step(Event::Tick);
                }
            }
            Op::Stop { ms } => {
                self.now = self.now.plus(Micros::from_ms(ms));
                self.ticked = self.now;
                self.step(Event::Tick);
            }
            _ => {
                self.now = self.now.plus(Micros(1));
                let event = self.event(op);
                let grants_only = matches!(event, Event::Acquire(_));
                let before = self.room_before();
                self.step(event);
                if grants_only {
                    for (id, view) in self.core.workers() {
                        let (slots, used) = before.get(&id).copied().unwrap_or((0, 0));
                        assert!(view.held + view.foreign <= slots.max(used), "{id:?} has {slots} slots: {view:?}");
                    }
                }
            }
        }
    }

    fn event(&mut self, op: &Op) -> Event {
        match *op {
            Op::Register { worker, slots, toolchains, restarted } => {
                let spec = Spec {
                    slots,
                    cores: 4,
                    dedicated: worker % 2 == 0,
                    machine: MachineId(0),
                    root: (worker != 4).then_some(RootId(0)),
                    toolchains: (0..toolchains).map(ToolchainId).collect(),
                    runs_jobs: true,
                };
                Event::WorkerRegistered { worker: WorkerId(worker), spec, restarted }
            }
            Op::Beat { worker, jobs, foreign, unwell, absurd, toolchains } => {
                let here = self.leases.iter().filter(|(_, lent)| lent.worker == worker);
                let jobs = here.take(jobs as usize).map(|(lease, _)| *lease).collect();
                let load = Load {
                    memory_available: if absurd { 9 << 30 } else { 4 << 30 },
                    memory_total: 8 << 30,
                    foreign_milli: foreign * 700,
                    ..Load::default()
                };
                let toolchains = toolchains.map(|count| (0..count).map(ToolchainId).collect());
                Event::Heartbeat { worker: WorkerId(worker), report: Report { load, jobs, foreign, toolchains, unwell } }
            }
            Op::Goodbye { worker } => Event::WorkerGoodbye { worker: WorkerId(worker) },
            Op::Lost { worker } => Event::WorkerLost { worker: WorkerId(worker) },
            Op::Acquire { client, count, need, action, attempt, wait_ms, avoid, batch } => {
                // The number tells the client, for the checkers.
                self.requests += 1;
                let request = RequestId(self.requests * u64::from(CLIENTS) + u64::from(client));
                let needs = [Need::Any, Need::Root(RootId(0)), Need::Toolchain(ToolchainId(1)), Need::Toolchain(ToolchainId(9))];
                Event::Acquire(Acquire {
                    request,
                    client: ClientId(client),
                    user: UserId(client / 2),
                    need: needs[need as usize],
                    machine: None,
                    substitutes: (0..avoid % 3).map(ToolchainId).collect(),
                    items: vec![Item { action: action.map(|byte| ActionKey([byte; 32])), attempt, ..Item::default() }; count],
                    wait: Micros::from_ms(wait_ms),
                    backlog: avoid,
                    cores: 4,
                    local: Some(WorkerId(client)),
                    avoid: (0..WORKERS).filter(|worker| avoid & (1 << worker) != 0 && avoid % 3 == 0).map(WorkerId).collect(),
                    batch,
                })
            }
            Op::Cancel { back } => {
                let request = self.open.keys().rev().nth(back).copied().unwrap_or(RequestId(0));
                Event::Cancel { request }
            }
            Op::Renew { client } => {
                let mine = self.leases.iter().filter(|(_, lent)| lent.client == client).map(|(lease, _)| *lease);
                Event::Renew { client: ClientId(client), leases: mine.collect() }
            }
            Op::Release { client, pick, outcome } => self.release(client, pick, outcome),
            Op::Gone { client } => {
                let theirs = self.open.keys().filter(|request| request.0 % u64::from(CLIENTS) == u64::from(client));
                for request in theirs.copied().collect::<Vec<_>>() {
                    self.open.remove(&request);
                }
                Event::ClientGone { client: ClientId(client) }
            }
            Op::Tick { .. } | Op::Stop { .. } => Event::Tick,
        }
    }

    fn release(&self, client: u32, pick: usize, outcome: u32) -> Event {
        let outcomes =
            [Outcome::Unused, Outcome::Ok, Outcome::JobFailed, Outcome::Rejected, Outcome::WorkerFailed, Outcome::Cancelled];
        // Now and then another's lease, or one returned before.
        let lease = self.ever.iter().rev().nth(pick).copied().unwrap_or(LeaseId(0));
        Event::Release { client: ClientId(client), lease, outcome: outcomes[outcome as usize] }
    }

    /// Faults stop: every worker is well, every client returns what it has. Then everybody who asks is served.
    fn comes_to_rest(&mut self) {
        for client in 0..CLIENTS {
            let mine: Vec<LeaseId> =
                self.leases.iter().filter(|(_, lent)| lent.client == client).map(|(lease, _)| *lease).collect();
            for lease in mine {
                self.step(Event::Release { client: ClientId(client), lease, outcome: Outcome::Ok });
            }
        }
        for worker in 0..WORKERS {
            let event = self.event(&Op::Register { worker, slots: 2, toolchains: 2, restarted: true });
            self.step(event);
        }
        for second in 0..400 {
            for worker in 0..WORKERS {
                let report = Report { load: Load { memory_total: 0, ..Load::default() }, ..Report::default() };
                self.step(Event::Heartbeat { worker: WorkerId(worker), report });
            }
            // Another client each time: one spares the worker on its own machine. Light load, yet whoever is on trial gets a job.
            let event = self.event(&Op::Acquire {
                client: second % CLIENTS,
                count: 5,
                need: 0,
                action: None,
                attempt: 0,
                wait_ms: 0,
                avoid: 1,
                batch: false,
            });
            self.step(event);
            for (lease, lent) in self.leases.clone() {
                self.step(Event::Release { client: ClientId(lent.client), lease, outcome: Outcome::Ok });
            }
            for _ in 0..4 {
                self.act(&Op::Tick { times: 1 });
            }
            assert!(second < 399 || self.core.workers().all(|(_, view)| view.state == State::Well));
            // Longer than any wait of a run.
            if second >= 8 && self.core.workers().all(|(_, view)| view.state == State::Well) {
                break;
            }
        }
        assert_eq!(self.core.waiting(), 0, "somebody waits in an idle farm");
        let views: Vec<_> = self.core.workers().collect();
        assert!(views.iter().all(|(_, view)| view.held == 0 && view.foreign == 0), "{views:?}");
    }
}

fn run(ops: &[Op]) -> Run {
    let mut run = Run::new();
    for op in ops {
        run.act(op);
    }
    run
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_whatever_happens(ops in prop::collection::vec(op(), 1..250)) {
        let mut first = run(&ops);
        let again = run(&ops);
        prop_assert!(first.log == again.log, "same events, other commands");
        first.comes_to_rest();
    }
}
