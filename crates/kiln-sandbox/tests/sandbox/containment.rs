//! What hostile and broken jobs can do: nothing that lasts, nothing to others. Run as root and as an ordinary user.

use super::support::Farm;
use kiln_cas::TreeBuilder;
use kiln_sandbox::{Ending, JobHandle, JobOutcome, Limit, RootMode, SandboxError};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

#[track_caller]
fn ends_with_limit(farm: &Farm, args: &[&str], limit: Limit) -> JobOutcome {
    let outcome = farm.run(farm.job(&farm.tree(), args));
    assert_eq!(
        outcome.ending,
        Ending::LimitMet(limit),
        "{args:?}: {:?}",
        String::from_utf8_lossy(&outcome.stdout[..outcome.stdout.len().min(300)])
    );
    outcome
}

/// Processes of the test program that anybody on this machine still runs under the given argument.
fn alive(mark: &str) -> usize {
    let mark = this_run(mark).into_bytes();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.starts_with(b"/bin/act\0") && line.split(|byte| *byte == 0).any(|word| word == mark)).count()
}

/// A mark that no other run of these tests on this machine uses.
fn this_run(mark: &str) -> String {
    format!("{mark}-{}", std::process::id())
}

/// Awaits `count` processes of the job with that mark.
fn await_alive(mark: &str, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while alive(mark) < count {
        assert!(Instant::now() < deadline, "{mark}: the job does not start, or has ended by itself");
        std::thread::yield_now();
    }
}

/// A job that has come to run its command.
fn started(farm: &Farm, mark: &str) -> JobHandle {
    let handle = farm.sandbox.run(farm.job(&farm.tree(), &["wait", &this_run(mark)])).unwrap();
    await_alive(mark, 1);
    handle
}

#[test]
fn a_fork_bomb_is_stopped() {
    let farm = Farm::new();
    ends_with_limit(&farm, &["fork-bomb", &this_run("mark-bomb")], Limit::Processes);
    assert_eq!(alive("mark-bomb"), 0);
}

#[test]
fn threads_count_as_processes() {
    let farm = Farm::new();
    ends_with_limit(&farm, &["threads"], Limit::Processes);
}

#[test]
fn a_memory_eater_is_stopped() {
    let farm = Farm::new();
    let outcome = ends_with_limit(&farm, &["eat-memory"], Limit::Memory);
    assert!(outcome.max_rss_bytes > 128 << 20, "{}", outcome.max_rss_bytes);
}

#[test]
fn memory_is_bounded_for_all_processes_together() {
    let farm = Farm::new();
    ends_with_limit(&farm, &["eat-memory-together"], Limit::Memory);
}

#[test]
fn a_full_disk_is_told_apart_from_the_jobs_own_failure() {
    let farm = Farm::new();
    ends_with_limit(&farm, &["fill-many", "/w"], Limit::Disk);
    ends_with_limit(&farm, &["fill-many", "/tmp"], Limit::Disk);
    // Even if it has cleaned up after itself, as compilers do, its message tells.
    let mut spec = farm.job(&farm.tree(), &["fill-and-clean", "/w"]);
    spec.limits.file_bytes = 1 << 30;
    let outcome = farm.run(spec);
    let told = outcome.ending == Ending::LimitMet(Limit::Disk) || outcome.suspected == Some(Limit::Disk);
    assert!(told, "{outcome:?}");
}

#[test]
fn a_file_that_grows_too_large_is_told_apart() {
    let farm = Farm::new();
    let mut spec = farm.job(&farm.tree(), &["fill", "/w/x"]);
    spec.limits.file_bytes = 4 << 20;
    assert_eq!(farm.run(spec).ending, Ending::LimitMet(Limit::FileSize));
}

#[test]
fn a_flood_of_messages_is_stopped() {
    let farm = Farm::new();
    let outcome = ends_with_limit(&farm, &["flood"], Limit::Output);
    assert!(outcome.stdout.len() < 2 << 20, "{}", outcome.stdout.len());
}

#[test]
fn time_is_bounded() {
    let farm = Farm::new();
    let mut spec = farm.job(&farm.tree(), &["wait", &this_run("mark-time")]);
    spec.limits.wall_ms = 200;
    let before = Instant::now();
    let outcome = farm.run(spec);
    assert_eq!(outcome.ending, Ending::LimitMet(Limit::Time));
    assert_eq!(outcome.stdout, b"waiting\n");
    assert!(before.elapsed() < Duration::from_secs(2));
    assert_eq!(alive("mark-time"), 0);
}

