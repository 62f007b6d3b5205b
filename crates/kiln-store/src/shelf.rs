//! Files in sharded directories under a byte bound: published whole, found again, evicted. Knows names, sizes and times, not
//! contents.
//!
//! The directory is the truth and the index a picture of it: what the index does not know is looked for on disk, and what is
//! not on disk is forgotten. So several processes may share one directory, each with an index of its own.

use crate::StoreError;
use crate::error::{io_error, is_disk_full};
use crate::index::{Index, Touch, Victim, charge};
use crate::key::{Key, Kind, SHARD_LEN};
use crate::pending::{Pending, Reservation, Temp};
use crate::session::Session;
use crate::stats::{Counters, StoreStats, add};
use kiln_cas::Digest;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Modification time of every stored file, in seconds since 1970: 2000-01-01. One constant, so that what a compiler sees of a
/// file is its content; long past, so that nothing takes it for changed.
pub const FILE_MTIME_S: i64 = 946_684_800;

/// Victims taken at one time: enough that the lock is taken seldom, few enough that a caller in need of one block does not
/// remove much more.
pub(crate) const VICTIMS_MAX: usize = 64;

/// Bytes freed at least when the disk is full though the bound is not reached: 16 MiB, a few large objects.
const DISK_FULL_FREE_BYTES: u64 = 16 << 20;

/// Slack that [`Shelf::maintain`] keeps free: a 32nd of the bound, so that a put seldom has to evict.
const SLACK_PART: u64 = 32;

/// Time between two listings of a directory that other processes use too. A listing costs 5 us of CPU a file: a second for
/// 200,000 files, so a sixth of a percent; meanwhile each process may fill the bound by itself.
pub(crate) const RESCAN_EVERY: Duration = Duration::from_secs(600);

pub(crate) struct Shelf {
    root: OwnedFd,
    path: PathBuf,
    session: Session,
    index: Mutex<Index>,
    /// Signalled when files that were leaving are gone.
    gone: Condvar,
    max_bytes: u64,
    rescan_every: Duration,
    rescanned: Mutex<Instant>,
    pub(crate) counters: Counters,
}

/// Where a file is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publish {
    /// A file of that name was there, and stays.
    Kept,
    Done,
}

/// Microseconds since 1970; file times are kept in it.
fn now_us() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}

fn atime_us(stat: &Stat) -> u64 {
    let seconds = u64::try_from(stat.st_atime).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(stat.st_atime_nsec / 1_000)
}

fn times(mtime: Timespec) -> Timestamps {
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW }, last_modification: mtime }
}

