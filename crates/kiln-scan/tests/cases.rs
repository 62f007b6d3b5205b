//! What a unit can look up, case by case, over files in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use kiln_scan::{
    Closure, CommandMacro, Compiler, Dialect, FileView, Forced, ForcedKind, MacroTable, MemoryView, Reason, ScanRequest, Scanner,
    SearchDirs, SearchList, Unprovable,
};

/// A unit in `/w` with the source `a.c`, directories `i` and `j` on the search path and `/sys` behind them.
struct Unit {
    view: MemoryView,
    dirs: SearchDirs,
    dialect: Dialect,
    compiler: Compiler,
    predefined: &'static str,
    macros: Vec<CommandMacro>,
    forced: Vec<Forced>,
    embed_dirs: Vec<String>,
    source: &'static str,
}

impl Unit {
    fn new(files: &[(&str, &str)]) -> Self {
        let mut view = MemoryView::new();
        for dir in ["/w/i", "/w/j", "/sys"] {
            view.add_dir(dir);
        }
        for (path, text) in files {
            let path = if path.starts_with('/') { (*path).to_owned() } else { format!("/w/{path}") };
            view.write(&path, text.as_bytes());
        }
        let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        Self {
            view,
            dirs: SearchDirs { user: strings(&["i", "j"]), system: strings(&["/sys"]), ..SearchDirs::default() },
            dialect: Dialect::GNU_C,
            compiler: Compiler::Gcc,
            predefined: "#define __GNUC__ 12\n#define __x86_64__ 1\n",
            macros: Vec::new(),
            forced: Vec::new(),
            embed_dirs: Vec::new(),
            source: "a.c",
        }
    }

    fn define(mut self, text: &str) -> Self {
        self.macros.push(CommandMacro::Define(text.to_owned()));
        self
    }

    fn undefine(mut self, text: &str) -> Self {
        self.macros.push(CommandMacro::Undefine(text.to_owned()));
        self
    }

    fn force(mut self, kind: ForcedKind, name: &str) -> Self {
        self.forced.push(Forced { name: name.to_owned(), kind });
        self
    }

    fn request(&self) -> ScanRequest {
        let table = MacroTable::parse(self.predefined.as_bytes(), self.view.names());
        let table = table.with_operators(&["__has_include", "__has_include_next"], &["__has_feature"], self.view.names());
        ScanRequest {
            source: self.source.to_owned(),
            cwd: "/w".to_owned(),
            dialect: self.dialect,
            compiler: self.compiler,
            search: Arc::new(SearchList::assemble(&self.view, "/w", &self.dirs, self.compiler)),
            predefined: Arc::new(table),
            command_macros: self.macros.clone(),
            forced: self.forced.clone(),
            assembler_dirs: vec!["i".to_owned()],
            embed_dirs: self.embed_dirs.clone(),
            preprocessed: false,
        }
    }

    fn result(&self) -> Result<Closure, Unprovable> {
        Scanner::new().scan(&self.view, &self.request())
    }

    fn closure(&self) -> Closure {
        self.result().expect("provable")
    }

    /// Paths of the closure but for the source, sorted; probed ones with a question mark.
    fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = self.closure().files[1..]
            .iter()
            .map(|f| if f.reason == Reason::Probed { format!("{}?", f.path) } else { f.path.to_string() })
            .collect();
        files.sort();
        files
    }

    #[track_caller]
    fn finds(&self, expected: &[&str]) -> &Self {
        assert_eq!(self.files(), expected);
        self
    }

    #[track_caller]
    fn lacks(&self, expected: &[(&str, &str)]) -> &Self {
        let absent: BTreeSet<(String, String)> = self.closure().absent().map(|a| (a.dir.to_string(), a.name.to_string())).collect();
        for (dir, name) in expected {
            assert!(absent.contains(&((*dir).to_owned(), (*name).to_owned())), "{dir} {name} not in {absent:?}");
        }
        self
    }

    #[track_caller]
    fn is_unprovable(&self, code: &str) {
        match self.result() {
            Ok(closure) => panic!("{code} expected, found {:?}", closure.files),
            Err(reason) => assert_eq!(reason.code(), code, "{reason}"),
        }
    }
}

