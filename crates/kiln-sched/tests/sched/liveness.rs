//! Workers that fall silent, leave, fail, are unwell, come back; a scheduler that itself stood still.

use crate::farm::{Farm, ask, granted, idle, refusal, spec};
use kiln_sched::*;

fn fail(farm: &mut Farm, client: u32, worker: u32) -> bool {
    let others: Vec<WorkerId> = (0..8).filter(|other| *other != worker).map(WorkerId).collect();
    let given = farm.grants(Acquire { avoid: others, ..ask(client, 1) });
    let Some(first) = given.first() else { return false };
    farm.release(client, first.lease, Outcome::WorkerFailed);
    true
}

#[test]
fn a_worker_grows_suspect_then_silent_and_its_leases_are_lost() {
    let mut farm = Farm::new(&[2, 2]);
    let given = farm.grants(ask(1, 4));
    let on_first: Vec<_> = given.iter().filter(|granted| granted.worker.0 == 0).map(|granted| granted.lease).collect();
    let all: Vec<_> = given.iter().map(|granted| granted.lease).collect();
    let mut states = vec![farm.state(0)];
    let mut silent_after = Micros(0);
    let start = farm.now;
    while farm.state(0) != State::Silent {
        farm.beat(1, idle());
        farm.renew(1, &all);
        farm.tick();
        silent_after = farm.now.since(start);
        if states.last() != Some(&farm.state(0)) {
            states.push(farm.state(0));
        }
    }
    assert_eq!(states, [State::Well, State::Suspect, State::Silent]);
    assert_eq!(silent_after, Micros::from_secs(3));
    let (unknown, lost) = farm.renew(1, &all);
    assert_eq!((unknown, lost), (vec![], on_first.clone()));
    let (unknown, lost) = farm.renew(1, &on_first);
    assert_eq!((unknown, lost), (on_first, vec![]), "told once");
    assert_eq!(farm.core.counters().silenced, 1);
    assert_eq!(farm.grants(ask(2, 8)).len(), 0, "nothing on the silent one");
    farm.beat(0, idle());
    assert_eq!(farm.state(0), State::Well);
    assert_eq!(farm.grants(ask(2, 8)).len(), 2);
}

#[test]
fn a_suspect_worker_is_the_last_choice() {
    let mut farm = Farm::new(&[4, 4]);
    farm.pass(Micros::from_secs(2), &[1]);
    assert_eq!((farm.state(0), farm.state(1)), (State::Suspect, State::Well));
    assert_eq!(farm.workers_of(&ask(1, 1), 5), [1, 1, 1, 1, 0]);
}

#[test]
fn a_broken_connection_is_silence_at_once() {
    let mut farm = Farm::new(&[2]);
    let waiting_for = farm.grants(ask(1, 2));
    let waiting = farm.request(Acquire { wait: Micros::from_secs(9), ..ask(2, 1) });
    let out = farm.step(Event::WorkerLost { worker: WorkerId(0) }).to_vec();
    let revoked = out.iter().filter(|command| matches!(command, Command::Revoke { why: Revoked::WorkerGone, .. })).count();
    assert_eq!(revoked, waiting_for.len());
    assert_eq!(refusal(&out, waiting), Some(Refusal::NoWorkers), "nobody is left to wait for");
}

#[test]
fn a_leaving_worker_gets_nothing_and_is_forgotten() {
    let mut farm = Farm::new(&[2, 2]);
    let given = farm.grants(ask(1, 4));
    farm.step(Event::WorkerGoodbye { worker: WorkerId(0) });
    assert_eq!(farm.state(0), State::Draining);
    for granted in &given {
        farm.release(1, granted.lease, Outcome::Ok);
    }
    assert_eq!(farm.workers_of(&ask(1, 1), 4), [1, 1]);
    let out = farm.pass(Micros::from_ms(3500), &[1]);
    assert!(out.contains(&Command::Forget { worker: WorkerId(0) }));
    assert!(farm.core.worker(WorkerId(0)).is_none());
    farm.join(0, spec(2));
    assert_eq!(farm.state(0), State::Well);
}

