//! The cheapest look at a command: what is plainly no compile for the farm, from the bare arguments, in microseconds. Knows
//! no option table; says nothing when in doubt.

use crate::reason::Reason;
use crate::source::{self, Kind, is_trial};
use crate::table::Family;

/// Options whose value is the next argument for every compiler that knows them; it is then no option whatever it looks
/// like. The tables say the same, and a test compares.
const VALUED: &[&[u8]] = &[
    b"--analyzer-output",
    b"--assert",
    b"--config",
    b"--define-macro",
    b"--dump",
    b"--dumpbase",
    b"--dumpbase-ext",
    b"--dumpdir",
    b"--entry",
    b"--imacros",
    b"--include",
    b"--include-directory",
    b"--include-directory-after",
    b"--include-prefix",
    b"--include-with-prefix",
    b"--include-with-prefix-after",
    b"--include-with-prefix-before",
    b"--language",
    b"--output",
    b"--param",
    b"--prefix",
    b"--print-file-name",
    b"--print-prog-name",
    b"--resource",
    b"--serialize-diagnostics",
    b"--std",
    b"--stdlib",
    b"--sysroot",
    b"--undefine-macro",
    b"--vfsoverlay",
    b"-A",
    b"-B",
    b"-D",
    b"-F",
    b"-G",
    b"-I",
    b"-L",
    b"-MF",
    b"-MJ",
    b"-MQ",
    b"-MT",
    b"-T",
    b"-Tbss",
    b"-Tdata",
    b"-Ttext",
    b"-U",
    b"-Xanalyzer",
    b"-Xassembler",
    b"-Xclang",
    b"-Xcuda-fatbinary",
    b"-Xcuda-ptxas",
    b"-Xlinker",
    b"-Xoffload-linker",
    b"-Xopenmp-target",
    b"-Xpreprocessor",
    b"-arch",
    b"-aux-info",
    b"-cxx-isystem",
    b"-darwin-target-variant",
    b"-darwin-target-variant-triple",
    b"-dependency-dot",
    b"-dependency-file",
    b"-dsym-dir",
    b"-dumpbase",
    b"-dumpbase-ext",
    b"-dumpdir",
    b"-e",
    b"-fdebug-compilation-dir",
    b"-fmodules-user-build-path",
    b"-framework",
    b"-ftrapv-handler",
    b"-fxray-instruction-threshold",
    b"-gen-cdb-fragment-path",
    b"-gnatO",
    b"-h",
    b"-iapinotes-modules",
    b"-idirafter",
    b"-iframework",
    b"-iframeworkwithsysroot",
    b"-imacros",
    b"-include",
    b"-include-pch",
    b"-iprefix",
    b"-iquote",
    b"-isysroot",
    b"-isystem",
    b"-isystem-after",
    b"-ivfsoverlay",
    b"-iwithprefix",
    b"-iwithprefixbefore",
    b"-iwithsysroot",
    b"-l",
    b"-meabi",
    b"-mllvm",
    b"-module-dependency-dir",
    b"-mthread-model",
    b"-o",
    b"-resource-dir",
    b"-rpath",
    b"-serialize-diagnostics",
    b"-specs",
    b"-stdlib++-isystem",
    b"-target",
    b"-u",
    b"-undefined",
    b"-vfsoverlay",
    b"-working-directory",
    b"-wrapper",
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
    let mut sources = 0;
    let mut header = false;
    let mut valued = false;
    for arg in args {
        if std::mem::take(&mut valued) {
            header |= arg.ends_with(b"-header");
            continue;
        }
        match arg.as_slice() {
            // A response file may hold anything.
            [b'@', ..] => return None,
            // gcc takes a value after it, clang does not.
            b"-R" => return None,
            b"-" => inputs = true,
            b"-c" | b"-S" | b"--compile" | b"--assemble" => compiles = true,
            b"-E" | b"--preprocess" => preprocesses = Some(Reason::PreprocessOnly),
            b"-M" | b"-MM" => preprocesses = preprocesses.or(Some(Reason::DependenciesOnly)),
            b"-fsyntax-only" => preprocesses = preprocesses.or(Some(Reason::SyntaxOnly)),
            b"--version" | b"-###" | b"-dumpversion" | b"-dumpmachine" | b"-dumpfullversion" | b"-dumpspecs" => {
                return Some(Reason::Probe);
            }
            b"/dev/null" => return Some(Reason::Probe),
            other if other.ends_with(b"-header") => header = true,
            other if other.starts_with(b"-print-") => return Some(Reason::Probe),
            other if other.starts_with(b"-") => valued = VALUED.binary_search(&other).is_ok(),
            other => {
                inputs = true;
                let path = std::str::from_utf8(other).unwrap_or_default();
                if is_trial(path) {
                    return Some(Reason::Probe);
                }
                // As C: of headers g++ and clang++ think differently.
                match source::from_suffix(Family::Gcc, false, path) {
                    Kind::Source(_) => sources += 1,
                    Kind::Header(_) => header = true,
                    _ => {}
                }
            }
        }
    }
    match (preprocesses, compiles, inputs) {
        (Some(reason), _, _) => Some(reason),
        (None, true, _) => None,
        (None, false, true) if header => None,
        // Several sources may be compiled apart before the link.
        (None, false, true) if sources > 1 => None,
        (None, false, true) => Some(Reason::Link),
        (None, false, false) => Some(Reason::NoSource),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::table::{Family, Takes, find_option, options, shared_options};

    #[test]
    fn valued_is_what_the_tables_say() {
        assert!(VALUED.is_sorted());
        let takes_next = |takes: Takes| matches!(takes, Takes::Separate | Takes::Either);
        for family in [Family::Gcc, Family::Clang] {
            let other = if family == Family::Gcc { Family::Clang } else { Family::Gcc };
            for row in shared_options().iter().chain(options(family)) {
                let elsewhere = find_option(other, row.name).filter(|(opt, _)| opt.name == row.name);
                let agreed = elsewhere.is_none_or(|(opt, _)| takes_next(opt.takes));
                let listed = VALUED.binary_search(&row.name.as_bytes()).is_ok();
                assert_eq!(listed, takes_next(row.takes) && agreed, "{}", row.name);
            }
        }
    }
}
