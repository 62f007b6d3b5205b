//! Workers that die, stop or are gone in the middle of a compile: the unit runs elsewhere and soon.

use crate::support::{Bench, SOON, START_MAX, count};
use kiln_testkit::{Layout, Running, await_for};
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

/// In which a lost attempt is noticed and the unit restarted.
const RESTARTED_MAX: Duration = Duration::from_secs(3);

fn three() -> Bench {
    Bench::start(Layout { workers: 3, ..Layout::default() })
}

/// Awaits the slow unit, which `lost` ran when it was struck: it was started elsewhere in time, as the daemon tells.
#[track_caller]
fn finish_elsewhere(bench: &Bench, unit: Running, lost: &str, struck: Instant) {
    let _ = bench.finish_slow(unit);
    let stats = bench.farm.stats();
    assert_eq!((count(&stats, "lost_attempts"), count(&stats, "fallback")), (1, 0), "{stats}");
    let told = Instant::now();
    let story = &bench.farm.explain(1)[0];
    let ms = |value: &Value| Duration::from_millis(value.as_u64().expect("a time"));
    let restarted = told - ms(&story["ago_ms"]) + ms(&story["attempts"][1]["at_ms"]);
    let after = restarted.saturating_duration_since(struck);
    assert!(after <= RESTARTED_MAX, "restarted {after:?} after the loss: {story}");
    assert!(story["attempts"][0]["worker"] == lost && story["attempts"][1]["worker"] != lost, "{story}");
}

#[test]
fn a_killed_worker_loses_only_time() {
    let mut bench = three();
    let unit = bench.start_slow("fail");
    let lost = bench.farm.await_job("cc1plus", START_MAX);
    bench.farm.kill(&lost);
    finish_elsewhere(&bench, unit, &lost, Instant::now());

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
    finish_elsewhere(&bench, unit, &lost, Instant::now());

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
fn a_unit_that_stays_here_says_why() {
    let mut bench = Bench::start(Layout { workers: 1, slots: 1, ..Layout::default() });
    let unit = bench.start_slow("fail");
    let _ = bench.farm.await_job("cc1plus", START_MAX);
    stays_here(&bench, "full", "farm-full: ");
    bench.farm.stop("scheduler");
    stays_here(&bench, "silent", "farm-silent: ");
    bench.farm.cont("scheduler");
    let _ = bench.finish_slow(unit);
}

/// Compiles a new unit, which this machine does for the reason given.
#[track_caller]
fn stays_here(bench: &Bench, name: &str, why: &str) {
    let source = format!("{name}.c");
    fs::write(bench.project.dir().join(&source), format!("int {name};\n")).expect("a source");
    let _ = bench.farm.compile(bench.project.dir(), &["gcc", "-c", &source], SOON).ok();
    let story = &bench.farm.explain(1)[0];
    let reason = story["reason"].as_str().unwrap_or_default();
    assert!(story["went"] == "local" && reason.starts_with(why), "{story}");
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
