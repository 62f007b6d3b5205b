//! A toolchain alone in a root, with the headers the compiler lists, compiles byte for byte as on the machine itself.

use crate::support::{DRIVERS, ENVIRONMENT, environment, run, sources, strings, toolchain, unit_of};
use kiln_toolchain::{DigestCache, Entry, LookupEnv, Toolchain, list_inputs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::Output;

/// Copies `path` of this machine into `root`, with every link and directory on the way.
fn lay_path(root: &Path, path: &Path) {
    let mut walked = PathBuf::from("/");
    let mut pending: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(next) = pending.pop() {
        let mut components = next.components();
        let Some(first) = components.next() else { continue };
        let rest = components.as_path().to_owned();
        pending.push(rest);
        let Component::Normal(name) = first else {
            match first {
                Component::RootDir => walked = PathBuf::from("/"),
                Component::ParentDir => drop(walked.pop()),
                _ => {}
            }
            continue;
        };
        let child = walked.join(name);
        let metadata = std::fs::symlink_metadata(&child).unwrap_or_else(|error| panic!("{}: {error}", child.display()));
        let inside = root.join(child.strip_prefix("/").unwrap());
        if metadata.is_symlink() {
            let target = std::fs::read_link(&child).unwrap();
            if std::fs::symlink_metadata(&inside).is_err() {
                std::os::unix::fs::symlink(&target, &inside).unwrap();
            }
            pending.push(target);
        } else if metadata.is_dir() {
            std::fs::create_dir_all(&inside).unwrap();
            walked = child;
        } else if !inside.exists() {
            std::fs::copy(&child, &inside).unwrap();
        }
    }
}

fn lay_toolchain(root: &Path, toolchain: &Toolchain) {
    for entry in &toolchain.entries {
        let inside = root.join(entry.path().trim_start_matches('/'));
        std::fs::create_dir_all(inside.parent().unwrap()).unwrap();
        match entry {
            Entry::Directory { .. } => std::fs::create_dir_all(&inside).unwrap(),
            Entry::Symlink { path, target } => {
                std::os::unix::fs::symlink(kiln_cas::relative_link(path, target), &inside).unwrap();
            }
            Entry::File { path, executable, .. } => {
                std::fs::copy(path, &inside).unwrap();
                let mode = if *executable { 0o555 } else { 0o444 };
                std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
}

/// Runs a compile in the root alone: no other file system, no network, addresses not randomised.
fn jailed(root: &Path, work: &Path, search_path: &str, command: &[&str]) -> Output {
    let (root, work) = (root.to_str().unwrap(), work.to_str().unwrap());
    let setup =
        ["/usr/bin/setarch", "-R", "/usr/bin/bwrap", "--unshare-all", "--die-with-parent", "--bind", root, "/", "--dev", "/dev"];
    let inner = ["--proc", "/proc", "--chdir", work, "--setenv", "PATH", search_path, "--"];
    run(&[&setup[..], &inner[..], command].concat(), Path::new("/"))
}

struct Job {
    driver: &'static str,
    args: &'static [&'static str],
    outputs: &'static [&'static str],
}

fn check(job: &Job) {
    check_with(job, &toolchain(job.driver));
}

fn check_with(job: &Job, toolchain: &Toolchain) {
    let (dir, work) = sources();
    let root = dir.path().join("root");
    lay_toolchain(&root, toolchain);
    std::fs::create_dir_all(root.join("tmp")).unwrap();
    lay_path(&root, &work);
    let unit = unit_of(job.driver);
    let args = [job.args, &["-c", unit, "-o", "out.o"]].concat();
    let inputs = list_inputs(toolchain, &strings(&args), &environment(), &work).unwrap();
    assert!(inputs.len() > 5 && inputs.iter().any(|name| name == unit), "{inputs:?}");
    for input in &inputs {
        lay_path(&root, &work.join(input));
    }
    let command = [&[job.driver], &args[..]].concat();
    let local = run(&[&["/usr/bin/setarch", "-R"], &command[..]].concat(), &work);
    let jailed = jailed(&root, &work, &toolchain.search_path, &command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&jailed.stderr), text(&local.stderr), "{command:?}");
    assert!(local.status.success() && jailed.status.success(), "{command:?}: {}", text(&local.stderr));
    assert!(!local.stderr.is_empty(), "the unit is made to be warned about");
    for output in job.outputs {
        let read = |path: PathBuf| std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let inside = read(root.join(work.strip_prefix("/").unwrap()).join(output));
        assert!(read(work.join(output)) == inside, "{command:?}: {output} differs");
    }
}

#[test]
fn every_compiler_compiles_in_its_own_root_as_here() {
    for driver in DRIVERS {
        check(&Job { driver, args: &["-O2", "-g", "-Wall", "-MD"], outputs: &["out.o", "out.d"] });
    }
}

#[test]
fn split_debug_information_coverage_and_sanitizers_need_nothing_else() {
    for driver in ["/usr/bin/gcc", "/usr/bin/clang++-14", "/usr/bin/clang++-19", "/usr/bin/aarch64-linux-gnu-gcc"] {
        check(&Job { driver, args: &["-g", "-gsplit-dwarf", "-Wall"], outputs: &["out.o", "out.dwo"] });
    }
    for driver in ["/usr/bin/g++", "/usr/bin/clang-19"] {
        let args = &["-O1", "-Wall", "--coverage", "-frandom-seed=1", "-fsanitize=address,undefined", "-fopenmp"];
        check(&Job { driver, args, outputs: &["out.o", "out.gcno"] });
        check(&Job { driver, args: &["-O2", "-Wall", "-flto", "-frandom-seed=1"], outputs: &["out.o"] });
    }
}

#[test]
fn the_systems_assembler_and_old_targets_need_nothing_else() {
    for driver in ["/usr/bin/clang-14", "/usr/bin/clang-19"] {
        check(&Job { driver, args: &["-O2", "-Wall", "-fno-integrated-as"], outputs: &["out.o"] });
    }
    check(&Job { driver: "/usr/bin/gcc", args: &["-O2", "-Wall", "-save-temps"], outputs: &["out.o", "out.s", "out.i"] });
}

#[test]
fn character_sets_come_with_the_option_that_names_them() {
    let mut env = LookupEnv::from_pairs(ENVIRONMENT);
    env.args = strings(&["-fexec-charset=IBM1047"]);
    let toolchain = Toolchain::discover(Path::new("/usr/bin/gcc"), &env, &mut DigestCache::new()).unwrap();
    check_with(&Job { driver: "/usr/bin/gcc", args: &["-O2", "-Wall", "-fexec-charset=IBM1047"], outputs: &["out.o"] }, &toolchain);
}

#[test]
fn without_its_character_table_gcc_says_something_else() {
    let toolchain = toolchain("/usr/bin/gcc");
    let (dir, work) = sources();
    let root = dir.path().join("root");
    lay_toolchain(&root, &toolchain);
    std::fs::create_dir_all(root.join("tmp")).unwrap();
    std::fs::write(work.join("bare.c"), "int f(void) { return x; }\n").unwrap();
    lay_path(&root, &work.join("bare.c"));
    lay_path(&root, Path::new("/usr/include/stdc-predef.h"));
    let command = ["/usr/bin/gcc", "-c", "bare.c"];
    let whole = jailed(&root, &work, &toolchain.search_path, &command);
    std::fs::remove_file(root.join("usr/lib/locale/C.utf8/LC_CTYPE")).unwrap();
    let without = jailed(&root, &work, &toolchain.search_path, &command);
    assert_eq!(whole.stderr, run(&command, &work).stderr);
    assert_ne!(whole.stderr, without.stderr, "the test sees what a missing file does");
}