#[test]
fn cancel_kills_everything_at_once() {
    let farm = Farm::new();
    let handle = started(&farm, "mark-cancel");
    let canceller = handle.canceller();
    let waiting = std::thread::spawn(move || handle.wait());
    let before = Instant::now();
    canceller.cancel();
    let ended = waiting.join().unwrap();
    let took = before.elapsed();
    assert!(matches!(ended, Err(SandboxError::Cancelled)), "{ended:?}");
    assert_eq!(alive("mark-cancel"), 0);
    assert!(took < Duration::from_millis(100), "{took:?}");
    canceller.cancel();
}

#[test]
fn a_fork_bomb_can_be_cancelled() {
    let farm = Farm::new();
    let mut spec = farm.job(&farm.tree(), &["fork-bomb", &this_run("mark-cancelled-bomb")]);
    // More than there are when it is cancelled, so that it is still forking.
    spec.limits.processes = 1000;
    let handle = farm.sandbox.run(spec).unwrap();
    await_alive("mark-cancelled-bomb", 2);
    handle.cancel();
    let ended = handle.wait();
    assert!(matches!(ended, Err(SandboxError::Cancelled)), "{ended:?}");
    assert_eq!(alive("mark-cancelled-bomb"), 0);
}

#[test]
fn a_dropped_handle_kills_its_job() {
    let farm = Farm::new();
    drop(started(&farm, "mark-drop"));
    assert_eq!(alive("mark-drop"), 0);
}

#[test]
fn the_end_of_the_helper_is_the_end_of_its_jobs() {
    let farm = Farm::new();
    let handle = started(&farm, "mark-helper");
    let Farm { sandbox, .. } = &farm;
    let helper = sandbox.helper_pid();
    rustix::process::kill_process(rustix::process::Pid::from_raw(helper as i32).unwrap(), rustix::process::Signal::KILL).unwrap();
    assert!(matches!(handle.wait(), Err(SandboxError::Lost)));
    assert_eq!(alive("mark-helper"), 0);
    let ended = farm.sandbox.run(farm.job(&farm.tree(), &["exit", "0"]));
    assert!(matches!(ended, Err(SandboxError::Helper(_))), "{ended:?}");
}

#[test]
fn processes_left_behind_are_killed_before_outputs_are_collected() {
    let farm = Farm::new();
    let outcome = farm.run(farm.job(&farm.tree(), &["leave", &this_run("mark-left")]));
    assert_eq!((outcome.ending, &outcome.stdout[..]), (Ending::Exited(0), &b"left\n"[..]));
    assert_eq!(alive("mark-left"), 0);
    let mut spec = farm.job(&farm.tree(), &["write-later", "late"]);
    spec.outputs = vec!["late".into()];
    let outcome = farm.run(spec);
    assert_eq!(outcome.ending, Ending::Exited(0));
    assert!(outcome.outputs.is_empty(), "{outcome:?}");
}

#[test]
fn inputs_and_the_store_cannot_be_changed() {
    let farm = Farm::new();
    let mut tree = farm.tree();
    let paths = ["/w/a.h", "/w/tool", "/w/copy.h", "/deep/in/side.h"];
    for (path, content) in paths.iter().zip(["header", "tool", "header", "inside"]) {
        tree.file(path, farm.store.put(content.as_bytes()), *path == "/w/tool").unwrap();
    }
    let before = farm.lay_out(&tree);
    let root = before.path();
    let state = |path: &str| {
        let file = root.join(path.trim_start_matches('/'));
        let metadata = file.metadata().unwrap();
        (std::fs::read(&file).unwrap(), metadata.ino(), metadata.mode(), metadata.mtime(), metadata.uid())
    };
    let states: Vec<_> = paths.iter().map(|path| state(path)).collect();
    drop(before);
    for path in paths {
        let outcome = farm.run(farm.job(&tree, &["spoil", path]));
        assert_eq!(outcome.ending, Ending::Exited(0));
        assert!(outcome.stdout != b"0\n", "the job could do nothing at all, so this shows nothing");
        assert_eq!(
            farm.run(farm.job(&tree, &["read", path])).stdout,
            states[paths.iter().position(|other| *other == path).unwrap()].0
        );
    }
    let after = farm.lay_out(&tree);
    assert_eq!(after.path(), root);
    assert_eq!(paths.iter().map(|path| state(path)).collect::<Vec<_>>(), states);
    farm.store.verify();
}

