//! Parts of another version of kiln: each is turned away with one line that says so, and nothing that builds is harmed.

use crate::liar::Liar;
use crate::support::{BUILD_MAX, SOON, count};
use kiln_frame::{Connection, Control, Hello, PROTOCOL_VERSION, Request};
use kiln_proto::PROTOCOL;
use kiln_testkit::{Layout, TestFarm, await_for, run};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Compiles `unit.c` as another action; the counters of this unit alone.
#[track_caller]
fn compile(farm: &TestFarm, dir: &Path, salt: u32, fallback: &str) -> Value {
    farm.zero();
    let mut kiln = farm.kiln();
    kiln.args(["gcc", &format!("-DSALT={salt}"), "-c", "unit.c"]).current_dir(dir).env("KILN_FALLBACK", fallback);
    let ran = run(&mut kiln, BUILD_MAX).ok();
    assert_eq!(ran.text(), "");
    farm.stats()
}

#[test]
fn other_versions_are_turned_away() {
    let mut farm = TestFarm::start(Layout { workers: 1, cache: false, ..Layout::default() });
    let project = tempfile::tempdir().expect("a directory");
    let dir = project.path();
    fs::write(dir.join("unit.c"), "int unit(void) { return 1; }\n").expect("a source");
    let _ = run(Command::new("gcc").args(["-c", "unit.c"]).current_dir(dir), BUILD_MAX).ok();
    let plain = fs::read(dir.join("unit.o")).expect("an object");
    a_newer_worker_gets_no_work(&mut farm, dir, &plain);
    a_newer_wrapper_gets_no_answer(&farm);
}

/// A worker that speaks another protocol, before and after the only other worker goes.
fn a_newer_worker_gets_no_work(farm: &mut TestFarm, dir: &Path, plain: &[u8]) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let address = |name: &str| format!("unix:{}", farm.dir().join("s").join(name).display()).parse().expect("an address");
    let liar = runtime.block_on(Liar::start(address("newer"), address("scheduler")));
    let theirs = PROTOCOL + 1;
    let expected = format!("speaks protocol {theirs}, this scheduler speaks {PROTOCOL}: update the older of the two");
    // It tries again, as each worker does.
    for _ in 0..2 {
        let refused = runtime.block_on(liar.register_as("newer", theirs));
        assert_eq!(refused.message(), expected);
    }
    let status = run(farm.kiln().arg("status"), SOON).ok().text();
    let lines: Vec<&str> = status.lines().filter(|line| line.contains("newer")).collect();
    assert!(lines.len() == 1 && lines[0].starts_with("turned away by the scheduler: newer at "), "{status}");
    assert!(lines[0].contains(&expected) && lines[0].contains("(2 times"), "{status}");

    let stats = compile(farm, dir, 1, "fail");
    assert_eq!(count(&stats, "remote"), 1, "{stats}");
    assert!(fs::read(dir.join("unit.o")).expect("an object") == plain, "another object");
    farm.kill("w1");
    let stats = compile(farm, dir, 2, "silent");
    assert_eq!((count(&stats, "remote"), count(&stats, "fallback")), (0, 1), "{stats}");
    assert!(fs::read(dir.join("unit.o")).expect("an object") == plain, "another object");
    assert_eq!(liar.told(), 0, "it was given work");
}

/// A wrapper that speaks another version at the daemon's own socket: closed with one line, and the daemon goes on.
fn a_newer_wrapper_gets_no_answer(farm: &TestFarm) {
    let daemon = farm.daemon();
    let run_dir = farm.dir().join("client/run");
    let names = fs::read_dir(&run_dir).expect("a directory").flatten().map(|entry| entry.path());
    let socket = names.into_iter().find(|path| path.extension().is_some_and(|of| of == "sock")).expect("a socket");
    let log = || fs::read_to_string(farm.dir().join("client/daemon.log")).unwrap_or_default();
    let lines = || log().lines().filter(|line| line.contains("version")).count();
    let before = lines();
    let mut bytes = Vec::new();
    Hello { version: PROTOCOL_VERSION + 1, ..Hello::current() }.encode(&mut bytes).expect("a frame");
    let control = Control { name: "status".to_owned(), args: Vec::new() };
    Request::Control(control).encode(&mut bytes, 0).expect("a frame");
    let mut connection = Connection::connect(&socket).expect("a connection");
    connection.send(&bytes, &[]).expect("sent");
    assert!(!matches!(connection.receive(), Ok(Some(_))), "answered");
    await_for("a line about it", SOON, || (lines() > before).then_some(()));
    assert_eq!(lines() - before, 1, "{}", log());
    assert_eq!(farm.daemon(), daemon, "another daemon");
}
