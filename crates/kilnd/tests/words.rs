//! The words of `kiln` that `kilnd cli` answers, as processes.

mod support;

use std::os::unix::process::ExitStatusExt;

use support::Home;

#[test]
fn without_a_daemon_words_say_so() {
    let home = Home::with_programs(&[]);
    let (code, said) = home.ended(&["cli", "stats"]);
    assert_eq!((code, said.as_str()), (Some(1), "kiln: no daemon runs; a compile or kiln daemon start starts one\n"));
    let status = home.output(&["cli", "status", "--json"]);
    assert_eq!(status.status.code(), Some(1));
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["daemon"], serde_json::Value::Null);
}

#[test]
fn a_daemon_is_started_asked_and_stopped() {
    let home = Home::with_programs(&[]);
    let (code, said) = home.ended(&["cli", "daemon", "start"]);
    assert!(code == Some(0) && said.contains("the daemon runs at"), "{said}");
    let (code, said) = home.ended(&["cli", "daemon", "start"]);
    assert!(code == Some(0) && said.contains("the daemon runs already at"), "{said}");
    let stats = home.output(&["cli", "stats"]);
    assert!(String::from_utf8(stats.stdout).unwrap().starts_with("requests "));
    let (code, said) = home.ended(&["cli", "explain", "nothing.c"]);
    assert_eq!((code, said.as_str()), (Some(1), ""));
    let (code, said) = home.ended(&["cli", "daemon", "stop"]);
    assert_eq!((code, said.as_str()), (Some(0), "kiln: the daemon has ended\n"));
    let (code, said) = home.ended(&["cli", "daemon", "stop"]);
    assert_eq!((code, said.as_str()), (Some(0), "kiln: no daemon runs\n"));
}

#[test]
fn a_daemon_that_cannot_start_says_why_wherever_one_asks() {
    let home = Home::with_programs(&[("gcc", "exit 0")]);
    let config = home.write("kiln.toml", "[daemon]\nslotz = 1\n");
    let config = config.to_str().unwrap();
    let why = format!("{config}:2: [daemon] unknown key `slotz`; did you mean `slots`?");
    for word in ["run", "doctor", "status"] {
        let args: &[&str] = if word == "run" { &["cli", "run", "true"] } else { &["cli", word] };
        let output = home.kilnd(args).env("KILN_CONFIG", config).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(&why), "{word}: {said}");
        // The build itself goes on.
        assert_eq!(output.status.code(), Some(i32::from(word != "run")), "{word}: {said}");
    }
}

#[test]
fn a_build_without_a_place_for_links_runs_plainly_with_one_warning() {
    let home = Home::with_programs(&[("gcc", "exit 3")]);
    let none = home.write("none", "a file where a directory should be");
    let run = |fallback: &str| {
        let mut command = home.kilnd(&["cli", "run", "--", "gcc"]);
        let output = command.env("KILN_DIR", &none).env("KILN_FALLBACK", fallback).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run("silent");
    let warning = format!("kiln: no links to run with, compiling plainly: cannot make {}/links: ", none.display());
    assert!(code == Some(3) && said.starts_with(&warning) && said.lines().count() == 1, "{code:?} {said}");
    let (code, said) = run("fail");
    assert!(code == Some(1) && said.contains("cannot make "), "{code:?} {said}");
}

#[test]
fn a_build_runs_under_links_and_ends_as_it_ended() {
    let home = Home::with_programs(&[("gcc", "exit 0"), ("x86_64-linux-gnu-g++-99", "exit 0"), ("gcc-ar", "exit 0")]);
    let (code, said) =
        home.ended(&["cli", "run", "--", "sh", "-c", "command -v x86_64-linux-gnu-g++-99 >&2; command -v gcc >&2; exit 7"]);
    assert_eq!(code, Some(7));
    let links = home.at("state/links");
    assert!(said.contains(links.join("x86_64-linux-gnu-g++-99").to_str().unwrap()), "{said}");
    assert!(said.contains(links.join("gcc").to_str().unwrap()), "{said}");
    assert!(!links.join("gcc-ar").exists(), "what is no compiler is left alone");
    assert_eq!(said.lines().filter(|line| line.starts_with("kiln: 0 units in ") && line.ends_with(" s")).count(), 1, "{said}");
    assert!(said.lines().last().is_some_and(|line| line.contains("CC='kiln gcc'")), "a build that kiln saw nothing of: {said}");
    let output = home.output(&["cli", "run", "--", "sh", "-c", "kill -USR1 $$"]);
    assert_eq!(output.status.signal(), Some(rustix::process::Signal::USR1.as_raw()), "a signal is passed on");
    let (code, said) = home.ended(&["cli", "run", "no-such-command"]);
    assert!(code == Some(127) && said.contains("no-such-command"), "{said}");
}

#[test]
fn signals_reach_the_build() {
    let home = Home::with_programs(&[]);
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT, rustix::process::Signal::HUP] {
        let number = signal.as_raw();
        let script = format!("trap 'echo got {number} >&2; exit 9' {number}; echo ready >&2; while :; do sleep 0.05; done");
        let mut build = home.start(&["cli", "run", "--", "sh", "-c", &script]);
        build.hear("ready");
        build.signal(signal);
        build.hear(&format!("got {number}"));
        assert_eq!(build.wait().code(), Some(9));
    }
}

