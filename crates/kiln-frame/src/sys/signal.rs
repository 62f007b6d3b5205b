//! Signals held back for a moment, and death by a signal. Knows no handler.

use std::mem::MaybeUninit;

/// Signals by which a user or a build ends a command: held back while files are put in place.
const ENDING: [libc::c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// While this lives, ending signals wait. Dropping it delivers them.
pub struct SignalsHeld {
    before: libc::sigset_t,
}

impl SignalsHeld {
    /// Holds back SIGINT, SIGTERM, SIGHUP and SIGQUIT.
    pub fn hold() -> SignalsHeld {
        let set = ending_set();
        let mut before = MaybeUninit::uninit();
        // SAFETY: both sets are valid; the call fills `before` and cannot fail with SIG_BLOCK and valid pointers.
        unsafe {
            libc::sigprocmask(libc::SIG_BLOCK, &raw const set, before.as_mut_ptr());
            SignalsHeld { before: before.assume_init() }
        }
    }

    /// Does something that may take for ever with the signals let through.
    pub fn let_go<T>(&self, work: impl FnOnce() -> T) -> T {
        let set = ending_set();
        // SAFETY: both sets are valid.
        unsafe {
            libc::sigprocmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut());
            let result = work();
            libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            result
        }
    }

    /// Whether one has arrived since that would end this process.
    pub fn is_pending(&self) -> bool {
        let mut pending = MaybeUninit::uninit();
        // SAFETY: the call fills `pending`; ignored signals are never pending.
        unsafe {
            libc::sigpending(pending.as_mut_ptr());
            let pending = pending.assume_init();
            ENDING.iter().any(|signal| {
                libc::sigismember(&raw const pending, *signal) == 1 && libc::sigismember(&raw const self.before, *signal) == 0
            })
        }
    }
}

impl Drop for SignalsHeld {
    fn drop(&mut self) {
        // SAFETY: `before` was filled by the kernel.
        unsafe {
            libc::sigprocmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut());
        }
    }
}

fn ending_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in ENDING {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Runs `write` with SIGTTOU held back, so that a message from the background does not stop this process.
pub fn without_tty_stop<T>(write: impl FnOnce() -> T) -> T {
    // SAFETY: SIG_IGN and a disposition that the kernel gave are valid.
    unsafe {
        let before = libc::signal(libc::SIGTTOU, libc::SIG_IGN);
        let result = write();
        libc::signal(libc::SIGTTOU, before);
        result
    }
}

/// Ends this process by `signal`, without a core file of its own; returns only where the signal cannot kill.
pub fn die_by(signal: u8) {
    let signal = libc::c_int::from(signal);
    // SAFETY: plain system calls; the sets and the limit are valid for reading and writing.
    unsafe {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::signal(signal, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::raise(signal);
    }
}
