//! Which worker gets a job: capacity, load, dedicated machines, the requester's own, roots and toolchains.

use crate::farm::{Farm, GIB, ask, idle, spec};
use kiln_sched::*;

#[track_caller]
fn capacity_of(spec: Spec, load: Load, want: u32) {
    let mut farm = Farm::new(&[]);
    farm.join(0, spec);
    farm.beat(0, Report { load, ..Report::default() });
    let view = farm.core.worker(WorkerId(0)).unwrap();
    assert_eq!(view.capacity, want, "{load:?}");
    let mut given = 0;
    while !farm.grants(ask(1, 1)).is_empty() {
        given += 1;
    }
    assert_eq!(given, want, "grants under {load:?}");
}

#[test]
fn capacity_is_the_least_of_slots_cores_and_memory() {
    let roomy = idle().load;
    let cases = [
        (8, roomy, 8),
        (8, Load { foreign_milli: 400, ..roomy }, 8),
        (8, Load { foreign_milli: 600, ..roomy }, 7),
        (8, Load { foreign_milli: 8000, ..roomy }, 0),
        (8, Load { foreign_milli: 9000, ..roomy }, 0),
        (8, Load { memory_available: 2 * GIB + 256 * 1024 * 1024, ..roomy }, 4),
        (8, Load { memory_available: 500 * 1024 * 1024, ..roomy }, 1),
        (8, Load { memory_available: 300 * 1024 * 1024, ..roomy }, 0),
        (8, Load { memory_available: 0, ..roomy }, 0),
        (8, Load { memory_available: 0, memory_total: 0, ..roomy }, 8),
        (8, Load { memory_pressure_centi: 2500, ..roomy }, 0),
        (8, Load { running: 3, queued: 2, ..roomy }, 8 - 5),
        (0, roomy, 0),
    ];
    for (slots, load, want) in cases {
        let running = load.running + load.queued;
        if running == 0 {
            capacity_of(spec(slots), load, want);
        } else {
            let mut farm = Farm::new(&[slots]);
            farm.beat(0, Report { load, ..Report::default() });
            assert_eq!(farm.workers_of(&ask(1, 1), 10).len() as u32, want, "{load:?}");
        }
    }
    capacity_of(Spec { cores: 4, ..spec(8) }, roomy, 4);
    capacity_of(Spec { cores: 0, ..spec(8) }, roomy, 1);
    capacity_of(Spec { runs_jobs: false, ..spec(8) }, roomy, 0);
}

#[test]
fn a_job_goes_where_its_memory_fits() {
    let mut farm = Farm::new(&[8, 8]);
    let small = Load { memory_available: 3 * GIB, memory_total: 4 * GIB, ..Load::default() };
    farm.beat(0, Report { load: small, ..Report::default() });
    let big = Acquire { items: vec![Item { memory: 8 * GIB, ..Item::default() }], ..ask(1, 1) };
    assert_eq!(farm.workers_of(&big, 3), [1, 1, 1]);
    let huge = Acquire { items: vec![Item { memory: 100 * GIB, ..Item::default() }], ..ask(1, 1) };
    assert_eq!(farm.workers_of(&huge, 1), []);
}

#[test]
fn memory_of_jobs_given_since_the_report_is_set_aside() {
    let mut farm = Farm::new(&[8]);
    let load = Load { memory_available: 4 * GIB, memory_total: 4 * GIB, ..Load::default() };
    farm.beat(0, Report { load, ..Report::default() });
    let two = Acquire { items: vec![Item { memory: 2 * GIB, ..Item::default() }; 4], ..ask(1, 4) };
    let given = farm.grants(two.clone());
    assert_eq!(given.len(), 1);
    // Young jobs have not grown yet, whatever the machine says.
    let jobs = vec![given[0].lease];
    farm.beat(0, Report { load: Load { running: 1, ..load }, jobs, ..Report::default() });
    assert_eq!(farm.grants(two.clone()).len(), 0);
    farm.release(1, given[0].lease, Outcome::Ok);
    farm.beat(0, Report { load, ..Report::default() });
    assert_eq!(farm.grants(two).len(), 1);
}

#[test]
fn load_spreads_in_proportion_to_capacity() {
    let mut farm = Farm::new(&[50, 50, 20, 20]);
    let mut given = [0; 4];
    for worker in farm.workers_of(&ask(1, 1), 70) {
        given[worker as usize] += 1;
    }
    assert_eq!(given, [25, 25, 10, 10]);
}

