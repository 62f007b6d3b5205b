//! Starting the daemon: once, alone, inheriting nothing, and without harm where it cannot start.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use kiln_frame::PROTOCOL_VERSION;

use crate::home::Home;
use crate::home::complained;
use crate::home::locally;
use crate::home::said;
use crate::permissions::with_own_mounts;

/// A home with a `kilnd` that notes how it was started. Dropping it ends every daemon it started.
struct Starting {
    home: Home,
}

impl Starting {
    /// `defines`: what the fake daemon does instead of serving.
    fn new(defines: &[&str]) -> Starting {
        Starting::of_version(PROTOCOL_VERSION, defines)
    }

    /// The daemon listens where one of this protocol version does.
    fn of_version(version: u32, defines: &[&str]) -> Starting {
        let home = Home::new();
        let socket = socket_of(&home, version);
        home.script("real/gcc", "#!/bin/sh\necho ran ${KILN_SLOT%%:*}\n");
        fs::create_dir(home.dir.join("notes")).unwrap();
        let mut reply = Vec::new();
        locally(Some("tok")).encode(&mut reply, 0).unwrap();
        fs::write(home.dir.join("reply"), reply).unwrap();
        let text = |name: &str, value: PathBuf| format!("-D{name}=\"{}\"", value.display());
        let compiled = Command::new("gcc")
            .args(["-O1", "-o"])
            .arg(home.dir.join("bin/kilnd"))
            .arg(text("NOTES", home.dir.join("notes")))
            .arg(text("SOCKET", socket))
            .arg(text("REPLY", home.dir.join("reply")))
            .args(defines)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wrapper/fake_kilnd.c"))
            .status();
        assert!(compiled.unwrap().success(), "the fake daemon compiles");
        Starting { home }
    }

    fn compile(&self) -> Command {
        let mut command = self.home.command(self.home.dir.join("masq/gcc"));
        command.args(["-c", "a.c"]);
        command
    }

    /// Pids of all daemons that were ever started here.
    fn daemons(&self) -> Vec<i32> {
        let names =
            fs::read_dir(self.home.dir.join("notes")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.strip_suffix(".world")?.parse().ok()).collect()
    }

    /// What the only daemon noted under `name`.
    fn note(&self, name: &str) -> String {
        let [pid] = self.daemons()[..] else { panic!("not one daemon: {:?}", self.daemons()) };
        fs::read_to_string(self.home.dir.join(format!("notes/{pid}.{name}"))).unwrap()
    }

    fn last_error(&self) -> Option<String> {
        fs::read_to_string(self.home.state().join("last-error")).ok()
    }
}

fn socket_of(home: &Home, version: u32) -> PathBuf {
    let own = home.place().socket().to_str().unwrap().to_owned();
    PathBuf::from(own.replace(&format!("/v{PROTOCOL_VERSION}-"), &format!("/v{version}-")))
}

impl Drop for Starting {
    fn drop(&mut self) {
        for pid in self.daemons() {
            let is_ours = fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(&self.home.dir));
            if is_ours {
                // SAFETY: a process that runs this test's own daemon.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
    }
}

#[test]
fn a_hundred_wrappers_start_one_daemon() {
    let starting = Starting::new(&[]);
    let children: Vec<_> =
        (0..100).map(|_| starting.compile().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).collect();
    for child in children {
        assert_eq!(said(&child.wait_with_output().unwrap()), "ran tok\n");
    }
    assert_eq!(starting.daemons().len(), 1);
    // And those that come later find it.
    assert_eq!(said(&starting.compile().output().unwrap()), "ran tok\n");
    assert_eq!(starting.daemons().len(), 1);
    assert_eq!(starting.last_error(), None);
}

#[test]
fn the_daemon_inherits_nothing() {
    let starting = Starting::new(&[]);
    let mut command = starting.home.command("/bin/sh");
    // A build with a jobserver, variables, an ignored and a blocked signal, another umask, directory and limit.
    let script = "trap '' INT USR1; umask 000; ulimit -f 1000; exec 5</dev/zero 9</dev/zero; exec \"$@\"";
    command.args(["-c", script, "sh"]).arg(starting.home.dir.join("masq/gcc")).args(["-c", "a.c"]);
    command.env("LANG", "C").env("MAKEFLAGS", "-j").env("KILN_X", "kept").env("USER", "me").env("LD_PRELOAD", "");
    assert_eq!(said(&command.output().unwrap()), "ran tok\n");
    let mut env: Vec<String> = starting.note("env").lines().map(str::to_owned).collect();
    env.sort();
    let home = starting.home.dir.display();
    assert_eq!(env, [format!("HOME={home}"), format!("KILN_DIR={home}/state"), "KILN_X=kept".into(), "USER=me".into()]);
    assert_eq!(
        starting.note("fds"),
        "0=/dev\n1=/dev\n2=/tmp\n3=pipe\n".replace("/tmp", &starting.home.dir.display().to_string()[..4])
    );
    assert_eq!(starting.note("world"), "cwd=/ umask=77 session=1 parent-is-starter=0 signals=0 argc=4 argv1=daemon\n");
}

#[test]
fn nobody_waits_for_the_daemon_to_close_its_output() {
    let starting = Starting::new(&[]);
    let (mut read, write) = pipe();
    let mut command = starting.compile();
    let fd = write.as_raw_fd();
    // As a jobserver or an output pipe that a build passes on: not close-on-exec.
    // SAFETY: between fork and exec only a system call is made.
    unsafe {
        command.pre_exec(move || {
            libc::fcntl(fd, libc::F_SETFD, 0);
            Ok(())
        });
    }
    let output = command.output().unwrap();
    assert_eq!(said(&output), "ran tok\n");
    assert_eq!(starting.daemons().len(), 1);
    drop(write);
    // Ends only if the daemon, which still runs, does not hold the other end.
    assert_eq!(read.read_to_end(&mut Vec::new()).unwrap(), 0);
}

fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which are new and owned by the files.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))
    }
}

