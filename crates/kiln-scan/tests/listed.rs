//! What a compiler's own list of a unit's files leaves out: found from the texts of the listed files alone.

mod unit;

use kiln_scan::{Closure, Compiler, ForcedKind, Reason, Scanner, Unprovable};
use unit::{Unit, unit};

fn complete(u: &Unit, listed: &[&str]) -> Result<Closure, Unprovable> {
    let listed: Vec<String> = listed.iter().map(|path| (*path).to_owned()).collect();
    Scanner::new().complete(&u.view, &u.request(), &listed)
}

/// Paths of the closure, those that are only looked for with a question mark.
#[track_caller]
fn files(u: &Unit, listed: &[&str]) -> Vec<String> {
    let closure = complete(u, listed).expect("complete");
    closure.files.iter().map(|f| if f.reason == Reason::Probed { format!("{}?", f.path) } else { f.path.to_string() }).collect()
}

#[track_caller]
fn is_refused(u: &Unit, listed: &[&str], code: &str) {
    match complete(u, listed) {
        Ok(closure) => panic!("{code} expected, found {:?}", closure.files),
        Err(reason) => assert_eq!(reason.code(), code, "{reason}"),
    }
}

#[test]
fn the_list_is_taken_as_it_is() {
    let u = unit(&[
        ("a.c", "#include ANY(THING)\n#if 0\n#include \"never.h\"\n#endif\n"),
        ("i/x.h", "#pragma once\n"),
        ("never.h", ""),
    ]);
    assert_eq!(files(&u, &["a.c", "i/x.h"]), ["a.c", "i/x.h"]);
    let closure = complete(&u, &["a.c", "i/x.h"]).expect("complete");
    assert_eq!(closure.files.iter().map(|f| f.once).collect::<Vec<_>>(), [false, true]);
    assert_eq!(closure.files[0].reason, Reason::Source);
}

#[test]
fn what_a_probe_may_find_is_looked_for_wherever_its_search_begins() {
    let text =
        "#if __has_include(<x.h>) || __has_include_next(<y.h>)\n#endif\n#ifdef NEVER\n#if __has_include(\"z.h\")\n#endif\n#endif\n";
    let u = unit(&[
        ("a.c", "#include ANY\n"),
        ("sub/p.h", text),
        ("j/x.h", ""),
        ("/sys/x.h", ""),
        ("i/y.h", ""),
        ("/sys/y.h", ""),
        ("sub/z.h", ""),
        ("i/z.h", ""),
    ]);
    let mut found = files(&u, &["a.c", "sub/p.h"]);
    found.sort();
    assert_eq!(found, ["/sys/x.h?", "/sys/y.h?", "a.c", "i/y.h?", "i/z.h?", "j/x.h?", "sub/p.h", "sub/z.h?"]);
}

#[test]
fn files_of_the_assembler_and_embedded_ones_are_found() {
    let mut u = unit(&[
        ("a.c", "#include ANY\nasm(\".incbin \\\"data.bin\\\"\");\n#ifdef NEVER\n#embed \"more.bin\"\n#endif\n"),
        ("i/data.bin", ""),
        ("more.bin", ""),
    ]);
    u.embed_dirs = vec!["e".to_owned()];
    assert_eq!(files(&u, &["a.c"]), ["a.c", "i/data.bin", "more.bin"]);
    let flags = complete(&u, &["a.c"]).expect("complete").flags;
    assert!(flags.incbin && flags.embed);
    is_refused(&unit(&[("a.c", "#define N \"x\"\nasm(\".incbin \" N);\n")]), &["a.c"], "assembler-include");
}

#[test]
fn what_no_list_can_show_is_refused() {
    is_refused(&unit(&[("a.c", "#if __has_include(ANY(x))\n#endif\n")]), &["a.c"], "has-include");
    let wrapped = "#define HAS(x) __has_include(x)\n#define ASK(x) HAS(x)\n#if ASK(<x.h>)\n#endif\n";
    is_refused(&unit(&[("a.c", wrapped)]), &["a.c"], "has-include");
    is_refused(&unit(&[("a.c", "#pragma GCC dependency \"x.h\"\n")]), &["a.c"], "pragma-dependency");
    is_refused(&unit(&[("a.c", "")]), &["a.c", "gone.h"], "source");
}

#[test]
fn a_precompiled_header_is_told_or_refused() {
    let text = "#ifdef A\n#include \"p.h\"\n#endif\n#include \"q.h\"\n#include \"r.h\"\n#include ANY\n";
    for (gch, told) in [("p.h.gch", true), ("i/p.h.gch", false), ("q.h.gch", true), ("r.h.gch", false), ("a.c.gch", true)] {
        let u = unit(&[("a.c", text), ("p.h", ""), ("q.h", ""), ("r.h", ""), (gch, "")]);
        let closure = complete(&u, &["a.c", "q.h", "r.h"]).expect("complete");
        assert_eq!(closure.flags.precompiled, told, "{gch}");
    }
    // Whatever the first one means.
    for (gch, told) in [("i/s/q.h.gch", true), ("q.h.gch", false), ("j/q.h.gch", false), ("i/s/r.h.gch", false)] {
        let u = unit(&[("a.c", "#include ANY\n#include \"r.h\"\n"), ("i/s/q.h", ""), (gch, "")]);
        assert_eq!(complete(&u, &["a.c", "i/s/q.h"]).expect("complete").flags.precompiled, told, "{gch}");
    }
    let mut u = unit(&[("a.c", "#include ANY\n"), ("f.h", ""), ("f.h.pch", "")]).force(ForcedKind::Include, "f.h");
    u.compiler = Compiler::Clang;
    assert!(complete(&u, &["a.c", "f.h"]).expect("complete").flags.precompiled);
    u.view.add_dir("/w/g.h.pch");
    let mut u = u.force(ForcedKind::Include, "g.h");
    u.view.write("/w/g.h", b"");
    is_refused(&u, &["a.c", "f.h", "g.h"], "precompiled-header");
}

#[test]
fn clocks_count_wherever_they_stand() {
    let u = unit(&[("a.c", "#include ANY\n"), ("i/x.h", "#ifdef NEVER\nchar *s = __DATE__;\n#endif\n")]);
    assert!(complete(&u, &["a.c", "i/x.h"]).expect("complete").flags.uses_clock());
    assert!(!complete(&u, &["a.c"]).expect("complete").flags.uses_clock());
}
