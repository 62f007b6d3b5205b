//! Compares every figure of README's table with `bench/results/latest.json`, from which it must come, and holds how two runs are compared and that the
//! bench's modules fit together. Knows no measurement.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const BEGIN: &str = "<!-- figures: written by bench/report.py -->";
const END: &str = "<!-- end of figures -->";
/// README shows three digits.
const ROUNDING: f64 = 0.006;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a root").to_owned()
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// The median of a record: what names it stands in the row's comment.
fn median(records: &[Value], names: &[&str; 3], tool: &str) -> Option<f64> {
    let [family, case, metric] = names;
    let found = records.iter().find(|record| {
        record["family"] == *family && record["case"] == *case && record["metric"] == *metric && record["tool"] == tool
    });
    found.and_then(|record| record["median"].as_f64())
}

#[test]
fn every_figure_in_the_readme_was_measured() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let latest = fs::read_to_string(root().join("bench/results/latest.json")).expect("latest.json");
    let latest: Value = serde_json::from_str(&latest).expect("JSON");
    let records = latest["records"].as_array().expect("records");
    let figures = readme.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).expect("README.md has its figures").0;
    let mut rows = figures.lines().filter(|line| line.starts_with('|'));
    let tools = cells(rows.next().expect("a head"));
    let mut compared = 0;
    for row in rows.filter(|row| !row.starts_with("|---")) {
        let cells = cells(row);
        let named = cells[0].split_once("<!-- ").and_then(|(_, rest)| rest.split_once(" -->")).expect("what the row shows").0;
        let names: Vec<&str> = named.split("; ").collect();
        let names: &[&str; 3] = names.as_slice().try_into().expect("family, case and metric");
        for (tool, cell) in tools.iter().zip(&cells).skip(1).filter(|(_, cell)| !cell.is_empty()) {
            let shown: f64 = cell.replace(',', "").parse().unwrap_or_else(|_| panic!("{named}, {tool}: {cell:?} is no number"));
            let measured = median(records, names, tool).unwrap_or_else(|| panic!("{named}, {tool}: not in latest.json"));
            assert!(
                (shown - measured).abs() <= measured.abs() * ROUNDING,
                "{named}, {tool}: README says {shown}, latest.json {measured}"
            );
            compared += 1;
        }
    }
    assert!(compared > 0, "README.md quotes no figure");
    for link in figures.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(path, _)| path) {
        assert!(root().join(link).is_file(), "README.md shows {link}, which does not exist");
    }
}

/// Runs `bench/agree.py` on two results; its exit status and what it printed.
fn agree(earlier: &Value, later: &Value) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let paths = [("earlier.json", earlier), ("later.json", later)].map(|(name, result)| {
        let path = dir.path().join(name);
        fs::write(&path, result.to_string()).expect("written");
        path
    });
    let ran = Command::new("/usr/bin/python3").arg(root().join("bench/agree.py")).args(paths).output().expect("python3 runs");
    (ran.status.code(), String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned())
}

#[test]
fn runs_that_differ_are_told_apart() {
    let run = |ratio: f64| {
        let row = serde_json::json!({"family": "hit", "case": "c++", "metric": "hit_cpu", "tool": "kiln", "peer": "ccache",
            "ratio": ratio, "low": ratio - 0.05, "high": ratio + 0.05, "n": 10});
        serde_json::json!({ "ratios": [row] })
    };
    let (status, text) = agree(&run(0.5), &run(0.54));
    assert!(status == Some(0) && text.contains("1 ratios in both, 1 agree"), "{status:?}: {text}");
    let (status, text) = agree(&run(0.5), &run(0.61));
    assert!(status == Some(1) && text.contains("hit, c++, hit_cpu, kiln, ccache"), "{status:?}: {text}");
    let (status, text) = agree(&run(0.5), &Value::Null);
    assert!(status == Some(2) && text.contains("later.json is no result of the bench"), "{status:?}: {text}");
}

/// What mypy says of all modules of the bench and `more`: whether nothing is wrong, and its lines.
fn mypy(more: Option<&Path>) -> (bool, String) {
    let entries = fs::read_dir(root().join("bench")).expect("bench").map(|entry| entry.expect("an entry").path());
    let python = entries.filter(|path| path.extension().is_some_and(|extension| extension == "py"));
    let mut mypy = Command::new("/usr/bin/mypy");
    mypy.args(["--config-file", "bench/mypy.ini", "--cache-dir", "/dev/null"]).current_dir(root());
    let ran = mypy.args(python).args(more).output().expect("mypy runs: scripts/deps installs it");
    (ran.status.success(), String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned())
}

/// Nothing but a run of the bench, which takes an hour, would find a name or an argument that is gone.
#[test]
fn modules_of_the_bench_fit_together() {
    let (well, text) = mypy(None);
    assert!(well, "{text}");
    let dir = tempfile::tempdir().expect("a directory");
    let module = dir.path().join("misfit.py");
    fs::write(&module, "import common\n\n\ndef measure(results):\n    common.no_such_name()\n    common.chosen()\n")
        .expect("a module");
    let (well, text) = mypy(Some(&module));
    assert!(!well && text.contains("\"no_such_name\"") && text.contains("argument \"what\""), "{text}");
}
