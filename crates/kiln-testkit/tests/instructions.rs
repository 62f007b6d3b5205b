//! Counts the instructions of the most frequent steps and compares them with `bench/instructions.toml`. Measures no time.

use kiln_frame::{Compile, Connection, Data, Done, Ending, FileId, Hello, Identity, OutputFile, Place, Reply, Request};
use kiln_testkit::{await_for, binary};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// More than this share above the file's number is a regression.
const GROWTH_MAX: f64 = 0.10;
/// More than this share below it, and the file guards nothing any more.
const SHRINKAGE_MAX: f64 = 0.33;
/// In which a daemon is up under valgrind, however loaded the machine.
const START_MAX: Duration = Duration::from_secs(120);
/// Headers of the unit that is compiled.
const HEADERS: usize = 100;
/// Cached compiles counted in the daemon, after those that make all known.
const HITS: u64 = 10;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a root").to_owned()
}

/// Compares a count with the file's, or writes it there where `KILN_COUNTS=write`.
fn compare(name: &str, count: u64) {
    let path = root().join("bench/instructions.toml");
    let text = fs::read_to_string(&path).expect("the file of counts");
    let key = format!("{name} = ");
    let line = text.lines().find(|line| line.starts_with(&key)).unwrap_or_else(|| panic!("{name} is not in {}", path.display()));
    println!("{name}: {count} instructions; the file has: {line}");
    if std::env::var("KILN_COUNTS").is_ok_and(|value| value == "write") {
        fs::write(&path, text.replace(line, &format!("{key}{count}"))).expect("written");
        return;
    }
    let written: u64 = line[key.len()..].parse().expect("a number");
    let change = count as f64 / written as f64 - 1.0;
    assert!(
        -SHRINKAGE_MAX < change && change < GROWTH_MAX,
        "{name} takes {count} instructions, {:+.0} % against {written} in bench/instructions.toml, which says what to do",
        change * 100.0
    );
}

/// What callgrind says at the end of a program.
fn collected(stderr: &str) -> u64 {
    let line = stderr.lines().find_map(|line| line.split_once("Collected : ")).unwrap_or_else(|| panic!("no count:\n{stderr}"));
    line.1.trim().parse().expect("a number")
}

fn callgrind(program: &Path, more: &[&str]) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).args(more).arg(program);
    command
}

