//! Leases: who has which, until when, and which runs can be joined. Knows no worker's load and no queue.

use crate::id::{ActionKey, ClientId, LeaseId, Micros, UserId, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// A right to one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    pub(crate) client: ClientId,
    pub(crate) user: UserId,
    pub(crate) worker: WorkerId,
    /// The run it may be joined by, or joins.
    pub(crate) action: Option<ActionKey>,
    /// Takes a slot; else it joins another's run.
    pub(crate) slot: bool,
    /// Memory set aside for it.
    pub(crate) memory: u64,
    pub(crate) granted: Micros,
    /// When a report last showed its job, or it was given.
    pub(crate) used: Micros,
    /// The last report showed its job.
    pub(crate) reported: bool,
    expires: Micros,
}

/// A run that can be joined.
#[derive(Debug)]
struct Run {
    holder: LeaseId,
    joiners: BTreeSet<LeaseId>,
}

#[derive(Debug, Default)]
pub(crate) struct Leases {
    leases: BTreeMap<LeaseId, Lease>,
    expiry: BTreeSet<(Micros, LeaseId)>,
    runs: BTreeMap<ActionKey, Run>,
    last: u64,
}

impl Lease {
    pub(crate) fn new(now: Micros, client: ClientId, user: UserId, worker: WorkerId) -> Lease {
        Lease {
            client,
            user,
            worker,
            action: None,
            slot: true,
            memory: 0,
            granted: now,
            used: now,
            reported: false,
            expires: Micros::default(),
        }
    }
}

impl Leases {
    pub(crate) fn len(&self) -> usize {
        self.leases.len()
    }

    pub(crate) fn get(&self, lease: LeaseId) -> Option<&Lease> {
        self.leases.get(&lease)
    }

    pub(crate) fn get_mut(&mut self, lease: LeaseId) -> Option<&mut Lease> {
        self.leases.get_mut(&lease)
    }

    /// Enters a new lease. One that takes a slot and names an action becomes the run to join, if there is none yet; one
    /// without a slot joins it.
    pub(crate) fn add(&mut self, mut lease: Lease, expires: Micros) -> LeaseId {
        self.last += 1;
        let id = LeaseId(self.last);
        lease.expires = expires;
        if let Some(action) = lease.action {
            let run = self.runs.entry(action).or_insert(Run { holder: id, joiners: BTreeSet::new() });
            if run.holder != id {
                if lease.slot {
                    lease.action = None;
                } else {
                    run.joiners.insert(id);
                }
            }
        }
        self.expiry.insert((expires, id));
        self.leases.insert(id, lease);
        id
    }

    /// The lease whose run an equal action can join.
    pub(crate) fn run_of(&self, action: &ActionKey) -> Option<LeaseId> {
        self.runs.get(action).map(|run| run.holder)
    }

    /// Ends a lease. When its run may go on for others (`goes_on`), the first of these takes over the slot and is returned.
    pub(crate) fn remove(&mut self, id: LeaseId, goes_on: bool) -> Option<(Lease, Option<LeaseId>)> {
        let lease = self.leases.remove(&id)?;
        self.expiry.remove(&(lease.expires, id));
        let Some(action) = lease.action else { return Some((lease, None)) };
        let Some(run) = self.runs.get_mut(&action) else { return Some((lease, None)) };
        if run.holder != id {
            run.joiners.remove(&id);
            return Some((lease, None));
        }
        let heir = if goes_on { run.joiners.pop_first() } else { None };
        match heir {
            Some(heir) => {
                run.holder = heir;
                if let Some(heir) = self.leases.get_mut(&heir) {
                    heir.slot = true;
                    heir.memory = lease.memory;
                    heir.reported = lease.reported;
                }
            }
            None => self.end_run(&action),
        }
        Some((lease, heir))
    }

    fn end_run(&mut self, action: &ActionKey) {
        let Some(run) = self.runs.remove(action) else { return };
        for joiner in run.joiners {
            if let Some(lease) = self.leases.get_mut(&joiner) {
                lease.action = None;
            }
        }
    }

    /// Puts a lease's end off.
    pub(crate) fn prolong(&mut self, id: LeaseId, expires: Micros) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        self.expiry.remove(&(lease.expires, id));
        lease.expires = expires;
        self.expiry.insert((expires, id));
    }

    /// Puts every lease's end off: this process stood still.
    pub(crate) fn prolong_all(&mut self, expires: Micros) {
        self.expiry = self.leases.keys().map(|id| (expires, *id)).collect();
        for lease in self.leases.values_mut() {
            lease.expires = expires;
        }
    }

    /// A lease that ended.
    pub(crate) fn overdue(&self, now: Micros) -> Option<LeaseId> {
        self.expiry.first().filter(|(expires, _)| *expires <= now).map(|(_, id)| *id)
    }
}
