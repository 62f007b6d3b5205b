//! Every row of the tables of options on a command line where it changes an output, a message or the exit code, by
//! `effects/rows.txt`. Here the real compilers run the lines; `kiln-testkit` takes them through a farm. Knows no farm.
//!
//! A line of the file has cells parted by ` | `: `FAMILY ROW | COMPILER | WORDS | MORE WORDS | NOTE`. Without MORE WORDS, which are the
//! row's and stand at the end of the others or where `{row}` is, something else comes of the compile than with them. NOTE is absent, or one of
//! - `fails`: with the row, the compiler exits with an error;
//! - `here REASON`: kiln does not distribute the row, or this use of it, for that reason;
//! - `farm REASON`: read as a compile to distribute, and left to this machine all the same by what the daemon finds.
//!
//! `FAMILY ROW | no effect: WORD` says that no compiler here does anything for the row: it was `ignored` without a word, or matters to
//! the `linker` alone.
//!
//! All of them take over a minute, so a part is run; `KILN_SOAK=1` runs all.
#![expect(clippy::disallowed_methods, reason = "the tests do the I/O that the crate itself must not do")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_cmdline::{Effect, Family, find_option, options, shared_options};
use support::{ALL, BOTH, Compiler, TempDir, files_below, words};

/// Every which line is run: 25 ms of processor each.
const RUN_EVERY: usize = 5;
/// Rows that no line shows, at most.
const WITHOUT_EFFECT_MAX: usize = 65;
/// Where the row's words stand among the others.
const PLACE: &str = "{row}";
const WHY_NO_EFFECT: &[&str] = &["ignored", "linker"];

/// A line of the file.
struct Shown {
    name: (Family, String),
    compiler: Compiler,
    words: String,
    row: String,
    note: String,
}

impl Shown {
    fn with(&self) -> Vec<String> {
        match self.words.split_once(PLACE) {
            Some((before, after)) => words(&format!("{before}{}{after}", self.row)),
            None => words(&format!("{} {}", self.words, self.row)),
        }
    }

    fn without(&self) -> Vec<String> {
        words(&self.words.replace(PLACE, ""))
    }
}

#[derive(Default)]
struct Rows {
    shown: Vec<Shown>,
    without_effect: BTreeMap<(Family, String), String>,
}

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/effects")
}

fn recorded() -> Rows {
    let text = std::fs::read_to_string(dir().join("rows.txt")).expect("rows.txt");
    let mut rows = Rows::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let name = match cells[0].split_once(' ') {
            Some(("gcc", row)) => (Family::Gcc, row.to_owned()),
            Some(("clang", row)) => (Family::Clang, row.to_owned()),
            _ => panic!("{line}: no family and row"),
        };
        match cells[1..] {
            [why] => {
                let why = why.strip_prefix("no effect: ").unwrap_or_else(|| panic!("{line}: no reason"));
                rows.without_effect.insert(name, why.to_owned());
            }
            [program, words, row, ref note @ ..] if note.len() < 2 => {
                let compiler = ALL.iter().find(|compiler| compiler.program == program && compiler.family == name.0);
                let compiler = *compiler.unwrap_or_else(|| panic!("{line}: no such compiler of the family"));
                let note = note.first().copied().unwrap_or_default().to_owned();
                rows.shown.push(Shown { name, compiler, words: words.to_owned(), row: row.to_owned(), note });
            }
            _ => panic!("{line}: neither two cells nor four or five"),
        }
    }
    rows
}

#[test]
fn every_row_has_a_line() {
    let rows = recorded();
    let shown = rows.shown.iter().map(|shown| shown.name.clone());
    let listed: BTreeSet<(Family, String)> = shown.chain(rows.without_effect.keys().cloned()).collect();
    let of = |family: Family| shared_options().iter().chain(options(family)).map(move |row| (family, row.name.to_owned()));
    let tables: BTreeSet<(Family, String)> = BOTH.into_iter().flat_map(of).collect();
    let missing: Vec<_> = tables.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&tables).collect();
    assert!(missing.is_empty() && gone.is_empty(), "rows.txt lacks {missing:?}\nand has of no table {gone:?}");
    assert!(rows.without_effect.values().all(|why| WHY_NO_EFFECT.contains(&why.as_str())), "{:?}", rows.without_effect);
    let count = rows.without_effect.len();
    assert!(count <= WITHOUT_EFFECT_MAX, "{count} rows without effect");
}

