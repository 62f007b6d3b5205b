//! Random projects, scanned and preprocessed: no file that a compiler lists may be missing from the closure.
//!
//! The headers are as bad as they can be while they still compile: the same names in several directories, macros defined
//! and undefined everywhere, conditions on them, `include_next`, computed includes, text that only looks like directives.
#![expect(clippy::disallowed_methods, reason = "a test does the I/O that the crate itself must not do")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use kiln_scan::Scanner;
use support::{CommandLine, Compilers, DiskView, identity, opened};

/// Projects of a run; `KILN_SCAN_PROJECTS` sets another number for a long one.
const PROJECTS: u64 = 12;

/// xorshift64*: the same numbers for the same seed, always.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }
}

const DIRS: &[&str] = &["", "i", "i/s", "j", "j/s", "q", "k"];

/// An expression over `M0` to `M7`.
fn expression(r: &mut Random, depth: u32) -> String {
    let name = format!("M{}", r.below(8));
    if depth == 0 {
        return match r.below(4) {
            0 => name,
            1 => format!("defined({name})"),
            2 => format!("defined {name}"),
            _ => format!("{}", r.below(4)),
        };
    }
    let (a, b) = (expression(r, depth - 1), expression(r, depth - 1));
    match r.below(12) {
        0 => format!("!({a})"),
        1 => format!("({a} && {b})"),
        2 => format!("({a}) || /* c */ ({b})"),
        3 => format!("({a}) == ({b})"),
        4 => format!("({a}) > ({b})"),
        5 => format!("({a}) - ({b}) < 1u"),
        6 => format!("({a} ? {b} : {name})"),
        7 => format!("F({name}) + ({b}) \\\n >= 2"),
        8 => format!("-({a}) < ~({b})"),
        9 => format!("(({a}) << 2 | ({b})) & 5"),
        10 => format!("__has_include(<h{}.h>) && ({a})", r.below(10)),
        _ => format!("__has_include(\"s/h{}.h\") || ({a})", r.below(10)),
    }
}

fn include(r: &mut Random) -> String {
    let n = r.below(10);
    let directive = r.pick(&["#include", "# /**/ include", "#include \\\n", "%:include", "#include_next", "#inc\\\nlude"]);
    match r.below(6) {
        0 => format!("{directive} \"h{n}.h\"\n"),
        1 => format!("{directive} <h{n}.h> // c\n"),
        2 => format!("{directive} \"s/h{n}.h\"\n"),
        3 => format!("{directive} \"../h{n}.h\" /* x\n y */\n"),
        4 => format!("{directive} <s/../h{n}.h>\n"),
        _ => format!("#ifdef H{}\n#include H{}\n#endif\n", n % 4, n % 4),
    }
}

fn define(r: &mut Random) -> String {
    let n = r.below(8);
    match r.below(9) {
        0 => format!("#undef M{n}\n"),
        1 => format!("#undef M{n}\n#define M{n} M{}\n", r.below(8)),
        2 => format!("#undef M{n}\n#define M{n} ({})\n", r.below(5)),
        3 => format!("#undef H{}\n#define H{} \"h{}.h\"\n", n % 4, n % 4, r.below(10)),
        4 => format!("#undef H{}\n#define H{} <s/h{}.h>\n", n % 4, n % 4, r.below(10)),
        5 => format!("#undef H{}\n#define H{} STRING(P/h{}.h)\n", n % 4, n % 4, r.below(10)),
        6 => format!("#undef P\n#define P {}\n", r.pick(&["i", "j/s", "../j", "s"])),
        7 => format!("#pragma push_macro(\"M{n}\")\n#undef M{n}\n#define M{n} 3\n{}#pragma pop_macro(\"M{n}\")\n", include(r)),
        _ => format!("#undef M{n}\n#define M{n} {}\n", r.below(3)),
    }
}

fn noise(r: &mut Random) -> &'static str {
    r.pick(&[
        "/* #include \"never.h\"\n#define M0 7 */\n",
        "// \\\n#include \"never.h\"\n",
        "extern char s[sizeof \"/*\"]; // */\n",
        "extern char t[sizeof R\"(\n#undef M1\n)\"];\n",
        "#if 0\n'\n#include <never.h>\n\"/*\n#endif\n",
        "extern int c[1'000 + '\"' + 'a'];\n",
        "#define LONG a \\\n#include \"never.h\"\n",
        "#ident \"x\"\n#line 7 \"dir/other.c\"\n",
        "??=define M2 9\n",
    ])
}

fn lines(r: &mut Random, out: &mut String, depth: u32) {
    for _ in 0..=r.below(4) {
        match r.below(8) {
            0 | 1 => out.push_str(&include(r)),
            2 | 3 => out.push_str(&define(r)),
            4 => out.push_str(noise(r)),
            _ if depth == 0 => out.push_str(&define(r)),
            _ => {
                let _ = match r.below(4) {
                    0 => writeln!(out, "#ifdef M{}", r.below(8)),
                    1 => writeln!(out, "#ifndef M{}", r.below(8)),
                    _ => writeln!(out, "#if {}", expression(r, 2)),
                };
                lines(r, out, depth - 1);
                if r.below(2) == 0 {
                    let _ = writeln!(out, "#elif {}", expression(r, 1));
                    lines(r, out, depth - 1);
                }
                if r.below(2) == 0 {
                    out.push_str("#else\n");
                    lines(r, out, depth - 1);
                }
                out.push_str("#endif\n");
            }
        }
    }
}

