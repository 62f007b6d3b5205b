//! A real project: fetched and built by the scripts in `projects/`, its products compared, its compiler calls counted by a stand-in
//! first in PATH that knows nothing of kiln.

use crate::process::run;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// In which a project is fetched and unpacked.
const FETCH_MAX: Duration = Duration::from_secs(300);
/// Names by which compilers are called.
const COMPILERS: [&str; 12] = [
    "cc",
    "c++",
    "gcc",
    "g++",
    "c89",
    "c99",
    "gcc-12",
    "g++-12",
    "clang-14",
    "clang++-14",
    "x86_64-linux-gnu-gcc",
    "x86_64-linux-gnu-g++",
];
/// Ends of the names of files that hold times, process numbers, names of temporary directories or an order of events.
const LOGS: [&str; 15] = [
    ".ninja_log",
    "autom4te.cache/requests",
    ".ninja_deps",
    "config.log",
    "configure.log",
    "meson-log.txt",
    "CMakeOutput.log",
    "CMakeError.log",
    "CMakeConfigureLog.yaml",
    "build.dat",
    "coredata.dat",
    "meson_test_setup.dat",
    "intro-tests.json",
    "CMakeDetermineCompilerABI_C.bin",
    "CMakeDetermineCompilerABI_CXX.bin",
];
/// Ends of the names of sources.
const SOURCES: [&str; 9] = [".c", ".cc", ".cpp", ".cxx", ".C", ".S", ".s", ".m", ".i"];

/// A project in a directory of its own.
#[derive(Debug)]
pub struct RealProject {
    name: String,
    top: TempDir,
    sources: BTreeSet<(PathBuf, i64)>,
}

/// What was made, each file by its content.
pub type Products = BTreeMap<String, u128>;

/// Compiler calls by kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// Calls that make an object, an assembly or a program out of a source.
    pub compiles: usize,
    /// All others: links, probes, preprocessing.
    pub others: usize,
}

impl RealProject {
    /// Fetches the project that `fetch.sh` knows by this name.
    ///
    /// # Panics
    /// It cannot be fetched.
    #[must_use]
    #[track_caller]
    pub fn fetch(name: &str) -> Self {
        let top = tempfile::Builder::new().prefix("kiln-project-").tempdir().expect("a directory");
        let shims = top.path().join("shims");
        fs::create_dir(&shims).expect("a directory");
        let shim = shims.join("launch");
        let source = scripts().join("shim.c");
        let _ = run(Command::new("gcc").args(["-O2", "-o"]).arg(&shim).arg(source), FETCH_MAX).ok();
        for compiler in COMPILERS {
            symlink("launch", shims.join(compiler)).expect("a link");
        }
        let mut project = Self { name: name.to_owned(), top, sources: BTreeSet::new() };
        let _ = run(Command::new(scripts().join("fetch.sh")).arg(name).arg(project.dir()), FETCH_MAX).ok();
        project.sources = files(&project.dir()).into_iter().map(|(path, meta)| (path, meta.mtime())).collect();
        project
    }

    /// Where its sources are.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.top.path().join("project")
    }

    /// The directory that nobody but the user needs to see.
    #[must_use]
    pub fn top(&self) -> &Path {
        self.top.path()
    }

    /// The directory of the stand-ins, to be named by the variable `SHIM_DIR` where they come first in PATH. Its `launch` is one
    /// as a launcher: it becomes the command that its arguments are.
    #[must_use]
    pub fn shims(&self) -> PathBuf {
        self.top.path().join("shims")
    }

    fn log(&self) -> PathBuf {
        self.top.path().join("calls")
    }

    /// Configures the project, then builds what is not there yet. `front` starts a command of the user's, to which words are
    /// added; `settings` are for `build.sh` and the build itself. Calls are noted of the build alone.
    ///
    /// # Panics
    /// Either fails.
    #[track_caller]
    pub fn build(&self, front: impl Fn() -> Command, settings: &[(&str, &str)], between: impl FnOnce(), limit: Duration) {
        let script = |words: &[&str]| {
            let mut command = front();
            // The counter comes before what `front` puts first in PATH, if it is not a launcher.
            command
                .args(["sh", "-c", "PATH=${SHIM_DIR:+$SHIM_DIR:}$PATH exec \"$0\" \"$@\""])
                .arg(scripts().join("build.sh"))
                .args(words);
            command.arg(&self.name).arg(self.dir()).envs(settings.iter().copied());
            // meson puts ccache in front of every compiler where there is one.
            command.env("SHIM_LOG", self.log()).env("CCACHE_DISABLE", "1");
            let _ = run(&mut command, limit).ok();
        };
        script(&["--configure"]);
        let _ = self.take_calls();
        between();
        script(&[]);
    }

    /// Removes all products.
    ///
    /// # Panics
    /// They cannot be removed.
    #[track_caller]
    pub fn clean(&self) {
        let mut command = Command::new(scripts().join("build.sh"));
        let _ = run(command.arg("--clean").arg(&self.name).arg(self.dir()), FETCH_MAX).ok();
    }

    /// All files that the last build made or changed.
    #[must_use]
    pub fn products(&self) -> Products {
        let made = files(&self.dir()).into_iter().filter(|(path, meta)| !self.sources.contains(&(path.clone(), meta.mtime())));
        let named = made.map(|(path, meta)| {
            let name = path.strip_prefix(self.dir()).expect("below it").display().to_string();
            (name, content(&path, meta.mode() & 0o111 != 0))
        });
        named.filter(|(name, _)| !LOGS.iter().any(|log| name.ends_with(log))).collect()
    }

    /// Calls noted since this was last asked.
    #[must_use]
    pub fn take_calls(&self) -> Calls {
        let text = fs::read(self.log()).unwrap_or_default();
        let _ = fs::remove_file(self.log());
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut calls = Calls::default();
        for record in text.split("\u{1}\n").filter(|record| !record.is_empty()) {
            let words: Vec<&str> = record.split('\0').skip(2).collect();
            *(if compiles(&words) { &mut calls.compiles } else { &mut calls.others }) += 1;
        }
        calls
    }
}

