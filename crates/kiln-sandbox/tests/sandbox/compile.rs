//! Real compiles in roots made of nothing but the toolchain's files and the source: the same bytes as outside.

use super::support::{Farm, add_gcc, add_path};
use kiln_cas::TreeBuilder;
use kiln_sandbox::{Ending, JobOutcome, JobSpec, RootMode};
use std::path::Path;
use std::process::Command;

/// A place outside, where the local compile runs, and the same place inside.
struct Project {
    farm: Farm,
    tree: TreeBuilder,
    dir: tempfile::TempDir,
}

impl Project {
    fn new(files: &[(&str, &str)]) -> Project {
        let (farm, dir) = (Farm::new(), tempfile::tempdir().unwrap());
        let mut tree = TreeBuilder::new();
        add_gcc(&mut tree, &farm.store);
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            add_path(&mut tree, &farm.store, &path);
        }
        Project { farm, tree, dir }
    }

    fn spec(&self, args: &[&str], outputs: &[&str]) -> JobSpec {
        JobSpec {
            argv: ["/usr/bin/gcc"].iter().chain(args).map(|arg| (*arg).to_owned()).collect(),
            env: environment(),
            cwd: self.dir.path().to_str().unwrap().to_owned(),
            outputs: outputs.iter().map(|output| (*output).to_owned()).collect(),
            ..self.farm.job(&self.tree, &[])
        }
    }

    fn remote(&self, args: &[&str], outputs: &[&str]) -> JobOutcome {
        let mut spec = self.spec(args, outputs);
        spec.mode = RootMode::Chroot;
        spec.limits.memory_bytes = 2 << 30;
        self.farm.run(spec)
    }

    /// Compiles outside, without address randomisation, and inside, and compares all there is.
    #[track_caller]
    fn same(&self, args: &[&str], outputs: &[&str]) {
        for name in outputs {
            let _ = std::fs::remove_file(self.dir.path().join(name));
        }
        let local = Command::new("setarch")
            .args(["-R", "/usr/bin/gcc"])
            .args(args)
            .current_dir(&self.dir)
            .env_clear()
            .envs(environment())
            .output();
        let local = local.expect("the tests need setarch");
        let mut remote = self.remote(args, outputs);
        let text = String::from_utf8_lossy(&local.stderr).into_owned();
        assert_eq!(remote.ending, Ending::Exited(local.status.code().unwrap()), "{text}\n{remote:?}");
        assert_eq!(String::from_utf8_lossy(&remote.stderr), text);
        assert_eq!(remote.stdout, local.stdout);
        for name in outputs {
            let expected = std::fs::read(self.dir.path().join(name)).ok();
            let position = remote.outputs.iter().position(|output| output.path == *name);
            let found =
                position.map(|at| std::io::Read::bytes(&mut remote.outputs[at].file).map(Result::unwrap).collect::<Vec<u8>>());
            assert!(found == expected, "{name} differs: {:?} and {:?} bytes", found.map(|f| f.len()), expected.map(|f| f.len()));
        }
        self.farm.store.verify();
    }
}

fn environment() -> Vec<(String, String)> {
    vec![("PATH".into(), "/usr/bin:/bin".into()), ("LC_ALL".into(), "C.UTF-8".into())]
}

const SOURCE: &str = "#include \"inc/a.h\"\nstatic int unused;\nint f(int x) { if (x = 1) return A; return x / 0; }\n";

#[test]
fn gcc_makes_the_same_files_and_says_the_same() {
    let project = Project::new(&[("a.c", SOURCE), ("inc/a.h", "#define A 42\n")]);
    let files = ["a.o", "a.d", "a.su", "a.dwo"];
    project.same(&["-c", "a.c", "-o", "a.o", "-O2", "-g", "-Wall", "-Wextra", "-MD", "-fstack-usage"], &files[..3]);
    project.same(&["-c", "a.c", "-o", "a.o", "-O2", "-gsplit-dwarf", "-Wall"], &files);
    project.same(&["-S", "a.c", "-o", "a.s"], &["a.s"]);
    project.same(
        &["-c", "a.c", "-o", "made/for/it/a.o"].map(|arg| if arg == "made/for/it/a.o" { "inc/a.o" } else { arg }),
        &["inc/a.o"],
    );
}

