//! A background process that owes nothing to who started it. Knows no daemon.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;

use super::exec::pointers;

/// The descriptor by which a detached program tells its starter how it went.
pub const READY_FD: i32 = 3;

/// Highest signal number of Linux (`_NSIG`).
const SIGNAL_MAX: libc::c_int = 64;

/// Starts `program` as a process of its own session and gives the read end of a pipe whose write end is its [`READY_FD`].
///
/// It has init as parent, `/` as directory, umask 077, `environment` alone, default signals with none blocked, soft limits
/// raised to the hard ones (core files off), `/dev/null` as stdin and stdout, `log` (else `/dev/null`) as stderr, and no
/// other descriptor. A program that cannot be executed writes why to the pipe.
///
/// # Errors
/// As `pipe2`, `open` of `/dev/null` and `fork`.
pub fn detach(program: &CStr, argv: &[&CStr], environment: &[&CStr], log: Option<&File>) -> io::Result<File> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let (argv, environment) = (pointers(argv), pointers(environment));
    let log = log.map_or(null.as_raw_fd(), |log| log.as_raw_fd());
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two and the descriptors are new. After `fork` the children only make system calls on
    // what was prepared before, and end by `execve` or `_exit`.
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
            libc::setsid();
            if libc::fork() == 0 {
                settle(null.as_raw_fd(), log, write.as_raw_fd());
                libc::execve(program.as_ptr(), argv.as_ptr(), environment.as_ptr());
                let why = io::Error::last_os_error();
                report_failure(program, &why);
            }
            libc::_exit(0);
        }
        libc::waitpid(middle, std::ptr::null_mut(), 0);
        Ok(read)
    }
}

/// Sheds what was inherited.
///
/// # Safety
/// Only in a forked child that has one thread and soon executes or exits; the descriptors are open.
unsafe fn settle(null: libc::c_int, log: libc::c_int, ready: libc::c_int) {
    // SAFETY: plain system calls with valid pointers; descriptors are moved above the ones they will become first.
    unsafe {
        let above = READY_FD + 1;
        let null = libc::fcntl(null, libc::F_DUPFD, above);
        let log = libc::fcntl(log, libc::F_DUPFD, above);
        let ready = libc::fcntl(ready, libc::F_DUPFD, above);
        libc::dup2(null, 0);
        libc::dup2(null, 1);
        libc::dup2(log, 2);
        libc::dup2(ready, READY_FD);
        if libc::syscall(libc::SYS_close_range, above as libc::c_uint, libc::c_uint::MAX, 0) != 0 {
            let mut limit = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
            // Kernels without close_range: 65,536 is far above what a build's processes hold open.
            for fd in above..libc::c_int::try_from(limit.rlim_cur).unwrap_or(65_536).min(65_536) {
                libc::close(fd);
            }
        }
        libc::chdir(c"/".as_ptr());
        libc::umask(0o077);
        for signal in 1..=SIGNAL_MAX {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        let raised =
            [libc::RLIMIT_CPU, libc::RLIMIT_FSIZE, libc::RLIMIT_DATA, libc::RLIMIT_AS, libc::RLIMIT_NPROC, libc::RLIMIT_NOFILE];
        for resource in raised {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            if libc::getrlimit(resource, &raw mut limit) == 0 {
                limit.rlim_cur = limit.rlim_max;
                libc::setrlimit(resource, &raw const limit);
            }
        }
        let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
    }
}

/// Writes why `program` was not executed.
fn report_failure(program: &CStr, why: &io::Error) {
    let text = format!("cannot run {}: {why}", program.to_string_lossy());
    // SAFETY: the pointer and length are those of `text`; READY_FD is the pipe.
    unsafe {
        libc::write(READY_FD, text.as_ptr().cast(), text.len());
    }
}
