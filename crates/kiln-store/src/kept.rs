//! What is worth more than one process's life: keys and values in one file, for later processes of the same boot. Does not know what
//! they mean, nor whether they still hold: whoever takes a value checks it.

use kiln_cas::Digest;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use head::{Entry, FIXED_BYTES, Head};
pub use head::{Origin, Unusable};

mod head;

/// Use is noted in the file no more often than this: it decides only what is dropped.
const USE_STEP_S: u64 = 24 * 3600;

/// Longest wait for another process that writes in the same directory: some hundred files of this size.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

/// How often it is tried.
const LOCK_STEP: Duration = Duration::from_millis(20);

/// How much a file holds. Of more, what was used last stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptBounds {
    /// Most values.
    pub values: usize,
    /// Most bytes of keys and values.
    pub bytes: u64,
}

/// A value that is not in the file yet.
#[derive(Debug, Clone)]
struct Added {
    used_s: u64,
    bytes: Arc<[u8]>,
}

/// The file as it was read, and what it is read through: another process may have put a newer one in its place.
#[derive(Debug, Default)]
struct Known {
    file: Option<Arc<File>>,
    entries: BTreeMap<Vec<u8>, Entry>,
}

#[derive(Debug, Default)]
struct Inner {
    /// `None` until something is asked for: a process starts without reading the file.
    known: Option<Known>,
    added: BTreeMap<Vec<u8>, Added>,
    /// The file should say later that values were used.
    used: bool,
    /// That a value, or the last attempt to write, failed was told of.
    told: bool,
}

/// The values of one file, shared by all processes that keep theirs there: what another has added stays, what both know is the last
/// writer's. Only the list of keys is read and held; a value is read, and compared with its digest, when it is asked for.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    /// Under a name of its own for each process: two may write without a lock where a file system has none.
    aside: PathBuf,
    version: String,
    bounds: KeptBounds,
    inner: Mutex<Inner>,
    saving: Mutex<()>,
}

impl Kept {
    /// The file at `path`; `writer` names this process among those that share it.
    #[must_use]
    pub fn new(path: PathBuf, writer: u64, version: &str, bounds: KeptBounds) -> Kept {
        let aside = path.with_extension(format!("{writer:016x}.new"));
        Kept { path, aside, version: version.to_owned(), bounds, inner: Mutex::default(), saving: Mutex::default() }
    }