#[test]
fn a_silent_worker_is_shown_for_a_while_then_forgotten() {
    let mut farm = Farm::new(&[2, 2]);
    farm.pass(Micros::from_secs(599), &[1]);
    assert_eq!(farm.state(0), State::Silent);
    let out = farm.pass(Micros::from_secs(2), &[1]);
    assert!(out.contains(&Command::Forget { worker: WorkerId(0) }));
}

#[test]
fn an_unwell_worker_gets_nothing_until_it_is_well() {
    let mut farm = Farm::new(&[2]);
    let held = farm.grants(ask(1, 1));
    assert_eq!(held.len(), 1);
    farm.beat(0, Report { unwell: true, ..idle() });
    assert_eq!(farm.state(0), State::Unwell(Cause::Said));
    let request = farm.request(Acquire { wait: Micros::from_secs(9), ..ask(1, 1) });
    assert_eq!(farm.refusal(request), Some(Refusal::NoWorkers));
    assert!(farm.core.has_lease(held[0].lease), "what runs there goes on");
    farm.beat(0, idle());
    assert_eq!(farm.grants(ask(1, 1)).len(), 1);
}

#[test]
fn two_failures_in_a_row_bar_a_worker_and_one_job_tries_it_again() {
    let mut farm = Farm::new(&[4, 4]);
    assert!(fail(&mut farm, 1, 0));
    let fine = farm.grants(Acquire { avoid: vec![WorkerId(1)], ..ask(1, 1) });
    farm.release(1, fine[0].lease, Outcome::JobFailed);
    assert!(fail(&mut farm, 1, 0));
    assert_eq!(farm.state(0), State::Well, "a job between them that ran: not in a row");
    assert!(fail(&mut farm, 1, 0));
    assert_eq!(farm.state(0), State::Quarantined);
    assert!(!fail(&mut farm, 1, 0));
    farm.pass(Micros::from_ms(4500), &[0, 1]);
    assert_eq!(farm.state(0), State::Quarantined);
    farm.pass(Micros::from_secs(1), &[0, 1]);
    assert_eq!(farm.state(0), State::Trial);
    let second = Acquire { items: vec![Item { attempt: 1, ..Item::default() }], ..ask(2, 1) };
    assert_eq!(farm.workers_of(&second, 3), [1, 1, 1], "not with what failed elsewhere");
    assert_eq!(farm.workers_of(&ask(2, 1), 8), [0, 1], "one job, soon");
}

#[test]
fn each_failed_trial_doubles_the_ban_and_a_success_ends_it() {
    let mut farm = Farm::new(&[4]);
    fail(&mut farm, 1, 0);
    fail(&mut farm, 1, 0);
    for want in [5, 10, 20, 40, 80, 160, 320, 320] {
        let barred = farm.core.worker(WorkerId(0)).unwrap().barred.unwrap();
        assert_eq!(barred, Micros::from_secs(want));
        farm.pass(barred, &[0]);
        assert_eq!(farm.state(0), State::Trial);
        assert!(fail(&mut farm, 1, 0));
        assert_eq!(farm.state(0), State::Quarantined);
    }
    farm.pass(Micros::from_secs(320), &[0]);
    let trial = farm.grants(ask(1, 3));
    assert_eq!(trial.len(), 1);
    farm.release(1, trial[0].lease, Outcome::Ok);
    assert_eq!(farm.state(0), State::Well);
    assert_eq!(farm.grants(ask(1, 9)).len(), 4);
}

#[test]
fn failures_of_jobs_from_before_the_ban_do_not_lengthen_it() {
    let mut farm = Farm::new(&[4, 1]);
    let given = farm.grants(Acquire { avoid: vec![WorkerId(1)], ..ask(1, 4) });
    for granted in given {
        farm.release(1, granted.lease, Outcome::WorkerFailed);
    }
    assert_eq!(farm.core.worker(WorkerId(0)).unwrap().barred, Some(Micros::from_secs(5)));
    assert_eq!(farm.core.counters().quarantined, 1);
}

#[test]
fn a_barred_worker_that_restarts_is_on_trial() {
    let mut farm = Farm::new(&[4]);
    fail(&mut farm, 1, 0);
    fail(&mut farm, 1, 0);
    farm.join(0, spec(4));
    assert_eq!(farm.state(0), State::Trial);
}

