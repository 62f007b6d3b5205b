//! A toolchain that changed is noticed: programs, links, specs, whole directories behind links. And one that did not is not.

use crate::support::ENVIRONMENT;
use kiln_toolchain::{DigestCache, LookupEnv, Toolchain};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const TRIPLE: &str = "x86_64-linux-gnu";

/// A gcc installation of its own: the real driver, which finds its programs beside itself, and small programs in their places.
struct Installation {
    dir: tempfile::TempDir,
}

impl Installation {
    fn new() -> Installation {
        let installation = Installation { dir: tempfile::tempdir().unwrap() };
        installation.fill("gcc-1");
        symlink("gcc-1", installation.path("current")).unwrap();
        std::fs::create_dir(installation.path("bin")).unwrap();
        symlink("../current/bin/gcc", installation.path("bin/gcc")).unwrap();
        installation
    }

    fn fill(&self, version: &str) {
        let programs = self.path(version).join(format!("lib/gcc/{TRIPLE}/12"));
        std::fs::create_dir_all(&programs).unwrap();
        std::fs::create_dir_all(self.path(version).join("bin")).unwrap();
        std::fs::copy("/usr/bin/gcc-12", self.path(version).join("bin/gcc")).unwrap();
        for (name, from) in [("cc1", "true"), ("cc1plus", "true"), ("as", "false"), ("lto-wrapper", "true")] {
            std::fs::copy(format!("/usr/bin/{from}"), programs.join(name)).unwrap();
        }
    }

    fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(below)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.path(format!("gcc-1/lib/gcc/{TRIPLE}/12/{name}"))
    }

    fn discover(&self) -> Toolchain {
        let path = format!("{}:/usr/bin", self.path("tools").display());
        let env =
            LookupEnv::from_pairs(ENVIRONMENT.into_iter().filter(|(name, _)| *name != "PATH").chain([("PATH", path.as_str())]));
        Toolchain::discover(&self.path("bin/gcc"), &env, &mut DigestCache::new()).unwrap()
    }
}

/// Makes a change and requires that it is noticed, by who found the toolchain and by who reads of it, and that it gives another identity where it can give another object.
#[track_caller]
fn noticed(change: impl FnOnce(&Installation), is_other: bool) {
    let installation = Installation::new();
    let before = installation.discover();
    assert!(before.is_current() && before.is_current());
    assert!(before.entries.iter().any(|entry| entry.path().ends_with("/12/cc1")), "it finds its own programs");
    let record = before.encode().unwrap();
    assert!(Toolchain::decode(&record).unwrap().is_current(), "a record of it holds");
    change(&installation);
    assert!(!before.is_current(), "the change is noticed");
    let read = Toolchain::decode(&record).unwrap();
    assert_eq!((&read.entries, read.id), (&before.entries, before.id));
    assert!(!read.is_current(), "the change is noticed by who reads the record later");
    let after = installation.discover();
    assert!(after.is_current());
    assert_eq!(after.id != before.id, is_other);
}

fn replace(path: &Path, with: &str) {
    let aside = path.with_extension("new");
    std::fs::copy(with, &aside).unwrap();
    std::fs::rename(&aside, path).unwrap();
}

#[test]
fn a_program_replaced_is_noticed() {
    noticed(|installation| replace(&installation.program("cc1plus"), "/usr/bin/false"), true);
    noticed(|installation| replace(&installation.program("as"), "/usr/bin/true"), true);
}

#[test]
fn a_program_written_over_with_the_same_size_and_time_is_noticed() {
    let change = |installation: &Installation| {
        let path = installation.program("cc1");
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    };
    noticed(change, true);
}

#[test]
fn a_program_that_appears_earlier_is_noticed() {
    let before_it = |installation: &Installation| {
        std::fs::create_dir(installation.path("tools")).unwrap();
        std::fs::copy("/usr/bin/true", installation.path("tools/objcopy")).unwrap();
    };
    noticed(before_it, true);
    let beside_it = |installation: &Installation| {
        std::fs::copy("/usr/bin/true", installation.program("objcopy")).unwrap();
    };
    noticed(beside_it, true);
}

