//! `kiln verify -- COMMAND`: runs a build in which each unit is compiled twice, by kiln and plainly, and compares all
//! that comes of it. The compilers of the build are links to this program, which stands in as [`shim`].

mod findings;
mod inputs;
mod shim;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;

use super::child;
use super::child::Ended;
use super::links;
use super::place;
use super::run::{counters, tell};
use super::talk::Asker;
use crate::exit::Exit;
use crate::exit::say;

use findings::Findings;
use shim::Shim;

/// Set below `kiln verify`: the directory of its shims and findings.
const VERIFY_DIR: &str = "KILN_VERIFY";
/// Differing units named at the end; all are in the findings.
const SHOWN_MAX: usize = 20;

/// `kiln verify -- COMMAND`.
///
/// # Errors
/// There is no place for the shims.
pub(crate) fn verify(command: &[OsString]) -> anyhow::Result<Exit> {
    let asker = Asker::new();
    let dir = place::state_dir().join("verify").join(std::process::id().to_string());
    let shims = dir.join("bin");
    std::fs::create_dir_all(&shims).with_context(|| format!("cannot make {}", shims.display()))?;
    let own = place::kilnd()?;
    for name in links::compilers(&place::kiln()?) {
        std::os::unix::fs::symlink(&own, shims.join(&name)).with_context(|| format!("cannot link {name}"))?;
    }
    if let Err(error) = asker.ensure_daemon() {
        eprintln!("kiln: no daemon, so kiln compiles plainly too: {error:#}");
    }
    let before = counters(&asker).unwrap_or_default();
    let begin = Instant::now();
    let env = [("PATH", place::path_with(&shims)?), (VERIFY_DIR, dir.clone().into_os_string())];
    let Ended::Ran(status) = child::run(command, &env)? else { return Ok(Exit::Failure) };
    let took = begin.elapsed();
    let findings = Findings::read(&dir);
    tell(&counters(&asker).unwrap_or_default().since(&before), took);
    eprintln!("kiln: {}", findings.summary());
    for line in findings.differing.iter().take(SHOWN_MAX) {
        eprintln!("kiln: differs: {line}");
    }
    for line in findings.missed.iter().take(SHOWN_MAX) {
        eprintln!("kiln: not found by kiln: {line}");
    }
    if findings.differing.is_empty() {
        // Nothing in it that anyone would want to see.
        let _ = std::fs::remove_dir_all(&dir);
    } else {
        eprintln!("kiln: both results of each are kept in {}", dir.display());
    }
    let exit = child::end_as(status);
    Ok(if exit == Exit::Command(0) && !findings.is_clean() { Exit::Failure } else { exit })
}

/// Whether this process stands in for a compiler below `kiln verify`.
pub(crate) fn is_shim(called: &Path) -> bool {
    called.file_name().is_some_and(|name| kiln::is_compiler(name.as_bytes())) && place::variable(VERIFY_DIR).is_some()
}

/// Stands in for the compiler this process is called by.
pub(crate) fn shim(argv: &[OsString]) -> Exit {
    match Shim::new(argv).and_then(|shim| shim.run()) {
        Ok(exit) => exit,
        Err(error) => say(&format!("verify: {error:#}"), Exit::Failure),
    }
}
