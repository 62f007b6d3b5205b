//! What workers tell: registration, heartbeats, goodbyes, and what follows for the list of nodes. Knows no client.

use crate::farm::actor::{Actor, HeldNames};
use crate::farm::error::{CallError, checked, same_protocol, shown};
use crate::farm::members;
use crate::farm::words::{state_name, worker_trouble};
use crate::limits::{NAME_MAX, TEXT_MAX};
use kiln_proto::v1;
use kiln_sched::limits::{JOBS_MAX, TOOLCHAINS_MAX};
use kiln_sched::{Load, MachineId, Report, RootId, Spec, State, ToolchainId, WorkerId};

impl Actor {
    pub(crate) fn register(&mut self, about: v1::RegisterRequest) -> Result<v1::RegisterResponse, CallError> {
        if self.stopping {
            return Err(CallError::Stopping);
        }
        let who = shown(&format!("{} at {}", about.name, about.address), TEXT_MAX);
        let registered = self.register_checked(about);
        if let Err(error) = &registered {
            let version = if matches!(error, CallError::OtherProtocol { .. }) { "it " } else { "" };
            self.turned_away.note(who, format!("{version}{error}"), self.origin.elapsed());
        }
        registered
    }

    fn register_checked(&mut self, about: v1::RegisterRequest) -> Result<v1::RegisterResponse, CallError> {
        same_protocol(about.protocol)?;
        let kind = members::check(&about)?;
        let mut restarted = true;
        if let Some((id, before)) = self.members.find(&about.name) {
            restarted = before.about.boot_id != about.boot_id;
            let there = self.core.worker(id).is_some_and(|view| view.state.present());
            if there && restarted && before.about.address != about.address {
                let (name, address) = (about.name, before.about.address.clone());
                tracing::warn!("a second node named {name} at {}: refused, {address} has the name", about.address);
                return Err(CallError::NameTaken { name, address });
            }
        }
        let names = self.hold_worker_names(&about)?;
        let runs_jobs = kind == v1::NodeKind::Worker;
        let spec = Spec {
            slots: if runs_jobs { about.slots } else { 0 },
            cores: about.cores,
            dedicated: about.dedicated,
            machine: MachineId(names.machine.unwrap_or(0)),
            root: names.root.map(RootId),
            toolchains: names.toolchains.iter().copied().map(ToolchainId).collect(),
            runs_jobs,
        };
        let label = format!("{} at {}", about.name, about.address);
        let worker = match self.members.enter(about, kind) {
            Ok(worker) => worker,
            Err(error) => {
                self.let_go(names);
                return Err(error);
            }
        };
        tracing::info!("registered {} {label}", if runs_jobs { "worker" } else { "cache server" });
        if let Some(before) = self.worker_names.insert(worker, names) {
            self.let_go(before);
        }
        self.apply(kiln_sched::Event::WorkerRegistered { worker, spec, restarted });
        self.members.welcome(worker).ok_or(CallError::TooMany("nodes"))
    }

    fn hold_worker_names(&mut self, about: &v1::RegisterRequest) -> Result<HeldNames, CallError> {
        let mut names = HeldNames { machine: self.machines.hold(&about.machine), ..HeldNames::default() };
        if !about.kiln_root.is_empty() {
            names.root = self.roots.hold(&about.kiln_root);
        }
        names.toolchains = about.toolchains.iter().filter_map(|name| self.toolchains.hold(name)).collect();
        let complete = names.machine.is_some()
            && (names.root.is_some() || about.kiln_root.is_empty())
            && names.toolchains.len() == about.toolchains.len();
        if complete {
            return Ok(names);
        }
        self.let_go(names);
        Err(CallError::TooMany("toolchains"))
    }

    pub(crate) fn heartbeat(&mut self, message: v1::HeartbeatRequest) -> Result<v1::HeartbeatResponse, CallError> {
        let worker = self.members.registered(&message.worker_id).ok_or(CallError::NotRegistered)?;
        let Some(member) = self.members.get_mut(worker) else { return Err(CallError::NotRegistered) };
        // One that was overtaken tells nothing new.
        if message.sequence > member.sequence || message.sequence == 0 {
            member.sequence = message.sequence;
            member.unwell = shown(&message.unwell, TEXT_MAX);
            member.note = shown(&message.note, TEXT_MAX);
            member.disk_free_bytes = message.load.unwrap_or_default().disk_free_bytes;
            let report = self.report(worker, message);
            self.apply(kiln_sched::Event::Heartbeat { worker, report });
        }
        let version = self.members.version();
        let told = self.members.get_mut(worker).map(|member| std::mem::replace(&mut member.nodes_told, version));
        let nodes_changed = told.is_some_and(|told| told != version);
        let nodes = nodes_changed.then(|| self.members.nodes());
        Ok(v1::HeartbeatResponse { nodes, nodes_changed })
    }

