//! What is worth more than one daemon's life: keys and values in one file, for later daemons of the same boot. Does not know what they
//! mean, nor whether they still hold: whoever takes a value checks it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::files::open_regular;

/// Raised with every change of what is written, here or in the values.
const FORMAT: u32 = 1;

/// Most values in the file: a hundred toolchains with twenty answers each. Those used last stay.
const VALUES_MAX: usize = 2048;

/// Most bytes of keys and values in the file: digests of 65,536 files (6 MiB), 2,000 answers of 4 KiB each, and toolchains.
const BYTES_MAX: usize = 16 << 20;

/// Largest file that is read: the values, 64 bytes around each, and the head.
const FILE_MAX: u64 = (BYTES_MAX + VALUES_MAX * 64 + 4096) as u64;

/// Use is noted in the file no more often than this: it decides only what is dropped.
const USE_STEP_S: u64 = 24 * 3600;

/// Whose values these are, and when. Numbers of devices and inodes mean the same only until the next boot, and times only while
/// the clock runs forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    format: u32,
    version: String,
    boot: String,
    saved_s: u64,
}

impl Origin {
    /// Of a process of this boot; `None` where the boot has no name.
    fn current(version: &str) -> Option<Origin> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        Some(Origin { format: FORMAT, version: version.to_owned(), boot, saved_s: now_s() })
    }
}

/// Why a file is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("damaged")]
    Damaged,
    #[error("another version's")]
    Version,
    #[error("from before the last boot")]
    Boot,
    #[error("written at a time that is yet to come")]
    Clock,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    used_s: u64,
    bytes: Vec<u8>,
}

pub(crate) type Values = BTreeMap<Vec<u8>, Value>;

/// The file's bytes: of more values than it holds, those used last.
pub(crate) fn encode(origin: &Origin, values: &Values) -> Result<Vec<u8>, postcard::Error> {
    let mut newest: Vec<_> = values.iter().collect();
    newest.sort_by_key(|(_, value)| std::cmp::Reverse(value.used_s));
    let mut room = BYTES_MAX;
    newest.retain(|(key, value)| match room.checked_sub(key.len() + value.bytes.len()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    });
    newest.truncate(VALUES_MAX);
    let list: Vec<(&[u8], u64, &[u8])> =
        newest.into_iter().map(|(key, value)| (key.as_slice(), value.used_s, value.bytes.as_slice())).collect();
    let mut bytes = postcard::to_stdvec(&(origin, list))?;
    let sum = kiln_cas::Digest::of(&bytes);
    bytes.extend_from_slice(&sum.hash);
    Ok(bytes)
}

/// What [`encode`] wrote, if it is of use to `reader`.
pub(crate) fn decode(bytes: &[u8], reader: &Origin) -> Result<Values, Unusable> {
    let (body, sum) = bytes.split_last_chunk::<32>().ok_or(Unusable::Damaged)?;
    if kiln_cas::Digest::of(body).hash != *sum {
        return Err(Unusable::Damaged);
    }
    let (origin, rest) = postcard::take_from_bytes::<Origin>(body).map_err(|_| Unusable::Damaged)?;
    match &origin {
        origin if (origin.format, &origin.version) != (reader.format, &reader.version) => return Err(Unusable::Version),
        origin if origin.boot != reader.boot => return Err(Unusable::Boot),
        origin if origin.saved_s > reader.saved_s => return Err(Unusable::Clock),
        _ => {}
    }
    let list = postcard::take_from_bytes::<Vec<(&[u8], u64, &[u8])>>(rest);
    let (list, []) = list.map_err(|_| Unusable::Damaged)? else { return Err(Unusable::Damaged) };
    let value = |(key, used_s, bytes): (&[u8], u64, &[u8])| {
        (key.to_vec(), Value { used_s: used_s.min(reader.saved_s), bytes: bytes.to_vec() })
    };
    Ok(list.into_iter().map(value).collect())
}

