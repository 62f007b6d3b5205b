//! The helper's own namespaces: a small root of its own, so that a job's copy of it is cheap and shows nothing. Knows no job.

use crate::message::Setup;
use crate::sys::{self, Fail, Step};
use crate::{JobUser, Rung, user};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Where the pool of roots is.
pub(crate) const ROOTS: &str = "/roots";
/// The devices of jobs.
pub(crate) const DEV: &str = "/dev";
/// Where a job's init mounts its scratch space.
pub(crate) const JOB: &str = "/job";
/// The root of jobs that see the worker's files.
pub(crate) const HOST: &str = "/host";
/// Where the input root is in [`HOST`].
pub(crate) const HOST_WORK: &str = "/kiln";
/// User and group of jobs as they see them.
pub(crate) const INNER_ID: u32 = 1000;

/// Host name of jobs.
const HOST_NAME: &[u8] = b"kiln";

/// Bound on the helper's own little root: some hundred directories and a password file.
const VIEW_OPTIONS: &std::ffi::CStr = c"size=1m,nr_inodes=4k,mode=755";

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Enters the namespaces of `rung`, and gives up root where it is not needed; whether it is still to be given up, by each job's init.
pub(crate) fn enter(setup: &Setup, rung: Rung) -> Result<bool, Fail> {
    let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    let is_root = setup.job_user.can_be_become();
    match rung {
        Rung::UserNamespace | Rung::HostProc if is_root && user::may_mount() => {
            sys::unshare(namespaces).step("making namespaces as root")?;
            build(setup)?;
            become_user(setup.job_user)?;
            // Mounts are copied into the new namespace as one locked whole.
            sys::unshare(libc::CLONE_NEWUSER | namespaces).step("making a user namespace")?;
            map_ids(setup.job_user.uid, setup.job_user.gid)?;
        }
        Rung::UserNamespace | Rung::HostProc => {
            if is_root {
                become_user(setup.job_user)?;
            }
            let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            sys::unshare(libc::CLONE_NEWUSER | namespaces).step("making a user namespace")?;
            map_ids(uid, gid)?;
            build(setup)?;
        }
        Rung::RootNamespace => {
            sys::unshare(namespaces).step("making namespaces as root")?;
            build(setup)?;
        }
        Rung::Chroot | Rung::None => return Ok(is_root),
    }
    rustix::system::sethostname(HOST_NAME).step("setting the host name")?;
    Ok(is_root && rung == Rung::RootNamespace)
}

/// Maps the one user and group that this process is to [`INNER_ID`].
pub(crate) fn map_ids(uid: u32, gid: u32) -> Result<(), Fail> {
    let write = |file: &str, text: String| std::fs::write(file, text).step(format!("writing {file}"));
    // Without this an unprivileged process may not map its group. It is inherited, so it may stand already.
    if std::fs::read("/proc/self/setgroups").is_ok_and(|text| !text.starts_with(b"deny")) {
        write("/proc/self/setgroups", "deny".into())?;
    }
    write("/proc/self/uid_map", format!("{INNER_ID} {uid} 1"))?;
    write("/proc/self/gid_map", format!("{INNER_ID} {gid} 1"))
}

/// Brings the loopback interface of this process's network up: programs under test talk to themselves.
pub(crate) fn loopback_up() -> Result<(), Fail> {
    sys::interface_up(c"lo").step("bringing the loopback interface up")
}

/// Gives up root for good.
pub(crate) fn become_user(user: JobUser) -> Result<(), Fail> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_groups(&[]).step("dropping groups")?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).step("becoming the job group")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).step("becoming the job user")?;
    // Changing the user has made this process's own files in /proc root's.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).step("becoming dumpable")
}