#[test]
fn ninja_and_make_do_not_wait_for_the_daemon() {
    let starting = Starting::new(&[]);
    let home = &starting.home;
    fs::write(home.work("build.ninja"), "rule cc\n command = gcc -c $in\nbuild x: cc in\n").unwrap();
    fs::write(home.work("Makefile"), "all: ; +gcc -c in\n").unwrap();
    fs::write(home.work("in"), "").unwrap();
    for tool in [&["/usr/bin/ninja"][..], &["/usr/bin/make", "-j2"]] {
        let output = home.command(tool[0]).args(&tool[1..]).output().unwrap();
        assert!(said(&output).contains("ran tok"), "{tool:?}");
    }
    assert_eq!(starting.daemons().len(), 1);
}

#[test]
fn a_daemon_that_fails_is_not_started_again_at_once() {
    let starting = Starting::new(&["-DFAILS=\"kiln.toml: unknown key 'sheduler'\""]);
    let children: Vec<_> =
        (0..20).map(|_| starting.compile().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).collect();
    for child in children {
        assert_eq!(said(&child.wait_with_output().unwrap()), "ran\n");
    }
    assert_eq!(starting.daemons().len(), 1);
    let error = starting.last_error().unwrap();
    assert_eq!(error, "the daemon did not start: kiln.toml: unknown key 'sheduler'\n");
    assert_eq!(fs::metadata(starting.home.state().join("last-error")).unwrap().permissions().mode() & 0o777, 0o600);
    // Strict builds say so, and fail.
    let output = starting.compile().env("KILN_FALLBACK", "fail").output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(complained(&output).starts_with("kiln: the daemon did not start: kiln.toml"), "{}", complained(&output));
    let output = starting.compile().env("KILN_FALLBACK", "warn").output().unwrap();
    assert!(complained(&output).ends_with("; compiling here\n"), "{}", complained(&output));
    // Once the failure is old, the next wrapper tries again.
    let failed = File::options().write(true).open(starting.home.place().start_failed()).unwrap();
    failed.set_modified(std::time::SystemTime::now() - Duration::from_secs(11)).unwrap();
    assert_eq!(said(&starting.compile().output().unwrap()), "ran\n");
    assert_eq!(starting.daemons().len(), 2);
}

#[test]
fn a_daemon_that_cannot_run_or_is_not_there_is_named() {
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\necho ran\n");
    assert_eq!(said(&home.run("gcc", &["-c", "a.c"])), "ran\n");
    let error = || fs::read_to_string(home.state().join("last-error")).unwrap();
    assert_eq!(error(), "the daemon did not start: kilnd is neither beside kiln, nor in ../libexec, nor in PATH\n");
    fs::remove_file(home.place().start_failed()).unwrap();
    home.script("bin/kilnd", "#!/nonexistent/interpreter\n");
    assert_eq!(said(&home.run("gcc", &["-c", "a.c"])), "ran\n");
    assert!(error().contains("cannot run ") && error().contains("bin/kilnd"), "{}", error());
    fs::remove_file(home.place().start_failed()).unwrap();
    home.script("bin/kilnd", "#!/bin/sh\nexit 3\n");
    assert_eq!(said(&home.run("gcc", &["-c", "a.c"])), "ran\n");
    assert!(error().contains("ended at once"), "{}", error());
}

