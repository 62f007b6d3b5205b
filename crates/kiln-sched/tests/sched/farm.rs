//! A farm of numbers to write cases with: short calls, a hand-moved clock, grants by request.

use kiln_sched::*;

pub(crate) const GIB: u64 = 1 << 30;

/// The core, its clock, and the commands of the last event.
pub(crate) struct Farm {
    pub(crate) core: Scheduler,
    pub(crate) now: Micros,
    pub(crate) out: Vec<Command>,
    requests: u64,
}

/// A dedicated worker of so many slots and cores, that gives roots.
pub(crate) fn spec(slots: u32) -> Spec {
    Spec {
        slots,
        cores: slots,
        dedicated: true,
        machine: MachineId(0),
        root: Some(RootId(0)),
        toolchains: vec![ToolchainId(0)],
        runs_jobs: true,
    }
}

/// The report of an idle machine with memory enough.
pub(crate) fn idle() -> Report {
    Report { load: Load { memory_available: 64 * GIB, memory_total: 64 * GIB, ..Load::default() }, ..Report::default() }
}

/// A request of one client for `count` grants that does not wait.
pub(crate) fn ask(client: u32, count: usize) -> Acquire {
    Acquire {
        request: RequestId(0),
        client: ClientId(client),
        user: UserId(client),
        need: Need::Root(RootId(0)),
        machine: Some(MachineId(0)),
        substitutes: Vec::new(),
        items: vec![Item::default(); count],
        wait: Micros(0),
        backlog: 0,
        cores: 8,
        local: None,
        avoid: Vec::new(),
        batch: false,
    }
}

impl Farm {
    /// A farm past its settling time, with one well worker for each number of slots.
    pub(crate) fn new(slots: &[u32]) -> Farm {
        let mut farm = Farm::unsettled();
        for _ in 0..12 {
            farm.tick();
        }
        for (number, slots) in slots.iter().enumerate() {
            farm.join(number as u32, spec(*slots));
        }
        farm
    }

    pub(crate) fn unsettled() -> Farm {
        Farm { core: Scheduler::new(), now: Micros::from_secs(1000), out: Vec::new(), requests: 0 }
    }

    pub(crate) fn step(&mut self, event: Event) -> &[Command] {
        self.out.clear();
        self.core.step(self.now, event, &mut self.out);
        &self.out
    }

    /// A quarter of a second passes.
    pub(crate) fn tick(&mut self) -> Vec<Command> {
        self.now = self.now.plus(limits::TICK);
        self.step(Event::Tick).to_vec()
    }

    /// Time passes while these workers report that they are idle, and nobody renews anything.
    pub(crate) fn pass(&mut self, span: Micros, alive: &[u32]) -> Vec<Command> {
        let (end, mut out) = (self.now.plus(span), Vec::new());
        let mut ticks = 0;
        while self.now < end {
            out.extend(self.tick());
            ticks += 1;
            if ticks % 4 == 0 {
                for worker in alive {
                    out.extend(self.beat(*worker, idle()));
                }
            }
        }
        out
    }

    pub(crate) fn beat(&mut self, worker: u32, report: Report) -> Vec<Command> {
        self.step(Event::Heartbeat { worker: WorkerId(worker), report }).to_vec()
    }

    pub(crate) fn join(&mut self, worker: u32, spec: Spec) {
        self.step(Event::WorkerRegistered { worker: WorkerId(worker), spec, restarted: true });
        self.beat(worker, idle());
    }

    /// Asks, and says under which number.
    pub(crate) fn request(&mut self, mut acquire: Acquire) -> RequestId {
        self.requests += 1;
        acquire.request = RequestId(self.requests);
        self.step(Event::Acquire(acquire));
        RequestId(self.requests)
    }

    /// Asks, and takes what comes at once.
    pub(crate) fn grants(&mut self, acquire: Acquire) -> Vec<Granted> {
        let request = self.request(acquire);
        self.granted(request)
    }

    /// Asks for one grant at a time: on which workers they are.
    pub(crate) fn workers_of(&mut self, acquire: &Acquire, times: usize) -> Vec<u32> {
        (0..times).flat_map(|_| self.grants(acquire.clone())).map(|granted| granted.worker.0).collect()
    }

    /// What the last event granted to a request.
    pub(crate) fn granted(&self, request: RequestId) -> Vec<Granted> {
        granted(&self.out, request)
    }

    /// Why the last event refused a request.
    pub(crate) fn refusal(&self, request: RequestId) -> Option<Refusal> {
        refusal(&self.out, request)
    }

    pub(crate) fn release(&mut self, client: u32, lease: LeaseId, outcome: Outcome) -> Vec<Command> {
        self.step(Event::Release { client: ClientId(client), lease, outcome }).to_vec()
    }

    pub(crate) fn renew(&mut self, client: u32, leases: &[LeaseId]) -> (Vec<LeaseId>, Vec<LeaseId>) {
        self.step(Event::Renew { client: ClientId(client), leases: leases.to_vec() });
        match self.out.last() {
            Some(Command::Renewed { unknown, lost, .. }) => (unknown.clone(), lost.clone()),
            other => panic!("no answer to a renewal: {other:?}"),
        }
    }

    pub(crate) fn state(&self, worker: u32) -> State {
        self.core.worker(WorkerId(worker)).expect("a known worker").state
    }
}

pub(crate) fn granted(out: &[Command], wanted: RequestId) -> Vec<Granted> {
    let answers = out.iter().filter_map(|command| match command {
        Command::Answer { request, grants } if *request == wanted => Some(grants.clone()),
        _ => None,
    });
    answers.flatten().collect()
}

pub(crate) fn refusal(out: &[Command], wanted: RequestId) -> Option<Refusal> {
    out.iter().find_map(|command| match command {
        Command::Refuse { request, why } if *request == wanted => Some(*why),
        _ => None,
    })
}
