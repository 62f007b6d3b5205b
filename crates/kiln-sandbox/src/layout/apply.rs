//! Turns a laid-out tree into another by their difference. Every step is relative to an open directory and follows no link.

use super::NODE_MTIME_SECONDS;
use super::plan::Node;
use crate::{Blobs, JobUser, LayoutError, LinkKind};
use kiln_cas::{Digest, FileNode};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// What stands in one root beyond its tree: which path holds the one link to a store file, and who is linked to whom.
#[derive(Debug, Default)]
pub(super) struct Identities {
    /// The one path that is a link to the store's file of that digest and executable bit.
    linked: HashMap<(Digest, bool), String>,
    /// The paths that are links of each other.
    groups: HashMap<Group, BTreeSet<String>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Group {
    name: String,
    digest: Digest,
    executable: bool,
    mtime: Option<(i64, u32)>,
}

/// How a file is to stand in the root.
enum Standing {
    Linked,
    Private,
    Grouped(Group),
}

/// One change of a root, from `old` to `new`.
pub(super) struct Change<'a> {
    blobs: &'a dyn Blobs,
    root: BorrowedFd<'a>,
    owner: Option<JobUser>,
    identities: &'a mut Identities,
    path: String,
    missing: BTreeSet<Digest>,
}

type Step<T> = Result<T, LayoutError>;

const DIR_FLAGS: OFlags =
    OFlags::from_bits_retain(OFlags::DIRECTORY.bits() | OFlags::NOFOLLOW.bits() | OFlags::CLOEXEC.bits() | OFlags::RDONLY.bits());

