//! Finds the best rung by trying each in a process of its own. Knows what an administrator can do about a missing one.

use super::{Context, cgroup::Limited, view};
use crate::confine::{landlock, limits, seccomp::Filter};
use crate::message::Setup;
use crate::sys::{self, Fail, Forked, Reaped, Step};
use crate::{Rung, RungReport, init};
use std::io::Read;
use std::os::fd::OwnedFd;

/// What the kernel's out-of-memory killer adds for a job, of 1000: before services, after nothing that matters.
const OOM_SCORE: &str = "300";

/// Attributes that all jobs inherit.
pub(super) fn prepare_process() -> Result<(), Fail> {
    rustix::process::umask(rustix::fs::Mode::empty());
    let _ = rustix::process::setsid();
    sys::close_inherited_on_exec().step("closing what the worker has open")?;
    limits::raise_as_root();
    sys::no_address_randomisation().step("turning address randomisation off")?;
    // Where the scheduler groups by session, the group of all jobs is to be as modest as each of them.
    let _ = std::fs::write("/proc/self/autogroup", "5");
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    Ok(())
}

pub(super) fn context(setup: &Setup, rung: Rung, become_later: bool, signals: OwnedFd, trial_errors: Option<OwnedFd>) -> Context {
    let in_view = matches!(rung, Rung::UserNamespace | Rung::RootNamespace | Rung::HostProc);
    Context {
        rung,
        roots: if in_view { view::ROOTS.to_owned() } else { setup.roots.clone() },
        becomes: become_later.then_some(setup.job_user),
        filter: Filter::new(false),
        filter_with_sockets: Filter::new(true),
        landlock: landlock::abi(),
        host_paths: setup.host_paths.clone(),
        cgroups: Limited::default(),
        signals,
        trial_errors,
    }
}

/// Tries the rungs, or the wanted one, and reports the first that works.
pub(super) fn choose(setup: &Setup, signals: &OwnedFd) -> Result<RungReport, String> {
    let is_root = setup.job_user.can_be_become();
    let mut why_not_better = Vec::new();
    let rungs = match setup.rung {
        Some(rung) => vec![rung],
        None => vec![Rung::UserNamespace, Rung::RootNamespace, Rung::HostProc, Rung::Chroot, Rung::None],
    };
    for rung in rungs {
        let needs_root = matches!(rung, Rung::RootNamespace | Rung::Chroot);
        if needs_root && !is_root {
            why_not_better.push(format!("{rung:?}: this process is not root, or may not become user {}", setup.job_user.uid));
            continue;
        }
        match try_rung(setup, rung, signals) {
            Ok(()) => {
                let how_to_improve = advice(rung, &why_not_better);
                return Ok(RungReport { rung, why_not_better, how_to_improve, absent: absent(rung) });
            }
            Err(reason) => why_not_better.push(format!("{rung:?}: {reason}")),
        }
    }
    Err(why_not_better.join("; "))
}

fn try_rung(setup: &Setup, rung: Rung, signals: &OwnedFd) -> Result<(), String> {
    let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|errno| errno.to_string())?;
    let (read, write) = pipe;
    match sys::fork(0, None).map_err(|error| format!("making a process: {error}"))? {
        Forked::Child => {
            let said = write.try_clone().ok();
            let tried = signals.try_clone().step("copying a descriptor").and_then(|signals| {
                let become_later = view::enter(setup, rung)?;
                init::trial(&context(setup, rung, become_later, signals, said))
            });
            if let Err(fail) = tried {
                let _ = rustix::io::write(&write, fail.to_string().as_bytes());
                sys::exit_now(1);
            }
            sys::exit_now(0)
        }
        Forked::Parent { .. } => {
            drop(write);
            let mut text = String::new();
            let _ = std::fs::File::from(read).read_to_string(&mut text);
            match sys::reap(true) {
                Reaped::Exited(_, 0) => Ok(()),
                Reaped::Exited(..) if !text.is_empty() => Err(text),
                other => Err(format!("the trial ended as {other:?}")),
            }
        }
    }
}

fn absent(rung: Rung) -> Vec<String> {
    let mut absent = Vec::new();
    if landlock::abi().is_none() {
        absent.push("landlock (a second wall round files and signals; namespaces and the system call filter stand)".to_owned());
    }
    if !rung.has_process_namespace() && landlock::abi().is_none() {
        absent.push("any wall before this machine's files: plain actions can read what their user can".to_owned());
    }
    absent
}

fn advice(rung: Rung, why_not_better: &[String]) -> Vec<String> {
    let mut advice = Vec::new();
    if rung == Rung::UserNamespace {
        return advice;
    }
    let setting = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        advice.push(
            "AppArmor forbids user namespaces: install the profile that comes with kiln (packaging/apparmor/kilnd)".to_owned(),
        );
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        advice.push("allow user namespaces: sysctl kernel.unprivileged_userns_clone=1".to_owned());
    }
    if setting("/proc/sys/user/max_user_namespaces") == "0" {
        advice.push("allow user namespaces: sysctl user.max_user_namespaces=10000".to_owned());
    }
    if why_not_better.iter().any(|reason| reason.contains("/proc")) {
        advice.push("in a container, let it mount its own /proc: --security-opt systempaths=unconfined".to_owned());
    }
    if advice.is_empty() {
        advice.push(
            "in a container, allow namespaces and mounts: --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
             --cap-add SYS_ADMIN"
                .to_owned(),
        );
    }
    advice
}