fn unit(files: &[(&str, &str)]) -> Unit {
    Unit::new(files)
}

/// A unit whose source is `text`, with empty headers at these paths.
fn source(text: &str, headers: &[&str]) -> Unit {
    let mut files = vec![("a.c", text)];
    files.extend(headers.iter().map(|h| (*h, "")));
    Unit::new(&files)
}

#[test]
fn quoted_names_are_searched_beside_the_includer_first() {
    let u = unit(&[("a.c", "#include \"i/x.h\"\n"), ("i/x.h", "#include \"y.h\"\n#include <y.h>\n"), ("i/y.h", ""), ("y.h", "")]);
    u.finds(&["i/x.h", "i/y.h"]);
    source("#include \"x.h\"\n", &["i/x.h", "x.h"]).finds(&["x.h"]);
    source("#include <x.h>\n", &["j/x.h", "x.h"]).finds(&["j/x.h"]).lacks(&[("i", "x.h")]);
    source("#include \"x.h\"\n", &["/sys/x.h"]).finds(&["/sys/x.h"]).lacks(&[("", "x.h"), ("i", "x.h"), ("j", "x.h")]);
}

#[test]
fn search_order_of_every_kind_of_directory() {
    let mut u = source("#include \"x.h\"\n#include <y.h>\n", &["q/x.h", "q/y.h", "i/x.h", "i/y.h"]);
    u.dirs.quote = vec!["q".to_owned()];
    u.finds(&["i/y.h", "q/x.h"]);
    let mut u = source("#include <x.h>\n", &["after/x.h", "/sys/x.h"]);
    u.dirs.after = vec!["after".to_owned()];
    u.finds(&["/sys/x.h"]);
    u.view.remove("/sys/x.h");
    u.finds(&["after/x.h"]);
    let mut u = source("#include \"x.h\"\n", &["x.h", "j/x.h"]);
    u.dirs.ignore_includer = true;
    u.finds(&["j/x.h"]);
}

#[test]
fn a_system_directory_named_again_is_searched_at_its_own_place() {
    let mut u = source("#include <x.h>\n", &["/sys/x.h", "j/x.h"]);
    u.dirs.user = vec!["/sys".to_owned(), "j".to_owned()];
    u.finds(&["j/x.h"]);
    let mut u = source("#include <x.h>\n", &["j/x.h", "k/x.h"]);
    u.view.link("/w/l", "k");
    u.dirs.user = ["l", "j", "k"].map(str::to_owned).to_vec();
    u.finds(&["l/x.h"]);
}

#[test]
fn missing_search_directories_are_told() {
    let mut u = source("#include <x.h>\n", &["j/x.h"]);
    u.dirs.user.insert(0, "gen".to_owned());
    u.finds(&["j/x.h"]);
    assert_eq!(u.closure().missing_dirs, vec!["gen".into()]);
    u.view.write("/w/gen/x.h", b"");
    u.finds(&["gen/x.h"]);
}

#[test]
fn decided_branches_are_not_entered() {
    let text = "#ifdef __GNUC__\n#include <g.h>\n#else\n#include <o.h>\n#endif\n\
        #if __GNUC__ >= 12 && defined(__x86_64__)\n#include <n.h>\n#elif 1\n#include <m.h>\n#endif\n\
        #if UNKNOWN\n#include <u.h>\n#endif\n#ifndef UNKNOWN\n#include <v.h>\n#endif\n";
    source(text, &["i/g.h", "i/o.h", "i/n.h", "i/m.h", "i/u.h", "i/v.h"]).finds(&["i/g.h", "i/n.h", "i/v.h"]);
}

#[test]
fn options_define_and_undefine() {
    let text = "#if V == 2\n#include <two.h>\n#else\n#include <other.h>\n#endif\n#ifdef __GNUC__\n#include <gnu.h>\n#endif\n";
    let headers = ["i/two.h", "i/other.h", "i/gnu.h"];
    source(text, &headers).define("V=2").finds(&["i/gnu.h", "i/two.h"]);
    source(text, &headers).define("V=3").undefine("__GNUC__").finds(&["i/other.h"]);
    source(text, &headers).define("V=3").define("V=(2)").finds(&["i/gnu.h", "i/two.h"]);
    source(text, &headers).define("V=W").define("W=2").finds(&["i/gnu.h", "i/two.h"]);
    source(text, &headers).define("V=1+1").finds(&["i/gnu.h", "i/other.h", "i/two.h"]);
    source("#if N < 0\n#include <x.h>\n#endif\n", &["i/x.h"]).define("N=-1").finds(&["i/x.h"]);
}

