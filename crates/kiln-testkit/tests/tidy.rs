//! Checks over the whole tree: file heads and sizes, allowed edges between crates, bans, words. Knows no code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines that one file may have.
const LINES_MAX: usize = 600;

/// Longer files, and why.
const LONG: &[(&str, &str)] = &[
    ("crates/kiln-cmdline/src/table/gcc.rs", "a table of options"),
    ("crates/kiln-cmdline/src/table/clang.rs", "a table of options"),
    ("crates/kiln-proto/src/gen/kiln.v1.rs", "generated"),
];

/// Files without a head, and why.
const HEADLESS: &[(&str, &str)] = &[("crates/kiln-proto/src/gen/kiln.v1.rs", "generated")];

/// Every crate, its layer, and the crates of kiln that it may use outside tests. An edge never leads to a higher layer.
/// Layers: 0 values and pure machines, 1 what is shared by services, 2 services, 3 binaries, 4 tests.
const EDGES: &[(&str, u8, &[&str])] = &[
    ("kiln-cas", 0, &[]),
    ("kiln-cmdline", 0, &[]),
    ("kiln-scan", 0, &[]),
    ("kiln-sched", 0, &[]),
    ("kiln-frame", 0, &[]),
    ("kiln-proto", 1, &["kiln-cas"]),
    ("kiln-rpc", 1, &[]),
    ("kiln-store", 1, &["kiln-cas"]),
    ("kiln-sandbox", 1, &["kiln-cas"]),
    ("kiln-toolchain", 1, &["kiln-cas", "kiln-cmdline"]),
    ("kiln-cache", 2, &["kiln-cas", "kiln-proto", "kiln-rpc", "kiln-store"]),
    ("kiln-worker", 2, &["kiln-cache", "kiln-cas", "kiln-proto", "kiln-rpc", "kiln-sandbox", "kiln-store", "kiln-toolchain"]),
    ("kiln-scheduler", 2, &["kiln-cache", "kiln-cas", "kiln-proto", "kiln-rpc", "kiln-sched"]),
    (
        "kiln-daemon",
        2,
        &[
            "kiln-cas",
            "kiln-cmdline",
            "kiln-frame",
            "kiln-proto",
            "kiln-rpc",
            "kiln-sandbox",
            "kiln-scan",
            "kiln-store",
            "kiln-toolchain",
            "kiln-worker",
        ],
    ),
    ("kiln", 3, &["kiln-cmdline", "kiln-frame"]),
    (
        "kilnd",
        3,
        &[
            "kiln",
            "kiln-cache",
            "kiln-cas",
            "kiln-cmdline",
            "kiln-daemon",
            "kiln-frame",
            "kiln-proto",
            "kiln-rpc",
            "kiln-sandbox",
            "kiln-scheduler",
            "kiln-toolchain",
            "kiln-worker",
        ],
    ),
    ("kiln-testkit", 4, &[]),
    ("kiln-bench", 4, &["kiln-cas", "kiln-proto", "kiln-rpc", "kiln-sandbox", "kiln-store", "kiln-worker"]),
];

/// Crates that decide and touch nothing, each with a `clippy.toml` that bans effects.
const PURE: &[&str] = &["kiln-cmdline", "kiln-scan", "kiln-sched"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a root").to_owned()
}

/// All files below `crates/` that git would keep, by their path from the root.
fn files(extensions: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root().join("crates")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|of| extensions.iter().any(|extension| of == *extension)) {
                let name = path.strip_prefix(root()).expect("below the root").display().to_string();
                found.insert(name, String::from_utf8_lossy(&fs::read(&path).expect("a file")).into_owned());
            }
        }
    }
    assert!(!found.is_empty());
    found
}