fn build(setup: &Setup) -> Result<(), Fail> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).step("making mounts private")?;
    let roots = clone_tree(&setup.roots)?;
    let base = setup.roots.as_str();
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount(c"kiln", base, c"tmpfs", flags, Some(VIEW_OPTIONS)).step("mounting a memory file system")?;
    for dir in [ROOTS, DEV, JOB, HOST, "/proc"] {
        make_dir(&format!("{base}{dir}"))?;
    }
    place_tree(&roots, &format!("{base}{ROOTS}"))?;
    place_tree(&clone_tree("/proc")?, &format!("{base}/proc"))?;
    build_dev(&format!("{base}{DEV}"))?;
    build_host(&format!("{base}{HOST}"), &setup.host_paths)?;
    rustix::process::chdir(base).step("entering the helper's root")?;
    rustix::process::pivot_root(".", ".").step("changing the root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).step("leaving the old root")?;
    rustix::process::chdir("/").step("entering the new root")
}

fn build_dev(dev: &str) -> Result<(), Fail> {
    rustix::mount::mount(c"kiln", dev, c"tmpfs", MountFlags::NOSUID, Some(VIEW_OPTIONS)).step("mounting /dev")?;
    for name in DEVICES {
        let place = format!("{dev}/{name}");
        make_file(&place, b"")?;
        place_tree(&clone_tree(&format!("/dev/{name}"))?, &place)?;
    }
    for (name, target) in
        [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")]
    {
        rustix::fs::symlink(target, format!("{dev}/{name}")).step(format!("making /dev/{name}"))?;
    }
    make_dir(&format!("{dev}/pts"))?;
    make_dir(&format!("{dev}/shm"))?;
    // Jobs share this directory, so none may write to it.
    read_only(dev, false)
}

fn build_host(host: &str, paths: &[String]) -> Result<(), Fail> {
    rustix::mount::mount(c"kiln", host, c"tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(VIEW_OPTIONS))
        .step("mounting the host root")?;
    for dir in ["/proc", "/dev", "/tmp", "/etc", HOST_WORK] {
        make_dir(&format!("{host}{dir}"))?;
    }
    make_file(&format!("{host}/etc/passwd"), format!("kiln:x:{INNER_ID}:{INNER_ID}::/tmp:/bin/sh\n").as_bytes())?;
    make_file(&format!("{host}/etc/group"), format!("kiln:x:{INNER_ID}:\n").as_bytes())?;
    for path in paths {
        let place = format!("{host}{path}");
        let Ok(stat) = rustix::fs::lstat(path.as_str()) else { continue };
        for parent in Path::new(path).ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            let parent = parent.to_str().unwrap_or_default().trim_end_matches('/');
            make_dir(&format!("{host}{parent}"))?;
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let target = std::fs::read_link(path).step(format!("reading {path}"))?;
                rustix::fs::symlink(&target, &place).step(format!("making {path}"))?;
                continue;
            }
            FileType::Directory => make_dir(&place)?,
            _ => make_file(&place, b"")?,
        }
        place_tree(&clone_tree(path)?, &place)?;
    }
    read_only(host, true)
}

fn clone_tree(path: &str) -> Result<OwnedFd, Fail> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(CWD, path, flags).step(format!("binding {path}"))
}

fn place_tree(tree: &OwnedFd, path: &str) -> Result<(), Fail> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", CWD, path, flags).step(format!("mounting {path}"))
}

fn make_dir(path: &str) -> Result<(), Fail> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        other => other.step(format!("making {path}")),
    }
}

fn make_file(path: &str, bytes: &[u8]) -> Result<(), Fail> {
    std::fs::write(path, bytes).step(format!("making {path}"))?;
    rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(0o644), AtFlags::empty()).step(format!("making {path}"))
}

fn read_only(path: &str, recursive: bool) -> Result<(), Fail> {
    let name = CString::new(path).map_err(|_| Fail { step: "a path with NUL".into(), errno: libc::EINVAL })?;
    sys::make_read_only(&name, recursive).step(format!("making {path} read-only"))
}
