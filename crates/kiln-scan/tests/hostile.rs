//! Bytes of every kind: nothing panics, nothing takes more than linear time, and text that hides no include changes nothing.

use std::sync::Arc;

use kiln_scan::{
    Compiler, Dialect, FileView, LineComments, MacroTable, MemoryView, Names, ScanRequest, Scanner, SearchDirs, SearchList,
    directives,
};
use proptest::prelude::*;

const DIALECTS: &[Dialect] = &[
    Dialect::GNU_C,
    Dialect::GNU_CXX,
    Dialect::ASSEMBLER,
    Dialect { trigraphs: true, modules: true, ..Dialect::GNU_CXX },
    Dialect { line_comments: LineComments::InText, digraphs: false, raw_strings: false, ..Dialect::GNU_C },
];

fn request(view: &MemoryView) -> ScanRequest {
    let dirs = SearchDirs { user: vec!["i".to_owned(), "j".to_owned()], ..SearchDirs::default() };
    let search = Arc::new(SearchList::assemble(view, "/w", &dirs, Compiler::Gcc));
    let predefined = Arc::new(MacroTable::parse(b"#define __cplusplus 201703L\n", view.names()));
    ScanRequest::new("a.c", "/w", Dialect::GNU_CXX, search, predefined)
}

/// Reads and scans these bytes as a source that may include itself and two headers.
fn survive(bytes: &[u8]) {
    let names = Names::new();
    for dialect in DIALECTS {
        directives(bytes, *dialect, &names).expect("within bounds");
    }
    let mut view = MemoryView::with(&[("/w/i/x.h", "#include_next <x.h>\n#define A 1\n"), ("/w/j/x.h", "#undef A\n")]);
    view.write("/w/a.c", bytes);
    let request = request(&view);
    let mut scanner = Scanner::new();
    let first = scanner.scan(&view, &request);
    assert_eq!(first, scanner.scan(&view, &request), "a second scan says the same");
}

/// Pieces that directives are made of.
const PIECES: &[&str] = &[
    "#",
    "%:",
    "??=",
    "include",
    "include_next",
    "import",
    "embed",
    "define",
    "undef",
    "if",
    "ifdef",
    "ifndef",
    "elif",
    "elifdef",
    "else",
    "endif",
    "pragma",
    "once",
    "push_macro",
    "_Pragma",
    "__has_include",
    "defined",
    "A",
    "B",
    "F",
    "x.h",
    "<x.h>",
    "\"x.h\"",
    "\"a.c\"",
    "<",
    ">",
    "\"",
    "'",
    "(",
    ")",
    ",",
    "...",
    "__VA_ARGS__",
    "##",
    "\\",
    "\\\n",
    "??/\n",
    "/*",
    "*/",
    "//",
    "\n",
    "\r",
    "\r\n",
    " ",
    "\t",
    "0",
    "1",
    "0x1u",
    "1'0",
    "+",
    "-",
    "*",
    "/",
    "%",
    "?",
    ":",
    "<<",
    "==",
    "&&",
    "||",
    "!",
    "~",
    "R\"(",
    ")\"",
    "R\"x(",
    "\0",
    "\u{e9}",
    "\\u00e9",
    "__FILE__",
    "__DATE__",
    "__LINE__",
    ".incbin",
    ".include",
    "asm(\".incbin \\\"x\\\"\")",
    "GCC dependency",
    "import",
    "module",
    "export",
    "true",
    "not",
    "L",
    "u8",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        survive(&bytes);
    }

    #[test]
    fn random_directives(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..120)) {
        survive(pieces.concat().as_bytes());
    }

    #[test]
    fn random_lines(lines in proptest::collection::vec((proptest::sample::select(&PIECES[3..19]), proptest::collection::vec(proptest::sample::select(PIECES), 0..8)), 0..30)) {
        let text: String = lines.iter().map(|(word, rest)| format!("#{word} {}\n", rest.join(" "))).collect();
        survive(text.as_bytes());
    }
}

