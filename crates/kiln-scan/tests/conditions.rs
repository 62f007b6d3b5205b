//! Which of a unit's directives count, case by case, over files in memory.

mod unit;

use unit::{source, unit};

#[test]
fn decided_branches_are_not_entered() {
    let text = "#ifdef __GNUC__\n#include <g.h>\n#else\n#include <o.h>\n#endif\n\
        #if __GNUC__ >= 12 && defined(__x86_64__)\n#include <n.h>\n#elif 1\n#include <m.h>\n#endif\n\
        #if UNKNOWN\n#include <u.h>\n#endif\n#ifndef UNKNOWN\n#include <v.h>\n#endif\n";
    source(text, &["i/g.h", "i/o.h", "i/n.h", "i/m.h", "i/u.h", "i/v.h"]).finds(&["i/g.h", "i/n.h", "i/v.h"]);
}

#[test]
fn what_is_defined_for_certain_is_not_undefined() {
    source("#ifndef __GNUC__\n#include <x.h>\n#endif\n", &["i/x.h"]).finds(&[]);
    source("#if !defined(__GNUC__)\n#include <x.h>\n#else\n#include <y.h>\n#endif\n", &["i/x.h", "i/y.h"]).finds(&["i/y.h"]);
    source("#if !(__GNUC__ > 3)\n#include <x.h>\n#endif\n", &["i/x.h"]).finds(&[]);
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
fn pragmas_that_cannot_be_proven() {
    source("#pragma GCC dependency \"x.h\"\n", &["x.h"]).is_unprovable("pragma-dependency");
    source("#pragma include_alias(\"a.h\", \"b.h\")\n", &[]).is_unprovable("include-alias");
    source("#if 0\n#pragma GCC dependency \"x.h\"\n#endif\n#pragma GCC system_header\n", &[]).finds(&[]);
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
fn pragmas_that_switch_options_make_macros_unknown() {
    let text = "#pragma GCC push_options\n#pragma GCC target(\"avx2\")\n#include <v.h>\n#ifdef __AVX2__\n#include <avx.h>\n#endif\n\
        #ifndef __GNUC__\n#include <no.h>\n#endif\n#ifdef OWN\n#include <own.h>\n#endif\n";
    let u = unit(&[
        ("a.c", text),
        ("i/avx.h", ""),
        ("i/no.h", ""),
        ("i/own.h", ""),
        ("i/v.h", "#ifdef __ARM_FEATURE_SVE\n#include <sve.h>\n#endif\n"),
        ("i/sve.h", ""),
    ]);
    u.finds(&["i/avx.h", "i/sve.h", "i/v.h"]);
    source(&text.replace("#pragma GCC", "#pragma none"), &["i/avx.h", "i/v.h"]).finds(&["i/v.h"]);
}

#[test]
fn what_command_line_macros_hide() {
    let u = source("", &[]).define("NOW=__DATE__ __TIME__").closure().flags;
    assert!(u.date && u.time && !u.timestamp);
    source("#if HAS(<x.h>)\n#endif\n", &[]).define("HAS(x)=__has_include(x)").is_unprovable("has-include");
}