/// Whether a word of the line is read as the row.
fn uses(shown: &Shown) -> bool {
    let (family, name) = &shown.name;
    words(&shown.row).iter().any(|word| find_option(*family, word).is_some_and(|(row, _)| row.name == name))
}

#[test]
fn lines_are_read_as_the_file_says() {
    let place = Place::new();
    let mut problems = Vec::new();
    for shown in &recorded().shown {
        if !uses(shown) {
            problems.push(format!("{:?}: not in {}", shown.name, shown.row));
        }
        let read = shown.compiler.read(&shown.with(), place.dir.path());
        let got = read.as_ref().err().map(|refusal| format!("here {}", refusal.reason)).unwrap_or_default();
        let noted = if shown.note.starts_with("here") { shown.note.as_str() } else { "" };
        if got != noted {
            problems.push(format!("{:?}: {} is `{noted}` in rows.txt, but read as `{got}`", shown.name, shown.row));
        }
        let row = find_option(shown.name.0, &shown.name.1).map(|(row, _)| row.effect);
        if read.is_ok() && matches!(row, Some(Effect::Refuse(_))) {
            problems.push(format!("{:?}: a refused row was taken", shown.name));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What came of a compile: exit code, messages, files.
#[derive(PartialEq)]
struct Came {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    files: BTreeMap<String, Vec<u8>>,
}

/// A directory with the sources, where one compile comes after the other.
struct Place {
    dir: TempDir,
    sources: BTreeSet<String>,
    without: BTreeMap<(&'static str, String), Came>,
}

impl Place {
    fn new() -> Self {
        let place = TempDir::new("effects");
        for name in files_below(&dir()).iter().filter(|name| *name != "rows.txt") {
            place.write(name, &std::fs::read_to_string(dir().join(name)).expect("a source"));
        }
        place.write("out/keep", "");
        let sources = files_below(place.path());
        Self { dir: place, sources, without: BTreeMap::new() }
    }

    fn run(&self, compiler: Compiler, args: &[String]) -> Came {
        let output = compiler.run(args, self.dir.path());
        let mut files = BTreeMap::new();
        for name in files_below(self.dir.path()).difference(&self.sources) {
            let path = self.dir.path().join(name);
            files.insert(name.clone(), std::fs::read(&path).expect("a file"));
            std::fs::remove_file(path).expect("a file of the compiler's");
        }
        Came { code: output.status.code(), stdout: output.stdout, stderr: output.stderr, files }
    }

    /// Why the line does not hold.
    fn problem(&mut self, shown: &Shown) -> Option<String> {
        let with = self.run(shown.compiler, &shown.with());
        let key = (shown.compiler.program, shown.words.clone());
        if !self.without.contains_key(&key) {
            let without = self.run(shown.compiler, &shown.without());
            self.without.insert(key.clone(), without);
        }
        let without = &self.without[&key];
        if without.code != Some(0) {
            return Some("fails without the row".to_owned());
        }
        if with == *without {
            return Some("the row changes nothing".to_owned());
        }
        let wrong = !shown.note.starts_with("here") && (with.code != Some(0)) != (shown.note == "fails");
        wrong.then(|| format!("exit code {:?}", with.code))
    }
}

#[test]
fn rows_change_what_comes_of_a_compile() {
    let every = if std::env::var_os("KILN_SOAK").is_some() { 1 } else { RUN_EVERY };
    let rows = recorded();
    let lines: Vec<&Shown> = rows.shown.iter().step_by(every).collect();
    let (next, problems) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut place = Place::new();
                while let Some(shown) = lines.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(problem) = place.problem(shown) {
                        let Shown { name, compiler, words, row, .. } = shown;
                        let text = format!("{name:?}: {} {words} {row}: {problem}", compiler.program);
                        problems.lock().expect("no panic above").push(text);
                    }
                }
            });
        }
    });
    let problems = problems.into_inner().expect("no panic above");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
