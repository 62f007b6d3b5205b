//! The shared memory of places and contents, and the rule by which an entry may be used.

use kiln_scan::{ContentId, Dialect, DirId, Directives, FileId, Names, ReadError};
use kiln_store::Kept;
use rustc_hash::FxHashSet;
use rustix::fs::{AtFlags, Mode, OFlags, openat, stat, statat};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::content::{self, Stamp};
use super::contents::{Contents, Found, Unread};
use super::listing::{self, Kind, Listing};
use super::places::{Epoch, Places};
use super::recall::{Effort, Gathered, Recall};
use super::walk::{Walk, join};

/// Paths tried for a content that is gone from where it was first read, those looked at last first: as many requests as look at
/// files at once.
pub(super) const PATHS_TRIED_MAX: usize = 64;

/// Files looked at under one lock for what is to be kept: some 100 us.
const GATHER_STEP: usize = 512;

/// Files of one directory from which on it is opened to look at them: opening and closing costs as much as two walks.
const GLANCE_MIN: usize = 4;

#[derive(Default)]
pub(super) struct Inner {
    pub(super) places: Places,
    contents: Contents,
}

/// What a directory is called and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    pub(crate) parent: Option<DirId>,
    pub(crate) name: Arc<str>,
    pub(crate) depth: u32,
}

/// All that is remembered of the client's files. One for a daemon; requests share it.
#[derive(Default)]
pub(crate) struct Files {
    inner: Mutex<Inner>,
    clock: AtomicU64,
    generation: AtomicU64,
    recall: Recall,
}

impl Files {
    /// Remembers what earlier daemons of this view have kept, as far as it still holds.
    pub(crate) fn recalling(kept: Kept, view: u64) -> Files {
        Files { recall: Recall::new(kept, view), ..Files::default() }
    }

    /// What was spent so far on knowing files.
    pub(crate) fn effort(&self) -> &Effort {
        self.recall.effort()
    }

