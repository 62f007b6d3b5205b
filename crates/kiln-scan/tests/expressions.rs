//! Random expressions of conditions, evaluated by the scanner and by gcc: where the scanner is certain, both agree.
#![expect(clippy::disallowed_methods, reason = "a test does the I/O that the crate itself must not do")]

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;

use kiln_scan::{Compiler, Dialect, FileView, MacroTable, MemoryView, ScanRequest, Scanner, SearchDirs, SearchList};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Expressions compared.
const COUNT: usize = 4000;

const MACROS: &str = "#define ONE 1\n#define TEN 10\n#define NEGATIVE -3\n#define WIDE 0x8000000000000000\n\
    #define UNSIGNED 7u\n#define LONG 201703L\n#define ALIAS TEN\n#define PARENTHESES ((12))\n#define EMPTY\n#define SUM 1 + 1\n";

fn expression() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(vec![
        "0",
        "1",
        "2",
        "3",
        "63",
        "0x10",
        "017",
        "0b11",
        "4u",
        "9223372036854775807",
        "18446744073709551615u",
        "'a'",
        "ONE",
        "TEN",
        "NEGATIVE",
        "WIDE",
        "UNSIGNED",
        "LONG",
        "ALIAS",
        "PARENTHESES",
        "SUM",
        "NOWHERE",
        "defined ONE",
        "defined(NOWHERE)",
        "defined ( EMPTY )",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let binary =
            proptest::sample::select(vec!["||", "&&", "||", "&&", "|", "^", "&", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*"]);
        let by_number = proptest::sample::select(vec!["/ 3", "% 7", "<< 2", ">> 1", ">> 40", "/ -1", "% 2u"]);
        prop_oneof![
            4 => (inner.clone(), binary, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            1 => (inner.clone(), by_number).prop_map(|(a, op)| format!("({a}) {op}")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            1 => inner.clone().prop_map(|a| format!("({a})")),
            1 => (proptest::sample::select(vec!["!", "-", "~", "+", "!!", "- -"]), inner).prop_map(|(op, a)| format!("{op} {a}")),
        ]
    })
}

/// What gcc takes: `Some(true)`, `Some(false)`, or `None` where it makes an error of the line.
fn by_gcc(list: &[String]) -> Vec<Option<bool>> {
    let dir = tempfile::tempdir().expect("a directory");
    let source = dir.path().join("a.c");
    let mut text = MACROS.to_owned();
    for (i, e) in list.iter().enumerate() {
        let _ = writeln!(text, "#line {}\n#if {e}\n@yes {i}\n#else\n@no {i}\n#endif", 1_000_000 + i * 10);
    }
    std::fs::write(&source, text).expect("a source");
    let output = Command::new("gcc").args(["-E", "-P", "-w"]).arg(&source).output().expect("gcc runs");
    let mut taken = vec![None; list.len()];
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.split(' ');
        let yes = match words.next() {
            Some("@yes") => true,
            Some("@no") => false,
            _ => continue,
        };
        if let Some(i) = words.next().and_then(|w| w.parse::<usize>().ok()) {
            taken[i] = Some(yes);
        }
    }
    for line in String::from_utf8_lossy(&output.stderr).lines().filter(|l| l.contains("error:")) {
        let number = line.split(':').filter_map(|part| part.parse::<usize>().ok()).find(|n| *n >= 1_000_000);
        if let Some(n) = number {
            taken[(n - 1_000_000) / 10] = None;
        }
    }
    taken
}

/// What the scanner reaches: of each expression the branch taken and the other one.
fn by_scan(list: &[String]) -> Vec<(bool, bool)> {
    let mut view = MemoryView::new();
    let mut text = String::new();
    for (i, e) in list.iter().enumerate() {
        let _ = writeln!(text, "#if {e}\n#include \"y{i}.h\"\n#else\n#include \"n{i}.h\"\n#endif");
        view.write(&format!("/w/y{i}.h"), b"");
        view.write(&format!("/w/n{i}.h"), b"");
    }
    view.write("/w/a.c", text.as_bytes());
    let search = Arc::new(SearchList::assemble(&view, "/w", &SearchDirs::default(), Compiler::Gcc));
    let predefined = Arc::new(MacroTable::parse(MACROS.as_bytes(), view.names()));
    let request = ScanRequest::new("a.c", "/w", Dialect::GNU_C, search, predefined);
    let closure = Scanner::new().scan(&view, &request).expect("provable");
    let mut reached = vec![(false, false); list.len()];
    for file in &closure.files[1..] {
        let (branch, number) = file.path.trim_end_matches(".h").split_at(1);
        let i: usize = number.parse().expect("a number");
        if branch == "y" {
            reached[i].0 = true;
        } else {
            reached[i].1 = true;
        }
    }
    reached
}

#[test]
fn certain_values_are_those_of_the_compiler() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = expression();
    let list: Vec<String> = (0..COUNT).map(|_| strategy.new_tree(&mut runner).expect("an expression").current()).collect();
    let (gcc, ours) = (by_gcc(&list), by_scan(&list));
    let mut certain = 0;
    for ((e, taken), (yes, no)) in list.iter().zip(&gcc).zip(&ours) {
        assert!(yes | no, "{e}: one branch is taken");
        let Some(taken) = taken else { continue };
        assert!(if *taken { *yes } else { *no }, "{e}: gcc says {taken}");
        certain += usize::from(yes != no);
    }
    let compared = gcc.iter().flatten().count();
    println!("{certain} certain of {compared} compared of {COUNT}");
    assert!(compared * 4 > COUNT * 3 && certain * 4 > compared * 3, "{certain} of {compared} of {COUNT}");
}
