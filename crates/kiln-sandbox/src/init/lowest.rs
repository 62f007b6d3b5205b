//! The lowest rungs: no mounts, no namespaces. Knows `chroot` and nothing better.

use crate::job::RootMode;
use crate::message::Report;
use crate::server::Context;
use crate::sys::{Fail, Step};
use crate::{JobUser, Rung};
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};

/// Character devices of a root on these rungs: name, major, minor (Documentation/admin-guide/devices.txt).
const DEVICES: [(&str, u32, u32); 5] = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)];

/// Changes into the laid-out root itself, which is thrown away after the job; returns where the input root is then.
pub(super) fn enter(context: &Context, lower: &str, mode: RootMode) -> Result<String, Report> {
    if mode == RootMode::HostUsr {
        return Ok(lower.to_owned());
    }
    if context.rung == Rung::None {
        return Err(Report::BadJob("no root can be given here".into()));
    }
    furnish(lower, job_user(context)?)?;
    rustix::process::chroot(lower).step("changing the root")?;
    rustix::process::chdir("/").step("entering the root")?;
    Ok(String::new())
}

/// Tries `chroot` and device nodes in a directory of its own.
pub(super) fn trial(context: &Context) -> Result<(), Fail> {
    let dir = format!("{}/trial-{}", context.roots, std::process::id());
    rustix::fs::mkdir(&*dir, Mode::from_raw_mode(0o755)).step("making a trial root")?;
    let tried = job_user(context).and_then(|user| furnish(&dir, user)).and_then(|()| {
        let null = rustix::fs::open(format!("{dir}/dev/null"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        null.map(drop).step("opening /dev/null of a trial root")
    });
    let removed = std::fs::remove_dir_all(&dir).step("removing a trial root");
    tried?;
    removed?;
    rustix::process::chroot("/").step("changing the root")
}

/// A job of this rung must be another user than its root's owner: `chroot` is no wall to root.
fn job_user(context: &Context) -> Result<JobUser, Fail> {
    context.becomes.ok_or_else(|| Fail { step: "finding a user for the job".into(), errno: libc::EPERM })
}

fn furnish(root: &str, user: JobUser) -> Result<(), Fail> {
    for (name, bits) in [("dev", 0o755), ("proc", 0o555), ("tmp", 0o1777)] {
        let path = format!("{root}/{name}");
        match rustix::fs::mkdir(&*path, Mode::from_raw_mode(bits)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno).step(format!("making /{name}")),
        }
        let stat = rustix::fs::lstat(&*path).step(format!("looking at /{name}"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Fail { step: format!("/{name} of the input root"), errno: libc::ENOTDIR });
        }
    }
    let (uid, gid) = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    rustix::fs::chownat(CWD, format!("{root}/tmp"), uid, gid, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .step("giving /tmp to the job")?;
    for (name, major, minor) in DEVICES {
        let path = format!("{root}/dev/{name}");
        let device = rustix::fs::makedev(major, minor);
        match rustix::fs::mknodat(CWD, &*path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno).step(format!("making /dev/{name}")),
        }
    }
    Ok(())
}
