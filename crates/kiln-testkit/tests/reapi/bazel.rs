//! Bazel through the scheduler's front door. Knows it by its command line and last line.

use kiln_testkit::{Layout, Network, Ran, TestFarm, binary, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// In which Bazel ends, on a machine that does much else.
const BAZEL_MAX: Duration = Duration::from_secs(300);
/// Actions of the workspace: twelve of genrules, two compiles, an archive or two and a link.
const ACTIONS_MIN: u32 = 15;

struct Workspace {
    dir: tempfile::TempDir,
}

impl Workspace {
    fn new() -> Workspace {
        let dir = tempfile::tempdir().expect("a directory");
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("bazel"), &dir.path().join("workspace"));
        Workspace { dir }
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("workspace")
    }

    /// Builds all from clean.
    fn bazel(&self, farm: &TestFarm, more: &[&str]) -> Ran {
        let token = fs::read_to_string(farm.dir().join("user.token")).expect("a token");
        let secret = token.split_whitespace().next_back().expect("a secret");
        let output = self.dir.path().join("output");
        let bazel = |words: &[&str]| {
            let mut command = Command::new("bazel");
            command.arg(format!("--output_user_root={}", output.display())).arg("--batch").args(words).current_dir(self.at());
            run(&mut command, BAZEL_MAX)
        };
        let _ = bazel(&["clean"]).ok();
        let executor = format!("--remote_executor=grpc://{}", farm.schedulers());
        let header = format!("--remote_header=authorization=Bearer {secret}");
        let rules = format!("--override_repository=rules_cc={}", self.at().join("rules_cc").display());
        let java = "--override_repository=rules_java=/usr/share/bazel/rules/java";
        let words = ["build", "//...", "--spawn_strategy=remote", "--noshow_progress", &executor, &header, &rules, java];
        bazel(&[&words[..], more].concat())
    }

    /// The same, which must go well; how many actions ran remotely, and how many had a result in the cache.
    #[track_caller]
    fn build(&self, farm: &TestFarm, more: &[&str]) -> (u32, u32) {
        let text = self.bazel(farm, more).ok().text();
        let counted = |what: &str| {
            let summary = text.lines().find_map(|line| line.split_once("processes: ")).map_or("", |(_, rest)| rest);
            let part = summary.trim_end_matches('.').split(", ").find_map(|part| part.strip_suffix(what));
            part.map_or(0, |number| number.trim().parse().expect("a number"))
        };
        let counts = (counted(" remote"), counted(" remote cache hit"));
        let ran = run(&mut Command::new(self.at().join("bazel-bin/main")), BAZEL_MAX).ok();
        assert_eq!(ran.stdout, b"42\n");
        assert_eq!(fs::read(self.at().join("bazel-bin/sorted7.txt")).expect("a product"), b"a\nb\nc\n7\n");
        counts
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a listing") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), &to).expect("a copy")),
        }
    }
}

/// Bazel's actions see the worker's own `/usr`, which they do not name: they are spread over all workers, and none is ever another's.
#[test]
fn bazel_builds_on_all_workers_and_keeps_nothing_that_names_no_files() {
    let farm = TestFarm::start(Layout { workers: 3, network: Network::Tcp, ..Layout::default() });
    let workspace = Workspace::new();
    let (remote, hits) = workspace.build(&farm, &[]);
    assert!(remote >= ACTIONS_MIN, "{remote} remote");
    assert_eq!(hits, 0);
    let status = farm.status();
    let workers = status["farm"]["workers"].as_array().expect("workers").iter().filter(|node| node["kind"] == "worker");
    for worker in workers {
        assert!(worker["done"].as_u64() > Some(1), "{worker}");
    }
    assert_eq!(workspace.build(&farm, &[]), (remote, 0));
    // Files that no worker has.
    let other = format!("--remote_default_exec_properties=kiln-host-root={}", "0".repeat(64));
    let refused = workspace.bazel(&farm, &[&other]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.text().contains("kiln-host-root of this worker is"), "{}", refused.text());
}

/// Where the actions name the workers' files, and these are the same on both, results are everyone's.
#[test]
fn bazel_finds_results_that_name_the_files_they_saw() {
    if std::env::var_os("KILN_SOAK").is_none() {
        // Every byte below /usr is read, on each worker.
        return;
    }
    let farm = TestFarm::start(Layout { workers: 1, network: Network::Tcp, ..Layout::default() });
    let workspace = Workspace::new();
    let digest = run(Command::new(binary("kilnd")).arg("host-root"), BAZEL_MAX).ok().text();
    let named = format!("--remote_default_exec_properties=kiln-host-root={}", digest.trim());
    let (remote, _) = workspace.build(&farm, &[&named]);
    assert!(remote >= ACTIONS_MIN, "{remote} remote");
    kiln_testkit::await_for("all results in the cache", BAZEL_MAX, || {
        (workspace.build(&farm, &[&named]) == (0, remote)).then_some(())
    });
}
