//! The head of a file of kept values: whose they are, and where each stands. Reads bytes that may be anything; opens nothing.

use kiln_cas::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::{KeptBounds, now_s};

/// Raised with every change of what is written.
const FORMAT: u32 = 2;

/// What stands before the list: its digest and its length.
pub(super) const FIXED_BYTES: usize = 32 + 8;

/// Most bytes of the list beside keys: the origin, and 64 for each value (a digest, three numbers and two lengths).
const ORIGIN_BYTES_MAX: u64 = 4096;
const ENTRY_BYTES_MAX: u64 = 64;

/// Whose values these are, and when. Numbers of devices and inodes mean the same only until the next boot, and times only while
/// the clock runs forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    format: u32,
    version: String,
    boot: String,
    saved_s: u64,
}

impl Origin {
    /// Of a process of this boot; `None` where the boot has no name.
    #[must_use]
    pub fn current(version: &str) -> Option<Origin> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Origin::new(version, boot.trim(), now_s()))
    }

    /// Of this version, boot and second.
    #[must_use]
    pub fn new(version: &str, boot: &str, saved_s: u64) -> Origin {
        Origin { format: FORMAT, version: version.to_owned(), boot: boot.to_owned(), saved_s }
    }
}

/// Why a file is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is not what was written.
    #[error("damaged")]
    Damaged,
    /// Another version of kiln wrote it.
    #[error("another version's")]
    Version,
    /// It was written before this boot.
    #[error("from before the last boot")]
    Boot,
    /// The clock was set back since.
    #[error("written at a time that is yet to come")]
    Clock,
}

/// Where a value stands in its file, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) used_s: u64,
    pub(super) at: u64,
    pub(super) len: u64,
    pub(super) sum: [u8; 32],
}

impl Entry {
    /// Of a value that stands nowhere yet.
    pub(super) fn of(bytes: &[u8]) -> Entry {
        let Digest { hash, size } = Digest::of(bytes);
        Entry { used_s: 0, at: 0, len: size, sum: hash }
    }

    /// The value, if it is what was written.
    pub(super) fn read(&self, file: &File) -> Option<Vec<u8>> {
        let bytes = self.read_unchecked(file).ok()?;
        (Digest::of(&bytes).hash == self.sum).then_some(bytes)
    }

    pub(super) fn read_unchecked(&self, file: &File) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.len).map_err(std::io::Error::other)?];
        file.read_exact_at(&mut bytes, self.at)?;
        Ok(bytes)
    }
}

/// Reads and writes the list.
pub(super) struct Head;

impl Head {
    /// The head's bytes for values that stand behind it in the order of their keys.
    pub(super) fn encode(origin: &Origin, entries: &BTreeMap<Vec<u8>, Entry>) -> Result<Vec<u8>, postcard::Error> {
        let list: Vec<(&[u8], u64, u64, [u8; 32])> =
            entries.iter().map(|(key, entry)| (key.as_slice(), entry.used_s, entry.len, entry.sum)).collect();
        let list = postcard::to_stdvec(&(origin, list))?;
        let mut head = Vec::with_capacity(FIXED_BYTES + list.len());
        head.extend_from_slice(&Digest::of(&list).hash);
        head.extend_from_slice(&(list.len() as u64).to_le_bytes());
        head.extend_from_slice(&list);
        Ok(head)
    }

    /// How long the head is that begins like this, in a file of `size` bytes.
    pub(super) fn len(fixed: &[u8; FIXED_BYTES], size: u64, bounds: KeptBounds) -> Result<usize, Unusable> {
        let len = fixed.last_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
        let most = bounds.bytes.saturating_add(ORIGIN_BYTES_MAX + bounds.values as u64 * ENTRY_BYTES_MAX);
        let whole = len.checked_add(FIXED_BYTES as u64).filter(|whole| *whole <= size && len <= most);
        whole.and_then(|whole| usize::try_from(whole).ok()).ok_or(Unusable::Damaged)
    }

    /// The values of a file of `size` bytes that begins with this head, if they are of use to `reader`.
    pub(super) fn decode(
        head: &[u8],
        size: u64,
        reader: &Origin,
        bounds: KeptBounds,
    ) -> Result<BTreeMap<Vec<u8>, Entry>, Unusable> {
        let list = head.get(FIXED_BYTES..).ok_or(Unusable::Damaged)?;
        if head.first_chunk() != Some(&Digest::of(list).hash) {
            return Err(Unusable::Damaged);
        }
        let (origin, rest) = postcard::take_from_bytes::<Origin>(list).map_err(|_| Unusable::Damaged)?;
        match &origin {
            origin if (origin.format, &origin.version) != (reader.format, &reader.version) => return Err(Unusable::Version),
            origin if origin.boot != reader.boot => return Err(Unusable::Boot),
            origin if origin.saved_s > reader.saved_s => return Err(Unusable::Clock),
            _ => {}
        }
        let list = postcard::take_from_bytes::<Vec<(&[u8], u64, u64, [u8; 32])>>(rest);
        let (list, []) = list.map_err(|_| Unusable::Damaged)? else { return Err(Unusable::Damaged) };
        if list.len() > bounds.values {
            return Err(Unusable::Damaged);
        }
        let mut at = head.len() as u64;
        let mut entries = BTreeMap::new();
        for (key, used_s, len, sum) in list {
            entries.insert(key.to_vec(), Entry { used_s: used_s.min(reader.saved_s), at, len, sum });
            at = at.checked_add(len).filter(|end| *end <= size).ok_or(Unusable::Damaged)?;
        }
        // A file that was cut, or has something behind its end.
        if at == size { Ok(entries) } else { Err(Unusable::Damaged) }
    }
}