#[test]
fn a_client_that_fails_everywhere_bars_nobody_after_a_few() {
    let mut farm = Farm::new(&[4; 8]);
    for worker in 0..8 {
        fail(&mut farm, 1, worker);
    }
    for worker in 0..8 {
        fail(&mut farm, 1, worker);
    }
    let barred = (0..8).filter(|worker| farm.state(*worker) == State::Quarantined).count();
    assert_eq!(barred, 0, "its own network is the likelier cause");
    assert!(farm.core.counters().discredited > 0);
    assert!(farm.core.client(ClientId(1)).unwrap().suspect);
    let fine = farm.grants(ask(1, 1))[0];
    farm.release(1, fine.lease, Outcome::Ok);
    fail(&mut farm, 1, 7);
    fail(&mut farm, 1, 7);
    assert_eq!(farm.state(7), State::Quarantined, "it is believed again");
}

#[test]
fn a_rejection_is_no_fault_but_means_full_until_the_next_report() {
    let mut farm = Farm::new(&[4, 4]);
    let given = farm.grants(Acquire { avoid: vec![WorkerId(1)], ..ask(1, 1) })[0];
    farm.release(1, given.lease, Outcome::Rejected);
    assert_eq!(farm.state(0), State::Well);
    assert_eq!(farm.core.worker(WorkerId(0)).unwrap().tight, Tight::Full);
    assert_eq!(farm.workers_of(&ask(1, 1), 5), [1, 1, 1, 1]);
    farm.beat(0, idle());
    assert_eq!(farm.workers_of(&ask(1, 1), 1), [0]);
    assert_eq!(farm.core.counters().overcommit, 1);
}

#[test]
fn a_scheduler_that_stood_still_takes_nobody_for_dead() {
    let mut farm = Farm::new(&[2, 2]);
    let given = farm.grants(ask(1, 4));
    farm.now = farm.now.plus(Micros::from_secs(30));
    let out = farm.step(Event::Tick).to_vec();
    assert!(out.is_empty(), "{out:?}");
    assert_eq!((farm.state(0), farm.state(1)), (State::Well, State::Well));
    assert_eq!(farm.core.leases(), given.len());
    assert_eq!(farm.core.counters().standstills, 1);
    let out = farm.pass(Micros::from_ms(3250), &[1]);
    assert!(out.contains(&Command::State { worker: WorkerId(0), state: State::Silent }), "but real silence still counts");
}

#[test]
fn a_tick_a_little_late_is_no_standstill() {
    let mut farm = Farm::new(&[2]);
    for _ in 0..5 {
        farm.now = farm.now.plus(Micros::from_ms(700));
        farm.step(Event::Tick);
    }
    assert_eq!(farm.state(0), State::Silent);
    assert_eq!(farm.core.counters().standstills, 0);
}

#[test]
fn a_restarted_worker_has_lost_its_jobs_and_a_reconnected_one_has_not() {
    let mut farm = Farm::new(&[2]);
    let given = farm.grants(ask(1, 1));
    farm.step(Event::WorkerRegistered { worker: WorkerId(0), spec: spec(2), restarted: false });
    assert!(farm.core.has_lease(given[0].lease));
    farm.beat(0, idle());
    assert_eq!(farm.grants(ask(2, 5)).len(), 1);
    farm.step(Event::WorkerRegistered { worker: WorkerId(0), spec: spec(2), restarted: true });
    assert_eq!(farm.core.leases(), 0);
    let (_, lost) = farm.renew(1, &[given[0].lease]);
    assert_eq!(lost, [given[0].lease]);
}

#[test]
fn waiting_requests_are_served_by_a_worker_that_comes() {
    let mut farm = Farm::new(&[1]);
    farm.grants(ask(1, 1));
    let waiting = farm.request(Acquire { wait: Micros::from_secs(9), ..ask(2, 1) });
    farm.step(Event::WorkerRegistered { worker: WorkerId(1), spec: spec(1), restarted: true });
    assert!(farm.granted(waiting).is_empty());
    let out = farm.beat(1, idle());
    assert_eq!(granted(&out, waiting).len(), 1);
}
