//! Command lines put together at random from the option tables. All of them are read and given to the real compiler, which may write
//! no file but those modelled; every fourth is compiled through a farm too, and all that comes of it compared.
//!
//! The seed is fixed; `KILN_SEED=NUMBER` takes another one, `KILN_LINES=NUMBER` as many lines, for runs by hand.

use kiln_cmdline::{Effect, Family, Invocation, Opt, Refusal, Request, Takes, options, parse, shared_options};
use kiln_testkit::case::{Case, DRIVERS, Driver, Line, Step, Suite, Vendor};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

/// Lines of a run: 18 ms of processor each.
const LINES: usize = 2000;
/// Every which of them goes through a farm: four times as dear.
const FARM_EVERY: usize = 4;
/// A number of no meaning.
const SEED: u64 = 20_261_126;

/// What the lines compile: small, and with something to say for options of many kinds.
const FILES: &[(&str, &str)] = &[
    ("a.c", "#include \"h.h\"\nint f(int x) { int unused; if (x = 2) return H; return x / ONE; }\n"),
    (
        "b.c",
        "#include <h.h>\nstatic int s(int *p, int n) { int t = 0; for (int i = 0; i < n; i++) t += p[i]; return t; }\nint g(int *p) { return s(p, 8); }\n",
    ),
    (
        "c.cc",
        "#include \"h.h\"\nstruct B { virtual ~B() {} virtual int m() const { return H; } };\nint h(const B &b) { return b.m(); }\nB made;\n",
    ),
    ("sub/d.e.c", "extern int puts(const char *);\nint main(void) { char b[64]; b[0] = 0; return puts(b); }\n"),
    ("e.S", "#ifdef ONE\n.globl e\ne: .long ONE\n#endif\n"),
    ("inc/h.h", "#define H 3\n#ifndef ONE\n#define ONE 1\n#endif\n"),
    ("out/keep", ""),
];
const SOURCES: &[&str] = &["a.c", "a.c", "b.c", "b.c", "c.cc", "sub/d.e.c", "e.S", "-x c++ b.c", "-x c sub/d.e.c"];
const OUTPUTS: &[&str] = &["", "", "-o x.o", "-o out/x.y.o", "-oout/z", "-o out/.h", "--output=w.o"];
/// What stands in most builds; rows of the tables come between.
const COMMON: &[&str] = &["-O2", "-O1", "-g", "-MD", "-MMD", "-Wall", "-fPIC", "-DONE=2", "-DNDEBUG", "-std=gnu11", "-w", "-pipe"];

/// Options that run here and write files whose names are drawn by lot.
const DRAWN: &[&str] = &["-gen-cdb-fragment-path"];

/// xorshift64*: the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).expect("31 bits") % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// One command line and its compiler.
struct Made {
    driver: &'static Driver,
    words: Vec<String>,
}

/// The lines of a run.
fn lines() -> Vec<Made> {
    let seed = number("KILN_SEED", usize::try_from(SEED).expect("64 bits"));
    let mut random = Random(u64::try_from(seed).expect("64 bits").max(1));
    let rows = [Family::Gcc, Family::Clang].map(|family| shared_options().iter().chain(options(family)).collect::<Vec<&Opt>>());
    let drivers = ["gcc", "gcc", "gcc", "g++", "clang-14", "clang-19", "clang++-19", "aarch64-linux-gnu-gcc"];
    let drivers = drivers.map(|name| DRIVERS.iter().find(|driver| driver.name == name).expect("a known compiler"));
    let made = (0..number("KILN_LINES", LINES)).map(|_| {
        let driver: &'static Driver = random.pick(&drivers);
        let rows = &rows[usize::from(driver.vendor == Vendor::Llvm)];
        Made { driver, words: words(&mut random, rows) }
    });
    made.collect()
}

