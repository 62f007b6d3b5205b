//! Lets the compiler list a unit's inputs by its own `-M`. Knows which options that excludes, not what the others mean.

use crate::depfile::parse_depfile;
use crate::run::{LISTING_TIME_MAX, Question};
use crate::{ListError, Toolchain};
use std::path::Path;

/// Options that would send the list or an output elsewhere, without a value.
const DROPPED: [&str; 10] = ["-c", "-S", "-E", "-M", "-MM", "-MD", "-MMD", "-MP", "-MG", "-pipe"];

/// The same, with a value attached or in the next argument.
const DROPPED_WITH_VALUE: [&str; 5] = ["-o", "-MF", "-MT", "-MQ", "-MJ"];

/// Options that write beside the object and have no meaning for a list.
const DROPPED_PREFIXES: [&str; 6] = ["-Wp,-MD", "-Wp,-MMD", "-save-temps", "--save-temps", "-Wp,-MT", "-Wp,-MF"];

/// Every file the compiler reads by `#include` and its kin for one unit: the source first, then headers as spelled, each once.
///
/// `args` is the unit's command line without the driver: one source, any options; what would write files is left out here.
/// `env` and `cwd` are those of the compile. Not in the list, for compilers do not put it there: `.incbin`, precompiled
/// headers, `__has_include` of files that are not included (gcc), lists and profiles given by options.
///
/// # Errors
/// [`ListError::Rejected`] when the compiler refuses the unit, [`ListError::Ambiguous`] when its answer leaves doubt.
pub fn list_inputs(tc: &Toolchain, args: &[String], env: &[(String, String)], cwd: &Path) -> Result<Vec<String>, ListError> {
    let mut kept = without_outputs(args);
    kept.splice(0..0, ["-M", "-MT", "kiln"].map(str::to_owned));
    let question = Question { driver: &tc.driver, args: &kept, env, cwd, input: &[], time_max: LISTING_TIME_MAX };
    let answer = question.ask()?;
    if answer.code != 0 {
        return Err(ListError::Rejected { code: answer.code, stderr: answer.stderr });
    }
    let names = parse_depfile(&answer.stdout).map_err(|error| ListError::Ambiguous(error.to_string()))?;
    let mut seen = std::collections::BTreeSet::new();
    let names: Vec<String> = names.into_iter().filter(|name| seen.insert(name.clone())).collect();
    // A name that make cannot spell (a backslash before a space) comes out as another, which is then not there.
    if let Some(name) = names.iter().find(|name| !cwd.join(name).exists()) {
        return Err(ListError::Ambiguous(format!("{name:?} is listed but is not there")));
    }
    Ok(names)
}

/// A unit's command line without what writes files or stops before the end: what is left preprocesses.
#[must_use]
pub fn without_outputs(args: &[String]) -> Vec<String> {
    let mut kept = Vec::with_capacity(args.len());
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            kept.push(arg.clone());
            kept.extend(rest.cloned());
            break;
        }
        if DROPPED_WITH_VALUE.contains(&arg.as_str()) {
            rest.next();
            continue;
        }
        let dropped = DROPPED.contains(&arg.as_str())
            || DROPPED_WITH_VALUE.iter().any(|option| arg.starts_with(option) && !is_other_option(arg))
            || DROPPED_PREFIXES.iter().any(|prefix| arg.starts_with(prefix));
        if !dropped {
            kept.push(arg.clone());
        }
    }
    kept
}

/// Options that begin like `-o` and are not it.
fn is_other_option(arg: &str) -> bool {
    arg == "-objcmt-migrate-all" || arg.starts_with("-objcmt-") || arg == "-object"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_left_out_and_nothing_else() {
        let line =
            "-c -O2 -Ia -o x.o -MD -MF x.d -MTx -MQ y -Wp,-MMD,x.d -DX=-c -x c++ -oy.o -include o.h -save-temps=obj -Wall a.c";
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(without_outputs(&args).join(" "), "-O2 -Ia -DX=-c -x c++ -include o.h -Wall a.c");
        let dashes: Vec<String> = ["-c", "--", "-o", "x"].map(str::to_owned).to_vec();
        assert_eq!(without_outputs(&dashes), ["--", "-o", "x"]);
    }
}
