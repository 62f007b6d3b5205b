//! What is a compiler and what is not, by behaviour: links, scripts, wrappers, programs that hang or babble.

use crate::support::{DRIVERS, ENVIRONMENT, toolchain};
use kiln_cas::TreeBuilder;
use kiln_toolchain::{DigestCache, Entry, Family, LookupEnv, Toolchain, ToolchainError};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn discover(driver: &Path) -> Result<Toolchain, ToolchainError> {
    Toolchain::discover(driver, &LookupEnv::from_pairs(ENVIRONMENT), &mut DigestCache::new())
}

#[track_caller]
fn refused(driver: &Path, why: &str) {
    match discover(driver) {
        Err(error @ ToolchainError::NotACompiler { .. }) => assert!(error.to_string().contains(why), "{error}"),
        other => panic!("{}: {other:?}", driver.display()),
    }
}

#[test]
fn every_compiler_is_known_by_what_it_says() {
    for (driver, family, version, target) in [
        ("/usr/bin/gcc", Family::Gcc, "12.", "x86_64-linux-gnu"),
        ("/usr/bin/g++", Family::Gcc, "12.", "x86_64-linux-gnu"),
        ("/usr/bin/clang-14", Family::Clang, "14.", "x86_64-pc-linux-gnu"),
        ("/usr/bin/clang++-19", Family::Clang, "19.", "x86_64-pc-linux-gnu"),
        ("/usr/bin/aarch64-linux-gnu-gcc", Family::Gcc, "12.", "aarch64-linux-gnu"),
    ] {
        let found = toolchain(driver);
        assert_eq!((found.family, found.target.as_str()), (family, target), "{driver}");
        assert!(found.version.starts_with(version), "{driver}: {}", found.version);
        assert_eq!((found.host_arch, found.cxx), ("x86_64", driver.contains("++")), "{driver}");
        assert!(found.is_current(), "{driver}");
    }
}

#[test]
fn the_id_is_the_root_of_the_tree() {
    let mut ids = std::collections::BTreeSet::new();
    for driver in DRIVERS {
        let found = toolchain(driver);
        let mut tree = TreeBuilder::new();
        found.add_to(&mut tree).unwrap();
        assert_eq!(tree.build().root, found.id, "{driver}");
        assert!(found.entries.is_sorted_by_key(Entry::path) && found.size() > 50 << 20, "{driver}");
        ids.insert(found.id);
    }
    assert_eq!(ids.len(), DRIVERS.len(), "other drivers, other ids");
    assert_eq!(discover(Path::new("/usr/bin/gcc")).unwrap().id, toolchain("/usr/bin/gcc").id, "found twice, found the same");
}

#[test]
fn alternatives_and_users_links_lead_to_the_same_compiler() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("my-cc");
    symlink("/usr/bin/cc", &own).unwrap();
    let (cc, own) = (discover(Path::new("/usr/bin/cc")).unwrap(), discover(&own).unwrap());
    for found in [&cc, &own] {
        assert_eq!((found.family, &found.version), (Family::Gcc, &toolchain("/usr/bin/gcc").version));
        assert!(found.entries.iter().any(|entry| matches!(entry, Entry::Symlink { path, .. } if path == "/etc/alternatives/cc")));
    }
    assert!(own.entries.iter().any(|entry| entry.path().ends_with("/my-cc")));
}

#[test]
fn scripts_wrappers_and_other_programs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("gcc");
    std::fs::write(&script, "#!/bin/sh\nexec /usr/bin/gcc \"$@\"\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    refused(&script, "script for /bin/sh");
    refused(Path::new("/usr/bin/c99-gcc"), "script");
    let wrapped = dir.path().join("clang");
    symlink("/usr/bin/ccache", &wrapped).unwrap();
    refused(&wrapped, "ccache");
    refused(Path::new("/usr/bin/ls"), "no compiler");
    refused(Path::new("gcc"), "not absolute");
    refused(dir.path(), "no regular file");
    let text = dir.path().join("text");
    std::fs::write(&text, "%{!c:%{!M:%{!MM:%{!E:%{!S:").unwrap();
    refused(&text, "no ELF");
    assert!(matches!(discover(&dir.path().join("none")), Err(ToolchainError::Io { .. })));
    let circle = dir.path().join("circle");
    symlink("circle", &circle).unwrap();
    assert!(matches!(discover(&circle), Err(ToolchainError::Io { .. })));
}

/// Compiles a program that passes for a driver until it is asked.
fn pretender(dir: &Path, body: &str) -> std::path::PathBuf {
    let source = dir.join("pretender.c");
    let marks = "const char *a = \"%{!c:%{!M:%{!MM:%{!E:%{!S:\";";
    std::fs::write(&source, format!("#include <stdio.h>\n#include <unistd.h>\n{marks}\nint main(int c, char **v) {{ {body} }}\n"))
        .unwrap();
    let program = dir.join("gcc-pretender");
    let made = std::process::Command::new("/usr/bin/gcc").arg(&source).arg("-o").arg(&program).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    program
}

#[test]
fn a_compiled_wrapper_is_betrayed_by_the_driver_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    let program = pretender(dir.path(), "v[0] = \"/usr/bin/gcc\"; return execv(v[0], v);");
    refused(&program, "starts another driver, /usr/bin/gcc");
}