#[test]
fn dedicated_machines_come_first_up_to_half() {
    let mut farm = Farm::new(&[8]);
    farm.join(1, Spec { dedicated: false, ..spec(8) });
    let given = farm.workers_of(&ask(1, 1), 16);
    assert_eq!(given[..4], [0; 4]);
    assert_eq!(given[4..8], [1; 4]);
    assert_eq!(given.iter().filter(|worker| **worker == 0).count(), 8);
}

#[test]
fn equal_machines_take_turns() {
    let mut farm = Farm::new(&[4, 4, 4]);
    assert_eq!(farm.workers_of(&ask(1, 1), 6), [0, 1, 2, 0, 1, 2]);
    let mut farm = Farm::new(&[4, 4, 4]);
    let mut seen = Vec::new();
    for _ in 0..6 {
        let granted = farm.grants(ask(1, 1))[0];
        seen.push(granted.worker.0);
        farm.release(1, granted.lease, Outcome::Ok);
    }
    assert_eq!(seen, [0, 1, 2, 0, 1, 2], "so that no worker is cold for long");
}

#[test]
fn the_requesters_own_machine_comes_last_in_a_large_build_only() {
    let own = |backlog| Acquire { local: Some(WorkerId(0)), backlog, cores: 4, ..ask(1, 1) };
    let mut farm = Farm::new(&[4]);
    farm.join(1, Spec { dedicated: false, ..spec(1) });
    assert_eq!(farm.workers_of(&own(100), 3), [1, 0, 0], "others first, then its own");
    let mut farm = Farm::new(&[4, 4]);
    let granted = farm.grants(own(0));
    assert!(granted[0].local && granted[0].worker == WorkerId(0), "one edit runs wherever there is room");
}

#[test]
fn a_worker_serves_only_what_it_can() {
    let mut farm = Farm::new(&[]);
    farm.join(0, Spec { root: None, toolchains: vec![ToolchainId(7)], ..spec(4) });
    farm.join(1, Spec { machine: MachineId(1), toolchains: vec![], ..spec(4) });
    farm.join(2, Spec { runs_jobs: false, ..spec(4) });
    #[track_caller]
    fn check(farm: &mut Farm, need: Need, machine: Option<u32>, want: Result<u32, Refusal>) {
        let acquire = Acquire { need, machine: machine.map(MachineId), wait: Micros::from_secs(5), ..ask(1, 1) };
        let request = farm.request(acquire);
        let got = farm.granted(request).first().map(|granted| granted.worker.0);
        assert_eq!(got.ok_or(farm.refusal(request)), want.map_err(Some), "{need:?} {machine:?}");
    }
    check(&mut farm, Need::Toolchain(ToolchainId(7)), Some(0), Ok(0));
    check(&mut farm, Need::Toolchain(ToolchainId(7)), None, Ok(0));
    check(&mut farm, Need::Toolchain(ToolchainId(7)), Some(1), Err(Refusal::UnknownToolchain));
    check(&mut farm, Need::Toolchain(ToolchainId(8)), Some(0), Err(Refusal::UnknownToolchain));
    check(&mut farm, Need::Root(RootId(0)), Some(1), Ok(1));
    check(&mut farm, Need::Root(RootId(0)), Some(0), Err(Refusal::UnknownToolchain));
    check(&mut farm, Need::Root(RootId(9)), None, Err(Refusal::UnknownToolchain));
    check(&mut farm, Need::Any, Some(0), Ok(0));
    check(&mut farm, Need::Any, Some(1), Ok(1));
}

#[test]
fn toolchains_come_and_go_with_reports() {
    let mut farm = Farm::new(&[4]);
    let need = Need::Toolchain(ToolchainId(3));
    let waiting = |need| Acquire { need, wait: Micros::from_secs(5), ..ask(1, 1) };
    let request = farm.request(waiting(need));
    assert_eq!(farm.refusal(request), Some(Refusal::UnknownToolchain));
    farm.beat(0, Report { toolchains: Some(vec![ToolchainId(3)]), ..idle() });
    assert_eq!(farm.grants(waiting(need)).len(), 1);
    assert_eq!(farm.grants(ask(1, 3)).len(), 3);
    let request = farm.request(waiting(need));
    assert_eq!(farm.refusal(request), None, "full: it waits");
    farm.beat(0, Report { toolchains: Some(vec![]), ..idle() });
    assert_eq!(farm.refusal(request), Some(Refusal::UnknownToolchain), "nobody has it any more");
}