#[test]
fn what_a_file_defines_is_unknown_wherever_it_stands() {
    let text = "#if X\n#include <x.h>\n#else\n#include <y.h>\n#endif\n#include <d.h>\n";
    let u = unit(&[("a.c", text), ("i/x.h", ""), ("i/y.h", ""), ("i/d.h", "#define X 1\n")]);
    u.finds(&["i/d.h", "i/x.h", "i/y.h"]);
    let u = unit(&[("a.c", text), ("i/x.h", ""), ("i/y.h", ""), ("i/d.h", "#undef X\n")]);
    u.define("X=1").finds(&["i/d.h", "i/x.h", "i/y.h"]);
    let u = unit(&[("a.c", text), ("i/x.h", ""), ("i/y.h", ""), ("i/d.h", "#if 0\n#define X 1\n#endif\n")]);
    u.finds(&["i/d.h", "i/y.h"]);
}

#[test]
fn decisions_are_opened_again_through_several_files() {
    let u = unit(&[
        ("a.c", "#ifdef A\n#include <a.h>\n#endif\n#ifdef B\n#include <b.h>\n#endif\n#include <c.h>\n"),
        ("i/a.h", "#include <deep.h>\n"),
        ("i/b.h", "#define A\n"),
        ("i/c.h", "#define B\n"),
        ("i/deep.h", ""),
    ]);
    u.finds(&["i/a.h", "i/b.h", "i/c.h", "i/deep.h"]);
}

#[test]
fn an_else_is_opened_when_its_condition_becomes_unknown() {
    let u = unit(&[
        ("a.c", "#if G == 12\n#include <t.h>\n#elif H\n#include <h.h>\n#else\n#include <e.h>\n#endif\n#include <d.h>\n"),
        ("i/t.h", ""),
        ("i/h.h", ""),
        ("i/e.h", ""),
        ("i/d.h", "#undef G\n"),
    ]);
    u.define("G=12").finds(&["i/d.h", "i/e.h", "i/t.h"]);
}

#[test]
fn the_first_definition_of_an_alias_reopens_too() {
    let u = unit(&[("a.c", "#if V\n#else\n#include <e.h>\n#endif\n#include <d.h>\n"), ("i/e.h", ""), ("i/d.h", "#define W 0\n")]);
    u.define("V=W").define("W=1").finds(&["i/d.h", "i/e.h"]);
}

#[test]
fn elifdef_is_read_by_old_and_new_compilers() {
    let text = "#if A\n#include <a.h>\n#elifdef B\n#include <b.h>\n#else\n#include <c.h>\n#endif\n";
    let headers = ["i/a.h", "i/b.h", "i/c.h"];
    source(text, &headers).define("A=1").finds(&["i/a.h"]);
    source(text, &headers).define("B=1").finds(&["i/b.h", "i/c.h"]);
    source(text, &headers).finds(&["i/c.h"]);
    source(text, &headers).define("A=F").define("F=x()").finds(&["i/a.h", "i/b.h", "i/c.h"]);
}

#[test]
fn macros_in_conditions_with_arguments_are_unknown() {
    let text = "#define AT_LEAST(x) (__GNUC__ >= x)\n#if AT_LEAST(99)\n#include <a.h>\n#else\n#include <b.h>\n#endif\n";
    source(text, &["i/a.h", "i/b.h"]).finds(&["i/a.h", "i/b.h"]);
}

#[test]
fn operators_of_the_compiler_are_unknown() {
    let text = "#if __has_attribute(x)\n#include <a.h>\n#endif\n#ifdef __has_feature\n#include <f.h>\n#endif\n#ifdef __has_include\n#else\n#include <n.h>\n#endif\n";
    source(text, &["i/a.h", "i/f.h", "i/n.h"]).finds(&["i/a.h"]);
}

