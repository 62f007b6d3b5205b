//! Leases: kept, returned, lost, joined; what a report shows beside them.

use crate::farm::{Farm, ask, granted, idle};
use kiln_sched::*;

fn named(client: u32, action: u8, attempt: u32) -> Acquire {
    Acquire { items: vec![Item { action: Some(ActionKey([action; 32])), attempt, ..Item::default() }], ..ask(client, 1) }
}

fn report(jobs: &[Granted], foreign: u32) -> Report {
    Report { jobs: jobs.iter().map(|granted| granted.lease).collect(), foreign, ..idle() }
}

#[test]
fn a_lease_ends_unless_it_is_renewed() {
    let mut farm = Farm::new(&[2]);
    let given = farm.grants(ask(1, 2));
    for _ in 0..10 {
        farm.renew(1, &[given[0].lease]);
        farm.pass(Micros::from_secs(1), &[0]);
    }
    assert!(farm.core.has_lease(given[0].lease));
    assert!(!farm.core.has_lease(given[1].lease));
    let (unknown, lost) = farm.renew(1, &[given[0].lease, given[1].lease]);
    assert_eq!((unknown, lost), (vec![given[1].lease], vec![]));
    assert_eq!(farm.core.counters().expired, 1);
}

#[test]
fn the_end_of_a_lease_is_told_and_frees_its_slot() {
    let mut farm = Farm::new(&[1]);
    let given = farm.grants(ask(1, 1))[0];
    let waiting = farm.request(Acquire { wait: Micros::from_secs(10), ..ask(2, 1) });
    let out = farm.pass(Micros::from_ms(3500), &[0]);
    let revoked = Command::Revoke { lease: given.lease, client: ClientId(1), worker: WorkerId(0), why: Revoked::Expired };
    assert!(out.contains(&revoked), "{out:?}");
    assert_eq!(granted(&out, waiting).len(), 1);
}

#[test]
fn a_job_that_still_runs_takes_room_after_its_lease() {
    let mut farm = Farm::new(&[1]);
    let given = farm.grants(ask(1, 1));
    farm.beat(0, report(&given, 0));
    for _ in 0..20 {
        farm.tick();
        farm.beat(0, report(&given, 0));
    }
    assert!(!farm.core.has_lease(given[0].lease));
    assert_eq!(farm.grants(ask(2, 1)).len(), 0, "the worker says that it still runs");
    farm.beat(0, idle());
    assert_eq!(farm.grants(ask(2, 1)).len(), 1);
}

#[test]
fn a_lease_renewed_but_never_used_is_taken_back() {
    let mut farm = Farm::new(&[2]);
    let given = farm.grants(ask(1, 2));
    let mut seconds = 0;
    while farm.core.has_lease(given[0].lease) {
        farm.renew(1, &[given[0].lease, given[1].lease]);
        farm.pass(Micros::from_secs(1), &[]);
        farm.beat(0, report(&given[1..], 0));
        seconds += 1;
        assert!(seconds < 100);
    }
    assert_eq!(seconds, 61);
    assert!(farm.core.has_lease(given[1].lease), "the one in use stays");
    assert_eq!(farm.core.counters().idle, 1);
}

#[test]
fn returning_twice_or_what_is_anothers_changes_nothing() {
    let mut farm = Farm::new(&[2]);
    let given = farm.grants(ask(1, 2));
    farm.release(2, given[0].lease, Outcome::Ok);
    farm.release(1, LeaseId(999), Outcome::WorkerFailed);
    assert_eq!(farm.core.leases(), 2);
    farm.release(1, given[0].lease, Outcome::Ok);
    farm.release(1, given[0].lease, Outcome::Ok);
    assert_eq!(farm.core.worker(WorkerId(0)).unwrap().held, 1);
    assert_eq!(farm.core.counters().unknown_leases, 3);
    assert_eq!(farm.core.counters().done, 1);
    let (unknown, _) = farm.renew(2, &[given[1].lease]);
    assert_eq!(unknown, [given[1].lease]);
}

#[test]
fn a_restarted_scheduler_counts_what_heartbeats_report() {
    let mut farm = Farm::unsettled();
    let early = farm.request(Acquire { wait: Micros::from_secs(5), ..ask(1, 4) });
    assert!(farm.out.is_empty(), "it waits for workers to come back");
    farm.step(Event::WorkerRegistered { worker: WorkerId(0), spec: crate::farm::spec(4), restarted: false });
    assert_eq!(farm.state(0), State::Fresh);
    assert!(farm.granted(early).is_empty(), "what runs there is not known yet");
    let out = farm.beat(0, Report { foreign: 3, ..idle() });
    assert_eq!(granted(&out, early).len(), 1);
    let view = farm.core.worker(WorkerId(0)).unwrap();
    assert_eq!((view.held, view.foreign), (1, 3));
    farm.beat(0, report(&granted(&out, early), 1));
    assert_eq!(farm.grants(ask(2, 9)).len(), 2);
}

