//! What the passing of time does: silence, standstills of this process, ends of waits and leases. Sends nothing.

use crate::event::Command;
use crate::id::WorkerId;
use crate::limits::{CLIENT_FORGET_AFTER, FORGET_AFTER, LEASE, SETTLE, SILENT_AFTER, TICK, TICK_LATE};
use crate::scheduler::Scheduler;
use crate::worker::State;

impl Scheduler {
    pub(crate) fn tick(&mut self, out: &mut Vec<Command>) {
        let last = self.ticked.replace(self.now);
        if last.is_some_and(|last| self.now.since(last) >= TICK.plus(TICK_LATE)) {
            self.stood_still();
        }
        let ids: Vec<WorkerId> = self.workers.keys().copied().collect();
        for id in ids {
            self.look_at(id, out);
        }
        if !self.settled && self.started.is_some_and(|started| self.now.since(started) >= SETTLE) {
            self.settled = true;
            let pools = self.queue.pools();
            self.refuse_hopeless(&pools, out);
        }
        self.end_overdue(out);
        self.refuse_overdue(out);
        self.forget_clients();
    }

    /// Nobody could be heard meanwhile: give everybody the time to speak again.
    fn stood_still(&mut self) {
        self.counters.standstills += 1;
        for worker in self.workers.values_mut().filter(|worker| worker.state != State::Silent) {
            worker.heard = self.now;
        }
        self.leases.prolong_all(self.now.plus(LEASE));
    }

    fn look_at(&mut self, id: WorkerId, out: &mut Vec<Command>) {
        let Some(worker) = self.workers.get(&id) else { return };
        let silence = self.now.since(worker.heard);
        let gone = (worker.leaving && silence >= SILENT_AFTER) || silence >= FORGET_AFTER;
        if gone {
            self.forget_worker(id, out);
        } else if worker.judge(self.now) != worker.state {
            self.update(id, out);
        }
    }

    fn forget_clients(&mut self) {
        let now = self.now;
        self.clients.retain(|_, client| {
            client.lost.retain(|_, until| *until > now);
            !client.is_idle() || now.since(client.seen) < CLIENT_FORGET_AFTER
        });
    }
}
