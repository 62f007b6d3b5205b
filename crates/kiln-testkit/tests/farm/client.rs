//! The user's own side: the daemon killed, Ctrl-C, and no farm at all.

use crate::support::{BUILD_MAX, Bench, SOON, START_MAX, count};
use kiln_testkit::{Layout, await_for, binary, run};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// In which a cancelled job has ended.
const CANCELLED_MAX: Duration = Duration::from_secs(1);

#[test]
fn a_daemon_killed_in_a_build_fails_nothing() {
    let bench = Bench::start(Layout { cache: false, ..Layout::default() });
    let build = bench.start_build_with(2001, "silent");
    bench.await_objects(3);
    let pid = i32::try_from(bench.farm.daemon()).ok().and_then(Pid::from_raw).expect("a number");
    kill_process(pid, Signal::KILL).expect("a signal");
    let _ = bench.finish_equal(build);

    // The next one starts by itself, and nothing is lost for good.
    bench.farm.zero();
    let _ = bench.finish_equal(bench.start_build());
    let stats = bench.farm.stats();
    assert_eq!(count(&stats, "remote"), bench.project.units(), "{stats}");
}

#[test]
fn a_dead_wrapper_cancels_and_a_suspended_one_does_not() {
    let bench = Bench::start(Layout { cache: false, ..Layout::default() });
    for signal in [Signal::INT, Signal::KILL] {
        a_dead_wrapper_cancels(&bench, signal);
    }
    for daemon_first in [true, false] {
        a_suspended_client_goes_on(&bench, daemon_first);
    }
}

fn names(bench: &Bench) -> Vec<String> {
    let entries = fs::read_dir(bench.project.dir()).expect("a directory").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn a_dead_wrapper_cancels(bench: &Bench, signal: Signal) {
    let before = names(bench);
    let unit = bench.start_slow("fail");
    let worker = bench.farm.await_job("cc1plus", START_MAX);
    unit.signal(signal);
    let struck = Instant::now();
    await_for("the worker's job ended", CANCELLED_MAX, || (!bench.farm.role_runs(&worker, "cc1plus")).then_some(()));
    println!("cancelled after {:?}", struck.elapsed());
    let ran = unit.finish(SOON);
    let number = signal.as_raw();
    assert!(ran.signal == Some(number) || ran.code == Some(128 + number), "code {:?}, signal {:?}", ran.code, ran.signal);
    await_for("no request left", SOON, || (bench.farm.status()["requests_active"] == 0).then_some(()));
    assert_eq!(names(bench), before, "files appeared");
}

/// Wrapper and daemon stand still until the worker has given them up: nobody is blamed, and the unit is compiled by the farm.
fn a_suspended_client_goes_on(bench: &Bench, daemon_first: bool) {
    bench.farm.zero();
    let daemon = i32::try_from(bench.farm.daemon()).ok().and_then(Pid::from_raw).expect("a number");
    let unit = bench.start_slow("fail");
    let worker = bench.farm.await_job("cc1plus", START_MAX);
    unit.signal(Signal::STOP);
    kill_process(daemon, Signal::STOP).expect("a signal");
    await_for("the worker's job ended", START_MAX, || (!bench.farm.role_runs(&worker, "cc1plus")).then_some(()));
    if daemon_first {
        kill_process(daemon, Signal::CONT).expect("a signal");
        unit.signal(Signal::CONT);
    } else {
        unit.signal(Signal::CONT);
        kill_process(daemon, Signal::CONT).expect("a signal");
    }
    let _ = bench.finish_slow(unit);
    let (stats, status) = (bench.farm.stats(), bench.farm.status());
    assert_eq!((count(&stats, "remote"), count(&stats, "local")), (1, 0), "{stats}");
    assert_eq!((count(&stats, "lost_attempts"), count(&stats, "fallback")), (0, 0), "{stats}");
    let workers = status["farm"]["workers"].as_array().cloned().unwrap_or_default();
    assert!(workers.iter().all(|worker| worker["failed"] == 0 && worker["state"] == "well"), "{status}");
}

#[test]
fn without_a_farm_the_compiler_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let project = kiln_testkit::Project::write(dir.path());
    let _ = run(project.make(&mut Command::new("make"), "", 0), BUILD_MAX).ok();
    let plain = project.take_products();
    let state = tempfile::tempdir().expect("a directory");
    let with = |program: &str| {
        let mut command = Command::new(program);
        command.env("KILN_DIR", state.path()).env("KILN_CONFIG", "/dev/null").env("KILN_FARM_SCHEDULERS", "");
        command
    };
    let kiln = binary("kiln").display().to_string();
    let _ = run(project.make(&mut with("make"), &kiln, 0), BUILD_MAX).ok();
    assert!(project.take_products() == plain, "another build");
    let told = run(with(&kiln).args(["explain", "--last", "20"]), SOON).ok().text();
    assert!(told.matches("local (no-farm: none is set up)").count() >= project.units() as usize - 1, "{told}");
    let _ = run(with(&kiln).args(["daemon", "stop"]), SOON).ok();

    // Not even a directory for its state.
    let none = state.path().join("none");
    fs::write(&none, "a file").expect("a file");
    let _ = run(project.make(with("make").env("KILN_DIR", &none), &kiln, 0), BUILD_MAX).ok();
    assert!(project.take_products() == plain, "another build");
}
