//! Every row of the table of variables in a case. Knows no options.

use kiln_cmdline::{EnvEffect, environment_rows};
use kiln_testkit::case::{Case, cases};
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_variable_that_matters_is_set_in_a_case() {
    let all = cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"));
    let lines = all.iter().flat_map(Case::lines);
    let set: BTreeSet<String> = lines.flat_map(|line| &line.env).map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    let is_row = |name: &str| environment_rows().iter().any(|row| row.name == name);
    let fits = |row: &str, name: &str| match (row.strip_prefix('*'), row.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end) && !is_row(name),
        (_, Some(start)) => name.starts_with(start) && !is_row(name),
        _ => row == name,
    };
    let rows = environment_rows().iter().filter(|row| row.effect != EnvEffect::Irrelevant);
    let absent: Vec<&str> = rows.map(|row| row.name).filter(|row| !set.iter().any(|name| fits(row, name))).collect();
    assert!(absent.is_empty(), "no case sets {absent:?}");
}
