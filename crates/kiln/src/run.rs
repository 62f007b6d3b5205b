//! Becomes the real compiler. Knows the few variables and the one argument that differ from what the build gave.

use std::ffi::CStr;
use std::io;

use kiln_frame::sys;

use crate::environment::Environment;
use crate::environment::name;
use crate::notice;

/// Exit code where the command does not exist, as a shell gives it.
pub(crate) const EXIT_NOT_FOUND: i32 = 127;

/// Exit code where the command cannot be executed, as a shell gives it.
const EXIT_NOT_EXECUTABLE: i32 = 126;

/// A command to become.
pub(crate) struct Command<'a> {
    /// Absolute path of the program; `argv[0]` too.
    pub(crate) program: &'a [u8],
    /// The arguments after `argv[0]`.
    pub(crate) args: &'a [&'a CStr],
    /// The environment, masquerade directory already out of PATH.
    pub(crate) env: Environment,
    /// How many wrappers are above.
    pub(crate) depth: u32,
}

impl Command<'_> {
    /// Executes the command, with the slot's token where one was granted. Never returns.
    pub(crate) fn exec(self, slot: Option<&[u8]>) -> ! {
        let args = self.args;
        self.exec_with(args, slot)
    }

    /// The same with other arguments.
    pub(crate) fn exec_with(mut self, args: &[&CStr], slot: Option<&[u8]>) -> ! {
        let plain = self.env.clone();
        self.env.set(name::DEPTH, (self.depth + 1).to_string().as_bytes());
        if let Some(token) = slot {
            self.env.set(name::SLOT, &slot_value(token));
        }
        let error = self.try_exec(args, &self.env);
        // Two more variables can be what the kernel's limit has no room for.
        let error = if error.raw_os_error() == Some(ARGUMENTS_TOO_LONG) { self.try_exec(args, &plain) } else { error };
        notice::line(&format!("cannot run {}: {error}", String::from_utf8_lossy(self.program)));
        std::process::exit(if error.kind() == io::ErrorKind::NotFound { EXIT_NOT_FOUND } else { EXIT_NOT_EXECUTABLE })
    }

    fn try_exec(&self, args: &[&CStr], env: &Environment) -> io::Error {
        let program = match sys::c_string(self.program) {
            Ok(program) => program,
            Err(error) => return error,
        };
        let env = env.c_strings();
        let argv: Vec<&CStr> = [program.as_c_str()].into_iter().chain(args.iter().copied()).collect();
        let error = sys::exec(&program, &argv, &env);
        if error.raw_os_error() != Some(NOT_A_PROGRAM) {
            return error;
        }
        // A script without a first line that names its interpreter, as a shell would run it.
        let shell: Vec<&CStr> = [c"/bin/sh"].into_iter().chain(argv).collect();
        sys::exec(c"/bin/sh", &shell, &env)
    }
}

/// Becomes `file` in the command's place, which still goes by the command's name. Returns where that cannot be.
pub(crate) fn exec_as(file: &[u8], command: &Command<'_>) {
    let (Ok(file), Ok(name)) = (sys::c_string(file), sys::c_string(command.program)) else { return };
    let argv: Vec<&CStr> = [name.as_c_str()].into_iter().chain(command.args.iter().copied()).collect();
    sys::exec(&file, &argv, &command.env.c_strings());
}

/// `E2BIG` of Linux.
const ARGUMENTS_TOO_LONG: i32 = 7;

/// `ENOEXEC` of Linux.
const NOT_A_PROGRAM: i32 = 8;

/// What `KILN_SLOT` holds: the token, and this process, which keeps its pid over `exec` and with it the slot.
fn slot_value(token: &[u8]) -> Vec<u8> {
    let pid = std::process::id();
    let start = sys::start_time(pid).unwrap_or(0);
    [token, format!(":{pid}:{start}").as_bytes()].concat()
}

/// What is known of the slot that `KILN_SLOT` names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SlotAbove<'a> {
    /// None is named, or its holder has ended: the variable outlived it.
    None,
    /// A live process above holds it.
    Held(&'a [u8]),
    /// /proc does not tell; the daemon may know the token.
    Unknown(&'a [u8]),
}

/// Judges the value of `KILN_SLOT`.
pub(crate) fn slot_above(value: Option<&[u8]>) -> SlotAbove<'_> {
    let Some(value) = value else { return SlotAbove::None };
    let mut parts = value.rsplitn(3, |byte| *byte == b':');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u64>().ok();
    let (Some(start), Some(pid)) = (number(), number()) else { return SlotAbove::None };
    let Some(token) = parts.next() else { return SlotAbove::None };
    if sys::start_time(std::process::id()).is_none() {
        return SlotAbove::Unknown(token);
    }
    match u32::try_from(pid).ok().and_then(sys::start_time) {
        Some(actual) if actual == start => SlotAbove::Held(token),
        _ => SlotAbove::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_counts_while_its_holder_lives() {
        let held = slot_value(b"to:ken");
        assert_eq!(slot_above(Some(&held)), SlotAbove::Held(b"to:ken"));
        let pid = std::process::id();
        let other_start = format!("token:{pid}:1");
        assert_eq!(slot_above(Some(other_start.as_bytes())), SlotAbove::None);
        assert_eq!(slot_above(Some(b"token:4294967295:7")), SlotAbove::None);
        assert_eq!(slot_above(Some(b"junk")), SlotAbove::None);
        assert_eq!(slot_above(Some(b"")), SlotAbove::None);
        assert_eq!(slot_above(None), SlotAbove::None);
    }
}