    fn report(&mut self, worker: WorkerId, message: v1::HeartbeatRequest) -> Report {
        let load = message.load.unwrap_or_default();
        let toolchains = message.toolchains_changed.then(|| self.new_toolchains(worker, &message.toolchains));
        let (mut jobs, mut foreign) = (Vec::new(), Vec::new());
        for job in message.jobs.into_iter().take(JOBS_MAX) {
            match self.own_lease(&job.lease) {
                Some(lease) => jobs.push(lease),
                None => foreign.push(shown(&job.lease, NAME_MAX)),
            }
        }
        let count = u32::try_from(foreign.len()).unwrap_or(u32::MAX);
        self.replace_foreign(worker, foreign);
        Report {
            load: Load {
                foreign_milli: load.foreign_load_milli,
                memory_available: load.memory_available_bytes,
                memory_total: load.memory_total_bytes,
                memory_pressure_centi: load.memory_pressure_centi,
                running: load.running,
                queued: load.queued,
            },
            jobs,
            foreign: count,
            toolchains,
            unwell: !message.unwell.is_empty(),
        }
    }

    /// Numbers of a worker's toolchains in place of those before. One more than there may be stays in the list: the core
    /// takes such a report for absurd.
    fn new_toolchains(&mut self, worker: WorkerId, named: &[String]) -> Vec<ToolchainId> {
        let fit = named.iter().filter(|name| checked("toolchain", name, NAME_MAX).is_ok()).take(TOOLCHAINS_MAX + 1);
        let now: Vec<u32> = fit.filter_map(|name| self.toolchains.hold(name)).collect();
        let before = self.worker_names.get_mut(&worker).map(|names| std::mem::replace(&mut names.toolchains, now.clone()));
        for id in before.into_iter().flatten() {
            self.toolchains.drop_use(id);
        }
        if let Some(member) = self.members.get_mut(worker) {
            member.about.toolchains = now.iter().filter_map(|id| self.toolchains.name(*id).cloned()).collect();
        }
        now.into_iter().map(ToolchainId).collect()
    }

    fn replace_foreign(&mut self, worker: WorkerId, foreign: Vec<String>) {
        let Some(member) = self.members.get_mut(worker) else { return };
        let before = std::mem::replace(&mut member.foreign, foreign);
        for lease in before {
            if self.foreign.get(&lease) == Some(&worker) {
                self.foreign.remove(&lease);
            }
        }
        for lease in &member.foreign {
            self.foreign.insert(lease.clone(), worker);
        }
    }

    pub(crate) fn goodbye(&mut self, message: &v1::GoodbyeRequest) -> Result<v1::GoodbyeResponse, CallError> {
        let worker = self.members.registered(&message.worker_id).ok_or(CallError::NotRegistered)?;
        self.apply(kiln_sched::Event::WorkerGoodbye { worker });
        Ok(v1::GoodbyeResponse {})
    }

    pub(crate) fn state_changed(&mut self, worker: WorkerId, state: State) {
        self.members.list(worker, state.present());
        let (Some(member), Some(view)) = (self.members.get(worker), self.core.worker(worker)) else { return };
        let (name, trouble) = (&member.about.name, worker_trouble(&view, member));
        match state {
            State::Fresh | State::Well | State::Suspect => tracing::debug!("{name} is {}", state_name(state)),
            State::Draining => tracing::info!("{name} is leaving"),
            State::Silent | State::Unwell(_) | State::Quarantined | State::Trial => tracing::warn!("{name}: {trouble}"),
        }
    }

    pub(crate) fn forget(&mut self, worker: WorkerId) {
        self.replace_foreign(worker, Vec::new());
        if let Some(names) = self.worker_names.remove(&worker) {
            self.let_go(names);
        }
        if let Some(member) = self.members.forget(worker) {
            tracing::info!("{} is forgotten", member.about.name);
        }
    }
}
