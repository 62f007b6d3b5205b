//! The shared memory of listings and contents, and the rule by which an entry may be used.

use kiln_cas::Digest;
use kiln_scan::{Dialect, DirId, Directives, Names, ReadError};
use rustc_hash::{FxHashMap, FxHashSet};
use rustix::fs::stat;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::content::{self, Content, ContentId, Stamp};
use super::listing::{self, Listing};
use super::{CONTENTS_MAX, DIRECTORIES_MAX, FRESH_BYTES_MAX};

/// Paths tried for a content that is gone from where it was first read, those looked at last first: as many requests as look at
/// files at once.
const PATHS_TRIED_MAX: usize = 64;

/// A request's place in time. An entry serves it if the entry was checked at this epoch or a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(u64);

/// A regular file as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) content: ContentId,
    pub(crate) digest: Digest,
    pub(crate) stamp: Stamp,
}

struct DirectoryEntry {
    listing: Option<Arc<Listing>>,
    checked: Epoch,
    id: Option<DirId>,
    /// Names that a scan asked for: only these matter when the directory changes.
    asked: FxHashSet<Box<str>>,
}

struct FileEntry {
    found: Found,
    settled: bool,
    checked: Epoch,
}

/// Bytes of a content that was just read, until it is lexed, and where it can be read again.
struct Origin {
    path: Arc<str>,
    fresh: Option<Vec<u8>>,
    digest: Digest,
}

#[derive(Default)]
struct Inner {
    directories: FxHashMap<Arc<str>, DirectoryEntry>,
    directory_paths: FxHashMap<DirId, Arc<str>>,
    next_directory: u32,
    files: FxHashMap<Arc<str>, FileEntry>,
    ids: FxHashMap<Digest, ContentId>,
    origins: FxHashMap<ContentId, Origin>,
    directives: FxHashMap<(ContentId, Dialect), Arc<Directives>>,
    next_content: u32,
    fresh_bytes: usize,
}

/// All that is remembered of the client's files. One for a daemon; requests share it.
#[derive(Default)]
pub(crate) struct Files {
    inner: Mutex<Inner>,
    clock: AtomicU64,
    generation: AtomicU64,
}

impl Files {
    /// Remembers nothing yet.
    pub(crate) fn new() -> Files {
        Files::default()
    }

