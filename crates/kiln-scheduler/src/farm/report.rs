//! The farm as people and programs see it: the Status answer and the numbers of a moment. Changes nothing.

use crate::farm::actor::Actor;
use crate::farm::stats::Stats;
use crate::farm::words::{STATE_NAMES, client_trouble, state_name, worker_trouble};
use kiln_proto::v1;
use kiln_sched::{ClientView, WorkerId, WorkerView};
use std::collections::BTreeMap;

impl Actor {
    pub(crate) fn status(&self, brief: bool) -> v1::StatusResponse {
        let counters = self.core.counters();
        let mut response = v1::StatusResponse {
            waiting: u32::try_from(self.core.waiting()).unwrap_or(u32::MAX),
            grants: counters.grants,
            rejected: counters.overcommit,
            version: self.version.clone(),
            counters: counters.named().map(|(name, value)| (name.to_owned(), value)).collect(),
            up_ms: u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX),
            nodes: Some(self.members.nodes()),
            able: u32::try_from(self.core.able()).unwrap_or(u32::MAX),
            turned_away: self.turned_away.recent(self.origin.elapsed()),
            ..Default::default()
        };
        if !brief {
            response.workers = self.core.workers().filter_map(|(id, view)| self.worker_status(id, &view)).collect();
            response.workers.sort_by(|a, b| a.name.cmp(&b.name));
            let clients = self.clients.ids().filter_map(|id| {
                let view = self.core.client(kiln_sched::ClientId(id))?;
                let (user, client) = self.clients.name(id)?;
                Some(client_status(user, client, &view))
            });
            response.clients = clients.collect();
        }
        response
    }

    fn worker_status(&self, id: WorkerId, view: &WorkerView) -> Option<v1::WorkerStatus> {
        let member = self.members.get(id)?;
        let about = &member.about;
        Some(v1::WorkerStatus {
            name: about.name.clone(),
            address: about.address.clone(),
            state: state_name(view.state).to_owned(),
            slots: view.slots,
            capacity: view.capacity,
            leased: view.held,
            load: Some(v1::Load {
                foreign_load_milli: view.load.foreign_milli,
                memory_available_bytes: view.load.memory_available,
                memory_total_bytes: view.load.memory_total,
                memory_pressure_centi: view.load.memory_pressure_centi,
                running: view.load.running,
                queued: view.load.queued,
                disk_free_bytes: member.disk_free_bytes,
            }),
            silent_ms: view.silence.as_ms(),
            sandbox: about.sandbox.clone(),
            version: about.version.clone(),
            kind: member.kind as i32,
            done: view.done,
            failed: view.failed,
            toolchains: about.toolchains.clone(),
            trouble: worker_trouble(view, member),
            foreign: view.foreign,
            cores: about.cores,
            dedicated: about.dedicated,
            kiln_root: about.kiln_root.clone(),
            machine: about.machine.clone(),
            substitutes: about.substitutes.clone(),
        })
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut states: BTreeMap<&'static str, u64> = STATE_NAMES.iter().map(|name| (*name, 0)).collect();
        let mut stats = Stats {
            counters: self.core.counters().named().collect(),
            waiting: self.core.waiting() as u64,
            clients: self.known_clients.len() as u64,
            ..Stats::default()
        };
        for (_, view) in self.core.workers() {
            *states.entry(state_name(view.state)).or_default() += 1;
            if view.state.takes_work() {
                stats.slots += u64::from(view.slots);
                stats.capacity += u64::from(view.capacity);
            }
            stats.leased += u64::from(view.held);
            stats.foreign += u64::from(view.foreign);
        }
        stats.workers = states.into_iter().collect();
        stats
    }
}

fn client_status(user: &str, client: &str, view: &ClientView) -> v1::ClientStatus {
    v1::ClientStatus {
        client_id: client.to_owned(),
        user: user.to_owned(),
        leased: view.held,
        waiting: u32::try_from(view.waiting).unwrap_or(u32::MAX),
        trouble: client_trouble(view),
    }
}
