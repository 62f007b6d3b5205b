//! The compiler wrapper and thin command line. Knows how to find the real compiler, ask the daemon and put results in
//! place; knows nothing of includes, caches or machines.

#![forbid(unsafe_code)]

mod ask;
mod cli;
mod commit;
mod compile;
mod compiler;
mod environment;
mod mode;
mod notice;
mod quick;
mod run;
mod start;
mod stdin;

use std::ffi::CStr;

use mode::Mode;

pub use cli::HELP;
pub use mode::is_compiler;

/// Connects to the daemon of this process's view, starting one where there is none. For a process with one thread.
///
/// # Errors
/// One line of why there is none.
pub fn daemon() -> Result<kiln_frame::Connection, String> {
    let env = environment::Environment::current();
    start::connect(&env, &kiln_frame::Identity::current()).map_err(|none| none.why)
}

/// All of `kiln`, from a command line (`argv[0]` included) to an exit code; often it becomes another program instead.
pub fn kiln(argv: &[&CStr]) -> i32 {
    kiln_frame::sys::guard_standard_descriptors();
    let by_link = mode::is_by_link(argv);
    match mode::of(argv) {
        Mode::Compiler { name, args } => compile::compile(name, args, by_link),
        Mode::Tool { name, args } => compile::tool(name, args, None, by_link),
        Mode::Local { heavy, name, args } => compile::tool(name, args, Some(heavy), by_link),
        Mode::Cli(args) => cli::heavy(args),
        Mode::Help => cli::print(cli::HELP),
        Mode::Version => cli::print(cli::VERSION),
        Mode::Usage(what) => cli::usage(&what),
    }
}