fn words(random: &mut Random, rows: &[&Opt]) -> Vec<String> {
    let stage = if random.below(6) == 0 { "-S" } else { "-c" };
    let mut groups: Vec<Vec<String>> = vec![vec![stage.to_owned()], vec!["-Iinc".to_owned()]];
    for _ in 0..random.below(3) {
        groups.push(vec![random.pick(COMMON).to_owned()]);
    }
    for _ in 0..1 + random.below(4) {
        // Rows that are refused are most of neither table nor of any build.
        let refused = random.below(40) == 0;
        let row = loop {
            let row = random.pick(rows);
            // Most rows of machines are of other machines than any of the compilers knows.
            let of_machine = row.name.starts_with("-m") && random.below(4) > 0;
            let fits = matches!(row.effect, Effect::Refuse(_)) == refused && !of_machine && !DRAWN.contains(&row.name);
            if fits && !matches!(row.effect, Effect::Language | Effect::Output) {
                break row;
            }
        };
        groups.push(spelled(random, row));
    }
    let cut = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    groups.push(cut(random.pick(OUTPUTS)));
    // The language holds for what follows, so the source is one group with it.
    groups.push(cut(random.pick(SOURCES)));
    for at in (1..groups.len()).rev() {
        groups.swap(at, random.below(at + 1));
    }
    groups.concat()
}

/// The row with a value, as spelled in one of the ways it may be.
fn spelled(random: &mut Random, row: &Opt) -> Vec<String> {
    let values: &[&str] = match row.effect {
        Effect::PassAssembler => &["--noexecstack", "-g"],
        Effect::PassPreprocessor => &["-DY", "-MD,wp.d", "-MMD,wp.d,-MT,t"],
        Effect::PassCc1 => &["-disable-O0-optnone", "-fno-pch-timestamp"],
        Effect::PassLlvm => &["-inline-threshold=5"],
        Effect::Side(_) | Effect::Depend(_) => &["side", "out/side.x"],
        Effect::SaveTemps => &["obj", "cwd"],
        Effect::Search(_) | Effect::Sysroot | Effect::IncludeSysroot | Effect::ReadsDir | Effect::SearchInSysroot => {
            &["inc", "none"]
        }
        Effect::Include | Effect::Imacros => &["h.h", "inc/h.h"],
        Effect::Define | Effect::Undefine => &["ONE", "Q"],
        Effect::Charset => &["UTF-8"],
        Effect::DumpLetters => &["p", "P"],
        Effect::Warn => &["all", "extra", "error", "no-parentheses"],
        Effect::Lto => &["", "=auto", "thin"],
        Effect::Machine => &["native", "x86-64-v2", "generic"],
        _ if row.name.ends_with("std=") => &["c11", "gnu17", "c++17", "gnu++20"],
        _ => &["1", "0", "all", "none"],
    };
    let value = random.pick(values);
    let separate = row.takes == Takes::Separate || (row.takes == Takes::Either && random.below(2) == 0);
    match row.takes {
        Takes::Nothing => {
            let (start, rest) = row.name.split_at(2.min(row.name.len()));
            let negate = matches!(start, "-f" | "-m" | "-W") && !rest.is_empty() && random.below(6) == 0;
            vec![if negate { format!("{start}no-{rest}") } else { row.name.to_owned() }]
        }
        _ if separate => vec![row.name.to_owned(), value.to_owned()],
        _ => vec![format!("{}{value}", row.name)],
    }
}

fn read(made: &Made, dir: &Path) -> Result<Invocation, Refusal> {
    let args: Vec<Vec<u8>> = made.words.iter().map(|word| word.clone().into_bytes()).collect();
    let family = if made.driver.vendor == Vendor::Gnu { Family::Gcc } else { Family::Clang };
    let read_file = |path: &str| fs::read(dir.join(path)).ok();
    let cwd = dir.to_str().expect("temporary directories are UTF-8");
    parse(&Request { family, cxx_driver: made.driver.cxx, args: &args, env: &[], cwd, read_file: &read_file })
}

fn fresh(dir: &Path) {
    for (name, text) in FILES {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
}

/// All files below a directory with their times.
fn files(dir: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(&at).expect("a directory") {
            let entry = entry.expect("an entry");
            let meta = entry.metadata().expect("an entry that stays");
            if meta.is_dir() {
                dirs.push(entry.path());
            } else {
                found.insert(entry.path(), meta.modified().expect("a time"));
            }
        }
    }
    found
}

