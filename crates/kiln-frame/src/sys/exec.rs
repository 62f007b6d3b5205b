//! Arguments, environment and `exec`, byte for byte. Knows no compiler.

use std::ffi::CStr;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;

unsafe extern "C" {
    static environ: *const *const libc::c_char;
}

/// The environment as this process got it, order, duplicates and malformed entries included.
///
/// Nothing in a process that calls this may change its environment.
pub fn environment() -> Vec<&'static CStr> {
    let mut variables = Vec::with_capacity(64);
    // SAFETY: `environ` is null or an array of NUL-terminated strings that ends with a null pointer, and stays as it is
    // because nobody changes it.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            variables.push(CStr::from_ptr(*at));
            at = at.add(1);
        }
    }
    variables
}

/// The arguments that `main` got.
///
/// # Safety
/// `argc` and `argv` are those of `main`, and the strings are never changed.
pub unsafe fn arguments(argc: libc::c_int, argv: *const *const libc::c_char) -> Vec<&'static CStr> {
    // SAFETY: promised by the caller.
    (0..usize::try_from(argc).unwrap_or(0)).map(|at| unsafe { CStr::from_ptr(*argv.add(at)) }).collect()
}

/// Becomes `program`; returns only if that fails. All of `argv` counts, `argv[0]` included; nothing is searched in PATH.
pub fn exec(program: &CStr, argv: &[&CStr], environment: &[&CStr]) -> io::Error {
    let argv = pointers(argv);
    let environment = pointers(environment);
    // SAFETY: both arrays end with a null pointer and their strings outlive the call.
    unsafe {
        libc::execve(program.as_ptr(), argv.as_ptr(), environment.as_ptr());
    }
    io::Error::last_os_error()
}

/// An array as `execve` wants it.
pub(super) fn pointers(strings: &[&CStr]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Fills closed standard descriptors with close-on-exec stand-ins, so that no socket or file of this process takes their
/// numbers, and a program executed later finds them closed again.
pub fn guard_standard_descriptors() {
    let mut polls: [libc::pollfd; 3] = std::array::from_fn(|fd| libc::pollfd { fd: fd as libc::c_int, events: 0, revents: 0 });
    // SAFETY: an array of three; `open` gives the lowest free number, so asking three times fills all three.
    unsafe {
        if libc::poll(polls.as_mut_ptr(), 3, 0) <= 0 {
            return;
        }
        for poll in polls {
            if poll.revents & libc::POLLNVAL != 0 {
                libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            }
        }
    }
}

/// Whether descriptor `fd` is open and meant for a program executed later.
pub fn is_open(fd: i32) -> bool {
    // SAFETY: a plain call; a number that is not open makes it fail.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

/// Runs `work` in a process of its own that nobody has to wait for, with the write end of a pipe; gives the read end.
///
/// # Errors
/// As `pipe2` and `fork`.
pub fn feed(work: impl FnOnce(File)) -> io::Result<File> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two; the descriptors are new. The process has one thread, so the child may do anything;
    // it never returns from here. The middle process is waited for, the feeder belongs to init.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        let (read, write) = (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]));
        let middle = libc::fork();
        if middle < 0 {
            return Err(io::Error::last_os_error());
        }
        if middle == 0 {
            if libc::fork() == 0 {
                drop(read);
                // Nobody who waits for the end of this process's output should wait for the feeder.
                for fd in 0..3 {
                    libc::close(fd);
                }
                work(write);
            }
            libc::_exit(0);
        }
        libc::waitpid(middle, std::ptr::null_mut(), 0);
        Ok(read)
    }
}

/// `path` with a NUL at its end.
///
/// # Errors
/// `InvalidInput` for a NUL inside.
pub fn c_string(path: impl Into<Vec<u8>>) -> io::Result<CString> {
    CString::new(path).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}
