//! Identity and content of one file. Knows no cache.

use kiln_cas::{Digest, Hasher};
use rustix::fs::{Mode, OFlags, Stat, fstat, openat};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;

use super::{COARSE_TICK_NS, INPUT_SIZE_MAX, TICK_NS};

/// What the system says of a file: as long as this is the same, so is the content (if the times were settled when it was read).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) nlink: u64,
    pub(crate) mtime_ns: i128,
    pub(crate) ctime_ns: i128,
}

impl Stamp {
    pub(crate) fn of(stat: &Stat) -> Stamp {
        let time_ns = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        Stamp {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode,
            nlink: stat.st_nlink,
            mtime_ns: time_ns(stat.st_mtime, stat.st_mtime_nsec as i64),
            ctime_ns: time_ns(stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }

    /// Whether both times lie two ticks before `now_ns`, so that a later change must show in them. Times in the future
    /// (another machine's clock) are never settled.
    pub(crate) fn is_settled(&self, now_ns: i128) -> bool {
        let coarse = [self.mtime_ns, self.ctime_ns].iter().all(|time_ns| time_ns % 1_000_000_000 == 0);
        let tick_ns = if coarse { COARSE_TICK_NS } else { TICK_NS };
        self.mtime_ns.max(self.ctime_ns) + 2 * tick_ns <= now_ns
    }

    pub(crate) fn is_file(&self) -> bool {
        rustix::fs::FileType::from_raw_mode(self.mode) == rustix::fs::FileType::RegularFile
    }

    pub(crate) fn is_directory(&self) -> bool {
        rustix::fs::FileType::from_raw_mode(self.mode) == rustix::fs::FileType::Directory
    }

    pub(crate) fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }
}

/// A file's bytes as read at one moment.
pub(crate) struct Content {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) stamp: Stamp,
    /// Its file system gives each file a number and each change a time of its own: the stamp means the same to another process.
    pub(crate) has_own_stamp: bool,
}

/// Times a file is read again because it changed while being read.
const READS_MAX: usize = 3;

/// Opens a regular file without waiting (a FIFO would hang) and without becoming anyone's terminal's process.
pub(crate) fn open_regular(path: &str) -> io::Result<(OwnedFd, Stamp)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = openat(rustix::fs::CWD, path, flags, Mode::empty())?;
    let stamp = Stamp::of(&fstat(&fd)?);
    match stamp.is_file() && stamp.size <= INPUT_SIZE_MAX {
        true => Ok((fd, stamp)),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file of sensible size")),
    }
}

/// Reads a file that holds still.
///
/// # Errors
/// When it cannot be opened or read, or changes each of [`READS_MAX`] times.
pub(crate) fn read(path: &str) -> io::Result<Content> {
    for _ in 0..READS_MAX {
        let (fd, before) = open_regular(path)?;
        let mut bytes = Vec::with_capacity(before.size as usize + 1);
        let mut hasher = Hasher::new();
        read_to_end(&fd, &mut bytes)?;
        hasher.update(&bytes);
        let after = Stamp::of(&fstat(&fd)?);
        if before == after && bytes.len() as u64 == after.size {
            let has_own_stamp = kiln_toolchain::keeps_stamps(&fd);
            return Ok(Content { digest: hasher.finish(), bytes, stamp: after, has_own_stamp });
        }
    }
    Err(io::Error::other("changes while it is read"))
}

fn read_to_end(fd: &OwnedFd, bytes: &mut Vec<u8>) -> io::Result<()> {
    loop {
        if bytes.capacity() == bytes.len() {
            bytes.reserve(64 << 10);
        }
        let got = rustix::io::retry_on_intr(|| rustix::io::read(fd, rustix::buffer::spare_capacity(bytes)))?;
        if got == 0 {
            return Ok(());
        }
        if bytes.len() as u64 > INPUT_SIZE_MAX {
            return Err(io::Error::other("grows while it is read"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(mtime_ns: i128, ctime_ns: i128) -> Stamp {
        Stamp { dev: 1, ino: 1, size: 1, mode: 0o10_0644, nlink: 1, mtime_ns, ctime_ns }
    }

    #[test]
    fn a_time_counts_when_two_ticks_have_passed() {
        let time_ns = 1_700_000_000_500_000_000;
        assert!(!stamp(0, time_ns).is_settled(time_ns + 2 * TICK_NS - 1), "a change in the same tick would not show");
        assert!(stamp(0, time_ns).is_settled(time_ns + 2 * TICK_NS));
        assert!(!stamp(time_ns, 0).is_settled(time_ns - 1), "another machine's clock");
    }

    #[test]
    fn where_times_have_no_fraction_ticks_are_long() {
        let time_ns = 1_700_000_000_000_000_000;
        assert!(!stamp(0, time_ns).is_settled(time_ns + 900_000_000), "a change in the same second would not show");
        assert!(stamp(0, time_ns).is_settled(time_ns + 4_000_000_000));
        assert!(stamp(1, time_ns).is_settled(time_ns + 900_000_000), "one has a fraction");
    }
}
