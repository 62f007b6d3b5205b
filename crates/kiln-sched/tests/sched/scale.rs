//! Ten thousand workers: a decision looks at few of them. Counts what is looked at by the time a generous bound allows.

use crate::farm::{Farm, ask, idle, spec};
use kiln_sched::*;

#[test]
fn ten_thousand_workers_are_served_evenly() {
    let workers = 10_000;
    let mut farm = Farm::new(&[]);
    for worker in 0..workers {
        farm.join(worker, Spec { toolchains: (0..4).map(ToolchainId).collect(), ..spec(2) });
    }
    let mut given = vec![0; workers as usize];
    for client in 0..200 {
        for _ in 0..10 {
            for granted in farm.grants(ask(client, 10)) {
                given[granted.worker.0 as usize] += 1;
            }
        }
    }
    assert_eq!(given.iter().sum::<u32>(), 2 * workers);
    assert!(given.iter().all(|count| *count == 2), "every slot is used, none twice");
    let waiting = farm.request(Acquire { wait: Micros::from_secs(5), ..ask(1, 1) });
    assert_eq!(farm.refusal(waiting), None);
    for worker in 0..workers {
        farm.beat(worker, Report { load: Load { running: 2, ..idle().load }, ..Report::default() });
    }
    assert!(farm.granted(waiting).is_empty());
}