    /// What was put under this key by this process or an earlier one.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let now_s = now_s();
        let (file, entry) = {
            let mut inner = self.lock();
            if let Some(added) = inner.added.get_mut(key) {
                added.used_s = now_s;
                return Some(added.bytes.to_vec());
            }
            let Inner { known, used, .. } = &mut *inner;
            let known = known.get_or_insert_with(|| self.open());
            let entry = known.entries.get_mut(key)?;
            *used |= entry.used_s + USE_STEP_S <= now_s;
            entry.used_s = now_s;
            (Arc::clone(known.file.as_ref()?), *entry)
        };
        let value = entry.read(&file);
        if value.is_none() {
            let mut inner = self.lock();
            if let Some(known) = &mut inner.known {
                known.entries.remove(key);
            }
            if !std::mem::replace(&mut inner.told, true) {
                tracing::info!("a value in {} is not used: {}", self.path.display(), Unusable::Damaged);
            }
        }
        value
    }

    /// Remembers a value; [`Kept::save`] writes it.
    pub fn put(&self, key: Vec<u8>, bytes: Vec<u8>) {
        let added = Added { used_s: now_s(), bytes: bytes.into() };
        self.lock().added.insert(key, added);
    }

    /// Writes the file if anything was added: aside, then renamed, one process at a time. Not synchronised: what a crash damages is
    /// not used.
    pub fn save(&self) {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let (added, used) = {
            let mut inner = self.lock();
            if inner.added.is_empty() && !inner.used {
                return;
            }
            let Inner { known, added, .. } = &mut *inner;
            let known = known.get_or_insert_with(|| self.open());
            let used: BTreeMap<Vec<u8>, u64> = known.entries.iter().map(|(key, entry)| (key.clone(), entry.used_s)).collect();
            (added.clone(), used)
        };
        let Some(written) = self.write(&added, &used).transpose() else { return };
        let mut inner = self.lock();
        match written {
            Ok(known) => {
                inner.known = Some(known);
                inner.added.retain(|key, now| added.get(key).is_none_or(|then| !Arc::ptr_eq(&then.bytes, &now.bytes)));
                (inner.used, inner.told) = (false, false);
            }
            Err(error) => {
                std::fs::remove_file(&self.aside).ok();
                if !std::mem::replace(&mut inner.told, true) {
                    tracing::warn!("{} is not written: {error}", self.path.display());
                }
            }
        }
    }

    /// Joins `added` to what the file holds now; what it is then. `None` where the boot has no name.
    fn write(&self, added: &BTreeMap<Vec<u8>, Added>, used: &BTreeMap<Vec<u8>, u64>) -> std::io::Result<Option<Known>> {
        let _lock = self.lock_directory()?;
        // Now, not before the wait: what another wrote meanwhile would be a thing of the future.
        let Some(origin) = Origin::current(&self.version) else { return Ok(None) };
        let old = read(&self.path, &origin, self.bounds).ok().flatten().unwrap_or_default();
        let later = |key: &Vec<u8>, used_s: u64| used.get(key).map_or(used_s, |own| used_s.max(*own));
        let kept = old.entries.iter().filter(|(key, _)| !added.contains_key(*key));
        let kept = kept.map(|(key, entry)| (key, later(key, entry.used_s), entry.len));
        let new = added.iter().map(|(key, value)| (key, value.used_s, value.bytes.len() as u64));
        let mut stays: Vec<&Vec<u8>> = newest(kept.chain(new).collect(), self.bounds);
        stays.sort_unstable();
        let mut entries = BTreeMap::new();
        let mut at = 0;
        for key in stays {
            let entry = match (added.get(key), old.entries.get(key)) {
                (Some(value), _) => Entry { used_s: value.used_s, at, ..Entry::of(&value.bytes) },
                (None, Some(entry)) => Entry { used_s: later(key, entry.used_s), at, ..*entry },
                (None, None) => continue,
            };
            at += entry.len;
            entries.insert(key.clone(), entry);
        }
        std::fs::remove_file(&self.aside).ok();
        let file = File::options().read(true).write(true).create_new(true).open(&self.aside)?;
        let mut out = BufWriter::with_capacity(1 << 18, &file);
        let head = Head::encode(&origin, &entries).map_err(std::io::Error::other)?;
        out.write_all(&head)?;
        for key in entries.keys() {
            match (added.get(key), old.entries.get(key), &old.file) {
                (Some(value), ..) => out.write_all(&value.bytes)?,
                // Not compared with its digest: whoever takes it does that.
                (None, Some(entry), Some(from)) => out.write_all(&entry.read_unchecked(from)?)?,
                _ => return Err(std::io::Error::other("a value is missing")),
            }
        }
        out.flush()?;
        drop(out);
        std::fs::rename(&self.aside, &self.path)?;
        for entry in entries.values_mut() {
            entry.at += head.len() as u64;
        }
        Ok(Some(Known { file: Some(Arc::new(file)), entries }))
    }

    /// Keeps other processes from writing until it is dropped: two that read, add and write at once would lose what one has added.
    /// `None` where the file system knows no locks.
    fn lock_directory(&self) -> std::io::Result<Option<OwnedFd>> {
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(rustix::fs::CWD, directory, flags, Mode::empty())?;
        let started = Instant::now();
        loop {
            match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(directory)),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(_) => return Ok(None),
            }
            if started.elapsed() > LOCK_WAIT_MAX {
                return Err(std::io::Error::other("another process has it locked"));
            }
            std::thread::sleep(LOCK_STEP);
        }
    }

    fn open(&self) -> Known {
        let Some(origin) = Origin::current(&self.version) else { return Known::default() };
        match read(&self.path, &origin, self.bounds) {
            Ok(known) => known.unwrap_or_default(),
            Err(why) => {
                tracing::info!("{} is not used: {why}", self.path.display());
                Known::default()
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of these (key, last use, length) that stay.
fn newest<'k>(mut all: Vec<(&'k Vec<u8>, u64, u64)>, bounds: KeptBounds) -> Vec<&'k Vec<u8>> {
    all.sort_by_key(|(_, used_s, _)| std::cmp::Reverse(*used_s));
    let mut room = bounds.bytes;
    let mut fits = |(key, _, len): (&'k Vec<u8>, u64, u64)| {
        room = room.checked_sub(key.len() as u64 + len)?;
        Some(key)
    };
    let stays = all.into_iter().filter_map(&mut fits);
    stays.take(bounds.values).collect()
}

/// What is in a file; `None` when there is none.
fn read(path: &Path, reader: &Origin, bounds: KeptBounds) -> Result<Option<Known>, Unusable> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(_) => return Err(Unusable::Damaged),
    };
    let metadata = file.metadata().map_err(|_| Unusable::Damaged)?;
    if !metadata.is_file() {
        return Err(Unusable::Damaged);
    }
    let mut fixed = [0; FIXED_BYTES];
    file.read_exact_at(&mut fixed, 0).map_err(|_| Unusable::Damaged)?;
    let len = Head::len(&fixed, metadata.len(), bounds)?;
    let mut head = vec![0; len];
    file.read_exact_at(&mut head, 0).map_err(|_| Unusable::Damaged)?;
    let entries = Head::decode(&head, metadata.len(), reader, bounds)?;
    Ok(Some(Known { file: Some(Arc::new(file)), entries }))
}

/// What a file of these bytes holds for this reader, all of its values read: for tests of what is hostile.
///
/// # Errors
/// Why it is not used.
pub fn read_kept(bytes: &[u8], reader: &Origin, bounds: KeptBounds) -> Result<BTreeMap<Vec<u8>, Option<Vec<u8>>>, Unusable> {
    let (size, fixed) = (bytes.len() as u64, bytes.first_chunk().ok_or(Unusable::Damaged)?);
    let head = bytes.get(..Head::len(fixed, size, bounds)?).ok_or(Unusable::Damaged)?;
    let entries = Head::decode(head, size, reader, bounds)?;
    let value = |entry: &Entry| {
        let value = bytes.get(usize::try_from(entry.at).ok()?..)?.get(..usize::try_from(entry.len).ok()?)?;
        (Digest::of(value).hash == entry.sum).then(|| value.to_vec())
    };
    Ok(entries.iter().map(|(key, entry)| (key.clone(), value(entry))).collect())
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
