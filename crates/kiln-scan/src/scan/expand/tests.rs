//! Tables of operands and what they come to.

use std::collections::BTreeMap;

use super::*;

struct Table(BTreeMap<Vec<u8>, Vec<Choice>>);

impl Source for Table {
    fn choices(&mut self, name: &[u8]) -> &[Choice] {
        self.0.get(name).map_or(&[Choice::Undefined], Vec::as_slice)
    }
}

/// Macros as `NAME text` or `NAME(a) text`, several lines for several values, `NAME!` for undefined, `NAME?` for odd.
fn table(macros: &[&str]) -> Table {
    let mut map: BTreeMap<Vec<u8>, Vec<Choice>> = BTreeMap::new();
    for line in macros {
        let end = line.bytes().position(|c| !is_ident(c)).unwrap_or(line.len());
        let choice = match &line.as_bytes()[end..] {
            b"!" => Choice::Undefined,
            b"?" => Choice::Odd,
            text => Choice::Text(text.to_vec()),
        };
        map.entry(line.as_bytes()[..end].to_vec()).or_default().push(choice);
    }
    Table(map)
}

#[track_caller]
fn check(operand: &str, macros: &[&str], expected: &[&str]) {
    let names = expand(operand.as_bytes(), b"dir/this.h", &mut table(macros)).expect("followed").names;
    let shown: Vec<String> = names
        .into_iter()
        .map(|(quoted, name)| {
            let name = String::from_utf8(name).unwrap();
            if quoted { format!("\"{name}\"") } else { format!("<{name}>") }
        })
        .collect();
    assert_eq!(shown, expected, "{operand}");
}

#[test]
fn object_like_macros_in_a_chain() {
    check("A", &["A B", "B C", "C \"x.h\""], &["\"x.h\""]);
    check("A", &["A <sys/x.h>"], &["<sys/x.h>"]);
}

#[test]
fn stringised_and_pasted() {
    check("S(x.h)", &["S(a) #a"], &["\"x.h\""]);
    check("S(D/x.h)", &["S(a) T(a)", "T(a) #a", "D linux/dir"], &["\"linux/dir/x.h\""]);
    check("S(D/x.h)", &["S(a) #a", "D linux"], &["\"D/x.h\""]);
    check("S(x,y)", &["S(a,b) T(a##b.h)", "T(a) #a"], &["\"xy.h\""]);
    check("<H(a)>", &["H(x) x/x.h"], &["<a/a.h>"]);
}

#[test]
fn several_values_in_all_combinations() {
    let macros = ["S(a) T(a)", "T(a) #a", "P p1", "P p2", "N x", "N!"];
    check("S(P/N.h)", &macros, &["\"p1/N.h\"", "\"p1/x.h\"", "\"p2/N.h\"", "\"p2/x.h\""]);
}

#[test]
fn one_macro_has_one_value_at_a_time() {
    check("S(P-P.h)", &["S(a) T(a)", "T(a) #a", "P 1", "P 2"], &["\"1-1.h\"", "\"2-2.h\""]);
}

#[test]
fn undefined_names_make_no_header() {
    check("FT_CONFIG_H", &[], &[]);
    check("F(x)", &["F!"], &[]);
}

#[test]
fn blanks_are_kept_and_dropped() {
    check("< a / b.h>", &[], &["< a / b.h>", "<a/b.h>"]);
}

#[test]
fn variadic_and_missing_arguments() {
    check("F(a,b)", &["F(x,...) S(__VA_ARGS__)", "S(x) #x"], &["\"b\""]);
    check("F()", &["F(x) \"n.h\""], &["\"n.h\""]);
    check("F", &["F(x) \"n.h\""], &[]);
}

#[test]
fn recursion_ends() {
    check("A", &["A B", "B A"], &[]);
    check("F(1)", &["F(x) F(x) \"a\""], &[]);
}

#[test]
fn the_file_itself() {
    check("__FILE__", &[], &["\"dir/this.h\""]);
}

#[test]
fn what_cannot_be_followed() {
    for (operand, macros) in [("A", &["A?"][..]), ("S(__LINE__)", &["S(x) T(x)", "T(x) #x"])] {
        assert!(expand(operand.as_bytes(), b"f", &mut table(macros)).is_err(), "{operand}");
    }
    let doubling: Vec<String> = (0..40).map(|i| format!("A{i} A{} A{}", i + 1, i + 1)).collect();
    let doubling: Vec<&str> = doubling.iter().map(String::as_str).collect();
    assert!(expand(b"A0", b"f", &mut table(&doubling)).is_err());
    let many: Vec<String> = (0..20).flat_map(|i| [format!("M{i} a"), format!("M{i} b")]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let operand: Vec<String> = (0..20).map(|i| format!("M{i}")).collect();
    assert!(expand(operand.join(" ").as_bytes(), b"f", &mut table(&many)).is_err());
}
