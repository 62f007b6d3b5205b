//! What the tests share: commands as text, temporary directories, a small generator of random numbers.
#![expect(clippy::disallowed_methods, reason = "the tests do the I/O that the crate itself must not do")]
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use kiln_cmdline::{Family, Invocation, Reason, Refusal, Request, parse};

/// Cuts a command at blanks; `'...'` keeps blanks.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => out.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out
}

/// Reads a command given as words, in a directory whose response files can be read.
pub(crate) fn read_in(family: Family, cxx: bool, args: &[String], env: &[(&str, &str)], dir: &Path) -> Result<Invocation, Refusal> {
    let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.clone().into_bytes()).collect();
    let env: Vec<(Vec<u8>, Vec<u8>)> =
        env.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
    let read_file = |path: &str| std::fs::read(dir.join(path)).ok();
    let cwd = dir.to_str().expect("temporary directories are UTF-8");
    parse(&Request { family, cxx_driver: cxx, args: &args, env: &env, cwd, read_file: &read_file })
}

/// Reads a command given as one line, without files.
pub(crate) fn read(family: Family, line: &str) -> Result<Invocation, Refusal> {
    read_in(family, false, &words(line), &[], Path::new("/nowhere"))
}

pub(crate) const BOTH: [Family; 2] = [Family::Gcc, Family::Clang];

#[track_caller]
pub(crate) fn accepted(family: Family, line: &str) -> Invocation {
    read(family, line).unwrap_or_else(|refusal| panic!("{family:?} {line}: {refusal}"))
}

#[track_caller]
pub(crate) fn check_refused(family: Family, line: &str, reason: Reason) {
    match read(family, line) {
        Ok(invocation) => panic!("{family:?} {line}: read as {invocation:?}"),
        Err(refusal) => assert_eq!(refusal.reason, reason, "{family:?} {line}: {refusal}"),
    }
}

/// Reads bytes as gcc would, without files.
pub(crate) fn parse_bytes(args: &[&[u8]], env: &[(&[u8], &[u8])]) -> Result<Invocation, Refusal> {
    let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_vec()).collect();
    let env: Vec<_> = env.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    parse(&Request { family: Family::Gcc, cxx_driver: false, args: &args, env: &env, cwd: "/nowhere", read_file: &|_| None })
}

/// A directory that is removed when the value goes.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kiln-cmdline-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("make a temporary directory");
        TempDir(path.canonicalize().expect("resolve a temporary directory"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().expect("a name below the directory")).expect("make a directory");
        std::fs::write(path, text).expect("write a file");
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Every regular file below a directory, relative to it.
pub(crate) fn files_below(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(at) = todo.pop() {
        for entry in std::fs::read_dir(&at).expect("list a directory") {
            let path = entry.expect("list a directory").path();
            if path.is_dir() {
                todo.push(path);
            } else {
                found.insert(path.strip_prefix(dir).expect("below").to_str().expect("UTF-8").to_owned());
            }
        }
    }
    found
}

/// A compiler of the machine. A missing one fails the test.
#[derive(Clone, Copy)]
pub(crate) struct Compiler {
    pub(crate) program: &'static str,
    pub(crate) family: Family,
    pub(crate) cxx: bool,
}

pub(crate) const GCC: Compiler = Compiler { program: "gcc", family: Family::Gcc, cxx: false };
pub(crate) const GXX: Compiler = Compiler { program: "g++", family: Family::Gcc, cxx: true };
pub(crate) const CROSS_GCC: Compiler = Compiler { program: "aarch64-linux-gnu-gcc", family: Family::Gcc, cxx: false };
pub(crate) const CLANG_14: Compiler = Compiler { program: "clang-14", family: Family::Clang, cxx: false };
pub(crate) const CLANG_19: Compiler = Compiler { program: "clang-19", family: Family::Clang, cxx: false };
pub(crate) const CLANGXX_19: Compiler = Compiler { program: "clang++-19", family: Family::Clang, cxx: true };
pub(crate) const ALL: &[Compiler] = &[GCC, GXX, CROSS_GCC, CLANG_14, CLANG_19, CLANGXX_19];

impl Compiler {
    pub(crate) fn run(self, args: &[String], dir: &Path) -> Output {
        Command::new(self.program)
            .args(args)
            .current_dir(dir)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("PWD", dir)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error} (the tests need it installed)", self.program))
    }

    pub(crate) fn read(self, args: &[String], dir: &Path) -> Result<Invocation, Refusal> {
        read_in(self.family, self.cxx, args, &[], dir)
    }
}

/// xorshift64*: enough to vary test inputs, the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.max(1))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).expect("fits")).expect("fits")
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
