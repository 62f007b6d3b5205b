//! Numbers that no machine has, names that nobody knows, times that run backwards: bounded, counted, without a panic.

use crate::farm::{Farm, GIB, ask, idle, spec};
use kiln_sched::*;

#[test]
fn absurd_reports_make_unwell_and_harm_nobody_else() {
    let fine = idle().load;
    let absurd = [
        Report { load: Load { memory_available: 65 * GIB, ..fine }, ..idle() },
        Report { load: Load { foreign_milli: u32::MAX, ..fine }, ..idle() },
        Report { load: Load { memory_pressure_centi: 10_001, ..fine }, ..idle() },
        Report { load: Load { running: u32::MAX, queued: u32::MAX, ..fine }, ..idle() },
        Report { toolchains: Some((0..100_000).map(ToolchainId).collect()), ..idle() },
    ];
    for report in absurd {
        let mut farm = Farm::new(&[4, 4]);
        farm.beat(0, report.clone());
        assert_eq!(farm.state(0), State::Unwell(Cause::Absurd), "{:?}", report.load);
        assert_eq!(farm.workers_of(&ask(1, 1), 5), [1, 1, 1, 1]);
        assert_eq!(farm.core.counters().absurd, 1);
        farm.beat(0, idle());
        assert_eq!(farm.state(0), State::Well);
    }
}

#[test]
fn a_worker_of_four_billion_slots_is_cut() {
    let mut farm = Farm::new(&[]);
    farm.join(0, Spec { slots: u32::MAX, cores: u32::MAX, ..spec(1) });
    let view = farm.core.worker(WorkerId(0)).unwrap();
    assert_eq!(view.slots, limits::SLOTS_MAX);
    farm.beat(0, Report { foreign: u32::MAX, jobs: (0..1_000_000).map(LeaseId).collect(), ..idle() });
    assert!(farm.core.worker(WorkerId(0)).unwrap().foreign <= 2 * limits::SLOTS_MAX);
    assert!(farm.grants(ask(1, 1)).is_empty());
}

#[test]
fn events_of_strangers_are_counted_and_do_nothing() {
    let mut farm = Farm::new(&[]);
    for event in [
        Event::Heartbeat { worker: WorkerId(5), report: idle() },
        Event::WorkerGoodbye { worker: WorkerId(5) },
        Event::WorkerLost { worker: WorkerId(5) },
        Event::ClientGone { client: ClientId(5) },
    ] {
        assert!(farm.step(event).is_empty());
    }
    assert_eq!(farm.core.counters().strays, 4);
    farm.step(Event::Release { client: ClientId(5), lease: LeaseId(1), outcome: Outcome::Ok });
    assert_eq!(farm.core.counters().unknown_leases, 1);
    assert!(farm.core.client(ClientId(5)).is_none(), "a stranger's return does not make it a client");
}

#[test]
fn one_request_number_twice_is_one_request() {
    let mut farm = Farm::new(&[1]);
    farm.grants(ask(1, 1));
    let acquire = Acquire { request: RequestId(77), wait: Micros::from_secs(5), ..ask(2, 1) };
    farm.step(Event::Acquire(acquire.clone()));
    farm.step(Event::Acquire(acquire));
    assert_eq!(farm.core.waiting(), 1);
    assert_eq!(farm.core.counters().strays, 1);
}

#[test]
fn time_does_not_run_backwards() {
    let mut farm = Farm::new(&[2]);
    farm.grants(ask(1, 1));
    let now = farm.now;
    farm.now = Micros(0);
    farm.step(Event::Tick);
    farm.beat(0, idle());
    assert_eq!(farm.core.counters().backwards, 2);
    farm.now = now;
    farm.tick();
    assert_eq!(farm.state(0), State::Well);
    farm.now = Micros(u64::MAX);
    farm.step(Event::Tick);
    assert_eq!(farm.state(0), State::Well, "a leap is a standstill");
}

#[test]
fn workers_and_clients_are_bounded() {
    let mut farm = Farm::new(&[]);
    for worker in 0..limits::WORKERS_MAX as u32 + 10 {
        farm.step(Event::WorkerRegistered { worker: WorkerId(worker), spec: spec(1), restarted: true });
    }
    assert_eq!(farm.core.workers().count(), limits::WORKERS_MAX);
    let mut farm = Farm::new(&[1]);
    for client in 0..limits::CLIENTS_MAX as u32 + 10 {
        farm.request(ask(client, 1));
    }
    assert_eq!(farm.core.clients().count(), limits::CLIENTS_MAX);
    assert_eq!(farm.core.counters().refused_overflow, 10);
    farm.now = farm.now.plus(Micros::from_secs(70));
    // The one lease is lost with its worker after three seconds, and remembered for three.
    farm.pass(Micros::from_secs(8), &[]);
    assert_eq!(farm.core.clients().count(), 0, "who neither holds nor waits is forgotten");
}
