//! Runs every other test once more without root.

use super::support::helper;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// `nobody`.
const UID: &str = "65534";

#[test]
fn everything_holds_for_an_ordinary_user_too() {
    if !rustix::process::geteuid().is_root() {
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
    let output = command.output().expect("the tests need setpriv");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    // The run was one with as many tests as this one, not an empty one.
    let ran = text.lines().filter(|line| line.starts_with("test ") && line.ends_with("... ok")).count();
    assert!(ran > 50, "{ran} tests ran\n{text}");
}