#[test]
fn a_program_that_goes_is_noticed() {
    noticed(|installation| std::fs::remove_file(installation.program("cc1plus")).unwrap(), true);
}

#[test]
fn an_upgrade_behind_a_link_is_noticed() {
    let change = |installation: &Installation| {
        installation.fill("gcc-2");
        std::fs::copy("/usr/bin/false", installation.path(format!("gcc-2/lib/gcc/{TRIPLE}/12/cc1"))).unwrap();
        std::fs::remove_file(installation.path("current")).unwrap();
        symlink("gcc-2", installation.path("current")).unwrap();
    };
    noticed(change, true);
}

#[test]
fn a_directory_put_in_the_place_of_another_is_noticed() {
    let change = |installation: &Installation| {
        installation.fill("gcc-2");
        std::fs::copy("/usr/bin/false", installation.path(format!("gcc-2/lib/gcc/{TRIPLE}/12/cc1"))).unwrap();
        std::fs::rename(installation.path("gcc-1"), installation.path("old")).unwrap();
        std::fs::rename(installation.path("gcc-2"), installation.path("gcc-1")).unwrap();
    };
    noticed(change, true);
}

#[test]
fn the_drivers_link_turned_elsewhere_is_noticed() {
    let change = |installation: &Installation| {
        std::fs::remove_file(installation.path("bin/gcc")).unwrap();
        symlink("../gcc-1/bin/gcc", installation.path("bin/gcc")).unwrap();
    };
    noticed(change, true);
}

#[test]
fn a_specs_file_that_appears_is_noticed_and_entered() {
    let specs = |installation: &Installation| {
        let dumped = std::process::Command::new("/usr/bin/gcc").arg("-dumpspecs").output().unwrap().stdout;
        std::fs::write(installation.program("specs"), dumped).unwrap();
    };
    noticed(specs, true);
    let installation = Installation::new();
    specs(&installation);
    assert!(installation.discover().entries.iter().any(|entry| entry.path().ends_with("/12/specs")));
}

#[test]
fn a_touched_file_is_asked_about_again_and_is_the_same() {
    let touch = |installation: &Installation| {
        let file = std::fs::File::options().append(true).open(installation.program("cc1")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    };
    noticed(touch, false);
}

#[test]
fn other_files_beside_it_change_nothing() {
    let installation = Installation::new();
    std::fs::create_dir(installation.path("tools")).unwrap();
    let toolchain = installation.discover();
    std::fs::write(installation.program("readme"), "x").unwrap();
    std::fs::write(installation.path("bin/readme"), "x").unwrap();
    assert!(toolchain.is_current() && toolchain.is_current());
    std::fs::write(installation.path("tools/unrelated"), "x").unwrap();
    assert!(toolchain.is_current());
    std::fs::copy("/usr/bin/true", installation.path("tools/as")).unwrap();
    assert!(toolchain.is_current(), "the driver finds its own `as` first");
}

#[test]
fn a_path_relative_to_the_working_directory_is_refused() {
    let env = LookupEnv { path: ".:/usr/bin".into(), ..LookupEnv::default() };
    let error = Toolchain::discover(Path::new("/usr/bin/gcc"), &env, &mut DigestCache::new()).unwrap_err().to_string();
    assert!(error.contains("relative to the working directory"), "{error}");
}

#[test]
fn a_configuration_file_of_clang_is_noticed_and_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    symlink("/usr/lib/llvm-19/lib", dir.path().join("lib")).unwrap();
    std::fs::copy("/usr/lib/llvm-19/bin/clang", bin.join("clang")).unwrap();
    let (driver, env) = (bin.join("clang"), LookupEnv::from_pairs(ENVIRONMENT));
    let found = Toolchain::discover(&driver, &env, &mut DigestCache::new()).unwrap();
    assert!(found.is_current());
    std::fs::write(bin.join("clang.cfg"), "-DX=1\n").unwrap();
    assert!(!found.is_current());
    let error = Toolchain::discover(&driver, &env, &mut DigestCache::new()).unwrap_err().to_string();
    assert!(error.contains("reads the configuration file"), "{error}");
}
