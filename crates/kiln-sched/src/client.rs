//! One client: what it holds and waits for, and whether its word counts. Knows no worker's state.

use crate::id::{LeaseId, Micros, RequestId, UserId, WorkerId};
use crate::limits::BLAMED_MAX;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) user: UserId,
    pub(crate) leases: BTreeSet<LeaseId>,
    /// Slots among them.
    pub(crate) held: u32,
    pub(crate) requests: BTreeSet<RequestId>,
    /// Leases on workers that are gone, of which it was not told yet, with the time until which that is kept.
    pub(crate) lost: BTreeMap<LeaseId, Micros>,
    pub(crate) seen: Micros,
    /// It asked for more than it may.
    pub(crate) greedy: u64,
    /// Different workers on which it failed since it last succeeded; one more than [`BLAMED_MAX`] at most.
    failed_on: BTreeSet<WorkerId>,
}

impl Client {
    pub(crate) fn new(now: Micros, user: UserId) -> Client {
        Client {
            user,
            leases: BTreeSet::new(),
            held: 0,
            requests: BTreeSet::new(),
            lost: BTreeMap::new(),
            seen: now,
            greedy: 0,
            failed_on: BTreeSet::new(),
        }
    }

    /// It tells of a job that ran.
    pub(crate) fn succeeded(&mut self) {
        self.failed_on.clear();
    }

    /// It tells that a worker failed it. Whether that counts.
    pub(crate) fn blames(&mut self, worker: WorkerId) -> bool {
        if self.failed_on.len() <= BLAMED_MAX {
            self.failed_on.insert(worker);
        }
        !self.is_suspect()
    }

    /// Whether its word against workers counts for nothing now.
    pub(crate) fn is_suspect(&self) -> bool {
        self.failed_on.len() > BLAMED_MAX
    }

    /// Whether nothing ties it to this core.
    pub(crate) fn is_idle(&self) -> bool {
        self.leases.is_empty() && self.requests.is_empty() && self.lost.is_empty()
    }
}
