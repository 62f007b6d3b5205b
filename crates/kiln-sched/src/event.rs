//! What happens and what is to be done about it: the core's whole interface. Data only.

use crate::{ActionKey, ClientId, LeaseId, MachineId, Micros, RequestId, RootId, State, ToolchainId, UserId, WorkerId};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A worker announces itself, for the first time or anew.
    WorkerRegistered {
        /// Which.
        worker: WorkerId,
        /// What it is.
        spec: Spec,
        /// It is another process than the one registered under this number before: what ran there is gone.
        restarted: bool,
    },
    /// A worker tells how it does.
    Heartbeat {
        /// Which.
        worker: WorkerId,
        /// What it says.
        report: Report,
    },
    /// A worker takes no new work and is about to leave; its running jobs go on.
    WorkerGoodbye {
        /// Which.
        worker: WorkerId,
    },
    /// A worker's connection broke: as if it had been silent for long.
    WorkerLost {
        /// Which.
        worker: WorkerId,
    },
    /// A client asks for grants. Exactly one [`Command::Answer`] or [`Command::Refuse`] follows, now or later, unless
    /// [`Event::Cancel`] or [`Event::ClientGone`] comes first.
    Acquire(Acquire),
    /// The asker of a waiting request went away. Unknown requests are ignored.
    Cancel {
        /// Which request.
        request: RequestId,
    },
    /// A client keeps leases alive. [`Command::Renewed`] follows.
    Renew {
        /// Who.
        client: ClientId,
        /// Which leases.
        leases: Vec<LeaseId>,
    },
    /// A client returns a lease.
    Release {
        /// Who.
        client: ClientId,
        /// Which lease.
        lease: LeaseId,
        /// How it ended.
        outcome: Outcome,
    },
    /// A client is gone for good: its requests and leases end.
    ClientGone {
        /// Who.
        client: ClientId,
    },
    /// Time passes. Comes every [`limits::TICK`](crate::limits::TICK).
    Tick,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Answers a request with at least one grant, unless it asked for none.
    Answer {
        /// Which request.
        request: RequestId,
        /// In the order of the request's items; may be fewer.
        grants: Vec<Granted>,
    },
    /// Answers a request that gets nothing.
    Refuse {
        /// Which request.
        request: RequestId,
        /// Why.
        why: Refusal,
    },
    /// Answers [`Event::Renew`].
    Renewed {
        /// Who asked.
        client: ClientId,
        /// Leases that are not this client's, or ended.
        unknown: Vec<LeaseId>,
        /// Leases on workers that fell silent or left: told once.
        lost: Vec<LeaseId>,
    },
    /// A lease ended without its client's doing.
    Revoke {
        /// Which lease.
        lease: LeaseId,
        /// Who had it.
        client: ClientId,
        /// On which worker.
        worker: WorkerId,
        /// Why.
        why: Revoked,
    },
    /// A worker's state changed.
    State {
        /// Which worker.
        worker: WorkerId,
        /// Its state now.
        state: State,
    },
    /// Nothing is known of this worker any more; its number is free.
    Forget {
        /// Which worker.
        worker: WorkerId,
    },
}

/// What a worker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Jobs at once, as configured; cut at [`limits::SLOTS_MAX`](crate::limits::SLOTS_MAX).
    pub slots: u32,
    /// Hardware threads.
    pub cores: u32,
    /// Nobody sits at it.
    pub dedicated: bool,
    /// What its programs run on.
    pub machine: MachineId,
    /// The form of whole root it gives, if any.
    pub root: Option<RootId>,
    /// Toolchains it has.
    pub toolchains: Vec<ToolchainId>,
    /// Whether it runs jobs at all (a cache server does not).
    pub runs_jobs: bool,
}

/// What a worker's heartbeat says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// How busy it is.
    pub load: Load,
    /// Leases under which jobs run or wait there.
    pub jobs: Vec<LeaseId>,
    /// Jobs there under leases that are not this core's.
    pub foreign: u32,
    /// Its toolchains, when they changed.
    pub toolchains: Option<Vec<ToolchainId>>,
    /// It says itself that it takes no work.
    pub unwell: bool,
}

/// How busy a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Cores' worth of load that is not jobs', in thousandths.
    pub foreign_milli: u32,
    /// Memory that could be taken without swapping.
    pub memory_available: u64,
    /// Memory in all; 0 when unknown, then memory bounds nothing.
    pub memory_total: u64,
    /// Share of time that something waited for memory, in hundredths of a per cent.
    pub memory_pressure_centi: u32,
    /// Jobs running.
    pub running: u32,
    /// Jobs waiting for a slot.
    pub queued: u32,
}

/// Which workers can serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Any that runs jobs.
    Any,
    /// One that gives this form of root.
    Root(RootId),
    /// One that has this toolchain itself.
    Toolchain(ToolchainId),
}

/// A call for grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acquire {
    /// Its number.
    pub request: RequestId,
    /// Who asks.
    pub client: ClientId,
    /// For whom.
    pub user: UserId,
    /// What kind of worker.
    pub need: Need,
    /// What its programs must run on; any when absent.
    pub machine: Option<MachineId>,
    /// Toolchains that it takes in place of its own, on workers that have them, where no other has room; cut at
    /// [`limits::SUBSTITUTES_MAX`](crate::limits::SUBSTITUTES_MAX).
    pub substitutes: Vec<ToolchainId>,
    /// One grant for each, most wanted first.
    pub items: Vec<Item>,
    /// Longest wait for the first grant; none answers at once.
    pub wait: Micros,
    /// Units waiting at the client beyond these.
    pub backlog: u32,
    /// The client's cores.
    pub cores: u32,
    /// The worker on the client's own machine.
    pub local: Option<WorkerId>,
    /// Workers not to be given.
    pub avoid: Vec<WorkerId>,
    /// After everything interactive.
    pub batch: bool,
}

/// One grant asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Item {
    /// What is to run, if known already and if it may be joined.
    pub action: Option<ActionKey>,
    /// How often it was tried before; only 0 joins.
    pub attempt: u32,
    /// Predicted run time in milliseconds, 0 when unknown.
    pub cost_ms: u32,
    /// Predicted memory in bytes, 0 when unknown.
    pub memory: u64,
}

/// One grant given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The lease.
    pub lease: LeaseId,
    /// Which of the request's items it is for.
    pub item: usize,
    /// Where.
    pub worker: WorkerId,
    /// The item's attempt.
    pub attempt: u32,
    /// The worker shares a machine with the asker.
    pub local: bool,
    /// An equal action runs there: this grant joins it and takes no slot.
    pub join: bool,
    /// The worker was chosen for this toolchain, which it has: another action is to run there.
    pub substitute: Option<ToolchainId>,
}

/// Why a request gets no grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// No room within its wait, or too many requests wait.
    Full,
    /// No live worker could ever serve it.
    UnknownToolchain,
    /// No worker takes such work now.
    NoWorkers,
}

/// How a lease was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Not at all.
    Unused,
    /// The job ran and succeeded.
    Ok,
    /// The job ran and failed by its own fault.
    JobFailed,
    /// The worker was full.
    Rejected,
    /// The worker failed it.
    WorkerFailed,
    /// The client gave up.
    Cancelled,
}

/// Why a lease ended without its client's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revoked {
    /// Its worker fell silent or left.
    WorkerGone,
    /// It was not renewed.
    Expired,
    /// It was renewed and never used.
    Idle,
}
