//! Who is served when the farm is full, and for how long anybody waits.

use crate::farm::{Farm, ask, granted, refusal};
use kiln_sched::*;

fn patient(client: u32, count: usize) -> Acquire {
    Acquire { wait: Micros::from_secs(10), ..ask(client, count) }
}

#[test]
fn a_full_farm_makes_wait_and_a_freed_slot_goes_to_who_waits() {
    let mut farm = Farm::new(&[1]);
    let first = farm.grants(patient(1, 1))[0];
    let waiting = farm.request(patient(2, 1));
    assert!(farm.out.is_empty(), "neither granted nor refused: {:?}", farm.out);
    assert_eq!(farm.core.waiting(), 1);
    farm.tick();
    let out = farm.release(1, first.lease, Outcome::Ok);
    assert_eq!(granted(&out, waiting).len(), 1);
    assert_eq!(farm.core.waiting(), 0);
    assert_eq!(farm.core.counters().waited, 1);
}

#[test]
fn a_wait_ends_at_its_deadline_and_no_wait_ends_at_once() {
    let mut farm = Farm::new(&[1]);
    let held = farm.grants(ask(1, 1));
    let at_once = farm.request(ask(2, 1));
    assert_eq!(farm.refusal(at_once), Some(Refusal::Full));
    let waiting = farm.request(Acquire { wait: Micros::from_ms(900), ..ask(2, 1) });
    for _ in 0..3 {
        farm.renew(1, &[held[0].lease]);
        assert_eq!(refusal(&farm.tick(), waiting), None);
    }
    assert_eq!(refusal(&farm.tick(), waiting), Some(Refusal::Full));
    let for_ever = farm.request(Acquire { wait: Micros(u64::MAX), ..ask(2, 1) });
    let mut waited = 0;
    loop {
        farm.renew(1, &[held[0].lease]);
        let jobs = Report { jobs: vec![held[0].lease], ..crate::farm::idle() };
        farm.beat(0, jobs);
        waited += 1;
        if refusal(&farm.tick(), for_ever).is_some() {
            break;
        }
        assert!(waited < 4 * 70, "bounded whatever it asks for");
    }
    assert_eq!(waited, 4 * 60);
}

#[test]
fn whoever_holds_least_comes_first() {
    let mut farm = Farm::new(&[10]);
    let first: Vec<_> = farm.grants(patient(1, 10));
    assert_eq!(first.len(), 10, "alone, one user has everything");
    let mut requests: Vec<(u32, RequestId)> = Vec::new();
    for _ in 0..10 {
        for client in [1, 2, 3] {
            requests.push((client, farm.request(patient(client, 1))));
        }
    }
    let mut order = Vec::new();
    for granted_before in &first[..6] {
        let out = farm.release(1, granted_before.lease, Outcome::Ok);
        order.extend(requests.iter().filter(|(_, request)| !granted(&out, *request).is_empty()).map(|(client, _)| *client));
    }
    assert_eq!(order, [2, 3, 2, 3, 2, 3], "user 1 still holds more than they");
    for granted_before in &first[6..] {
        let out = farm.release(1, granted_before.lease, Outcome::Ok);
        order.extend(requests.iter().filter(|(_, request)| !granted(&out, *request).is_empty()).map(|(client, _)| *client));
    }
    let of = |client| order.iter().filter(|served| **served == client).count();
    assert_eq!((of(1), of(2), of(3)), (3, 4, 3));
}

#[test]
fn two_clients_of_one_user_share_that_users_part() {
    let mut farm = Farm::new(&[4]);
    let held = farm.grants(ask(9, 4));
    let mut requests = Vec::new();
    for _ in 0..4 {
        for (client, user) in [(1, 1), (2, 1), (3, 2)] {
            requests.push((user, farm.request(Acquire { user: UserId(user), ..patient(client, 1) })));
        }
    }
    let mut served = [0; 3];
    for granted_before in held {
        let out = farm.release(9, granted_before.lease, Outcome::Ok);
        for (user, request) in &requests {
            served[*user as usize] += granted(&out, *request).len();
        }
    }
    assert_eq!(served, [0, 2, 2]);
}

#[test]
fn interactive_comes_before_batch() {
    let mut farm = Farm::new(&[1]);
    let held = farm.grants(ask(1, 1))[0];
    let batch = farm.request(Acquire { batch: true, ..patient(2, 1) });
    let edit = farm.request(patient(3, 1));
    let out = farm.release(1, held.lease, Outcome::Ok);
    assert_eq!((granted(&out, batch).len(), granted(&out, edit).len()), (0, 1));
}

#[test]
fn several_freed_slots_are_shared_in_turns() {
    // While the farm settles, both wait for workers to come.
    let mut farm = Farm::unsettled();
    let (big, small) = (farm.request(patient(1, 8)), farm.request(patient(2, 2)));
    farm.step(Event::WorkerRegistered { worker: WorkerId(0), spec: crate::farm::spec(6), restarted: true });
    let out = farm.beat(0, crate::farm::idle());
    assert_eq!((granted(&out, big).len(), granted(&out, small).len()), (4, 2));
}

#[test]
fn an_asker_that_went_away_is_not_served() {
    let mut farm = Farm::new(&[1]);
    let held = farm.grants(ask(1, 1))[0];
    let gone = farm.request(patient(2, 1));
    let next = farm.request(patient(3, 1));
    farm.step(Event::Cancel { request: gone });
    assert!(farm.out.is_empty());
    let out = farm.release(1, held.lease, Outcome::Ok);
    assert_eq!((granted(&out, gone).len(), granted(&out, next).len()), (0, 1));
    farm.step(Event::Cancel { request: gone });
    assert_eq!(farm.core.counters().cancelled_requests, 1, "twice is once");
}

#[test]
fn requests_that_fit_no_free_worker_do_not_hold_up_others() {
    let mut farm = Farm::new(&[1, 1]);
    let held = farm.grants(ask(1, 2));
    let on = |worker: u32| held.iter().find(|granted| granted.worker.0 == worker).unwrap().lease;
    for client in 2..6 {
        for _ in 0..limits::WAITING_PER_CLIENT_MAX {
            farm.request(Acquire { avoid: vec![WorkerId(1)], user: UserId(client % 2), ..patient(client, 1) });
        }
    }
    let fits = farm.request(patient(9, 1));
    let out = farm.release(1, on(1), Outcome::Ok);
    assert_eq!(granted(&out, fits).len(), 1);
}

#[test]
fn a_client_that_asks_for_a_million_is_bounded_and_others_are_not_harmed() {
    let mut farm = Farm::new(&[4000, 4000]);
    farm.beat(0, Report::default());
    farm.beat(1, Report::default());
    let given = farm.grants(ask(1, 1_000_000));
    assert_eq!(given.len(), limits::ITEMS_MAX);
    assert_eq!(farm.core.counters().items_cut, 1_000_000 - limits::ITEMS_MAX as u64);
    for _ in 0..1000 {
        farm.request(patient(1, limits::ITEMS_MAX));
    }
    let view = farm.core.client(ClientId(1)).unwrap();
    assert_eq!(view.held, limits::HELD_PER_CLIENT_MAX);
    assert_eq!(view.waiting, limits::WAITING_PER_CLIENT_MAX);
    assert!(view.greedy > 0);
    assert!(farm.core.counters().refused_overflow > 0);
    assert_eq!(farm.grants(ask(2, 64)).len(), 64);
}
