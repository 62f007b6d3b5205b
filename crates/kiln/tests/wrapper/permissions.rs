//! Runs tests again as an ordinary user, since to root every file can be written, or with file systems of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use kiln_frame::sys;

use crate::home::Home;
use crate::home::UNDER_TEST;
use crate::home::install;

/// A user and group that own nothing and that nothing else runs as: processes of `nobody` would count against its limit.
const NOBODY: &str = "64123";

/// True when this process is an ordinary user, and `test` goes on. To root, runs `test` again as one, and gives false.
#[track_caller]
pub(crate) fn as_ordinary_user(test: &str) -> bool {
    if sys::ids().euid != 0 {
        return true;
    }
    let drop_rights = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    again(&drop_rights, test);
    false
}

/// True in a mount namespace that belongs to this test alone; else runs `test` again in one, and gives false.
#[track_caller]
pub(crate) fn with_own_mounts(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    again(&["unshare", "-Urm"], test);
    false
}

/// Set in a run that has its own mounts.
const INSIDE: &str = "KILN_TEST_OWN_MOUNTS";

#[track_caller]
fn again(by: &[&str], test: &str) {
    let home = Home::new();
    let copy = home.dir.join("test");
    install(&std::env::current_exe().unwrap(), &copy);
    fs::set_permissions(&home.dir, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(by[0]);
    command.args(&by[1..]).arg(copy).args(["--exact", test, "--nocapture"]);
    let output = command.env(UNDER_TEST, home.kiln()).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
