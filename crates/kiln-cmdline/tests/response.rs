//! Response files against the real compilers: the file and its expansion, given as arguments, mean the same.

mod support;

use kiln_cmdline::Reason;
use support::{CLANG_14, CLANG_19, Compiler, GCC, Random, TempDir};

/// Runs the preprocessor over a source that shows each macro. Both runs see the same arguments, or the model is wrong.
fn check(compiler: Compiler, text: &str) -> bool {
    let dir = TempDir::new("response");
    dir.write("q.c", "a A b B c C d D\n");
    dir.write("file", text);
    let line = |last: &str| ["-c", "q.c", last].map(str::to_owned).to_vec();
    let Ok(invocation) = compiler.read(&line("@file"), dir.path()) else { return false };
    let show = |args: Vec<String>| {
        let args: Vec<String> = ["-E", "-P", "q.c"].map(str::to_owned).into_iter().chain(args).collect();
        let run = compiler.run(&args, dir.path());
        (run.status.code(), String::from_utf8_lossy(&run.stdout).into_owned(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    let from_file = show(vec!["@file".to_owned()]);
    let from_words = show(invocation.expanded[2..].to_vec());
    assert_eq!(from_file, from_words, "{} {text:?}", compiler.program);
    true
}

const FIXED: &[&str] = &[
    "",
    "-DA=1 -DB=2",
    "  -DA=1\t\n\r\n-DB=2\n",
    "'-DA=x y' \"-DB=x y\"",
    "-DA='x y'z -DB=\"x\"y",
    "-DA=\\\"s\\\" -DB=\"\\\"s\\\"\"",
    "-DA=x\\ y -DB=\\\\x",
    "-DA=\"a'b\" -DB='a\"b'",
    "-DA=\"a\\\\b\" -DB=$HOME -DC=#x",
    "-DA=\"line\nbreak\"",
    "-DA=é -DB='日 本'",
    "-D\"A\"=1 -D'B=2'",
];

#[test]
fn quoting_is_the_compilers_own() {
    for compiler in [GCC, CLANG_14, CLANG_19] {
        for text in FIXED {
            assert!(check(compiler, text), "{} {text:?} was refused", compiler.program);
        }
        // Each refuses one of these, for releases differ.
        for text in ["-DA='x\\'y'", "-DA=1 '' -DB=2", "-DA='open", "-DA=x\\"] {
            check(compiler, text);
        }
    }
}

#[test]
fn random_quoting_is_the_compilers_own() {
    const PIECES: &[&str] =
        &["x", "y1", " ", "\\ ", "'", "\"", "\\\\", "\\\"", "\n", "\t", "=", "+", "\\'", "é", " -DB=", " -DC=", "-"];
    let mut random = Random::new(11);
    let mut read = 0;
    for round in 0..120 {
        let mut text = "-DA=".to_owned();
        for _ in 0..random.below(9) {
            text += *random.pick::<&str>(PIECES);
        }
        read += usize::from(check([GCC, CLANG_14, CLANG_19][round % 3], &text));
    }
    assert!(read > 20, "only {read} of 120 response files were read");
}

/// gcc cannot start its own compiler with these macros, and says so here; clang needs no second process.
#[test]
fn more_macros_than_gcc_can_hand_on_are_refused() {
    let check = |compiler: Compiler, macros: usize, reason: Option<Reason>| {
        let dir = TempDir::new("macros");
        dir.write("q.c", "int q;\n");
        // 12 bytes each, and six more between quotes.
        dir.write("file", &(0..macros).map(|number| format!("-DM{number:06}=10\n")).collect::<String>());
        let args = ["-c", "q.c", "@file"].map(str::to_owned);
        assert_eq!(compiler.read(&args, dir.path()).err().map(|refusal| refusal.reason), reason, "{macros}");
        let ran = compiler.run(&args, dir.path());
        assert_eq!(ran.status.success(), reason.is_none(), "{macros}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    let most = (32 * 4096) / 18;
    check(GCC, most - 10, None);
    check(GCC, most, Some(Reason::TooLong));
    check(GCC, 50_000, Some(Reason::TooLong));
    check(CLANG_19, 50_000, None);
}
