//! One worker: what is known of it, its state, and how much more it can take. Knows no other worker.

use crate::event::{Load, Report, Spec};
use crate::id::{LeaseId, Micros};
use crate::limits::{
    ENDED_MAX, FAILURES_IN_A_ROW, FORGIVE_AFTER, JOB_MEMORY, JOB_MEMORY_MIN, MEMORY_RESERVE, PRESSURE_MAX, QUARANTINE,
    QUARANTINE_MAX, SILENT_AFTER, SLOTS_MAX, SUSPECT_AFTER, TOOLCHAINS_MAX,
};
use crate::pool::{ReadyKey, Standing};
use crate::status::Tight;
use std::collections::BTreeSet;

/// Where a worker stands. What is known of it decides ([`Worker::judge`]); no event sets a state by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Registered; what runs there is not known before its first heartbeat, so it gets no work.
    Fresh,
    /// Gets work.
    Well,
    /// A heartbeat is late: gets work when no other has room.
    Suspect,
    /// No heartbeat for [`SILENT_AFTER`](crate::limits::SILENT_AFTER): gets no work, its leases are lost.
    Silent,
    /// Gets no work until its reports are better.
    Unwell(Cause),
    /// Said goodbye: gets no work, what runs goes on.
    Draining,
    /// Failed its jobs, as clients tell: gets no work for a while.
    Quarantined,
    /// Was quarantined: gets one job at a time until one succeeds, and none that failed elsewhere while others have room.
    Trial,
}

/// Why a worker is unwell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It says so.
    Said,
    /// Its report holds numbers that no machine has.
    Absurd,
}

impl State {
    /// Whether it may get work now, if it has room.
    pub fn takes_work(self) -> bool {
        matches!(self, State::Well | State::Suspect | State::Trial)
    }

    /// Whether waiting for it makes sense.
    pub fn able(self) -> bool {
        self == State::Fresh || self.takes_work()
    }

    /// Whether it is there, however it does.
    pub fn present(self) -> bool {
        !matches!(self, State::Silent | State::Draining)
    }
}

/// Bars a worker that failed.
#[derive(Debug, Clone, Copy)]
struct Penalty {
    until: Micros,
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) spec: Spec,
    pub(crate) state: State,
    pub(crate) heard: Micros,
    pub(crate) load: Load,
    /// Every lease on it, those that join another's run included.
    pub(crate) leases: BTreeSet<LeaseId>,
    /// Leases that hold a slot.
    pub(crate) held: u32,
    /// Jobs of the last report that run under no lease known here.
    pub(crate) foreign: u32,
    /// Leases ended since the last report.
    ended: Vec<LeaseId>,
    /// Memory for jobs not begun yet.
    pub(crate) memory_left: u64,
    /// It rejected a job since its last report.
    pub(crate) full: bool,
    /// Speed against the farm's usual, in thousandths. Learned speeds will set it.
    pub(crate) speed_milli: u32,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// When it last got work, in grants of the whole farm: the one waiting longest comes first among equals.
    pub(crate) stamp: u64,
    pub(crate) standing: Standing,
    reported: bool,
    cut: bool,
    unwell: bool,
    absurd: bool,
    pub(crate) leaving: bool,
    failures: u32,
    penalty: Option<Penalty>,
    level: u32,
    level_since: Micros,
}

impl Worker {
    pub(crate) fn new(now: Micros, spec: Spec) -> Worker {
        let standing = Standing::of(&spec);
        Worker {
            spec,
            state: State::Fresh,
            heard: now,
            load: Load::default(),
            leases: BTreeSet::new(),
            held: 0,
            foreign: 0,
            ended: Vec::new(),
            memory_left: 0,
            full: false,
            speed_milli: 1000,
            done: 0,
            failed: 0,
            stamp: 0,
            standing,
            reported: false,
            cut: false,
            unwell: false,
            absurd: false,
            leaving: false,
            failures: 0,
            penalty: None,
            level: 0,
            level_since: now,
        }
    }

