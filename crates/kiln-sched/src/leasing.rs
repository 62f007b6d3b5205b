//! What becomes of leases: renewed, returned, left behind. Knows nothing of how they were given.

use crate::event::{Command, Outcome, Revoked};
use crate::id::{ClientId, LeaseId};
use crate::lease::Lease;
use crate::limits::{IDLE_LEASE_MAX, LEASE};
use crate::scheduler::Scheduler;

impl Scheduler {
    pub(crate) fn renew(&mut self, id: ClientId, leases: Vec<LeaseId>, out: &mut Vec<Command>) {
        let (mut unknown, mut lost) = (Vec::new(), Vec::new());
        for lease in leases {
            if self.clients.get_mut(&id).is_some_and(|client| client.lost.remove(&lease).is_some()) {
                lost.push(lease);
                continue;
            }
            match self.leases.get(lease) {
                Some(entry) if entry.client == id => {
                    let idle = entry.slot && !entry.reported && self.now.since(entry.used) >= IDLE_LEASE_MAX;
                    if idle {
                        self.counters.idle += 1;
                        self.revoke(lease, Revoked::Idle, out);
                        unknown.push(lease);
                    } else {
                        self.leases.prolong(lease, self.now.plus(LEASE));
                    }
                }
                _ => {
                    self.counters.unknown_leases += 1;
                    unknown.push(lease);
                }
            }
        }
        if let Some(client) = self.clients.get_mut(&id) {
            client.seen = self.now;
        }
        out.push(Command::Renewed { client: id, unknown, lost });
    }

    pub(crate) fn release(&mut self, id: ClientId, lease: LeaseId, outcome: Outcome, out: &mut Vec<Command>) {
        let Some(client) = self.clients.get_mut(&id) else {
            self.counters.unknown_leases += 1;
            return;
        };
        client.seen = self.now;
        if client.lost.remove(&lease).is_some() {
            return;
        }
        if !client.leases.contains(&lease) {
            self.counters.unknown_leases += 1;
            return;
        }
        self.count_outcome(outcome);
        let stopped = matches!(outcome, Outcome::Cancelled | Outcome::WorkerFailed);
        let Some(ended) = self.end_lease(lease, stopped) else { return };
        self.learn(id, &ended, outcome);
        self.update(ended.worker, out);
    }

    /// What an outcome says about worker and client.
    fn learn(&mut self, id: ClientId, ended: &Lease, outcome: Outcome) {
        let (Some(worker), Some(client)) = (self.workers.get_mut(&ended.worker), self.clients.get_mut(&id)) else { return };
        match outcome {
            Outcome::Ok | Outcome::JobFailed => {
                client.succeeded();
                worker.succeeded(self.now, ended.granted);
            }
            Outcome::WorkerFailed => {
                if client.blames(ended.worker) {
                    self.counters.quarantined += u64::from(worker.failed(self.now, ended.granted));
                } else {
                    self.counters.discredited += 1;
                }
            }
            Outcome::Rejected => worker.full = true,
            Outcome::Unused | Outcome::Cancelled => {}
        }
    }

    /// Ends a lease and takes its slot from worker, client and user. When its run may go on (`goes_on`), a joined lease takes
    /// the slot over, else the run counts as one without a lease until the next report.
    pub(crate) fn end_lease(&mut self, id: LeaseId, goes_on: bool) -> Option<Lease> {
        let (lease, heir) = self.leases.remove(id, goes_on)?;
        if let Some(client) = self.clients.get_mut(&lease.client) {
            client.leases.remove(&id);
            client.held -= u32::from(lease.slot);
        }
        if let Some(worker) = self.workers.get_mut(&lease.worker) {
            worker.leases.remove(&id);
            worker.held -= u32::from(lease.slot);
            if !goes_on {
                worker.note_ended(id);
            } else if lease.reported && heir.is_none() {
                worker.foreign = worker.foreign.saturating_add(1);
            }
            if lease.slot && !lease.reported && heir.is_none() {
                worker.memory_left = worker.memory_left.saturating_add(lease.memory);
            }
        }
        if lease.slot {
            self.queue.give_back(lease.user);
        }
        if let Some(heir) = heir {
            self.hold_slot(heir);
        }
        Some(lease)
    }

    fn revoke(&mut self, lease: LeaseId, why: Revoked, out: &mut Vec<Command>) {
        if let Some(ended) = self.end_lease(lease, true) {
            out.push(Command::Revoke { lease, client: ended.client, worker: ended.worker, why });
            self.update(ended.worker, out);
        }
    }

    /// Ends every lease that nobody renewed.
    pub(crate) fn end_overdue(&mut self, out: &mut Vec<Command>) {
        while let Some(lease) = self.leases.overdue(self.now) {
            self.counters.expired += 1;
            self.revoke(lease, Revoked::Expired, out);
        }
    }

    pub(crate) fn client_gone(&mut self, id: ClientId, out: &mut Vec<Command>) {
        let Some(client) = self.clients.get(&id) else {
            self.counters.strays += 1;
            return;
        };
        let (requests, leases) = (client.requests.clone(), client.leases.clone());
        for request in requests {
            self.cancel(request);
        }
        for lease in leases {
            self.counters.cancelled += 1;
            if let Some(ended) = self.end_lease(lease, true) {
                self.update(ended.worker, out);
            }
        }
        self.clients.remove(&id);
    }
}