impl Shelf {
    /// Opens or makes the shelf at `path`, which holds at most `max_bytes`, and lists what is there.
    pub(crate) fn open(path: &Path, max_bytes: u64, rescan_every: Duration) -> Result<Shelf, StoreError> {
        let make = |path: &Path| {
            use std::os::unix::fs::DirBuilderExt as _;
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(|error| io_error("make directory", path, error))
        };
        let open = |path: &Path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).map_err(|error| io_error("open directory", path, error))
        };
        let tmp = path.join("tmp");
        make(&tmp)?;
        let shelf = Shelf {
            root: open(path)?,
            path: path.to_owned(),
            session: Session::start(open(&tmp)?, &tmp)?,
            index: Mutex::new(Index::default()),
            gone: Condvar::new(),
            max_bytes,
            rescan_every,
            rescanned: Mutex::new(Instant::now()),
            counters: Counters::default(),
        };
        shelf.rescan()?;
        shelf.evict_to(max_bytes);
        Ok(shelf)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    pub(crate) fn file_path(&self, key: &Key) -> PathBuf {
        self.path.join(key.path())
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    pub(crate) fn stats(&self) -> StoreStats {
        let index = self.lock();
        StoreStats { files: index.len() as u64, bytes: index.used(), pinned: index.pinned() as u64, ..self.counters.snapshot() }
    }

    /// Whether the file is here; a use. Looks on disk for what the index does not know.
    pub(crate) fn touch(&self, key: &Key) -> Option<Found> {
        let touch = self.lock().touch(key, now_us());
        match touch {
            Touch::Here { verified, save } => {
                if save {
                    self.save_use(key);
                }
                Some(Found { verified })
            }
            Touch::Leaving => None,
            Touch::Absent => {
                let stat = rustix::fs::statat(&self.root, key.path(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
                if !is_sound(key, &stat) {
                    self.discard(key);
                    return None;
                }
                self.lock().discover(*key, stat.st_size as u64, atime_us(&stat).min(now_us()));
                Some(Found { verified: false })
            }
        }
    }

    /// Whether the file is here with the mode and times it was published with.
    pub(crate) fn is_untouched(&self, key: &Key) -> bool {
        let stat = rustix::fs::statat(&self.root, key.path(), AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| is_sound(key, &stat) && is_untouched(key, &stat))
    }

    /// Whether the file is here, compared by this process, and not touched since; a use. Asks the disk only about what the
    /// index knows.
    pub(crate) fn is_trusted(&self, key: &Key) -> bool {
        let verified = self.lock().is_verified(key);
        verified && self.is_untouched(key) && self.touch(key).is_some()
    }

    /// Gives an open file its mode and times back.
    pub(crate) fn restore_metadata(&self, file: &File, key: &Key) -> Result<(), StoreError> {
        let fail = |error| io_error("restore mode and times of", &self.file_path(key), error);
        rustix::fs::fchmod(file, Mode::from_raw_mode(key.mode())).map_err(fail)?;
        rustix::fs::futimens(file, &times(Timespec { tv_sec: FILE_MTIME_S, tv_nsec: 0 })).map_err(fail)
    }

    /// Pins blobs; those that are here count as used.
    pub(crate) fn pin(&self, digests: &[Digest]) {
        let mut index = self.lock();
        digests.iter().for_each(|digest| index.pin(digest));
        drop(index);
        for digest in digests {
            for executable in [false, true] {
                let key = Key::blob(digest, executable);
                let touch = self.lock().touch(&key, now_us());
                if let Touch::Here { save: true, .. } = touch {
                    self.save_use(&key);
                }
            }
        }
    }

    /// Takes one pin of each back.
    pub(crate) fn unpin(&self, digests: &[Digest]) {
        let now = now_us();
        let mut index = self.lock();
        digests.iter().for_each(|digest| index.unpin(digest, now));
    }

    fn save_use(&self, key: &Key) {
        let times = times(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT });
        // Read-only directories cannot note it; then uses are forgotten at a restart, nothing worse.
        let _ = rustix::fs::utimensat(&self.root, key.path(), &times, AtFlags::SYMLINK_NOFOLLOW);
    }

    /// Opens a file for reading, without a judgement of its content. `None` when it is not here or of another size.
    pub(crate) fn open_file(&self, key: &Key) -> Result<Option<(File, Untouched)>, StoreError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.root, key.path(), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => {
                self.lock().forget(key);
                return Ok(None);
            }
            Err(Errno::LOOP) => {
                self.discard(key);
                return Ok(None);
            }
            Err(error) => return Err(io_error("open", &self.file_path(key), error)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|error| io_error("stat", &self.file_path(key), error))?;
        if !is_sound(key, &stat) {
            self.discard(key);
            return Ok(None);
        }
        Ok(Some((file, Untouched(is_untouched(key, &stat)))))
    }

    /// Removes a file whose content is wrong.
    pub(crate) fn discard(&self, key: &Key) {
        add(&self.counters.corrupt, 1);
        self.remove(key);
    }

    /// Removes a file; nothing when it is not here.
    pub(crate) fn remove(&self, key: &Key) {
        let _ = rustix::fs::unlinkat(&self.root, key.path(), AtFlags::empty());
        self.lock().forget(key);
    }

    /// Sets room aside for `size` bytes on behalf of `digest`, evicting what must go.
    pub(crate) fn reserve(self: &Arc<Self>, digest: &Digest, size: u64) -> Result<Reservation, StoreError> {
        let mut reservation = Reservation { shelf: Arc::clone(self), bytes: 0 };
        reservation.grow(digest, charge(size))?;
        Ok(reservation)
    }

    /// Makes `size` bytes on the disk itself free, as far as evictions can; false when there is nothing to evict.
    pub(crate) fn free_disk(&self, size: u64) -> bool {
        let used = self.lock().used();
        let goal = used.saturating_sub(charge(size).max(DISK_FULL_FREE_BYTES));
        self.evict_to(goal);
        self.lock().used() < used
    }

    /// Evicts until at most `goal` bytes are used; pinned files stay.
    pub(crate) fn evict_to(&self, goal: u64) {
        loop {
            let mut index = self.lock();
            let excess = index.excess(0, goal);
            let victims = index.take_victims(excess, VICTIMS_MAX);
            drop(index);
            if victims.is_empty() {
                return;
            }
            self.evict(&victims);
        }
    }

    /// Removes victims, save those that another process used meanwhile.
    pub(crate) fn evict(&self, victims: &[Victim]) {
        let mut outcomes = Vec::with_capacity(victims.len());
        for victim in victims {
            let path = victim.key.path();
            let used_by_others = rustix::fs::statat(&self.root, &path, AtFlags::SYMLINK_NOFOLLOW)
                .ok()
                .map(|stat| atime_us(&stat))
                .filter(|&atime| atime > victim.saved.saturating_add(1_000_000) && atime <= now_us());
            if used_by_others.is_none() {
                let _ = rustix::fs::unlinkat(&self.root, &path, AtFlags::empty());
                add(&self.counters.evictions, 1);
                add(&self.counters.evicted_bytes, victim.charge);
            }
            outcomes.push(used_by_others);
        }
        let mut index = self.lock();
        for (victim, outcome) in victims.iter().zip(outcomes) {
            match outcome {
                Some(stamp) => index.restore(victim, stamp),
                None => {
                    index.forget(&victim.key);
                }
            }
        }
        drop(index);
        self.gone.notify_all();
    }

    /// A new file in this process's private directory.
    pub(crate) fn create(self: &Arc<Self>, digest: &Digest) -> Result<Temp, StoreError> {
        let mut created = self.session.create();
        if let Err(Errno::NOSPC | Errno::DQUOT) = created
            && self.free_disk(0)
        {
            created = self.session.create();
        }
        match created {
            Ok((file, name)) => Ok(Temp { shelf: Arc::clone(self), file: Some(file), name }),
            Err(error) => Err(self.failure("create a file in", self.session.path(), digest, error)),
        }
    }

    /// A full disk is no failure of the storage but want of room.
    fn failure(&self, what: &str, path: &Path, digest: &Digest, error: Errno) -> StoreError {
        let error = std::io::Error::from(error);
        if !is_disk_full(&error) {
            return io_error(what, path, error);
        }
        add(&self.counters.full, 1);
        StoreError::Full(*digest)
    }

    /// Gives `temp` its name, mode and times. With `replace` it takes the place of a file of that name; else that stays.
    pub(crate) fn publish(&self, file: Pending, key: &Key, size: u64, replace: bool) -> Result<Publish, StoreError> {
        let Pending { mut temp, mut reservation } = file;
        let fail = |error| self.failure("publish", &self.file_path(key), &key.digest, error);
        if let Some(file) = temp.file.take() {
            // Closed at the end of this block, before the name exists: a file open for writing cannot be executed.
            self.restore_metadata(&file, key)?;
        }
        let mut index = self.lock();
        while index.touch(key, 0) == Touch::Leaving {
            index = self.gone.wait(index).unwrap_or_else(PoisonError::into_inner);
        }
        drop(index);
        let path = key.path();
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        let mut outcome = self.rename(&temp.name, &path, flags);
        if outcome == Err(Errno::NOENT) {
            match rustix::fs::mkdirat(&self.root, &path[..SHARD_LEN], Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(fail(error)),
            }
            outcome = self.rename(&temp.name, &path, flags);
        }
        match outcome {
            Ok(()) => {
                temp.published();
                let mut index = self.lock();
                index.release(std::mem::take(&mut reservation.bytes));
                index.insert(*key, size, now_us(), true);
                drop(index);
                add(&self.counters.puts, 1);
                add(&self.counters.put_bytes, size);
                Ok(Publish::Done)
            }
            Err(Errno::EXIST) => Ok(Publish::Kept),
            Err(error) => Err(fail(error)),
        }
    }

    fn rename(&self, from: &str, to: &str, flags: RenameFlags) -> Result<(), Errno> {
        match rustix::fs::renameat_with(self.session.fd(), from, &self.root, to, flags) {
            // Some file systems know no flags; the hard link has the same meaning, and the temporary name goes with `Temp`.
            Err(Errno::INVAL | Errno::NOSYS) if !flags.is_empty() => {
                rustix::fs::linkat(self.session.fd(), from, &self.root, to, AtFlags::empty())?;
                self.session.remove(from);
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Compares the index with the directory: enters what others added, forgets what they removed, and removes files whose
    /// size is not that of their name.
    pub(crate) fn rescan(&self) -> Result<(), StoreError> {
        let before = self.lock().keys();
        for first in 0..=255u8 {
            let shard = format!("{first:02x}");
            self.scan_shard(&shard).map_err(|error| io_error("list", &self.path.join(&shard), error))?;
        }
        for key in before {
            if let Err(Errno::NOENT) = rustix::fs::statat(&self.root, key.path(), AtFlags::SYMLINK_NOFOLLOW) {
                self.lock().forget(&key);
            }
        }
        Ok(())
    }

    fn scan_shard(&self, shard: &str) -> Result<(), Errno> {
        let now = now_us();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let dir = match rustix::fs::openat(&self.root, shard, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let Some(key) = entry.file_name().to_str().ok().and_then(|name| Key::parse(shard, name)) else { continue };
            let Ok(stat) = rustix::fs::statat(&dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if is_sound(&key, &stat) {
                self.lock().discover(key, stat.st_size as u64, atime_us(&stat).min(now));
            } else {
                self.discard(&key);
            }
        }
        Ok(())
    }

    /// Housekeeping between requests: frees some slack below the bound, and looks what other processes did.
    pub(crate) fn maintain(&self) -> Result<(), StoreError> {
        let mut rescanned = self.rescanned.lock().unwrap_or_else(PoisonError::into_inner);
        if rescanned.elapsed() >= self.rescan_every && self.session.has_company() {
            self.rescan()?;
            *rescanned = Instant::now();
        }
        drop(rescanned);
        self.evict_to(self.max_bytes - self.max_bytes / SLACK_PART);
        Ok(())
    }
}

/// A file that is here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// Its content was compared with its digest by this process.
    pub(crate) verified: bool,
}

/// Whether a file's mode and times are still those it was published with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Untouched(pub(crate) bool);

fn is_sound(key: &Key, stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && (key.kind == Kind::Record || u64::try_from(stat.st_size) == Ok(key.digest.size))
}

fn is_untouched(key: &Key, stat: &Stat) -> bool {
    stat.st_mtime == FILE_MTIME_S && stat.st_mtime_nsec == 0 && stat.st_mode & 0o7777 == key.mode()
}
