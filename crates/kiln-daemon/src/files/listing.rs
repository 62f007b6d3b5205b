//! Lists one directory. Knows nothing of validity.

use rustc_hash::FxHashMap;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, fstat, lstat, openat, readlink, readlinkat, statat};
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::content::Stamp;

/// What a name in a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    /// A symbolic link and its target.
    Symlink(Arc<str>),
    /// A FIFO, socket or device, or a link whose target is not UTF-8.
    Other,
}

/// Names of one directory at one time.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) stamp: Stamp,
    pub(crate) names: FxHashMap<Box<str>, Kind>,
    /// The time stamp is old enough for an equal one to mean an equal directory.
    pub(crate) settled: bool,
}

impl Listing {
    /// The names in order.
    pub(crate) fn sorted_names(&self) -> Vec<Box<str>> {
        let mut names: Vec<Box<str>> = self.names.keys().cloned().collect();
        names.sort_unstable();
        names
    }
}

/// Room for directory entries read at a time.
const BUFFER_LEN: usize = 32 << 10;

/// Lists `path`; `None` when it is no directory (any more) or may not be read. Names that are not UTF-8 are left out: no
/// command that kiln takes can spell them.
pub(crate) fn list(path: &str, now_ns: i128) -> Option<Listing> {
    let fd = openat(rustix::fs::CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let before = Stamp::of(&fstat(&fd).ok()?);
    let names = read_names(&fd)?;
    let after = Stamp::of(&fstat(&fd).ok()?);
    let settled = before == after && after.is_settled(now_ns);
    Some(Listing { stamp: after, names, settled })
}

fn read_names(fd: &OwnedFd) -> Option<FxHashMap<Box<str>, Kind>> {
    let mut names = FxHashMap::default();
    let mut buffer = [MaybeUninit::uninit(); BUFFER_LEN];
    let mut entries = RawDir::new(fd, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.ok()?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name == "." || name == ".." {
            continue;
        }
        let file_type = match entry.file_type() {
            FileType::Unknown => match statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(_) => continue,
            },
            known => known,
        };
        let kind = kind_of(file_type, || readlinkat(fd, name, Vec::new()).ok());
        names.insert(name.into(), kind);
    }
    Some(names)
}

/// What stands at `path` now, links not followed; `None` when nothing does.
pub(crate) fn look(path: &str) -> Option<Kind> {
    let stat = lstat(path).ok()?;
    Some(kind_of(FileType::from_raw_mode(stat.st_mode), || readlink(path, Vec::new()).ok()))
}

fn kind_of(file_type: FileType, target: impl FnOnce() -> Option<CString>) -> Kind {
    match file_type {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => match target().and_then(|target| target.into_string().ok()) {
            Some(target) => Kind::Symlink(target.into()),
            None => Kind::Other,
        },
        _ => Kind::Other,
    }
}
