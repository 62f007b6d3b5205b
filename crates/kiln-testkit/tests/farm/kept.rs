//! A daemon that ends and one that follows: what the first found out about compilers and files the second neither asks nor reads again,
//! unless it has changed, and a store of it that is damaged costs time alone.

use crate::support::BUILD_MAX;
use kiln_testkit::{Layout, TestFarm, run};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

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

/// Compiles `a.c`; the action's digest and what the daemon did to know its files.
fn compile_files(farm: &TestFarm, dir: &Path) -> (String, [u64; 4]) {
    let (action, _) = compile(farm, dir);
    let files = farm.status()["files"].clone();
    (action, ["read", "recalled", "lexed", "lexed_before"].map(|name| files[name].as_u64().expect("a number")))
}

/// Waits until a change of the file would show in its times: 20 ms where they have a fraction, else 4 s.
fn settle(file: &Path) {
    let changed = fs::metadata(file).expect("a file");
    let (seconds, fraction) = (changed.ctime(), changed.ctime_nsec());
    let wait = if fraction == 0 { Duration::from_secs(4) } else { Duration::from_millis(20) };
    let then = SystemTime::UNIX_EPOCH
        + Duration::new(u64::try_from(seconds).expect("a time"), 0)
        + Duration::from_nanos(fraction.unsigned_abs());
    while SystemTime::now() <= then + wait {
        std::thread::yield_now();
    }
}

#[test]
fn what_is_known_of_files_outlives_the_daemon() {
    let farm = TestFarm::start(Layout { workers: 1, ..Layout::default() });
    let project = tempfile::tempdir().expect("a directory");
    let dir = project.path();
    let header = dir.join("h.h");
    fs::write(&header, "#define VALUE 1\n").expect("a file");
    fs::write(dir.join("a.c"), "#include <stdio.h>\n#include \"h.h\"\nint f(void) { return VALUE; }\n").expect("a file");
    settle(&dir.join("a.c"));
    // The farm's start has compiled a unit of its own.
    let (first, [read, 0, lexed, 0]) = compile_files(&farm, dir) else { panic!("nothing was known") };
    stop(&farm);
    let (again, [0, files, 0, texts]) = compile_files(&farm, dir) else { panic!("a file was read or lexed") };
    assert_eq!(again, first, "the same key");
    assert!((3..=read).contains(&files) && (3..=lexed).contains(&texts), "{files} of {read} files, {texts} of {lexed} texts");

    // The same size and an older time.
    stop(&farm);
    let time = fs::metadata(&header).expect("a file").modified().expect("a time");
    fs::write(&header, "#define VALUE 2\n").expect("a file");
    fs::File::options().append(true).open(&header).and_then(|file| file.set_modified(time)).expect("a time");
    settle(&header);
    let (second, effort) = compile_files(&farm, dir);
    assert_ne!(second, first, "the change is seen");
    assert_eq!(effort, [1, files - 1, 1, texts - 1], "what has changed is read and nothing else");
    stop(&farm);
    assert_eq!(compile_files(&farm, dir), (second.clone(), [0, files, 0, texts]), "what the second daemon learned the third knows");

    // Changed in the tick in which it was read: nothing vouches for what was read.
    stop(&farm);
    fs::write(&header, "#define VALUE 3\n").expect("a file");
    let (third, _) = compile_files(&farm, dir);
    fs::write(&header, "#define VALUE 4\n").expect("a file");
    stop(&farm);
    let (fourth, _) = compile_files(&farm, dir);
    fs::write(&header, "#define VALUE 5\n").expect("a file");
    stop(&farm);
    let (fifth, _) = compile_files(&farm, dir);
    let mut actions = vec![first, second, third, fourth, fifth];
    actions.sort();
    actions.dedup();
    assert_eq!(actions.len(), 5, "every change is seen");
}
