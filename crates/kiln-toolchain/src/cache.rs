//! Digests of files remembered by identity and times, on disk between runs. Knows nothing of what the files mean.

use crate::ToolchainError;
use kiln_cas::{Digest, Hasher};
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most files remembered: 65,536, a hundred toolchains of some hundred files with room to spare; 5.5 MiB on disk.
pub const DIGESTS_MAX: usize = 1 << 16;

/// Step of file times where the file system keeps nanoseconds: one jiffy of the slowest kernel clock, 1/100 s.
const TICK_NS: i128 = 10_000_000;

/// Step of file times where both lack a fraction: FAT keeps two seconds, the coarsest in use.
const COARSE_TICK_NS: i128 = 2_000_000_000;

/// How often a file that changes while it is read is read again.
const READ_ATTEMPTS: usize = 3;

const MAGIC: &[u8; 16] = b"kiln-digests 1\n\0";
const RECORD_SIZE: usize = 8 * 3 + 16 * 2 + 32;

/// A file's identity and times: while they stay, and had settled, its content stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of content, in nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Time of the last change of the inode, in nanoseconds since 1970.
    pub ctime_ns: i128,
}

impl FileStamp {
    /// The stamp in a file's metadata.
    pub fn of(metadata: &Metadata) -> FileStamp {
        let ns = |seconds: i64, fraction: i64| i128::from(seconds) * 1_000_000_000 + i128::from(fraction);
        FileStamp {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether both times are at least two ticks older than `moment`: a change after `moment` then shows in them.
    pub fn is_settled_at(&self, moment: SystemTime) -> bool {
        let moment = match moment.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        };
        let coarse = self.mtime_ns % 1_000_000_000 == 0 && self.ctime_ns % 1_000_000_000 == 0;
        let tick = if coarse { COARSE_TICK_NS } else { TICK_NS };
        self.mtime_ns.max(self.ctime_ns) + 2 * tick <= moment
    }
}

/// Why a cache file could not be written. Reading never fails: what cannot be read is forgotten.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct CacheError {
    /// The file.
    pub path: PathBuf,
    /// The system's answer.
    pub source: std::io::Error,
}

/// What a file's content is, and whether its stamp vouches for it from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read1 {
    pub(crate) digest: Digest,
    pub(crate) stamp: FileStamp,
    pub(crate) executable: bool,
    pub(crate) settled: bool,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    stamp: FileStamp,
    digest: Digest,
    used: bool,
}

/// Digests by (device, inode, size, both times). An entry is made only when the times had settled before the read that made it.
#[derive(Debug, Default)]
pub struct DigestCache {
    records: BTreeMap<(u64, u64), Record>,
    changed: bool,
    hashed_bytes: u64,
}

impl DigestCache {
    /// A cache that remembers nothing yet.
    pub fn new() -> DigestCache {
        DigestCache::default()
    }

    /// What `path` holds; empty when there is no such file, or it is damaged, foreign or of another version.
    pub fn load(path: &Path) -> DigestCache {
        let mut bytes = Vec::new();
        let limit = (DIGESTS_MAX * RECORD_SIZE + MAGIC.len() + 32 + 1) as u64;
        match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
            Ok(_) => DigestCache { records: decode(&bytes).unwrap_or_default(), changed: false, hashed_bytes: 0 },
            Err(_) => DigestCache::new(),
        }
    }

    /// Writes the cache to `path` if it learned anything: aside first, then renamed over it.
    ///
    /// # Errors
    /// When the file cannot be written; the old one then stays.
    pub fn save(&mut self, path: &Path) -> Result<(), CacheError> {
        if !self.changed {
            return Ok(());
        }
        let aside = path.with_extension(format!("{}.tmp", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&aside)?;
            file.write_all(&encode(&self.records))?;
            file.sync_all()?;
            std::fs::rename(&aside, path)
        };
        let result = write();
        if let Err(source) = result {
            std::fs::remove_file(&aside).ok();
            return Err(CacheError { path: path.to_owned(), source });
        }
        self.changed = false;
        Ok(())
    }

    /// Bytes read and hashed so far; what was remembered costs none.
    pub fn hashed_bytes(&self) -> u64 {
        self.hashed_bytes
    }

    /// Number of files remembered.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The digest and stamp of a regular file, read only when it is not remembered.
    ///
    /// # Errors
    /// When the file is not regular, cannot be read, or keeps changing.
    pub fn digest(&mut self, path: &Path) -> Result<(Digest, FileStamp), ToolchainError> {
        self.read(path).map(|read| (read.digest, read.stamp))
    }

    pub(crate) fn read(&mut self, path: &Path) -> Result<Read1, ToolchainError> {
        let error = |source| ToolchainError::Io { path: path.to_owned(), source };
        for _ in 0..READ_ATTEMPTS {
            let started = SystemTime::now();
            // Looked at before it is opened: opening a FIFO would wait for its writer.
            let metadata = std::fs::symlink_metadata(path).map_err(error)?;
            if !metadata.is_file() {
                return Err(error(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file")));
            }
            let stamp = FileStamp::of(&metadata);
            let executable = metadata.mode() & 0o100 != 0;
            if let Some(record) = self.records.get_mut(&(stamp.dev, stamp.ino))
                && record.stamp == stamp
            {
                record.used = true;
                return Ok(Read1 { digest: record.digest, stamp, executable, settled: true });
            }
            let mut file = File::open(path).map_err(error)?;
            let digest = hash(&mut file).map_err(error)?;
            self.hashed_bytes += digest.size;
            let after = file.metadata().map_err(error)?;
            if FileStamp::of(&after) == stamp && digest.size == stamp.size {
                let settled = stamp.is_settled_at(started);
                if settled {
                    self.remember(stamp, digest);
                }
                return Ok(Read1 { digest, stamp, executable, settled });
            }
        }
        Err(ToolchainError::Changing(path.to_owned()))
    }

    fn remember(&mut self, stamp: FileStamp, digest: Digest) {
        if self.records.len() >= DIGESTS_MAX {
            self.records.retain(|_, record| record.used);
            if self.records.len() >= DIGESTS_MAX {
                self.records.clear();
            }
        }
        self.records.insert((stamp.dev, stamp.ino), Record { stamp, digest, used: true });
        self.changed = true;
    }
}

fn hash(file: &mut File) -> std::io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn encode(records: &BTreeMap<(u64, u64), Record>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + records.len() * RECORD_SIZE + 32);
    bytes.extend_from_slice(MAGIC);
    for record in records.values() {
        let stamp = &record.stamp;
        for number in [stamp.dev, stamp.ino, stamp.size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&stamp.mtime_ns.to_le_bytes());
        bytes.extend_from_slice(&stamp.ctime_ns.to_le_bytes());
        bytes.extend_from_slice(&record.digest.hash);
    }
    let sum = Digest::of(&bytes);
    bytes.extend_from_slice(&sum.hash);
    bytes
}

