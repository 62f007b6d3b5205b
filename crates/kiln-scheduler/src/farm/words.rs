//! The state of workers and clients in words, for `kiln status`. Changes nothing.

use crate::farm::members::Member;
use kiln_sched::{Cause, ClientView, State, Tight, WorkerView};

/// A state's name: one word, for programs as well.
pub(crate) fn state_name(state: State) -> &'static str {
    match state {
        State::Fresh => "fresh",
        State::Well => "well",
        State::Suspect => "suspect",
        State::Silent => "silent",
        State::Unwell(_) => "unwell",
        State::Draining => "draining",
        State::Quarantined => "quarantined",
        State::Trial => "trial",
    }
}

/// Every name of [`state_name`], for counting.
pub(crate) const STATE_NAMES: [&str; 8] = ["fresh", "well", "suspect", "silent", "unwell", "draining", "quarantined", "trial"];

fn seconds(micros: kiln_sched::Micros) -> String {
    format!("{:.1} s", micros.0 as f64 / 1e6)
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64)
}

/// What is wrong with a worker; empty when nothing is.
pub(crate) fn worker_trouble(view: &WorkerView, member: &Member) -> String {
    match view.state {
        State::Fresh => "registered, no heartbeat yet".to_owned(),
        State::Suspect => format!("no heartbeat for {}", seconds(view.silence)),
        State::Silent => format!("silent for {}: gets no work, its jobs were given up", seconds(view.silence)),
        State::Unwell(Cause::Said) if member.unwell.is_empty() => "takes no work, and does not say why".to_owned(),
        State::Unwell(Cause::Said) => format!("takes no work: {}", member.unwell),
        State::Unwell(Cause::Absurd) => format!("reports what cannot be: {}", absurdity(view)),
        State::Draining => format!("leaving; {} jobs still run", view.held.max(view.foreign)),
        State::Quarantined => {
            let again = view.barred.map(seconds).unwrap_or_default();
            format!("failed {} jobs{}: gets no work, is tried again in {again}", view.failed, last(member))
        }
        State::Trial => format!("failed {} jobs{}: gets one at a time until one succeeds", view.failed, last(member)),
        State::Well if view.failed_in_a_row > 0 => format!("failed its last job{}", last(member)),
        State::Well => match tightness(view) {
            nothing if nothing.is_empty() => member.note.clone(),
            tight => tight,
        },
    }
}

fn last(member: &Member) -> String {
    match member.failure.as_str() {
        "" => String::new(),
        failure => format!(" ({failure})"),
    }
}

fn tightness(view: &WorkerView) -> String {
    let load = &view.load;
    match view.tight {
        Tight::No => String::new(),
        Tight::Cores if load.foreign_milli < 500 => String::new(),
        Tight::Cores => {
            format!("other work takes {:.1} of its cores: room for {} jobs", f64::from(load.foreign_milli) / 1000.0, view.capacity)
        }
        Tight::Memory => format!("{} of memory left: room for {} jobs", gib(load.memory_available), view.capacity),
        Tight::Pressure => {
            let share = f64::from(load.memory_pressure_centi) / 100.0;
            format!("short of memory ({share:.0} % of the time something waits for it): gets no more jobs")
        }
        Tight::Full => "turned a job away as full: gets no more until it reports".to_owned(),
    }
}

fn absurdity(view: &WorkerView) -> String {
    let load = &view.load;
    if load.memory_total > 0 && load.memory_available > load.memory_total {
        return format!("{} of memory free of {}", gib(load.memory_available), gib(load.memory_total));
    }
    format!("{} jobs, {} waiting, {} thousandths of a core taken by others", load.running, load.queued, load.foreign_milli)
}

/// What is odd about a client; empty when nothing is.
pub(crate) fn client_trouble(view: &ClientView) -> String {
    let mut words = Vec::new();
    if view.suspect {
        words.push("fails on every worker: its word against them does not count".to_owned());
    }
    if view.greedy > 0 {
        words.push(format!("asked {} times for more than it may", view.greedy));
    }
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_name_that_is_counted() {
        let states = [
            State::Fresh,
            State::Well,
            State::Suspect,
            State::Silent,
            State::Unwell(Cause::Said),
            State::Draining,
            State::Quarantined,
            State::Trial,
        ];
        assert_eq!(states.map(state_name), STATE_NAMES);
    }
}
