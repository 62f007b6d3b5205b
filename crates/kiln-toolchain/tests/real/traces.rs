//! What compiles really touch, by strace: every file opened or executed is an entry, every failed look is noticed.

use crate::support::{DRIVERS, ENVIRONMENT, environment, run, sources, strings, toolchain, unit_of};
use kiln_toolchain::{Entry, Toolchain, list_inputs};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One system call on an absolute path.
struct Call {
    name: String,
    path: PathBuf,
    failed: bool,
    is_directory: bool,
}

fn trace(command: &[&str], work: &Path) -> Vec<Call> {
    let logs = work.join("logs");
    std::fs::create_dir_all(&logs).unwrap();
    let prefix = logs.join("log");
    let setup = ["/usr/bin/strace", "-ff", "-qq", "-s", "4096", "-e", "trace=%file", "-o", prefix.to_str().unwrap(), "--"];
    let output = run(&[&setup[..], command].concat(), work);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let mut calls = Vec::new();
    for log in std::fs::read_dir(&logs).unwrap() {
        let text = std::fs::read(log.unwrap().path()).unwrap();
        calls.extend(String::from_utf8_lossy(&text).lines().filter_map(parse));
    }
    std::fs::remove_dir_all(&logs).unwrap();
    assert!(calls.len() > 50, "{command:?}: {} calls", calls.len());
    calls
}

fn parse(line: &str) -> Option<Call> {
    let (name, rest) = line.split_once('(')?;
    let path = rest.split('"').nth(1)?;
    let (_, result) = rest.rsplit_once(") = ")?;
    let is_directory = rest.contains("O_DIRECTORY") || rest.contains("S_IFDIR");
    let failed = result.starts_with('-');
    path.starts_with('/').then(|| Call { name: name.to_owned(), path: path.into(), failed, is_directory })
}

/// Places every job has of its own.
fn is_private(path: &Path, work: &Path) -> bool {
    path.starts_with(work) || ["/proc", "/dev", "/tmp"].iter().any(|dir| path.starts_with(dir))
}

/// Looks at places, by how they begin, whose answer changes nothing in a compile; each with its reason.
const IRRELEVANT: [(&str, &str); 11] = [
    ("/etc/ld.so.cache", "decides nothing here: every library is found without it"),
    ("/usr/lib/locale/locale-archive", "holds C.UTF-8 as the directory beside it does"),
    ("/opt/rocm", "for HIP sources"),
    ("/usr/local/cuda", "for CUDA sources"),
    ("/usr/lib/cuda", "for CUDA sources"),
    ("/lib/x86_64-linux-gnu/12", "for the linker"),
    ("/lib/aarch64-linux-gnu", "for the linker"),
    ("/usr/lib/x86_64-linux-gnu/12", "for the linker"),
    ("/usr/lib/aarch64-linux-gnu", "for the linker"),
    ("/usr/x86_64-linux-gnu", "for the linker and for headers, which the unit's own search answers for"),
    ("/usr/aarch64-linux-gnu/lib", "for the linker"),
];

/// Names that mean nothing to a compile wherever they stand.
const IRRELEVANT_NAMES: [(&str, &str); 8] = [
    (".", "gcc appends it to the linker's directories"),
    ("lib64", "for the linker"),
    ("lib32", "for the linker"),
    ("libx32", "for the linker"),
    ("ptxas", "for CUDA sources"),
    (".hipVersion", "for HIP sources"),
    ("libc++.so", "for the linker"),
    ("x86_64-pc-linux-gnu", "a runtime directory, for the linker"),
];

fn is_irrelevant(path: &Path) -> bool {
    let spelled = path.to_str().unwrap();
    let last = spelled.rsplit('/').next().unwrap_or_default();
    let walked = lexical(path);
    IRRELEVANT_NAMES.iter().any(|(name, _)| *name == last)
        || IRRELEVANT.iter().any(|(start, _)| walked.to_str().unwrap().starts_with(start))
        || spelled.contains("/lib/clang/") && spelled.contains("/lib/linux")
        || walked == Path::new("/opt")
}

/// The path without `..`, for names whose directories may not exist.
fn lexical(path: &Path) -> PathBuf {
    let mut walked = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => drop(walked.pop()),
            other => walked.push(other),
        }
    }
    walked
}

struct Checked<'a> {
    toolchain: &'a Toolchain,
    files: BTreeSet<PathBuf>,
    directories: BTreeSet<PathBuf>,
    include_dirs: Vec<PathBuf>,
    work: &'a Path,
}

