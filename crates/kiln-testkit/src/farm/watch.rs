//! Ends a farm whose test was killed: a process of its own that waits for the test's end. Knows the farm by its directory.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Started as `sh -c WATCHING sh DIR`. A word on its standard input is a farm that ended by itself; the end without one is a
/// test that did not come to it. Daemons leave the test's session, so only `KILN_DIR` tells whose they are; more than once,
/// because a wrapper may be about to start one.
const WATCHING: &str = r#"read -r ended && exit
for round in 1 2 3 4 5; do
  for environ in $(grep -lsF "KILN_DIR=$1/" /proc/[0-9]*/environ); do
    pid=${environ%/environ}
    kill -9 "${pid#/proc/}"
  done
  sleep 0.1
done
rm -rf "$1""#;

/// The watching process.
#[derive(Debug)]
pub(super) struct Watch {
    child: Child,
}

impl Watch {
    /// Watches over what runs for a farm in `dir`.
    pub(super) fn over(dir: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", WATCHING, "sh"]).arg(dir).current_dir("/");
        // Not in the test's group, which is what a test runner kills.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().expect("a shell") }
    }

    /// The farm has ended.
    pub(super) fn end(&mut self) {
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = stdin.write_all(b"ended\n");
        }
        let _ = self.child.wait();
    }
}
