//! The scanner's window on the client's files. What it has answered about names is checked again after each scan
//! ([`View::check`]); an answer that would be another now raises the generation, and the scan is made again.

use kiln_scan::{Closure, ContentId, Dialect, DirId, Directives, Entry, FileId, FileView, Names, ReadError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::listing::Kind;
use super::places::Epoch;
use super::store::Files;
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
    /// Counted down from the top, where no file's number comes.
    number: u32,
    bytes: Arc<[u8]>,
}

/// Numbers for such sources.
static STDIN_NUMBERS: AtomicU32 = AtomicU32::new(u32::MAX);

/// Numbers from here on are those of sources from standard input.
const STDIN_FIRST: u32 = 1 << 31;

/// Whether a file is what came by standard input.
pub(crate) fn is_stdin(file: FileId) -> bool {
    file.0 >= STDIN_FIRST
}

impl<'a> View<'a> {
    pub(crate) fn new(files: &'a Files, names: &'a Names, epoch: Epoch) -> View<'a> {
        View { files, names, epoch, stdin: None }
    }

    /// Lets `bytes` be the source named `-` in `cwd`.
    pub(crate) fn with_stdin(mut self, cwd: &str, bytes: Arc<[u8]>) -> View<'a> {
        let number = STDIN_NUMBERS.fetch_sub(1, Ordering::Relaxed) | STDIN_FIRST;
        let directory = self.files.walk(cwd, self.epoch).directory();
        self.stdin = directory.map(|directory| Stdin { directory, number, bytes });
        self
    }

    /// Whether its answers are for one unit alone.
    pub(crate) fn has_stdin(&self) -> bool {
        self.stdin.is_some()
    }

    /// Looks at the contents of all files of `closure` at once.
    pub(crate) fn glance(&self, closure: &Closure) {
        let mut by_dir: Vec<Vec<FileId>> = vec![Vec::new(); closure.dirs.len()];
        for file in &closure.files {
            if let Some(files) = by_dir.get_mut(file.dir as usize) {
                files.push(file.file);
            }
        }
        for (dir, files) in closure.dirs.iter().zip(&by_dir) {
            self.files.glance(dir.id, files, self.epoch);
        }
    }

    /// Looks again at every name that `closure` relies on.
    pub(crate) fn check(&self, closure: &Closure, cwd: &str) {
        for (index, dir) in closure.dirs.iter().enumerate() {
            let Some(id) = self.files.walk(&spelled(cwd, &dir.spelled), self.epoch).directory() else { continue };
            self.files.check_links(id, self.epoch);
            if self.files.is_fresh(id, self.epoch) {
                continue;
            }
            for name in closure.names_in(index) {
                self.files.kind(id, name, self.epoch);
            }
            for file in closure.files.iter().filter(|file| file.dir as usize == index) {
                let name = file.path.rsplit('/').next().unwrap_or_default();
                self.files.kind(id, name, self.epoch);
            }
        }
        for (dir, path) in &closure.missing_below {
            let above = closure.dirs.get(*dir as usize).map_or("", |dir| &dir.spelled);
            self.files.walk(&join(&spelled(cwd, above), path), self.epoch);
        }
        for dir in &closure.missing_dirs {
            self.files.walk(&spelled(cwd, dir), self.epoch);
        }
    }
}

/// A directory's absolute spelling.
pub(crate) fn spelled(cwd: &str, dir: &str) -> String {
    match dir {
        dir if dir.starts_with('/') => dir.to_owned(),
        "" => cwd.to_owned(),
        dir => join(cwd, dir),
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
        self.files.walk(path, self.epoch).directory()
    }

    fn walk(&self, from: DirId, relative: &str) -> Option<DirId> {
        let from = self.files.dir_path(from)?;
        self.files.walk(&join(&from, relative), self.epoch).directory()
    }

    fn entry(&self, dir: DirId, name: &str) -> Entry {
        if let Some(stdin) = self.stdin.as_ref().filter(|stdin| name == "-" && stdin.directory == dir) {
            return Entry::File(FileId(stdin.number));
        }
        match self.files.kind(dir, name, self.epoch) {
            None => Entry::Absent,
            Some(Kind::Directory) => Entry::Dir,
            Some(Kind::Other) => Entry::Special,
            Some(Kind::File) => self.files.child_file(dir, name).map_or(Entry::Absent, Entry::File),
            Some(Kind::Symlink(_)) => match self.files.follow_link(dir, name, self.epoch).map(|walk| walk.end) {
                Some(WalkEnd::File(file)) => Entry::File(file),
                Some(WalkEnd::Directory(_)) => Entry::Dir,
                Some(WalkEnd::Absent) | None => Entry::Absent,
                Some(WalkEnd::Other) => Entry::Special,
            },
        }
    }

    fn content(&self, file: FileId) -> Result<ContentId, ReadError> {
        if is_stdin(file) {
            return Ok(ContentId(file.0));
        }
        self.files.found(file, self.epoch).map(|found| found.content).map_err(|_| ReadError::Unreadable)
    }

    fn directives(&self, content: ContentId, dialect: Dialect) -> Result<Arc<Directives>, ReadError> {
        if let Some(stdin) = self.stdin.as_ref().filter(|stdin| stdin.number == content.0) {
            return Ok(Arc::new(kiln_scan::directives(&stdin.bytes, dialect, self.names)?));
        }
        self.files.directives(content, dialect, self.names)
    }
}
