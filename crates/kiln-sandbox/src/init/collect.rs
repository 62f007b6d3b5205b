//! Takes a job's outputs out of its root when nobody can change them any more, and reports. Follows no link.

use super::root::{Place, open_in};
use super::watch::Ended;
use crate::job::{Ending, Limit, RootMode};
use crate::message::{Done, Found, Job, Report};
use crate::sys::{Fail, Step};
use crate::wire::MESSAGE_FDS_MAX;
use crate::{DEPTH_MAX, socket};
use rustix::fs::{AtFlags, Dir, FileType, MemfdFlags, Mode, OFlags, ResolveFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most entries collected from one job: 16 Ki. A compile has a handful; a plain action with a directory of generated sources some
/// thousands, each a descriptor in the worker until it is stored.
const ENTRIES_MAX: usize = 16 << 10;

/// Names and targets in one message, in bytes; with the numbers beside them it stays below what one message takes.
const BATCH_BYTES_MAX: usize = 48 << 10;

/// Both streams travel in the last message up to this size, else in memory files.
const INLINE_BYTES_MAX: usize = 32 << 10;

/// Where the outputs will be, found out before the job runs: links of the input root are followed, those that the job makes are not.
pub(super) struct Plan {
    files: Vec<Output>,
    trees: Vec<Output>,
}

struct Output {
    /// As the job spelled it.
    name: String,
    /// From the output root, without links.
    path: String,
}

impl Plan {
    pub(super) fn prepare(job: &Job, place: &Place) -> Result<Plan, Report> {
        let find = |names: &[String]| names.iter().map(|name| Output::find(name, job.mode, place)).collect::<Result<Vec<_>, _>>();
        Ok(Plan { files: find(&job.outputs)?, trees: find(&job.output_trees)? })
    }
}

impl Output {
    fn find(name: &str, mode: RootMode, place: &Place) -> Result<Output, Report> {
        let bad = |why: &str| Report::BadJob(format!("output {name:?} {why}"));
        if mode == RootMode::HostUsr && name.starts_with('/') {
            return Err(bad("is absolute"));
        }
        let absolute = place.absolute(name);
        let absolute = absolute.trim_end_matches('/');
        let (parent, last) = absolute.rsplit_once('/').ok_or_else(|| bad("is no path"))?;
        let directory = match last {
            "." | ".." => return Err(bad("is no file's name")),
            // The whole of the output root.
            "" => String::new(),
            _ => real_path(place, parent)?,
        };
        let path = format!("{}/{last}", directory.trim_end_matches('/'));
        let inside = path.strip_prefix(&place.output_prefix).filter(|rest| rest.starts_with('/'));
        let inside = inside.ok_or_else(|| bad("is outside of the input root"))?;
        let path = if inside == "/" { "." } else { inside.trim_start_matches('/') };
        Ok(Output { name: name.to_owned(), path: path.to_owned() })
    }
}

/// The path of a directory of the job's root without links in it.
fn real_path(place: &Place, path: &str) -> Result<String, Report> {
    let dir = open_in(place, path).step(format!("opening {path:?}"))?;
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&dir));
    match rustix::fs::readlink(link, Vec::new()) {
        Ok(real) => real.into_string().map_err(|_| Report::BadJob("a directory's name is not UTF-8".into())),
        // No /proc on this rung: then the path must do without links, or the output is not found.
        Err(_) => Ok(path.to_owned()),
    }
}

/// Collects and reports; the job's last process is gone.
pub(super) fn finish(ended: Ended, plan: &Plan, place: &Place, job_socket: &OwnedFd) -> Result<(), Report> {
    let mut sender = Sender { socket: job_socket.as_fd(), batch: Vec::new(), fds: Vec::new(), bytes: 0, count: 0 };
    let mut ending = ended.ending;
    let collected = plan
        .files
        .iter()
        .try_for_each(|output| match open_output(place.output_root.as_fd(), &output.path) {
            Some((file, found @ Found::File { .. })) => sender.put(output.name.clone(), found, Some(file)),
            _ => Ok(()),
        })
        .and_then(|()| plan.trees.iter().try_for_each(|output| sender.put_tree(place, output)))
        .and_then(|()| sender.flush());
    match collected {
        Ok(()) => {}
        Err(Stop::TooMany) => ending = Ending::LimitMet(Limit::Outputs),
        Err(Stop::Failed(fail)) => return Err(fail.into()),
    }
    send_done(ended, ending, job_socket).map_err(Report::from)
}

