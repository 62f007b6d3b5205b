//! Every row of the tables of options and variables on a command line through a farm: options where they change what comes of a compile,
//! by the lines of `kiln-cmdline/tests/effects/rows.txt`; variables in the cases. Knows no option itself.
//!
//! Lines for options are a part of all, which take minutes; `KILN_SOAK=1` tries all.

use kiln_cmdline::{EnvEffect, environment_rows};
use kiln_testkit::case::{Case, DRIVERS, Line, Step, Suite, cases};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Every which line is tried: 0.1 s of processor each. Not a divisor of `kiln-cmdline`'s own, that its part and this are not the same.
const TRY_EVERY: usize = 8;

/// What writes files whose names are drawn by lot, which no two runs share.
const DRAWN: &str = "-gen-cdb-fragment-path";

fn effects() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kiln-cmdline/tests/effects")
}

fn files(dir: &Path, below: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = below.join(path.file_name().expect("a name"));
        if path.is_dir() {
            files(&path, &name, into);
        } else if name != Path::new("rows.txt") {
            into.push((name, fs::read(path).expect("a file")));
        }
    }
}

/// The line with the row, to be compiled on the farm unless the file says otherwise.
fn with_row(line: &str) -> Option<Line> {
    let cells: Vec<&str> = line.split(" | ").collect();
    let [_, program, words, row, ref note @ ..] = cells[..] else { return None };
    let here = match note.first() {
        None => None,
        Some(&"fails") => Some("*"),
        Some(note) => Some(note.split_once(' ').unwrap_or_else(|| panic!("{line}: no such note")).1),
    };
    let text = if words.contains("{row}") { words.replace("{row}", row) } else { format!("{words} {row}") };
    let words: Vec<OsString> = text.split_ascii_whitespace().map(OsString::from).collect();
    let driver = DRIVERS.iter().find(|driver| driver.name == program).unwrap_or_else(|| panic!("{line}: no such compiler"));
    Some(Line { text, words, drivers: vec![driver], here: here.map(str::to_owned), ..Line::default() })
}

#[test]
fn rows_change_on_the_farm_what_they_change_locally() {
    let mut sources = vec![(PathBuf::from("out/keep"), Vec::new())];
    files(&effects(), Path::new(""), &mut sources);
    let text = fs::read_to_string(effects().join("rows.txt")).expect("rows.txt");
    let wanted = std::env::var("KILN_CASE").unwrap_or_default();
    let lines =
        text.lines().filter(|line| !line.starts_with('#') && !line.contains(DRAWN) && line.contains(&wanted)).filter_map(with_row);
    let every = if std::env::var_os("KILN_SOAK").is_some() || !wanted.is_empty() { 1 } else { TRY_EVERY };
    // The same line may show several rows.
    let mut seen = BTreeSet::new();
    let lines = lines.step_by(every).filter(|line| seen.insert((line.drivers[0].name, line.text.clone())));
    let steps = lines.map(Step::Run).collect();
    let case = Case { name: "rows".to_owned(), title: "rows".to_owned(), steps, files: sources, ..Case::default() };
    Suite::start().play(&[case]).check();
}
#[test]
fn every_variable_that_matters_is_set_in_a_case() {
    let all = cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"));
    let lines = all.iter().flat_map(Case::lines);
    let set: BTreeSet<String> = lines.flat_map(|line| &line.env).map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    let is_row = |name: &str| environment_rows().iter().any(|row| row.name == name);
    let fits = |row: &str, name: &str| match (row.strip_prefix('*'), row.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end) && !is_row(name),
        (_, Some(start)) => name.starts_with(start) && !is_row(name),
        _ => row == name,
    };
    let rows = environment_rows().iter().filter(|row| row.effect != EnvEffect::Irrelevant);
    let absent: Vec<&str> = rows.map(|row| row.name).filter(|row| !set.iter().any(|name| fits(row, name))).collect();
    assert!(absent.is_empty(), "no case sets {absent:?}");
}
