//! A test that is killed, as a runner kills those that take too long: its farm does not outlive it.

use crate::support::START_MAX;
use kiln_testkit::{Layout, Running, TestFarm, await_for};
use rustix::process::Signal;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Names the file in which the test that is to be killed says that its farm stands: the farm's directory.
const SAYS: &str = "KILN_TEST_SAYS";

/// Processes whose `KILN_DIR` lies in `dir`.
fn of(dir: &str) -> usize {
    let mark = format!("KILN_DIR={dir}/");
    let environs = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path().join("environ"));
    let is_ours = |environ: &PathBuf| {
        let bytes = fs::read(environ).unwrap_or_default();
        bytes.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes()))
    };
    environs.filter(is_ours).count()
}

#[test]
fn a_killed_test_leaves_no_farm() {
    if let Some(says) = std::env::var_os(SAYS) {
        let farm = TestFarm::start(Layout { workers: 1, cache: false, ..Layout::default() });
        fs::write(says, farm.dir().display().to_string()).expect("a file");
        loop {
            std::thread::park();
        }
    }
    let says = tempfile::tempdir().expect("a directory");
    let path = says.path().join("says");
    let mut command = Command::new(std::env::current_exe().expect("the test's own path"));
    let test = Running::start(command.args(["--exact", "killed::a_killed_test_leaves_no_farm"]).env(SAYS, &path));
    let dir = await_for("a farm", START_MAX, || fs::read_to_string(&path).ok().filter(|dir| !dir.is_empty()));
    assert!(of(&dir) >= 3, "scheduler, worker and daemon");
    test.signal(Signal::TERM);
    await_for("all ended", START_MAX, || (of(&dir) == 0 && !PathBuf::from(&dir).exists()).then_some(()));
}
