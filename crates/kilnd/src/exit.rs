//! How `kilnd` ends. Knows no reason.

use std::process::ExitCode;

/// Exit codes of `kilnd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or drained.
    Success,
    /// Something could not be done; a line on stderr says what.
    Failure,
    /// The command line or the configuration makes no sense.
    Usage,
    /// The code of a command that was run for the user.
    Command(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Command(code) => code,
        })
    }
}

/// Says one line on stderr and ends so.
pub(crate) fn say(line: &str, exit: Exit) -> Exit {
    eprintln!("kiln: {}", line.trim().replace('\n', " "));
    exit
}
