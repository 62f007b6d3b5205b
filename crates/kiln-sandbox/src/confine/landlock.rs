//! Landlock rules of jobs: a second wall, where the kernel has it. Knows no job.

use std::fs::File;
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

/// Confines the calling thread and all that it starts: files below `/` as its namespace shows it but no device nodes, no signals and
/// no abstract sockets out of the job, no TCP unless `network`. Needs `no_new_privs`.
pub(crate) fn apply(abi: i32, network: bool) -> io::Result<()> {
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
    let root = File::open("/")?;
    let rule = PathBeneath { allowed: FS_ALL & !(FS_MAKE_CHAR | FS_MAKE_BLOCK), parent: root.as_raw_fd() };
    // SAFETY: `rule` is a valid rule of that type and lives through the call.
    let added =
        unsafe { libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), RULE_PATH_BENEATH, &raw const rule, 0u32) };
    crate::sys::check(added as i32)?;
    // SAFETY: the call takes numbers only.
    crate::sys::check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) } as i32)
}
