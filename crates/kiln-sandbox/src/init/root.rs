//! The job's file system: layers, /proc, /dev, and the change into it. Knows no command.

use crate::Rung;
use crate::job::RootMode;
use crate::message::{Job, Report};
use crate::server::{Context, view};
use crate::sys::{Fail, Step};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::os::fd::OwnedFd;

/// Bytes of scratch space for each file that may be made in it, and the bounds on their number: a tmpfs inode takes about a KiB.
const BYTES_PER_INODE: u64 = 4096;
const INODES_MIN: u64 = 8192;
const INODES_MAX: u64 = 1 << 20;

/// The job's file system, from inside it.
pub(super) struct Place {
    /// Its root directory.
    pub(super) root: OwnedFd,
    /// The memory file system that takes its writes; absent on the lowest rungs.
    pub(super) scratch: Option<OwnedFd>,
    /// Absolute path of the directory that relative paths start from.
    pub(super) cwd: String,
    /// Where outputs are looked for, and its absolute path without a final slash: no mount below it is entered.
    pub(super) output_root: OwnedFd,
    pub(super) output_prefix: String,
}

impl Place {
    /// A path of the job, absolute.
    pub(super) fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.cwd) }
    }
}

/// Makes the job's root and changes into it. Afterwards every path means what it means to the job.
pub(super) fn enter(context: &Context, job: &Job) -> Result<Place, Report> {
    let lower = format!("{}/{}", context.roots, job.root);
    if job.root.is_empty() || job.root.contains('/') || job.root.starts_with('.') {
        return Err(Report::BadJob("no such root".into()));
    }
    let relative = !job.cwd.starts_with('/');
    if relative != (job.mode == RootMode::HostUsr) {
        return Err(Report::BadJob(format!("working directory {:?} is of the wrong kind", job.cwd)));
    }
    let (scratch, output_prefix) = match context.rung {
        Rung::UserNamespace | Rung::RootNamespace | Rung::HostProc => {
            let scratch = enter_layers(context, &lower, job.mode, job.limits.scratch_bytes)?;
            (Some(scratch), if relative { view::HOST_WORK.to_owned() } else { String::new() })
        }
        Rung::Chroot | Rung::None => (None, super::lowest::enter(context, &lower, job.mode)?),
    };
    let output_root = open_dir(&format!("{output_prefix}/"))?;
    let cwd = if relative { format!("{output_prefix}/{}", job.cwd) } else { job.cwd.clone() };
    Ok(Place { root: open_dir("/")?, scratch, cwd, output_root, output_prefix })
}

/// The same with nothing in it.
pub(super) fn trial(context: &Context) -> Result<(), Fail> {
    match context.rung {
        Rung::UserNamespace | Rung::RootNamespace | Rung::HostProc => {
            // The pool's own directory as the lower layer: so a file system that cannot be one is found out now.
            enter_layers(context, view::ROOTS, RootMode::Chroot, INODES_MIN * BYTES_PER_INODE)?;
            rustix::fs::mkdir("/a", Mode::from_raw_mode(0o755)).step("writing to the overlay")
        }
        Rung::Chroot => super::lowest::trial(context),
        Rung::None => Ok(()),
    }
}

fn open_dir(path: &str) -> Result<OwnedFd, Fail> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).step(format!("opening {path}"))
}

/// Gives up what only mounting needed, on the rungs that are root.
pub(super) fn settle(context: &Context) -> Result<(), Fail> {
    if let Some(user) = context.becomes {
        view::become_user(user)?;
    }
    // No job may look into its init, though both are the same user.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).step("hiding the job's init")
}

fn enter_layers(context: &Context, lower: &str, mode: RootMode, scratch_bytes: u64) -> Result<OwnedFd, Fail> {
    let inodes = (scratch_bytes / BYTES_PER_INODE).clamp(INODES_MIN, INODES_MAX);
    let options = text(format!("size={},nr_inodes={inodes},mode=755", scratch_bytes.max(1)))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount(c"kiln", view::JOB, c"tmpfs", flags, Some(&*options)).step("mounting scratch space")?;
    let scratch = rustix::fs::open(view::JOB, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .step("opening scratch space")?;
    // Upper and work directory of the overlay, and the job's root. On the rung of root they are the job user's.
    for name in ["u", "w", "m"] {
        rustix::fs::mkdirat(&scratch, name, Mode::from_raw_mode(0o755)).step("making scratch directories")?;
        give_to_job(context, &scratch, name)?;
    }
    let merged = match mode {
        RootMode::Chroot => format!("{}/m", view::JOB),
        RootMode::HostUsr => enter_host(context, &scratch)?,
    };
    let user = if context.rung == Rung::RootNamespace { "" } else { ",userxattr" };
    let options = text(format!("lowerdir={lower},upperdir={job}/u,workdir={job}/w,index=off{user}", job = view::JOB))?;
    rustix::mount::mount(c"kiln", &*merged, c"overlay", flags, Some(&*options)).step("mounting the overlay")?;
    if mode == RootMode::Chroot {
        for (name, bits) in [("proc", 0o555), ("dev", 0o755), ("tmp", 0o1777)] {
            make_mount_point(context, &merged, name, bits)?;
        }
    }
    let root = format!("{}/m", view::JOB);
    mount_proc(context, &format!("{root}/proc"))?;
    let dev = format!("{root}/dev");
    if mode == RootMode::Chroot && holds_something(&dev)? {
        add_devices(&dev)?
    } else {
        bind(view::DEV, &dev)?
    }
    if mode == RootMode::HostUsr {
        let options = c"size=64m,mode=1777";
        rustix::mount::mount(c"kiln", format!("{root}/dev/shm"), c"tmpfs", flags, Some(options)).step("mounting /dev/shm")?;
    }
    change_root(&root)?;
    Ok(scratch)
}

/// The worker's own files, with the job's `/tmp`; returns where the input root goes.
fn enter_host(context: &Context, scratch: &OwnedFd) -> Result<String, Fail> {
    let root = format!("{}/m", view::JOB);
    rustix::fs::mkdirat(scratch, "t", Mode::from_raw_mode(0o1777)).step("making /tmp")?;
    give_to_job(context, scratch, "t")?;
    bind(view::HOST, &root)?;
    bind(&format!("{}/t", view::JOB), &format!("{root}/tmp"))?;
    view::loopback_up()?;
    Ok(format!("{root}{}", view::HOST_WORK))
}

/// Whether a directory is not empty: an input root has entries of its own below `/dev` where a build is in `/dev/shm`.
fn holds_something(dir: &str) -> Result<bool, Fail> {
    let mut entries = std::fs::read_dir(dir).step(format!("listing {dir}"))?;
    Ok(entries.next().is_some())
}

/// The devices of jobs beside what the input root has; what it has under a device's name is refused.
fn add_devices(dev: &str) -> Result<(), Fail> {
    for entry in std::fs::read_dir(view::DEV).step("listing the devices")? {
        let entry = entry.step("listing the devices")?;
        let name = entry.file_name();
        let (from, to) = (entry.path(), std::path::Path::new(dev).join(&name));
        let kind = entry.file_type().step("listing the devices")?;
        let step = || format!("making /dev/{}", name.display());
        if kind.is_dir() {
            match std::fs::create_dir(&to) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => made.step(step())?,
            }
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(&from).step(step())?, &to).step(step())?;
        } else {
            std::fs::File::create_new(&to).map(drop).step(step())?;
            rustix::mount::mount_bind_recursive(&from, &to).step(step())?;
        }
    }
    Ok(())
}

