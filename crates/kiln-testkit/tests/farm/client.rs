//! The user's own side: the daemon killed, Ctrl-C, and no farm at all.

use crate::support::{BUILD_MAX, Bench, SOON, START_MAX, count};
use kiln_testkit::{Layout, await_for, binary, run};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// In which a cancelled job has ended: a second, and one more for the look at processes on a loaded machine.
const CANCELLED_MAX: Duration = Duration::from_secs(2);

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
    interrupt_cancels(&bench);
}

fn names(bench: &Bench) -> Vec<String> {
    let entries = fs::read_dir(bench.project.dir()).expect("a directory").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn interrupt_cancels(bench: &Bench) {
    let before = names(bench);
    let unit = bench.start_slow("fail");
    let worker = bench.farm.await_job("cc1plus", START_MAX);
    unit.signal(Signal::INT);
    let ran = unit.finish(SOON);
    assert!(ran.signal == Some(2) || ran.code == Some(130), "code {:?}, signal {:?}", ran.code, ran.signal);
    await_for("the worker's job ended", CANCELLED_MAX, || (!bench.farm.role_runs(&worker, "cc1plus")).then_some(()));
    await_for("no request left", SOON, || (bench.farm.status()["requests_active"] == 0).then_some(()));
    assert_eq!(names(bench), before, "files appeared");
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
    let _ = run(with(&kiln).args(["daemon", "stop"]), SOON).ok();

    // Not even a directory for its state.
    let none = state.path().join("none");
    fs::write(&none, "a file").expect("a file");
    let _ = run(project.make(with("make").env("KILN_DIR", &none), &kiln, 0), BUILD_MAX).ok();
    assert!(project.take_products() == plain, "another build");
}