    /// The same name registers again. What clients told about it stays: a worker that crashes and comes back is on trial.
    pub(crate) fn renew(&mut self, now: Micros, spec: Spec) {
        self.standing = Standing::of(&spec);
        self.spec = spec;
        self.heard = now;
        self.load = Load::default();
        self.foreign = 0;
        self.ended.clear();
        self.memory_left = 0;
        self.full = false;
        (self.reported, self.cut, self.unwell, self.absurd, self.leaving) = (false, false, false, false, false);
        self.failures = 0;
        self.penalty = self.penalty.map(|_| Penalty { until: now });
    }

    /// The state that follows from what is known.
    pub(crate) fn judge(&self, now: Micros) -> State {
        let silence = now.since(self.heard);
        if self.leaving {
            State::Draining
        } else if self.cut || silence >= SILENT_AFTER {
            State::Silent
        } else if !self.reported {
            State::Fresh
        } else if self.absurd {
            State::Unwell(Cause::Absurd)
        } else if self.unwell {
            State::Unwell(Cause::Said)
        } else if let Some(penalty) = self.penalty {
            if now < penalty.until { State::Quarantined } else { State::Trial }
        } else if silence >= SUSPECT_AFTER {
            State::Suspect
        } else {
            State::Well
        }
    }

    /// Takes in a report. `unreported` is the expected memory of jobs that the report's memory does not show yet, `known` how
    /// many of its jobs are under leases on this worker.
    pub(crate) fn hear(&mut self, now: Micros, report: &Report, known: u32, unreported: u64) {
        self.heard = now;
        self.cut = false;
        self.reported = true;
        self.full = false;
        self.unwell = report.unwell;
        self.absurd = absurd(report);
        let load = report.load;
        let told = report.jobs.iter().filter(|lease| !self.leases.contains(lease) && !self.ended.contains(lease)).count();
        let told = u32::try_from(told).unwrap_or(u32::MAX).saturating_add(report.foreign);
        let ended = report.jobs.iter().filter(|lease| self.ended.contains(lease)).count();
        let ended = u32::try_from(ended).unwrap_or(u32::MAX);
        // Jobs without any lease show only in the sum.
        let summed = load.running.saturating_add(load.queued).saturating_sub(known).saturating_sub(ended);
        self.foreign = told.max(summed).min(2 * SLOTS_MAX);
        self.ended.clear();
        self.load = load;
        let available = if load.memory_total == 0 { u64::MAX } else { load.memory_available.min(load.memory_total) };
        self.memory_left = available.saturating_sub(MEMORY_RESERVE).saturating_sub(unreported);
    }

    /// A lease ended: a report that was made before does not count its job anew.
    pub(crate) fn note_ended(&mut self, lease: LeaseId) {
        if self.ended.len() < ENDED_MAX {
            self.ended.push(lease);
        }
    }

    /// Its connection broke.
    pub(crate) fn cut(&mut self) {
        self.cut = true;
    }

    /// Slots it is configured to have, within bounds.
    pub(crate) fn slots(&self) -> u32 {
        if self.spec.runs_jobs { self.spec.slots.min(SLOTS_MAX) } else { 0 }
    }

    /// Jobs there, as far as is known.
    pub(crate) fn used(&self) -> u32 {
        self.held.saturating_add(self.foreign)
    }

    fn by_cores(&self) -> u32 {
        let cores = u64::from(self.spec.cores.clamp(1, SLOTS_MAX));
        let free = (cores * 1000).saturating_sub(u64::from(self.load.foreign_milli));
        // Half a core of others' work costs no slot.
        ((free + 500) / 1000) as u32
    }

    /// Jobs at once that it can do now, and what bounds them below its slots.
    pub(crate) fn capacity(&self) -> (u32, Tight) {
        let (slots, cores) = (self.slots(), self.by_cores());
        // A machine with nothing to do takes one job of ordinary size, however small it is.
        let one = u64::from(self.used() == 0 && self.memory_left >= JOB_MEMORY_MIN);
        let memory = u64::from(self.used()).saturating_add((self.memory_left / JOB_MEMORY).max(one));
        let memory = u32::try_from(memory).unwrap_or(u32::MAX);
        let capacity = slots.min(cores).min(memory);
        let pressed = self.load.memory_pressure_centi >= PRESSURE_MAX;
        let tight = match capacity {
            _ if self.full => Tight::Full,
            _ if pressed => Tight::Pressure,
            _ if capacity == slots => Tight::No,
            _ if memory < cores => Tight::Memory,
            _ => Tight::Cores,
        };
        match tight {
            Tight::Full | Tight::Pressure => (capacity.min(self.used()), tight),
            _ => (capacity, tight),
        }
    }

