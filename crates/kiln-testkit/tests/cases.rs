//! The differential suite: every command line of `cases/` compiled locally and through a farm, all that comes of it compared.
//! `KILN_CASE=NAME` tries the cases whose name begins so.

use kiln_testkit::case::{Case, Suite, cases};
use std::path::Path;

fn chosen(part: &str) -> Vec<Case> {
    let wanted = std::env::var("KILN_CASE").unwrap_or_default();
    let mut all = cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(part));
    for case in &mut all {
        case.name = format!("{part}/{}", case.name);
    }
    all.retain(|case| case.name.starts_with(&wanted));
    all
}

fn check(part: &str) {
    let cases = chosen(part);
    if !cases.is_empty() {
        let suite = Suite::start();
        let report = suite.play(&cases);
        if !report.failures.is_empty() {
            eprintln!("{}", suite.farm().logs());
        }
        // Its gigabyte of compilers need not be kept to understand a failure.
        drop(suite);
        report.check();
    }
}

#[test]
fn outputs_are_those_of_a_local_compile() {
    check("outputs");
}

#[test]
fn inputs_are_found_as_the_compiler_finds_them() {
    check("inputs");
}

#[test]
fn reuse_is_sound() {
    check("reuse");
}

#[test]
fn nonsense_is_answered_by_the_compiler_itself() {
    check("bad");
}

#[test]
fn messages_and_ends_are_those_of_a_local_compile() {
    check("messages");
}

#[test]
fn forms_of_commands_come_to_what_they_do_locally() {
    check("forms");
}
