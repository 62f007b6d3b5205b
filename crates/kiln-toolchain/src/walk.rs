//! Follows paths as the kernel does, component by component, and enters all that is met. Knows no compiler.

use crate::watch::{Expect, WatchBuilder, list};
use crate::{DigestCache, Entry, ToolchainError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Links followed in one path before it counts as a circle: the kernel's own bound (`MAXSYMLINKS`).
const LINKS_MAX: usize = 40;

/// Most entries of one toolchain: 65,536. The largest seen has some hundred; with all character sets, a thousand.
const ENTRIES_MAX: usize = 1 << 16;

/// Where a path leads; the strings are physical paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    File(String),
    Directory(String),
    Absent,
}

impl Place {
    pub(crate) fn file(self) -> Option<String> {
        match self {
            Place::File(path) => Some(path),
            _ => None,
        }
    }

    pub(crate) fn is_absent(&self) -> bool {
        *self == Place::Absent
    }
}

/// The entries and watches found so far.
pub(crate) struct Walker<'a> {
    entries: BTreeMap<String, Entry>,
    watched: BTreeSet<String>,
    watch: WatchBuilder,
    cache: &'a mut DigestCache,
}

enum Step {
    Link(String, String),
    Directory(String),
}

impl<'a> Walker<'a> {
    pub(crate) fn new(cache: &'a mut DigestCache) -> Walker<'a> {
        Walker { entries: BTreeMap::new(), watched: BTreeSet::new(), watch: WatchBuilder::default(), cache }
    }

    pub(crate) fn finish(self) -> (Vec<Entry>, WatchBuilder) {
        (self.entries.into_values().collect(), self.watch)
    }

    /// Paths of everything entered so far.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Looks where `path` leads and watches that it stays so, without entering anything.
    pub(crate) fn look(&mut self, path: &str) -> Result<Place, ToolchainError> {
        self.follow(path).map(|(place, _)| place)
    }

    /// Enters a file or directory with every link and directory on the way; what is absent is watched to stay so.
    pub(crate) fn enter(&mut self, path: &str) -> Result<Place, ToolchainError> {
        let (place, steps) = self.follow(path)?;
        if place.is_absent() {
            return Ok(place);
        }
        for step in steps {
            let (path, entry) = match step {
                Step::Link(path, target) => (path.clone(), Entry::Symlink { path, target }),
                Step::Directory(path) => (path.clone(), Entry::Directory { path }),
            };
            self.entries.insert(path, entry);
        }
        if let Place::File(path) = &place
            && !self.entries.contains_key(path)
        {
            let read = self.cache.read(Path::new(path))?;
            self.watch.file(path, read.stamp, (!read.settled).then_some(read.digest));
            let entry = Entry::File { path: path.clone(), digest: read.digest, executable: read.executable };
            self.entries.insert(path.clone(), entry);
        }
        if self.entries.len() > ENTRIES_MAX {
            return Err(ToolchainError::Unbounded { path: path.into(), why: "more entries than a toolchain has" });
        }
        Ok(place)
    }

    /// Enters a file if it is there, and watches its content and its absence alike, but leaves it out of the tree.
    pub(crate) fn watch_file(&mut self, path: &str) -> Result<Place, ToolchainError> {
        let place = self.look(path)?;
        if let Place::File(path) = &place {
            let read = self.cache.read(Path::new(path))?;
            self.watch.file(path, read.stamp, (!read.settled).then_some(read.digest));
        }
        Ok(place)
    }

    /// The names in a directory, watched as a whole: a new name counts as a change. Nothing when it is no directory.
    pub(crate) fn list(&mut self, path: &str) -> Result<Vec<String>, ToolchainError> {
        let Place::Directory(path) = self.look(path)? else { return Ok(Vec::new()) };
        let names = list(Path::new(&path)).map_err(|source| ToolchainError::Io { path: PathBuf::from(&path), source })?;
        self.watch.listing(&path, names.clone());
        Ok(names)
    }

    /// Enters every file below a directory, links as links, two levels deep: the shape of all that compilers keep as data.
    pub(crate) fn enter_tree(&mut self, path: &str, depth: usize) -> Result<(), ToolchainError> {
        for name in self.list(path)? {
            let child = format!("{path}/{name}");
            if let Place::Directory(_) = self.enter(&child)?
                && depth > 1
            {
                self.enter_tree(&child, depth - 1)?;
            }
        }
        Ok(())
    }

    fn follow(&mut self, path: &str) -> Result<(Place, Vec<Step>), ToolchainError> {
        if !path.starts_with('/') || path.contains('\0') {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "not an absolute path");
            return Err(ToolchainError::Io { path: path.into(), source });
        }
        let mut pending: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut current = String::new();
        let mut steps = Vec::new();
        let mut links = 0;
        while let Some(name) = pending.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    current.truncate(current.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let child = format!("{current}/{name}");
            let Ok(metadata) = std::fs::symlink_metadata(&child) else {
                self.watch.name(&current, &name, Expect::Absent);
                return Ok((Place::Absent, steps));
            };
            if metadata.is_symlink() {
                links += 1;
                if links > LINKS_MAX {
                    return Err(ToolchainError::Unbounded { path: path.into(), why: "too many links" });
                }
                let target = self.read_link(&child)?;
                self.watch.name(&current, &name, Expect::Link(target.clone()));
                if target.starts_with('/') {
                    current.clear();
                }
                pending.extend(target.split('/').rev().map(str::to_owned));
                steps.push(Step::Link(child, target));
            } else if metadata.is_dir() {
                if self.watched.insert(child.clone()) {
                    self.watch.name(&current, &name, Expect::Directory);
                }
                steps.push(Step::Directory(child.clone()));
                current = child;
            } else if pending.iter().all(String::is_empty) {
                return Ok((Place::File(child), steps));
            } else {
                // A file where a directory would have to be: the path leads nowhere.
                self.watch.name(&current, &name, Expect::Other);
                return Ok((Place::Absent, steps));
            }
        }
        let place = if current.is_empty() { "/".to_owned() } else { current };
        Ok((Place::Directory(place), steps))
    }

    fn read_link(&self, path: &str) -> Result<String, ToolchainError> {
        let target = std::fs::read_link(path).map_err(|source| ToolchainError::Io { path: path.into(), source })?;
        target.into_os_string().into_string().map_err(|_| ToolchainError::NotUtf8(path.into()))
    }
}
