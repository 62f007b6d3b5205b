//! The system call filter of jobs, as a classic BPF program. Knows numbers and answers, no job.
//!
//! A compiler must run unchanged, so what is not named is allowed. What is named is either a way out of, or a way to look
//! past, a namespace (mount, ptrace, keyrings, new user namespaces), or a large and little-used part of the kernel (bpf, io_uring,
//! userfaultfd, perf). Refused calls answer as on a kernel without them, so that programs fall back; those that nothing
//! but an attack makes kill the job.

use std::io;

/// What a refused call answers.
#[derive(Clone, Copy)]
enum Answer {
    /// "Operation not permitted".
    NotPermitted,
    /// "Function not implemented": callers have a fallback.
    Absent,
    /// The whole process dies with SIGSYS.
    Kill,
}

/// A call to refuse on the native architecture, and its number on the 32-bit one that the kernel also runs (0: none).
type Rule = (libc::c_long, u32, Answer);

use Answer::{Absent, Kill, NotPermitted};

#[cfg(target_arch = "x86_64")]
const ARCH_NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "x86_64")]
const ARCH_COMPAT: Option<u32> = Some(0x4000_0003);
#[cfg(target_arch = "aarch64")]
const ARCH_NATIVE: u32 = 0xc000_00b7;
#[cfg(target_arch = "aarch64")]
const ARCH_COMPAT: Option<u32> = None;

const RULES: &[Rule] = &[
    (libc::SYS_mount, 21, NotPermitted),
    (libc::SYS_umount2, 52, NotPermitted),
    (libc::SYS_pivot_root, 217, Kill),
    (libc::SYS_chroot, 61, NotPermitted),
    (libc::SYS_unshare, 310, NotPermitted),
    (libc::SYS_setns, 346, NotPermitted),
    (libc::SYS_open_tree, 428, Absent),
    (libc::SYS_move_mount, 429, Absent),
    (libc::SYS_fsopen, 430, Absent),
    (libc::SYS_fsconfig, 431, Absent),
    (libc::SYS_fsmount, 432, Absent),
    (libc::SYS_fspick, 433, Absent),
    (libc::SYS_mount_setattr, 442, Absent),
    (libc::SYS_name_to_handle_at, 341, NotPermitted),
    (libc::SYS_open_by_handle_at, 342, NotPermitted),
    (libc::SYS_quotactl, 131, NotPermitted),
    (libc::SYS_swapon, 87, Kill),
    (libc::SYS_swapoff, 115, Kill),
    (libc::SYS_acct, 51, Kill),
    (libc::SYS_reboot, 88, Kill),
    (libc::SYS_kexec_load, 283, Kill),
    (libc::SYS_kexec_file_load, 0, Kill),
    (libc::SYS_init_module, 128, Kill),
    (libc::SYS_finit_module, 350, Kill),
    (libc::SYS_delete_module, 129, Kill),
    (libc::SYS_settimeofday, 79, NotPermitted),
    (libc::SYS_clock_settime, 264, NotPermitted),
    (libc::SYS_clock_adjtime, 343, NotPermitted),
    (libc::SYS_adjtimex, 124, NotPermitted),
    (libc::SYS_sethostname, 74, NotPermitted),
    (libc::SYS_setdomainname, 121, NotPermitted),
    (libc::SYS_syslog, 103, NotPermitted),
    (libc::SYS_ptrace, 26, NotPermitted),
    (libc::SYS_process_vm_readv, 347, NotPermitted),
    (libc::SYS_process_vm_writev, 348, NotPermitted),
    (libc::SYS_process_madvise, 440, NotPermitted),
    (libc::SYS_pidfd_getfd, 438, NotPermitted),
    (libc::SYS_kcmp, 349, NotPermitted),
    (libc::SYS_add_key, 286, Absent),
    (libc::SYS_request_key, 287, Absent),
    (libc::SYS_keyctl, 288, Absent),
    (libc::SYS_bpf, 357, NotPermitted),
    (libc::SYS_perf_event_open, 336, NotPermitted),
    (libc::SYS_userfaultfd, 374, Absent),
    (libc::SYS_io_uring_setup, 425, Absent),
    (libc::SYS_io_uring_enter, 426, Absent),
    (libc::SYS_io_uring_register, 427, Absent),
    (libc::SYS_fanotify_init, 338, NotPermitted),
    (libc::SYS_lookup_dcookie, 253, Absent),
    (libc::SYS_vhangup, 111, NotPermitted),
    (libc::SYS_nfsservctl, 169, Absent),
    (libc::SYS_move_pages, 317, NotPermitted),
    (libc::SYS_migrate_pages, 294, NotPermitted),
    // Its flags lie in memory, where a filter cannot look: libc falls back to clone.
    (libc::SYS_clone3, 435, Absent),
];

