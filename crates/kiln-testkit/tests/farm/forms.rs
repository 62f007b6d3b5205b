//! Forms of command lines: each is run plainly and through a farm, and everything that can be seen of it is the same.

use crate::support::{BUILD_MAX, count};
use kiln_testkit::{Layout, TestFarm, run};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Where the compiles of a command are to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runs {
    /// On the farm, all of so many.
    Farm(u64),
    /// Here, untouched, for this reason.
    Refused(&'static str),
}

/// All that can be seen of a command.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// A farm and a directory of sources.
struct Forms {
    farm: TestFarm,
    dir: TempDir,
}

impl Forms {
    fn start() -> Forms {
        let farm = TestFarm::start(Layout { workers: 1, cache: false, ..Layout::default() });
        Forms { farm, dir: tempfile::tempdir().expect("a directory") }
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a name below the directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// Runs `command`, and takes away what it made.
    fn seen(&self, command: &mut Command) -> Seen {
        let before = files_below(self.dir.path());
        let ran = run(command.current_dir(self.dir.path()).env("LC_ALL", "C"), BUILD_MAX);
        let mut files = files_below(self.dir.path());
        for (path, bytes) in &before {
            let now = files.remove(path);
            assert!(now.as_ref() == Some(bytes), "{} was changed", path.display());
        }
        for path in files.keys() {
            fs::remove_file(self.dir.path().join(path)).expect("removed");
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Seen { code: ran.code, stdout: text(ran.stdout), stderr: text(ran.stderr), files }
    }

    /// Runs a command line plainly and through the farm.
    #[track_caller]
    fn same(&self, line: &str, runs: Runs) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let plain = self.seen(Command::new(words[0]).args(&words[1..]));
        self.farm.zero();
        let farmed = self.seen(self.farm.kiln().args(&words));
        let names = |seen: &Seen| seen.files.keys().cloned().collect::<Vec<_>>();
        assert_eq!((names(&farmed), farmed.code), (names(&plain), plain.code), "{line}:\n{}", farmed.stderr);
        assert_eq!((&farmed.stderr, &farmed.stdout), (&plain.stderr, &plain.stdout), "{line}");
        for (path, bytes) in &plain.files {
            assert!(farmed.files[path] == *bytes, "{line}: {} differs", path.display());
        }
        let stats = self.farm.stats();
        match runs {
            Runs::Farm(units) => assert_eq!(count(&stats, "remote"), units, "{line}: {stats}"),
            Runs::Refused(reason) => assert_eq!(stats["refused"][reason], 1, "{line}: {stats}"),
        }
    }
}

fn files_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(&at).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else {
                found.insert(path.strip_prefix(dir).expect("below").to_owned(), fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

const LOOP: &str = "void add(float *a, const float *b, int n) { for (int i = 0; i < n; i++) a[i] = a[i] * 3 + b[i]; }\n";

#[test]
fn forms_of_command_lines() {
    let forms = Forms::start();
    native(&forms);
}

fn native(forms: &Forms) {
    forms.put("loop.c", LOOP);
    forms.put("start.S", ".globl start\nstart: ret\n");
    for compiler in ["gcc", "g++", "clang-14", "clang-19"] {
        forms.same(&format!("{compiler} -O3 -march=native -g -c loop.c"), Runs::Farm(1));
    }
    forms.put("native.rsp", "-march=native -mtune=native");
    forms.same("gcc -O3 @native.rsp -frecord-gcc-switches -c loop.c -o sub.o", Runs::Farm(1));
    forms.same("gcc -O3 -march=native -g -c start.S", Runs::Farm(1));
    forms.same("clang-19 -O3 -march=native -grecord-command-line -c loop.c", Runs::Refused("native"));
}
