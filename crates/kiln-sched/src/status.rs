//! What can be seen of the core from outside: views of workers and clients, counters. Changes nothing.

use crate::event::Load;
use crate::id::{ClientId, Micros, UserId, WorkerId};
use crate::scheduler::Scheduler;
use crate::worker::State;

/// What bounds a worker below its slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tight {
    /// Nothing.
    No,
    /// Other work on its cores, or fewer cores than slots.
    Cores,
    /// Its memory.
    Memory,
    /// Its processes already wait for memory.
    Pressure,
    /// It rejected a job since its last report.
    Full,
}

/// A worker as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerView {
    /// Its state.
    pub state: State,
    /// Slots, within bounds.
    pub slots: u32,
    /// Jobs at once that it can do now.
    pub capacity: u32,
    /// What bounds that.
    pub tight: Tight,
    /// Slots lent here.
    pub held: u32,
    /// Jobs there under no lease known here.
    pub foreign: u32,
    /// Its last report.
    pub load: Load,
    /// How long ago it was heard of.
    pub silence: Micros,
    /// When it is tried again, if it is barred: the span from now.
    pub barred: Option<Micros>,
    /// Jobs it ran, as clients tell.
    pub done: u64,
    /// Jobs it failed, as clients tell.
    pub failed: u64,
    /// Those since one succeeded.
    pub failed_in_a_row: u32,
}

/// A client as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientView {
    /// Whose it is.
    pub user: UserId,
    /// Slots it holds.
    pub held: u32,
    /// Its requests that wait.
    pub waiting: usize,
    /// How often it asked for more than it may.
    pub greedy: u64,
    /// It failed on so many workers in a row that its word against them counts for nothing.
    pub suspect: bool,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened since the core was made.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Every counter with its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Grants given that take a slot.
    grants,
    /// Grants given that join another's run.
    joins,
    /// Requests made.
    requests,
    /// Requests answered after a wait.
    waited,
    /// Requests refused: no room in time.
    refused_full,
    /// Requests refused: nobody can ever serve them.
    refused_unknown,
    /// Requests refused: nobody takes such work now.
    refused_no_workers,
    /// Requests refused: too many wait already.
    refused_overflow,
    /// Requests whose asker went away.
    cancelled_requests,
    /// Items beyond what one request may ask for.
    items_cut,
    /// Leases returned after a job that ran.
    done,
    /// Leases returned unused.
    unused,
    /// Leases returned because the worker was full: another scheduler, or this one, gave away more than there was.
    overcommit,
    /// Leases returned because the worker failed.
    worker_failed,
    /// Leases returned because the client gave up.
    cancelled,
    /// Returns and renewals of leases that are not the client's, or ended before.
    unknown_leases,
    /// Leases that ended because nobody renewed them.
    expired,
    /// Leases taken back because they were renewed and never used.
    idle,
    /// Leases lost with their worker.
    lost,
    /// Workers that fell silent.
    silenced,
    /// Workers barred for their failures.
    quarantined,
    /// Failures that did not count because their client fails everywhere.
    discredited,
    /// Heartbeats with numbers that no machine has.
    absurd,
    /// Events that name a worker or client unknown here.
    strays,
    /// Times this process stood still.
    standstills,
    /// Events older than one before.
    backwards,
}

impl Scheduler {
    /// A worker, if it is known.
    pub fn worker(&self, id: WorkerId) -> Option<WorkerView> {
        let worker = self.workers.get(&id)?;
        let (capacity, tight) = worker.capacity();
        let takes = worker.state.takes_work();
        Some(WorkerView {
            state: worker.state,
            slots: worker.slots(),
            capacity: if takes { capacity } else { 0 },
            tight,
            held: worker.held,
            foreign: worker.foreign,
            load: worker.load,
            silence: self.now.since(worker.heard),
            barred: worker.barred_until().map(|until| until.since(self.now)),
            done: worker.done,
            failed: worker.failed,
            failed_in_a_row: worker.failures(),
        })
    }

    /// Every worker known, in the order of their numbers.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, WorkerView)> + '_ {
        self.workers.keys().filter_map(|id| Some((*id, self.worker(*id)?)))
    }

    /// A client, if it is known.
    pub fn client(&self, id: ClientId) -> Option<ClientView> {
        let client = self.clients.get(&id)?;
        Some(ClientView {
            user: client.user,
            held: client.held,
            waiting: client.requests.len(),
            greedy: client.greedy,
            suspect: client.is_suspect(),
        })
    }

    /// Every client known, in the order of their numbers.
    pub fn clients(&self) -> impl Iterator<Item = (ClientId, ClientView)> + '_ {
        self.clients.keys().filter_map(|id| Some((*id, self.client(*id)?)))
    }

    /// Workers that run jobs and are worth waiting for.
    pub fn able(&self) -> usize {
        self.pools.able(&crate::pool::PoolKey { need: crate::Need::Any, machine: None })
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Leases that are out.
    pub fn leases(&self) -> usize {
        self.leases.len()
    }

    /// The worker of a client's lease that is out.
    pub fn lease_worker(&self, client: ClientId, lease: crate::LeaseId) -> Option<WorkerId> {
        self.leases.get(lease).filter(|lease| lease.client == client).map(|lease| lease.worker)
    }

    /// Whether a lease is out, to whomever.
    pub fn has_lease(&self, lease: crate::LeaseId) -> bool {
        self.leases.get(lease).is_some()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}
