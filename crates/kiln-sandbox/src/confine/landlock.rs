//! Landlock rules of jobs: a second wall, where the kernel has it. Knows no job.

use rustix::fs::{FileType, Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `struct landlock_ruleset_attr` of `linux/landlock.h`, up to ABI 6.
#[repr(C)]
#[derive(Default)]
struct RulesetAttr {
    fs: u64,
    net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;
const FS_EXECUTE: u64 = 1;
const FS_WRITE_FILE: u64 = 1 << 1;
const FS_READ_FILE: u64 = 1 << 2;
const FS_READ_DIR: u64 = 1 << 3;
/// Rights that a file, as opposed to a directory, can have in ABI 2.
const FS_OF_FILES: u64 = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE;
const FS_MAKE_CHAR: u64 = 1 << 6;
const FS_MAKE_BLOCK: u64 = 1 << 11;
/// All file rights of ABI 2, the first that lets a file move between directories: bits 0 to 13.
const FS_ALL: u64 = (1 << 14) - 1;
/// Binding and connecting TCP.
const NET_ALL: u64 = 3;
/// Abstract Unix sockets and signals beyond the domain.
const SCOPE_ALL: u64 = 3;

/// First ABI in which a file may be renamed into another directory; before it, builds would break.
const ABI_MIN: i32 = 2;
const ABI_NET: i32 = 4;
const ABI_SCOPE: i32 = 6;

/// The kernel's Landlock ABI; `None` where it is absent or too old to be of use.
pub(crate) fn abi() -> Option<i32> {
    // SAFETY: with this flag the call takes no memory and returns a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, CREATE_RULESET_VERSION) };
    i32::try_from(version).ok().filter(|version| *version >= ABI_MIN)
}

/// What a job may do below a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything but making device nodes.
    All,
    /// Reading and executing.
    Read,
    /// Reading and writing what is there: devices.
    Use,
}

impl Access {
    fn bits(self) -> u64 {
        match self {
            Access::All => FS_ALL & !(FS_MAKE_CHAR | FS_MAKE_BLOCK),
            Access::Read => FS_EXECUTE | FS_READ_FILE | FS_READ_DIR,
            Access::Use => FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE,
        }
    }
}

/// Confines the calling thread and all that it starts: to files below `paths` (those of them that exist), no signals and no abstract
/// sockets out of the job, no TCP unless `network`. Needs `no_new_privs`.
pub(crate) fn apply(abi: i32, network: bool, paths: &[(&str, Access)]) -> io::Result<()> {
    let attr = RulesetAttr {
        fs: FS_ALL,
        net: if abi >= ABI_NET && !network { NET_ALL } else { 0 },
        scoped: if abi >= ABI_SCOPE { SCOPE_ALL } else { 0 },
    };
    let size = match abi {
        ABI_SCOPE.. => size_of::<RulesetAttr>(),
        ABI_NET.. => 16,
        _ => 8,
    };
    // SAFETY: `attr` is valid for `size` bytes; the call returns a new descriptor or an error.
    let ruleset = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size, 0u32) };
    crate::sys::check(ruleset as i32)?;
    // SAFETY: the descriptor is new and nobody else owns it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset as i32) };
    for (path, access) in paths {
        add_rule(&ruleset, path, *access)?;
    }
    // SAFETY: the call takes numbers only.
    crate::sys::check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) } as i32)
}

fn add_rule(ruleset: &OwnedFd, path: &str, access: Access) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) else { return Ok(()) };
    let is_dir = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::Directory;
    let allowed = if is_dir { access.bits() } else { access.bits() & FS_OF_FILES };
    let rule = PathBeneath { allowed, parent: file.as_raw_fd() };
    // SAFETY: `rule` is a valid rule of that type and lives through the call.
    let added =
        unsafe { libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), RULE_PATH_BENEATH, &raw const rule, 0u32) };
    crate::sys::check(added as i32)
}
