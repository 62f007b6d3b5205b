//! Where this user's state, programs and environment are. Reads the environment of the process.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

use std::os::unix::ffi::OsStrExt;

use anyhow::Context;
use anyhow::bail;

/// A variable of the environment, if it is set to something.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// `KILN_DIR`, or its default.
pub(crate) fn state_dir() -> PathBuf {
    kiln_frame::state_dir(&variable)
}

/// This program.
///
/// # Errors
/// /proc does not tell.
pub(crate) fn kilnd() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot tell where kilnd is")
}

/// The wrapper: beside this program, in `../bin`, in PATH.
///
/// # Errors
/// It is nowhere.
pub(crate) fn kiln() -> anyhow::Result<PathBuf> {
    let own = kilnd()?;
    let beside = own.parent().map(Path::to_owned);
    let bin = beside.as_deref().and_then(Path::parent).map(|prefix| prefix.join("bin"));
    let path = variable("PATH").unwrap_or_default();
    let candidates = beside.into_iter().chain(bin).chain(std::env::split_paths(&path).filter(|dir| dir.is_absolute()));
    for file in candidates.map(|dir| dir.join("kiln")) {
        if file.is_file() && kiln_frame::sys::may_execute(&file) {
            return Ok(file);
        }
    }
    bail!("kiln, the wrapper, is neither beside {} nor in ../bin nor in PATH", own.display())
}

/// PATH with `dir` in front, once.
///
/// # Errors
/// `dir` holds a colon.
pub(crate) fn path_with(dir: &Path) -> anyhow::Result<OsString> {
    let path = variable("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let others = std::env::split_paths(&path).filter(|other| other != dir);
    Ok(std::env::join_paths(std::iter::once(dir.to_owned()).chain(others))?)
}

/// The compiler that a build means by `name`, and PATH as the compiler is to have it: without directories in which that name is
/// kiln.
///
/// # Errors
/// There is none.
pub(crate) fn real_compiler(name: &OsStr) -> anyhow::Result<(PathBuf, OsString)> {
    let wrapper = std::fs::canonicalize(kiln()?)?;
    let is_kiln = |file: &Path| std::fs::canonicalize(file).is_ok_and(|real| real == wrapper);
    let path = variable("PATH").unwrap_or_default();
    let kept: Vec<PathBuf> = std::env::split_paths(&path).filter(|dir| !is_kiln(&dir.join(name))).collect();
    let joined = std::env::join_paths(&kept)?;
    let is_real = |file: &PathBuf| file.is_file() && kiln_frame::sys::may_execute(file) && !is_kiln(file);
    let found = match name.as_bytes().contains(&b'/') {
        true => Some(std::path::absolute(name)?).filter(is_real),
        false => kept.iter().map(|dir| dir.join(name)).find(is_real),
    };
    Ok((found.with_context(|| format!("no compiler {}", name.display()))?, joined))
}