fn write_project(root: &Path, seed: u64) {
    let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for dir in DIRS {
        std::fs::create_dir_all(root.join(dir)).expect("a directory");
        for n in 0..10 {
            if r.below(3) == 0 {
                continue;
            }
            let mut text = String::new();
            let guard = format!("G_{}_{n}", dir.replace('/', "_"));
            let guarded = r.below(3);
            match guarded {
                0 => text.push_str("#pragma once\n"),
                1 => drop(writeln!(text, "#ifndef {guard}\n#define {guard}")),
                _ => drop(writeln!(text, "#if !defined({guard})\n#define {guard} 1\n#endif\n#if {guard} < 3")),
            }
            if guarded == 2 {
                // Read at most twice: the count goes up each time.
                let _ = writeln!(
                    text,
                    "#if {guard} == 1\n#undef {guard}\n#define {guard} 2\n#else\n#undef {guard}\n#define {guard} 3\n#endif"
                );
            }
            // Makes files with equal texts rare: for #pragma once, gcc takes them for one.
            let _ = writeln!(text, "extern int unique_{guard};");
            lines(&mut r, &mut text, 2);
            if guarded != 0 {
                text.push_str("#endif\n");
            }
            std::fs::write(root.join(dir).join(format!("h{n}.h")), text).expect("a header");
        }
    }
    let mut text = "#define STRING(x) STRING_(x)\n#define STRING_(x) #x\n#define P i\n".to_owned();
    for _ in 0..6 {
        lines(&mut r, &mut text, 3);
        text.push_str(&include(&mut r));
    }
    std::fs::write(root.join("a.cc"), &text).expect("a source");
    std::fs::write(root.join("a.c"), &text).expect("a source");
}

fn options(seed: u64) -> Vec<String> {
    let sets: &[&[&str]] = &[
        &["-Ii", "-Ij"],
        &["-Ij", "-iquote", "q", "-Ii/s", "-DM1=2"],
        &["-isystem", "k", "-Ii", "-I", "j/../i", "-DM3", "-UM4"],
        &["-Ik", "-idirafter", "j", "-isystem", "i", "-Ii", "-include", "q/h1.h", "-DM2=M3"],
        &["-I.", "-Ii", "-imacros", "h2.h", "-iquotej", "-Inone"],
        &["-Ii", "-Ij", "-trigraphs", "-DM5=0", "-DH1=<h3.h>"],
    ];
    let mut list: Vec<String> = sets[(seed % sets.len() as u64) as usize].iter().map(|s| (*s).to_owned()).collect();
    list.push("-DF(x)=((x)+1)".to_owned());
    list
}

/// Scans one project as each compiler would be called; how often the compiler could tell its list, the files it listed and ours.
fn check(seed: u64, compilers: &mut Compilers) -> (u32, usize, usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let cwd = dir.path().to_str().expect("UTF-8").to_owned();
    write_project(dir.path(), seed);
    let mut sum = (0, 0, 0);
    for (compiler, source) in [("gcc", "a.c"), ("g++", "a.cc"), ("clang-14", "a.c"), ("clang++-14", "a.cc")] {
        let mut args = vec![compiler.to_owned()];
        args.extend(options(seed));
        args.extend(["-c".to_owned(), source.to_owned()]);
        let Some(list) = opened(&args, &cwd) else { continue };
        let view = DiskView::default();
        let request = compilers.request(&view, &CommandLine::parse(&args), &cwd);
        let closure = match Scanner::new().scan(&view, &request) {
            Ok(closure) => closure,
            Err(reason) => panic!("seed {seed}: {compiler}: {reason}"),
        };
        let ours: BTreeSet<_> = closure.files.iter().filter_map(|f| identity(&cwd, &f.path)).collect();
        let missed: Vec<&String> = list.iter().filter(|path| identity(&cwd, path).is_some_and(|id| !ours.contains(&id))).collect();
        if !missed.is_empty() {
            let kept = dir.keep();
            panic!("seed {seed}: {args:?} in {} reads {missed:?}, which the closure lacks", kept.display());
        }
        let theirs: BTreeSet<_> = list.iter().filter_map(|path| identity(&cwd, path)).collect();
        sum = (sum.0 + 1, sum.1 + theirs.len(), sum.2 + ours.len());
    }
    sum
}

#[test]
fn no_compiler_reads_more_than_the_closure() {
    let projects = std::env::var("KILN_SCAN_PROJECTS").ok().and_then(|n| n.parse().ok()).unwrap_or(PROJECTS);
    let first = std::env::var("KILN_SCAN_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut compilers = Compilers::default();
    let (mut units, mut listed, mut scanned) = (0, 0, 0);
    for seed in first..first + projects {
        let (u, l, s) = check(seed, &mut compilers);
        units += u;
        listed += l;
        scanned += s;
    }
    println!("{units} of {} units, {listed} files listed, {scanned} scanned", projects * 4);
    assert!(u64::from(units) * 2 > projects * 4, "most projects must be such that compilers accept them: {units}");
}
