//! Jobs in real sandboxes: what they see, how they end, what is collected. Run as root and as an ordinary user.

use super::support::Farm;
use kiln_sandbox::{Ending, JobSpec, Rung, SandboxError, Terminal};
use std::io::Read;

#[test]
fn the_best_rung_is_reached() {
    let farm = Farm::new();
    let report = farm.sandbox.report();
    assert_eq!(report.rung, Rung::UserNamespace, "{report:?}");
    assert!(report.why_not_better.is_empty());
}

#[test]
fn a_job_sees_its_root_and_nothing_else() {
    let farm = Farm::new();
    assert_eq!(farm.act(&["list", "/"]), "bin\ndev\nproc\ntmp\nw\n");
    assert_eq!(farm.act(&["list", "/dev"]), "fd\nfull\nnull\npts\nrandom\nshm\nstderr\nstdin\nstdout\nurandom\nzero\n");
    assert_eq!(farm.act(&["list", "/tmp"]), "");
    let seen = farm.act(&["see"]);
    let mut lines = seen.lines();
    // Process 1 is the job's init; 2 would be the job.
    assert_eq!(lines.next(), Some("uid 1000 gid 1000 pid 2 host kiln cwd /w nice 5"), "{seen}");
    assert_eq!(lines.next(), Some("limit 0 0"));
    assert_eq!(lines.next(), Some("limit 4096 4096"));
    assert!(lines.next().unwrap().starts_with("limit 8388608 "));
    let rest: Vec<&str> = lines.collect();
    assert_eq!(&rest[..3], ["fd 0", "fd 1", "fd 2"], "no descriptor is inherited: {seen}");
    for line in &rest[3..] {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line}"));
        let expected = match name {
            "NoNewPrivs" => "1",
            "Seccomp" => "2",
            _ => "0000000000000000",
        };
        assert_eq!(value.trim(), expected, "{line}");
    }
}

#[test]
fn a_root_may_have_files_below_dev() {
    let farm = Farm::new();
    let mut tree = farm.tree();
    tree.file("/dev/shm/build/x.h", farm.store.put(b"an input"), false).unwrap();
    let run = |args: &[&str]| {
        let outcome = farm.run(farm.job(&tree, args));
        assert_eq!(outcome.ending, Ending::Exited(0), "{args:?}: {outcome:?}");
        outcome.stdout
    };
    assert_eq!(run(&["read", "/dev/shm/build/x.h"]), b"an input");
    assert_eq!(run(&["list", "/dev"]), b"fd\nfull\nnull\npts\nrandom\nshm\nstderr\nstdin\nstdout\nurandom\nzero\n");
    assert_eq!(run(&["read", "/dev/null"]), b"");
    let mut spec = farm.job(&tree, &["make", "file", "/dev/shm/build/out", "an output"]);
    spec.outputs = vec!["/dev/shm/build/out".into()];
    let outcome = farm.run(spec);
    assert_eq!((outcome.ending, outcome.outputs.len()), (Ending::Exited(0), 1), "{outcome:?}");
}

#[test]
fn the_environment_is_the_one_given() {
    let farm = Farm::new();
    let mut spec = farm.job(&farm.tree(), &["env"]);
    spec.env = vec![("A".into(), "b=c".into()), ("PATH".into(), "/nowhere:/bin".into())];
    spec.argv[0] = "act".into();
    assert_eq!(farm.run(spec).stdout, b"A=b=c\nPATH=/nowhere:/bin\n");
}

#[test]
fn endings_are_told_apart() {
    let farm = Farm::new();
    let run = |args: &[&str]| farm.run(farm.job(&farm.tree(), args));
    assert_eq!(run(&["exit", "0"]).ending, Ending::Exited(0));
    assert_eq!(run(&["exit", "41"]).ending, Ending::Exited(41));
    assert_eq!(run(&["raise", "11"]).ending, Ending::Signalled(11));
    let outcome = run(&["say", "to out", "to err", "1"]);
    assert_eq!((&outcome.stdout[..], &outcome.stderr[..]), (&b"to out"[..], &b"to err"[..]));
    assert_eq!((outcome.ending, outcome.suspected), (Ending::Exited(1), None));
    assert!(outcome.wall_us > 0 && outcome.max_rss_bytes > 0);
    let long = run(&["write-many", "900000"]);
    assert_eq!((long.ending, long.stdout.len()), (Ending::Exited(0), 900_000));
}

