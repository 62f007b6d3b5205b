//! The loader's rules, against programs made with them and what the system's own loader says of them.

use super::*;
use crate::{DigestCache, Entry};
use std::process::Command;

/// Links a library or program from nothing but the libraries it needs.
fn link(dir: &Path, output: &str, shared: bool, flags: &[&str], needed: &[&str]) {
    let out = dir.join(output);
    std::fs::create_dir_all(out.parent().unwrap()).unwrap();
    let source = dir.join("source.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let mut command = Command::new("/usr/bin/gcc");
    command.arg(&source).arg("-o").arg(&out).args(["-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined"]).args(flags);
    if shared {
        let name = output.rsplit('/').next().unwrap();
        command.args(["-shared", "-fPIC"]).arg(format!("-Wl,-soname,{name}"));
    }
    command.args(needed.iter().map(|library| dir.join(library)));
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Files entered for a program, those below `dir` only, relative to it.
fn entered(dir: &Path, program: &str) -> Result<Vec<String>, ToolchainError> {
    let mut cache = DigestCache::new();
    let mut walker = Walker::new(&mut cache);
    let mut loader = Loader::new(Path::new("/driver"), &mut walker)?;
    loader.enter_program(&mut walker, dir.join(program).to_str().unwrap())?;
    loader.finish(&mut walker)?;
    let (entries, _) = walker.finish();
    let root = dir.canonicalize().unwrap();
    let below = |entry: &Entry| match entry {
        Entry::File { path, .. } => Some(Path::new(path).strip_prefix(&root).ok()?.to_str()?.to_owned()),
        _ => None,
    };
    Ok(entries.iter().filter_map(below).collect())
}

/// What the system's loader loads from below `dir`.
fn loaded(dir: &Path, program: &str) -> Vec<String> {
    let output = Command::new("/lib64/ld-linux-x86-64.so.2").arg("--list").arg(dir.join(program)).output().unwrap();
    let root = dir.canonicalize().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let paths = text.lines().filter_map(|line| line.split("=> ").nth(1)).filter_map(|rest| rest.split(" (").next());
    let mut found: Vec<String> = paths
        .filter_map(|path| Some(Path::new(path).canonicalize().ok()?.strip_prefix(&root).ok()?.to_str()?.to_owned()))
        .chain([program.to_owned()])
        .collect();
    found.sort();
    found
}

#[track_caller]
fn agrees(dir: &Path, program: &str, want: &[&str]) {
    assert_eq!(entered(dir, program).unwrap(), want);
    assert_eq!(loaded(dir, program), want, "the test knows what the loader does");
}

#[test]
fn runpath_holds_for_the_object_alone_and_rpath_for_all_it_loads() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    link(dir, "deep/liblow.so", true, &[], &[]);
    link(dir, "lib/libtop.so", true, &["-Wl,--disable-new-dtags"], &["deep/liblow.so"]);
    let both = "-Wl,-rpath,$ORIGIN/../lib:$ORIGIN/../deep";
    link(dir, "bin/by-rpath", false, &["-Wl,--disable-new-dtags", both], &["lib/libtop.so"]);
    agrees(dir, "bin/by-rpath", &["bin/by-rpath", "deep/liblow.so", "lib/libtop.so"]);
    link(dir, "bin/by-runpath", false, &["-Wl,--enable-new-dtags", both], &["lib/libtop.so"]);
    let error = entered(dir, "bin/by-runpath").unwrap_err().to_string();
    assert!(error.contains("liblow.so is not found"), "{error}");
    link(dir, "lib/libtop.so", true, &["-Wl,--enable-new-dtags", "-Wl,-rpath,${ORIGIN}/../deep"], &["deep/liblow.so"]);
    agrees(dir, "bin/by-runpath", &["bin/by-runpath", "deep/liblow.so", "lib/libtop.so"]);
}

#[test]
fn the_first_directory_counts_and_what_does_not_fit_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for place in ["one/libx.so", "two/libx.so"] {
        link(dir, place, true, &[], &[]);
    }
    link(dir, "bin/program", false, &["-Wl,-rpath,$ORIGIN/../none:$ORIGIN/../one:$ORIGIN/../two"], &["two/libx.so"]);
    agrees(dir, "bin/program", &["bin/program", "one/libx.so"]);
    // A library of another kind: the loader goes on.
    let mut other = std::fs::read(dir.join("one/libx.so")).unwrap();
    other[18] = 183;
    std::fs::write(dir.join("one/libx.so"), other).unwrap();
    agrees(dir, "bin/program", &["bin/program", "two/libx.so"]);
}

#[test]
fn variants_for_particular_processors_are_entered_with_the_plain_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for place in ["lib/libx.so", "lib/glibc-hwcaps/x86-64-v2/libx.so", "lib/glibc-hwcaps/x86-64-v9/libx.so", "lib/x86_64/libx.so"] {
        link(dir, place, true, &[], &[]);
    }
    link(dir, "bin/program", false, &["-Wl,-rpath,$ORIGIN/../lib"], &["lib/libx.so"]);
    let found = entered(dir, "bin/program").unwrap();
    let all = [
        "bin/program",
        "lib/glibc-hwcaps/x86-64-v2/libx.so",
        "lib/glibc-hwcaps/x86-64-v9/libx.so",
        "lib/libx.so",
        "lib/x86_64/libx.so",
    ];
    assert_eq!(found, all);
    assert!(loaded(dir, "bin/program").iter().all(|path| found.contains(path)));
}

#[test]
fn programs_without_a_loader_need_nothing_and_what_is_no_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    link(dir, "static", false, &["-static"], &[]);
    assert_eq!(entered(dir, "static").unwrap(), ["static"]);
    std::fs::write(dir.join("script"), "#!/bin/sh\n").unwrap();
    assert!(entered(dir, "script").unwrap_err().to_string().contains("is not an ELF program"));
    assert_eq!(entered(dir, "none").unwrap(), Vec::<String>::new());
}
