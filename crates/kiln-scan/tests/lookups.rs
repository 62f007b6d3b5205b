//! Where a unit's names lead, case by case, over files in memory.

mod unit;

use kiln_scan::{Compiler, Dialect, ForcedKind, Reason, ScanRequest, Scanner};
use unit::{Unit, source, unit};

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
fn one_file_at_two_places_of_the_search_list_goes_on_from_both() {
    let mut u = unit(&[("a.c", "#include <p/x.h>\n"), ("i/p/x.h", "#include_next <x.h>\n"), ("j/x.h", "")]);
    u.dirs.user = ["i", "i/p", "j"].map(str::to_owned).to_vec();
    u.finds(&["i/p/x.h", "j/x.h"]);
}

#[test]
fn include_next_in_a_file_beside_its_includer_searches_the_whole_list() {
    let u = unit(&[("a.c", "#include \"m.h\"\n"), ("m.h", "#include_next \"m.h\"\n"), ("i/m.h", ""), ("j/m.h", "")]);
    u.finds(&["i/m.h", "m.h"]);
}

#[test]
fn with_clang_a_file_beside_its_includer_inherits_the_place_on_the_search_list() {
    let mut u = unit(&[
        ("a.c", "#include <m.h>\n"),
        ("i/m.h", "#include \"n.h\"\n"),
        ("i/n.h", "#include_next <x.h>\n"),
        ("i/x.h", ""),
        ("j/x.h", ""),
    ]);
    u.finds(&["i/m.h", "i/n.h", "i/x.h"]);
    u.compiler = Compiler::Clang;
    u.finds(&["i/m.h", "i/n.h", "j/x.h"]);
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
        .finds(&["i/c.h", "i/c.h.gch", "i/x.h"]);
    source("", &["x.h", "x.h.gch"]).force(ForcedKind::Include, "x.h").finds(&["x.h", "x.h.gch"]);
    source("#include \"x.h\"\n", &["x.h", "x.h.gch/c"]).is_unprovable("precompiled-header");
    source("", &["x.h", "x.h.gch"]).force(ForcedKind::Include, "/w/x.h").finds(&["/w/x.h", "/w/x.h.gch"]);
    source("", &["x.h", "x.h.gch/c"]).force(ForcedKind::Include, "/w/x.h").is_unprovable("precompiled-header");
    source("", &["/sys/p.h", "/sys/p.h.gch"]).force(ForcedKind::Implicit, "p.h").finds(&["/sys/p.h", "/sys/p.h.gch"]);
    source("", &["a.c.gch"]).finds(&["a.c.gch"]);
    source("", &[]).lacks(&[("", "a.c.gch")]);
    source("#include <x.h>\n", &["i/x.h", "j/x.h.gch"]).finds(&["i/x.h"]);
    let mut u = source("", &["x.h", "x.h.pch"]).force(ForcedKind::Include, "x.h");
    u.compiler = Compiler::Clang;
    u.finds(&["x.h", "x.h.pch"]);
    assert!(u.closure().flags.precompiled);
    let mut u = source("", &["x.h", "x.h.pch"]).force(ForcedKind::Text, "x.h");
    u.compiler = Compiler::Clang;
    u.finds(&["x.h"]);
    let mut u = source("", &["x.h", "x.h.pch/c"]).force(ForcedKind::Include, "x.h");
    u.compiler = Compiler::Clang;
    u.is_unprovable("precompiled-header");
}

#[test]
fn a_precompiled_header_without_its_header_says_nothing() {
    for name in ["x.h", "/w/x.h"] {
        for compiler in [Compiler::Gcc, Compiler::Clang] {
            let file = if compiler == Compiler::Gcc { "x.h.gch" } else { "x.h.pch" };
            let mut u = source("", &[file]).force(ForcedKind::Include, name);
            u.compiler = compiler;
            u.is_unprovable("precompiled-header");
        }
    }
    source("#include \"x.h\"\n", &["x.h.gch"]).is_unprovable("precompiled-header");
    let mut u = unit(&[("a.c", "#ifdef M\n#include \"m.h\"\n#endif\n"), ("/o/x.h", "#define M\n"), ("i/x.h.gch", ""), ("m.h", "")])
        .force(ForcedKind::Include, "x.h");
    u.stand_ins = vec![("i/x.h.gch".to_owned(), vec!["/o/x.h".to_owned()])];
    u.finds(&["/o/x.h", "i/x.h.gch", "m.h"]);
    u.stand_ins[0].1.push("/o/none.h".to_owned());
    u.is_unprovable("precompiled-header");
}

#[test]
fn gcc_reads_no_precompiled_header_to_make_one() {
    let mut u = source("#include \"x.h\"\n", &["x.h", "x.h.gch", "f.h", "f.h.gch", "a.c.gch"]).force(ForcedKind::Include, "f.h");
    u.precompiles = true;
    u.finds(&["f.h", "x.h"]);
    assert!(!u.closure().flags.precompiled);
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
fn a_preprocessed_source_includes_nothing_but_for_the_assembler() {
    let scan = |text: &str, dialect: Dialect| {
        let u = source(text, &["i/x.h", "i/x.bin"]);
        let request = ScanRequest { preprocessed: true, dialect, ..u.request() };
        Scanner::new().scan(&u.view, &request).map(|c| c.files.iter().skip(1).map(|f| f.path.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(scan("#include <x.h>\nchar *d = __DATE__;\n", Dialect::GNU_C), Ok(vec![]));
    assert_eq!(scan("#if 0\nasm(\".incbin \\\"x.bin\\\"\");\n#endif\n", Dialect::GNU_C), Ok(vec!["i/x.bin".to_owned()]));
    assert_eq!(scan("# comment\n\t.incbin \"x.bin\"\n", Dialect::ASSEMBLER), Ok(vec!["i/x.bin".to_owned()]));
    let hidden = "nop # see a/*.c\n\t.incbin \"x.bin\"\nnop ; .string \"*/\"\n";
    assert_eq!(scan(hidden, Dialect::ASSEMBLER), Ok(vec!["i/x.bin".to_owned()]));
    assert_eq!(scan("\t.include \"x.s\"\n", Dialect::ASSEMBLER).map_err(|e| e.code()), Err("assembler-include"));
}

#[test]
fn a_file_among_the_search_directories() {
    let mut u = source("#include <x.h>\n", &["i/x.h", "map.hmap"]);
    u.dirs.user.push("map.hmap".to_owned());
    u.finds(&["i/x.h"]);
    u.compiler = Compiler::Clang;
    u.is_unprovable("header-map");
}