/// Whether a compiler called with `words` compiles a source.
fn compiles(words: &[&str]) -> bool {
    let takes_value = ["-o", "-MF", "-MT", "-MQ", "-include", "-imacros", "-I", "-D", "-isystem"];
    let ends_before = words.iter().any(|word| ["-E", "-M", "-MM", "-fsyntax-only"].contains(word));
    let mut before = "";
    let mut has_source = false;
    for word in words {
        has_source |= !takes_value.contains(&before) && !word.starts_with('-') && SOURCES.iter().any(|end| word.ends_with(end));
        before = word;
    }
    has_source && !ends_before
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("projects")
}

/// All regular files below `dir`.
fn files(dir: &Path) -> Vec<(PathBuf, fs::Metadata)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.path().symlink_metadata() else { continue };
            if meta.is_dir() {
                dirs.push(entry.path());
            } else if meta.is_file() {
                found.push((entry.path(), meta));
            }
        }
    }
    found
}

/// Tells contents apart; of an archive's members the names and contents count, not the times at which they were put in.
fn content(path: &Path, executable: bool) -> u128 {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut one, mut other) = (DefaultHasher::new(), DefaultHasher::new());
    other.write_u8(1);
    let mut add = |bytes: &[u8]| {
        one.write(bytes);
        other.write(bytes);
    };
    add(&[u8::from(executable)]);
    for part in members(&bytes) {
        add(part);
    }
    u128::from(one.finish()) << 64 | u128::from(other.finish())
}

/// The parts of a file that count: all of it, or of an archive names, sizes and contents.
fn members(bytes: &[u8]) -> Vec<&[u8]> {
    let Some(mut rest) = bytes.strip_prefix(b"!<arch>\n") else { return vec![bytes] };
    let mut parts = Vec::new();
    while let Some((head, after)) = rest.split_at_checked(60) {
        let size = std::str::from_utf8(&head[48..58]).ok().and_then(|size| size.trim().parse().ok());
        let Some((member, next)) = size.and_then(|size: usize| after.split_at_checked(size)) else { return vec![bytes] };
        parts.extend([&head[..16], &head[48..58], member]);
        rest = next.strip_prefix(b"\n").filter(|_| member.len() % 2 == 1).unwrap_or(next);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_compiles_has_a_source_and_goes_to_the_end() {
        let check = |line: &str| compiles(&line.split(' ').collect::<Vec<_>>());
        for line in ["-c a.c", "-O2 -o a.o -c x/a.cc", "a.c -o a", "-S a.c", "-MD -MF a.d -c a.S"] {
            assert!(check(line), "{line}");
        }
        for line in ["-E a.c", "a.o -o a", "-M a.c", "--version", "-x c - -c", "-o a.c a.o", "-include x.c b.o"] {
            assert!(!check(line), "{line}");
        }
    }

    #[test]
    fn times_in_an_archive_do_not_count() {
        let archive = |time: &str, text: &str| {
            format!("!<arch>\n{:<16}{time:<12}{:<6}{:<6}{:<8}{:<10}`\n{text}\n", "a.o/", 0, 0, 644, text.len()).into_bytes()
        };
        let parts = |bytes: &[u8]| members(bytes).concat();
        assert_eq!(parts(&archive("1", "abc")), parts(&archive("22", "abc")));
        assert_ne!(parts(&archive("1", "abc")), parts(&archive("1", "abd")));
        assert_eq!(members(b"no archive"), [b"no archive"]);
    }
}
