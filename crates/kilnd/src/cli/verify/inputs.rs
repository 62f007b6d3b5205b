//! Compares the inputs that kiln found for a unit with the compiler's own list (`-M`). Knows the daemon's answer by its
//! fields.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use kiln_cmdline::Invocation;
use kiln_toolchain::parse_depfile;
use kiln_toolchain::without_outputs;
use serde_json::Value;

use super::findings::Finding;
use crate::cli::talk::Asker;

/// The inputs that kiln found for the unit just compiled, links followed; `None` where it did not look for them itself.
pub(super) fn found(asker: &Asker, invocation: &Invocation) -> Option<BTreeSet<PathBuf>> {
    let cwd = std::env::current_dir().ok()?;
    let output = cwd.join(&invocation.main_output().path);
    let answer = asker.ask("explain", &[output.to_str()?.as_bytes()]).ok().flatten()?;
    let units = answer.as_array()?;
    let unit = units.iter().find(|unit| unit["cwd"].as_str().is_some_and(|of| cwd.as_os_str() == of))?;
    let paths = unit["inputs"].as_array().filter(|_| unit["form"] == "scanned")?.iter().filter_map(Value::as_str);
    Some(paths.filter_map(|path| std::fs::canonicalize(path).ok()).collect())
}

/// The inputs that the compiler lists, links followed; `None` where it does not.
pub(super) fn listed(mut compiler: Command, invocation: &Invocation) -> Option<BTreeSet<PathBuf>> {
    compiler.args(["-M", "-MT", "kiln"]).args(without_outputs(&invocation.expanded));
    let output = compiler.stdin(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    let names = parse_depfile(&output.stdout).ok()?;
    Some(names.iter().filter_map(|name| std::fs::canonicalize(name).ok()).collect())
}

/// Notes both and what is missed.
pub(super) fn judge(listed: &BTreeSet<PathBuf>, found: &BTreeSet<PathBuf>, what: &str, note: impl Fn(Finding<'_>)) {
    note(Finding::Inputs { listed: listed.len(), found: found.len() });
    for path in listed.difference(found) {
        note(Finding::Missed(&format!("{what}: {}", path.display())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_compiler_lists_was_missed() {
        let set = |names: &[&str]| names.iter().map(PathBuf::from).collect::<BTreeSet<_>>();
        let notes = std::cell::RefCell::new(Vec::new());
        let note = |finding: Finding<'_>| notes.borrow_mut().push(format!("{finding:?}"));
        judge(&set(&["/a.c", "/a.h"]), &set(&["/a.c", "/b.h", "/c.h"]), "a.c (gcc)", note);
        assert_eq!(*notes.borrow(), ["Inputs { listed: 2, found: 3 }", "Missed(\"a.c (gcc): /a.h\")"]);
    }
}
