//! Scans units in a row whose headers are all known, for instructions to be counted: `count_scan UNITS`. Reads no file.
//!
//! 300 headers in four directories: guarded, some once-only, some reached by a macro, under conditions, after failed candidates.

use std::fmt::Write as _;
use std::sync::Arc;

use kiln_scan::{Compiler, Dialect, FileView, MacroTable, MemoryView, ScanRequest, Scanner, SearchDirs, SearchList};

const HEADERS: usize = 300;
const DIRS: [&str; 4] = ["/p/a", "/p/b", "/usr/c", "/usr/d"];

/// Header number `n`: includes three further on, one of them only where a macro says so.
fn header(n: usize) -> String {
    let mut text = match n % 5 {
        0 => "#pragma once\n".to_owned(),
        _ => format!("#ifndef H{n}_H\n#define H{n}_H 1\n"),
    };
    let _ = write!(text, "/* a comment\n over lines */\n#define FEATURE_{n} ({n} + 1)\n#define CALL_{n}(x) ((x) * {n})\n");
    for (step, condition) in [(1, "defined(__GNUC__)"), (7, "WIDTH >= 32 && !defined NOWHERE"), (31, "FEATURE_0 > 0")] {
        let next = n + step;
        if next < HEADERS {
            let _ = write!(text, "#if {condition}\n# include <h{next}.h>\n#else\n# include \"never{next}.h\"\n#endif\n");
        }
    }
    if n % 10 == 3 && n + 2 < HEADERS {
        let _ = write!(text, "#define NEXT_{n} <h{}.h>\n#include NEXT_{n}\n", n + 2);
    }
    for line in 0..20 {
        let _ = writeln!(text, "extern int f{n}_{line}(int a, const char *b);");
    }
    if !n.is_multiple_of(5) {
        text.push_str("#endif\n");
    }
    text
}

fn main() {
    let units: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("a number of units");
    let mut view = MemoryView::new();
    for n in 0..HEADERS {
        view.write(&format!("{}/h{n}.h", DIRS[n % DIRS.len()]), header(n).as_bytes());
    }
    for n in 0..=units {
        view.write(&format!("/p/unit{n}.c"), format!("#include <h0.h>\n#include <h{}.h>\nint unit{n};\n", n % 17).as_bytes());
    }
    let dirs = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let search = SearchDirs { user: dirs(&DIRS[..2]), system: dirs(&DIRS[2..]), ..SearchDirs::default() };
    let search = Arc::new(SearchList::assemble(&view, "/p", &search, Compiler::Gcc));
    let predefined = Arc::new(MacroTable::parse(b"#define __GNUC__ 12\n#define WIDTH 64\n", view.names()));
    let mut scanner = Scanner::new();
    // The first unit makes the headers known: it is part of every count, and the difference of two counts has none of it.
    for n in 0..=units {
        let (search, predefined) = (Arc::clone(&search), Arc::clone(&predefined));
        let request = ScanRequest::new(&format!("unit{n}.c"), "/p", Dialect::GNU_C, search, predefined);
        let closure = scanner.scan(&view, &request).expect("provable");
        assert_eq!(closure.files.len(), HEADERS + 1, "all headers are reached");
    }
}
