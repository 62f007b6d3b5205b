//! Tables of file texts and the lookups that are read out of them.

use super::*;
use crate::dialect::LineComments;
use crate::directives::{Branch, Mentions};

fn read(text: &[u8], dialect: Dialect) -> (Directives, Names) {
    let names = Names::new();
    let d = directives(text, dialect, &names).expect("read");
    (d, names)
}

/// Every include and definition of a file, whatever the conditions.
fn shown(text: &[u8], dialect: Dialect) -> Vec<String> {
    let (d, names) = read(text, dialect);
    let mut out = Vec::new();
    for item in &d.items {
        match *item {
            Item::Include { how, header, line } => {
                let name = String::from_utf8_lossy(&names.header_name(header)).into_owned();
                let name = if how.quoted { format!("\"{name}\"") } else { format!("<{name}>") };
                let what = if how.embed {
                    "embed "
                } else if how.next {
                    "next "
                } else {
                    ""
                };
                out.push(format!("{line}:{what}{name}"));
            }
            Item::Computed(i) => {
                let c = &d.computed[i as usize];
                out.push(format!("{}:computed {}", c.line, String::from_utf8_lossy(&c.text)));
            }
            Item::Incbin { header, line } => {
                out.push(format!("{line}:incbin {}", String::from_utf8_lossy(&names.header_name(header))));
            }
            Item::Probe { header, .. } => {
                out.push(format!("probe {}", String::from_utf8_lossy(&names.header_name(header))));
            }
            Item::Group(_) => {}
        }
    }
    for i in 0..d.defines.len() {
        let name = String::from_utf8_lossy(&names.macro_name(d.defines[i])).into_owned();
        out.push(format!("{name}={}", String::from_utf8_lossy(d.body(i))));
    }
    out
}

#[track_caller]
fn check_in(dialect: Dialect, text: &str, expected: &[&str]) {
    assert_eq!(shown(text.as_bytes(), dialect), expected, "{text:?}");
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    check_in(Dialect::GNU_CXX, text, expected);
}

const STRICT: Dialect = Dialect { trigraphs: true, ..Dialect::GNU_C };

#[test]
fn plain_includes() {
    check("#include <a.h>\n#include \"b.h\"\n", &["1:<a.h>", "2:\"b.h\""]);
    check("  #  include\t<a.h> // why\n", &["1:<a.h>"]);
    check("#include <a.h>", &["1:<a.h>"]);
    check("#include<a.h>\r\n#import \"b.h\"\r\n", &["1:<a.h>", "2:\"b.h\""]);
    check("\u{feff}#include <a.h>\n", &["1:<a.h>"]);
    check("#include_next <a.h>\n#embed \"d\"\n", &["1:next <a.h>", "2:embed \"d\""]);
    check("x #include <a.h>\n", &[]);
    check("#includes <a.h>\n#include\n#include <a\n#include \"a\n", &[]);
}

#[test]
fn names_with_odd_characters() {
    check("#include <a//b.h>\n#include <a/*b.h>\n", &["1:<a//b.h>", "2:<a/*b.h>"]);
    check("#include \"a b,c.h\"\n#include \"a\\b.h\"\n", &["1:\"a b,c.h\"", "2:\"a\\b.h\""]);
    check("#include <it's.h>\n#include <b.h>\n", &["1:<it's.h>", "2:<b.h>"]);
}

#[test]
fn comments_hide_and_separate() {
    check("/* #include <a.h>\n#include <b.h> */ #include <c.h>\n", &["2:<c.h>"]);
    check("// c \\\n#include <a.h>\n#include <b.h>\n", &["3:<b.h>"]);
    check("/**/ # /**/ include /**/ <a.h> /* x\n y */\n#include <b.h>\n", &["1:<a.h>", "3:<b.h>"]);
    check("/*/ #include <a.h>\n*/\n", &[]);
    check("/* *\\\n/ #include <a.h>\n", &["2:<a.h>"]);
    check("/\\\n* x\n#include <a.h>\n*/", &[]);
    check("/* open\n#include <a.h>\n", &[]);
    let c90 = Dialect { line_comments: LineComments::InText, ..Dialect::GNU_C };
    check_in(c90, "// x /* y\n#define A 1 // /* z\n#include <a.h>\n*/\n", &["A= 1 //"]);
    check_in(c90, "a //* x */ 1\n#include <a.h>\n", &["2:<a.h>"]);
}

