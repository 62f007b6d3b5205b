//! The cheapest look at a command: what is plainly no compile for the farm, from the bare arguments, in microseconds. Knows
//! no option table; says nothing when in doubt.

use crate::reason::Reason;
use crate::source::is_trial;

/// Options whose value is the next argument, which is then no option whatever it looks like. Those missing here cost only
/// a compile that runs locally, and then only if their value is spelled like one of the options below.
const VALUED: &[&[u8]] = &[
    b"--param",
    b"-A",
    b"-B",
    b"-D",
    b"-F",
    b"-I",
    b"-L",
    b"-MF",
    b"-MJ",
    b"-MQ",
    b"-MT",
    b"-T",
    b"-U",
    b"-Xassembler",
    b"-Xclang",
    b"-Xlinker",
    b"-Xpreprocessor",
    b"-arch",
    b"-aux-info",
    b"-dumpbase",
    b"-dumpdir",
    b"-e",
    b"-framework",
    b"-idirafter",
    b"-imacros",
    b"-include",
    b"-iprefix",
    b"-iquote",
    b"-isysroot",
    b"-isystem",
    b"-l",
    b"-mllvm",
    b"-o",
    b"-specs",
    b"-target",
    b"-u",
    b"-x",
    b"-z",
];

/// Why a command is certainly not distributed, or `None`: then [`parse`](crate::parse) decides.
///
/// A `Some` is only ever given for a command that `parse` refuses too.
#[must_use]
pub fn quick_refusal(args: &[Vec<u8>]) -> Option<Reason> {
    let mut compiles = false;
    let mut preprocesses = None;
    let mut inputs = false;
    let mut valued = false;
    for arg in args {
        if std::mem::take(&mut valued) {
            continue;
        }
        match arg.as_slice() {
            // A response file may hold anything.
            [b'@', ..] => return None,
            b"-" => return Some(Reason::Stdin),
            b"-c" | b"-S" | b"--compile" | b"--assemble" => compiles = true,
            b"-E" | b"--preprocess" => preprocesses = Some(Reason::PreprocessOnly),
            b"-M" | b"-MM" => preprocesses = preprocesses.or(Some(Reason::DependenciesOnly)),
            b"--version" | b"-###" | b"-dumpversion" | b"-dumpmachine" | b"-dumpfullversion" | b"-dumpspecs" => {
                return Some(Reason::Probe);
            }
            other if other.starts_with(b"-print-") => return Some(Reason::Probe),
            other if other.starts_with(b"-") => valued = VALUED.binary_search(&other).is_ok(),
            other => {
                inputs = true;
                if std::str::from_utf8(other).is_ok_and(is_trial) {
                    return Some(Reason::Probe);
                }
            }
        }
    }
    match (preprocesses, compiles, inputs) {
        (Some(reason), _, _) => Some(reason),
        (None, true, _) => None,
        (None, false, true) => Some(Reason::Link),
        (None, false, false) => Some(Reason::NoSource),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valued_is_sorted() {
        assert!(VALUED.is_sorted());
    }
}