#[test]
fn links_are_made_for_whoever_wants_to_keep_them() {
    let home = Home::with_programs(&[("gcc", "exit 0")]);
    let dir = home.at("links");
    let output = home.output(&["cli", "links", dir.to_str().unwrap(), "--local", "ld"]);
    assert_eq!(output.status.code(), Some(0));
    for name in ["gcc", "ld"] {
        assert_eq!(std::fs::read_link(dir.join(name)).unwrap(), home.at("bin/kiln"), "{name}");
    }
    let (code, said) = home.ended(&["cli", "links", dir.to_str().unwrap(), "--local", "../ld"]);
    assert!(code == Some(1) && said.contains("no name of a command"), "{said}");
}

#[test]
fn slots_are_a_number_and_their_assumptions() {
    let home = Home::with_programs(&[]);
    let output = home.output(&["cli", "slots"]);
    let jobs: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert!(jobs >= 1);
    assert!(String::from_utf8(output.stderr).unwrap().contains("assumes 1 GB"));
    let output = home.output(&["cli", "slots", "--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["jobs"].as_u64(), Some(jobs));
}

#[test]
fn verify_tells_equal_from_different() {
    // The wrapper here runs what it is given; `SPOIL` makes its result another one.
    let compiler = "case \"$*\" in *-c*) ;; *) exit 0;; esac\nout=${SPOIL_BY:-object}\n\
                    [ -n \"$KILN_RUNS\" ] && out=$SPOIL\nprintf \"$out\" > a.o\necho warned >&2";
    let home = Home::with_programs(&[("gcc", compiler)]);
    // Marks what runs through the wrapper.
    let kiln = home.at("bin/kiln");
    std::fs::write(&kiln, "#!/bin/sh\nKILN_RUNS=1 exec \"$@\"\n").unwrap();
    home.write("a.c", "int a;\n");
    let build = |spoil: &str| {
        let output = home.kilnd(&["cli", "verify", "--", "gcc", "-c", "a.c"]).env("SPOIL", spoil).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().filter(|line| *line == "warned").count(), 1, "messages come once: {said}");
        assert_eq!(std::fs::read_to_string(home.at("a.o")).unwrap(), "object", "what stays is the plain result");
        (output.status.code(), said)
    };
    let (code, said) = build("object");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 unit compiled both ways: 1 equal, 0 differ"), "{said}");
    assert!(!home.at("a.o").is_symlink());
    let (code, said) = build("other");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("0 equal, 1 differ") && said.contains("a.c (gcc): a.o: content"), "{said}");
}