#[test]
fn the_hosts_files_cannot_be_read() {
    let farm = Farm::new();
    for path in ["/etc/passwd", "/proc/1/root/etc/passwd", "/proc/1/environ", "/proc/1/mem", "/../../etc/passwd", "/proc/1/fd/0"] {
        let outcome = farm.run(farm.job(&farm.tree(), &["read", path]));
        assert_eq!(outcome.ending, Ending::Exited(3), "{path}: {outcome:?}");
    }
    // The worker's credentials, wherever it keeps them: a path outside of the root means nothing.
    let secret = farm.path().join("token");
    std::fs::write(&secret, "secret").unwrap();
    let outcome = farm.run(farm.job(&farm.tree(), &["read", secret.to_str().unwrap()]));
    assert_eq!((outcome.ending, &outcome.stdout[..6]), (Ending::Exited(3), &secret.to_str().unwrap().as_bytes()[..6]));
}

#[test]
fn neighbours_cannot_be_signalled_or_seen() {
    let farm = Farm::new();
    let neighbour = started(&farm, "mark-neighbour");
    let own = std::process::id().to_string();
    for pid in [own.as_str(), "1"] {
        let outcome = farm.run(farm.job(&farm.tree(), &["kill", pid]));
        // Process 1 is its own init, which takes no notice.
        assert!(outcome.ending == Ending::Exited(3) || pid == "1", "{outcome:?}");
    }
    // There is nobody but itself and its init.
    assert_eq!(farm.run(farm.job(&farm.tree(), &["kill", "-1"])).stdout, b"kill: No such process\n");
    let seen = farm.act(&["list", "/proc"]);
    let processes: Vec<&str> = seen.lines().filter(|line| line.bytes().all(|byte| byte.is_ascii_digit())).collect();
    assert_eq!(processes, ["1", "2"]);
    assert_eq!(alive("mark-neighbour"), 1);
    drop(neighbour);
}

#[test]
fn there_is_no_network() {
    let farm = Farm::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    for args in [&["inet"][..], &["unix"], &["netlink"], &["connect", &port]] {
        let outcome = farm.run(farm.job(&farm.tree(), args));
        assert_eq!(outcome.ending, Ending::Exited(3), "{args:?}: {outcome:?}");
    }
    // Where sockets exist (plain actions), they lead nowhere either, neither out nor to the next job.
    let plain = |args: &[&str]| {
        let mut spec = farm.job(&farm.tree(), args);
        (spec.mode, spec.cwd, spec.argv[0]) = (RootMode::HostUsr, "w".into(), "../bin/act".into());
        spec
    };
    assert_eq!(farm.run(plain(&["inet"])).ending, Ending::Exited(0));
    assert_eq!(farm.run(plain(&["loopback"])).ending, Ending::Exited(0), "it may talk to itself");
    assert_eq!(farm.run(plain(&["connect", &port])).ending, Ending::Exited(3));
    let mut serving = plain(&["abstract-serve", "kiln-test"]);
    serving.outputs = vec![];
    let serving = farm.sandbox.run(serving).unwrap();
    let outcome = farm.run(plain(&["abstract-connect", "kiln-test"]));
    assert_eq!(outcome.ending, Ending::Exited(3), "{outcome:?}");
    drop(serving);
}

#[test]
fn privileges_cannot_be_had() {
    let farm = Farm::new();
    for act in ["mount", "umount", "unshare", "clone-user", "setns", "ptrace", "chroot", "setuid", "io-uring", "limit-init"] {
        let outcome = farm.run(farm.job(&farm.tree(), &[act]));
        assert_eq!(outcome.ending, Ending::Exited(3), "{act}: {outcome:?}");
    }
    let outcome = farm.run(farm.job(&farm.tree(), &["make", "device", "/w/null"]));
    assert_eq!(outcome.ending, Ending::Exited(3), "{outcome:?}");
    // A call that only an attack makes ends the job, and the end is told apart from the job's own.
    ends_with_limit(&farm, &["pivot"], Limit::SystemCall);
}

