//! Which of its faces `kiln` was called by: masquerade link, launcher or command line. Knows no file system.

use std::ffi::CStr;

/// First words that are commands of `kiln` itself, or are kept for ones to come; every other first word is a compiler.
const COMMANDS: [&str; 15] = [
    "cache", "capture", "daemon", "demo", "doctor", "explain", "links", "rebuild", "run", "slots", "stats", "status", "top",
    "trace", "verify",
];

/// What this call is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mode<'a> {
    /// Stand in for compiler `name` (a bare name, or a path as the launcher was given it).
    Compiler { name: &'a CStr, args: &'a [&'a CStr] },
    /// Stand in for another command, run here under a light slot.
    Tool { name: &'a CStr, args: &'a [&'a CStr] },
    /// `kiln local [--heavy] NAME ARGS...`.
    Local { heavy: bool, name: &'a CStr, args: &'a [&'a CStr] },
    /// A command for `kilnd cli`.
    Cli(&'a [&'a CStr]),
    /// `kiln --help`.
    Help,
    /// `kiln --version`.
    Version,
    /// A call that makes no sense, and why.
    Usage(String),
}

/// Reads a whole command line, `argv[0]` included.
pub(crate) fn of<'a>(argv: &'a [&'a CStr]) -> Mode<'a> {
    let Some((called, mut rest)) = argv.split_first() else { return Mode::Usage("called without a name".into()) };
    if is_by_link(argv) {
        return masquerade(called, rest);
    }
    while let Some((first, after)) = rest.split_first() {
        let word = first.to_bytes();
        match word {
            b"--help" | b"-h" | b"help" => return Mode::Help,
            b"--version" | b"-V" => return Mode::Version,
            b"local" => return local(after),
            _ if COMMANDS.iter().any(|command| command.as_bytes() == word) => return Mode::Cli(rest),
            _ if word.starts_with(b"-") => return Mode::Usage(format!("unknown option {}", first.to_string_lossy())),
            // `kiln kiln gcc`, as when a launcher is configured twice.
            _ if base(word) == b"kiln" => rest = after,
            _ => return Mode::Compiler { name: first, args: after },
        }
    }
    Mode::Help
}

/// Whether `argv[0]` is the name of another command: a masquerade link.
pub(crate) fn is_by_link(argv: &[&CStr]) -> bool {
    argv.first().is_some_and(|called| base(called.to_bytes()) != b"kiln")
}

fn masquerade<'a>(called: &'a CStr, args: &'a [&'a CStr]) -> Mode<'a> {
    let bytes = called.to_bytes_with_nul();
    let start = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let name = CStr::from_bytes_with_nul(&bytes[start..]).unwrap_or(called);
    if name.is_empty() {
        Mode::Usage("called by an empty name".into())
    } else if is_compiler(name.to_bytes()) {
        Mode::Compiler { name, args }
    } else {
        Mode::Tool { name, args }
    }
}

fn local<'a>(args: &'a [&'a CStr]) -> Mode<'a> {
    let (heavy, args) = match args.split_first() {
        Some((first, rest)) if first.to_bytes() == b"--heavy" => (true, rest),
        _ => (false, args),
    };
    let args = match args.split_first() {
        Some((first, rest)) if first.to_bytes() == b"--" => rest,
        _ => args,
    };
    match args.split_first() {
        Some((name, _)) if name.to_bytes().starts_with(b"-") => {
            Mode::Usage(format!("local: unknown option {}", name.to_string_lossy()))
        }
        Some((name, args)) => Mode::Local { heavy, name, args },
        None => Mode::Usage("local: a command is missing".into()),
    }
}

/// The last component of a path.
pub(crate) fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Whether a link of this name stands in for a compiler: a known name, possibly after a target (`x86_64-linux-gnu-`) and
/// before a version (`-12`, `-19.1`). Links of other names run their command under a light slot.
pub fn is_compiler(name: &[u8]) -> bool {
    let versioned = |name: &[u8]| -> usize {
        let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
        let dash = digits > 0 && name.len() > digits && name[name.len() - digits - 1] == b'-';
        if dash { name.len() - digits - 1 } else { name.len() }
    };
    let name = &name[..versioned(name)];
    // With `-posix` and `-win32` as MinGW's packages have them.
    let name = name.strip_suffix(b"-posix").or(name.strip_suffix(b"-win32")).unwrap_or(name);
    [&b"gcc"[..], b"g++", b"cc", b"c++", b"clang", b"clang++", b"c89", b"c99", b"nvcc", b"rustc"]
        .iter()
        .any(|known| name.strip_suffix(*known).is_some_and(|target| target.is_empty() || target.ends_with(b"-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_known_by_name_target_and_version() {
        for name in ["gcc", "g++-12", "x86_64-linux-gnu-gcc-12", "clang++-19.1", "arm-none-eabi-c++", "cc", "c99-gcc"] {
            assert!(is_compiler(name.as_bytes()), "{name}");
        }
        for name in ["x86_64-w64-mingw32-g++-posix", "aarch64-linux-gnu-g++", "nvcc"] {
            assert!(is_compiler(name.as_bytes()), "{name}");
        }
        for name in ["ld", "ar", "moc", "python3.11", "gcc-ar", "gcc-nm-12", "ccache", "distcc", "-12", "mygcc", "12"] {
            assert!(!is_compiler(name.as_bytes()), "{name}");
        }
    }

    #[track_caller]
    fn check(line: &str, expect: impl FnOnce(&Mode<'_>) -> bool) {
        let words: Vec<std::ffi::CString> = line.split(' ').map(|word| std::ffi::CString::new(word).unwrap()).collect();
        let argv: Vec<&CStr> = words.iter().map(|word| word.as_c_str()).collect();
        let mode = of(&argv);
        assert!(expect(&mode), "{line}: {mode:?}");
    }

    #[test]
    fn the_first_word_decides() {
        let named = |mode: &Mode<'_>, want: &CStr, count: usize| matches!(mode, Mode::Compiler { name, args } if *name == want && args.len() == count);
        check("/opt/kiln/lib/gcc -c a.c", |mode| named(mode, c"gcc", 2));
        check("kiln gcc -c a.c", |mode| named(mode, c"gcc", 2));
        check("/x/kiln /usr/bin/gcc --version", |mode| named(mode, c"/usr/bin/gcc", 1));
        check("kiln kiln gcc -c a.c", |mode| named(mode, c"gcc", 2));
        check("kiln mycc stats", |mode| named(mode, c"mycc", 1));
        check("ld -o a", |mode| matches!(mode, Mode::Tool { name, .. } if *name == c"ld"));
        check("kiln stats --json", |mode| matches!(mode, Mode::Cli(args) if args.len() == 2));
        check("kiln local --heavy ld -o a", |mode| matches!(mode, Mode::Local { heavy: true, args, .. } if args.len() == 2));
        check("kiln local -- make", |mode| matches!(mode, Mode::Local { heavy: false, name, .. } if *name == c"make"));
        check("kiln local", |mode| matches!(mode, Mode::Usage(_)));
        check("kiln local --fast x", |mode| matches!(mode, Mode::Usage(_)));
        check("kiln --frobnicate", |mode| matches!(mode, Mode::Usage(_)));
        check("kiln", |mode| *mode == Mode::Help);
        check("kiln --version", |mode| *mode == Mode::Version);
        check("gcc --version", |mode| named(mode, c"gcc", 1));
    }
}
