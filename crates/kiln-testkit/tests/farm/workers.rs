//! Workers that die, stop or are gone in the middle of a compile: the unit runs elsewhere and soon.

use crate::support::{Bench, SOON, START_MAX, count};
use kiln_testkit::{Layout, await_for};
use std::time::{Duration, Instant};

/// In which a lost attempt is noticed and a compile is seen elsewhere: 3 s to notice, the rest for a loaded machine to start it.
const NOTICED_MAX: Duration = Duration::from_secs(10);

fn three() -> Bench {
    Bench::start(Layout { workers: 3, ..Layout::default() })
}

/// Awaits that another worker than `lost` runs the unit.
#[track_caller]
fn await_elsewhere(bench: &Bench, lost: &str) -> String {
    let others: Vec<String> = bench.farm.workers().into_iter().filter(|name| name != lost).collect();
    await_for("the unit on another worker", NOTICED_MAX, || {
        others.iter().find(|name| bench.farm.role_runs(name, "cc1plus")).cloned()
    })
}

#[test]
fn a_killed_worker_loses_only_time() {
    let mut bench = three();
    let unit = bench.start_slow("fail");
    let lost = bench.farm.await_job("cc1plus", START_MAX);
    bench.farm.kill(&lost);
    let begun = Instant::now();
    let other = await_elsewhere(&bench, &lost);
    assert!(begun.elapsed() <= NOTICED_MAX);
    let _ = bench.finish_slow(unit);
    let stats = bench.farm.stats();
    assert_eq!((count(&stats, "lost_attempts"), count(&stats, "fallback")), (1, 0), "{stats}");
    assert_eq!(bench.farm.explain(1)[0]["attempts"][1]["worker"], other);

    // Its socket refuses now; a whole build passes, and it works again when it is back.
    let _ = bench.finish_equal(bench.start_build());
    bench.farm.restart(&lost);
    bench.farm.await_well();
}

#[test]
fn a_stopped_worker_is_noticed() {
    let mut bench = three();
    let unit = bench.start_slow("fail");
    let lost = bench.farm.await_job("cc1plus", START_MAX);
    bench.farm.stop(&lost);
    let _ = await_elsewhere(&bench, &lost);
    let _ = bench.finish_slow(unit);
    let stats = bench.farm.stats();
    assert_eq!((count(&stats, "lost_attempts"), count(&stats, "fallback")), (1, 0), "{stats}");

    // While it stands still it is said to be unwell, gets nothing, and holds nothing up.
    let _ = bench.finish_equal(bench.start_build());
    let state = || {
        let status = bench.farm.status();
        let workers = status["farm"]["workers"].as_array().cloned().unwrap_or_default();
        workers.iter().find(|worker| worker["name"] == lost.as_str()).map(|worker| worker["state"].clone())
    };
    await_for("a stopped worker not well", SOON, || (state()? != "well").then_some(()));
    bench.farm.cont(&lost);
    bench.farm.await_well();
}

#[test]
fn without_any_worker_units_run_here() {
    let mut bench = Bench::start(Layout { workers: 1, ..Layout::default() });
    let unit = bench.start_slow("silent");
    let lost = bench.farm.await_job("cc1plus", START_MAX);
    bench.farm.kill(&lost);
    let _ = bench.finish_slow(unit);
    let stats = bench.farm.stats();
    assert_eq!((count(&stats, "remote"), count(&stats, "fallback")), (0, 1), "{stats}");
}
