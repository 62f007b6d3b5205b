//! Schedulers and caches that go in the middle of a build, no farm at all, and noise on every socket.

use crate::support::{BUILD_MAX, Bench, SOON, START_MAX, count};
use kiln_testkit::{Layout, await_for, run};
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[test]
fn a_build_outlives_its_services() {
    let mut bench = Bench::start(Layout::default());
    let build = bench.start_build_with(1001, "silent");
    bench.await_objects(3);
    bench.farm.kill("scheduler");
    bench.farm.restart("scheduler");
    let _ = bench.finish_equal(build);
    bench.farm.await_well();

    let build = bench.start_build_with(1002, "silent");
    bench.await_objects(3);
    bench.farm.kill("cache");
    let _ = bench.finish_equal(build);
    bench.farm.restart("cache");
    bench.farm.await_well();
    noise_harms_no_service(&mut bench);

    // Everything gone: the build is the machine's own; everything back: nobody has to restart the daemon.
    let all = ["scheduler", "cache", "w1", "w2"];
    let build = bench.start_build_with(1003, "silent");
    bench.await_objects(3);
    all.iter().for_each(|name| bench.farm.kill(name));
    let _ = bench.finish_equal(build);
    bench.farm.zero();
    let _ = bench.finish_equal(bench.start_build_with(1004, "silent"));
    let stats = bench.farm.stats();
    assert_eq!(count(&stats, "remote"), 0, "{stats}");
    assert_eq!(count(&stats, "fallback"), bench.project.units(), "{stats}");
    all.iter().for_each(|name| bench.farm.restart(name));
    await_remote(&bench);
    // One that was lost in a compile is used again when it has answered.
    bench.farm.await_well();
    bench.farm.zero();
    let _ = bench.finish_equal(bench.start_build_with(1005, "fail"));
    assert_eq!(count(&bench.farm.stats(), "remote"), bench.project.units());
}

/// Awaits that the same daemon, left alone, uses the farm again: it looks for a lost one about each second.
fn await_remote(bench: &Bench) {
    let mut salt = 5000;
    bench.farm.zero();
    await_for("a unit on a worker again", START_MAX, || {
        salt += 1;
        let mut kiln = bench.farm.kiln();
        kiln.args(["gcc", &format!("-DSALT={salt}"), "-Iinclude", "-c", "src/c0.c", "-o", "again.o"]);
        let _ = run(kiln.env("KILN_FALLBACK", "silent").current_dir(bench.project.dir()), BUILD_MAX).ok();
        (count(&bench.farm.stats(), "remote") > 0).then_some(())
    });
}

/// What strangers send: nothing, text, an HTTP/2 preface with junk behind it, huge lengths, and random bytes.
fn noises() -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |length: usize| -> Vec<u8> {
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    };
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    vec![
        Vec::new(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0xff; 65536],
        vec![0; 4096],
        [preface.clone(), random(4096)].concat(),
        // A SETTINGS frame that is right, then one of 2^24 - 1 bytes.
        [preface, vec![0, 0, 0, 4, 0, 0, 0, 0, 0], vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], random(1 << 16)].concat(),
        random(1),
        random(100),
        random(1 << 20),
    ]
}

fn sockets(bench: &Bench) -> Vec<PathBuf> {
    let dirs = [bench.farm.dir().join("s"), bench.farm.dir().join("client/run")];
    let entries = dirs.iter().flat_map(|dir| std::fs::read_dir(dir).expect("a directory").flatten());
    let sockets = entries.filter(|entry| entry.file_type().is_ok_and(|of| of.is_socket()));
    sockets.map(|entry| entry.path()).collect()
}

/// The log of who listens at a socket.
fn log_of(bench: &Bench, socket: &Path) -> PathBuf {
    let name = socket.file_name().expect("a name").to_string_lossy();
    let dir = bench.farm.dir();
    if name.ends_with(".sock") { dir.join("client/daemon.log") } else { dir.join(format!("{name}.log")) }
}

fn lines_about_closing(log: &Path) -> usize {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().filter(|line| line.contains("closed connection") || line.contains("connection was closed")).count()
}

fn noise_harms_no_service(bench: &mut Bench) {
    let daemon = bench.farm.daemon();
    let sockets = sockets(bench);
    assert!(sockets.len() >= 5, "scheduler, cache, two workers and the daemon: {sockets:?}");
    for socket in &sockets {
        let log = log_of(bench, socket);
        let lines = || lines_about_closing(&log);
        let before = lines();
        for noise in noises() {
            let mut stream = UnixStream::connect(socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
            stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a limit");
            stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a limit");
            // It may be closed before all is written, which is right.
            let _ = stream.write_all(&noise);
            let _ = stream.read(&mut [0; 4096]);
        }
        // Those that send nothing, or less than a frame, are closed without a word; nobody gets two lines.
        await_for("a line about who was closed", SOON, || (lines() > before).then_some(()));
        assert!(lines() - before <= noises().len(), "{}: {} lines", log.display(), lines() - before);
    }
    for name in ["scheduler", "cache", "w1", "w2"] {
        assert!(bench.farm.runs(name), "{name} ended");
    }
    await_for("the same daemon", SOON, || (bench.farm.daemon() == daemon).then_some(()));
    bench.farm.await_well();
    bench.farm.zero();
    let _ = bench.finish_equal(bench.start_build());
    let stats = bench.farm.stats();
    assert_eq!(count(&stats, "remote"), bench.project.units(), "{stats}");
}
