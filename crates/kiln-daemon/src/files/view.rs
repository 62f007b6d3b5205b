//! The scanner's window on the client's files. What it has answered is checked again after each scan ([`View::check`]); an
//! answer that would be another now raises the generation, and the scan is made again.

use kiln_scan::{Closure, Dialect, DirId, Directives, Entry, FileId, FileView, Names, ReadError};
use rustc_hash::FxHashSet;
use std::sync::Arc;

use super::content::ContentId;
use super::listing::Kind;
use super::store::{Epoch, Files};
use super::walk::{WalkEnd, join};

/// One request's view.
pub(crate) struct View<'a> {
    files: &'a Files,
    names: &'a Names,
    epoch: Epoch,
}

impl<'a> View<'a> {
    pub(crate) fn new(files: &'a Files, names: &'a Names, epoch: Epoch) -> View<'a> {
        View { files, names, epoch }
    }

    fn walk_to(&self, path: &str) -> Option<DirId> {
        match self.files.walk(path, self.epoch, &mut |_| {}) {
            WalkEnd::Directory(path) => self.files.directory_id(&path, self.epoch),
            _ => None,
        }
    }

    /// Looks again at every directory and file that `closure` relies on.
    pub(crate) fn check(&self, closure: &Closure, cwd: &str) {
        let spelled = |dir: &str| match dir {
            dir if dir.starts_with('/') => dir.to_owned(),
            "" => cwd.to_owned(),
            dir => join(cwd, dir),
        };
        let mut seen: FxHashSet<(Arc<str>, Arc<str>)> = FxHashSet::default();
        let mut directories: FxHashSet<String> = FxHashSet::default();
        for absent in closure.absent() {
            if !absent.name.contains('/') {
                directories.insert(spelled(&absent.dir));
            } else if seen.insert((Arc::clone(&absent.dir), Arc::clone(&absent.name))) {
                let path = join(&spelled(&absent.dir), &absent.name);
                if let Some((parent, _)) = path.rsplit_once('/') {
                    directories.insert(parent.to_owned());
                }
            }
        }
        directories.extend(closure.missing_dirs.iter().map(|dir| spelled(dir)));
        for directory in &directories {
            // Walking it lists every directory on the way, and listing notices what changed.
            if let WalkEnd::Directory(path) = self.files.walk(directory, self.epoch, &mut |_| {}) {
                self.files.listing(&path, self.epoch);
            }
        }
        for file in &closure.files {
            if let WalkEnd::File(path) = self.files.walk(&spelled(&file.path), self.epoch, &mut |_| {}) {
                let _ = self.files.file(&path, self.epoch);
            }
        }
    }
}

impl FileView for View<'_> {
    fn names(&self) -> &Names {
        self.names
    }

    fn generation(&self) -> u64 {
        self.files.generation()
    }

    fn dir(&self, path: &str) -> Option<DirId> {
        self.walk_to(path)
    }

    fn walk(&self, from: DirId, relative: &str) -> Option<DirId> {
        let from = self.files.directory_path(from)?;
        self.walk_to(&join(&from, relative))
    }

    fn entry(&self, dir: DirId, name: &str) -> Entry {
        let Some(path) = self.files.directory_path(dir) else { return Entry::Absent };
        let Some(listing) = self.files.listing_asked(&path, name, self.epoch) else { return Entry::Absent };
        let physical = match listing.names.get(name) {
            None => return Entry::Absent,
            Some(Kind::Directory) => return Entry::Dir,
            Some(Kind::Other) => return Entry::Special,
            Some(Kind::File) => join(&path, name),
            Some(Kind::Symlink(_)) => match self.files.walk(&join(&path, name), self.epoch, &mut |_| {}) {
                WalkEnd::File(physical) => physical,
                WalkEnd::Directory(_) => return Entry::Dir,
                WalkEnd::Absent => return Entry::Absent,
                WalkEnd::Other => return Entry::Special,
            },
        };
        match self.files.file(&physical, self.epoch) {
            Ok(found) => Entry::File(FileId(found.content.0)),
            Err(_) => Entry::Special,
        }
    }

    fn directives(&self, file: FileId, dialect: Dialect) -> Result<Arc<Directives>, ReadError> {
        self.files.directives(ContentId(file.0), dialect, self.names)
    }
}