    /// Starts a request: nothing checked before this call will be used for it.
    pub(crate) fn begin(&self) -> Epoch {
        Epoch(self.clock.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// The epoch of a check that is made after this call.
    pub(crate) fn now(&self) -> Epoch {
        Epoch(self.clock.load(Ordering::SeqCst))
    }

    /// Rises whenever an answer given to a scan would be another now.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names in the directory at physical path `path`; `None` when there is no such directory.
    pub(crate) fn listing(&self, path: &str, epoch: Epoch) -> Option<Arc<Listing>> {
        let mut old = None;
        if let Some(entry) = self.lock().directories.get(path) {
            if entry.checked >= epoch {
                return entry.listing.clone();
            }
            old = entry.listing.clone();
        }
        let checked = self.now();
        let stamp = stat(path).ok().map(|stat| Stamp::of(&stat)).filter(Stamp::is_directory);
        let listing = match (stamp, old) {
            (None, _) => None,
            (Some(stamp), Some(old)) if old.settled && old.stamp == stamp => Some(old),
            _ => listing::list(path, now_ns()).map(Arc::new),
        };
        self.keep_listing(path, listing.clone(), checked);
        listing
    }

    fn keep_listing(&self, path: &str, listing: Option<Arc<Listing>>, checked: Epoch) {
        let mut inner = self.lock();
        if inner.directories.len() >= DIRECTORIES_MAX {
            inner.directories.clear();
            inner.directory_paths.clear();
            self.changed();
        }
        let Some(entry) = inner.directories.get_mut(path) else {
            let entry = DirectoryEntry { listing, checked, id: None, asked: FxHashSet::default() };
            inner.directories.insert(path.into(), entry);
            return;
        };
        let same = match (&entry.listing, &listing) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => true,
            (old, new) => entry.asked.iter().all(|name| {
                let kind = |listing: &Option<Arc<Listing>>| listing.as_ref().and_then(|listing| listing.names.get(name).cloned());
                kind(old) == kind(new)
            }),
        };
        let moved = match (&entry.listing, &listing) {
            (Some(old), Some(new)) => (old.stamp.dev, old.stamp.ino) != (new.stamp.dev, new.stamp.ino),
            (old, new) => old.is_some() != new.is_some(),
        };
        entry.listing = listing;
        entry.checked = entry.checked.max(checked);
        let gone = if moved { entry.id.take() } else { None };
        if moved {
            entry.asked.clear();
        }
        if let Some(id) = gone {
            inner.directory_paths.remove(&id);
        }
        if moved || !same {
            self.changed();
        }
    }

    /// The listing of `path`, remembering that a scan asked for `name` in it.
    pub(crate) fn listing_asked(&self, path: &str, name: &str, epoch: Epoch) -> Option<Arc<Listing>> {
        let listing = self.listing(path, epoch);
        if let Some(entry) = self.lock().directories.get_mut(path)
            && !entry.asked.contains(name)
        {
            entry.asked.insert(name.into());
        }
        listing
    }

    /// A number for the directory at physical path `path`, never given to another directory.
    pub(crate) fn directory_id(&self, path: &str, epoch: Epoch) -> Option<DirId> {
        self.listing(path, epoch)?;
        let mut inner = self.lock();
        let next = DirId(inner.next_directory);
        let (key, _) = inner.directories.get_key_value(path)?;
        let key = Arc::clone(key);
        let entry = inner.directories.get_mut(path)?;
        let id = *entry.id.get_or_insert(next);
        if id == next {
            inner.next_directory += 1;
            inner.directory_paths.insert(id, key);
        }
        Some(id)
    }

    /// The physical path of a directory that was given a number.
    pub(crate) fn directory_path(&self, id: DirId) -> Option<Arc<str>> {
        self.lock().directory_paths.get(&id).cloned()
    }

    /// The regular file at physical path `path`.
    ///
    /// # Errors
    /// When it is no regular file, cannot be read, or does not hold still.
    pub(crate) fn file(&self, path: &str, epoch: Epoch) -> io::Result<Found> {
        let mut old = None;
        let mut before = None;
        if let Some(entry) = self.lock().files.get(path) {
            if entry.checked >= epoch {
                return Ok(entry.found);
            }
            before = Some(entry.found.content);
            old = entry.settled.then_some(entry.found);
        }
        let checked = self.now();
        let stamp = match stat(path) {
            Ok(stat) => Stamp::of(&stat),
            Err(error) => {
                if self.lock().files.remove(path).is_some() {
                    self.changed();
                }
                return Err(error.into());
            }
        };
        if let Some(found) = old.filter(|found| found.stamp == stamp) {
            if let Some(entry) = self.lock().files.get_mut(path) {
                entry.checked = entry.checked.max(checked);
            }
            return Ok(found);
        }
        let read_at_ns = now_ns();
        let content = content::read(path)?;
        let settled = content.stamp.is_settled(read_at_ns);
        let found = self.intern(path, content);
        if before.is_some_and(|before| before != found.content) {
            self.changed();
        }
        self.lock().files.insert(path.into(), FileEntry { found, settled, checked });
        Ok(found)
    }

    fn intern(&self, path: &str, content: Content) -> Found {
        let mut inner = self.lock();
        if inner.ids.len() >= CONTENTS_MAX {
            // Numbers are never given twice, so a forgotten content is simply met again under a new one.
            inner.ids.clear();
            inner.files.clear();
            inner.origins.clear();
            inner.directives.clear();
            inner.fresh_bytes = 0;
            self.changed();
        }
        let next = ContentId(inner.next_content);
        let id = *inner.ids.entry(content.digest).or_insert(next);
        if id == next {
            inner.next_content += 1;
            let keep = inner.fresh_bytes + content.bytes.len() <= FRESH_BYTES_MAX;
            let fresh = keep.then_some(content.bytes);
            inner.fresh_bytes += fresh.as_ref().map_or(0, Vec::len);
            inner.origins.insert(id, Origin { path: path.into(), fresh, digest: content.digest });
        }
        Found { content: id, digest: content.digest, stamp: content.stamp }
    }

    /// The directives of a content.
    ///
    /// # Errors
    /// When its bytes cannot be read again, or hold more than the lexer keeps.
    pub(crate) fn directives(&self, id: ContentId, dialect: Dialect, names: &Names) -> Result<Arc<Directives>, ReadError> {
        let (fresh, path, digest) = {
            let mut inner = self.lock();
            if let Some(directives) = inner.directives.get(&(id, dialect)) {
                return Ok(Arc::clone(directives));
            }
            let origin = inner.origins.get_mut(&id).ok_or(ReadError::Unreadable)?;
            let taken = (origin.fresh.take(), Arc::clone(&origin.path), origin.digest);
            inner.fresh_bytes -= taken.0.as_ref().map_or(0, Vec::len);
            taken
        };
        let bytes = match fresh {
            Some(bytes) => bytes,
            None => self.read_again(id, &path, digest).ok_or(ReadError::Unreadable)?,
        };
        let directives = Arc::new(kiln_scan::directives(&bytes, dialect, names)?);
        self.lock().directives.insert((id, dialect), Arc::clone(&directives));
        Ok(directives)
    }

    /// The bytes of a content, from where it was first read or, if it is gone from there, from any path that had it last.
    fn read_again(&self, id: ContentId, first: &Arc<str>, digest: Digest) -> Option<Vec<u8>> {
        let read = |path: &Arc<str>| content::read(path).ok().filter(|content| content.digest == digest);
        if let Some(content) = read(first) {
            return Some(content.bytes);
        }
        let mut others: Vec<(Epoch, Arc<str>)> = {
            let inner = self.lock();
            let same = inner.files.iter().filter(|(_, entry)| entry.found.content == id);
            same.map(|(path, entry)| (entry.checked, Arc::clone(path))).collect()
        };
        // The newest is that of the unit at hand.
        others.sort_unstable_by_key(|(checked, _)| std::cmp::Reverse(*checked));
        let mut tried = others.into_iter().take(PATHS_TRIED_MAX);
        let (path, content) = tried.find_map(|(_, path)| read(&path).map(|content| (path, content)))?;
        if let Some(origin) = self.lock().origins.get_mut(&id) {
            origin.path = path;
        }
        Some(content.bytes)
    }

    /// How many directories and files are remembered.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.directories.len(), inner.files.len())
    }
}