#[test]
fn outputs_that_are_no_files_are_left_alone() {
    let farm = Farm::new();
    let tricks: [(&[&str], &str); 6] = [
        (&["make", "fifo", "out"], "out"),
        (&["make", "link", "out", "/proc/self/environ"], "out"),
        (&["make", "link", "out", "/bin/act"], "out"),
        (&["make", "dir", "out"], "out"),
        (&["make", "link", "d", "/proc"], "d/version"),
        (&["exit", "0"], "/proc/version"),
    ];
    for (args, output) in tricks {
        let mut spec = farm.job(&farm.tree(), args);
        if output == "d/version" {
            // The job replaces the directory of its output by a link.
            spec.argv = vec!["/bin/act".into(), "make".into(), "link".into(), "d/version".into(), "/etc/passwd".into()];
        }
        spec.outputs = vec![output.into()];
        let outcome = farm.run(spec);
        assert_eq!(outcome.ending, Ending::Exited(0), "{args:?}: {outcome:?}");
        assert!(outcome.outputs.is_empty(), "{args:?}: {outcome:?}");
    }
}

#[test]
fn a_huge_output_is_refused() {
    let farm = Farm::new();
    let mut spec = farm.job(&farm.tree(), &["make", "huge", "out"]);
    spec.outputs = vec!["out".into()];
    let outcome = farm.run(spec);
    assert_eq!(outcome.ending, Ending::LimitMet(Limit::FileSize), "{outcome:?}");
    assert!(outcome.outputs.iter().all(|output| output.size == 0));
}

#[test]
fn outputs_outside_of_the_input_root_are_refused() {
    let farm = Farm::new();
    let mut spec = farm.job(&farm.tree(), &["exit", "0"]);
    (spec.mode, spec.cwd, spec.argv[0]) = (RootMode::HostUsr, "w".into(), "../bin/act".into());
    for output in ["/etc/passwd", "../../etc/passwd", "../../../usr/bin/env", "..", "."] {
        let mut spec = farm.job(&farm.tree(), &["exit", "0"]);
        (spec.mode, spec.cwd, spec.argv[0]) = (RootMode::HostUsr, "w".into(), "../bin/act".into());
        spec.outputs = vec![output.into()];
        let ended = farm.sandbox.run(spec).and_then(JobHandle::wait);
        assert!(matches!(ended, Err(SandboxError::BadJob(_))), "{output}: {ended:?}");
    }
}

#[test]
fn input_roots_that_stand_in_the_way_are_refused() {
    let farm = Farm::new();
    for name in ["/proc", "/dev", "/tmp"] {
        for link in [false, true] {
            let mut tree = farm.tree();
            if link {
                tree.symlink(name, "w").unwrap();
            } else {
                tree.file(name, farm.store.put(b"x"), false).unwrap();
            }
            let ended = farm.sandbox.run(farm.job(&tree, &["exit", "0"])).and_then(JobHandle::wait);
            assert!(matches!(ended, Err(SandboxError::Setup { .. })), "{name}: {ended:?}");
        }
    }
}

#[test]
fn a_plain_action_sees_the_workers_files_but_cannot_write_to_them() {
    let farm = Farm::new();
    let mut tree = TreeBuilder::new();
    tree.file("/src/a.c", farm.store.put(b"int a;\n"), false).unwrap();
    let script = "set -e; pwd; cat a.c; ls / | tr '\\n' ' '; ! touch /usr/x 2>/dev/null; ! touch /x 2>/dev/null; ! touch /dev/x 2>/dev/null; \
                  touch /tmp/t ../b; gcc -c a.c -o ../out/a.o; id -un; test ! -e /home; test ! -e /etc/shadow";
    let mut spec = farm.job(&tree, &[]);
    spec.mode = RootMode::HostUsr;
    spec.argv = vec!["sh".into(), "-c".into(), script.into()];
    spec.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
    spec.cwd = "src".into();
    spec.outputs = vec!["../out/a.o".into(), "../b".into()];
    let outcome = farm.run(spec);
    assert_eq!(outcome.ending, Ending::Exited(0), "{outcome:?}");
    let seen = String::from_utf8(outcome.stdout).unwrap();
    assert!(seen.starts_with("/kiln/src\nint a;\nbin "), "{seen}");
    assert!(seen.ends_with("kiln\n"), "{seen}");
    let names: Vec<&str> = outcome.outputs.iter().map(|output| output.path.as_str()).collect();
    assert_eq!(names, ["../out/a.o", "../b"]);
    farm.store.verify();
}
