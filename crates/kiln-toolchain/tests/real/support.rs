//! What the tests share: the compilers every machine must have, sources, commands. Decides nothing.

use kiln_toolchain::{DigestCache, LookupEnv, Toolchain};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, OnceLock};

/// Every compiler the tests are about; a machine that lacks one fails them.
pub(crate) const DRIVERS: [&str; 8] = [
    "/usr/bin/gcc",
    "/usr/bin/g++",
    "/usr/bin/clang-14",
    "/usr/bin/clang++-14",
    "/usr/bin/clang-19",
    "/usr/bin/clang++-19",
    "/usr/bin/aarch64-linux-gnu-gcc",
    "/usr/bin/aarch64-linux-gnu-g++",
];

/// The environment of every compile in the tests.
pub(crate) const ENVIRONMENT: [(&str, &str); 2] = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "C.UTF-8")];

pub(crate) const C_SOURCE: &str = "#include <stdio.h>\n#include <limits.h>\nstatic int unused;\nint f(int n)\n{\n    int x;\n    \
    printf(\"%s\\n\", n);\n    return INT_MAX - x;\n}\n";
pub(crate) const CXX_SOURCE: &str = "#include <vector>\n#include <string>\n#include <cstdlib>\n#include <map>\nint f(int n)\n{\n    \
    int x, unused;\n    std::map<std::string, std::vector<int>> m;\n    m[\"a\"].push_back(n + x);\n    return m.size() + std::abs(n);\n}\n";

/// The toolchain of `driver` under the tests' environment; found once.
pub(crate) fn toolchain(driver: &str) -> Arc<Toolchain> {
    type Known = Mutex<(DigestCache, Vec<(String, Arc<Toolchain>)>)>;
    static KNOWN: OnceLock<Known> = OnceLock::new();
    let mut known = KNOWN.get_or_init(Known::default).lock().unwrap();
    let (cache, found) = &mut *known;
    if let Some((_, toolchain)) = found.iter().find(|(name, _)| name == driver) {
        return toolchain.clone();
    }
    let env = LookupEnv::from_pairs(ENVIRONMENT);
    let toolchain = Toolchain::discover(Path::new(driver), &env, cache).unwrap_or_else(|error| panic!("{driver}: {error}"));
    let toolchain = Arc::new(toolchain);
    found.push((driver.to_owned(), toolchain.clone()));
    toolchain
}

pub(crate) fn environment() -> Vec<(String, String)> {
    ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

pub(crate) fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Runs a command in `cwd` under the tests' environment; failing to start it fails the test.
pub(crate) fn run(command: &[&str], cwd: &Path) -> Output {
    Command::new(command[0])
        .args(&command[1..])
        .env_clear()
        .envs(ENVIRONMENT)
        .current_dir(cwd)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", command[0]))
}

/// A directory with the two sources, and a sub-directory for nothing else.
pub(crate) fn sources() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::Builder::new().prefix("kiln-toolchain-").tempdir().unwrap();
    let work = dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("unit.c"), C_SOURCE).unwrap();
    std::fs::write(work.join("unit.cc"), CXX_SOURCE).unwrap();
    std::fs::write(work.join("unit.S"), "#include <stdc-predef.h>\n.globl f\nf: ret\n.size f, .-f\n").unwrap();
    (dir, work)
}

/// The unit's source for a driver: C++ where it has the `++`.
pub(crate) fn unit_of(driver: &str) -> &'static str {
    if driver.contains("++") { "unit.cc" } else { "unit.c" }
}