fn send_done(ended: Ended, ending: Ending, job_socket: &OwnedFd) -> Result<(), Fail> {
    let mut done = Done {
        ending,
        suspected: ended.suspected,
        cpu_us: ended.cpu_us,
        wall_us: ended.wall_us,
        max_rss_bytes: ended.max_rss_bytes,
        streams: None,
    };
    if ended.stdout.len() + ended.stderr.len() <= INLINE_BYTES_MAX {
        done.streams = Some((ended.stdout, ended.stderr));
        return socket::send(job_socket.as_fd(), &Report::Done(done).encode(), &[]).step("reporting");
    }
    let (stdout, stderr) = (memory_file(&ended.stdout)?, memory_file(&ended.stderr)?);
    socket::send(job_socket.as_fd(), &Report::Done(done).encode(), &[stdout.as_fd(), stderr.as_fd()]).step("reporting")
}

fn memory_file(bytes: &[u8]) -> Result<OwnedFd, Fail> {
    use std::io::Write;
    let fd = rustix::fs::memfd_create("kiln-stream", MemfdFlags::CLOEXEC).step("making a memory file")?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes).step("filling a memory file")?;
    Ok(file.into())
}

enum Stop {
    TooMany,
    Failed(Fail),
}

/// Opens what stands at `path`, from `root`, through no link and over no mount, without waiting for anybody.
fn open_output(root: BorrowedFd<'_>, path: &str) -> Option<(OwnedFd, Found)> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    let found = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Found::File { size: stat.st_size as u64, executable: stat.st_mode & 0o100 != 0 },
        FileType::Directory => Found::Directory,
        _ => return None,
    };
    Some((file, found))
}

struct Sender<'a> {
    socket: BorrowedFd<'a>,
    batch: Vec<(String, Found)>,
    fds: Vec<OwnedFd>,
    bytes: usize,
    count: usize,
}

impl Sender<'_> {
    fn put(&mut self, name: String, found: Found, file: Option<OwnedFd>) -> Result<(), Stop> {
        self.count += 1;
        if self.count > ENTRIES_MAX {
            return Err(Stop::TooMany);
        }
        let target = if let Found::Symlink(target) = &found { target.len() } else { 0 };
        let bytes = name.len() + target;
        if self.fds.len() == MESSAGE_FDS_MAX || self.bytes + bytes > BATCH_BYTES_MAX {
            self.flush()?;
        }
        self.bytes += bytes;
        self.batch.push((name, found));
        self.fds.extend(file);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let message = Report::Outputs(std::mem::take(&mut self.batch)).encode();
        let fds: Vec<BorrowedFd<'_>> = self.fds.iter().map(AsFd::as_fd).collect();
        let sent = socket::send(self.socket, &message, &fds).step("handing outputs over").map_err(Stop::Failed);
        drop(fds);
        self.fds.clear();
        self.bytes = 0;
        sent
    }

    fn put_tree(&mut self, place: &Place, output: &Output) -> Result<(), Stop> {
        match open_output(place.output_root.as_fd(), &output.path) {
            Some((dir, Found::Directory)) => self.put_directory(dir, output.name.clone(), 0),
            Some((file, found @ Found::File { .. })) => self.put(output.name.clone(), found, Some(file)),
            _ => Ok(()),
        }
    }

    fn put_directory(&mut self, dir: OwnedFd, name: String, depth: usize) -> Result<(), Stop> {
        if depth > DEPTH_MAX {
            return Err(Stop::TooMany);
        }
        self.put(name.clone(), Found::Directory, None)?;
        for entry in sorted_names(&dir)? {
            let path = format!("{name}/{entry}");
            match open_output(dir.as_fd(), &entry) {
                Some((below, Found::Directory)) => self.put_directory(below, path, depth + 1)?,
                Some((file, found)) => self.put(path, found, Some(file))?,
                None => {
                    let stat = rustix::fs::statat(&dir, &*entry, AtFlags::SYMLINK_NOFOLLOW);
                    let is_link = stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
                    if let Ok(target) = rustix::fs::readlinkat(&dir, &*entry, Vec::new())
                        && is_link
                        && let Ok(target) = target.into_string()
                    {
                        self.put(path, Found::Symlink(target), None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Names that are not UTF-8 cannot be told to anybody over the wire and are left out.
fn sorted_names(dir: &OwnedFd) -> Result<Vec<String>, Stop> {
    let mut names = Vec::new();
    let listing = Dir::read_from(dir).step("listing an output directory").map_err(Stop::Failed)?;
    for entry in listing.flatten() {
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
        if names.len() > ENTRIES_MAX {
            return Err(Stop::TooMany);
        }
    }
    names.sort_unstable();
    Ok(names)
}
