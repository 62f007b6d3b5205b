//! Copies, memory files and careful closing. Knows no result and no path.

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::IntoRawFd;

/// Buffer of a plain copy, in bytes: large enough that system calls do not count, small enough for the cache.
const COPY_BYTES: usize = 128 << 10;

/// A file in memory, close-on-exec, that can be sealed.
///
/// # Errors
/// As `memfd_create`.
pub fn memory_file() -> io::Result<File> {
    // SAFETY: the name ends with a NUL; a descriptor that is not negative is new and ours.
    unsafe {
        let fd = libc::memfd_create(c"kiln".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(File::from_raw_fd(fd)) }
    }
}

/// Makes a memory file's content final: nobody can write, grow or shrink it any more.
///
/// # Errors
/// As `fcntl`.
pub fn seal(file: &File) -> io::Result<()> {
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
    // SAFETY: a plain call on an open descriptor.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Appends `len` bytes from `offset` of `from` to `to`, sharing blocks where the file system can; `from`'s own position
/// is neither used nor moved.
///
/// # Errors
/// As the system calls; `UnexpectedEof` when `from` is shorter.
pub fn copy_range(from: BorrowedFd<'_>, offset: u64, len: u64, to: &File) -> io::Result<()> {
    let (mut at, mut left) = (offset, len);
    for way in [copy_file_range, sendfile] {
        while left > 0 {
            match way(from, at, left, to) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                Ok(count) => {
                    at += count;
                    left -= count.min(left);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_unsupported(&error) => break,
                Err(error) => return Err(error),
            }
        }
    }
    copy_plainly(from, at, left, to)
}

/// Errors that mean "not between these two files", which another way of copying may do.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EXDEV | libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EBADF | libc::EPERM | libc::EISDIR)
    )
}

fn copy_file_range(from: BorrowedFd<'_>, at: u64, left: u64, to: &File) -> io::Result<u64> {
    let mut offset = at as libc::loff_t;
    // SAFETY: `offset` is valid for reading and writing; both descriptors are open.
    let count = unsafe {
        libc::copy_file_range(
            from.as_raw_fd(),
            &raw mut offset,
            to.as_raw_fd(),
            std::ptr::null_mut(),
            usize::try_from(left).unwrap_or(usize::MAX),
            0,
        )
    };
    u64::try_from(count).map_err(|_| io::Error::last_os_error())
}

fn sendfile(from: BorrowedFd<'_>, at: u64, left: u64, to: &File) -> io::Result<u64> {
    let mut offset = at as libc::off_t;
    // SAFETY: `offset` is valid for reading and writing; both descriptors are open.
    let count =
        unsafe { libc::sendfile(to.as_raw_fd(), from.as_raw_fd(), &raw mut offset, usize::try_from(left).unwrap_or(usize::MAX)) };
    u64::try_from(count).map_err(|_| io::Error::last_os_error())
}

fn copy_plainly(from: BorrowedFd<'_>, mut at: u64, mut left: u64, mut to: &File) -> io::Result<()> {
    if left == 0 {
        return Ok(());
    }
    let mut buffer = vec![0; COPY_BYTES.min(usize::try_from(left).unwrap_or(COPY_BYTES))];
    while left > 0 {
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = read_at(from, &mut buffer[..want], at)?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        to.write_all(&buffer[..count])?;
        at += count as u64;
        left -= count as u64;
    }
    Ok(())
}

/// Reads from an offset, the file's own position neither used nor moved. 0 is the end.
///
/// # Errors
/// As `pread`; an interrupted read is tried again.
pub fn read_at(from: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        // SAFETY: the pointer and length are those of `buffer`.
        let count = unsafe { libc::pread(from.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), offset as libc::off_t) };
        match usize::try_from(count) {
            Ok(count) => return Ok(count),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Writes all of `bytes` to `fd`, waiting where it is non-blocking and full.
///
/// # Errors
/// As `write`.
pub fn write_patiently(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        // SAFETY: the pointer and length are those of `rest`.
        let count = unsafe { libc::write(fd.as_raw_fd(), rest.as_ptr().cast(), rest.len()) };
        if let Ok(count) = usize::try_from(count) {
            rest = &rest[count..];
            continue;
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => {
                let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
                // SAFETY: one valid pollfd.
                unsafe { libc::poll(&raw mut poll, 1, -1) };
            }
            _ => return Err(error),
        }
    }
    Ok(())
}

/// Closes `file` and says what closing says: some file systems tell of a full disk only then.
///
/// # Errors
/// As `close`.
pub fn close(file: File) -> io::Result<()> {
    // SAFETY: the descriptor was owned by `file` and is given up here.
    if unsafe { libc::close(file.into_raw_fd()) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes `file` this process's standard input, kept over `exec`, read from its beginning.
///
/// # Errors
/// As `lseek` and `dup2`.
pub fn become_stdin(file: &File) -> io::Result<()> {
    // SAFETY: plain calls on open descriptors; descriptor 0 is standard input by convention, and nothing here owns it.
    unsafe {
        if libc::lseek(file.as_raw_fd(), 0, libc::SEEK_SET) < 0 && last_is_not(libc::ESPIPE) {
            return Err(io::Error::last_os_error());
        }
        if libc::dup2(file.as_fd().as_raw_fd(), 0) < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn last_is_not(code: i32) -> bool {
    io::Error::last_os_error().raw_os_error() != Some(code)
}