fn cargo(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    let output = command.args(args).arg("--offline").current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn every_file_says_what_it_does() {
    let listed = |name: &str| HEADLESS.iter().any(|(of, _)| *of == name);
    let bad = files(&["rs"]).into_iter().filter(|(name, text)| !listed(name) && !text.starts_with("//!"));
    none("no //! in the first line", bad.map(|(name, _)| name).collect());
}

#[test]
fn files_are_short() {
    let all = files(&["rs"]);
    let long: BTreeSet<&str> =
        all.iter().filter(|(_, text)| text.lines().count() > LINES_MAX).map(|(name, _)| name.as_str()).collect();
    let listed: BTreeSet<&str> = LONG.iter().map(|(name, _)| *name).collect();
    assert_eq!(long, listed, "files over {LINES_MAX} lines, against the list of exceptions");
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not hold them.
    let words = ["todo", "unimplemented"].map(|word| format!("{word}!("));
    let more = [["#[ig", "nore"], ["FIX", "ME"], ["should_", "panic"]].map(|parts| parts.concat());
    let mut bad = Vec::new();
    for (name, text) in files(&["rs"]) {
        for word in words.iter().chain(&more).filter(|word| text.contains(word.as_str())) {
            bad.push(format!("{name}: {word}"));
        }
    }
    none("words of unfinished work", bad);
}

#[test]
fn no_path_of_a_workplace_is_written_down() {
    let words = [["/wo", "rk/"], ["/ho", "me/me/"]].map(|parts| parts.concat());
    let mut all = files(&["rs", "sh", "toml", "md", "c", "h", "cc", "proto"]);
    for dir in ["", "docs", "scripts"] {
        for entry in fs::read_dir(root().join(dir)).expect("a directory") {
            let path = entry.expect("an entry").path();
            // In a further working tree `.git` is a file that names the first one.
            if path.ends_with(".git") {
                continue;
            }
            if let Ok(text) = fs::read_to_string(&path) {
                all.insert(path.display().to_string(), text);
            }
        }
    }
    let hits = all.into_iter().filter(|(_, text)| words.iter().any(|word| holds_path(text, word)));
    none("absolute paths of a workplace", hits.map(|(name, _)| name).collect());
}

/// Whether `path` begins a path in `text`: not as the middle of a longer one.
fn holds_path(text: &str, path: &str) -> bool {
    text.match_indices(path).any(|(at, _)| !text[..at].ends_with(|of: char| of.is_alphanumeric() || "._-}$)".contains(of)))
}

#[test]
fn crates_use_only_what_they_may() {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let uses = seen.entry(package["name"].as_str().expect("a name")).or_default();
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let (ours, dev) = (dependency["path"].is_string(), dependency["kind"] == "dev");
            if ours && !dev {
                uses.insert(dependency["name"].as_str().expect("a name"));
            }
        }
    }
    let table: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(name, _, uses)| (*name, uses.iter().copied().collect())).collect();
    assert_eq!(seen, table, "edges as they are, against the table of those allowed");
    let layers: BTreeMap<&str, u8> = EDGES.iter().map(|(name, layer, _)| (*name, *layer)).collect();
    for (name, layer, uses) in EDGES {
        for used in *uses {
            assert!(layers[used] <= *layer, "{name} uses {used} of a higher layer");
        }
    }
}

#[test]
fn the_wrapper_stays_light() {
    let tree = cargo(&["tree", "-p", "kiln", "--edges", "normal", "--prefix", "none"]);
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let allowed = BTreeSet::from(["kiln", "kiln-cmdline", "kiln-frame", "libc"]);
    assert_eq!(names, allowed, "all that the wrapper is linked with");
}

#[test]
fn pure_crates_ban_effects() {
    for name in PURE {
        let text = fs::read_to_string(root().join("crates").join(name).join("clippy.toml"))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        for banned in ["std::fs::", "std::env::", "std::process::Command::new", "HashMap"] {
            assert!(text.contains(banned), "{name} does not ban {banned}");
        }
    }
}

