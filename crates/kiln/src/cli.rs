//! The command line's own few answers; everything heavy is `kilnd cli`. Knows no service.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use kiln_frame::sys;

use crate::environment::Environment;
use crate::environment::name;
use crate::notice;
use crate::run::EXIT_NOT_FOUND;
use crate::start;

/// Exit code for a call that makes no sense, as shells and most tools have it.
const EXIT_USAGE: i32 = 2;

/// `kiln --version`.
pub(crate) const VERSION: &str = concat!("kiln ", env!("CARGO_PKG_VERSION"), "\n");

/// `kiln --help`.
pub const HELP: &str = "\
kiln: a compile farm and compile cache for C and C++

Put kiln in front of a compiler:
  kiln COMPILER ARGS...           compile with every machine of the farm
  kiln run [--] COMMAND...        run a build with kiln as its compilers, and say how it went
  kiln links DIR                  make links (gcc, g++, ...) to put first in PATH
  kiln local [--heavy] COMMAND... run any command under a slot of this machine

See what happens:
  kiln stats [--json] [--zero]    counters since zero
  kiln status [--json]            daemon, scheduler, workers
  kiln explain FILE | --last N    why a unit went where it went
  kiln explain --inputs FILE      what it reads, what names each file, what was sent
  kiln slots                      the -j to use
  kiln doctor                     what is wrong, and how to mend it

Check and keep:
  kiln verify -- COMMAND...       compile each unit both ways and compare
  kiln capture -- COMPILER ARGS   a directory that replays one unit
  kiln daemon start|stop|restart
  kiln demo [DIR] [-- COMMAND...] a farm on this machine, a build, a comparison

KILN_DISABLE=1 runs every compiler plainly. Settings: kiln.toml, or KILN_... in the environment.
";

/// Prints `text` on stdout; 1 where that fails.
pub(crate) fn print(text: &str) -> i32 {
    i32::from(sys::write_patiently(std::io::stdout().as_fd(), text.as_bytes()).is_err())
}

/// Says what is wrong with the call.
pub(crate) fn usage(what: &str) -> i32 {
    notice::line(&format!("{what}; see kiln --help"));
    EXIT_USAGE
}

/// Becomes `kilnd cli ARGS...`.
pub(crate) fn heavy(args: &[&CStr]) -> i32 {
    let env = Environment::current();
    let Some(program) = start::kilnd(env.get(name::PATH)) else {
        notice::line("kilnd is neither beside kiln, nor in ../libexec, nor in PATH");
        return EXIT_NOT_FOUND;
    };
    let error = match sys::c_string(program.as_os_str().as_bytes()) {
        Ok(path) => {
            let argv: Vec<&CStr> = [&path, c"cli"].into_iter().chain(args.iter().copied()).collect();
            sys::exec(&path, &argv, &env.c_strings())
        }
        Err(error) => error,
    };
    notice::line(&format!("cannot run {}: {error}", program.display()));
    EXIT_NOT_FOUND
}
