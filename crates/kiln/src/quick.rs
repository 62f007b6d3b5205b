//! A first look at a command line: what is not worth a question to the daemon. Knows no file system; when in doubt, asks.

use std::ffi::CStr;

use kiln_cmdline::Reason;
use kiln_cmdline::quick_refusal;

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

/// Options after which a `-` or `/dev/null` is a file to write or a name, not a source.
const NAMES: [&[u8]; 4] = [b"-o", b"-MF", b"-MT", b"-MQ"];

/// Looks at the arguments after `argv[0]`.
pub(crate) fn look(args: &[&CStr]) -> Look {
    // As a source, or written nowhere from stdin, this is how build systems ask whether an option is known.
    if is_source(args, b"/dev/null") || reads_stdin(args) && writes_nothing(args) {
        return Look::Probe;
    }
    let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_bytes().to_vec()).collect();
    match quick_refusal(&args) {
        // The daemon may take it: it gets stdin too.
        None | Some(Reason::Stdin) => Look::Ask,
        Some(Reason::Link) => Look::Link,
        Some(_) => Look::Probe,
    }
}

/// Whether the command seems to read its source from stdin.
pub(crate) fn reads_stdin(args: &[&CStr]) -> bool {
    is_source(args, b"-")
}

fn writes_nothing(args: &[&CStr]) -> bool {
    let pairs = args.iter().zip(args.iter().skip(1)).map(|(name, value)| (name.to_bytes(), value.to_bytes()));
    let named = pairs.filter(|(name, _)| *name == b"-o").map(|(_, value)| value).next_back();
    matches!(named, Some(b"/dev/null" | b"-"))
}

fn is_source(args: &[&CStr], source: &[u8]) -> bool {
    let before = [None].into_iter().chain(args.iter().map(|arg| Some(arg.to_bytes())));
    args.iter().zip(before).any(|(arg, before)| arg.to_bytes() == source && before.is_none_or(|name| !NAMES.contains(&name)))
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
        check("-c -x c -", Look::Ask);
        check("-c -x c - -o t.o", Look::Ask);
        check("-c -x c - -o /dev/null", Look::Probe);
        check("-o - -S -x c -", Look::Probe);
        check("-E -dM -x c -", Look::Probe);
        check("-x c - -fsyntax-only", Look::Probe);
        check("-x c - -o prog", Look::Link);
        check("a.o b.o -o prog", Look::Link);
        check("a.c -o prog", Look::Link);
    }

    #[test]
    fn stdin_is_read_where_a_dash_is_a_source() {
        assert!(with("-c -x c - -o a.o", reads_stdin));
        assert!(with("- -c", reads_stdin));
        assert!(!with("-S -o - a.c", reads_stdin));
        assert!(!with("-c a.c -MF -", reads_stdin));
    }
}