#[test]
fn what_the_architecture_names_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("text");
    let mut bad = Vec::new();
    for word in text.split('`').skip(1).step_by(2).filter(|word| word.contains('/') && !word.contains([' ', '<', '*'])) {
        let places = [root().join(word), root().join("crates").join(word)];
        let is_path = word.starts_with("docs/") || word.starts_with("crates/") || word.starts_with("kiln");
        if is_path && !places.iter().any(|place| place.exists()) {
            bad.push(word.to_owned());
        }
    }
    none("ARCHITECTURE.md names what does not exist", bad);
}

#[test]
fn settings_for_those_who_come_from_another_tool_exist() {
    let moving = fs::read_to_string(root().join("docs/moving.md")).expect("text");
    let config = fs::read_to_string(root().join("docs/config.md")).expect("text");
    // Of "`farm.schedulers`" and "`worker.dedicated = true`" the section and the key, as the tables of the reference have them.
    let exists = |word: &str| {
        let (section, key) = word.split(' ').next().and_then(|name| name.split_once('.')).unwrap_or((word, ""));
        let keys = config.split_once(&format!("\n## [{section}]\n")).map(|(_, rest)| rest.split("\n## ").next().unwrap_or(rest));
        keys.is_some_and(|keys| keys.contains(&format!("\n| `{key}` |")))
    };
    let (mut seen, mut bad) = (0, Vec::new());
    for row in moving.lines().filter(|line| line.starts_with("| ")) {
        for word in row.rsplit(" | ").next().unwrap_or("").split('`').skip(1).step_by(2) {
            let is_key =
                word.contains('.') && word.starts_with(|first: char| first.is_ascii_lowercase()) && !word.starts_with("kiln");
            let variable = word.split('=').next().unwrap_or(word);
            let is_known = if is_key { exists(word) } else { config.contains(&format!("`{variable}`")) };
            if is_key || variable.starts_with("KILN_") {
                seen += 1;
                bad.extend((!is_known).then(|| word.to_owned()));
            }
        }
    }
    assert!(seen > 10, "only {seen} settings");
    none("docs/moving.md names what is no setting", bad);
}

/// Whether `name`, `PART/NAME` or `CRATE::NAME`, is a case or a test.
fn is_tried(name: &str, sources: &BTreeMap<String, String>) -> bool {
    let Some((crate_name, test)) = name.split_once("::") else {
        return name.contains('/') && root().join("crates/kiln-testkit/cases").join(name).is_dir();
    };
    let dir = format!("crates/{crate_name}/");
    let (plainly, by_macro) = (format!("fn {test}()"), format!("project!({test},"));
    sources.iter().filter(|(path, _)| path.starts_with(&dir)).any(|(_, text)| {
        let mut lines = text.lines().map(str::trim_start);
        // The attribute of a test stands at most a few lines above its name.
        let mut since = usize::MAX;
        lines.any(|line| {
            since = if line.starts_with("#[test]") || line.starts_with("#[tokio::test") { 0 } else { since.saturating_add(1) };
            line.contains(&by_macro) || (since < 5 && line.contains(&plainly))
        })
    })
}

#[test]
fn every_row_of_the_index_names_what_tries_it() {
    let text = fs::read_to_string(root().join("docs/cases.md")).expect("text");
    let sources = files(&["rs"]);
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what goes wrong"));
    let (mut bad, mut seen) = (Vec::new(), BTreeSet::new());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
        let &[what, tests] = cells.as_slice() else {
            bad.push(format!("no two cells: {row}"));
            continue;
        };
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() || !seen.insert(what) {
            bad.push(format!("nothing tries it, or it stands twice: {what}"));
        }
        bad.extend(names.iter().filter(|name| !is_tried(name, &sources)).map(|name| format!("{name}: neither a case nor a test")));
    }
    assert!(seen.len() > 90, "only {} rows", seen.len());
    none("docs/cases.md", bad);
}