#[test]
fn garbage_in_branches_not_taken() {
    source(
        "#if 0\n#include <<<\n#include FOO(\n#if (((\n#bogus\n'\"\n#else\n#include <no.h>\n#endif\n#else\n#include <x.h>\n#endif\n",
        &["i/x.h", "i/no.h"],
    )
    .finds(&["i/x.h"]);
    source("#ifdef MAYBE\n#include FOO(\n#include BAR\n#include <a\n#endif\n#define MAYBE\n", &[]).finds(&[]);
}

#[test]
fn has_include_looks_and_decides() {
    let text = "#if __has_include(<x.h>)\n#include <yes.h>\n#else\n#include <no.h>\n#endif\n";
    source(text, &["i/yes.h", "i/no.h", "j/x.h"]).finds(&["i/yes.h", "j/x.h?"]).lacks(&[("i", "x.h")]);
    source(text, &["i/yes.h", "i/no.h"]).finds(&["i/no.h"]).lacks(&[("i", "x.h"), ("j", "x.h"), ("/sys", "x.h")]);
    let quoted = "#if defined(__has_include) && __has_include(\"x.h\")\nint a;\n#endif\n";
    source(quoted, &["x.h"]).finds(&["x.h?"]);
    source(quoted, &["j/x.h"]).finds(&["j/x.h?"]).lacks(&[("", "x.h"), ("i", "x.h")]);
}

#[test]
fn a_probed_file_that_is_also_included_is_read() {
    let u = unit(&[("a.c", "#if __has_include(<x.h>)\n#include <x.h>\n#endif\n"), ("i/x.h", "#include <y.h>\n"), ("i/y.h", "")]);
    u.finds(&["i/x.h", "i/y.h"]);
}

#[test]
fn has_include_redefined_is_unknown_but_still_looks() {
    let text = "#ifdef T\n#define __has_include(x) 0\n#endif\n#define T\n#if __has_include(<x.h>)\n#include <a.h>\n#else\n#include <b.h>\n#endif\n";
    source(text, &["i/x.h", "i/a.h", "i/b.h"]).finds(&["i/a.h", "i/b.h", "i/x.h?"]);
}

#[test]
fn has_include_behind_macros() {
    let literal = "#define HAS(x) __has_include(x)\n#if HAS(<x.h>)\nint a;\n#endif\n";
    source(literal, &["j/x.h"]).finds(&["j/x.h?"]).lacks(&[("i", "x.h")]);
    let object = "#define HAS __has_include(<x.h>)\n#if HAS\nint a;\n#endif\n";
    source(object, &["j/x.h"]).finds(&["j/x.h?"]);
    let name = "#define H <x.h>\n#if __has_include(H)\nint a;\n#endif\n";
    source(name, &["j/x.h"]).finds(&["j/x.h?"]);
    let both = "#define HAS(x) __has_include(x)\n#define H <x.h>\n#if HAS(H)\nint a;\n#endif\n";
    source(both, &["j/x.h"]).is_unprovable("has-include");
    let nested = "#define HAS(x) __has_include(x)\n#define ALSO(x) HAS(x)\n#if ALSO(<x.h>)\nint a;\n#endif\n";
    source(nested, &["j/x.h"]).is_unprovable("has-include");
    let pasted = "#define HAS(x) __has_include(<x.h>)\n#if HAS(y)\nint a;\n#endif\n";
    source(pasted, &["j/x.h"]).finds(&["j/x.h?"]);
}

#[test]
fn computed_includes_through_macros() {
    source("#define H <x.h>\n#include H\n", &["i/x.h"]).finds(&["i/x.h"]);
    source("#define S(x) #x\n#define T(x) S(x)\n#define D i\n#include T(D/x.h)\n", &["i/x.h"]).finds(&["i/x.h"]);
    source("#define C(a,b) <a##b.h>\n#include C(x,y)\n", &["i/xy.h"]).finds(&["i/xy.h"]);
    source("#include H\n", &["i/x.h"]).define("H=<x.h>").finds(&["i/x.h"]);
    source("#include H\n", &["i/x.h"]).define("H=\"x.h\"").finds(&["i/x.h"]);
}