#[derive(Debug, Default)]
struct Inner {
    /// `None` until something is asked for: a daemon starts without reading it.
    values: Option<Values>,
    changed: bool,
    /// The last attempt to write failed and was told of.
    told: bool,
}

/// The values of one file, shared by all daemons of a directory: what another has added is kept, what both know is the last writer's.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    /// Under a name of its own for each view: two daemons write at once.
    aside: PathBuf,
    version: String,
    inner: Mutex<Inner>,
}

impl Kept {
    /// The file at `path`; `view` names this daemon among those that share it.
    pub(crate) fn new(path: PathBuf, view: u64, version: &str) -> Kept {
        let aside = path.with_extension(format!("{view:016x}.new"));
        Kept { path, aside, version: version.to_owned(), inner: Mutex::default() }
    }

    /// What was put under this key by this daemon or an earlier one.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut inner = self.lock();
        let value = self.values(&mut inner).get_mut(key)?;
        let now = now_s();
        let noted = value.used_s + USE_STEP_S > now;
        value.used_s = now;
        let bytes = value.bytes.clone();
        inner.changed |= !noted;
        Some(bytes)
    }

    pub(crate) fn put(&self, key: Vec<u8>, bytes: Vec<u8>) {
        let mut inner = self.lock();
        let value = Value { used_s: now_s(), bytes };
        self.values(&mut inner).insert(key, value);
        inner.changed = true;
    }

    /// Writes the file if anything was added: aside, then renamed. Not synchronised: one that a crash damages is not used.
    pub(crate) fn save(&self) {
        let mut inner = self.lock();
        if !inner.changed {
            return;
        }
        let Some(origin) = Origin::current(&self.version) else { return };
        let mut values = read(&self.path, &origin).ok().flatten().unwrap_or_default();
        values.extend(self.values(&mut inner).iter().map(|(key, value)| (key.clone(), value.clone())));
        let written = encode(&origin, &values).map_err(std::io::Error::other).and_then(|bytes| self.write(&bytes));
        match written {
            Ok(()) => (inner.changed, inner.told) = (false, false),
            Err(error) => {
                std::fs::remove_file(&self.aside).ok();
                if !std::mem::replace(&mut inner.told, true) {
                    tracing::warn!("{} is not written: {error}", self.path.display());
                }
            }
        }
    }

    fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        std::fs::remove_file(&self.aside).ok();
        std::fs::File::options().write(true).create_new(true).open(&self.aside)?.write_all(bytes)?;
        std::fs::rename(&self.aside, &self.path)
    }

    fn values<'i>(&self, inner: &'i mut Inner) -> &'i mut Values {
        inner.values.get_or_insert_with(|| {
            let Some(origin) = Origin::current(&self.version) else { return Values::new() };
            match read(&self.path, &origin) {
                Ok(values) => values.unwrap_or_default(),
                Err(why) => {
                    tracing::info!("{} is not used: {why}", self.path.display());
                    Values::new()
                }
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The values in a file; `None` when there is none.
fn read(path: &Path, reader: &Origin) -> Result<Option<Values>, Unusable> {
    let file = match open_regular(&path.to_string_lossy()) {
        Ok((file, _)) => std::fs::File::from(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err(Unusable::Damaged),
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(|_| Unusable::Damaged)?;
    decode(&bytes, reader).map(Some)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { format: FORMAT, version: "1".to_owned(), boot: "b".to_owned(), saved_s: 100 }
    }

    fn values(count: u64, len: usize) -> Values {
        (0..count).map(|n| (n.to_be_bytes().to_vec(), Value { used_s: n, bytes: vec![7; len] })).collect()
    }

    #[test]
    fn a_file_is_used_whole_or_not_at_all() {
        let good = encode(&origin(), &values(3, 5)).unwrap();
        assert_eq!(decode(&good, &origin()).unwrap(), values(3, 5));
        for at in 0..good.len() {
            assert_eq!(decode(&good[..at], &origin()), Err(Unusable::Damaged), "cut at {at}");
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert_eq!(decode(&bad, &origin()), Err(Unusable::Damaged), "byte {at} changed");
        }
        assert_eq!(decode(b"garbage", &origin()), Err(Unusable::Damaged));
    }

    #[test]
    fn a_file_of_another_time_or_version_is_not_used() {
        let bytes = encode(&origin(), &values(1, 1)).unwrap();
        let read = |reader: Origin| decode(&bytes, &reader);
        assert_eq!(read(Origin { version: "2".to_owned(), ..origin() }), Err(Unusable::Version));
        assert_eq!(read(Origin { format: FORMAT + 1, ..origin() }), Err(Unusable::Version));
        assert_eq!(read(Origin { boot: "c".to_owned(), ..origin() }), Err(Unusable::Boot));
        assert_eq!(read(Origin { saved_s: 99, ..origin() }), Err(Unusable::Clock));
        assert!(read(Origin { saved_s: 101, ..origin() }).is_ok());
    }

    #[test]
    fn lies_within_a_whole_file_are_refused() {
        // A checksum is no proof of sense: a length that no file has, and bytes behind the end.
        let mut body = postcard::to_stdvec(&origin()).unwrap();
        let sealed = |body: &[u8]| [body, &kiln_cas::Digest::of(body).hash].concat();
        body.extend_from_slice(&[0xff; 9]);
        body.push(1);
        assert_eq!(decode(&sealed(&body), &origin()), Err(Unusable::Damaged));
        let whole = encode(&origin(), &values(1, 1)).unwrap();
        let longer = [&whole[..whole.len() - 32], b"x"].concat();
        assert_eq!(decode(&sealed(&longer), &origin()), Err(Unusable::Damaged));
    }

    #[test]
    fn what_was_used_last_stays() {
        let kept = decode(&encode(&origin(), &values(VALUES_MAX as u64 + 10, 1)).unwrap(), &origin()).unwrap();
        assert_eq!((kept.len(), kept.contains_key(&9_u64.to_be_bytes()[..])), (VALUES_MAX, false));
        let large = decode(&encode(&origin(), &values(5, BYTES_MAX / 3)).unwrap(), &origin()).unwrap();
        assert_eq!(large.keys().map(|key| key[7]).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn daemons_of_one_directory_lose_nothing_of_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kept");
        let (one, two) = (Kept::new(path.clone(), 1, "1"), Kept::new(path.clone(), 2, "1"));
        one.put(b"a".to_vec(), b"1".to_vec());
        two.put(b"b".to_vec(), b"2".to_vec());
        one.save();
        two.save();
        let later = Kept::new(path.clone(), 3, "1");
        assert_eq!((later.get(b"a"), later.get(b"b"), later.get(b"c")), (Some(b"1".to_vec()), Some(b"2".to_vec()), None));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left aside");
        std::fs::write(&path, b"garbage").unwrap();
        let later = Kept::new(path.clone(), 3, "1");
        assert_eq!(later.get(b"a"), None);
        later.save();
        assert_eq!(std::fs::read(&path).unwrap(), b"garbage", "nothing learned, nothing written");
        later.put(b"c".to_vec(), b"3".to_vec());
        later.save();
        assert_eq!(Kept::new(path, 4, "1").get(b"c"), Some(b"3".to_vec()), "a damaged file is replaced");
    }

    #[test]
    fn what_cannot_be_written_or_read_stands_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::new(dir.path().join("no/such/dir"), 1, "1");
        kept.put(b"a".to_vec(), b"1".to_vec());
        kept.save();
        kept.save();
        assert_eq!(kept.get(b"a"), Some(b"1".to_vec()));
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert_eq!(Kept::new(fifo, 1, "1").get(b"a"), None, "a FIFO is not waited for");
    }
}