    /// How many more jobs of ordinary size it can take.
    fn room(&self) -> u32 {
        if self.full || self.load.memory_pressure_centi >= PRESSURE_MAX || self.memory_left < JOB_MEMORY_MIN {
            return 0;
        }
        let room = self.slots().min(self.by_cores()).saturating_sub(self.used());
        match self.state {
            State::Well | State::Suspect => room,
            State::Trial => room.min(1_u32.saturating_sub(self.held)),
            _ => 0,
        }
    }

    /// Whether a job that is expected to need `memory` fits; asked of one that has room.
    pub(crate) fn fits(&self, memory: u64) -> bool {
        self.memory_left >= memory || (self.used() == 0 && memory <= JOB_MEMORY)
    }

    /// Its place in the order of preference; `None` when it can take nothing.
    pub(crate) fn ready_key(&self, id: crate::WorkerId) -> Option<ReadyKey> {
        if self.room() == 0 {
            return None;
        }
        let capacity = u64::from(self.slots().min(self.by_cores()).max(1));
        let used = u64::from(self.used());
        let tier = match self.state {
            State::Well if self.spec.dedicated && used * 2 < capacity => 0,
            // Tried soon, also in a farm with little to do: the ban before it bounds what that costs.
            State::Trial => 0,
            State::Well => 1,
            _ => 2,
        };
        // The load after one more job, per speed; 2^20 keeps six digits.
        let load = ((used + 1) << 20) * 1000 / (capacity * u64::from(self.speed_milli.max(1)));
        Some(ReadyKey { tier, load, stamp: self.stamp, worker: id })
    }

    /// A client tells that a job given at `granted` ran here, whatever its end.
    pub(crate) fn succeeded(&mut self, now: Micros, granted: Micros) {
        self.done += 1;
        self.failures = 0;
        if self.penalty.is_some_and(|penalty| granted >= penalty.until) {
            self.penalty = None;
            self.level_since = now;
        }
    }

    /// A client tells that this worker failed a job given at `granted`. Whether that bars it.
    pub(crate) fn failed(&mut self, now: Micros, granted: Micros) -> bool {
        self.failed += 1;
        match self.penalty {
            // What was given before says nothing new.
            Some(penalty) if granted < penalty.until => return false,
            Some(_) => {}
            None => {
                self.failures += 1;
                if self.failures < FAILURES_IN_A_ROW {
                    return false;
                }
                if now.since(self.level_since) >= FORGIVE_AFTER {
                    self.level = 0;
                }
            }
        }
        let bar = Micros(QUARANTINE.0 << self.level.min(16)).min(QUARANTINE_MAX);
        self.penalty = Some(Penalty { until: now.plus(bar) });
        self.level = self.level.saturating_add(1);
        self.level_since = now;
        self.failures = 0;
        true
    }

    /// Failures since it last did well or was barred.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// When it is tried again, if it is barred.
    pub(crate) fn barred_until(&self) -> Option<Micros> {
        self.penalty.map(|penalty| penalty.until)
    }
}

/// Whether a report holds numbers that no machine has.
fn absurd(report: &Report) -> bool {
    let load = &report.load;
    let cores_max = u64::from(SLOTS_MAX) * 1000;
    (load.memory_total > 0 && load.memory_available > load.memory_total)
        || u64::from(load.foreign_milli) > cores_max
        || load.memory_pressure_centi > 10_000
        || load.running > 2 * SLOTS_MAX
        || load.queued > 2 * SLOTS_MAX
        || report.toolchains.as_ref().is_some_and(|toolchains| toolchains.len() > TOOLCHAINS_MAX)
}