/// gcc for AVR turns `-mmcu=DEVICE` into `-specs=device-specs/specs-DEVICE`, found beside its own programs.
#[test]
fn specs_of_devices_belong_to_the_driver() {
    let dir = tempfile::tempdir().unwrap();
    let lib = dir.path().display();
    let body = format!(
        "if (v[1][7] == 's') printf(\"install: {lib}/\\nprograms: ={lib}/\\nlibraries: ={lib}/\\n\");
         else if (v[1][1] == 'p') printf(\"{lib}/%s\\n\", v[1] + sizeof \"-print-prog-name\");
         else fprintf(stderr, \"COLLECT_GCC=%s\\nTarget: avr\\ngcc version 5.4.0 (GCC)\\n\", v[0]);
         return 0;"
    );
    let program = pretender(dir.path(), &body);
    for name in ["cc1", "as"] {
        symlink("/usr/bin/true", dir.path().join(name)).unwrap();
    }
    let specs = dir.path().join("device-specs");
    std::fs::create_dir(&specs).unwrap();
    std::fs::write(specs.join("specs-atmega8"), "*cpp:\n\t-D__AVR_ATmega8__\n").unwrap();
    let found = discover(&program).unwrap();
    assert!(found.entries.iter().any(|entry| entry.path().ends_with("/device-specs/specs-atmega8")), "{:?}", found.entries);
    assert!(found.is_current());
    std::fs::write(specs.join("specs-atmega8"), "*cpp:\n").unwrap();
    assert!(!found.is_current());
}

#[test]
fn a_driver_that_babbles_crashes_or_fails_is_an_error_that_names_it() {
    for (body, why) in [
        ("return 0;", "names no gcc version"),
        ("fprintf(stderr, \"gcc version none\\nTarget: x\\n\"); return 0;", "names no gcc version"),
        ("return 7;", "exits with 7"),
        ("return *(volatile char *)0;", "signal 11"),
        ("for (;;) puts(\"y\");", "more than"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let program = pretender(dir.path(), body);
        match discover(&program) {
            Err(error @ ToolchainError::Probe { .. }) => {
                let text = error.to_string();
                assert!(text.contains(why) && text.contains("gcc-pretender"), "{body}: {text}");
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn a_driver_that_hangs_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let program = pretender(dir.path(), "for (;;) pause();");
    let started = std::time::Instant::now();
    let error = discover(&program).unwrap_err().to_string();
    assert!(error.contains("no answer within 10 s"), "{error}");
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
}

fn discover_with(driver: &str, variables: &[(&str, &str)], args: &[&str]) -> Toolchain {
    let mut env = LookupEnv::from_pairs(variables.iter().copied().chain(ENVIRONMENT));
    env.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    Toolchain::discover(Path::new(driver), &env, &mut DigestCache::new())
        .unwrap_or_else(|error| panic!("{driver} {args:?}: {error}"))
}

fn has(toolchain: &Toolchain, end: &str) -> bool {
    toolchain.entries.iter().any(|entry| entry.path().ends_with(end))
}

#[test]
fn options_select_other_files() {
    let plain = toolchain("/usr/bin/clang-19");
    let cross = discover_with("/usr/bin/clang-19", &[], &["--target=aarch64-linux-gnu"]);
    assert_eq!(cross.target, "aarch64-unknown-linux-gnu");
    assert!(
        has(&cross, "/gcc-cross/aarch64-linux-gnu/12/crtbegin.o") && !has(&plain, "/gcc-cross/aarch64-linux-gnu/12/crtbegin.o")
    );

    let dir = tempfile::tempdir().unwrap();
    std::fs::copy("/usr/bin/as", dir.path().join("as")).unwrap();
    let prefixed = discover_with("/usr/bin/gcc", &[], &["-B", dir.path().to_str().unwrap()]);
    let own = format!("{}/as", dir.path().canonicalize().unwrap().display());
    assert!(has(&prefixed, &own) && !has(&prefixed, "/usr/bin/as"), "{:?}", prefixed.entries);

    let converting = discover_with("/usr/bin/gcc", &[], &["-fexec-charset=IBM1047"]);
    assert!(has(&converting, "/gconv/UTF-16.so") && !has(&toolchain("/usr/bin/gcc"), "/gconv/UTF-16.so"));
}

#[test]
fn the_locale_selects_its_files() {
    let plain = toolchain("/usr/bin/gcc");
    assert_eq!(discover_with("/usr/bin/gcc", &[("LC_ALL", "C")], &[]).id, plain.id, "C and C.UTF-8 users share");
    assert_eq!(discover_with("/usr/bin/gcc", &[("LC_ALL", "POSIX"), ("LANGUAGE", "de")], &[]).id, plain.id);
    let german = discover_with("/usr/bin/gcc", &[("LC_ALL", "de_DE.UTF-8")], &[]);
    for path in [
        "/usr/lib/locale/locale-archive",
        "/usr/lib/locale/de_DE.utf8/LC_CTYPE",
        "/usr/share/locale/de/LC_MESSAGES/gcc-12.mo",
        "/usr/share/locale/de_DE/LC_MESSAGES/gas.mo",
    ] {
        assert!(german.notices(Path::new(path)) || has(&german, path), "{path}");
        assert!(!plain.notices(Path::new(path)) && !has(&plain, path), "{path}");
    }
    let latin = discover_with("/usr/bin/gcc", &[("LC_ALL", "de_DE.ISO-8859-1")], &[]);
    assert!(has(&latin, "/gconv/ISO8859-1.so"), "messages are converted");
}
