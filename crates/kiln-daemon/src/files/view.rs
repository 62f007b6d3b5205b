//! The scanner's window on the client's files. What it has answered is checked again after each scan ([`View::check`]); an
//! answer that would be another now raises the generation, and the scan is made again.

use kiln_scan::{Closure, Dialect, DirId, Directives, Entry, FileId, FileView, Names, ReadError};
use rustc_hash::FxHashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::content::ContentId;
use super::listing::Kind;
use super::store::{Epoch, Files};
use super::walk::{WalkEnd, join};

/// One request's view.
pub(crate) struct View<'a> {
    files: &'a Files,
    names: &'a Names,
    epoch: Epoch,
    stdin: Option<Stdin>,
}

/// A source that stands in no file: what came by standard input, named `-` in the working directory.
struct Stdin {
    directory: DirId,
    file: FileId,
    bytes: Arc<[u8]>,
}

/// Numbers for such sources: from the top, where no file's number comes.
static STDIN_FILES: AtomicU32 = AtomicU32::new(u32::MAX);

impl<'a> View<'a> {
    pub(crate) fn new(files: &'a Files, names: &'a Names, epoch: Epoch) -> View<'a> {
        View { files, names, epoch, stdin: None }
    }

    /// Lets `bytes` be the source named `-` in `cwd`.
    pub(crate) fn with_stdin(mut self, cwd: &str, bytes: Arc<[u8]>) -> View<'a> {
        let file = FileId(STDIN_FILES.fetch_sub(1, Ordering::Relaxed));
        self.stdin = self.walk_to(cwd).map(|directory| Stdin { directory, file, bytes });
        self
    }

    /// Whether its answers are for one unit alone.
    pub(crate) fn has_stdin(&self) -> bool {
        self.stdin.is_some()
    }

    fn walk_to(&self, path: &str) -> Option<DirId> {
        match self.files.walk_asked(path, self.epoch) {
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
        if let Some(stdin) = self.stdin.as_ref().filter(|stdin| name == "-" && stdin.directory == dir) {
            return Entry::File(stdin.file);
        }
        let Some(path) = self.files.directory_path(dir) else { return Entry::Absent };
        let Some(listing) = self.files.listing_asked(&path, name, self.epoch) else { return Entry::Absent };
        let physical = match listing.names.get(name) {
            None => return Entry::Absent,
            Some(Kind::Directory) => return Entry::Dir,
            Some(Kind::Other) => return Entry::Special,
            Some(Kind::File) => join(&path, name),
            Some(Kind::Symlink(_)) => match self.files.walk_asked(&join(&path, name), self.epoch) {
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
        if let Some(stdin) = self.stdin.as_ref().filter(|stdin| stdin.file == file) {
            return Ok(Arc::new(kiln_scan::directives(&stdin.bytes, dialect, self.names)?));
        }
        self.files.directives(ContentId(file.0), dialect, self.names)
    }
}
