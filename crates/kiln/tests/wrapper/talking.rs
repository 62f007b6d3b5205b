//! Conversations with a daemon: results, slots, stdin, and every way in which a daemon can fail a wrapper.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use kiln_frame::Compile;
use kiln_frame::Data;
use kiln_frame::Done;
use kiln_frame::Ending;
use kiln_frame::Reply;
use kiln_frame::Request;
use kiln_frame::SILENCE;
use kiln_frame::sys;

use crate::home::Daemon;
use crate::home::Home;
use crate::home::complained;
use crate::home::done;
use crate::home::locally;
use crate::home::result;
use crate::home::said;
use crate::home::send;

/// A compiler that says that it ran, and makes its output.
const RAN: &str = "#!/bin/sh\necho ran \"$KILN_SLOT\"\necho real > a.o\n";

fn compile_of(daemon: &Daemon) -> Compile {
    match daemon.requests().pop() {
        Some(Request::Compile(compile)) => *compile,
        other => panic!("no compile: {other:?}"),
    }
}

#[test]
fn a_compile_arrives_as_the_build_gave_it() {
    let home = Home::new();
    let real = home.script("real/gcc", RAN);
    let daemon = home.reply(result(done(&[("a.o", "object")])));
    assert_eq!(said(&home.command(home.dir.join("masq/gcc")).args(["-c", "a b.c"]).env("X", "y").output().unwrap()), "");
    let compile = compile_of(&daemon);
    assert_eq!(compile.compiler, real.to_str().unwrap().as_bytes());
    assert_eq!(compile.args, [b"-c".to_vec(), b"a b.c".to_vec()]);
    assert_eq!(compile.cwd, home.dir.join("work").to_str().unwrap().as_bytes());
    let path = home.path(&["real", "/usr/bin", "/bin"]).into_string().unwrap();
    assert!(compile.env.contains(&format!("PATH={path}").into_bytes()));
    assert!(compile.env.contains(&b"X=y".to_vec()));
    assert!(!compile.env.iter().any(|variable| variable.starts_with(b"KILN_DEPTH") || variable.starts_with(b"KILN_SLOT")));
    assert_eq!((compile.depth, compile.stdin, compile.terminal, compile.under_slot), (0, None, None, None));
    let view = &daemon.hellos()[0].view;
    assert_eq!(view.identity, kiln_frame::Identity::current());
    let cwd = fs::metadata(home.dir.join("work")).unwrap();
    assert_eq!(view.cwd.ino, std::os::unix::fs::MetadataExt::ino(&cwd));
    assert_eq!(fs::read_to_string(home.work("a.o")).unwrap(), "object");
}

