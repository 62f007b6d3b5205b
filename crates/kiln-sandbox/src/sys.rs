//! System calls that neither the standard library nor rustix offers in the form needed here. Knows no policy.

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ffi::CStr;
use std::io;

/// What a step of a set-up was about and why it failed.
#[derive(Debug, Clone)]
pub(crate) struct Fail {
    pub(crate) step: String,
    pub(crate) errno: i32,
}

impl std::fmt::Display for Fail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, io::Error::from_raw_os_error(self.errno))
    }
}

/// Names the step that an error belongs to.
pub(crate) trait Step<T> {
    fn step(self, step: impl Into<String>) -> Result<T, Fail>;
}

impl<T> Step<T> for rustix::io::Result<T> {
    fn step(self, step: impl Into<String>) -> Result<T, Fail> {
        self.map_err(|errno| Fail { step: step.into(), errno: errno.raw_os_error() })
    }
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, step: impl Into<String>) -> Result<T, Fail> {
        self.map_err(|error| Fail { step: step.into(), errno: error.raw_os_error().unwrap_or(libc::EIO) })
    }
}

/// The two sides of a fork.
pub(crate) enum Forked {
    Child,
    Parent { pid: i32 },
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks with new namespaces (`CLONE_NEW*` in `flags`), into `cgroup` if given. The process must be single-threaded: the child
/// goes on with all of its memory, allocator included.
pub(crate) fn fork(flags: i32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    let mut args = CloneArgs { flags: flags as u64, exit_signal: libc::SIGCHLD as u64, ..CloneArgs::default() };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a valid `struct clone_args` of the size given, without CLONE_VM and without a stack: the child gets a
    // copy of this single-threaded process, as with fork.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match pid {
        0 => Ok(Forked::Child),
        pid if pid > 0 => Ok(Forked::Parent { pid: pid as i32 }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `CLONE_INTO_CGROUP` of `linux/sched.h`; over 32 bits, so libc's type does not hold it everywhere.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Moves the calling process into new namespaces.
pub(crate) fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: no memory is involved; CLONE_FILES and CLONE_FS are not among the flags used here.
    check(unsafe { libc::unshare(flags) })
}

/// Makes the mounts below `path` read-only, all of them where `recursive`.
pub(crate) fn make_read_only(path: &CStr, recursive: bool) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns_fd: u64,
    }
    const MOUNT_ATTR_RDONLY: u64 = 1;
    const MOUNT_ATTR_NOSUID: u64 = 2;
    let attr = MountAttr { set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, clear: 0, propagation: 0, userns_fd: 0 };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `path` is NUL-terminated and `attr` a valid `struct mount_attr` of the size given.
    let done = unsafe {
        libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, path.as_ptr(), flags, &raw const attr, size_of::<MountAttr>())
    };
    check(done as i32)
}

/// User and system time in microseconds, and the largest resident set in bytes, of all children waited for.
pub(crate) fn children_usage() -> (u64, u64) {
    // SAFETY: `rusage` is plain numbers, for which zero is valid, and getrusage fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    (micros(usage.ru_utime) + micros(usage.ru_stime), usage.ru_maxrss as u64 * 1024)
}

/// What a reaped child left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaped {
    Exited(i32, i32),
    Signalled(i32, i32),
    /// Children are there but none has ended.
    Pending,
    /// There are no children.
    Nobody,
}

/// Reaps one child; waits for one where `block`.
pub(crate) fn reap(block: bool) -> Reaped {
    loop {
        let mut status = 0;
        let flags = libc::__WALL | if block { 0 } else { libc::WNOHANG };
        // SAFETY: `status` is a valid place for the result.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
        if pid == 0 {
            return Reaped::Pending;
        }
        if pid < 0 {
            if io::Error::last_os_error().raw_os_error() == Some(libc::EINTR) {
                continue;
            }
            return Reaped::Nobody;
        }
        if libc::WIFEXITED(status) {
            return Reaped::Exited(pid, libc::WEXITSTATUS(status));
        }
        if libc::WIFSIGNALED(status) {
            return Reaped::Signalled(pid, libc::WTERMSIG(status));
        }
    }
}

/// Gives every signal its default action back and blocks those that are read from the descriptor returned.
pub(crate) fn take_signals(signals: &[i32]) -> io::Result<OwnedFd> {
    // The kernel's own `struct sigaction`, all zero: the default action. libc's function refuses the two signals it keeps for itself,
    // which a parent may have left ignored all the same.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: `default` is as large as the structure on every architecture; signals that cannot be changed are refused.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u8>(), 8usize) };
    }
    // SAFETY: the set is initialised by sigemptyset before use; signalfd returns a new descriptor that nobody else owns.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        check(fd)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Unblocks all signals.
pub(crate) fn unblock_signals() {
    // SAFETY: the set is initialised by sigemptyset before use.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Turns address randomisation off for what is executed from here on.
pub(crate) fn no_address_randomisation() -> io::Result<()> {
    // SAFETY: personality takes and returns numbers only.
    let before = unsafe { libc::personality(0xffff_ffff) };
    // SAFETY: as above.
    check(unsafe { libc::personality((before | libc::ADDR_NO_RANDOMIZE) as libc::c_ulong) })
}

/// Makes every descriptor but the three standard ones vanish at `execve`, whoever opened it.
pub(crate) fn close_inherited_on_exec() -> io::Result<()> {
    // SAFETY: the call changes flags of descriptors; none is closed in this process.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check(done as i32)
}

/// Brings a network interface of the current network namespace up.
pub(crate) fn interface_up(name: &CStr) -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: `ifreq` is plain data, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()).take(libc::IFNAMSIZ - 1) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is a valid `struct ifreq` with a NUL-terminated name and flags, as SIOCSIFFLAGS reads it.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })
}

/// Ends the process at once: no destructors, no handlers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes a number and does not return.
    unsafe { libc::_exit(code) }
}

/// Sends a signal to every process that this one may signal (in a process namespace: all but its init).
pub(crate) fn kill_everyone(signal: i32) {
    // SAFETY: kill takes numbers only. Callers are the init of a process namespace, or of a user of their own.
    unsafe { libc::kill(-1, signal) };
}

/// Turns a result of -1 into errno.
pub(crate) fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
