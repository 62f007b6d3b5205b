//! What a process is: users, limits, umask, terminal, and how it ends. Knows no socket.

use std::ffi::CStr;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::FileId;
use crate::Limits;
use crate::Terminal;

/// Users and groups of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective group.
    pub egid: u32,
}

/// Whether a thread of another process has a processor or waits for one: state `R` of its `stat` in /proc (proc(5)). False too where
/// that cannot be seen, and for this process, which runs while it asks.
pub fn is_runnable(pid: u32) -> bool {
    if pid == std::process::id() {
        return false;
    }
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().any(|task| {
        let stat = std::fs::read(task.path().join("stat")).unwrap_or_default();
        // The name before the state, in parentheses, may hold any byte.
        let end_of_name = stat.iter().rposition(|byte| *byte == b')');
        end_of_name.is_some_and(|end| stat.get(end + 2) == Some(&b'R'))
    })
}

/// The path by which the kernel executed this process, without /proc: absolute or relative to the directory of that time.
pub fn executed_as() -> Option<&'static CStr> {
    // SAFETY: AT_EXECFN is null or a NUL-terminated string that lives as long as the process.
    unsafe {
        let path = libc::getauxval(libc::AT_EXECFN) as *const libc::c_char;
        (!path.is_null()).then(|| CStr::from_ptr(path))
    }
}

/// Users and groups of this process.
pub fn ids() -> Ids {
    // SAFETY: these calls take nothing and cannot fail.
    unsafe { Ids { uid: libc::getuid(), euid: libc::geteuid(), gid: libc::getgid(), egid: libc::getegid() } }
}

/// The effective user alone: what files and sockets of this process belong to.
pub fn effective_user() -> u32 {
    // SAFETY: the call takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Supplementary groups, in the kernel's order; empty where they cannot be told.
pub fn groups() -> Vec<u32> {
    let mut groups = vec![0; 64];
    loop {
        // SAFETY: the buffer has as many entries as the call is told.
        let count = unsafe { libc::getgroups(groups.len() as libc::c_int, groups.as_mut_ptr()) };
        if let Ok(count) = usize::try_from(count) {
            groups.truncate(count);
            return groups;
        }
        // Linux allows 65,536 groups (NGROUPS_MAX).
        if groups.len() >= 65_536 {
            return Vec::new();
        }
        groups = vec![0; 65_536];
    }
}

/// Device and inode of what `path` leads to, or `None`.
pub fn file_id(path: &CStr) -> Option<FileId> {
    // SAFETY: zero is a valid `stat`, the path ends with a NUL, and the result is read only if the call succeeded.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::stat(path.as_ptr(), &raw mut stat) == 0).then_some(FileId { dev: stat.st_dev, ino: stat.st_ino })
    }
}

/// Whether this process may create files in `dir`, by its effective ids.
pub fn may_write(dir: &Path) -> bool {
    may(dir, libc::W_OK | libc::X_OK)
}

/// Whether this process may execute the file `path`, by its effective ids.
pub fn may_execute(path: &Path) -> bool {
    may(path, libc::X_OK)
}

/// Whether this process may open the file `path` for writing, by its effective ids.
pub fn may_overwrite(path: &Path) -> bool {
    may(path, libc::W_OK)
}

fn may(path: &Path, mode: libc::c_int) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: the path ends with a NUL.
    unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) == 0 }
}

/// The umask. Sets and restores it, so only for a process with one thread.
pub fn umask_now() -> u32 {
    // SAFETY: the call cannot fail.
    unsafe {
        let mask = libc::umask(0o077);
        libc::umask(mask);
        mask
    }
}

/// Sets the umask of this process.
pub fn set_umask(mask: u32) {
    // SAFETY: the call cannot fail.
    unsafe {
        libc::umask(mask);
    }
}

/// Soft limits of this process; unlimited where they cannot be told.
pub fn limits() -> Limits {
    let soft = |resource| {
        let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: `limit` is valid for writing.
        unsafe { libc::getrlimit(resource, &raw mut limit) };
        limit.rlim_cur
    };
    Limits {
        cpu: soft(libc::RLIMIT_CPU),
        file_size: soft(libc::RLIMIT_FSIZE),
        data: soft(libc::RLIMIT_DATA),
        stack: soft(libc::RLIMIT_STACK),
        address_space: soft(libc::RLIMIT_AS),
    }
}

/// The size of the terminal behind `fd`, or `None` where it is no terminal.
pub fn terminal(fd: BorrowedFd<'_>) -> Option<Terminal> {
    // SAFETY: `size` is valid for writing and zero is a valid value of it.
    unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        (libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) == 0)
            .then_some(Terminal { columns: size.ws_col, rows: size.ws_row })
    }
}

/// When process `pid` began, in clock ticks since boot: with the pid, a name that is not reused. `None` for no such process.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The command's name, in parentheses, may hold anything; what follows its last one is numbers. Fields are counted from
    // 1 in proc(5): state is 3, starttime 22.
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields = std::str::from_utf8(&stat[after..]).ok()?;
    let mut fields = fields.split_ascii_whitespace();
    if fields.next()? == "Z" { None } else { fields.nth(22 - 3 - 1)?.parse().ok() }
}

/// The controlling terminal's device number, 0 for none, and the session, as a name for "the terminal this runs in".
pub fn terminal_name() -> String {
    let stat = std::fs::read("/proc/self/stat").unwrap_or_default();
    let after = stat.iter().rposition(|byte| *byte == b')').map_or(0, |at| at + 1);
    let tty = String::from_utf8_lossy(&stat[after..]).split_ascii_whitespace().nth(7 - 3).map(str::to_owned);
    match tty.as_deref() {
        None | Some("0") => {
            // SAFETY: the call takes 0 for "this process" and cannot fail for it.
            format!("session-{}", unsafe { libc::getsid(0) })
        }
        Some(device) => format!("tty-{device}"),
    }
}
