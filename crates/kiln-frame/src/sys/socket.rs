//! Peers and waiting. Knows no frame.

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

/// Who is at the other end of a Unix socket, as the kernel saw it when the connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process; 0 when it is outside this process namespace.
    pub pid: u32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// Connects to a Unix stream socket, close-on-exec; waits at most `timeout` for a listener whose queue is full, and later
/// at most as long for each send.
///
/// # Errors
/// As `connect`; `WouldBlock` when the time is over, `InvalidInput` for a path that does not fit.
pub fn connect(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let path = path.as_os_str().as_bytes();
    // SAFETY: zero is a valid `sockaddr_un`, and the path is checked to leave room for its NUL; the descriptor is new and
    // owned by the stream from the moment it is known to be one.
    unsafe {
        let mut address: libc::sockaddr_un = std::mem::zeroed();
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        if path.len() >= address.sun_path.len() || path.contains(&0) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        for (to, from) in address.sun_path.iter_mut().zip(path) {
            *to = *from as libc::c_char;
        }
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let stream = UnixStream::from_raw_fd(fd);
        stream.set_write_timeout(Some(timeout))?;
        if libc::connect(fd, (&raw const address).cast(), size_of::<libc::sockaddr_un>() as libc::socklen_t) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stream)
    }
}

/// `SO_PEERCRED`.
///
/// # Errors
/// As `getsockopt`.
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let mut cred = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `cred` and `len` are valid for writing and `len` is the size of `cred`.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut cred).cast(), &raw mut len) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Peer { pid: u32::try_from(cred.pid).unwrap_or(0), uid: cred.uid, gid: cred.gid })
}

/// Waits until `fd` can be read or its peer is gone; false when `timeout` passed first.
///
/// # Errors
/// As `poll`; an interrupted wait goes on.
pub fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let end = Instant::now() + timeout;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // Rounded up, so that the wait never spins through its last millisecond.
        let millis = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        match unsafe { libc::poll(&raw mut poll, 1, millis) } {
            0 if left.is_zero() => return Ok(false),
            0 => {}
            1.. => return Ok(true),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// One step of [`wait_readable_steadily`].
const STEP: Duration = Duration::from_millis(500);

/// How late a step may end before the wait starts anew: this process was stopped, or the machine suspended.
const LATE: Duration = Duration::from_millis(500);

/// As [`wait_readable`], but time in which this process itself did not run is not counted.
///
/// # Errors
/// As `poll`.
pub fn wait_readable_steadily(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let mut waited = Duration::ZERO;
    while waited < timeout {
        let step = STEP.min(timeout - waited);
        let begin = Instant::now();
        if wait_readable(fd, step)? {
            return Ok(true);
        }
        waited = if begin.elapsed() > step + LATE { Duration::ZERO } else { waited + step };
    }
    Ok(false)
}