#[test]
fn a_daemon_that_hangs_at_its_start_costs_two_seconds() {
    let starting = Starting::new(&["-DHANGS"]);
    let begin = Instant::now();
    assert_eq!(said(&starting.compile().output().unwrap()), "ran\n");
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(1900) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(starting.last_error().unwrap(), "the daemon did not start: it was not ready within 2 s\n");
}

#[test]
fn a_terminal_is_warned_once_an_hour() {
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\nexit 0\n");
    // `script` gives the build a terminal; stderr itself goes to a file, as under ninja.
    let run = |times: usize| {
        let line = "gcc -c a.c 2>>err; ".repeat(times);
        let mut command = home.command("/usr/bin/script");
        let output = command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).matches("kiln: ").count()
    };
    assert_eq!(run(3), 1);
    assert_eq!(fs::read_to_string(home.work("err")).unwrap(), "");
    let stamps = || {
        fs::read_dir(home.place().dir())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_str().unwrap().contains("warned-"))
            .collect::<Vec<_>>()
    };
    assert_eq!(stamps().len(), 1);
    for stamp in stamps() {
        let file = File::options().write(true).open(stamp).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3601)).unwrap();
    }
    assert_eq!(run(2), 1);
}

#[test]
fn an_older_daemon_is_asked_to_go() {
    let starting = Starting::new(&[]);
    let older = UnixListener::bind(socket_of(&starting.home, PROTOCOL_VERSION - 1)).unwrap();
    let newer = UnixListener::bind(socket_of(&starting.home, PROTOCOL_VERSION + 1)).unwrap();
    assert_eq!(said(&starting.compile().output().unwrap()), "ran tok\n");
    let mut said = Vec::new();
    older.accept().unwrap().0.read_to_end(&mut said).unwrap();
    assert_eq!(said, kiln_frame::drain_frame());
    newer.set_nonblocking(true).unwrap();
    assert_eq!(newer.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_daemon_of_another_version_is_named() {
    for version in [PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1] {
        let starting = Starting::of_version(version, &[]);
        for _ in 0..3 {
            assert_eq!(said(&starting.compile().output().unwrap()), "ran\n");
        }
        assert_eq!(starting.daemons().len(), 1, "it is not started again at once");
        let why = format!("kilnd speaks version {version} of the protocol and kiln speaks {PROTOCOL_VERSION}");
        let error = starting.last_error().unwrap();
        assert_eq!(error, format!("the daemon did not start: {why}: install both of one release\n"));
        let output = starting.compile().env("KILN_FALLBACK", "warn").output().unwrap();
        assert!(complained(&output).contains(&why), "{}", complained(&output));
    }
}

#[test]
fn a_socket_left_by_a_dead_daemon_is_no_daemon() {
    let starting = Starting::new(&[]);
    drop(UnixListener::bind(starting.home.place().socket()).unwrap());
    assert_eq!(said(&starting.compile().output().unwrap()), "ran tok\n");
    assert_eq!(starting.daemons().len(), 1);
}

#[test]
fn without_any_place_for_a_socket_the_compiler_runs() {
    if !with_own_mounts("starting::without_any_place_for_a_socket_the_compiler_runs") {
        return;
    }
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\necho ran\n");
    let mount = |args: &[&str]| assert!(Command::new("mount").args(args).status().unwrap().success());
    mount(&["--bind", "/tmp", "/tmp"]);
    mount(&["-o", "remount,bind,ro", "/tmp"]);
    // A read-only home, and none.
    for dir in [home.dir.to_str().unwrap(), "/proc/none", ""] {
        let mut command = home.command(home.dir.join("masq/gcc"));
        command.env("KILN_DIR", dir).env("HOME", dir).args(["-c", "a.c"]);
        assert_eq!(said(&command.output().unwrap()), "ran\n", "{dir}");
        let output = command.env("KILN_FALLBACK", "fail").output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert!(complained(&output).starts_with("kiln: no directory for the socket: /tmp/kiln-"), "{}", complained(&output));
    }
    assert!(Command::new("umount").arg("/tmp").status().unwrap().success());
}
