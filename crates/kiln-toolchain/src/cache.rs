//! Digests of files remembered by identity and times. Knows nothing of what the files mean, nor where it is kept between runs.

use crate::record::RecordError;
use crate::{ToolchainError, record};
use kiln_cas::{Digest, Hasher};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Most files remembered: 65,536, a hundred toolchains of some hundred files with room to spare; 5.5 MiB on disk.
pub const DIGESTS_MAX: usize = 1 << 16;

/// Step of file times where the file system keeps nanoseconds: one jiffy of the slowest kernel clock, 1/100 s.
const TICK_NS: i128 = 10_000_000;

/// Step of file times where both lack a fraction: FAT keeps two seconds, the coarsest in use.
const COARSE_TICK_NS: i128 = 2_000_000_000;

/// How often a file that changes while it is read is read again.
const READ_ATTEMPTS: usize = 3;

/// A file's identity and times: while they stay, and had settled, its content stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// What a file's content is, and whether its stamp vouches for it from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read1 {
    pub(crate) digest: Digest,
    pub(crate) stamp: FileStamp,
    pub(crate) executable: bool,
    pub(crate) settled: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Record {
    stamp: FileStamp,
    #[serde(with = "record::digest")]
    digest: Digest,
    /// Whether another process may rely on it. Only such are written.
    #[serde(skip, default = "yes")]
    lasting: bool,
    /// Whether this process had need of it.
    #[serde(skip)]
    used: bool,
}

fn yes() -> bool {
    true
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

    /// What [`DigestCache::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<DigestCache, RecordError> {
        let (records, rest) = postcard::take_from_bytes::<Vec<Record>>(bytes)?;
        if !rest.is_empty() || records.len() > DIGESTS_MAX {
            return Err(RecordError::Inconsistent);
        }
        let records = records.into_iter().map(|record| ((record.stamp.dev, record.stamp.ino), record)).collect();
        Ok(DigestCache { records, ..DigestCache::default() })
    }

    /// What may be relied on by another process, as bytes, if anything was learned since the last call.
    ///
    /// # Errors
    /// None is known.
    pub fn encode(&mut self) -> Result<Option<Vec<u8>>, RecordError> {
        if !std::mem::take(&mut self.changed) {
            return Ok(None);
        }
        let lasting: Vec<&Record> = self.records.values().filter(|record| record.lasting).collect();
        Ok(Some(postcard::to_stdvec(&lasting)?))
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
                    self.remember(stamp, digest, keeps_stamps(&file));
                }
                return Ok(Read1 { digest, stamp, executable, settled });
            }
        }
        Err(ToolchainError::Changing(path.to_owned()))
    }

    fn remember(&mut self, stamp: FileStamp, digest: Digest, lasting: bool) {
        if self.records.len() >= DIGESTS_MAX {
            self.records.retain(|_, record| record.used);
            if self.records.len() >= DIGESTS_MAX {
                self.records.clear();
            }
        }
        self.records.insert((stamp.dev, stamp.ino), Record { stamp, digest, lasting, used: true });
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

/// File systems whose kernel gives each file its own inode number and each change its own time. Not on it: images (squashfs, ISO 9660)
/// that are mounted one after the other with the same numbers and one time for all files, and those that make up inode numbers or take
/// times from elsewhere (FUSE, NFS, 9p, SMB).
const KEEP_STAMPS: [u32; 8] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
    0x0102_1994, // tmpfs
    0x794c_7630, // overlayfs
];

/// Whether the stamp of this open file means the same to another process later.
#[must_use]
pub fn keeps_stamps(file: impl AsFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|system| is_keeper(&system))
}

fn is_keeper(system: &rustix::fs::StatFs) -> bool {
    KEEP_STAMPS.iter().any(|known| i128::from(*known) == i128::from(system.f_type))
}

/// Whether a stamp of the file at `path` means the same to another process later.
pub(crate) fn is_lasting(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|system| is_keeper(&system))
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
    fn what_lasts_is_read_back_and_anything_else_is_refused() {
        let mut cache = DigestCache::new();
        let stamp = FileStamp { dev: 1, ino: 2, size: 3, mtime_ns: -4, ctime_ns: 5 };
        cache.remember(stamp, Digest { size: 3, ..Digest::of(b"abc") }, true);
        cache.remember(FileStamp { ino: 3, ..stamp }, Digest::of(b"abc"), false);
        let good = cache.encode().unwrap().expect("it has learned");
        assert!(cache.encode().unwrap().is_none(), "nothing new");
        let read = DigestCache::decode(&good).unwrap();
        assert_eq!(read.len(), 1, "what does not last is left out");
        assert_eq!((read.records[&(1, 2)].stamp, read.records[&(1, 2)].digest), (stamp, Digest::of(b"abc")));
        for at in 0..good.len() {
            assert!(DigestCache::decode(&good[..at]).is_err(), "cut at {at}");
        }
        assert!(DigestCache::decode(&[&good[..], b"x"].concat()).is_err());
    }

    #[test]
    fn the_bound_drops_what_was_not_used() {
        let mut cache = DigestCache::new();
        for ino in 0..DIGESTS_MAX as u64 {
            cache.remember(FileStamp { dev: 0, ino, size: 0, mtime_ns: 0, ctime_ns: 0 }, Digest::EMPTY, true);
        }
        for record in cache.records.values_mut().skip(10) {
            record.used = false;
        }
        cache.remember(FileStamp { dev: 1, ino: 0, size: 0, mtime_ns: 0, ctime_ns: 0 }, Digest::EMPTY, true);
        assert_eq!(cache.len(), 11);
    }
}