#[test]
fn splices_anywhere() {
    check("#inc\\\nlude <a\\\n.h>\n", &["1:<a.h>"]);
    check("#\\\ninclude <a.h>\n", &["1:<a.h>"]);
    check("#include <a.h> \\  \n#include <b.h>\n#include <c.h>\n", &["1:<a.h>", "3:<c.h>"]);
    check("x \\\n#include <a.h>\n", &[]);
    check("#define A x\\\ny\n", &["A= xy"]);
    check("#define A \\\n#include <a.h>\n", &["A= #include <a.h>"]);
    check("#include <a.h> \\", &["1:<a.h>"]);
}

#[test]
fn literals_hide() {
    check("s = \"/*\";\n#include <a.h>\n", &["2:<a.h>"]);
    check("s = \"\\\"//\"; c = '\"';\n#include <a.h>\n", &["2:<a.h>"]);
    check("s = \"\\\\\";\n#include <a.h>\n", &["2:<a.h>"]);
    check("don't /*\n#include <a.h>\n", &["2:<a.h>"]);
    check("s = \"x\\\n#include <a.h>\n", &[]);
    check("n = 1'000'000; c = u8'/'; /* '\n#include <a.h>\n*/\n#include <b.h>\n", &["4:<b.h>"]);
    check("n = 0x1'f'/*';*/ ;\n#include <b.h>\n", &["2:<b.h>"]);
}

#[test]
fn raw_strings() {
    check("s = R\"(\n#include <a.h>\n)\"\n#include <b.h>\n", &["4:<b.h>"]);
    check("s = u8R\"x(\n)\"\n#include <a.h>\n)x\" /*\n#include <b.h>\n*/", &[]);
    check("s = LR\"(\n/*)\";\n#include <b.h>\n", &["3:<b.h>"]);
    check("s = FOUR\"(\n#include <b.h>\n", &["2:<b.h>"]);
    check("s = R\"to long a delimiter(\n#include <b.h>\n", &["2:<b.h>"]);
    let c = Dialect { raw_strings: false, ..Dialect::GNU_C };
    check_in(c, "s = R\"(\n#include <a.h>\n)\"\n", &["2:<a.h>"]);
    check("s = R\"(\n#include <a.h>\n", &[]);
}

#[test]
fn trigraphs_only_when_on() {
    check_in(STRICT, "??=include <a.h>\n", &["1:<a.h>"]);
    check_in(STRICT, "// x ??/\n#include <a.h>\n", &[]);
    check_in(STRICT, "x ??/\n#include <a.h>\n", &[]);
    check("??=include <a.h>\n// x ??/\n#include <b.h>\n", &["3:<b.h>"]);
}

#[test]
fn digraphs() {
    check("%:include <a.h>\n % : include <b.h>\n", &["1:<a.h>"]);
    check_in(Dialect { digraphs: false, ..Dialect::GNU_C }, "%:include <a.h>\n", &[]);
}

#[test]
fn carriage_returns_alone_end_lines() {
    check("#include <a.h>\r#include <b.h>\r\n// x\r#include <c.h>\n", &["1:<a.h>", "1:<b.h>", "2:<c.h>"]);
    check("// x \\\r#include <a.h>\n", &[]);
    check("// x \\\r \n#include <a.h>\n", &["2:<a.h>"]);
    check("// x \\\r", &[]);
    check("/* *\\\r/ #include <a.h>\r", &["1:<a.h>"]);
    check("#include <a.h> \\ \r\n#include <b.h>\r", &["1:<a.h>"]);
}

