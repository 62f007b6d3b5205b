//! Compilers as oracles: every header of the C and C++ libraries as a unit of its own, and one project of traps. No file that
//! gcc, clang or clang-scan-deps lists may be missing from the closure.
#![expect(clippy::disallowed_methods, reason = "a test does the I/O that the crate itself must not do")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_scan::{Closure, Scanner};
use support::{CommandLine, Compilers, DiskView, dependencies, identity, listed};

/// Scans many units with one scanner, as a daemon does, and compares.
#[derive(Default)]
struct Oracle {
    view: DiskView,
    compilers: Compilers,
    scanner: Scanner,
    units: usize,
    listed: usize,
    scanned: usize,
}

impl Oracle {
    fn closure(&mut self, args: &[String], cwd: &str) -> Closure {
        let request = self.compilers.request(&self.view, &CommandLine::parse(args), cwd);
        match self.scanner.scan(&self.view, &request) {
            Ok(closure) => closure,
            Err(reason) => panic!("{args:?}: {reason}"),
        }
    }

    #[track_caller]
    fn compare(&mut self, args: &[String], cwd: &str, list: &[String]) {
        let closure = self.closure(args, cwd);
        let ours: BTreeSet<_> = closure.files.iter().filter_map(|f| identity(cwd, &f.path)).collect();
        let theirs: BTreeMap<_, _> = list.iter().filter_map(|p| identity(cwd, p).map(|id| (id, p))).collect();
        let missed: Vec<_> = theirs.iter().filter(|(id, _)| !ours.contains(id)).map(|(_, path)| path).collect();
        assert!(missed.is_empty(), "{args:?} in {cwd}: the closure lacks {missed:?}");
        self.units += 1;
        self.listed += theirs.len();
        self.scanned += ours.len();
    }

    fn sum(&self, what: &str) {
        let factor = self.scanned as f64 / self.listed.max(1) as f64;
        println!("{what}: {} units, {} files listed, {} scanned, factor {factor:.3}", self.units, self.listed, self.scanned);
    }
}

fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|s| (*s).to_owned()).collect()
}

fn headers(dir: &str, keep: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{dir}: {e}"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file() && keep(path))
        .collect();
    list.sort();
    list
}

/// Units that include one header each: language, options and header rotate against each other.
fn library_units(root: &Path) -> Vec<Vec<String>> {
    let cwd = root.to_str().expect("UTF-8");
    std::fs::create_dir_all(root.join("m32/gnu")).expect("a directory");
    std::fs::write(root.join("m32/gnu/stubs-32.h"), "").expect("a header");
    let m32 = format!("{cwd}/m32");
    let c: &[&[&str]] = &[
        &["gcc"],
        &["gcc", "-std=c90", "-D_POSIX_C_SOURCE=200112L"],
        &["clang-14", "-D_GNU_SOURCE"],
        &["gcc", "-std=c11", "-D_GNU_SOURCE", "-D_FORTIFY_SOURCE=2", "-O2"],
        &["gcc", "-m32", "-isystem", &m32],
        &["clang-14", "-m32", "-isystem", &m32, "-D_FILE_OFFSET_BITS=64"],
    ];
    let cxx: &[&[&str]] = &[
        &["g++", "-std=c++98"],
        &["clang++-14", "-std=c++17"],
        &["g++", "-std=gnu++20"],
        &["g++", "-std=c++17", "-D_GLIBCXX_DEBUG", "-D_GLIBCXX_PARALLEL", "-fopenmp"],
    ];
    let of_c = headers("/usr/include", |p| p.extension().is_some_and(|e| e == "h"));
    let of_cxx = headers("/usr/include/c++/12", |_| true);
    let mut units = Vec::new();
    for (language, sets, list) in [("c", c, of_c), ("c++", cxx, of_cxx)] {
        for (i, header) in list.iter().enumerate() {
            let name = header.file_name().and_then(|n| n.to_str()).expect("UTF-8");
            let source = format!("{cwd}/{}_{name}.{}", units.len(), if language == "c" { "c" } else { "cc" });
            std::fs::write(&source, format!("#include <{name}>\n")).expect("a source");
            for set in [sets[i % sets.len()], sets[(i + i / sets.len() + 1) % sets.len()]] {
                let mut args = strings(set);
                args.extend(strings(&["-c", &source]));
                units.push(args);
            }
        }
    }
    units
}

#[test]
fn every_library_header_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let cwd = dir.path().to_str().expect("UTF-8").to_owned();
    let units = library_units(dir.path());
    let mut oracle = Oracle::default();
    for args in &units {
        if let Some(list) = listed(args, &cwd) {
            oracle.compare(args, &cwd, &list);
        }
    }
    oracle.sum("library headers");
    assert!(oracle.units * 3 > units.len() * 2, "most headers can be included alone: {} of {}", oracle.units, units.len());
}