fn now_ns() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_scan::{Compiler, Language};

    #[test]
    fn a_content_that_moved_is_lexed_for_another_dialect() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: usize| dir.path().join(format!("{name}.h")).to_str().expect("UTF-8").to_owned();
        let (files, names) = (Files::new(), Names::new());
        let dialect = |language| Dialect::select(Compiler::Gcc, 12, language, "").expect("a dialect");
        std::fs::write(at(0), "#include \"x.h\"\n").expect("a file");
        let mut found = files.file(&at(0), files.begin()).expect("a file");
        files.directives(found.content, dialect(Language::C), &names).expect("directives");

        for name in 1..2 * PATHS_TRIED_MAX {
            std::fs::rename(at(name - 1), at(name)).expect("a new name");
            let moved = files.file(&at(name), files.begin()).expect("a file");
            assert_eq!(moved.content, found.content);
            found = moved;
        }
        files.directives(found.content, dialect(Language::Cxx), &names).expect("directives of the file where it is now");
    }

    #[test]
    fn what_a_link_leads_to_is_asked_for_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
        let files = Files::new();
        std::os::unix::fs::symlink("target.h", at("link.h")).expect("a link");
        assert_eq!(files.walk_asked(&at("link.h"), files.begin()), crate::files::WalkEnd::Absent);
        let before = files.generation();
        std::fs::write(at("target.h"), "").expect("a file");
        let _ = files.listing(&at(""), files.begin());
        let _ = files.listing(at("").trim_end_matches('/'), files.begin());
        assert!(files.generation() > before, "a scan would go on with the old answer");
    }
}