#[test]
fn computed_includes_with_several_values() {
    let u = unit(&[
        ("a.c", "#define H \"one.h\"\n#include H\n#undef H\n#include \"set.h\"\n#include H\n"),
        ("set.h", "#define H \"two.h\"\n"),
        ("one.h", ""),
        ("two.h", ""),
    ]);
    u.finds(&["one.h", "set.h", "two.h"]);
}

#[test]
fn a_computed_include_may_define_what_another_needs() {
    let u = unit(&[
        ("a.c", "#include B\n#define A \"one.h\"\n#include A\n"),
        ("one.h", "#define B \"two.h\"\n"),
        ("two.h", "#define A \"three.h\"\n"),
        ("three.h", ""),
    ]);
    u.finds(&["one.h", "three.h", "two.h"]);
}

#[test]
fn computed_includes_that_cannot_be_followed() {
    source("#define H x ? y : z\n#include H\n", &[]).is_unprovable("computed-include");
    source("#define S(x) #x\n#define T(x) S(x)\n#include T(x__LINE__ __LINE__)\n", &[]).is_unprovable("computed-include");
    let mut bomb = String::from("#define A0 x\n");
    for i in 1..64 {
        bomb.push_str(&format!("#define A{i} A{} A{}\n", i - 1, i - 1));
    }
    source(&format!("{bomb}#include A63\n"), &[]).is_unprovable("computed-include");
}

#[test]
fn include_next_goes_on_behind_the_place_of_the_file() {
    let u = unit(&[
        ("a.c", "#include <x.h>\n"),
        ("i/x.h", "#include_next <x.h>\n"),
        ("j/x.h", "#include_next <x.h>\n"),
        ("/sys/x.h", ""),
    ]);
    u.finds(&["/sys/x.h", "i/x.h", "j/x.h"]);
}

#[test]
fn include_next_in_a_file_found_at_two_places() {
    let u = unit(&[
        ("a.c", "#include <p/x.h>\n#include <x.h>\n"),
        ("i/p/x.h", "#include_next <x.h>\n#include_next <p/x.h>\n"),
        ("j/x.h", ""),
        ("/sys/p/x.h", ""),
    ]);
    u.finds(&["/sys/p/x.h", "i/p/x.h", "j/x.h"]);
    let mut u = unit(&[
        ("a.c", "#include <m.h>\n#include \"i/m.h\"\n"),
        ("i/m.h", "#include_next <m.h>\n"),
        ("j/m.h", ""),
        ("/sys/m.h", ""),
    ]);
    u.finds(&["i/m.h", "j/m.h"]);
    u.view.remove("/w/j/m.h");
    u.finds(&["/sys/m.h", "i/m.h"]);
}

#[test]
fn include_next_in_the_source_is_a_plain_include() {
    source("#include_next <x.h>\n#include_next \"y.h\"\n", &["i/x.h", "y.h"]).finds(&["i/x.h", "y.h"]);
}

#[test]
fn has_include_next() {
    let u = unit(&[
        ("a.c", "#include <x.h>\n"),
        ("i/x.h", "#if __has_include_next(<x.h>)\n#include <yes.h>\n#endif\n"),
        ("j/x.h", ""),
        ("i/yes.h", ""),
    ]);
    u.finds(&["i/x.h", "i/yes.h", "j/x.h?"]);
}

#[test]
fn import_and_absolute_names() {
    source("#import \"x.h\"\n#include \"/w/j/y.h\"\n#include </w/j/z.h>\n", &["x.h", "j/y.h", "j/z.h"])
        .finds(&["/w/j/y.h", "/w/j/z.h", "x.h"]);
    source("#include \"/no/x.h\"\n", &[]).finds(&[]).lacks(&[("/", "no/x.h")]);
}