#[test]
fn workers_to_avoid_are_avoided() {
    let mut farm = Farm::new(&[4, 4]);
    let but = |avoid: &[u32]| Acquire {
        avoid: avoid.iter().map(|worker| WorkerId(*worker)).collect(),
        wait: Micros::from_secs(5),
        ..ask(1, 1)
    };
    assert_eq!(farm.workers_of(&but(&[0]), 3), [1, 1, 1]);
    let request = farm.request(but(&[0, 1]));
    assert_eq!(farm.refusal(request), Some(Refusal::NoWorkers), "there is nothing to wait for");
    let request = farm.request(but(&[0, 9]));
    assert_eq!(farm.granted(request).len(), 1);
}

/// A worker of another processor architecture that has toolchain 5.
fn other_machine(slots: u32) -> Spec {
    Spec { machine: MachineId(1), toolchains: vec![ToolchainId(5)], ..spec(slots) }
}

fn with_substitute() -> Acquire {
    Acquire { substitutes: vec![ToolchainId(4), ToolchainId(5)], wait: Micros::from_secs(5), ..ask(1, 1) }
}

#[test]
fn a_substitute_serves_where_no_equal_worker_has_room() {
    let mut farm = Farm::new(&[2]);
    farm.join(1, other_machine(4));
    let equal = Acquire { wait: Micros(0), ..with_substitute() };
    let given: Vec<_> = (0..7).flat_map(|_| farm.grants(equal.clone())).collect();
    let told: Vec<_> = given.iter().map(|granted| (granted.worker.0, granted.substitute.map(|of| of.0))).collect();
    assert_eq!(told, [(0, None), (0, None), (1, Some(5)), (1, Some(5)), (1, Some(5)), (1, Some(5))]);
    farm.release(1, given[0].lease, Outcome::Ok);
    assert_eq!(farm.grants(equal)[0].substitute, None, "the equal one again as soon as it has room");
}

#[test]
fn nobody_is_given_a_substitute_unasked() {
    let mut farm = Farm::new(&[]);
    farm.join(1, other_machine(4));
    let request = farm.request(Acquire { wait: Micros::from_secs(5), ..ask(1, 1) });
    assert_eq!(farm.refusal(request), Some(Refusal::UnknownToolchain));
    let request = farm.request(Acquire { substitutes: vec![ToolchainId(4)], wait: Micros::from_secs(5), ..ask(1, 1) });
    assert_eq!(farm.refusal(request), Some(Refusal::UnknownToolchain));
    assert_eq!(farm.grants(with_substitute())[0].substitute, Some(ToolchainId(5)));
}

#[test]
fn one_that_waits_takes_whichever_comes_first() {
    for frees in [0, 1] {
        let mut farm = Farm::new(&[1]);
        farm.join(1, other_machine(1));
        let held = [farm.grants(with_substitute())[0], farm.grants(with_substitute())[0]];
        let request = farm.request(with_substitute());
        assert_eq!((farm.granted(request).len(), farm.refusal(request)), (0, None), "it waits");
        farm.release(1, held[frees].lease, Outcome::Ok);
        let granted = farm.granted(request);
        assert_eq!(granted[0].worker.0, frees as u32);
        assert_eq!(granted[0].substitute.is_some(), frees == 1);
        assert_eq!(farm.core.waiting(), 0, "it stands in no line any more");
    }
}

#[test]
fn one_that_waits_for_either_is_refused_when_both_are_gone() {
    let mut farm = Farm::new(&[1]);
    farm.join(1, other_machine(1));
    let _ = farm.workers_of(&with_substitute(), 2);
    let request = farm.request(with_substitute());
    farm.step(Event::WorkerLost { worker: WorkerId(0) });
    assert_eq!(farm.refusal(request), None, "there is still the other");
    farm.step(Event::WorkerLost { worker: WorkerId(1) });
    assert_eq!(farm.refusal(request), Some(Refusal::NoWorkers));
    let avoid = Acquire { avoid: vec![WorkerId(0), WorkerId(1)], ..with_substitute() };
    let mut farm = Farm::new(&[1]);
    farm.join(1, other_machine(1));
    let request = farm.request(avoid);
    assert_eq!(farm.refusal(request), Some(Refusal::NoWorkers), "all that could are to be avoided");
}

#[test]
fn nobody_joins_a_run_on_a_substitute() {
    let mut farm = Farm::new(&[]);
    farm.join(1, other_machine(4));
    let items = vec![Item { action: Some(ActionKey([7; 32])), ..Item::default() }];
    let same = Acquire { items, ..with_substitute() };
    let _ = farm.grants(same.clone());
    let again = farm.grants(same);
    assert_eq!((again[0].join, again[0].substitute), (false, Some(ToolchainId(5))));
}
