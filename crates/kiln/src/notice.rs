//! What kiln says for itself: one line on stderr, the last error in a file, a warning an hour a terminal. Knows no
//! reason's meaning.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use std::time::SystemTime;

use kiln_frame::sys;

/// How long a terminal is left alone after a warning.
const WARNING_EVERY: Duration = Duration::from_secs(3600);

/// Prints `kiln: TEXT` on stderr, as one line.
pub(crate) fn line(text: &str) {
    let line = one_line(text);
    // Nothing can be done where stderr cannot be written.
    let _ = sys::write_patiently(std::io::stderr().as_fd(), line.as_bytes());
}

fn one_line(text: &str) -> String {
    let text: String = text.trim().chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    format!("kiln: {text}\n")
}

/// Warns the person, not the build: on the terminal itself, once an hour each. A compiler's stderr that goes to a pipe or
/// a file gets nothing, since build systems read it; there, the last error and `kiln status` tell.
///
/// `dir` keeps when each terminal was warned.
pub(crate) fn warn_terminal(dir: &Path, text: &str) {
    let Ok(mut terminal) = File::options().write(true).open("/dev/tty") else { return };
    let stamp = dir.join(format!("warned-{}", sys::terminal_name()));
    if is_recent(&stamp, WARNING_EVERY) {
        return;
    }
    if touch(&stamp, "") {
        sys::without_tty_stop(|| {
            let _ = terminal.write_all(one_line(text).as_bytes());
        });
    }
}

/// Whether `path` was written less than `age` ago, or lies in the future by less (a clock that was set back).
pub(crate) fn is_recent(path: &Path, age: Duration) -> bool {
    let Ok(written) = fs::metadata(path).and_then(|meta| meta.modified()) else { return false };
    match SystemTime::now().duration_since(written) {
        Ok(past) => past < age,
        Err(future) => future.duration() < age,
    }
}

/// Writes `text` to a file that only the user may read; false where that fails.
pub(crate) fn touch(path: &Path, text: &str) -> bool {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    // Truncating an empty file does not change its time; a byte does.
    file.and_then(|mut file| writeln!(file, "{text}")).is_ok()
}

/// Leaves `why` in `STATE/last-error`, for `kiln doctor`, `status` and `run`; the file's time says when.
pub(crate) fn last_error(state: &Path, why: &str) {
    let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(state);
    touch(&state.join("last-error"), one_line(why).trim_start_matches("kiln: ").trim_end());
}

/// The last error is over.
pub(crate) fn clear_last_error(state: &Path) {
    let _ = fs::remove_file(state.join("last-error"));
}
