//! Directories and files by number, as they were last seen. Makes no system call and knows no clock.

use kiln_scan::{DirId, FileId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

use super::contents::Found;
use super::listing::{Kind, Listing};
use super::walk::{Walk, join};
use super::{DIRECTORIES_MAX, FILES_MAX};

/// A request's place in time. What is known serves it if it was checked at this epoch or a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(pub(super) u64);

impl Epoch {
    /// Before every request.
    pub(super) const NEVER: Epoch = Epoch(0);
}

/// Looks at single names of a directory that has changed, instead of listing it: a look costs as much as two names of a
/// listing do, so listing begins when half as many looks as there are names have been spent.
const SPOTS_FREE: usize = 16;

/// A directory at one physical path.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: Arc<str>,
    pub(super) parent: Option<DirId>,
    pub(super) name: Arc<str>,
    pub(super) depth: u32,
    /// `None` when nothing is there, or it has not been looked at.
    pub(super) listing: Option<Arc<Listing>>,
    /// When the whole listing was last known to be right.
    pub(super) checked: Epoch,
    /// Looks at single names since the listing was made.
    pub(super) spots: usize,
    /// Names whose kind somebody relies on: only these matter when the directory changes.
    asked: FxHashSet<Box<str>>,
    /// Links that were followed to see what they lead to: where they lead may change without this directory.
    followed: FxHashSet<Box<str>>,
}

impl Directory {
    pub(super) fn kind(&self, name: &str) -> Option<Kind> {
        self.listing.as_ref()?.names.get(name).cloned()
    }

    pub(super) fn ask(&mut self, name: &str) {
        if !self.asked.contains(name) {
            self.asked.insert(name.into());
        }
    }

    pub(super) fn follow(&mut self, name: &str) {
        if !self.followed.contains(name) {
            self.followed.insert(name.into());
        }
    }

    pub(super) fn followed(&self) -> impl Iterator<Item = &str> {
        self.followed.iter().map(AsRef::as_ref)
    }

    /// Whether one more name may be looked at by itself.
    pub(super) fn spare_spot(&mut self) -> bool {
        let names = self.listing.as_ref().map_or(0, |listing| listing.names.len());
        self.spots += 1;
        self.spots <= SPOTS_FREE + names / 2
    }

    /// Takes a new listing; whether any answer given before is another now.
    pub(super) fn take(&mut self, listing: Option<Arc<Listing>>, checked: Epoch) -> bool {
        let kind = |listing: &Option<Arc<Listing>>, name: &str| listing.as_ref()?.names.get(name).cloned();
        let changed = self.asked.iter().any(|name| kind(&self.listing, name) != kind(&listing, name));
        self.listing = listing;
        self.checked = self.checked.max(checked);
        self.spots = 0;
        changed
    }
}

/// A regular file at one physical path.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: Arc<str>,
    pub(super) dir: DirId,
    pub(super) name: Arc<str>,
    /// What it held when it was last looked at; `None` when it has not been, or cannot be read.
    pub(super) found: Option<Found>,
    /// The time stamp was old enough for an equal one to mean equal content.
    pub(super) settled: bool,
    /// The same is true in another process.
    pub(super) lasts: bool,
    pub(super) checked: Epoch,
}

/// All places. Numbers are never given twice: those of forgotten places are below `first_dir` and `first_file`.
#[derive(Debug, Default)]
pub(super) struct Places {
    dirs: Vec<Directory>,
    first_dir: u32,
    dir_index: FxHashMap<Arc<str>, DirId>,
    files: Vec<Place>,
    first_file: u32,
    file_index: FxHashMap<Arc<str>, FileId>,
    pub(super) walks: FxHashMap<Arc<str>, Arc<Walk>>,
}

impl Places {
    /// Makes room by forgetting everything when there is too much; whether it did.
    pub(super) fn forget_if_full(&mut self) -> bool {
        if self.dirs.len() < DIRECTORIES_MAX && self.files.len() < FILES_MAX {
            return false;
        }
        self.first_dir += self.dirs.len() as u32;
        self.first_file += self.files.len() as u32;
        self.dirs.clear();
        self.dir_index.clear();
        self.files.clear();
        self.file_index.clear();
        self.walks.clear();
        true
    }

    /// Changes when numbers are forgotten.
    pub(super) fn era(&self) -> (u32, u32) {
        (self.first_dir, self.first_file)
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.dirs.len(), self.files.len())
    }

    pub(super) fn dir(&self, id: DirId) -> Option<&Directory> {
        self.dirs.get(id.0.checked_sub(self.first_dir)? as usize)
    }

    pub(super) fn dir_mut(&mut self, id: DirId) -> Option<&mut Directory> {
        self.dirs.get_mut(id.0.checked_sub(self.first_dir)? as usize)
    }

    pub(super) fn file(&self, id: FileId) -> Option<&Place> {
        self.files.get(id.0.checked_sub(self.first_file)? as usize)
    }

    pub(super) fn file_mut(&mut self, id: FileId) -> Option<&mut Place> {
        self.files.get_mut(id.0.checked_sub(self.first_file)? as usize)
    }

    /// Every file is to be read again.
    pub(super) fn forget_contents(&mut self) {
        for place in &mut self.files {
            place.found = None;
        }
    }

    /// Some of the files, those before the first `skip` left out.
    pub(super) fn some_files(&self, skip: usize, count: usize) -> &[Place] {
        let rest = self.files.get(skip..).unwrap_or_default();
        &rest[..rest.len().min(count)]
    }

    pub(super) fn all_files(&self) -> impl Iterator<Item = &Place> {
        self.files.iter()
    }

    /// The root directory.
    pub(super) fn root(&mut self) -> DirId {
        match self.dir_index.get("/") {
            Some(id) => *id,
            None => self.add_dir("/".into(), None, "".into(), 0),
        }
    }

    /// The directory `name` in `parent`, whether it exists or not. `None` for a forgotten parent.
    pub(super) fn child_dir(&mut self, parent: DirId, name: &str) -> Option<DirId> {
        let above = self.dir(parent)?;
        let path = join(&above.path, name);
        if let Some(id) = self.dir_index.get(path.as_str()) {
            return Some(*id);
        }
        let depth = above.depth + 1;
        Some(self.add_dir(path.into(), Some(parent), name.into(), depth))
    }

    fn add_dir(&mut self, path: Arc<str>, parent: Option<DirId>, name: Arc<str>, depth: u32) -> DirId {
        let id = DirId(self.first_dir + self.dirs.len() as u32);
        self.dir_index.insert(Arc::clone(&path), id);
        self.dirs.push(Directory {
            path,
            parent,
            name,
            depth,
            listing: None,
            checked: Epoch::NEVER,
            spots: 0,
            asked: FxHashSet::default(),
            followed: FxHashSet::default(),
        });
        id
    }

    /// The file `name` in `parent`, whether it exists or not. `None` for a forgotten parent.
    pub(super) fn child_file(&mut self, parent: DirId, name: &str) -> Option<FileId> {
        let path = join(&self.dir(parent)?.path, name);
        if let Some(id) = self.file_index.get(path.as_str()) {
            return Some(*id);
        }
        let id = FileId(self.first_file + self.files.len() as u32);
        let path: Arc<str> = path.into();
        self.file_index.insert(Arc::clone(&path), id);
        let place =
            Place { path, dir: parent, name: name.into(), found: None, settled: false, lasts: false, checked: Epoch::NEVER };
        self.files.push(place);
        Some(id)
    }
}