/// A project of everything that include scanners get wrong.
const TRAPS: &[(&str, &str)] = &[
    (
        "src/a.c",
        "/* #include \"never.h\" */ #include \"near.h\"\n#include <conf.h>\n#if FEATURE(2) && !defined(OFF)\n#include \"feature.h\"\n#endif\n\
         #include HEADER\n#include STR(DIR/made.h)\n#define twice 1\n#include \"twice.h\"\n#undef twice\n#include \"twice.h\"\n\
         #if __has_include(<opt.h>)\n#include <opt.h>\n#endif\n#include <limits.h>\n#include <stdint.h>\n%:include \"di\\\ngraph.h\"\n\
         #import \"once.h\"\n#import \"once.h\"\n#include \"d/../../src/up.h\"\n#include <deep/deep.h>\n#include \"self.h\"\n#ifdef LATE\n#include \"late.h\"\n#endif\n\
         #include \"link/in_link.h\"\n#include <dirname.h>\nint x = '\\'' /* '\n*/; char *s = \"/* \\\" //\";\n#include \"after.h\"\n",
    ),
    ("src/near.h", "#include \"conf.h\"\n"),
    ("src/conf.h", "#define NEAR_CONF\n"),
    (
        "inc/conf.h",
        "#define FEATURE(x) ((x) > 1)\n#define HEADER <by_macro.h>\n#define STR_(x) #x\n#define STR(x) STR_(x)\n#define DIR sub\n",
    ),
    ("inc/feature.h", ""),
    ("inc/by_macro.h", "#define LATE\n"),
    ("inc/sub/made.h", "#pragma once\n"),
    ("src/twice.h", "#if twice\n#include \"one.h\"\n#else\n#include \"two.h\"\n#endif\n"),
    ("src/one.h", ""),
    ("src/two.h", ""),
    ("inc2/opt.h", "#define LATE\n"),
    ("inc/limits.h", "#include_next <limits.h>\n#include <both.h>\n"),
    ("inc/both.h", "#if __has_include_next(<both.h>)\n#include_next <both.h>\n#endif\n"),
    ("inc2/both.h", "#if __has_include_next(<both.h>)\n#include_next <both.h>\n#endif\n"),
    ("src/digraph.h", ""),
    ("src/once.h", "#include \"once2.h\"\n"),
    ("src/once2.h", ""),
    ("src/d/x.h", ""),
    ("src/up.h", ""),
    (
        "inc2/deep/deep.h",
        "#ifndef D\n#define D 0\n#endif\n#if D == 0\n#undef D\n#define D 1\n#include \"deep.h\"\n#elif D == 1\n#include \"../deep/deeper.h\"\n#endif\n",
    ),
    ("inc2/deep/deeper.h", "#undef D\n#define D 2\n"),
    ("src/self.h", "#ifndef SELF\n#define SELF\n#include \"self.h\"\n#include \"self2.h\"\n#endif\n"),
    ("src/self2.h", "#include \"../src/self.h\"\n"),
    ("src/late.h", ""),
    ("real/in_link.h", "#include \"beside_link.h\"\n"),
    ("real/beside_link.h", ""),
    ("inc/dirname.h/file", ""),
    ("inc2/dirname.h", ""),
    ("src/after.h", ""),
];

fn write_traps(root: &Path) {
    for (path, text) in TRAPS {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
    std::os::unix::fs::symlink("../real", root.join("src/link")).expect("a link");
}

#[test]
fn a_project_of_traps() {
    let dir = tempfile::tempdir().expect("a directory");
    write_traps(dir.path());
    let root = dir.path().to_str().expect("UTF-8").to_owned();
    let mut oracle = Oracle::default();
    for (cwd, source, inc, inc2) in [
        (root.clone(), "src/a.c".to_owned(), "inc".to_owned(), "inc2/".to_owned()),
        (format!("{root}/src"), "a.c".to_owned(), "../inc".to_owned(), "./../inc2".to_owned()),
        ("/".to_owned(), format!("{root}/src/a.c"), format!("{root}/inc"), format!("{root}/src/../inc2")),
    ] {
        for compiler in ["gcc", "clang-14"] {
            for flags in [&["-I"][..], &["-DOFF", "-I"], &["-std=c99", "-isystem"]] {
                let mut args = vec![compiler.to_owned()];
                args.extend(strings(flags));
                args.extend([inc.clone(), format!("-I{inc2}"), "-c".to_owned(), source.clone()]);
                let list = listed(&args, &cwd).unwrap_or_else(|| panic!("{args:?} in {cwd} must compile"));
                assert!(list.len() > 25, "{list:?}");
                oracle.compare(&args, &cwd, &list);
            }
        }
    }
    oracle.sum("traps");
}

#[test]
fn what_clang_scan_deps_finds() {
    let dir = tempfile::tempdir().expect("a directory");
    let cwd = dir.path().to_str().expect("UTF-8").to_owned();
    write_traps(dir.path());
    let mut units: Vec<Vec<String>> = library_units(dir.path()).into_iter().filter(|args| args[0].starts_with("clang")).collect();
    units.push(strings(&["clang-14", "-Iinc", "-Iinc2", "-c", "src/a.c"]));
    let entries: Vec<String> = units
        .iter()
        .map(|args| {
            let quoted: Vec<String> = args.iter().map(|a| format!("\"{a}\"")).collect();
            let file = args.last().expect("a source");
            format!("{{\"directory\":\"{cwd}\",\"file\":\"{file}\",\"arguments\":[{}]}}", quoted.join(","))
        })
        .collect();
    let database = dir.path().join("db.json");
    std::fs::write(&database, format!("[{}]", entries.join(",\n"))).expect("a database");
    let output = Command::new("clang-scan-deps-14")
        .args(["-j", "2", "-format=make", "-compilation-database"])
        .arg(&database)
        .output()
        .expect("clang-scan-deps-14 runs");
    let text = String::from_utf8_lossy(&output.stdout).replace("\\\n", " ");
    let mut oracle = Oracle::default();
    for rule in text.lines().filter(|l| l.contains(": ")) {
        let list = dependencies(rule.as_bytes());
        let source = list.first().cloned().unwrap_or_default();
        for args in units.iter().filter(|args| args.last().is_some_and(|s| source.ends_with(s.as_str()))) {
            // A source with two command lines has two rules that cannot be told apart: it must be in the union.
            let twice = units.iter().filter(|other| other.last() == args.last()).count() > 1;
            if !twice {
                oracle.compare(args, &cwd, &list);
            }
        }
    }
    oracle.sum("clang-scan-deps");
    assert!(oracle.units > 50, "{} units, {}", oracle.units, String::from_utf8_lossy(&output.stderr));
}