#[test]
fn definitions_keep_what_a_header_name_may_need() {
    check("#define A \"x.h\"\n", &["A= \"x.h\""]);
    check("#define F(a,b)  <a/b.h> /* c */\n", &["F=(a,b) <a/b.h>"]);
    check("#define A\n#undef A\n", &["A= ", "A=u"]);
    check("#define A do { } while (0)\n", &["A=x"]);
    check("#define A x/**/y // z\n", &["A= x y"]);
    check("#define /* n */ A /* v\n */ 1\n", &["A= 1"]);
    check("#define\n#define 1\n", &[]);
    check("#define \\u00e9 1\n#define \u{e9} 2\n", &["\u{e9}= 1", "\u{e9}= 2"]);
}

#[test]
fn computed_includes() {
    check("#include A /* x */\n#include F(x)\n", &["1:computed A", "2:computed F(x)"]);
}

#[test]
fn pragmas() {
    for text in ["#pragma once\n", "_Pragma(\"once\")\n", "#define X _Pragma(\"once\")\n", "a; _Pragma ( L\"once\" ) b\n"] {
        assert!(read(text.as_bytes(), Dialect::GNU_CXX).0.once(), "{text}");
    }
    assert!(!read(b"// #pragma once\n\"_Pragma\"(\"once\")\n", Dialect::GNU_CXX).0.once());
    check("#pragma push_macro(\"A\")\n_Pragma(\"pop_macro(\\\"B\\\")\")\n", &["A=p", "B=p"]);
}

#[track_caller]
fn check_mentions(dialect: Dialect, text: &str, expected: &[Mentions]) {
    let (d, _) = read(text.as_bytes(), dialect);
    let mut all = Mentions::default();
    for block in &d.blocks {
        all.add(block.mentions);
    }
    let mut wanted = Mentions::default();
    for m in expected {
        wanted.add(*m);
    }
    assert_eq!(all, wanted, "{text:?}");
}

#[test]
fn mentions_count_outside_of_comments_and_literals() {
    let c = Dialect::GNU_CXX;
    check_mentions(c, "// __DATE__\n/* __TIME__ */ \"__TIMESTAMP__\" x__DATE__ __FILE__x\n", &[]);
    check_mentions(c, "a = __DATE__;\n", &[Mentions::DATE]);
    check_mentions(c, "#define NOW __TIME__ /* __DATE__ */\n", &[Mentions::TIME]);
    check_mentions(c, "a = __TIMESTAMP__, __FILE__;\n", &[Mentions::TIMESTAMP, Mentions::FILE]);
    check_mentions(c, "a = __DA\\\nTE__;\n", &[Mentions::DATE]);
    check_mentions(c, "#pragma GCC dependency \"x\"\n", &[Mentions::DEPENDENCY]);
    check_mentions(c, "asm(\".include \\\"x\\\"\");\n", &[Mentions::ASM_INCLUDE]);
    check_mentions(c, "asm(\".incbin \" NAME);\n", &[Mentions::INCBIN]);
    check_mentions(c, "// .incbin\nint incbin;\n", &[]);
    check_mentions(c, "if (!strncmp(name, \".include\", 8) || name == \".incbin\") puts(\"no .include here\");\n", &[]);
    for odd in [
        "\".include\" NAME",
        "\".include \" \"x\"",
        "\".include\\t%0\"",
        "R\"(.include \"x\")\"",
        "R\"(.include)\" NAME",
        "\".include\"\n",
    ] {
        check_mentions(c, &format!("asm({odd});\n"), &[Mentions::ASM_INCLUDE]);
    }
    let modules = Dialect { modules: true, ..c };
    check_mentions(modules, "import std;\n", &[Mentions::MODULES]);
    check_mentions(modules, "export module a;\n", &[Mentions::MODULES]);
    check_mentions(modules, "important = 1;\nmodule(x);\nimport = 2;\n", &[]);
    check_mentions(c, "import std;\n", &[]);
}

#[test]
fn assembler_includes_with_plain_names_are_inputs() {
    check("asm(\".incbin \\\"a/b.bin\\\"\");\n", &["1:incbin a/b.bin"]);
    check_in(Dialect::ASSEMBLER, "# comment\n\t.incbin \"x.bin\", 4\n", &["2:incbin x.bin"]);
    check_in(Dialect::ASSEMBLER, "#define D .incbin \"x.bin\"\n", &["1:incbin x.bin", "D= .incbin \"x.bin\""]);
}

