//! A private directory for files being written, removed by whoever finds its owner gone. Knows nothing of blobs.

use crate::StoreError;
use crate::error::io_error;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Attempts at a free name for a session: names hold the process id, so that only a cleaner that runs at the very moment can
/// take one away.
const START_ATTEMPTS: u32 = 100;

/// The directory of one open store, under an exclusive lock for as long as the store lives.
pub(crate) struct Session {
    path: PathBuf,
    name: String,
    parent: OwnedFd,
    dir: OwnedFd,
    next: AtomicU64,
}

impl Session {
    /// Makes a session below `tmp` (`path` in messages) and removes those whose owners are gone.
    pub(crate) fn start(tmp: OwnedFd, path: &Path) -> Result<Session, StoreError> {
        remove_dead(&tmp, path)?;
        for attempt in 0..START_ATTEMPTS {
            let name = format!("{}-{attempt}", std::process::id());
            match rustix::fs::mkdirat(&tmp, &name, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(io_error("make a directory in", path, error)),
            }
            let dir = match rustix::fs::openat(&tmp, &name, DIRECTORY, Mode::empty()) {
                Ok(dir) => dir,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(io_error("open a directory in", path, error)),
            };
            if lock(&dir) && still_named(&tmp, &name, &dir) {
                return Ok(Session { path: path.join(&name), name, parent: tmp, dir, next: AtomicU64::new(0) });
            }
        }
        Err(io_error("find a free name in", path, Errno::BUSY))
    }

    /// A new empty file, open for reading and writing.
    pub(crate) fn create(&self) -> Result<(File, String), Errno> {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.dir, &name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok((File::from(file), name))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn remove(&self, name: &str) {
        let _ = rustix::fs::unlinkat(&self.dir, name, AtFlags::empty());
    }

    /// Whether another store is open on the same directory.
    pub(crate) fn has_company(&self) -> bool {
        let Ok(names) = names(&self.parent) else { return false };
        names.iter().any(|name| *name != self.name)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = remove_session(&self.parent, &self.name, &self.dir);
    }
}

fn lock(dir: &OwnedFd) -> bool {
    rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive).is_ok()
}

fn still_named(tmp: &OwnedFd, name: &str, dir: &OwnedFd) -> bool {
    let (Ok(open), Ok(named)) = (rustix::fs::fstat(dir), rustix::fs::statat(tmp, name, AtFlags::SYMLINK_NOFOLLOW)) else {
        return false;
    };
    (open.st_dev, open.st_ino) == (named.st_dev, named.st_ino)
}

fn names(dir: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        if let Ok(name) = entry?.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn remove_dead(tmp: &OwnedFd, path: &Path) -> Result<(), StoreError> {
    for name in names(tmp).map_err(|error| io_error("list", path, error))? {
        let Ok(dir) = rustix::fs::openat(tmp, &name, DIRECTORY, Mode::empty()) else { continue };
        if lock(&dir) {
            remove_session(tmp, &name, &dir).map_err(|error| io_error("clean", &path.join(&name), error))?;
        }
    }
    Ok(())
}

fn remove_session(tmp: &OwnedFd, name: &str, dir: &OwnedFd) -> Result<(), Errno> {
    for file in names(dir)? {
        match rustix::fs::unlinkat(dir, &file, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    match rustix::fs::unlinkat(tmp, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn a_living_session_is_left_alone_and_a_dead_one_removed() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join("1-0");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join("7"), b"half").unwrap();
        let one = Session::start(open(dir.path()), dir.path()).unwrap();
        assert!(!dead.exists());
        assert!(!one.has_company());
        let (_, name) = one.create().unwrap();
        let two = Session::start(open(dir.path()), dir.path()).unwrap();
        assert!(one.has_company());
        assert!(one.path().join(&name).exists());
        drop(two);
        assert!(!one.has_company());
        drop(one);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
