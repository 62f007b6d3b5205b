//! `kiln capture`: what it writes replays the compile after all that it read is gone. Knows the command and its files.

use kiln_testkit::{Ran, binary, run};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// In which any one command here ends.
const SOON: Duration = Duration::from_secs(60);

/// A project and a daemon without a farm.
struct Bench {
    state: TempDir,
    project: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let (state, project) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let write = |name: &str, text: &str| fs::write(project.path().join(name), text).expect("a file");
        fs::create_dir(project.path().join("inc")).expect("a directory");
        write("a.c", "#include <stddef.h>\n#include \"h.h\"\nsize_t f(void) { int unused; return H; }\n");
        write("inc/h.h", "#define H sizeof(__FILE__)\n");
        Bench { state, project }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("KILN_DIR", self.state.path()).env("KILN_CONFIG", "/dev/null").env("KILN_FARM_SCHEDULERS", "");
        command.env("LC_ALL", "C").env("SECRET_TOKEN", "not for others").current_dir(self.project.path());
        command
    }

    fn capture(&self, args: &[&str]) -> Ran {
        let dir = self.state.path().join("captured");
        run(self.command(binary("kiln")).arg("capture").arg("-o").arg(&dir).arg("--").args(args), SOON).ok()
    }

    fn decision(&self) -> (String, Value) {
        let text = fs::read_to_string(self.state.path().join("captured/capture.json")).expect("what was captured");
        let json: Value = serde_json::from_str(&text).expect("JSON");
        (text, json["decision"].clone())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = run(self.command(binary("kiln")).args(["daemon", "stop"]), SOON);
    }
}

const COMPILE: [&str; 9] = ["gcc", "-Wall", "-g", "-O1", "-Iinc", "-c", "a.c", "-MD", "-o"];

#[test]
fn a_unit_is_replayed_after_its_files_are_gone() {
    let bench = Bench::new();
    let args = [&COMPILE[..], &["a.o"]].concat();
    let local = run(bench.command("setarch").arg("-R").arg("/usr/bin/gcc").args(&args[1..]), SOON).ok();
    let read = |dir: &Path, name: &str| fs::read(dir.join(name)).expect("an output");
    let outputs = ["a.o", "a.d"].map(|name| read(bench.project.path(), name));
    let said = bench.capture(&args);
    assert!(String::from_utf8_lossy(&said.stdout).trim().ends_with("/captured"), "{}", said.text());

    let (text, decision) = bench.decision();
    let unit = &decision["units"][0];
    assert_eq!((decision["units"].as_array().map(Vec::len), &unit["source"]), (Some(1), &Value::from("a.c")));
    assert_eq!(unit["inputs_found"], "by kiln");
    assert!(unit["action"]["digest"].as_str().is_some_and(|digest| digest.len() > 64), "{unit}");
    let paths: Vec<&str> = unit["root"].as_array().into_iter().flatten().filter_map(|entry| entry["path"].as_str()).collect();
    assert!(paths.iter().any(|path| path.ends_with("/inc/h.h")), "{paths:?}");
    assert!(!text.contains("not for others"), "a variable that means nothing to a compiler was written down");

    fs::remove_dir_all(bench.project.path()).expect("removed");
    let replayed = run(&mut Command::new(bench.state.path().join("captured/run")), SOON).ok();
    assert_eq!(String::from_utf8_lossy(&replayed.stderr), String::from_utf8_lossy(&local.stderr));
    let out = bench.state.path().join("captured/out").join(bench.project.path().strip_prefix("/").expect("absolute"));
    assert!(outputs == ["a.o", "a.d"].map(|name| read(&out, name)), "other outputs in {}", out.display());
    fs::create_dir(bench.project.path()).expect("a directory");
}

#[test]
fn a_refusal_is_captured_with_its_reason() {
    let bench = Bench::new();
    let _ = bench.capture(&["gcc", "-E", "a.c", "-Iinc"]);
    let (_, decision) = bench.decision();
    assert_eq!(decision["refused"]["reason"], "preprocess-only");
    let root = bench.state.path().join("captured/root").join(bench.project.path().strip_prefix("/").expect("absolute"));
    assert!(root.join("a.c").is_file());
}

#[test]
fn what_cannot_be_captured_is_said() {
    let bench = Bench::new();
    let ran = run(bench.command(binary("kiln")).args(["capture", "--", "no-such-compiler", "-c", "a.c"]), SOON);
    assert_eq!(ran.code, Some(1));
    assert!(ran.text().contains("no compiler no-such-compiler"), "{}", ran.text());
    let ran = run(bench.command(binary("kiln")).args(["capture", "-o", "inc", "--", "gcc", "-c", "a.c"]), SOON);
    assert_eq!(ran.code, Some(1), "{}", ran.text());
}