#[test]
fn probes_in_macros() {
    check("#define H __has_include(<a.h>)\n", &["probe a.h", "H= __has_include(<a.h>)"]);
    let (d, names) = read(b"#define H(x) (__has_include(x))\n#if H(<a.h>)\n#endif\n", Dialect::GNU_CXX);
    assert_eq!(d.wrappers.iter().map(|n| names.macro_name(*n)).collect::<Vec<_>>(), vec![b"H".to_vec()]);
    assert_eq!(d.probes.len(), 1);
}

/// The conditions of a file's conditionals in order of their ends.
fn conditions(text: &str) -> Vec<Cond> {
    let (d, _) = read(text.as_bytes(), Dialect::GNU_CXX);
    d.branches.iter().map(|b: &Branch| b.cond).collect()
}

#[test]
fn simple_conditions_have_simple_forms() {
    let with = |line: &str| conditions(&format!("{line}\n#include <x>\n#endif\n#define y\n"));
    assert_eq!(with("#if 0"), [Cond::False]);
    assert_eq!(with("#if 1 // x"), [Cond::True]);
    assert!(matches!(with("#if defined X")[..], [Cond::Defined(_)]));
    assert!(matches!(with("#if ! defined ( X )")[..], [Cond::NotDefined(_)]));
    assert!(matches!(with("#ifdef X")[..], [Cond::Defined(_)]));
    assert!(matches!(with("#if X > 1")[..], [Cond::Program { len: 3, .. }]));
    for garbage in ["#if", "#if (", "#if 1 +", "#if X Y", "#if \"x\"", "#if 1.5", "#if a = b", "#ifdef", "#if @"] {
        assert!(matches!(with(garbage)[..], [Cond::Unknown]), "{garbage}");
    }
}

#[test]
fn conditionals_with_nothing_in_them_leave_no_trace() {
    let (d, _) = read(b"#ifdef X\nint a;\n#if Y > 2\n#else\n#endif\n#endif\n", Dialect::GNU_C);
    assert_eq!((d.blocks.len(), d.items.len(), d.ops.len()), (1, 0, 0));
    let (d, _) = read(b"#if __has_include(<x.h>)\nint a;\n#endif\n", Dialect::GNU_C);
    assert_eq!(d.groups.len(), 1);
}

#[test]
fn a_guard_around_the_file_is_no_condition() {
    let (d, _) = read(b"// c\n#ifndef X\n#define X\n#include <a.h>\n#endif\n", Dialect::GNU_C);
    assert_ne!(d.root, 0);
    let (d, _) = read(b"#ifndef X\n#define X\n#endif\n#include <a.h>\n", Dialect::GNU_C);
    assert_eq!(d.root, 0);
    let (d, _) = read(b"#ifndef X\n#define Y\n#endif\n", Dialect::GNU_C);
    assert_eq!(d.root, 0);
    let (d, _) = read(b"#ifndef X\n#define X\n#else\n#include <a.h>\n#endif\n", Dialect::GNU_C);
    assert_eq!(d.root, 0);
}

#[test]
fn unbalanced_conditionals_are_survived() {
    check("#endif\n#else\n#elif 1\n#if X\n#include <a.h>\n", &["5:<a.h>"]);
}

#[test]
fn deep_expressions_and_conditionals_end() {
    let deep = format!("#if {}1{}\n#include <a.h>\n#endif\n", "(".repeat(100_000), ")".repeat(100_000));
    check(&deep, &["2:<a.h>"]);
    let not = format!("#if {}1\n#include <a.h>\n#endif\n", "!".repeat(100_000));
    check(&not, &["2:<a.h>"]);
    let ternary = format!("#if {}1\n#include <a.h>\n#endif\n", "1?1:".repeat(100_000));
    check(&ternary, &["2:<a.h>"]);
    let nested = format!("{}#include <a.h>\n{}", "#if X\n".repeat(50_000), "#endif\n".repeat(50_000));
    check(&nested, &["50001:<a.h>"]);
}
