//! The lexical rules of every standard, held against the compilers: what they list is exactly what is scanned.
#![expect(clippy::disallowed_methods, reason = "a test does the I/O that the crate itself must not do")]

mod support;

use std::collections::BTreeSet;

use kiln_scan::{Compiler, Dialect, Language, Names, ScanRequest, Scanner};
use support::{CommandLine, Compilers, DiskView, listed};

/// A name each, and a text in which the header of that name is included or hidden, according to the rules.
const TEXTS: &[(&str, &str)] = &[
    ("trigraph", "??=include \"NAME\"\n"),
    ("trigraph_splice", "int t; // ??/\n#include \"NAME\"\n"),
    ("raw", "s = R\"(\n#include \"NAME\"\n)\";\n"),
    ("raw_prefix", "s = u8R\"x(\n#include \"NAME\"\n)x\";\n"),
    ("separator", "n = 1'0 /* ';\n#include \"NAME\"\n*/\n"),
    ("line_comment", "// /*\n#include \"NAME\"\n// */\n"),
    ("digraph", "%:include \"NAME\"\n"),
    ("return", "int r;\r#include \"NAME\"\n"),
    ("blank_splice", "int b; \\ \n#include \"NAME\"\n"),
    ("apostrophe", "don't /*\n#include \"NAME\"\n"),
    ("skipped_quote", "#if 0\ndon't /* x\n#endif\n#include \"NAME\"\n"),
    ("form_feed", "\u{c}#\u{b}include \"NAME\"\n"),
    ("named_operators", "#if not 0 and 1\n#include \"NAME\"\n#endif\n"),
    ("truth", "#if true\n#include \"NAME\"\n#endif\n"),
    ("universal", "#define \\u00e9 1\n#if \u{e9}\n#include \"NAME\"\n#endif\n"),
    ("late_elif", "#if 0\n#elifdef __GNUC__\n#include \"NAME\"\n#endif\n"),
];

/// Standards of C, of C++.
const C: &[&str] = &["", "c90", "iso9899:199409", "c99", "c11", "c17", "c2x", "gnu90", "gnu99", "gnu17", "gnu2x"];
const CXX: &[&str] = &["", "c++98", "c++11", "c++14", "c++17", "c++20", "c++2b", "gnu++98", "gnu++11", "gnu++14", "gnu++20"];

/// Where a rule makes the outcome unknown the closure may have more.
const MAY_BE_MORE: &[&str] = &["truth", "universal", "late_elif", "named_operators"];

#[test]
fn every_standard_of_every_compiler() {
    let dir = tempfile::tempdir().expect("a directory");
    let cwd = dir.path().to_str().expect("UTF-8").to_owned();
    for (name, text) in TEXTS {
        std::fs::write(dir.path().join(format!("{name}.h")), "").expect("a header");
        for ending in ["c", "cc"] {
            let text = text.replace("NAME", &format!("{name}.h"));
            std::fs::write(dir.path().join(format!("in_{name}.{ending}")), text).expect("a source");
        }
    }
    let compilers = [("gcc", "c", 12), ("g++", "cc", 12), ("clang-14", "c", 14), ("clang++-14", "cc", 14), ("clang-19", "c", 19)];
    let (view, mut known, mut scanner) = (DiskView::default(), Compilers::default(), Scanner::new());
    let mut compared = 0;
    for (compiler, ending, major) in compilers {
        for standard in if ending == "c" { C } else { CXX } {
            for (name, _) in TEXTS {
                let source = format!("in_{name}.{ending}");
                let mut args = vec![compiler.to_owned(), "-c".to_owned(), source.clone()];
                if !standard.is_empty() {
                    args.push(format!("-std={standard}"));
                }
                let Some(list) = listed(&args, &cwd) else { continue };
                let request = ScanRequest {
                    dialect: dialect(compiler, major, standard),
                    ..known.request(&view, &CommandLine::parse(&args), &cwd)
                };
                let closure = scanner.scan(&view, &request).expect("provable");
                let header = format!("{name}.h");
                let theirs = list.iter().any(|p| p.trim_start_matches("./") == header);
                let ours = closure.files.iter().any(|f| *f.path == *header);
                compared += 1;
                let more = ours && MAY_BE_MORE.contains(name);
                assert!(ours == theirs || more, "{args:?}: the compiler {theirs}, the closure {ours}");
            }
        }
    }
    assert!(compared > 700, "{compared} compared");
}

fn dialect(compiler: &str, major: u32, standard: &str) -> Dialect {
    let (rules, language) = match compiler {
        "gcc" => (Compiler::Gcc, Language::C),
        "g++" => (Compiler::Gcc, Language::Cxx),
        "clang++-14" => (Compiler::Clang, Language::Cxx),
        _ => (Compiler::Clang, Language::C),
    };
    Dialect::select(rules, major, language, standard).unwrap_or_else(|| panic!("-std={standard} is not known"))
}

#[test]
fn dialects_that_differ_read_differently() {
    let names = Names::new();
    let text: String = TEXTS.iter().map(|(name, text)| text.replace("NAME", name)).collect();
    let all: Vec<Dialect> = C
        .iter()
        .map(|s| dialect("gcc", 12, s))
        .chain(C.iter().map(|s| dialect("clang-14", 14, s)))
        .chain(CXX.iter().map(|s| dialect("g++", 12, s)))
        .map(|d| Dialect { modules: false, ..d })
        .collect();
    let distinct: BTreeSet<Dialect> = all.iter().copied().collect();
    let mut read = Vec::new();
    for dialect in &distinct {
        let directives = kiln_scan::directives(text.as_bytes(), *dialect, &names).expect("read");
        assert!(!read.contains(&directives), "{dialect:?} reads like another");
        read.push(directives);
    }
}