#[test]
fn a_result_is_committed_and_said_and_ended_as_the_compiler_did() {
    let home = Home::new();
    home.script("real/gcc", RAN);
    let big = "x".repeat(3_000_000);
    let text = big.clone();
    let _daemon = home.serve(move |_, _, connection| {
        let mut memory = sys::memory_file().unwrap();
        memory.write_all(text.as_bytes()).unwrap();
        memory.write_all(b"note: yes\n").unwrap();
        let mut done = done(&[("a.d", "a.o: a.c\n")]);
        let object = Data::Fd { index: 0, offset: 0, len: text.len() as u64 };
        done.outputs.push(kiln_frame::OutputFile { path: b"sub/a.o".to_vec(), executable: true, is_main: true, data: object });
        done.stderr = Data::Fd { index: 0, offset: text.len() as u64, len: 10 };
        done.stdout = Data::Inline(b"listing\n".to_vec());
        done.ending = Ending::Exit(3);
        done.warning = Some("slow\nworker".into());
        for reply in [Reply::Wait, Reply::Wait, result(done)] {
            let fds = [memory.as_fd()];
            send(connection, &reply, if matches!(reply, Reply::Done(_)) { &fds } else { &[] });
        }
    });
    fs::create_dir(home.work("sub")).unwrap();
    let output = home.run("gcc", &["-c", "a.c"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(output.stdout, b"listing\n");
    assert_eq!(complained(&output), "note: yes\nkiln: slow worker\n");
    assert_eq!(home.files(), ["a.d", "sub"]);
    assert!(fs::read_to_string(home.work("sub/a.o")).unwrap() == big);
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(home.work("sub/a.o")).unwrap());
    assert_eq!(mode & 0o111, 0o111);
}

#[test]
fn a_signal_is_raised_again() {
    let home = Home::new();
    home.script("real/gcc", RAN);
    let _daemon = home.reply(result(Done { ending: Ending::Signal(11), ..done(&[]) }));
    let output = home.run("gcc", &["-c", "a.c"]);
    assert_eq!(output.status.signal(), Some(11));
    assert!(!output.status.core_dumped());
}

#[test]
fn files_that_the_compiler_removes_are_removed() {
    let home = Home::new();
    home.script("real/gcc", RAN);
    for name in ["a.gcno", "keep"] {
        fs::write(home.work(name), "old").unwrap();
    }
    fs::create_dir(home.work("a.dir")).unwrap();
    let removed = [&b"a.gcno"[..], b"a.dir", b"never"].map(<[u8]>::to_vec).to_vec();
    let _daemon = home.reply(result(Done { removed, ending: Ending::Exit(1), ..done(&[]) }));
    assert_eq!(home.run("gcc", &["-c", "a.c"]).status.code(), Some(1));
    assert_eq!(home.files(), ["a.dir", "keep"]);
}

#[test]
fn a_compile_that_must_run_here_runs_under_its_slot() {
    let home = Home::new();
    home.script("real/gcc", RAN);
    let _daemon = home.reply(locally(Some("tok")));
    let ran = said(&home.run("gcc", &["-c", "a.c"]));
    assert!(ran.starts_with("ran tok:"), "{ran}");
    assert_eq!(fs::read_to_string(home.work("a.o")).unwrap(), "real\n");
}

#[test]
fn what_is_left_of_a_command_runs_after_what_the_rest_said() {
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\necho ran \"$@\" \"${KILN_SLOT%%:*}\" >&2\nexit 3\n");
    let Reply::RunLocally(run) = locally(Some("tok")) else { unreachable!("locally is RunLocally") };
    let rest =
        kiln_frame::Rest { args: vec![b"/tmp/a b.o".to_vec(), b"-lm".to_vec()], stdout: b"out".to_vec(), stderr: b"w\n".to_vec() };
    let _daemon = home.reply(Reply::RunLocally(kiln_frame::RunLocally { rest: Some(rest), ..run }));
    let output = home.command(home.dir.join("masq/gcc")).args(["a.c", "b.c", "-lm"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "w\nran /tmp/a b.o -lm tok\n");
    assert_eq!(output.stdout, b"out");
}

#[test]
fn a_wrapper_below_a_slot_needs_no_other() {
    let home = Home::new();
    home.script(
        "real/gcc",
        &format!("#!/bin/sh\n[ \"$1\" = inner ] && exec echo inner\n{} gcc inner -c x.c\n", home.kiln().display()),
    );
    let daemon = home.reply(locally(Some("tok")));
    assert_eq!(said(&home.run("gcc", &["-c", "a.c"])), "inner\n");
    assert_eq!(daemon.requests().len(), 1, "one slot is enough for both");
    // The variable alone, without its process, is nothing.
    let mut stale = home.command(home.dir.join("masq/gcc"));
    said(&stale.env("KILN_SLOT", "tok:999999999:1").args(["inner", "-c", "a.c"]).output().unwrap());
    assert_eq!(daemon.requests().len(), 2);
}

#[test]
fn links_and_tools_ask_for_slots_and_probes_ask_nothing() {
    let home = Home::new();
    home.script("real/gcc", RAN);
    home.script("real/tool", "#!/bin/sh\necho tool\n");
    home.script("real/ld", "#!/bin/sh\necho ld\n");
    home.link("masq", "ld");
    let daemon = home.reply(locally(Some("tok")));
    said(&home.run("gcc", &["a.o", "-o", "a"]));
    said(&home.run("tool", &["x"]));
    said(&home.run("ld", &["x"]));
    said(&home.command(home.kiln()).args(["local", "--heavy", "tool"]).output().unwrap());
    let slots = daemon.requests().into_iter().map(|request| match request {
        Request::Slot(slot) => (slot.heavy, slot.reason, slot.command.len()),
        other => panic!("{other:?}"),
    });
    let want = [(true, "link", 4), (false, "local", 2), (true, "local", 2), (true, "local", 1)];
    assert_eq!(slots.collect::<Vec<_>>(), want.map(|(heavy, reason, count)| (heavy, reason.to_owned(), count)));
    for probe in [&["--version"][..], &["-E", "a.c"], &["-c", "conftest.c"], &["-c", "-x", "c", "/dev/null"]] {
        said(&home.run("gcc", probe));
    }
    assert_eq!(daemon.requests().len(), 4);
}

#[test]
fn a_disabled_wrapper_asks_nothing() {
    let home = Home::new();
    home.script("real/gcc", RAN);
    let daemon = home.reply(Reply::Fail("asked".into()));
    said(&home.command(home.dir.join("masq/gcc")).env("KILN_DISABLE", "1").args(["-c", "a.c"]).output().unwrap());
    assert_eq!(daemon.requests().len(), 0);
}

/// A daemon that fails in some way: the compiler runs here as if there were none, and nothing else is said.
#[track_caller]
fn runs_here(home: &Home, _daemon: Daemon) {
    home.script("real/gcc", RAN);
    assert_eq!(said(&home.run("gcc", &["-c", "a.c"])), "ran \n");
    assert_eq!(home.files(), ["a.o"]);
    // And with `fallback = fail`, it is an error of kiln's own.
    let mut strict = home.command(home.dir.join("masq/gcc"));
    let output = strict.env("KILN_FALLBACK", "fail").args(["-c", "a.c"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(complained(&output).starts_with("kiln: "), "{}", complained(&output));
    assert_eq!(complained(&output).lines().count(), 1);
}

#[test]
fn a_daemon_that_dies_leaves_the_compile_here() {
    let home = Home::new();
    runs_here(&home, home.serve(|_, _, _| {}));
}

#[test]
fn a_daemon_that_dies_inside_a_reply_leaves_the_compile_here() {
    let home = Home::new();
    let daemon = home.serve(|_, _, connection| {
        let mut bytes = Vec::new();
        result(done(&[("a.o", "half"), ("b.o", "half")])).encode(&mut bytes, 0).unwrap();
        connection.send(&bytes[..bytes.len() - 3], &[]).unwrap();
    });
    runs_here(&home, daemon);
}

#[test]
fn a_daemon_that_talks_nonsense_leaves_the_compile_here() {
    let home = Home::new();
    runs_here(&home, home.serve(|_, _, connection| connection.send(&[0xff; 64], &[]).unwrap()));
    let home = Home::new();
    runs_here(&home, home.reply(Reply::Answer("{}".into())));
}

#[test]
fn a_daemon_that_refuses_leaves_the_compile_here() {
    let home = Home::new();
    runs_here(&home, home.reply(Reply::Refuse("another view".into())));
}

#[test]
fn a_result_with_too_little_in_its_descriptor_leaves_the_compile_here() {
    let home = Home::new();
    home.script("real/gcc", RAN);
    let _daemon = home.serve(|_, _, connection| {
        let memory = sys::memory_file().unwrap();
        let mut done = done(&[("a.d", "deps")]);
        let data = Data::Fd { index: 0, offset: 0, len: 100 };
        done.outputs.push(kiln_frame::OutputFile { path: b"a.o".to_vec(), executable: false, is_main: true, data });
        send(connection, &result(done), &[memory.as_fd()]);
    });
    assert_eq!(said(&home.run("gcc", &["-c", "a.c"])), "ran \n");
    assert_eq!(home.files(), ["a.o"]);
}

#[test]
fn a_daemon_that_falls_silent_is_given_up_after_three_seconds() {
    let home = Home::new();
    home.script("real/gcc", RAN);
    let (done_with, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let _daemon = home.serve(move |_, _, connection| {
        send(connection, &Reply::Wait, &[]);
        let _ = wait.lock().unwrap().recv();
    });
    let begin = Instant::now();
    assert_eq!(said(&home.run("gcc", &["-c", "a.c"])), "ran \n");
    let took = begin.elapsed();
    drop(done_with);
    // The upper bound is for a busy machine, on which a late wait starts anew.
    assert!(took >= Duration::from_millis(2900) && took < Duration::from_secs(20), "{took:?}");
}

/// A wrapper that gave it up would start one more compiler on a machine that has too many.
#[test]
fn a_daemon_that_gets_no_processor_is_awaited() {
    let home = Home::new();
    home.script("real/gcc", RAN);
    let _daemon = home.serve(|_, _, connection| {
        // Seen from outside, a thread that always runs is as one that always waits for its turn.
        let begin = Instant::now();
        while begin.elapsed() < SILENCE * 3 / 2 {
            std::hint::spin_loop();
        }
        send(connection, &result(done(&[("a.o", "object")])), &[]);
    });
    assert_eq!(said(&home.run("gcc", &["-c", "a.c"])), "");
    assert_eq!(home.files(), ["a.o"]);
}

#[test]
fn the_user_is_told_where_the_farm_failed_and_wants_to_know() {
    let home = Home::new();
    home.script("real/gcc", RAN);
    let _daemon = home.reply(Reply::Fail("two workers lost a.c".into()));
    let output = home.run("gcc", &["-c", "a.c"]);
    assert_eq!((output.status.code(), complained(&output)), (Some(125), "kiln: two workers lost a.c\n".into()));
    assert_eq!(home.files(), [""; 0]);
}

#[test]
fn stdin_is_there_for_the_daemon_and_again_for_a_compiler_here() {
    let home = Home::new();
    let source = format!("int f(void) {{ return 1; }}\n/* {} */\n", "x".repeat(300_000));
    let (sent, seen) = mpsc::channel();
    let sent = std::sync::Mutex::new(sent);
    // Reads all of stdin and dies.
    let _daemon = home.serve(move |request, fds, _| {
        let Request::Compile(compile) = request else { panic!("no compile") };
        let mut text = String::new();
        let mut file = fs::File::from(fds.into_iter().nth(usize::from(compile.stdin.unwrap())).unwrap());
        file.read_to_string(&mut text).unwrap();
        sent.lock().unwrap().send(text).unwrap();
    });
    let mut command = home.command(home.dir.join("masq/gcc"));
    command.args(["-c", "-x", "c", "-", "-o", "a.o"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    assert_eq!(said(&child.wait_with_output().unwrap()), "");
    assert!(seen.recv().unwrap() == source);
    let mut plain = home.command("/usr/bin/gcc");
    let mut child = plain.args(["-c", "-x", "c", "-", "-o", "b.o"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(fs::read(home.work("a.o")).unwrap() == fs::read(home.work("b.o")).unwrap());
}

#[test]
fn too_much_stdin_reaches_the_compiler_whole() {
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\nsha256sum\n");
    let daemon = home.reply(Reply::Fail("asked".into()));
    // Over 64 MiB, so that it is compiled here.
    let (size, line) = (70_usize << 20, "0123456789abcdef".repeat(64));
    let script = format!("yes {line} | head -c {size} | \"$@\"");
    let mut through = home.command("/bin/sh");
    let kiln = home.dir.join("masq/gcc");
    let through = said(&through.args(["-c", &script, "sh"]).arg(kiln).args(["-c", "-x", "c", "-"]).output().unwrap());
    let plain = said(&home.command("/bin/sh").args(["-c", &script, "sh", "sha256sum"]).output().unwrap());
    assert_eq!(through, plain);
    assert_eq!(daemon.requests().len(), 0);
}

#[test]
fn stdin_is_left_alone_where_the_compiler_does_not_read_it() {
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\ncat\n");
    let _daemon = home.reply(locally(None));
    let mut command = home.command(home.dir.join("masq/gcc"));
    let mut child =
        command.args(["-c", "a.c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"mine").unwrap();
    assert_eq!(said(&child.wait_with_output().unwrap()), "mine");
}

#[test]
fn an_interrupted_wrapper_cancels_and_writes_nothing() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGKILL] {
        let home = Home::new();
        home.script("real/gcc", RAN);
        let (arrived, arrival) = mpsc::channel();
        let (ended, end) = mpsc::channel();
        let channels = std::sync::Mutex::new((arrived, ended));
        let _daemon = home.serve(move |_, _, connection| {
            channels.lock().unwrap().0.send(()).unwrap();
            let orderly = matches!(connection.receive(), Ok(None));
            channels.lock().unwrap().1.send(orderly).unwrap();
            send(connection, &result(done(&[("a.o", "late")])), &[]);
        });
        let mut child = home.command(home.dir.join("masq/gcc")).args(["-c", "a.c"]).spawn().unwrap();
        arrival.recv().unwrap();
        // SAFETY: the child is this test's own and not yet waited for.
        unsafe { libc::kill(child.id() as i32, signal) };
        assert_eq!(child.wait().unwrap().signal(), Some(signal));
        assert!(end.recv_timeout(Duration::from_secs(1)).unwrap(), "the daemon sees the end within a second");
        assert_eq!(home.files(), [""; 0]);
    }
}

#[test]
fn a_terminal_is_told_of() {
    let home = Home::new();
    home.script("real/gcc", RAN);
    let daemon = home.reply(result(done(&[])));
    let (_leader, follower) = pseudo_terminal(97, 31);
    let mut command = home.command(home.dir.join("masq/gcc"));
    command.args(["-c", "a.c"]).stderr(follower);
    assert!(command.status().unwrap().success());
    let terminal = compile_of(&daemon).terminal.expect("stderr is a terminal");
    assert_eq!((terminal.columns, terminal.rows), (97, 31));
}

/// Both ends of a new terminal of this size.
fn pseudo_terminal(columns: u16, rows: u16) -> (fs::File, fs::File) {
    use std::os::fd::FromRawFd;
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut leader, mut follower) = (0, 0);
    // SAFETY: the pointers are valid; the descriptors are new and owned by the files.
    unsafe {
        let made = libc::openpty(&raw mut leader, &raw mut follower, std::ptr::null_mut(), std::ptr::null(), &raw const size);
        assert_eq!(made, 0);
        (fs::File::from_raw_fd(leader), fs::File::from_raw_fd(follower))
    }
}

#[test]
fn a_command_line_at_the_kernels_limit_goes_through() {
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\necho $# ${#1}\n");
    let daemon = home.reply(locally(Some("tok")));
    let many: Vec<String> = (0..14_000).map(|at| format!("-DNAME_{at}={}", "v".repeat(60))).collect();
    let mut command = home.command(home.dir.join("masq/gcc"));
    // Twice, so that kiln's own variables find no room: first as much as fits with them, then to the last byte.
    let said = said(&command.args(&many).args(["-c", "a.c"]).output().unwrap());
    assert_eq!(said, format!("14002 {}\n", many[0].len()));
    assert_eq!(compile_of(&daemon).args.len(), 14_002);
}

#[test]
fn a_wrapper_keeps_its_pid_into_the_compiler() {
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\necho $$ ${KILN_SLOT#*:}\n");
    let _daemon = home.reply(locally(Some("tok")));
    let mut command = home.command(home.dir.join("masq/gcc"));
    command.arg0("gcc").args(["-c", "a.c"]).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = child.id();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.starts_with(&format!("{pid} {pid}:")), "{said}");
}