#[test]
fn what_cannot_start_says_why() {
    let farm = Farm::new();
    let run = |change: &dyn Fn(&mut JobSpec)| {
        let mut spec = farm.job(&farm.tree(), &["exit", "0"]);
        change(&mut spec);
        farm.sandbox.run(spec).and_then(|handle| handle.wait()).unwrap_err()
    };
    let error = run(&|spec| spec.argv[0] = "/bin/absent".into());
    assert!(
        matches!(&error, SandboxError::NotExecutable { command, source }
        if command == "/bin/absent" && source.kind() == std::io::ErrorKind::NotFound),
        "{error:?}"
    );
    let error = run(&|spec| spec.argv[0] = "/w".into());
    assert!(
        matches!(&error, SandboxError::NotExecutable { source, .. }
        if source.kind() == std::io::ErrorKind::PermissionDenied),
        "{error:?}"
    );
    assert!(matches!(run(&|spec| spec.cwd = "/absent".into()), SandboxError::BadJob(text) if text.contains("/absent")));
    assert!(matches!(run(&|spec| spec.cwd = "w".into()), SandboxError::BadJob(_)));
    assert!(matches!(run(&|spec| spec.argv.clear()), SandboxError::BadJob(_)));
    assert!(matches!(run(&|spec| spec.argv.push("a\0b".into())), SandboxError::BadJob(_)));
    assert!(matches!(run(&|spec| spec.argv.push("x".repeat(9 << 20))), SandboxError::BadJob(_)));
    assert!(matches!(run(&|spec| spec.outputs.push("/bin/act/x".into())), SandboxError::BadJob(_)));
    // The helper has survived all of that.
    assert_eq!(farm.run(farm.job(&farm.tree(), &["exit", "0"])).ending, Ending::Exited(0));
}

fn content(outcome: &mut kiln_sandbox::JobOutcome, path: &str) -> Vec<u8> {
    let output = outcome.outputs.iter_mut().find(|output| output.path == path).unwrap();
    let mut bytes = Vec::new();
    output.file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, output.size);
    bytes
}

#[test]
fn outputs_are_collected_and_stay_readable() {
    let farm = Farm::new();
    let mut spec = farm.job(&farm.tree(), &["make", "file", "deep/er/x.o", "object"]);
    spec.outputs = vec!["deep/er/x.o".into(), "absent.d".into(), "/also/absent".into()];
    let mut outcome = farm.run(spec);
    assert_eq!(outcome.ending, Ending::Exited(0), "{outcome:?}");
    assert_eq!(outcome.outputs.len(), 1);
    assert!(outcome.outputs[0].executable);
    // Other jobs have used the root in between.
    assert_eq!(farm.act(&["list", "/w"]), "", "nothing is left for the next job");
    assert_eq!(content(&mut outcome, "deep/er/x.o"), b"object");
}

#[test]
fn outputs_below_links_of_the_input_root_are_found() {
    let farm = Farm::new();
    let mut tree = farm.tree();
    tree.directory("/real/obj").unwrap();
    tree.symlink("/w/obj", "../real/obj").unwrap();
    let mut spec = farm.job(&tree, &["make", "file", "obj/x.o", "object"]);
    spec.outputs = vec!["obj/x.o".into()];
    let mut outcome = farm.run(spec);
    assert_eq!(content(&mut outcome, "obj/x.o"), b"object");
}

#[test]
fn outputs_may_stand_beside_inputs_and_in_tmp() {
    let farm = Farm::new();
    let mut tree = farm.tree();
    tree.file("/tmp/p/src/a.c", farm.store.put(b"int a;"), false).unwrap();
    let mut spec = farm.job(&tree, &["make", "file", "a.o", "object"]);
    spec.cwd = "/tmp/p/src".into();
    spec.outputs = vec!["a.o".into(), "a.c".into()];
    let mut outcome = farm.run(spec);
    assert_eq!(content(&mut outcome, "a.o"), b"object");
    assert_eq!(content(&mut outcome, "a.c"), b"int a;");
    farm.store.verify();
}