#[test]
fn a_compile_that_fails_fails_the_same_way() {
    let project = Project::new(&[("a.c", "#include \"absent.h\"\n"), ("b.c", "int f( { return 1 }\n")]);
    project.same(&["-c", "a.c", "-o", "a.o"], &["a.o"]);
    project.same(&["-c", "b.c", "-o", "b.o"], &["b.o"]);
    let outcome = project.remote(&["-c", "a.c", "-o", "a.o"], &["a.o"]);
    assert_eq!((outcome.ending, outcome.suspected), (Ending::Exited(1), None));
}

#[test]
fn once_only_files_with_the_same_content_are_told_apart() {
    // Two files with equal bytes at two paths: if they were one inode, gcc would take them for one and skip the second.
    let header = "#pragma once\nint f(void);\n#ifdef SECOND\n#error \"read twice\"\n#endif\n#define SECOND\n";
    let project = Project::new(&[("a/x.h", header), ("b/x.h", header), ("t.c", "#include \"a/x.h\"\n#include \"b/x.h\"\n")]);
    for (name, seconds) in [("a/x.h", 1_600_000_000), ("b/x.h", 1_600_000_001)] {
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        std::fs::File::open(project.dir.path().join(name)).unwrap().set_modified(time).unwrap();
    }
    let mut tree = TreeBuilder::new();
    add_gcc(&mut tree, &project.farm.store);
    for (name, seconds) in [("a/x.h", 1_600_000_000), ("b/x.h", 1_600_000_001)] {
        let digest = project.farm.store.put(header.as_bytes());
        let properties = kiln_cas::NodeProperties { mtime: Some((seconds, 0)), ..Default::default() };
        tree.file_with(project.dir.path().join(name).to_str().unwrap(), digest, false, Some(properties)).unwrap();
    }
    add_path(&mut tree, &project.farm.store, &project.dir.path().join("t.c"));
    let project = Project { tree, ..project };
    project.same(&["-c", "t.c", "-o", "t.o"], &["t.o"]);
    let outcome = project.remote(&["-c", "t.c", "-o", "t.o"], &["t.o"]);
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("read twice"));
}

#[test]
fn links_of_each_other_stay_links() {
    let header = "#pragma once\nstruct s { int a; };\n";
    let project = Project::new(&[("a/x.h", header), ("t.c", "#include \"a/x.h\"\n#include \"b/x.h\"\n")]);
    let dir = project.dir.path();
    std::fs::create_dir(dir.join("b")).unwrap();
    std::fs::hard_link(dir.join("a/x.h"), dir.join("b/x.h")).unwrap();
    let mut tree = TreeBuilder::new();
    add_gcc(&mut tree, &project.farm.store);
    add_path(&mut tree, &project.farm.store, &dir.join("t.c"));
    for name in ["a/x.h", "b/x.h"] {
        let properties =
            kiln_cas::NodeProperties { properties: vec![("link-group".into(), "1".into())], mtime: Some((1_600_000_000, 5)) };
        let digest = project.farm.store.put(header.as_bytes());
        tree.file_with(dir.join(name).to_str().unwrap(), digest, false, Some(properties)).unwrap();
    }
    Project { tree, ..project }.same(&["-c", "t.c", "-o", "t.o", "-g"], &["t.o"]);
}

#[test]
fn a_compiler_that_runs_out_of_anything_gives_no_verdict() {
    let project = Project::new(&[("a.c", SOURCE), ("inc/a.h", "#define A 42\n"), ("big.c", "char c[30 << 20] = {1};\n")]);
    let mut spec = project.spec(&["-c", "big.c", "-o", "big.o"], &["big.o"]);
    spec.limits.scratch_bytes = 4 << 20;
    let full = project.farm.run(spec);
    assert!(full.ending == Ending::LimitMet(kiln_sandbox::Limit::Disk) || full.suspected.is_some(), "{full:?}");
    let mut spec = project.spec(&["-c", "big.c", "-o", "big.o"], &["big.o"]);
    spec.limits.file_bytes = 1 << 20;
    let large = project.farm.run(spec);
    assert!(matches!(large.ending, Ending::LimitMet(_)) || large.suspected.is_some(), "{large:?}");
    let mut spec = project.spec(&["-c", "a.c", "-o", "a.o"], &["a.o"]);
    spec.limits.memory_bytes = 1 << 20;
    let memory = project.farm.run(spec);
    assert!(memory.ending != Ending::Exited(1) || memory.suspected.is_some(), "{memory:?}");
    assert!(Path::new("/usr/bin/gcc").exists());
}
