//! Runs every other test once more without root.

use super::support::helper;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// `nobody`.
const UID: &str = "65534";

/// Set in a run that another one has begun.
const WITHIN: &str = "KILN_TEST_WITHIN";

#[test]
fn jobs_run_for_the_root_of_a_namespace_with_one_user() {
    if std::env::var_os(WITHIN).is_some_and(|within| within == "namespace") {
        return;
    }
    // Root in name only: no other user exists to become, and none to give files to.
    let tests = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["-Urnm", "--"]).arg(&tests).args([
        "--test-threads",
        "2",
        "jobs::",
        "containment::inputs",
        "compile::gcc",
        "layout::by",
    ]);
    run(command.env(WITHIN, "namespace"), 15);
}

#[test]
fn everything_holds_for_an_ordinary_user_too() {
    if !rustix::process::geteuid().is_root() || std::env::var_os(WITHIN).is_some() {
        // This is that run, or one that an ordinary user began.
        return;
    }
    // Nothing below the build directory need be readable for others.
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (tests, server) = (dir.path().join("tests"), dir.path().join("server"));
    std::fs::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    std::fs::copy(helper(), &server).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", UID, "--regid", UID, "--clear-groups", "--"]).arg(&tests).args(["--test-threads", "2"]);
    command.current_dir("/").env("KILN_TEST_HELPER", &server).env("HOME", "/nonexistent");
    run(&mut command, 60);
}

/// Runs tests and expects at least so many to have passed, and none to have failed.
fn run(command: &mut Command, least: usize) {
    let output = command.output().expect("the tests need setpriv and unshare");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let ran = text.lines().filter(|line| line.starts_with("test ") && line.ends_with("... ok")).count();
    assert!(ran >= least, "{ran} tests ran\n{text}");
}