/// A head, and what follows it over and over.
const PATTERNS: &[(&str, &str)] = &[
    ("", "\\\n"),
    ("", "\\ "),
    ("", "\\ \\ \n"),
    ("/*", "/"),
    ("/*", "*\\\n"),
    ("/*", "*\n"),
    ("", "/"),
    ("", "/**/"),
    ("", "1'"),
    ("", "'1"),
    ("x = 1", "'1"),
    ("", "\""),
    ("", "R\"("),
    ("", "R\"x"),
    ("", "\\\n\""),
    ("", "#"),
    ("", "# "),
    ("", "#\n"),
    ("", "?"),
    ("", "??/\n"),
    ("", "??/ "),
    ("", "\0"),
    ("", "\r"),
    ("", "\n"),
    ("#define X ", "\\\n"),
    ("#define X ", "a "),
    ("#define X(", "a,"),
    ("#define X ", "__has_include(<"),
    ("#define X ", "__has_include("),
    ("#define X ", "_Pragma(\""),
    ("#define ", "a"),
    ("", "#define a\n"),
    ("", "#undef a\n"),
    ("#if ", "("),
    ("#if ", "!"),
    ("#if ", "- -"),
    ("#if ", "1?"),
    ("#if ", "1+"),
    ("#if ", "not "),
    ("#if ", "A||"),
    ("#if ", "F(<"),
    ("#if ", "__has_include(<"),
    ("#if ", "__has_include(A"),
    ("", "#if A\n"),
    ("", "#if A\n#define B\n#elif B\n"),
    ("", "#ifndef A\n#define A\n#endif\n"),
    ("", "#else\n"),
    ("#include <", "a"),
    ("#include <", "a/"),
    ("#include ", "A "),
    ("", "#include <a"),
    ("", "#include <x.h>\n"),
    ("", "#include \"a.c\"\n"),
    ("", "#pragma push_macro(\"A\")\n"),
    ("__DATE__ ", "_Pragma(\""),
    (".incbin", ".incbin \\\""),
    (".incbin", "\".incbin \\\"x\\\"\" "),
    ("", "import "),
    ("\\u", "\\u00e9"),
    ("", "a\\\n"),
    ("", "\u{feff}"),
];

/// Patterns that would take hours were any of them read in quadratic time.
#[test]
fn long_files_take_linear_time() {
    const LENGTH: usize = 1_000_000;
    for (head, pattern) in PATTERNS {
        let text = format!("{head}{}", pattern.repeat(LENGTH / pattern.len()));
        let names = Names::new();
        for dialect in &DIALECTS[1..4] {
            directives(text.as_bytes(), *dialect, &names).expect("within bounds");
        }
        let mut view = MemoryView::with(&[("/w/i/x.h", "")]);
        view.write("/w/a.c", text.as_bytes());
        let _ = Scanner::new().scan(&view, &request(&view));
    }
}

/// The same file with comments and text put between its directives.
#[test]
fn text_between_directives_changes_nothing() {
    let plain = ["#ifdef A", "#include <x.h>", "#endif", "#define A \\\n 1", "#if A > 2", "#include \"i/x.h\"", "#else", "#endif"];
    let fillers = [
        "",
        "int a;",
        "/* #endif */",
        "// #else",
        "char c = '\"';",
        "char *s = \"/*\";",
        "x \\\n#endif",
        "R\"(\n#endif\n)\";",
        "#bogus '",
        "1'0;",
    ];
    let files = |filler: &str| {
        let mut view = MemoryView::with(&[("/w/i/x.h", "")]);
        view.write("/w/a.c", plain.join(&format!("\n{filler}\n")).as_bytes());
        let closure = Scanner::new().scan(&view, &request(&view)).expect("provable");
        closure.files.iter().map(|f| f.path.to_string()).collect::<Vec<_>>()
    };
    for filler in fillers {
        assert_eq!(files(filler), ["a.c", "i/x.h"], "{filler}");
    }
}
