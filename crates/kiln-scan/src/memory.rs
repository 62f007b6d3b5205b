//! A file system in memory, for tests of this crate and of its users. It reads nothing from the machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::dialect::Dialect;
use crate::directives::Directives;
use crate::lex;
use crate::names::Names;
use crate::view::{ContentId, DirId, Entry, FileId, FileView, ReadError};

/// Links followed in one path, as Linux does (`MAXSYMLINKS`).
const LINKS_MAX: u32 = 40;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
    Dir(DirId),
    File(FileId),
    Link(String),
    Special,
}

/// Files, directories and links by absolute path.
#[derive(Debug, Default)]
pub struct MemoryView {
    names: Names,
    things: BTreeMap<String, Thing>,
    dirs: Vec<String>,
    /// By file, the version it holds now.
    files: Vec<ContentId>,
    places: BTreeMap<String, FileId>,
    contents: Vec<Option<Vec<u8>>>,
    generation: u64,
    cache: Mutex<BTreeMap<(ContentId, Dialect), Arc<Directives>>>,
}

impl MemoryView {
    /// An empty file system: its root directory.
    #[must_use]
    pub fn new() -> Self {
        let mut view = Self::default();
        view.add_dir("/");
        view
    }

    /// A file system with these files (path, text).
    #[must_use]
    pub fn with(files: &[(&str, &str)]) -> Self {
        let mut view = Self::new();
        for (path, text) in files {
            view.write(path, text.as_bytes());
        }
        view
    }

    fn put(&mut self, path: &str, thing: Thing) {
        if let Some(slash) = path.rfind('/') {
            self.add_dir(if slash == 0 { "/" } else { &path[..slash] });
        }
        self.things.insert(path.to_owned(), thing);
        self.generation += 1;
    }

    /// Makes a directory and those above it.
    pub fn add_dir(&mut self, path: &str) {
        if self.things.contains_key(path) {
            return;
        }
        let id = DirId(self.dirs.len() as u32);
        self.dirs.push(path.to_owned());
        if path == "/" {
            self.things.insert(path.to_owned(), Thing::Dir(id));
        } else {
            self.put(path, Thing::Dir(id));
        }
        self.generation += 1;
    }

    /// Writes a file: a new version of it.
    pub fn write(&mut self, path: &str, bytes: &[u8]) -> ContentId {
        self.hold(path, Some(bytes.to_vec()))
    }

    /// Makes a file that cannot be read.
    pub fn add_unreadable(&mut self, path: &str) {
        self.hold(path, None);
    }

    fn hold(&mut self, path: &str, bytes: Option<Vec<u8>>) -> ContentId {
        let content = ContentId(self.contents.len() as u32);
        self.contents.push(bytes);
        let next = FileId(self.files.len() as u32);
        let file = *self.places.entry(path.to_owned()).or_insert(next);
        match self.files.get_mut(file.0 as usize) {
            Some(held) => *held = content,
            None => self.files.push(content),
        }
        if self.things.get(path) != Some(&Thing::File(file)) {
            self.put(path, Thing::File(file));
        }
        content
    }

    /// Makes something that is neither file nor directory.
    pub fn add_special(&mut self, path: &str) {
        self.put(path, Thing::Special);
    }

    /// Makes a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.put(path, Thing::Link(target.to_owned()));
    }

    /// Removes what stands at `path`.
    pub fn remove(&mut self, path: &str) {
        self.things.remove(path);
        self.generation += 1;
    }

    fn get(&self, dir: &str, name: &str) -> Option<(String, &Thing)> {
        let path = if dir == "/" { format!("/{name}") } else { format!("{dir}/{name}") };
        let thing = self.things.get(&path)?;
        Some((path, thing))
    }

    /// Walks `relative` from the directory `from`; the real path of what it leads to.
    fn follow(&self, from: &str, relative: &str, links: &mut u32) -> Result<String, Entry> {
        let mut at = if relative.starts_with('/') { "/".to_owned() } else { from.to_owned() };
        for part in relative.split('/').filter(|p| !p.is_empty() && *p != ".") {
            if !matches!(self.things.get(&at), Some(Thing::Dir(_))) {
                return Err(Entry::Absent);
            }
            if part == ".." {
                at.truncate(at.rfind('/').unwrap_or(0).max(1));
                continue;
            }
            at = match self.get(&at, part) {
                None => return Err(Entry::Absent),
                Some((_, Thing::Link(target))) => {
                    *links += 1;
                    if *links > LINKS_MAX {
                        return Err(Entry::Special);
                    }
                    self.follow(&at, target, links)?
                }
                Some((path, _)) => path,
            };
        }
        Ok(at)
    }

    fn dir_at(&self, from: &str, relative: &str) -> Option<DirId> {
        let path = self.follow(from, relative, &mut 0).ok()?;
        match self.things.get(&path) {
            Some(Thing::Dir(id)) => Some(*id),
            _ => None,
        }
    }
}

impl FileView for MemoryView {
    fn names(&self) -> &Names {
        &self.names
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn dir(&self, path: &str) -> Option<DirId> {
        self.dir_at("/", path)
    }

    fn walk(&self, from: DirId, relative: &str) -> Option<DirId> {
        self.dir_at(self.dirs.get(from.0 as usize)?, relative)
    }

    fn entry(&self, dir: DirId, name: &str) -> Entry {
        let Some(dir) = self.dirs.get(dir.0 as usize) else { return Entry::Absent };
        match self.follow(dir, name, &mut 0) {
            Err(entry) => entry,
            Ok(path) => match self.things.get(&path) {
                Some(Thing::Dir(_)) => Entry::Dir,
                Some(Thing::File(id)) => Entry::File(*id),
                Some(Thing::Special) => Entry::Special,
                Some(Thing::Link(_)) | None => Entry::Absent,
            },
        }
    }

    fn content(&self, file: FileId) -> Result<ContentId, ReadError> {
        self.files.get(file.0 as usize).copied().ok_or(ReadError::Unreadable)
    }

    fn directives(&self, content: ContentId, dialect: Dialect) -> Result<Arc<Directives>, ReadError> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cache.get(&(content, dialect)) {
            return Ok(Arc::clone(known));
        }
        let bytes = self.contents.get(content.0 as usize).and_then(Option::as_ref).ok_or(ReadError::Unreadable)?;
        let directives = Arc::new(lex::directives(bytes, dialect, &self.names)?);
        cache.insert((content, dialect), Arc::clone(&directives));
        Ok(directives)
    }
}
