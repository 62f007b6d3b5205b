//! Standard input read once, so that the daemon and every later way can read it. Knows no compiler.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;

use kiln_frame::sys;

/// Most bytes of stdin kept in memory. Sources that come by a pipe are preprocessed text at most, and the largest
/// translation units known have some tens of MiB; more than this is compiled here, from the pipe.
const SPOOL_MAX: u64 = 64 << 20;

/// What became of stdin.
pub(crate) enum Spooled {
    /// All of it, sealed; it has been made this process's stdin as well.
    Whole(File),
    /// Too much: stdin now is a pipe that a background process feeds with what was read and with the rest.
    TooLong,
    /// Nothing was read; stdin is as it was.
    Untouched,
}

/// Reads stdin to its end.
pub(crate) fn spool() -> Spooled {
    try_spool(SPOOL_MAX).unwrap_or(Spooled::Untouched)
}

fn try_spool(max: u64) -> io::Result<Spooled> {
    if !sys::is_open(0) || sys::terminal(io::stdin().as_fd()).is_some() {
        return Ok(Spooled::Untouched);
    }
    let mut memory = sys::memory_file()?;
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let copied = io::copy(&mut (&stdin).take(max + 1), &mut memory)?;
    if copied > max {
        let rest = sys::feed(move |pipe| {
            // A compiler that ends early ends the feeder too, by SIGPIPE; any other error shows as an early end.
            let _ = feed_all(&memory, copied, &stdin, pipe);
        })?;
        sys::become_stdin(&rest)?;
        return Ok(Spooled::TooLong);
    }
    // What `__TIMESTAMP__` says of a source that comes this way.
    if let Ok(time) = stdin.metadata().and_then(|meta| meta.modified()) {
        let _ = memory.set_modified(time);
    }
    sys::seal(&memory)?;
    memory.rewind()?;
    // A description of its own where /proc allows, since the daemon's reading would move a shared position.
    let own = File::open(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    sys::become_stdin(own.as_ref().unwrap_or(&memory))?;
    Ok(Spooled::Whole(memory))
}

fn feed_all(head: &File, len: u64, mut rest: &File, mut pipe: File) -> io::Result<()> {
    sys::copy_range(head.as_fd(), 0, len, &pipe)?;
    io::copy(&mut rest, &mut pipe)?;
    Ok(())
}
