//! The tables themselves: order, uniqueness, and that no row of one hides a row of another.

#![expect(clippy::disallowed_methods, reason = "the tests do the I/O that the crate itself must not do")]

use kiln_cmdline::{
    Effect, EnvEffect, Family, Opt, Reason, Takes, assembler_options, cc1_options, env_effect, environment_rows, find_option,
    options, reference, shared_options,
};

fn all_tables() -> Vec<(&'static str, &'static [Opt])> {
    vec![
        ("shared", shared_options()),
        ("gcc", options(Family::Gcc)),
        ("clang", options(Family::Clang)),
        ("assembler", assembler_options()),
        ("cc1", cc1_options()),
    ]
}

#[test]
fn sorted_and_unique() {
    for (name, table) in all_tables() {
        assert!(table.len() > 50, "{name} is nearly empty");
        for pair in table.windows(2) {
            assert!(pair[0].name < pair[1].name, "{name}: {} before {}", pair[0].name, pair[1].name);
        }
    }
}

#[test]
fn names_are_well_formed() {
    for (table, rows) in all_tables() {
        for row in rows {
            assert!(row.name.starts_with('-') && row.name.is_ascii() && row.name.len() > 1, "{table}: {}", row.name);
            assert!(!row.name.contains(' '), "{table}: {}", row.name);
            if row.name.ends_with('=') {
                assert_eq!(row.takes, Takes::Joined, "{table}: {}", row.name);
            }
        }
    }
}

#[test]
fn shared_rows_are_in_no_other_table() {
    for family in [Family::Gcc, Family::Clang] {
        for row in shared_options() {
            let twice = options(family).iter().any(|own| own.name == row.name);
            assert!(!twice, "{family:?}: {} stands in both tables", row.name);
        }
    }
}

#[test]
fn every_row_is_found_by_its_own_name() {
    for family in [Family::Gcc, Family::Clang] {
        for row in shared_options().iter().chain(options(family)) {
            let (found, negated) = find_option(family, row.name).expect(row.name);
            assert_eq!((found.name, negated), (row.name, false));
        }
    }
}

#[track_caller]
fn check_found(family: Family, arg: &str, expect: Option<(&str, bool)>) {
    let found = find_option(family, arg).map(|(row, negated)| (row.name, negated));
    assert_eq!(found, expect, "{arg}");
}

#[test]
fn the_longest_name_wins() {
    check_found(Family::Gcc, "-MMD", Some(("-MMD", false)));
    check_found(Family::Gcc, "-MMDx", None);
    check_found(Family::Gcc, "-MFx.d", Some(("-MF", false)));
    check_found(Family::Gcc, "-Wp,-MD,x", Some(("-Wp,", false)));
    check_found(Family::Gcc, "-Wpedantic", Some(("-W", false)));
    check_found(Family::Gcc, "-includex.h", Some(("-include", false)));
    check_found(Family::Gcc, "-Ix", Some(("-I", false)));
    check_found(Family::Gcc, "-iquotex", Some(("-iquote", false)));
    check_found(Family::Gcc, "-gsplit-dwarf", Some(("-gsplit-dwarf", false)));
    check_found(Family::Gcc, "-gno-split-dwarf", Some(("-gsplit-dwarf", true)));
    check_found(Family::Gcc, "-g3", Some(("-g", false)));
    check_found(Family::Gcc, "-gno-nonsense", None);
    check_found(Family::Gcc, "-fno-exceptions", Some(("-fexceptions", true)));
    check_found(Family::Gcc, "-fno-nonsense", None);
    check_found(Family::Gcc, "-mno-avx2", Some(("-mavx2", true)));
    check_found(Family::Gcc, "-fdump-tree-all", Some(("-fdump-", false)));
    check_found(Family::Gcc, "-fdump-noaddr", Some(("-fdump-noaddr", false)));
    check_found(Family::Gcc, "-fpreserve-everything", None);
    check_found(Family::Gcc, "-std=c11", Some(("-std=", false)));
    check_found(Family::Clang, "-fno-sanitize=all", Some(("-fsanitize=", true)));
    check_found(Family::Clang, "-ftime-trace=x", Some(("-ftime-trace=", false)));
    check_found(Family::Clang, "-Xarch_x86_64", Some(("-Xarch_", false)));
    check_found(Family::Clang, "-é", None);
}

#[test]
fn options_that_write_files_are_never_mere_code() {
    // Words of names that tell of a file; each row with such a word was looked at, and those that name none are listed.
    const HARMLESS: &[&str] = &["-ffile-prefix-map=", "-ffile-reproducible", "-fcrash-diagnostics-dir="];
    for (table, rows) in all_tables() {
        for row in rows {
            let suspicious = ["-file=", "-path=", "-dir=", "output-file", "-cache-path"].iter().any(|w| row.name.contains(w));
            let harmless = HARMLESS.contains(&row.name) || row.name.contains("prefix-path") || row.name.contains("compilation-dir");
            if suspicious && !harmless {
                assert!(!matches!(row.effect, Effect::Code | Effect::Message | Effect::Warn), "{table}: {}", row.name);
            }
        }
    }
}

#[test]
fn environment_is_sorted_and_the_longest_row_counts() {
    for pair in environment_rows().windows(2) {
        assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
    }
    let cases = [
        ("GCC_COLORS", EnvEffect::TerminalColor),
        ("GCC_COMPARE_DEBUG", EnvEffect::Refuses),
        ("GCC_EXEC_PREFIX", EnvEffect::Refuses),
        ("LLVM_SYS_190_PREFIX", EnvEffect::Irrelevant),
        ("LLVM_ENABLE_MAGIC", EnvEffect::Refuses),
        ("CCC_OVERRIDE_OPTIONS", EnvEffect::Refuses),
        ("COLLECT_GCC", EnvEffect::Refuses),
        ("MY_INCLUDE_PATH", EnvEffect::RefusesUnlessEmpty),
        ("CPLUS_INCLUDE_PATH", EnvEffect::SentForCxx),
        ("LD_AUDIT", EnvEffect::Refuses),
        ("PATH", EnvEffect::Irrelevant),
        ("LD", EnvEffect::Irrelevant),
        ("GCC", EnvEffect::Irrelevant),
    ];
    for (name, effect) in cases {
        assert_eq!(env_effect(name), effect, "{name}");
    }
}

#[test]
fn reason_codes_are_unique_and_kebab() {
    let mut codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert!(codes.iter().all(|code| code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')));
    codes.sort_unstable();
    let count = codes.len();
    codes.dedup();
    assert_eq!(codes.len(), count);
}

#[test]
fn reference_page_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/options.md");
    let fresh = reference();
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, &fresh).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(stored == fresh, "docs/options.md is stale: run the tests once with KILN_BLESS=1");
}
