//! `kilnd`: every service of kiln and the heavy commands. Reads the configuration once and hands typed settings on; what
//! a service does stands in the service's crate.

#![forbid(unsafe_code)]

mod args;
mod cgroup;
mod cli;
mod config;
mod exit;
mod lock;
mod logging;
mod manual;
mod roles;
mod secrets;
mod serving;
mod shutdown;

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use exit::Exit;

fn main() -> ExitCode {
    let mut argv: Vec<OsString> = std::env::args_os().collect();
    let word = argv.get(1).and_then(|word| word.to_str());
    match word {
        // Before anything that could make a thread: this process forks.
        Some("sandbox-server") => match std::io::stdin().as_fd().try_clone_to_owned() {
            Ok(socket) => kiln_sandbox::server_main(socket),
            Err(error) => exit::say(&format!("sandbox-server: no socket on standard input: {error}"), Exit::Failure),
        },
        _ if argv.first().is_some_and(|called| cli::is_shim(Path::new(called))) => cli::shim(&argv),
        Some("cli") => cli::run(argv.split_off(1)),
        _ => args::run(argv),
    }
    .into()
}