#[test]
fn forced_includes_are_searched_from_the_working_directory() {
    let mut u = unit(&[
        ("src/a.c", "#ifdef F\n#include <f.h>\n#endif\n"),
        ("force.h", "#define F\n#include \"near.h\"\n"),
        ("near.h", ""),
        ("src/force.h", ""),
        ("i/f.h", ""),
    ])
    .force(ForcedKind::Include, "force.h");
    u.source = "src/a.c";
    u.finds(&["force.h", "i/f.h", "near.h"]);
    let u = source("", &["j/m.h", "/sys/pre.h"]);
    let u = u.force(ForcedKind::Implicit, "pre.h").force(ForcedKind::Implicit, "nope.h").force(ForcedKind::Imacros, "m.h");
    u.finds(&["/sys/pre.h", "j/m.h"]).lacks(&[("", "m.h"), ("i", "m.h"), ("i", "nope.h")]);
    assert_eq!(u.closure().files[1].reason, Reason::Forced);
    source("", &[]).force(ForcedKind::Include, "/dev/null").finds(&[]);
}

#[test]
fn precompiled_headers_beside_a_first_include() {
    let u = source("#include \"x.h\"\n#include \"y.h\"\n", &["x.h", "x.h.gch", "y.h", "y.h.gch"]);
    u.finds(&["x.h", "x.h.gch", "y.h"]);
    assert!(u.closure().flags.precompiled);
    source("#include <x.h>\n", &["j/x.h"]).finds(&["j/x.h"]).lacks(&[("i", "x.h.gch"), ("j", "x.h.gch")]);
    source("#ifdef M\n#include <c.h>\n#endif\n#include <x.h>\n#define M\n", &["i/c.h", "i/c.h.gch", "i/x.h", "j/x.h.gch"])
        .finds(&["i/c.h", "i/c.h.gch", "i/x.h", "j/x.h.gch"]);
    source("", &["x.h", "x.h.gch"]).force(ForcedKind::Include, "x.h").finds(&["x.h", "x.h.gch"]);
    source("#include \"x.h\"\n", &["x.h", "x.h.gch/c"]).is_unprovable("precompiled-header");
    let mut u = source("", &["x.h", "x.h.pch"]).force(ForcedKind::Include, "x.h");
    u.compiler = Compiler::Clang;
    u.is_unprovable("precompiled-header");
}

#[test]
fn names_that_walk_through_directories() {
    let u = source("#include \"d/../x.h\"\n", &["x.h"]);
    u.finds(&[]);
    let mut u = source("#include \"d/../x.h\"\n", &["x.h"]);
    u.view.add_dir("/w/d");
    u.finds(&["d/../x.h"]);
    assert!(u.closure().directories().contains("d"));
}

#[test]
fn headers_that_lead_back_and_forth_between_directories_end() {
    let u = unit(&[
        ("a.c", "#include \"x/a.h\"\n"),
        ("x/a.h", "#ifndef A\n#define A\n#include \"../y/b.h\"\n#endif\n"),
        ("y/b.h", "#ifndef B\n#define B\n#include \"../x/a.h\"\n#include \"c.h\"\n#endif\n"),
        ("y/c.h", ""),
    ]);
    u.finds(&["x/../y/../x/a.h", "x/../y/b.h", "x/../y/c.h", "x/a.h"]);
    unit(&[("a.c", "#include \"a.c\"\n#include \"./a.c\"\n")]).finds(&["./a.c"]);
}

#[test]
fn directories_named_like_headers_are_passed_over() {
    source("#include <x.h>\n", &["i/x.h/f", "j/x.h"]).finds(&["j/x.h"]).lacks(&[("i", "x.h")]);
}

#[test]
fn odd_names() {
    let names = ["a,b.h", "a\\b.h", "a b.h", "X.h", "\u{e9}.h", "a'b.h"];
    let text: String = names.iter().map(|n| format!("#include \"{n}\"\n")).collect();
    let mut sorted: Vec<&str> = names.to_vec();
    sorted.sort_unstable();
    source(&text, &names).finds(&sorted);
    source("#include \"x.H\"\n", &["x.h"]).finds(&[]);
    source("#include \"\"\n#include <.>\n#include \"..\"\n#include \"i/\"\n", &[]).finds(&[]);
}

#[test]
fn names_that_are_not_text() {
    let mut u = source("", &[]);
    u.view.write("/w/a.c", b"#include \"\xff.h\"\n");
    u.is_unprovable("not-utf8");
    u.view.write("/w/a.c", b"#include \"a\0.h\"\n");
    u.is_unprovable("not-utf8");
    u.view.write("/w/a.c", b"#if 0\n#include \"\xff.h\"\n#endif\n");
    u.finds(&[]);
}

