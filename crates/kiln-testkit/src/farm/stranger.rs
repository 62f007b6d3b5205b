//! Workers of another user than the one who runs the tests: what he must be able to reach, and nothing else. Starts nothing.

use super::{TestFarm, bare, binary};
use rustix::fs::{Gid, Uid};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// The user and group `nobody`: without a home, a shell, files, or subordinate users.
const NOBODY: u32 = 65534;

impl TestFarm {
    /// Whether workers are run by another user: only root can do that.
    pub(super) fn with_strangers(&self) -> bool {
        self.layout.strangers && rustix::process::getuid().is_root()
    }

    fn stranger_program(&self) -> PathBuf {
        self.dir.join("kilnd")
    }

    /// Gives `name` a directory of his with the credentials in it, and the program where he can read it; his variables.
    pub(super) fn settle_stranger(&self, name: &str) -> Vec<(String, String)> {
        // He passes through this directory and lists nothing of it.
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o711)).expect("a mode");
        if !self.stranger_program().exists() {
            let _ = fs::copy(binary("kilnd"), self.stranger_program()).expect("a copy of kilnd");
        }
        let home = self.dir.join(name);
        fs::create_dir(&home).expect("a directory");
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("a mode");
        let mut variables = vec![("HOME".to_owned(), home.display().to_string())];
        let mut paths = vec![home.clone()];
        for (variable, file) in [("KILN_AUTH_CREDENTIALS", "credentials"), ("KILN_AUTH_TOKEN_FILE", "worker.token")] {
            let path = home.join(file);
            let _ = fs::copy(self.dir.join(file), &path).expect("a copy of the credentials");
            variables.push((variable.to_owned(), path.display().to_string()));
            paths.push(path);
        }
        for path in paths {
            rustix::fs::chown(&path, Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY))).expect("an owner");
        }
        variables
    }

    /// `kilnd` as that user.
    pub(super) fn as_stranger(&self) -> Command {
        let mut command = bare("setpriv");
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(self.stranger_program());
        command
    }
}