#[test]
fn an_output_tree_is_collected_whole() {
    let farm = Farm::new();
    let mut tree = farm.tree();
    tree.file("/w/t/sub/a", farm.store.put(b"a"), false).unwrap();
    tree.symlink("/w/t/l", "sub/a").unwrap();
    tree.directory("/w/t/empty").unwrap();
    let mut spec = farm.job(&tree, &["make", "file", "t/new", "n"]);
    spec.output_trees = vec!["t".into(), "absent".into()];
    let mut outcome = farm.run(spec);
    assert_eq!(outcome.directories, ["t", "t/empty", "t/sub"]);
    assert_eq!(outcome.symlinks, [("t/l".to_owned(), "sub/a".to_owned())]);
    assert_eq!(content(&mut outcome, "t/new"), b"n");
    assert_eq!(content(&mut outcome, "t/sub/a"), b"a");
    assert_eq!(outcome.outputs.len(), 2);
}

#[test]
fn many_outputs_come_in_several_messages() {
    let farm = Farm::new();
    let mut tree = farm.tree();
    for index in 0..300 {
        tree.file(&format!("/w/t/{index:03}"), farm.store.put(format!("{index}").as_bytes()), false).unwrap();
    }
    let mut spec = farm.job(&tree, &["exit", "0"]);
    spec.output_trees = vec!["t".into()];
    let mut outcome = farm.run(spec);
    assert_eq!(outcome.outputs.len(), 300);
    assert_eq!(content(&mut outcome, "t/217"), b"217");
}

#[test]
fn a_terminal_has_the_size_given_and_changes_no_bytes() {
    let farm = Farm::new();
    let mut spec = farm.job(&farm.tree(), &["tty"]);
    spec.terminal = Some(Terminal { columns: 97, rows: 31 });
    let outcome = farm.run(spec);
    assert_eq!(outcome.ending, Ending::Exited(0), "{outcome:?}");
    assert_eq!(outcome.stdout, b"0 1 1 97 31\n");
    assert_eq!(outcome.stderr, b"line one\nline two\n");
    let plain = farm.run(farm.job(&farm.tree(), &["tty"]));
    assert_eq!(plain.stdout, b"0 0 0 0 0\n");
}

#[test]
fn stdin_is_a_file_of_the_root_or_empty() {
    let farm = Farm::new();
    let mut tree = farm.tree();
    tree.file("/in", farm.store.put(b"one\0two"), false).unwrap();
    let mut spec = farm.job(&tree, &["stdin"]);
    spec.stdin = Some("/in".into());
    assert_eq!(farm.run(spec).stdout, b"one\0two");
    assert_eq!(farm.run(farm.job(&tree, &["stdin"])).stdout, b"");
    let mut spec = farm.job(&tree, &["stdin"]);
    spec.stdin = Some("/none".into());
    let error = farm.sandbox.run(spec).unwrap().wait().unwrap_err();
    assert!(matches!(error, SandboxError::Setup { .. }), "{error:?}");
}

#[test]
fn addresses_are_the_same_each_time() {
    let farm = Farm::new();
    let first = farm.act(&["addresses"]);
    assert!(first.ends_with(" 1\n"), "{first}");
    for _ in 0..5 {
        assert_eq!(farm.act(&["addresses"]), first);
    }
}

#[test]
fn jobs_run_side_by_side() {
    let farm = Farm::new();
    let handles: Vec<_> = (0..8)
        .map(|code| {
            let mut tree = farm.tree();
            tree.file("/w/own", farm.store.put(format!("{code}").as_bytes()), false).unwrap();
            farm.sandbox.run(farm.job(&tree, &["read", "own"])).unwrap()
        })
        .collect();
    for (code, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.wait().unwrap().stdout, format!("{code}").into_bytes());
    }
}

#[test]
fn a_program_that_was_just_written_can_be_run() {
    let farm = Farm::new();
    let spec = farm.job(&farm.tree(), &["exit", "0"]);
    // A process that the worker forked while the store wrote the file may still have it open for writing.
    let program = spec.root.path().join("bin/act");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let busy = std::fs::OpenOptions::new().append(true).open(&program).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    let handle = farm.sandbox.run(spec).unwrap();
    drop(busy);
    assert_eq!(handle.wait().unwrap().ending, Ending::Exited(0));
}

#[test]
fn reports_of_short_jobs_come_in_order_on_a_busy_machine() {
    let farm = Farm::new();
    let tree = farm.tree();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for code in 0..60 {
                    let mut spec = farm.job(&tree, &["exit", &code.to_string()]);
                    spec.outputs = vec!["/bin/act".into()];
                    let outcome = farm.run(spec);
                    assert_eq!((outcome.ending, outcome.outputs.len()), (Ending::Exited(code), 1));
                }
            });
        }
    });
}