#[test]
fn links_are_followed_and_spelled_as_given() {
    let mut u =
        unit(&[("a.c", "#include <l/x.h>\n#include <x.h>\n"), ("real/x.h", "#include \"y.h\"\n"), ("real/y.h", ""), ("i/y.h", "")]);
    u.view.link("/w/i/l", "../real");
    u.view.link("/w/i/x.h", "l/x.h");
    u.finds(&["i/l/x.h", "i/l/y.h", "i/x.h", "i/y.h"]);
    u.view.link("/w/i/x.h", "x.h");
    u.is_unprovable("special-file");
}

#[test]
fn files_that_cannot_be_read() {
    let mut u = source("#include <x.h>\n", &[]);
    u.view.add_unreadable("/w/i/x.h");
    u.is_unprovable("unreadable");
    u.view.add_special("/w/i/x.h");
    u.is_unprovable("special-file");
    u.view.remove("/w/a.c");
    u.is_unprovable("source");
}

#[test]
fn once_only_files_are_told() {
    let u = unit(&[("a.c", "#include <x.h>\n#include <y.h>\n"), ("i/x.h", "#pragma once\n"), ("i/y.h", "")]);
    let once: Vec<(String, bool)> = u.closure().files.iter().map(|f| (f.path.to_string(), f.once)).collect();
    assert_eq!(once, [("a.c".to_owned(), false), ("i/x.h".to_owned(), true), ("i/y.h".to_owned(), false)]);
}

#[test]
fn macros_pushed_and_popped_are_unknown() {
    let text = "#pragma push_macro(\"__GNUC__\")\n#ifdef __GNUC__\n#include <a.h>\n#else\n#include <b.h>\n#endif\n";
    source(text, &["i/a.h", "i/b.h"]).finds(&["i/a.h", "i/b.h"]);
}

#[test]
fn time_macros_count_where_they_may_be_reached() {
    let clock = |text: &str| source(text, &[]).closure().flags.uses_clock();
    assert!(clock("char *s = __DATE__;\n"));
    assert!(clock("#define NOW __TIME__\n"));
    assert!(!clock("#if 0\nchar *s = __DATE__;\n#endif\n// __TIME__\nchar *t = \"__DATE__\";\n"));
    assert!(source("a = __TIMESTAMP__;\n", &[]).closure().flags.timestamp);
    assert!(source("a = __FILE__;\n", &[]).closure().flags.file_macro);
    let u = unit(&[("a.c", "#include <x.h>\n"), ("i/x.h", "static char *d = __DATE__;\n")]);
    assert!(u.closure().flags.date);
}

#[test]
fn binary_includes() {
    let u = source("asm(\".incbin \\\"data.bin\\\"\");\n", &["i/data.bin"]);
    u.finds(&["i/data.bin"]).lacks(&[("", "data.bin")]);
    assert!(u.closure().flags.incbin);
    source("asm(\".incbin \" F);\n", &[]).is_unprovable("assembler-include");
    source("asm(\".include \\\"x.s\\\"\");\n", &[]).is_unprovable("assembler-include");
    source("#if 0\nasm(\".incbin \" F);\n#endif\n", &[]).finds(&[]);
    let mut u = source("#embed \"d.bin\" limit(4)\n#if __has_embed(<e.bin>)\n#endif\n", &["d.bin", "emb/e.bin"]);
    u.embed_dirs = vec!["emb".to_owned()];
    u.finds(&["d.bin", "emb/e.bin?"]);
    assert!(u.closure().flags.embed);
}

#[test]
fn pragmas_that_cannot_be_proven() {
    source("#pragma GCC dependency \"x.h\"\n", &["x.h"]).is_unprovable("pragma-dependency");
    source("#pragma include_alias(\"a.h\", \"b.h\")\n", &[]).is_unprovable("include-alias");
    source("#if 0\n#pragma GCC dependency \"x.h\"\n#endif\n#pragma GCC system_header\n", &[]).finds(&[]);
}