/// Runs a line that was read, and says what it wrote besides what was modelled; whether the compiler took it.
fn check(made: &Made, invocation: &Invocation, dir: &Path, at_first: &BTreeMap<PathBuf, SystemTime>) -> Result<bool, String> {
    let mut command = Command::new(made.driver.name);
    command.args(&made.words).current_dir(dir).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C");
    let output = command.env("PWD", dir).stdin(Stdio::null()).output().expect("scripts/deps installs every compiler");
    let line = || format!("{} {}", made.driver.name, made.words.join(" "));
    let modelled: BTreeSet<PathBuf> = invocation.outputs.iter().map(|output| plain(&dir.join(&output.path))).collect();
    let after = files(dir);
    // A clang that crashes leaves what it was writing under a name drawn by lot.
    let is_left = |path: &Path| !output.status.success() && path.to_string_lossy().ends_with(".tmp");
    let written = after.iter().filter(|(path, time)| at_first.get(*path) != Some(*time)).map(|(path, _)| path);
    let mut written = written.filter(|path| !is_left(path));
    let foreign = written.find(|path| !modelled.contains(*path)).cloned();
    let required = invocation.outputs.iter().filter(|output| output.required && output.path != "/dev/null");
    let absent = required.map(|output| &output.path).find(|path| !dir.join(path).exists()).cloned();
    for path in after.keys().filter(|path| !at_first.contains_key(*path)) {
        fs::remove_file(path).expect("a file of the compiler's");
    }
    match (foreign, absent) {
        (Some(path), _) => Err(format!("{}\n    wrote {}, modelled {modelled:?}", line(), path.display())),
        (None, Some(path)) if output.status.success() => Err(format!("{}\n    did not write {path}", line())),
        _ => Ok(output.status.success()),
    }
}

/// The path without `.` in it.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

#[test]
fn no_generated_line_writes_more_or_less_than_was_modelled() {
    let lines = lines();
    let (next, read_well, taken) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let problems = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let dir = tempfile::tempdir().expect("a directory");
                let path = dir.path().canonicalize().expect("a directory");
                fresh(&path);
                let at_first = files(&path);
                while let Some(made) = lines.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Ok(invocation) = read(made, &path) else { continue };
                    read_well.fetch_add(1, Ordering::Relaxed);
                    match check(made, &invocation, &path, &at_first) {
                        Ok(success) => drop(taken.fetch_add(usize::from(success), Ordering::Relaxed)),
                        Err(problem) => problems.lock().expect("no panic above").push(problem),
                    }
                }
            });
        }
    });
    let problems = problems.into_inner().expect("no panic above");
    let (read_well, taken) = (read_well.into_inner(), taken.into_inner());
    println!("{} lines, {read_well} read, {taken} compiled", lines.len());
    assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join("\n"));
    assert!(2 * read_well > lines.len() && 4 * taken > lines.len(), "{read_well} lines read and {taken} compiled are too few");
}

#[test]
fn generated_lines_come_to_what_they_do_locally() {
    let steps = lines().into_iter().step_by(FARM_EVERY).map(|made| {
        let words: Vec<OsString> = made.words.iter().map(OsString::from).collect();
        let here = Some("*".to_owned());
        Step::Run(Line { text: made.words.join(" "), words, drivers: vec![made.driver], here, ..Line::default() })
    });
    let files = FILES.iter().map(|(name, text)| (PathBuf::from(name), text.as_bytes().to_vec())).collect();
    let case =
        Case { name: "generated".to_owned(), title: "generated".to_owned(), steps: steps.collect(), files, ..Case::default() };
    let report = Suite::start().play(&[case]);
    let far = ["remote", "hit"].iter().filter_map(|way| report.went.get(*way)).sum::<usize>();
    report.check();
    assert!(3 * far > report.compared, "only {far} of {} went to the farm", report.compared);
}