#[cfg(target_arch = "x86_64")]
const ARCH_RULES: &[Rule] = &[
    (libc::SYS_iopl, 110, NotPermitted),
    (libc::SYS_ioperm, 101, NotPermitted),
    (libc::SYS_modify_ldt, 123, NotPermitted),
    (libc::SYS_uselib, 86, Absent),
    (libc::SYS_ustat, 62, Absent),
    (libc::SYS_sysfs, 135, Absent),
];
#[cfg(not(target_arch = "x86_64"))]
const ARCH_RULES: &[Rule] = &[];

/// `socket`: only where jobs have no network of their own to use; socketpair stays.
const SOCKET_RULES: &[Rule] = &[(libc::SYS_socket, 359, NotPermitted)];

/// `socketcall` of i386 multiplexes all of them; its first argument 2 to 7, 11 and so on need a socket made by 1.
const I386_SOCKETCALL: u32 = 102;
const I386_CLONE: u32 = 120;
const I386_IOCTL: u32 = 54;
const I386_PRLIMIT: u32 = 340;

/// Namespaces that `clone` could make.
const CLONE_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u32;

/// x86-64 numbers with this bit are the x32 ABI, which nothing uses and which would go round the rules.
const X32_BIT: u32 = 0x4000_0000;

/// Offsets in `struct seccomp_data`.
const DATA_NR: u32 = 0;
const DATA_ARCH: u32 = 4;
const DATA_ARG0: u32 = 16;
const DATA_ARG1: u32 = 24;

/// A finished program.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    code: Vec<libc::sock_filter>,
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn op(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

/// Does the next instruction if the test holds, else skips it.
fn test(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 1, k }
}

fn answer(answer: Answer) -> libc::sock_filter {
    op(
        RETURN,
        match answer {
            NotPermitted => libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
            Absent => libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
            Kill => libc::SECCOMP_RET_KILL_PROCESS,
        },
    )
}

impl Filter {
    /// The filter of jobs; with or without sockets.
    pub(crate) fn new(sockets: bool) -> Filter {
        let native = table(sockets, false);
        let compat = if ARCH_COMPAT.is_some() { table(sockets, true) } else { Vec::new() };
        let mut code = vec![op(LOAD, DATA_ARCH), test(EQUAL, ARCH_NATIVE), op(JUMP, 0)];
        let jump_to_native = code.len() - 1;
        match ARCH_COMPAT {
            Some(arch) => {
                code.push(libc::sock_filter { code: EQUAL, jt: 1, jf: 0, k: arch });
                code.push(answer(Kill));
                code.extend(compat);
            }
            None => code.push(answer(Absent)),
        }
        code[jump_to_native].k = (code.len() - jump_to_native - 1) as u32;
        code.extend(native);
        Filter { code }
    }

    /// Puts the filter on the calling thread and all that it starts. Needs `no_new_privs`.
    pub(crate) fn apply(&self) -> io::Result<()> {
        let program = libc::sock_fprog { len: self.code.len() as u16, filter: self.code.as_ptr().cast_mut() };
        // SAFETY: `program` points at `len` instructions that live through the call; the kernel copies and checks them.
        let done =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0 as libc::c_ulong, &raw const program) };
        crate::sys::check(done as i32)
    }
}