#[test]
fn very_deep_nesting_and_ten_thousand_headers() {
    let mut files: Vec<(String, String)> = vec![("a.c".into(), "#include \"h0.h\"\n".into())];
    for i in 0..10_000 {
        files.push((format!("h{i}.h"), format!("#include \"h{}.h\"\n", i + 1)));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
    assert_eq!(unit(&files).closure().files.len(), 10_001);
}

#[test]
fn more_files_than_the_bound() {
    let text: String = (0..=kiln_scan::FILES_MAX).map(|i| format!("#include \"h{i}.h\"\n")).collect();
    let mut u = source(&text, &[]);
    for i in 0..=kiln_scan::FILES_MAX {
        u.view.write(&format!("/w/h{i}.h"), b"");
    }
    u.is_unprovable("too-many-files");
}

#[test]
fn more_steps_than_the_bound() {
    // Each of n names reopens all 100 conditionals: n * 100 programs of 3 n steps.
    let n = 300;
    let all: String = (0..n).map(|i| format!("N{i} == 1 || ")).collect();
    let line = format!("#if {all} 0\n#define X\n#endif\n");
    let defines: String = (0..n).map(|i| format!("#if Y{i} == 0\n#define N{i}\n#endif\n")).collect();
    let u = source(&format!("{}{defines}", line.repeat(100)), &[]);
    u.is_unprovable("too-many-steps");
}

#[test]
fn a_changed_view_is_seen_by_the_next_scan() {
    let mut u = source("#include <x.h>\n#if __has_include(\"new.h\")\n#include \"new.h\"\n#endif\n", &["j/x.h"]);
    let mut scanner = Scanner::new();
    let mut files = |u: &Unit| {
        let closure = scanner.scan(&u.view, &u.request()).expect("provable");
        assert_eq!(closure, u.closure(), "a used scanner finds what a new one finds");
        closure.files.iter().skip(1).map(|f| f.path.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(files(&u), ["j/x.h"]);
    u.view.write("/w/i/x.h", b"#include \"deep.h\"\n");
    u.view.write("/w/new.h", b"");
    assert_eq!(files(&u), ["i/x.h", "new.h"]);
    u.view.write("/w/j/deep.h", b"");
    assert_eq!(files(&u), ["i/x.h", "j/deep.h", "new.h"]);
    u.view.remove("/w/i/x.h");
    assert_eq!(files(&u), ["j/x.h", "new.h"]);
}

#[test]
fn scans_do_not_depend_on_scans_before() {
    let one = unit(&[
        ("a.c", "#include <x.h>\n#ifdef Q\n#include <q.h>\n#endif\n"),
        ("i/x.h", "#define P\n"),
        ("i/q.h", ""),
        ("b.c", "#define Q\n#include <x.h>\n#ifdef P\n#include <q.h>\n#endif\n"),
    ]);
    let (a, mut b) = (one.request(), one.request());
    b.source = "b.c".into();
    let mut scanner = Scanner::new();
    let first = scanner.scan(&one.view, &a).expect("provable");
    let other = scanner.scan(&one.view, &b).expect("provable");
    assert_eq!(scanner.scan(&one.view, &a), Ok(first.clone()));
    assert_eq!(Scanner::new().scan(&one.view, &b), Ok(other));
    assert_eq!(first.files.len(), 2);
}

#[test]
fn why_a_file_is_there() {
    let u = unit(&[("a.c", "\n#include <x.h>\n"), ("i/x.h", "\n\n#include <y.h>\n"), ("j/y.h", "")]);
    let files = u.closure().files;
    assert_eq!((files[2].from, files[2].line, files[2].reason), (Some(1), 3, Reason::Included));
    assert_eq!((files[1].from, files[1].line), (Some(0), 2));
}

#[test]
fn unresolved_names_are_told() {
    let u = source("#include <no.h>\n#include <x.h>\n", &["i/x.h"]);
    assert_eq!(u.closure().unresolved().collect::<Vec<_>>(), ["no.h"]);
}

#[test]
fn a_preprocessed_source_includes_nothing() {
    let u = source("#include <x.h>\n", &["i/x.h"]);
    let request = ScanRequest { preprocessed: true, ..u.request() };
    assert_eq!(Scanner::new().scan(&u.view, &request).expect("provable").files.len(), 1);
}
