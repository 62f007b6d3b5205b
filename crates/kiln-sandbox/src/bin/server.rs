//! The sandbox helper as a program of its own: small, so that forking it is cheap. Used by this crate's tests.

use std::os::fd::{FromRawFd, OwnedFd};

fn main() {
    // SAFETY: descriptor 0 is this process's own standard input, which nothing else in it uses.
    let socket = unsafe { OwnedFd::from_raw_fd(0) };
    kiln_sandbox::server_main(socket)
}