impl<'a> Change<'a> {
    pub(super) fn new(
        blobs: &'a dyn Blobs,
        root: BorrowedFd<'a>,
        owner: Option<JobUser>,
        identities: &'a mut Identities,
    ) -> Change<'a> {
        Change { blobs, root, owner, identities, path: String::new(), missing: BTreeSet::new() }
    }

    /// Removes what is not in `new`, then adds what is not in `old`: so a file that moved finds its link free.
    pub(super) fn run(mut self, old: &Node, new: &Node) -> Step<()> {
        if old.digest == new.digest {
            return Ok(());
        }
        let root = self.root;
        self.remove_difference(root, old, new)?;
        self.add_difference(root, old, new)?;
        if self.missing.is_empty() { Ok(()) } else { Err(LayoutError::Missing(self.missing.into_iter().collect())) }
    }

    fn remove_difference(&mut self, at: BorrowedFd<'_>, old: &Node, new: &Node) -> Step<()> {
        for file in absent_in(&old.dir.files, &new.dir.files, |node| &node.name, |a, b| a == b) {
            self.remove_file(at, file)?;
        }
        for link in absent_in(&old.dir.symlinks, &new.dir.symlinks, |node| &node.name, |a, b| a == b) {
            self.named(&link.name, |change| change.io(rustix::fs::unlinkat(at, &link.name, AtFlags::empty())))?;
        }
        let mut theirs = new.named_children().peekable();
        for (name, child) in old.named_children() {
            while theirs.next_if(|(other, _)| *other < name).is_some() {}
            match theirs.next_if(|(other, _)| *other == name) {
                Some((_, other)) if other.digest == child.digest => {}
                Some((_, other)) => self.named(name, |change| {
                    let dir = change.open_dir(at, name)?;
                    change.remove_difference(dir.as_fd(), child, other)
                })?,
                None => self.remove_directory(at, name, child)?,
            }
        }
        Ok(())
    }

    fn remove_directory(&mut self, at: BorrowedFd<'_>, name: &str, node: &Node) -> Step<()> {
        self.named(name, |change| {
            let dir = change.open_dir(at, name)?;
            change.remove_difference(dir.as_fd(), node, &Node::empty())?;
            change.io(rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR))
        })
    }

    fn remove_file(&mut self, at: BorrowedFd<'_>, file: &FileNode) -> Step<()> {
        self.named(&file.name, |change| {
            match standing(file) {
                Standing::Linked => {
                    let key = (file.digest, file.is_executable);
                    if change.identities.linked.get(&key).is_some_and(|path| *path == change.path) {
                        change.identities.linked.remove(&key);
                    }
                }
                Standing::Grouped(group) => {
                    let paths = change.identities.groups.entry(group);
                    if let std::collections::hash_map::Entry::Occupied(mut paths) = paths {
                        paths.get_mut().remove(&change.path);
                        if paths.get().is_empty() {
                            paths.remove();
                        }
                    }
                }
                Standing::Private => {}
            }
            change.io(rustix::fs::unlinkat(at, &file.name, AtFlags::empty()))
        })
    }

    fn add_difference(&mut self, at: BorrowedFd<'_>, old: &Node, new: &Node) -> Step<()> {
        for file in absent_in(&new.dir.files, &old.dir.files, |node| &node.name, |a, b| a == b) {
            self.named(&file.name, |change| change.add_file(at, file))?;
        }
        for link in absent_in(&new.dir.symlinks, &old.dir.symlinks, |node| &node.name, |a, b| a == b) {
            self.named(&link.name, |change| {
                change.io(rustix::fs::symlinkat(&link.target, at, &link.name))?;
                let times = node_times(None);
                change.io(rustix::fs::utimensat(at, &link.name, &times, AtFlags::SYMLINK_NOFOLLOW))
            })?;
        }
        let mut theirs = old.named_children().peekable();
        for (name, child) in new.named_children() {
            while theirs.next_if(|(other, _)| *other < name).is_some() {}
            let before = theirs.next_if(|(other, _)| *other == name).map(|(_, node)| node.clone());
            if before.as_ref().is_some_and(|before| before.digest == child.digest) {
                continue;
            }
            self.named(name, |change| change.add_directory(at, name, before, child))?;
        }
        self.io(rustix::fs::futimens(at, &node_times(None)))
    }

    fn add_directory(&mut self, at: BorrowedFd<'_>, name: &str, before: Option<Arc<Node>>, node: &Node) -> Step<()> {
        let fresh = before.is_none();
        if fresh {
            self.io(rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o755)))?;
        }
        let dir = self.open_dir(at, name)?;
        if fresh {
            // The process's umask must not decide what jobs see.
            self.io(rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755)))?;
            if let Some(user) = self.owner {
                self.io(rustix::fs::fchown(&dir, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid))))?;
            }
        }
        self.add_difference(dir.as_fd(), &before.unwrap_or_else(Node::empty), node)
    }

    fn add_file(&mut self, at: BorrowedFd<'_>, file: &FileNode) -> Step<()> {
        match standing(file) {
            Standing::Private => self.copy(at, file),
            Standing::Linked => {
                let key = (file.digest, file.is_executable);
                if self.identities.linked.contains_key(&key) {
                    return self.copy(at, file);
                }
                match self.blobs.link(&file.digest, file.is_executable, at, &file.name) {
                    Ok(LinkKind::Linked) => {
                        self.identities.linked.insert(key, self.path.clone());
                        Ok(())
                    }
                    Ok(LinkKind::CannotLink) => self.copy(at, file),
                    Err(error) => self.store_error(file, error),
                }
            }
            Standing::Grouped(group) => {
                let first = self.identities.groups.get(&group).and_then(|paths| paths.first()).cloned();
                match first {
                    // The tree's own directories lead there, none of them a link.
                    Some(first) => self.io(rustix::fs::linkat(self.root, &first, at, &file.name, AtFlags::empty()))?,
                    None => self.copy(at, file)?,
                }
                let path = self.path.clone();
                self.identities.groups.entry(group).or_default().insert(path);
                Ok(())
            }
        }
    }

    fn copy(&mut self, at: BorrowedFd<'_>, file: &FileNode) -> Step<()> {
        let mut source = None;
        if file.digest != Digest::EMPTY {
            source = match self.blobs.open(&file.digest) {
                Ok(source) => Some(source),
                Err(error) => return self.store_error(file, error),
            };
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let copy = self.io(rustix::fs::openat(at, &file.name, flags, Mode::from_raw_mode(0o600)))?;
        let mut copy = std::fs::File::from(copy);
        if let Some(mut source) = source {
            let copied = io::copy(&mut source, &mut copy).map_err(|source| self.error(source))?;
            if copied != file.digest.size {
                return Err(self.error(io::Error::other("the store's file has another length than its digest")));
            }
        }
        let mode = if file.is_executable { 0o555 } else { 0o444 };
        self.io(rustix::fs::fchmod(&copy, Mode::from_raw_mode(mode)))?;
        let mtime = file.properties.as_ref().and_then(|properties| properties.mtime);
        self.io(rustix::fs::futimens(&copy, &node_times(mtime)))
    }

    fn store_error(&mut self, file: &FileNode, error: io::Error) -> Step<()> {
        if error.kind() == io::ErrorKind::NotFound {
            self.missing.insert(file.digest);
            return Ok(());
        }
        Err(self.error(error))
    }

    fn open_dir(&self, at: BorrowedFd<'_>, name: &str) -> Step<OwnedFd> {
        self.io(rustix::fs::openat(at, name, DIR_FLAGS, Mode::empty()))
    }

    fn named<T>(&mut self, name: &str, step: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        let before = self.path.len();
        if before > 0 {
            self.path.push('/');
        }
        self.path.push_str(name);
        let done = step(self);
        self.path.truncate(before);
        done
    }

    fn io<T>(&self, result: Result<T, Errno>) -> Step<T> {
        result.map_err(|errno| self.error(errno.into()))
    }

    fn error(&self, source: io::Error) -> LayoutError {
        LayoutError::Io { path: self.path.clone(), source }
    }
}

/// Those of `these` that `others` does not have, both sorted by name.
fn absent_in<'a, T>(
    these: &'a [T],
    others: &'a [T],
    name: impl Fn(&T) -> &str,
    equal: impl Fn(&T, &T) -> bool,
) -> impl Iterator<Item = &'a T> {
    let mut others = others.iter().peekable();
    these.iter().filter(move |this| {
        while others.next_if(|other| name(other) < name(this)).is_some() {}
        !others.next_if(|other| name(other) == name(this)).is_some_and(|other| equal(this, other))
    })
}

fn standing(file: &FileNode) -> Standing {
    let Some(properties) = &file.properties else {
        return if file.digest == Digest::EMPTY { Standing::Private } else { Standing::Linked };
    };
    let group = properties.properties.iter().find(|(name, _)| name == "link-group");
    match group {
        Some((_, name)) => Standing::Grouped(Group {
            name: name.clone(),
            digest: file.digest,
            executable: file.is_executable,
            mtime: properties.mtime,
        }),
        None if properties.mtime.is_some() => Standing::Private,
        None if file.digest == Digest::EMPTY => Standing::Private,
        None => Standing::Linked,
    }
}

/// Both times of a node: its own modification time, or the constant one.
pub(super) fn node_times(mtime: Option<(i64, u32)>) -> Timestamps {
    let (seconds, nanos) = mtime.unwrap_or((NODE_MTIME_SECONDS, 0));
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
