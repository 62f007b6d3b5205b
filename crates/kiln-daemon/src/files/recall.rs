//! What an earlier daemon knew of files and the next one is to know, by directory. Looks at no file: whoever asks has a stamp that he
//! just took.

use kiln_cas::Digest;
use kiln_scan::{Dialect, Directives, Names};
use kiln_store::Kept;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::content::Stamp;
use super::listing::Listing;
use super::record::{self, FOLDER_FILES_MAX, Folder, Record};

/// Most bytes of records in memory; beyond it they are read again. They are needed until their files are known: a unit or two.
const LOADED_BYTES_MAX: usize = 32 << 20;

/// What a daemon has spent on knowing its client's files.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Effort {
    /// Files read for their digests.
    read: AtomicU64,
    /// Files that an earlier daemon had read, and that still hold what they held.
    recalled: AtomicU64,
    /// Contents lexed.
    lexed: AtomicU64,
    /// Contents that an earlier daemon had lexed.
    lexed_before: AtomicU64,
}

/// A file as it is known now, to be kept.
pub(super) struct Gathered {
    pub(super) name: Arc<str>,
    pub(super) stamp: Stamp,
    pub(super) digest: Digest,
    pub(super) directives: Vec<(Dialect, Arc<Directives>)>,
}

#[derive(Default)]
struct Loaded {
    /// By directory; `None` where nothing is kept.
    folders: FxHashMap<Box<str>, Option<Arc<Folder>>>,
    bytes: usize,
}

/// Records of earlier daemons, read when a file of their directory is first asked for.
#[derive(Default)]
pub(super) struct Recall {
    /// `None`: nothing outlives this daemon.
    kept: Option<Kept>,
    /// This daemon's view, in which paths mean what they mean.
    view: u64,
    loaded: Mutex<Loaded>,
    /// Directories of files that the records lack.
    learned: Mutex<FxHashSet<Box<str>>>,
    effort: Effort,
}

impl Recall {
    pub(super) fn new(kept: Kept, view: u64) -> Recall {
        Recall { kept: Some(kept), view, ..Recall::default() }
    }

    pub(super) fn effort(&self) -> &Effort {
        &self.effort
    }

    /// What the file at `path` holds, if an earlier daemon found it with this stamp.
    pub(super) fn digest(&self, path: &str, stamp: &Stamp) -> Option<Digest> {
        let (dir, name) = path.rsplit_once('/')?;
        let digest = self.folder(dir)?.digest(name, stamp)?;
        self.effort.recalled.fetch_add(1, Ordering::Relaxed);
        Some(digest)
    }

    /// The directives of a content, if an earlier daemon read them out of the file at `path`.
    pub(super) fn directives(&self, path: &str, digest: Digest, dialect: Dialect, names: &Names) -> Option<Directives> {
        let (dir, name) = path.rsplit_once('/')?;
        let folder = self.folder(dir)?;
        let directives = Directives::decode(folder.directives(name, digest, dialect)?, names).ok()?;
        self.effort.lexed_before.fetch_add(1, Ordering::Relaxed);
        Some(directives)
    }

    /// The file at `path` was read, and whether its stamp vouches for it in another process too.
    pub(super) fn has_read(&self, path: &str, lasts: bool) {
        self.effort.read.fetch_add(1, Ordering::Relaxed);
        if lasts {
            self.learn(path);
        }
    }

    /// A content of the file at `path` was lexed.
    pub(super) fn has_lexed(&self, path: &str) {
        self.effort.lexed.fetch_add(1, Ordering::Relaxed);
        self.learn(path);
    }

    fn learn(&self, path: &str) {
        if let (Some((dir, _)), Some(_)) = (path.rsplit_once('/'), &self.kept) {
            let mut learned = lock(&self.learned);
            if !learned.contains(dir) {
                learned.insert(dir.into());
            }
        }
    }

    /// Directories with something to be kept, since the last call.
    pub(super) fn take_learned(&self) -> FxHashSet<Box<str>> {
        std::mem::take(&mut *lock(&self.learned))
    }

    fn folder(&self, dir: &str) -> Option<Arc<Folder>> {
        let kept = self.kept.as_ref()?;
        if let Some(known) = lock(&self.loaded).folders.get(dir) {
            return known.clone();
        }
        let folder = self.load(kept, dir).map(Arc::new);
        let mut loaded = lock(&self.loaded);
        loaded.bytes += folder.as_ref().map_or(0, |folder| folder.memory_bytes());
        if loaded.bytes > LOADED_BYTES_MAX {
            *loaded = Loaded::default();
        }
        loaded.folders.insert(dir.into(), folder.clone());
        folder
    }

    fn load(&self, kept: &Kept, dir: &str) -> Option<Folder> {
        Folder::decode(kept.get(&self.key(dir)?)?).ok()
    }

    fn key(&self, dir: &str) -> Option<Vec<u8>> {
        postcard::to_stdvec(&(self.view, dir)).ok()
    }

    /// Joins what is known of a directory's files to what was kept of it; records of files that its listing lacks are dropped.
    pub(super) fn keep(&self, dir: &str, files: Vec<Gathered>, listing: Option<&Listing>, names: &Names) {
        let (Some(kept), Some(key)) = (&self.kept, self.key(dir)) else { return };
        let old = self.load(kept, dir);
        let mut records: BTreeMap<String, Record> = BTreeMap::new();
        for record in old.iter().flat_map(Folder::records) {
            if listing.is_none_or(|listing| listing.names.contains_key(&*record.name)) {
                records.insert(record.name.clone(), record);
            }
        }
        if records.len() + files.len() > FOLDER_FILES_MAX {
            records.clear();
        }
        for file in files.into_iter().take(FOLDER_FILES_MAX) {
            let Gathered { name, stamp, digest, directives } = file;
            let before = records.remove(&*name).filter(|record| record.digest == digest);
            let mut written = before.map(|record| record.directives).unwrap_or_default();
            for (dialect, directives) in directives {
                if written.iter().all(|(known, _)| *known != dialect)
                    && let Ok(bytes) = directives.encode(names)
                {
                    written.push((dialect, bytes));
                }
            }
            records.insert(name.to_string(), Record { name: name.to_string(), stamp, digest, directives: written });
        }
        let records: Vec<Record> = records.into_values().collect();
        if let Ok(bytes) = record::encode(&records)
            && old.is_none_or(|old| !old.is(&bytes))
        {
            kept.put(key, bytes);
        }
    }

    /// Writes what was kept, and lets go of what was loaded.
    pub(super) fn save(&self) {
        if let Some(kept) = &self.kept {
            kept.save();
        }
        self.forget_loaded();
    }

    /// Lets go of records: those that are still needed are read again.
    pub(super) fn forget_loaded(&self) {
        *lock(&self.loaded) = Loaded::default();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