fn count(command: &mut Command) -> u64 {
    let output = command.output().expect("valgrind runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    collected(&stderr)
}

/// Builds, optimised, what does nothing but the step that is counted; the directory of release builds.
fn build() -> PathBuf {
    let args =
        "build --release --offline -q -p kiln -p kiln-scan -p kiln-sched --bin kiln --example count_scan --example count_grant";
    let target = binary("kiln").ancestors().nth(2).expect("a target directory").to_owned();
    let built = Command::new(env!("CARGO")).args(args.split(' ')).arg("--target-dir").arg(&target).current_dir(root()).output();
    let built = built.expect("cargo runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("release")
}

/// The cost of one step more, of a program that is told how many to do.
fn step(program: &Path, few: u64, many: u64) -> u64 {
    let [less, more] = [few, many].map(|steps| count(callgrind(program, &[]).arg(steps.to_string())));
    (more - less) / (many - few)
}

#[test]
fn a_scan_and_a_grant_cost_what_they_did() {
    let release = build();
    compare("scan", step(&release.join("examples/count_scan"), 5, 25));
    compare("grant", step(&release.join("examples/count_grant"), 100, 1100));
}

/// A directory with a unit to compile and a daemon's state.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Home {
        let dir = tempfile::tempdir().expect("a directory");
        for n in 0..HEADERS {
            let next = if n + 1 < HEADERS { format!("#include \"h{}.h\"\n", n + 1) } else { String::new() };
            let text = format!("#ifndef H{n}_H\n#define H{n}_H\n{next}extern int f{n}(int);\n#endif\n");
            fs::write(dir.path().join(format!("h{n}.h")), text).expect("written");
        }
        fs::write(dir.path().join("a.c"), "#include \"h0.h\"\nint main(void) { return f0(1); }\n").expect("written");
        fs::create_dir(dir.path().join("state")).expect("a directory");
        Home { dir }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// With nothing in its environment but what every build has, for counts depend on that.
    fn set<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let state = self.state();
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &state).env("KILN_DIR", &state).current_dir(self.dir.path())
    }

    fn place(&self) -> Place {
        let variable = |name: &str| matches!(name, "KILN_DIR" | "HOME").then(|| self.state().into_os_string());
        Place::find(&variable, &Identity::current()).expect("a place")
    }

    /// Starts a daemon and awaits that it listens.
    fn daemon(&self, command: &mut Command) -> Child {
        let log = fs::File::create(self.log()).expect("a log");
        let daemon = self.set(command).stdout(Stdio::null()).stderr(log).spawn().expect("the daemon starts");
        let socket = self.place().socket();
        await_for("the daemon", START_MAX, || UnixStream::connect(&socket).ok());
        daemon
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("daemon.log")
    }

    fn compile(&self, kiln: &mut Command) -> Output {
        let ran = self.set(kiln).args(["gcc", "-O2", "-c", "a.c", "-o", "a.o"]).output().expect("kiln runs");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        ran
    }

    /// What the wrapper would send, and waits for the result however long it takes: the wrapper itself gives a silent daemon up
    /// after three seconds, which one under valgrind on a busy machine is.
    fn ask(&self) {
        let directory = fs::metadata(self.dir.path()).expect("a directory");
        let mut hello = Hello::current();
        hello.view.cwd = FileId { dev: directory.dev(), ino: directory.ino() };
        let bytes = |text: &str| text.as_bytes().to_vec();
        let state = self.state();
        let request = Compile {
            compiler: bytes("/usr/bin/gcc"),
            args: ["-O2", "-c", "a.c", "-o", "a.o"].map(bytes).to_vec(),
            cwd: self.dir.path().as_os_str().as_bytes().to_vec(),
            env: vec![bytes("PATH=/usr/bin:/bin"), bytes(&format!("HOME={}", state.display()))],
            terminal: None,
            under_slot: None,
            depth: 0,
            stdin: None,
        };
        let mut sent = Vec::new();
        hello.encode(&mut sent).expect("encoded");
        Request::Compile(Box::new(request)).encode(&mut sent, 0).expect("encoded");
        let mut connection = Connection::connect(&self.place().socket()).expect("the daemon");
        connection.send(&sent, &[]).expect("sent");
        loop {
            let frame = connection.receive().expect("a reply").expect("a reply");
            match Reply::from_frame(&frame).expect("a reply") {
                Reply::Wait => {}
                Reply::Done(done) => return assert_eq!(done.ending, Ending::Exit(0)),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Hits so far, once the daemon says so.
    fn hits(&self) -> u64 {
        await_for("the daemon's counters", START_MAX, || {
            let shown = self.set(Command::new(binary("kiln")).args(["stats", "--json"])).output().expect("kiln runs");
            let stats: serde_json::Value = serde_json::from_slice(&shown.stdout).ok()?;
            stats["hits"]["local"].as_u64()
        })
    }

    /// Asks until there was a hit: a result is kept after it was answered.
    fn ask_until_hit(&self) {
        await_for("a hit", START_MAX, || {
            self.ask();
            (self.hits() > 0).then_some(())
        });
    }
}

/// Ends a daemon and awaits that it is gone.
fn end(mut daemon: Child) {
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
    daemon.wait().expect("awaited");
}

/// Answers one compile with an object of 4 KiB.
fn answer_one(listener: &UnixListener) {
    let (stream, _) = listener.accept().expect("a wrapper");
    let mut connection = Connection::over(stream);
    for what in ["a hello", "a request"] {
        connection.receive().expect(what).expect(what);
    }
    let inline = |bytes: &[u8]| Data::Inline(bytes.to_vec());
    let object = OutputFile { path: b"a.o".to_vec(), executable: false, is_main: true, data: inline(&[7; 4096]) };
    let done = Done {
        ending: Ending::Exit(0),
        stdout: inline(b""),
        stderr: inline(b""),
        outputs: vec![object],
        removed: Vec::new(),
        warning: None,
    };
    let mut bytes = Vec::new();
    Reply::Done(Box::new(done)).encode(&mut bytes, 0).expect("encoded");
    connection.send(&bytes, &[]).expect("sent");
}

#[test]
fn a_call_of_the_wrapper_costs_what_it_did() {
    let (home, kiln) = (Home::new(), build().join("kiln"));
    let claim = home.place().claim().expect("the daemon's place");
    let daemon = std::thread::spawn(move || answer_one(&claim.listener));
    // Not a real daemon: it would see valgrind's LD_PRELOAD, and have the wrapper run the compiler.
    let ran = home.compile(&mut callgrind(&kiln, &[]));
    daemon.join().expect("answered");
    assert_eq!(fs::read(home.dir.path().join("a.o")).expect("an object"), [7; 4096]);
    compare("wrapper", collected(&String::from_utf8_lossy(&ran.stderr)));
}

#[test]
fn a_hit_costs_the_daemon_what_it_did() {
    let (home, kilnd) = (Home::new(), binary("kilnd"));
    // Without valgrind, which is slow at what only the first compile does.
    let plain = home.daemon(Command::new(&kilnd).arg("daemon"));
    home.ask_until_hit();
    end(plain);
    let daemon = home.daemon(callgrind(&kilnd, &["--instr-atstart=no"]).arg("daemon"));
    home.ask_until_hit();
    // The first found the compiler, the second scans, the third knows the unit.
    (0..2).for_each(|_| home.ask());
    let before = home.hits();
    // Finds the program by the names of user and host in its environment, so it needs the same.
    let mut control = Command::new("callgrind_control");
    let switch = home.set(control.args(["-i", "on", &daemon.id().to_string()])).output().expect("it runs");
    assert!(switch.status.success(), "{}", String::from_utf8_lossy(&switch.stderr));
    (0..HITS).for_each(|_| home.ask());
    assert_eq!(home.hits() - before, HITS, "all of them are hits");
    end(daemon);
    compare("hit", collected(&fs::read_to_string(home.log()).expect("a log")) / HITS);
}