fn table(sockets: bool, compat: bool) -> Vec<libc::sock_filter> {
    let mut code = vec![op(LOAD, DATA_NR)];
    if !compat && cfg!(target_arch = "x86_64") {
        code.extend([test(ANY_BIT, X32_BIT), answer(Absent)]);
    }
    let more: &[Rule] = if sockets { &[] } else { SOCKET_RULES };
    for (native, number32, refusal) in RULES.iter().chain(ARCH_RULES).chain(more) {
        let number = if compat { *number32 } else { *native as u32 };
        if number != 0 || !compat {
            code.extend([test(EQUAL, number), answer(*refusal)]);
        }
    }
    if compat && !sockets {
        code.extend([test(EQUAL, I386_SOCKETCALL), answer(NotPermitted)]);
    }
    // Calls that are refused for some arguments only; each block ends in a return, so the number need not be kept.
    let clone = if compat { I386_CLONE } else { libc::SYS_clone as u32 };
    code.extend([
        libc::sock_filter { code: EQUAL, jt: 0, jf: 4, k: clone },
        op(LOAD, DATA_ARG0),
        test(ANY_BIT, CLONE_NAMESPACES),
        answer(NotPermitted),
        op(RETURN, libc::SECCOMP_RET_ALLOW),
    ]);
    let ioctl = if compat { I386_IOCTL } else { libc::SYS_ioctl as u32 };
    code.extend([
        libc::sock_filter { code: EQUAL, jt: 0, jf: 5, k: ioctl },
        op(LOAD, DATA_ARG1),
        // Typing into a terminal, and pasting into it.
        libc::sock_filter { code: EQUAL, jt: 1, jf: 0, k: libc::TIOCSTI as u32 },
        test(EQUAL, libc::TIOCLINUX as u32),
        answer(NotPermitted),
        op(RETURN, libc::SECCOMP_RET_ALLOW),
    ]);
    let prlimit = if compat { I386_PRLIMIT } else { libc::SYS_prlimit64 as u32 };
    code.extend([
        libc::sock_filter { code: EQUAL, jt: 0, jf: 4, k: prlimit },
        op(LOAD, DATA_ARG0),
        // Its own limits only: the job's init is the same user, and must live to end it.
        libc::sock_filter { code: EQUAL, jt: 1, jf: 0, k: 0 },
        answer(NotPermitted),
        op(RETURN, libc::SECCOMP_RET_ALLOW),
    ]);
    code.push(op(RETURN, libc::SECCOMP_RET_ALLOW));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small interpreter of the instructions used: what the kernel would answer.
    fn run(filter: &Filter, arch: u32, nr: u32, args: [u32; 2]) -> u32 {
        let (mut at, mut value) = (0usize, 0u32);
        loop {
            let op = &filter.code[at];
            at += 1;
            match op.code {
                LOAD => {
                    value = match op.k {
                        DATA_NR => nr,
                        DATA_ARCH => arch,
                        DATA_ARG0 => args[0],
                        DATA_ARG1 => args[1],
                        other => panic!("loads from {other}"),
                    }
                }
                EQUAL => at += usize::from(if value == op.k { op.jt } else { op.jf }),
                ANY_BIT => at += usize::from(if value & op.k != 0 { op.jt } else { op.jf }),
                JUMP => at += op.k as usize,
                RETURN => return op.k,
                other => panic!("instruction {other}"),
            }
        }
    }

    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    #[test]
    fn every_rule_answers_and_the_rest_is_allowed() {
        let filter = Filter::new(false);
        assert!(filter.code.len() < usize::from(u16::MAX));
        for (nr, _, _) in RULES.iter().chain(ARCH_RULES).chain(SOCKET_RULES) {
            assert_ne!(run(&filter, ARCH_NATIVE, *nr as u32, [0, 0]), ALLOW, "call {nr}");
        }
        for nr in [libc::SYS_read, libc::SYS_openat, libc::SYS_execve, libc::SYS_vfork, libc::SYS_socketpair] {
            assert_eq!(run(&filter, ARCH_NATIVE, nr as u32, [0, 0]), ALLOW, "call {nr}");
        }
        assert_eq!(run(&filter, ARCH_NATIVE, libc::SYS_pivot_root as u32, [0, 0]), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn sockets_are_refused_only_without_a_network() {
        let socket = libc::SYS_socket as u32;
        assert_eq!(run(&Filter::new(false), ARCH_NATIVE, socket, [0, 0]), EPERM);
        assert_eq!(run(&Filter::new(true), ARCH_NATIVE, socket, [0, 0]), ALLOW);
    }

    #[test]
    fn clone_makes_processes_but_no_namespaces() {
        let filter = Filter::new(false);
        let clone = libc::SYS_clone as u32;
        assert_eq!(run(&filter, ARCH_NATIVE, clone, [libc::SIGCHLD as u32, 0]), ALLOW);
        assert_eq!(run(&filter, ARCH_NATIVE, clone, [libc::CLONE_NEWUSER as u32, 0]), EPERM);
        assert_eq!(run(&filter, ARCH_NATIVE, libc::SYS_ioctl as u32, [0, libc::TIOCSTI as u32]), EPERM);
        assert_eq!(run(&filter, ARCH_NATIVE, libc::SYS_ioctl as u32, [0, libc::TIOCLINUX as u32]), EPERM);
        assert_eq!(run(&filter, ARCH_NATIVE, libc::SYS_ioctl as u32, [0, libc::TCGETS as u32]), ALLOW);
        assert_eq!(run(&filter, ARCH_NATIVE, libc::SYS_prlimit64 as u32, [0, 3]), ALLOW);
        assert_eq!(run(&filter, ARCH_NATIVE, libc::SYS_prlimit64 as u32, [1, 3]), EPERM);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn other_calling_conventions_do_not_go_round_it() {
        let filter = Filter::new(false);
        let i386 = ARCH_COMPAT.unwrap();
        assert_eq!(run(&filter, i386, 21, [0, 0]), EPERM, "mount");
        assert_eq!(run(&filter, i386, I386_SOCKETCALL, [1, 0]), EPERM);
        assert_eq!(run(&filter, i386, I386_CLONE, [libc::CLONE_NEWNS as u32, 0]), EPERM);
        assert_eq!(run(&filter, i386, 3, [0, 0]), ALLOW, "read");
        assert_eq!(run(&filter, ARCH_NATIVE, X32_BIT | libc::SYS_mount as u32, [0, 0]), ENOSYS);
        assert_eq!(run(&filter, 0xdead, 0, [0, 0]), libc::SECCOMP_RET_KILL_PROCESS);
    }
}