fn bind(from: &str, to: &str) -> Result<(), Fail> {
    rustix::mount::mount_bind_recursive(from, to).step(format!("binding {from}"))
}

fn mount_proc(context: &Context, path: &str) -> Result<(), Fail> {
    if context.rung == Rung::HostProc {
        return bind("/proc", path);
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount(c"proc", path, c"proc", flags, None).step("mounting /proc")
}

fn change_root(root: &str) -> Result<(), Fail> {
    rustix::process::chdir(root).step("entering the root")?;
    rustix::process::pivot_root(".", ".").step("changing the root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).step("leaving the helper's root")?;
    rustix::process::chdir("/").step("entering the root")
}

/// A directory of the merged root to mount on. If the input root has something else of that name, it is refused: mounting on a link
/// would follow it.
fn make_mount_point(context: &Context, merged: &str, name: &str, bits: u32) -> Result<(), Fail> {
    let path = format!("{merged}/{name}");
    match rustix::fs::mkdir(&*path, Mode::from_raw_mode(bits)) {
        Ok(()) if bits & 0o1000 != 0 => rustix::fs::chmodat(CWD, &*path, Mode::from_raw_mode(bits), rustix::fs::AtFlags::empty())
            .step(format!("making /{name}"))
            .and_then(|()| give_path_to_job(context, &path)),
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => {
            let stat = rustix::fs::lstat(&*path).step(format!("looking at /{name}"))?;
            let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if is_dir { Ok(()) } else { Err(Fail { step: format!("/{name} of the input root"), errno: libc::ENOTDIR }) }
        }
        Err(errno) => Err(errno).step(format!("making /{name}")),
    }
}

/// On the rung of root, what init makes belongs to root: the job must be able to write to it.
fn give_to_job(context: &Context, dir: &OwnedFd, name: &str) -> Result<(), Fail> {
    let Some(user) = context.becomes else { return Ok(()) };
    let (uid, gid) = ids(user);
    rustix::fs::chownat(dir, name, uid, gid, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).step("giving scratch space to the job")
}

fn give_path_to_job(context: &Context, path: &str) -> Result<(), Fail> {
    let Some(user) = context.becomes else { return Ok(()) };
    let (uid, gid) = ids(user);
    rustix::fs::chownat(CWD, path, uid, gid, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).step("giving a directory to the job")
}

fn ids(user: crate::JobUser) -> (Option<rustix::fs::Uid>, Option<rustix::fs::Gid>) {
    (Some(rustix::fs::Uid::from_raw(user.uid)), Some(rustix::fs::Gid::from_raw(user.gid)))
}

/// Makes the directories that the job's command expects, as the job would: links in the input root are followed, inside the root.
pub(super) fn make_dirs(place: &Place, job: &Job) -> Result<(), Report> {
    for dir in &job.make_dirs {
        make_path(place, &place.absolute(dir))?;
    }
    for output in job.outputs.iter().chain(&job.output_trees) {
        let path = place.absolute(output);
        let parent = path.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
        make_path(place, parent)?;
    }
    Ok(())
}

/// Like `mkdir -p`.
fn make_path(place: &Place, path: &str) -> Result<(), Report> {
    if open_in(place, path).is_ok() {
        return Ok(());
    }
    let mut at = String::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty() && *segment != ".") {
        at.push('/');
        at.push_str(segment);
        match rustix::fs::mkdir(&*at, Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(_) => {
                open_in(place, &at).map_err(|errno| Report::BadJob(format!("directory {at:?} cannot be made: {errno}")))?;
            }
        }
    }
    Ok(())
}

/// Opens a directory of the job's root.
pub(super) fn open_in(place: &Place, path: &str) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { "/" } else { path };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(&place.root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

fn text(text: String) -> Result<CString, Fail> {
    CString::new(text).map_err(|_| Fail { step: "a mount option with NUL".into(), errno: libc::EINVAL })
}
