//! The helper process: makes namespaces and forks one init a job. Single-threaded.

use std::os::fd::OwnedFd;

/// Runs the helper on `socket` (its end of the pair; standard input by convention) until the other end closes, then kills
/// what still runs. Must be called before any thread is made.
pub fn server_main(socket: OwnedFd) -> ! {
    drop(socket);
    std::process::exit(0)
}
