//! A worker whose processor cannot run the client's compiler, and its own compiler in that one's place. The other architecture is a
//! word of the configuration here; the compilers are two of one release at different places.

use crate::support::{BUILD_MAX, count};
use kiln_testkit::{Layout, Ran, TestFarm, run};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const GOOD: &str = "#include <stddef.h>\n#include \"h.h\"\nstruct s { char c; double d; };\nsize_t f(int n) { return n * H + offsetof(struct s, d); }\n";

/// The same compiler under another name, hence another toolchain.
fn other_name(dir: &Path) -> PathBuf {
    let driver = dir.join("other-gcc");
    symlink("/usr/bin/gcc", &driver).expect("a link");
    driver
}

/// The same release installed elsewhere, so that it looks for its headers elsewhere.
fn other_layout(dir: &Path) -> PathBuf {
    let asked = run(Command::new("/usr/bin/gcc").arg("-print-prog-name=cc1"), BUILD_MAX).ok();
    let cc1 = PathBuf::from(String::from_utf8(asked.stdout).expect("a path").trim());
    let bin = dir.join("other/bin");
    let own = dir.join("other").join(cc1.strip_prefix("/usr").expect("a compiler of the system"));
    for dir in [&bin, own.parent().expect("a directory")] {
        fs::create_dir_all(dir).expect("a directory");
    }
    symlink(&cc1, own).expect("a link");
    fs::copy("/usr/bin/gcc", bin.join("gcc")).expect("a copy");
    bin.join("gcc")
}

struct Bench {
    farm: TestFarm,
    dir: TempDir,
}

impl Bench {
    /// A farm with a worker of another architecture, `w1`, and one of the client's own.
    fn start(substitute: fn(&Path) -> PathBuf) -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let driver = substitute(dir.path());
        for (name, text) in [
            ("h.h", "#define H 7\n"),
            ("a.c", "int a(void) { return 1; }\n"),
            ("good.c", GOOD),
            ("bad.c", "int f(void) { return missing; }\n"),
            ("warns.c", "int f(int n) { int unused = 3; return n; }\n"),
        ] {
            fs::write(dir.path().join(name), text).expect("a source");
        }
        let own = |name: &str, value: &str| ("w1".to_owned(), name.to_owned(), value.to_owned());
        let farm = TestFarm::start(Layout {
            workers: 2,
            own: vec![own("KILN_WORKER_MACHINE", "other"), own("KILN_WORKER_SUBSTITUTES", &driver.display().to_string())],
            settings: vec![("KILN_DAEMON_SUBSTITUTES".to_owned(), "true".to_owned())],
            ..Layout::default()
        });
        Bench { farm, dir }
    }

    fn command(&self, mut command: Command, on: bool) -> Command {
        command.current_dir(self.dir.path());
        if !on {
            command.env("KILN_DIR", self.dir.path().join("off")).env("KILN_DAEMON_SUBSTITUTES", "false");
        }
        command
    }

    /// Compiles through the farm.
    fn compile(&self, words: &str, fallback: &str, on: bool) -> Ran {
        let mut kiln = self.command(self.farm.kiln(), on);
        kiln.args(words.split(' ')).env("KILN_FALLBACK", fallback);
        run(&mut kiln, BUILD_MAX)
    }

    /// Compiles through the farm and by the compiler alone: everything is the same.
    #[track_caller]
    fn compare(&self, words: &str, fallback: &str, on: bool) {
        let object = self.dir.path().join("o");
        let take = || {
            let bytes = fs::read(&object).ok();
            let _ = fs::remove_file(&object);
            bytes
        };
        let farmed = (self.compile(&format!("gcc {words} -o o"), fallback, on), take());
        let mut gcc = Command::new("/usr/bin/gcc");
        gcc.args(words.split(' ')).args(["-o", "o"]).env("LC_ALL", "C").current_dir(self.dir.path());
        let plain = (run(&mut gcc, BUILD_MAX), take());
        assert!(farmed.1 == plain.1, "{words}: the object differs");
        let told = |ran: &Ran| (ran.code, String::from_utf8_lossy(&ran.stderr).into_owned());
        assert_eq!(told(&farmed.0), told(&plain.0), "{words}");
    }

    fn doctor(&self, on: bool) -> String {
        let mut kiln = self.command(self.farm.kiln(), on);
        String::from_utf8(run(kiln.arg("doctor"), BUILD_MAX).stdout).expect("text")
    }
}

#[test]
fn a_proven_substitute_compiles_where_nobody_else_can() {
    let mut bench = Bench::start(other_name);
    let told = bench.doctor(true);
    assert!(told.contains("equal to /usr/bin/gcc in every probe"), "{told}");

    // While a worker has room that runs the client's own compiler, that one is taken.
    bench.compare("-c a.c", "fail", true);
    assert_eq!(bench.farm.explain(1)[0]["attempts"][0]["worker"], "w2");
    bench.farm.kill("w2");
    bench.farm.zero();
    bench.compare("-g -O2 -c good.c", "fail", true);
    let stats = bench.farm.stats();
    assert_eq!((count(&stats, "remote"), count(&stats, "substituted")), (1, 1), "{stats}");
    let attempts = &bench.farm.explain(1)[0]["attempts"];
    let last = attempts.as_array().and_then(|attempts| attempts.last()).and_then(|last| last["outcome"].as_str());
    assert!(last.is_some_and(|told| told.starts_with("ok") && told.ends_with("/other-gcc")), "{attempts}");

    // Its result is kept, under its own key.
    bench.compare("-g -O2 -c good.c", "fail", true);
    let stats = bench.farm.stats();
    assert_eq!((count(&stats, "hits"), count(&stats, "substituted")), (1, 1), "{stats}");

    // Errors and messages are the client's own compiler's.
    bench.compare("-c bad.c", "fail", true);
    bench.compare("-Wall -c warns.c", "fail", true);
    assert_eq!(count(&bench.farm.stats(), "substituted"), 1);

    // Who did not ask for it neither gets it nor its results.
    let told = bench.doctor(false);
    assert!(told.contains("[daemon] substitutes is off"), "{told}");
    bench.compare("-g -O2 -c good.c", "silent", false);
    let mut kiln = bench.command(bench.farm.kiln(), false);
    let stats = run(kiln.args(["stats", "--json"]), BUILD_MAX).ok().stdout;
    let stats: serde_json::Value = serde_json::from_slice(&stats).expect("JSON");
    assert_eq!((count(&stats, "hits"), count(&stats, "remote"), count(&stats, "local")), (0, 0, 1), "{stats}");
    let mut kiln = bench.command(bench.farm.kiln(), false);
    let _ = run(kiln.args(["daemon", "stop"]), BUILD_MAX);
}

#[test]
fn a_false_claim_is_shown_and_not_used() {
    let mut bench = Bench::start(other_layout);
    let told = bench.doctor(true);
    assert!(told.contains("WRONG") && told.contains("probe.c -O0 -g3: does not compile there"), "{told}");
    bench.farm.kill("w2");
    bench.farm.zero();
    bench.compare("-g -O2 -c good.c", "silent", true);
    let stats = bench.farm.stats();
    assert_eq!((count(&stats, "remote"), count(&stats, "substituted"), count(&stats, "local")), (0, 0, 1), "{stats}");
    let story = &bench.farm.explain(1)[0];
    let reason = story["reason"].as_str().unwrap_or_default();
    // By whether the scheduler had noticed.
    assert!(reason.starts_with("worker-lost: ") || reason.starts_with("unknown-toolchain: "), "{story}");
}