fn decode(bytes: &[u8]) -> Option<BTreeMap<(u64, u64), Record>> {
    let (body, sum) = bytes.split_last_chunk::<32>()?;
    let records = body.strip_prefix(MAGIC)?;
    if Digest::of(body).hash != *sum || records.len() % RECORD_SIZE != 0 || records.len() / RECORD_SIZE > DIGESTS_MAX {
        return None;
    }
    let mut map = BTreeMap::new();
    for mut record in records.chunks_exact(RECORD_SIZE) {
        let dev = u64::from_le_bytes(take(&mut record)?);
        let ino = u64::from_le_bytes(take(&mut record)?);
        let size = u64::from_le_bytes(take(&mut record)?);
        let mtime_ns = i128::from_le_bytes(take(&mut record)?);
        let ctime_ns = i128::from_le_bytes(take(&mut record)?);
        let stamp = FileStamp { dev, ino, size, mtime_ns, ctime_ns };
        map.insert((dev, ino), Record { stamp, digest: Digest { hash: take(&mut record)?, size }, used: false });
    }
    Some(map)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn aged(path: &Path) {
        let past = SystemTime::now() - Duration::from_secs(3600);
        File::options().append(true).open(path).unwrap().set_modified(past).unwrap();
    }

    #[test]
    fn a_settled_file_is_read_once_and_a_fresh_one_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cc1");
        std::fs::write(&file, b"one").unwrap();
        let mut cache = DigestCache::new();
        let stamp = FileStamp::of(&std::fs::metadata(&file).unwrap());
        assert!(!stamp.is_settled_at(UNIX_EPOCH + Duration::from_nanos(stamp.mtime_ns as u64)));
        // The status time cannot be set back: wait for the clock to pass it.
        while !stamp.is_settled_at(SystemTime::now()) {
            std::thread::yield_now();
        }
        let first = cache.read(&file).unwrap();
        assert!(first.settled && first.digest == Digest::of(b"one"));
        assert_eq!(cache.read(&file).unwrap(), first);
        assert_eq!(cache.hashed_bytes(), 3);
        std::fs::write(&file, b"two").unwrap();
        aged(&file);
        let second = cache.read(&file).unwrap();
        assert_eq!(second.digest, Digest::of(b"two"), "same size, older time, other content");
        assert_eq!(cache.hashed_bytes(), 6);
    }

    #[test]
    fn what_is_not_a_file_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let mut cache = DigestCache::new();
        assert!(matches!(cache.read(&fifo), Err(ToolchainError::Io { .. })));
        assert!(matches!(cache.read(dir.path()), Err(ToolchainError::Io { .. })));
        assert!(matches!(cache.read(&dir.path().join("none")), Err(ToolchainError::Io { .. })));
    }

    #[test]
    fn a_saved_cache_is_read_back_and_a_damaged_one_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("digests");
        let mut cache = DigestCache::new();
        let stamp = FileStamp { dev: 1, ino: 2, size: 3, mtime_ns: -4, ctime_ns: 5 };
        cache.remember(stamp, Digest { size: 3, ..Digest::of(b"abc") });
        cache.save(&file).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left aside");
        let loaded = DigestCache::load(&file);
        assert_eq!(loaded.records[&(1, 2)].stamp, stamp);
        assert_eq!(loaded.records[&(1, 2)].digest, Digest::of(b"abc"));
        let good = std::fs::read(&file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(decode(&bad).is_none(), "byte {at} changed");
            assert!(decode(&good[..at]).is_none(), "cut at {at}");
        }
        assert!(DigestCache::load(&dir.path().join("none")).is_empty());
        assert!(cache.save(&dir.path().join("no/such/dir")).is_ok(), "nothing new, nothing written");
        cache.remember(stamp, Digest::of(b"xyz"));
        assert!(cache.save(&dir.path().join("no/such/dir")).is_err());
    }

    #[test]
    fn the_bound_drops_what_was_not_used() {
        let mut cache = DigestCache::new();
        for ino in 0..DIGESTS_MAX as u64 {
            cache.remember(FileStamp { dev: 0, ino, size: 0, mtime_ns: 0, ctime_ns: 0 }, Digest::EMPTY);
        }
        for record in cache.records.values_mut().skip(10) {
            record.used = false;
        }
        cache.remember(FileStamp { dev: 1, ino: 0, size: 0, mtime_ns: 0, ctime_ns: 0 }, Digest::EMPTY);
        assert_eq!(cache.len(), 11);
    }
}
