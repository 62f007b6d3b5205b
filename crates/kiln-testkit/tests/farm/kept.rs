//! A daemon that ends and one that follows: what the first found out about compilers the second neither asks nor reads again, and a
//! store of it that is damaged costs time alone.

use crate::support::BUILD_MAX;
use kiln_testkit::{Layout, TestFarm, run};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Compiles `a.c`; the action's digest and what the daemon did to know its compiler.
fn compile(farm: &TestFarm, dir: &Path) -> (String, Value) {
    let _ = run(farm.kiln().args(["gcc", "-O2", "-c", "a.c", "-o", "a.o"]).current_dir(dir), BUILD_MAX).ok();
    let action = farm.explain(1)[0]["action"].as_str().expect("an action").to_owned();
    (action, farm.status()["compilers"].clone())
}

/// Ends the daemon, which saves what it knows; the command waits for that.
fn stop(farm: &TestFarm) {
    let _ = run(farm.kiln().args(["daemon", "stop"]), BUILD_MAX).ok();
}

#[test]
fn what_is_known_of_compilers_outlives_the_daemon() {
    let farm = TestFarm::start(Layout { workers: 1, ..Layout::default() });
    let project = tempfile::tempdir().expect("a directory");
    let dir = project.path();
    fs::write(dir.join("a.c"), "#include <stdio.h>\nint f(void) { return puts(\"a\"); }\n").expect("a file");
    let (first, effort) = compile(&farm, dir);
    let (asked, none) = (effort["asked"].as_u64().expect("a number"), Value::from(0));
    assert!(asked >= 2 && effort["recalled"] == none, "its toolchain and what it has built in: {effort}");
    assert!(effort["hashed_bytes"].as_u64() > Some(1 << 20), "{effort}");
    stop(&farm);
    let (second, effort) = compile(&farm, dir);
    assert_eq!(second, first, "the same key");
    let nothing_anew = |effort: &Value| {
        assert!(effort["recalled"].as_u64() >= Some(2), "{effort}");
        assert_eq!((&effort["asked"], &effort["hashed_bytes"]), (&none, &none), "the compiler is neither asked nor read: {effort}");
    };
    nothing_anew(&effort);
    let store = farm.dir().join("client/daemon/compilers");
    let whole = fs::read(&store).expect("the store");
    for (bytes, what) in [(&whole[..whole.len() / 2], "truncated"), (b"garbage", "garbage"), (b"", "empty")] {
        stop(&farm);
        fs::write(&store, bytes).expect("a file");
        let log = farm.dir().join("client/daemon.log");
        let before = fs::read_to_string(&log).expect("a log").len();
        let (again, effort) = compile(&farm, dir);
        assert!(again == first && effort["asked"].as_u64() >= Some(2) && effort["recalled"] == none, "{what}: {effort}");
        let told = fs::read_to_string(&log).expect("a log");
        assert_eq!(told[before..].matches("compilers is not used: damaged").count(), 1, "{what}: {told}");
    }
    stop(&farm);
    let (last, effort) = compile(&farm, dir);
    assert_eq!(last, first);
    nothing_anew(&effort);
}