impl Checked<'_> {
    fn complaint(&self, call: &Call) -> Option<String> {
        if is_private(&call.path, self.work) || is_irrelevant(&call.path) {
            return None;
        }
        let Ok(physical) = call.path.canonicalize() else { return self.missed_look(call) };
        if call.failed && call.name != "readlink" {
            return self.missed_look(call);
        }
        let opened = call.name.starts_with("open") || call.name.starts_with("execve");
        let known = match (physical.is_dir(), opened) {
            (false, _) => self.files.contains(&physical),
            // A directory that is only looked at decides nothing but linker's search lists, unless it is listed.
            (true, true) => self.directories.contains(&physical),
            (true, false) => true,
        };
        let kind = if call.is_directory { "directory" } else { "file" };
        (!known).then(|| format!("{} of the {kind} {} is no entry", call.name, call.path.display()))
    }

    /// A look that failed: found out if it came true, or the business of the unit's own search for headers.
    fn missed_look(&self, call: &Call) -> Option<String> {
        let for_header =
            self.include_dirs.iter().any(|dir| call.path.starts_with(dir) || lexical(&call.path).starts_with(lexical(dir)));
        (!for_header && !self.toolchain.notices(&call.path))
            .then(|| format!("{} of {} is not noticed", call.name, call.path.display()))
    }
}

fn check(driver: &str, args: &[&str]) {
    let toolchain = toolchain(driver);
    let (_dir, work) = sources();
    let unit = args.last().copied().filter(|arg| arg.starts_with("unit.")).unwrap_or_else(|| unit_of(driver));
    let args: Vec<&str> = args.iter().copied().filter(|arg| !arg.starts_with("unit.")).chain(["-c", unit]).collect();
    let inputs = list_inputs(&toolchain, &strings(&args), &environment(), &work).unwrap();
    let language = if unit == "unit.cc" { "c++" } else { "c" };
    let builtins = kiln_toolchain::query_builtins(&toolchain, language, &[], &environment(), &work).unwrap();
    let dirs = builtins.include_dirs.iter().map(|dir| &dir.path).chain(&builtins.missing_dirs);
    let mut files: BTreeSet<PathBuf> = inputs.iter().map(|input| work.join(input).canonicalize().unwrap()).collect();
    let mut directories = BTreeSet::new();
    for entry in &toolchain.entries {
        match entry {
            Entry::File { path, .. } => files.insert(path.into()),
            Entry::Directory { path } => directories.insert(path.into()),
            Entry::Symlink { .. } => true,
        };
    }
    let include_dirs = dirs.map(PathBuf::from).collect();
    let checked = Checked { toolchain: &toolchain, files, directories, include_dirs, work: &work };
    let command = [&[driver], &args[..]].concat();
    let complaints: BTreeSet<String> = trace(&command, &work).iter().filter_map(|call| checked.complaint(call)).collect();
    assert!(complaints.is_empty(), "{command:?}\n{}", complaints.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn nothing_that_compiles_touch_is_missing() {
    for driver in DRIVERS {
        check(driver, &["-O2", "-g"]);
    }
}

#[test]
fn nor_with_options_that_start_other_programs() {
    for driver in ["/usr/bin/gcc", "/usr/bin/aarch64-linux-gnu-g++", "/usr/bin/clang++-14", "/usr/bin/clang-19"] {
        check(driver, &["-g", "-gsplit-dwarf", "--coverage", "-fopenmp"]);
        check(driver, &["-O2", "-flto", "unit.S"]);
    }
    check("/usr/bin/g++", &["-fsanitize=address,undefined", "-flto", "-ffat-lto-objects"]);
    check("/usr/bin/clang-19", &["-fsanitize=address,undefined", "-flto=thin"]);
    check("/usr/bin/clang-14", &["-fno-integrated-as", "-g"]);
    check("/usr/bin/clang++-14", &["-fsanitize=memory"]);
}

#[test]
fn the_tests_environment_selects_the_locale_that_is_checked() {
    assert!(ENVIRONMENT.contains(&("LANG", "C.UTF-8")));
    let found = toolchain("/usr/bin/gcc");
    assert!(found.entries.iter().any(|entry| entry.path() == "/usr/lib/locale/C.utf8/LC_CTYPE"));
    assert!(!found.entries.iter().any(|entry| entry.path() == "/etc/ld.so.cache"), "it would differ from machine to machine");
    assert!(found.notices(Path::new("/etc/ld.so.cache")) && found.notices(Path::new("/etc/ld.so.preload")));
    assert!(!found.notices(Path::new("/etc/passwd")));
}
