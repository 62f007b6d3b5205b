//! A first look at a command line: what is not worth a question to the daemon. Knows no file system; when in doubt, asks.

use std::ffi::CStr;

use crate::mode::base;

/// What to do with a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// A probe: run it at once.
    Probe,
    /// Compiles nothing that could be sent away: wants a local slot.
    Link,
    /// The daemon decides.
    Ask,
}

/// Options that only ask the compiler something, or stop before it compiles.
const PROBES: [&str; 13] = [
    "-###",
    "--version",
    "--help",
    "-dumpversion",
    "-dumpfullversion",
    "-dumpmachine",
    "-dumpspecs",
    "-E",
    "-M",
    "-MM",
    "-cc1",
    "-cc1as",
    "-v",
];

/// Beginnings of such options.
const PROBE_PREFIXES: [&str; 4] = ["-print-", "--print-", "--help=", "-fsyntax-only="];

/// Options whose value is the next argument, so that a value is never taken for an option or a source.
const WITH_VALUE: [&str; 14] =
    ["-o", "-I", "-D", "-U", "-L", "-l", "-MF", "-MT", "-MQ", "-include", "-imacros", "-isystem", "-iquote", "-idirafter"];

/// Sources of feature tests, by the beginning of their base name: autoconf, CMake, meson.
const PROBE_SOURCES: [&str; 5] = ["conftest.", "testCCompiler.", "testCXXCompiler.", "CMakeCCompilerABI.", "CMakeCXXCompilerABI."];

/// Directories of feature tests, anywhere in a source's path: CMake's try_compile, meson's checks.
const PROBE_DIRS: [&str; 4] = ["CMakeFiles/CMakeTmp/", "CMakeFiles/CMakeScratch/", "CompilerIdC", "meson-private/tmp"];

/// Looks at the arguments after `argv[0]`.
pub(crate) fn look(args: &[&CStr]) -> Look {
    let (mut compiles, mut unsure, mut inputs) = (false, false, false);
    let mut args = args.iter().map(|arg| arg.to_bytes());
    while let Some(arg) = args.next() {
        if !arg.starts_with(b"-") || arg == b"-" {
            // /dev/null as source is how build systems ask whether an option is known.
            if is_probe_source(arg) {
                return Look::Probe;
            }
            inputs = true;
            unsure |= arg.starts_with(b"@");
            continue;
        }
        if is_one_of(&PROBES, arg) || PROBE_PREFIXES.iter().any(|prefix| arg.starts_with(prefix.as_bytes())) {
            return Look::Probe;
        }
        if is_one_of(&WITH_VALUE, arg) {
            args.next();
        }
        compiles |= matches!(arg, b"-c" | b"-S" | b"-fsyntax-only" | b"--compile" | b"--assemble" | b"--precompile");
        // Clang's other actions and its configuration files may hold a -c.
        unsure |= arg.starts_with(b"--config") || arg.starts_with(b"-emit-") || arg == b"-Xclang";
    }
    match (compiles || unsure, inputs) {
        (true, _) => Look::Ask,
        (false, true) => Look::Link,
        (false, false) => Look::Probe,
    }
}

/// Whether the command seems to read its source from stdin: a lone `-` that is no option's value.
pub(crate) fn reads_stdin(args: &[&CStr]) -> bool {
    let mut args = args.iter().map(|arg| arg.to_bytes());
    while let Some(arg) = args.next() {
        if arg == b"-" {
            return true;
        }
        if is_one_of(&WITH_VALUE, arg) || arg == b"-x" {
            args.next();
        }
    }
    false
}

fn is_one_of(words: &[&str], arg: &[u8]) -> bool {
    words.iter().any(|word| word.as_bytes() == arg)
}

fn is_probe_source(path: &[u8]) -> bool {
    let name = base(path);
    let holds = |part: &str| path.windows(part.len()).any(|window| window == part.as_bytes());
    path == b"/dev/null"
        || PROBE_SOURCES.iter().any(|source| name.starts_with(source.as_bytes()))
        || PROBE_DIRS.iter().any(|dir| holds(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(line: &str, check: impl FnOnce(&[&CStr]) -> T) -> T {
        let words: Vec<std::ffi::CString> =
            line.split_ascii_whitespace().map(|word| std::ffi::CString::new(word).unwrap()).collect();
        check(&words.iter().map(|word| word.as_c_str()).collect::<Vec<_>>())
    }

    #[track_caller]
    fn check(line: &str, expect: Look) {
        assert_eq!(with(line, look), expect, "{line}");
    }

    #[test]
    fn probes_links_and_compiles_are_told_apart() {
        check("--version", Look::Probe);
        check("-print-prog-name=ld", Look::Probe);
        check("-E -x c /dev/null", Look::Probe);
        check("-c -x c /dev/null -o t.o", Look::Probe);
        check("-c conftest.c", Look::Probe);
        check("-o conftest conftest.cpp -lm", Look::Probe);
        check("-c /b/CMakeFiles/CMakeScratch/TryCompile-x/src.c", Look::Probe);
        check("", Look::Probe);
        check("-O2", Look::Probe);
        check("-c a.c -o a.o", Look::Ask);
        check("-S a.c", Look::Ask);
        check("-c -MD -MT -E a.c", Look::Ask);
        check("-o /dev/null -c a.c", Look::Ask);
        check("@args", Look::Ask);
        check("-c -", Look::Ask);
        check("a.o b.o -o prog", Look::Link);
        check("a.c -o prog", Look::Link);
    }

    #[test]
    fn stdin_is_read_where_a_dash_is_a_source() {
        assert!(with("-c -x c - -o a.o", reads_stdin));
        assert!(!with("-S -o - a.c", reads_stdin));
        assert!(!with("-c a.c -MF -", reads_stdin));
    }
}