#[test]
fn no_workers_is_said_once_the_farm_has_settled() {
    let mut farm = Farm::unsettled();
    let request = farm.request(Acquire { wait: Micros::from_secs(30), ..ask(1, 1) });
    let out: Vec<_> = (0..11).flat_map(|_| farm.tick()).collect();
    assert_eq!(crate::farm::refusal(&out, request), Some(Refusal::NoWorkers));
}

#[test]
fn a_report_made_before_the_return_does_not_count_the_job_anew() {
    let mut farm = Farm::new(&[2]);
    let given = farm.grants(ask(1, 2));
    farm.release(1, given[0].lease, Outcome::Ok);
    let late = Report { load: Load { running: 2, ..idle().load }, ..report(&given, 0) };
    farm.beat(0, late.clone());
    assert_eq!(farm.core.worker(WorkerId(0)).unwrap().foreign, 0);
    farm.beat(0, late);
    assert_eq!(farm.core.worker(WorkerId(0)).unwrap().foreign, 1, "but a job that goes on is seen");
}

#[test]
fn an_equal_action_is_joined_and_takes_no_slot() {
    let mut farm = Farm::new(&[1, 1]);
    let first = farm.grants(named(1, 7, 0))[0];
    let second = farm.grants(named(2, 7, 0))[0];
    assert_eq!((second.worker, second.join, first.join), (first.worker, true, false));
    assert_eq!(farm.core.worker(first.worker).unwrap().held, 1);
    let again = farm.grants(named(3, 7, 1))[0];
    assert_ne!(again.worker, first.worker, "a second attempt is another run");
    assert!(!again.join);
    let full = farm.request(named(4, 8, 0));
    assert_eq!(farm.refusal(full), Some(Refusal::Full));
    assert!(farm.grants(named(4, 7, 0))[0].join, "joining needs no room");
    farm.release(1, first.lease, Outcome::Ok);
    assert!(!farm.grants(named(5, 7, 0))[0].join, "the run is over");
    assert_eq!(farm.core.counters().joins, 2);
}

#[test]
fn a_joined_run_that_its_first_asker_gives_up_belongs_to_the_next() {
    let mut farm = Farm::new(&[1]);
    let first = farm.grants(named(1, 7, 0))[0];
    let second = farm.grants(named(2, 7, 0))[0];
    let third = farm.grants(named(3, 7, 0))[0];
    farm.release(1, first.lease, Outcome::Cancelled);
    let view = farm.core.worker(WorkerId(0)).unwrap();
    assert_eq!(view.held, 1, "the run goes on under the second's lease");
    assert_eq!(farm.core.client(ClientId(2)).unwrap().held, 1);
    farm.release(2, second.lease, Outcome::Ok);
    assert_eq!(farm.core.worker(WorkerId(0)).unwrap().held, 0);
    farm.release(3, third.lease, Outcome::Ok);
    assert_eq!(farm.core.leases(), 0);
}

#[test]
fn joins_and_new_grants_come_in_one_answer_in_order() {
    let mut farm = Farm::new(&[4]);
    farm.grants(named(1, 7, 0));
    let item = |action| Item { action: Some(ActionKey([action; 32])), ..Item::default() };
    let given = farm.grants(Acquire { items: vec![item(1), item(7), item(2)], ..ask(2, 0) });
    let shape: Vec<_> = given.iter().map(|granted| (granted.item, granted.join)).collect();
    assert_eq!(shape, [(0, false), (1, true), (2, false)]);
    let none = farm.request(Acquire { items: vec![], ..ask(2, 0) });
    assert_eq!(farm.out, [Command::Answer { request: none, grants: vec![] }]);
}

#[test]
fn a_client_that_is_gone_leaves_nothing_behind() {
    let mut farm = Farm::new(&[2]);
    let given = farm.grants(ask(1, 2));
    let gone = farm.request(Acquire { wait: Micros::from_secs(9), ..ask(1, 1) });
    let next = farm.request(Acquire { wait: Micros::from_secs(9), ..ask(2, 2) });
    farm.beat(0, report(&given[..1], 0));
    let out = farm.step(Event::ClientGone { client: ClientId(1) }).to_vec();
    assert_eq!(granted(&out, gone).len(), 0);
    assert_eq!(granted(&out, next).len(), 1, "one job still runs, as its worker says");
    assert!(farm.core.client(ClientId(1)).is_none());
}