    /// Starts a request: nothing checked before this call will be used for it.
    pub(crate) fn begin(&self) -> Epoch {
        Epoch(self.clock.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// The epoch of a check that is made after this call.
    pub(crate) fn now(&self) -> Epoch {
        Epoch(self.clock.load(Ordering::SeqCst))
    }

    /// Rises whenever an answer given about a name would be another now.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room where too much is remembered. Called between requests' steps: numbers given before mean nothing then, and
    /// [`Files::era`] is another.
    pub(crate) fn make_room(&self) {
        if self.lock().places.forget_if_full() {
            self.changed();
        }
    }

    /// Changes when numbers of places are forgotten: whoever holds some begins anew.
    pub(crate) fn era(&self) -> (u32, u32) {
        self.lock().places.era()
    }

    /// How many directories and files are remembered.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        self.lock().places.counts()
    }

    /// The directory `/`.
    pub(crate) fn root_dir(&self) -> DirId {
        self.lock().places.root()
    }

    /// The number of the directory `name` in `parent`, whether it exists or not.
    pub(crate) fn child_dir(&self, parent: DirId, name: &str) -> Option<DirId> {
        self.lock().places.child_dir(parent, name)
    }

    /// The number of the file `name` in `parent`, whether it exists or not.
    pub(crate) fn child_file(&self, parent: DirId, name: &str) -> Option<FileId> {
        self.lock().places.child_file(parent, name)
    }

    /// The number of the directory above.
    pub(crate) fn parent(&self, dir: DirId) -> Option<DirId> {
        self.lock().places.dir(dir)?.parent
    }

    /// The physical path of a directory.
    pub(crate) fn dir_path(&self, dir: DirId) -> Option<Arc<str>> {
        Some(Arc::clone(&self.lock().places.dir(dir)?.path))
    }

    /// The physical path of a file.
    pub(crate) fn file_path(&self, file: FileId) -> Option<Arc<str>> {
        Some(Arc::clone(&self.lock().places.file(file)?.path))
    }

    /// Names and parents of directories; forgotten ones are left out.
    pub(crate) fn positions(&self, dirs: &[DirId]) -> Vec<(DirId, Position)> {
        let inner = self.lock();
        let position = |id: &DirId| {
            let dir = inner.places.dir(*id)?;
            Some((*id, Position { parent: dir.parent, name: Arc::clone(&dir.name), depth: dir.depth }))
        };
        dirs.iter().filter_map(position).collect()
    }

    /// Directory, name and path of files, as they are numbered; `None` for a forgotten one.
    pub(crate) fn place(&self, file: FileId) -> Option<(DirId, Arc<str>, Arc<str>)> {
        let inner = self.lock();
        let place = inner.places.file(file)?;
        Some((place.dir, Arc::clone(&place.name), Arc::clone(&place.path)))
    }

    /// Whether the whole listing of a directory is right, by one `stat`; a directory that was never listed is listed.
    pub(crate) fn is_fresh(&self, id: DirId, epoch: Epoch) -> bool {
        let (path, known) = {
            let inner = self.lock();
            let Some(dir) = inner.places.dir(id) else { return false };
            if dir.checked >= epoch {
                return true;
            }
            (Arc::clone(&dir.path), dir.listing.clone())
        };
        let now = self.now();
        let Some(known) = known else {
            self.list(id, &path);
            return true;
        };
        let stamp = stat(&*path).ok().map(|stat| Stamp::of(&stat)).filter(Stamp::is_directory);
        let holds = known.settled && stamp == Some(known.stamp);
        if holds && let Some(dir) = self.lock().places.dir_mut(id) {
            dir.checked = dir.checked.max(now);
        }
        if stamp.is_none() || stamp.is_some_and(|stamp| (stamp.dev, stamp.ino) != (known.stamp.dev, known.stamp.ino)) {
            self.list(id, &path);
            return true;
        }
        holds
    }

    fn list(&self, id: DirId, path: &str) {
        let now = self.now();
        let listing = listing::list(path, now_ns()).map(Arc::new);
        let changed = self.lock().places.dir_mut(id).is_some_and(|dir| dir.take(listing, now));
        if changed {
            self.changed();
        }
    }

    /// The listing of a directory, right at `epoch`.
    pub(crate) fn listing(&self, id: DirId, epoch: Epoch) -> Option<Arc<Listing>> {
        if !self.is_fresh(id, epoch) {
            let path = self.dir_path(id)?;
            self.list(id, &path);
        }
        self.lock().places.dir(id)?.listing.clone()
    }

    /// What `name` is in a directory, right at `epoch`; links are not followed. Of a directory that changes all the time only
    /// the name is looked at.
    pub(crate) fn kind(&self, id: DirId, name: &str, epoch: Epoch) -> Option<Kind> {
        let fresh = self.is_fresh(id, epoch);
        let (path, known) = {
            let mut inner = self.lock();
            let dir = inner.places.dir_mut(id)?;
            dir.ask(name);
            let known = dir.kind(name);
            if fresh {
                return known;
            }
            let spare = dir.spare_spot();
            (Arc::clone(&dir.path), spare.then_some(known))
        };
        if let Some(known) = known
            && listing::look(&join(&path, name)) == known
        {
            return known;
        }
        self.list(id, &path);
        self.lock().places.dir(id)?.kind(name)
    }

    /// Where the link `name` in a directory leads, right at `epoch`.
    pub(super) fn follow_link(&self, id: DirId, name: &str, epoch: Epoch) -> Option<Arc<Walk>> {
        let path = {
            let mut inner = self.lock();
            let dir = inner.places.dir_mut(id)?;
            dir.follow(name);
            join(&dir.path, name)
        };
        Some(self.walk(&path, epoch))
    }

    /// Looks again where the links of a directory lead that were followed before.
    pub(super) fn check_links(&self, id: DirId, epoch: Epoch) {
        let links: Vec<String> = {
            let inner = self.lock();
            let Some(dir) = inner.places.dir(id) else { return };
            dir.followed().map(|name| join(&dir.path, name)).collect()
        };
        for link in links {
            self.walk(&link, epoch);
        }
    }

    /// The regular file at a place.
    ///
    /// # Errors
    /// When it is no regular file, cannot be read, or does not hold still.
    pub(crate) fn found(&self, id: FileId, epoch: Epoch) -> io::Result<Found> {
        let (path, known) = {
            let inner = self.lock();
            let place = inner.places.file(id).ok_or_else(forgotten)?;
            if let Some(found) = place.found
                && place.checked >= epoch
            {
                return Ok(found);
            }
            (Arc::clone(&place.path), place.found.map(|found| (found, place.settled)))
        };
        let now = self.now();
        let stamp = stat(&*path).map(|stat| Stamp::of(&stat));
        match (known, stamp) {
            (Some((found, true)), Ok(stamp)) if found.stamp == stamp => {
                if let Some(place) = self.lock().places.file_mut(id) {
                    place.checked = place.checked.max(now);
                }
                return Ok(found);
            }
            (None, Ok(stamp)) if let Some(digest) = self.recall.digest(&path, &stamp) => {
                // What is kept was settled when it was read.
                return self.take(id, now, (true, true), |contents| contents.meet(&path, digest, stamp));
            }
            _ => {}
        }
        let read_at_ns = now_ns();
        let content = stamp.map_err(io::Error::from).and_then(|_| content::read(&path));
        let content = match content {
            Ok(content) => content,
            Err(error) => {
                if let Some(place) = self.lock().places.file_mut(id) {
                    place.found = None;
                }
                return Err(error);
            }
        };
        let settled = content.stamp.is_settled(read_at_ns);
        let lasts = settled && content.has_own_stamp;
        self.recall.has_read(&path, lasts);
        self.take(id, now, (settled, lasts), |contents| contents.enter(&path, content))
    }

    /// Takes what a file was found to hold.
    fn take(
        &self,
        id: FileId,
        now: Epoch,
        (settled, lasts): (bool, bool),
        enter: impl FnOnce(&mut Contents) -> Found,
    ) -> io::Result<Found> {
        let mut inner = self.lock();
        if inner.contents.forget_if_full() {
            inner.places.forget_contents();
        }
        let found = enter(&mut inner.contents);
        let place = inner.places.file_mut(id).ok_or_else(forgotten)?;
        (place.found, place.settled, place.lasts) = (Some(found), settled, lasts);
        place.checked = place.checked.max(now);
        Ok(found)
    }

    /// Looks at many files at once, so that [`Files::found`] need not: those of one directory relative to it, which spares the
    /// kernel the walk from the root for each. What has changed or cannot be looked at is left to [`Files::found`].
    pub(crate) fn glance(&self, dir: DirId, files: &[FileId], epoch: Epoch) {
        let (path, looks) = {
            let inner = self.lock();
            let Some(path) = inner.places.dir(dir).map(|dir| Arc::clone(&dir.path)) else { return };
            let look = |id: &FileId| {
                let place = inner.places.file(*id).filter(|place| place.dir == dir && place.settled && place.checked < epoch)?;
                Some((*id, Arc::clone(&place.name), place.found?.stamp))
            };
            (path, files.iter().filter_map(look).collect::<Vec<_>>())
        };
        if looks.len() < GLANCE_MIN {
            return;
        }
        let now = self.now();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(fd) = openat(rustix::fs::CWD, &*path, flags, Mode::empty()) else { return };
        let holds = |(_, name, stamp): &(FileId, Arc<str>, Stamp)| {
            statat(&fd, &**name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| Stamp::of(&stat) == *stamp)
        };
        let held: Vec<FileId> = looks.iter().filter(|look| holds(look)).map(|(id, ..)| *id).collect();
        let mut inner = self.lock();
        for id in held {
            if let Some(place) = inner.places.file_mut(id) {
                place.checked = place.checked.max(now);
            }
        }
    }

    /// The directives of a content.
    ///
    /// # Errors
    /// When its bytes cannot be read again, or hold more than the lexer keeps.
    pub(crate) fn directives(&self, id: ContentId, dialect: Dialect, names: &Names) -> Result<Arc<Directives>, ReadError> {
        let Unread { path, digest, fresh } = {
            let mut inner = self.lock();
            if let Some(directives) = inner.contents.directives(id, dialect) {
                return Ok(directives);
            }
            inner.contents.take_unread(id).ok_or(ReadError::Unreadable)?
        };
        let directives = match self.recall.directives(&path, digest, dialect, names) {
            Some(directives) => Arc::new(directives),
            None => {
                let bytes = fresh.or_else(|| self.read_again(id, &path, digest)).ok_or(ReadError::Unreadable)?;
                self.recall.has_lexed(&path);
                Arc::new(kiln_scan::directives(&bytes, dialect, names)?)
            }
        };
        self.lock().contents.keep_directives(id, dialect, &directives);
        Ok(directives)
    }

    /// Keeps what is known of files for the next daemon. Takes time: for a tree of 30,000 headers some seconds of work, in which
    /// requests are held up by no more than a lock of 100 us at a time.
    pub(crate) fn save(&self, names: &Names) {
        let learned = self.recall.take_learned();
        let mut gathered: BTreeMap<DirId, Vec<Gathered>> = BTreeMap::new();
        let mut skip = 0;
        while !learned.is_empty() {
            let inner = self.lock();
            let some = inner.places.some_files(skip, GATHER_STEP);
            if some.is_empty() {
                break;
            }
            skip += some.len();
            let lasting = some.iter().filter(|place| place.lasts && in_any(&learned, &place.path));
            for (place, found) in lasting.filter_map(|place| Some((place, place.found?))) {
                let directives = inner.contents.all_directives(found.content).collect();
                let Found { stamp, digest, .. } = found;
                let file = Gathered { name: Arc::clone(&place.name), stamp, digest, directives };
                gathered.entry(place.dir).or_default().push(file);
            }
        }
        for (dir, files) in gathered {
            let directory = {
                let inner = self.lock();
                inner.places.dir(dir).map(|directory| (Arc::clone(&directory.path), directory.listing.clone()))
            };
            if let Some((path, listing)) = directory {
                self.recall.keep(path.trim_end_matches('/'), files, listing.as_deref(), names);
            }
        }
        self.recall.save();
    }

    /// Lets go of what is at hand only for being found sooner.
    pub(crate) fn tidy(&self) {
        self.recall.forget_loaded();
    }

    /// The bytes of a content, from where it was first read or, if it is gone from there, from any path that had it last.
    fn read_again(&self, id: ContentId, first: &Arc<str>, digest: kiln_cas::Digest) -> Option<Vec<u8>> {
        let read = |path: &Arc<str>| content::read(path).ok().filter(|content| content.digest == digest);
        if let Some(content) = read(first) {
            return Some(content.bytes);
        }
        let mut others: Vec<(Epoch, Arc<str>)> = {
            let inner = self.lock();
            let same = inner.places.all_files().filter(|place| place.found.is_some_and(|found| found.content == id));
            same.map(|place| (place.checked, Arc::clone(&place.path))).collect()
        };
        // The newest is that of the unit at hand.
        others.sort_unstable_by_key(|(checked, _)| std::cmp::Reverse(*checked));
        let mut tried = others.into_iter().take(PATHS_TRIED_MAX);
        let (path, content) = tried.find_map(|(_, path)| read(&path).map(|content| (path, content)))?;
        self.lock().contents.moved(id, &path);
        Some(content.bytes)
    }
}

/// Whether a file at this path stands in one of these directories.
fn in_any(dirs: &FxHashSet<Box<str>>, path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(dir, _)| dirs.contains(dir))
}

fn forgotten() -> io::Error {
    io::Error::other("forgotten meanwhile")
}

fn now_ns() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
}
