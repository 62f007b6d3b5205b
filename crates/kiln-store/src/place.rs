//! Puts blobs under names outside the store, as hard links or private copies. Knows no tree.

use crate::disk::DiskStore;
use crate::error::io_error;
use crate::key::Key;
use crate::shelf::FILE_MTIME_S;
use crate::stats::add;
use crate::{COPY_BUFFER_BYTES, StoreError};
use kiln_cas::Digest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// How a blob got its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// Another name of the stored file, never to be written.
    Linked,
    /// A file of its own.
    Copied,
    /// The blob is not here; nothing was made.
    Missing,
}

/// What became of a link that may not turn into a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkOutcome {
    /// The name is another one of the stored file.
    Linked,
    /// The blob is not here; nothing was made.
    Missing,
    /// No link can go there: another file system, too many links, no permission. Nothing was made.
    CannotLink,
}

/// Modification time of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyTimes {
    /// Whole seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds on top, under 10^9.
    pub nanoseconds: u32,
}

impl CopyTimes {
    /// The constant that stored files have.
    pub const CONSTANT: CopyTimes = CopyTimes { seconds: FILE_MTIME_S, nanoseconds: 0 };
}

/// Times a link is tried when the file goes away between finding and linking it (another process evicts).
const LINK_ATTEMPTS: u32 = 3;

impl DiskStore {
    /// Makes `path` another name of the blob, or a copy where links cannot go: another file system, too many links, no
    /// permission.
    ///
    /// # Errors
    /// When `path` exists or its directory does not; storage failures.
    pub fn link(&self, digest: &Digest, executable: bool, path: &Path) -> Result<Placed, StoreError> {
        self.link_at(digest, executable, CWD, path)
    }

    /// [`DiskStore::link`] with `path` relative to an open directory.
    ///
    /// # Errors
    /// As [`DiskStore::link`].
    pub fn link_at(&self, digest: &Digest, executable: bool, dir: BorrowedFd<'_>, path: &Path) -> Result<Placed, StoreError> {
        match self.try_link_at(digest, executable, dir, path)? {
            LinkOutcome::Linked => Ok(Placed::Linked),
            LinkOutcome::Missing => Ok(Placed::Missing),
            LinkOutcome::CannotLink => self.copy_at(digest, executable, dir, path, CopyTimes::CONSTANT),
        }
    }

    /// [`DiskStore::link_at`] that makes nothing where links cannot go.
    ///
    /// # Errors
    /// As [`DiskStore::link`].
    pub fn try_link_at(
        &self,
        digest: &Digest,
        executable: bool,
        dir: BorrowedFd<'_>,
        path: &Path,
    ) -> Result<LinkOutcome, StoreError> {
        let key = Key::blob(digest, executable);
        for _ in 0..LINK_ATTEMPTS {
            if !self.ensure_form(&key)? {
                break;
            }
            match rustix::fs::linkat(self.shelf.root(), key.path(), dir, path, AtFlags::empty()) {
                Ok(()) => {
                    self.count_use(true);
                    add(&self.shelf.counters.links, 1);
                    return Ok(LinkOutcome::Linked);
                }
                Err(Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    return Ok(LinkOutcome::CannotLink);
                }
                // The file went away, or another took its place, since it was found; unless the new name has no directory.
                Err(Errno::NOENT) if has_parent(dir, path) => self.shelf.lock().forget(&key),
                Err(error) => return Err(io_error("link", path, error)),
            };
        }
        self.count_use(false);
        Ok(LinkOutcome::Missing)
    }

    /// Makes `path` a file of its own with the blob's content, mode 0444 or 0555 and the given times.
    ///
    /// # Errors
    /// As [`DiskStore::link`].
    pub fn copy(&self, digest: &Digest, executable: bool, path: &Path, times: CopyTimes) -> Result<Placed, StoreError> {
        self.copy_at(digest, executable, CWD, path, times)
    }

    /// [`DiskStore::copy`] with `path` relative to an open directory.
    ///
    /// # Errors
    /// As [`DiskStore::link`].
    pub fn copy_at(
        &self,
        digest: &Digest,
        executable: bool,
        dir: BorrowedFd<'_>,
        path: &Path,
        times: CopyTimes,
    ) -> Result<Placed, StoreError> {
        let source = self.open_any(digest)?;
        self.count_use(source.is_some());
        let Some(mut source) = source else { return Ok(Placed::Missing) };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let target = rustix::fs::openat(dir, path, flags, Mode::RUSR | Mode::WUSR);
        let mut target = target.map(File::from).map_err(|error| io_error("create", path, error))?;
        let written = fill(&mut source, &mut target, Key::blob(digest, executable).mode(), times);
        if let Err(error) = written {
            let _ = rustix::fs::unlinkat(dir, path, AtFlags::empty());
            return Err(io_error("write", path, error));
        }
        add(&self.shelf.counters.copies, 1);
        Ok(Placed::Copied)
    }

    /// Makes sure that the blob is here in this form, verified; makes it from the other form if need be.
    fn ensure_form(&self, key: &Key) -> Result<bool, StoreError> {
        if self.shelf.is_trusted(key) || self.open_verified(key)?.is_some() {
            return Ok(true);
        }
        let Some(mut source) = self.open_any(&key.digest)? else { return Ok(false) };
        if self.shelf.is_trusted(key) {
            return Ok(true);
        }
        let mut writer = self.writer(&key.digest, Key::blob(&key.digest, true) == *key)?;
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        loop {
            let count = source.read(&mut buffer).map_err(|error| io_error("read", &self.shelf.file_path(key), error))?;
            if count == 0 {
                break;
            }
            writer.write(&buffer[..count])?;
        }
        writer.finish()?;
        Ok(true)
    }
}

fn has_parent(dir: BorrowedFd<'_>, path: &Path) -> bool {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    rustix::fs::statat(dir, parent, AtFlags::empty()).is_ok()
}

fn fill(source: &mut File, target: &mut File, mode: u32, times: CopyTimes) -> std::io::Result<()> {
    std::io::copy(source, target)?;
    target.flush()?;
    rustix::fs::fchmod(target.as_fd(), Mode::from_raw_mode(mode))?;
    let time = Timespec { tv_sec: times.seconds, tv_nsec: times.nanoseconds.into() };
    rustix::fs::futimens(target.as_fd(), &Timestamps { last_access: time, last_modification: time })?;
    Ok(())
}
