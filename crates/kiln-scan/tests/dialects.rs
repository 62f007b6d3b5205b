//! The lexical rules of every standard, held against the compilers: what they list is exactly what is scanned.
mod support;

use std::collections::BTreeSet;

use kiln_scan::{Compiler, Dialect, Language, Names, ScanRequest, Scanner};
use support::{CommandLine, Compilers, DiskView, listed};

/// A name each, and a text in which the header of that name is included or hidden, according to the rules.
const TEXTS: &[(&str, &str)] = &[
    ("trigraph", "??=include \"NAME\"\n"),
    ("trigraph_splice", "int t; ??/\n#include \"NAME\"\n"),
    ("raw", "s = R\"(\n#include \"NAME\"\n)\";\n"),
    ("raw_prefix", "s = u8R\"x(\n#include \"NAME\"\n)x\";\n"),
    ("separator", "n = 1'0 /* ';\n#include \"NAME\"\n*/\n"),
    ("directive_comment", "#define X // /*\n#include \"NAME\"\n#define Y */\n"),
    ("star_comment", "int s; //* x\n#include \"NAME\"\n//*/\n"),
    ("system_comment", "#pragma GCC system_header\n// /*\n#include \"NAME\"\n// */\n"),
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

/// What one language makes an error of.
const ONLY_CXX: &[&str] = &["named_operators", "universal"];

#[test]
fn every_standard_of_every_compiler() {
    let dir = tempfile::tempdir().expect("a directory");
    let cwd = dir.path().to_str().expect("UTF-8").to_owned();
    let (mut c, mut cxx) = (String::new(), String::new());
    for (name, text) in TEXTS {
        std::fs::write(dir.path().join(format!("{name}.h")), "").expect("a header");
        let text = text.replace("NAME", &format!("{name}.h"));
        std::fs::write(dir.path().join(format!("in_{name}.h")), text).expect("a header");
        let line = format!("#include \"in_{name}.h\"\n");
        cxx.push_str(&line);
        if !ONLY_CXX.contains(name) {
            c.push_str(&line);
        }
    }
    std::fs::write(dir.path().join("all.c"), c).expect("a source");
    std::fs::write(dir.path().join("all.cc"), cxx).expect("a source");
    let compilers = [("gcc", "c", 12), ("g++", "cc", 12), ("clang-14", "c", 14), ("clang++-14", "cc", 14), ("clang-19", "c", 19)];
    let (view, mut known, mut scanner) = (DiskView::default(), Compilers::default(), Scanner::new());
    for (compiler, ending, major) in compilers {
        for standard in if ending == "c" { C } else { CXX } {
            let mut args = vec![compiler.to_owned(), "-c".to_owned(), format!("all.{ending}")];
            if !standard.is_empty() {
                args.push(format!("-std={standard}"));
            }
            let list = listed(&args, &cwd).unwrap_or_else(|| panic!("{args:?} must compile"));
            let request = ScanRequest {
                dialect: dialect(compiler, major, standard),
                ..known.request(&view, &CommandLine::parse(&args), &cwd)
            };
            let closure = scanner.scan(&view, &request).expect("provable");
            // Only preprocessing, clang takes `//` for no comment in C90; compiling, it does.
            let unlike = compiler.starts_with("clang") && matches!(*standard, "c90" | "iso9899:199409");
            for (name, _) in TEXTS.iter().filter(|(name, _)| !(unlike && name.contains("comment"))) {
                let header = format!("{name}.h");
                let theirs = list.iter().any(|p| p.trim_start_matches("./") == header);
                let ours = closure.files.iter().any(|f| *f.path == *header);
                let more = ours && MAY_BE_MORE.contains(name);
                assert!(ours == theirs || more, "{args:?} {name}: the compiler {theirs}, the closure {ours}");
            }
        }
    }
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
