//! What is kept of one directory's files, as bytes. Reads bytes that may be anything; does not know whether any of it still holds.

use kiln_cas::Digest;
use kiln_scan::Dialect;
use serde::{Deserialize, Serialize};
use std::ops::Range;

use super::content::Stamp;

/// Most files kept of one directory; of more, those that were not looked at lately are dropped. The largest directories of headers
/// have some 2,000.
pub(super) const FOLDER_FILES_MAX: usize = 8192;

/// Most bytes of one directory's directives: of more, some are read out of their files again. Those of a large directory of headers
/// are 2 MiB.
pub(super) const FOLDER_BYTES_MAX: usize = 8 << 20;

/// Bytes that are no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoRecord {
    #[error("no record: {0}")]
    Encoding(#[from] postcard::Error),
    #[error("a record that contradicts itself")]
    Inconsistent,
}

/// One file as it is kept: its content's digest, as long as its stamp is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) stamp: Stamp,
    pub(super) digest: Digest,
    /// What was read out of the content, for each dialect in which it was read: [`kiln_scan::Directives::encode`]'s bytes.
    pub(super) directives: Vec<(Dialect, Vec<u8>)>,
}

/// What is written of one file before all directives.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    name: &'a str,
    stamp: Stamp,
    hash: [u8; 32],
    /// Lengths of the directives, which stand behind all lines in the same order.
    directives: Vec<(Dialect, u32)>,
}

/// What is kept of a file: where its directives stand among the folder's bytes.
#[derive(Debug)]
struct Known {
    name: Box<str>,
    stamp: Stamp,
    digest: Digest,
    directives: Vec<(Dialect, Range<usize>)>,
}

/// The records of one directory, by name.
#[derive(Debug)]
pub(super) struct Folder {
    bytes: Vec<u8>,
    files: Vec<Known>,
}

/// The records' bytes. They are in the order of their names; directives that are too much are left out.
pub(super) fn encode(records: &[Record]) -> Result<Vec<u8>, postcard::Error> {
    let mut room = FOLDER_BYTES_MAX;
    let mut fits = |bytes: &[u8]| match room.checked_sub(bytes.len()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    let mut lines = Vec::with_capacity(records.len());
    let mut behind: Vec<&[u8]> = Vec::new();
    for record in records {
        let mut directives = Vec::new();
        for (dialect, bytes) in record.directives.iter().filter(|(_, bytes)| fits(bytes)) {
            directives.push((*dialect, bytes.len() as u32));
            behind.push(bytes);
        }
        lines.push(Line { name: &record.name, stamp: record.stamp, hash: record.digest.hash, directives });
    }
    let mut out = postcard::to_stdvec(&lines)?;
    behind.iter().for_each(|bytes| out.extend_from_slice(bytes));
    Ok(out)
}

impl Folder {
    /// What [`encode`] wrote.
    pub(super) fn decode(bytes: Vec<u8>) -> Result<Folder, NoRecord> {
        let (lines, rest) = postcard::take_from_bytes::<Vec<Line<'_>>>(&bytes)?;
        if lines.len() > FOLDER_FILES_MAX || rest.len() > FOLDER_BYTES_MAX || !lines.is_sorted_by(|a, b| a.name < b.name) {
            return Err(NoRecord::Inconsistent);
        }
        let mut at = bytes.len() - rest.len();
        let mut range = |len: u32| {
            let start = at;
            at = at.checked_add(len as usize).filter(|end| *end <= bytes.len()).ok_or(NoRecord::Inconsistent)?;
            Ok::<_, NoRecord>(start..at)
        };
        let mut files = Vec::with_capacity(lines.len());
        for Line { name, stamp, hash, directives } in lines {
            let directives = directives.into_iter().map(|(dialect, len)| Ok((dialect, range(len)?)));
            let directives = directives.collect::<Result<_, NoRecord>>()?;
            files.push(Known { name: name.into(), stamp, digest: Digest { hash, size: stamp.size }, directives });
        }
        match at == bytes.len() {
            true => Ok(Folder { files, bytes }),
            false => Err(NoRecord::Inconsistent),
        }
    }

    fn known(&self, name: &str) -> Option<&Known> {
        let at = self.files.binary_search_by(|known| (*known.name).cmp(name)).ok()?;
        self.files.get(at)
    }

    /// What the file `name` holds if this is its stamp.
    pub(super) fn digest(&self, name: &str, stamp: &Stamp) -> Option<Digest> {
        self.known(name).filter(|known| known.stamp == *stamp).map(|known| known.digest)
    }

    /// The directives of this content, if the file `name` held it, as bytes.
    pub(super) fn directives(&self, name: &str, digest: Digest, dialect: Dialect) -> Option<&[u8]> {
        let known = self.known(name).filter(|known| known.digest == digest)?;
        let (_, range) = known.directives.iter().find(|(of, _)| *of == dialect)?;
        self.bytes.get(range.clone())
    }

    /// All records, to be written again with others.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let bytes = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default().to_vec();
        self.files.iter().map(move |known| Record {
            name: known.name.to_string(),
            stamp: known.stamp,
            digest: known.digest,
            directives: known.directives.iter().map(|(dialect, range)| (*dialect, bytes(range))).collect(),
        })
    }

    /// Whether these are its bytes.
    pub(super) fn is(&self, bytes: &[u8]) -> bool {
        self.bytes == bytes
    }

    /// Memory held, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.files.len() * size_of::<Known>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, directives: &[&[u8]]) -> Record {
        let stamp = Stamp { dev: 1, ino: 2, size: 3, mode: 0o10_0644, nlink: 1, mtime_ns: -4, ctime_ns: 1_700_000_000_123_456_789 };
        let digest = Digest { size: 3, ..Digest::of(name.as_bytes()) };
        let dialects = [Dialect::GNU_C, Dialect::GNU_CXX].into_iter();
        let directives = dialects.zip(directives).map(|(dialect, bytes)| (dialect, bytes.to_vec())).collect();
        Record { name: name.to_owned(), stamp, digest, directives }
    }

    fn three() -> Vec<Record> {
        vec![record("a.h", &[b"one", b"two"]), record("b.h", &[]), record("c.h", &[b""])]
    }

    #[test]
    fn what_was_written_is_found_by_name_stamp_and_digest() {
        let written = encode(&three()).unwrap();
        assert_eq!(written, include_bytes!("../../../../fuzz/seeds/files/three"), "the fuzzer's seed");
        let folder = Folder::decode(written).unwrap();
        assert_eq!(folder.records().collect::<Vec<_>>(), three());
        let known = &three()[0];
        assert_eq!(folder.digest("a.h", &known.stamp), Some(known.digest));
        assert_eq!(folder.digest("d.h", &known.stamp), None);
        for other in [
            Stamp { dev: 2, ..known.stamp },
            Stamp { ino: 3, ..known.stamp },
            Stamp { size: 4, ..known.stamp },
            Stamp { mode: 0o10_0755, ..known.stamp },
            Stamp { nlink: 2, ..known.stamp },
            Stamp { mtime_ns: 5, ..known.stamp },
            Stamp { ctime_ns: 6, ..known.stamp },
        ] {
            assert_eq!(folder.digest("a.h", &other), None, "{other:?}");
        }
        assert_eq!(folder.directives("a.h", known.digest, Dialect::GNU_CXX), Some(&b"two"[..]));
        assert_eq!(folder.directives("a.h", known.digest, Dialect::ASSEMBLER), None);
        assert_eq!(folder.directives("a.h", three()[1].digest, Dialect::GNU_CXX), None, "another content");
    }

    #[test]
    fn anything_else_is_refused() {
        let good = encode(&three()).unwrap();
        for at in 0..good.len() {
            assert!(Folder::decode(good[..at].to_vec()).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                super::super::recorded(&bad);
            }
        }
        assert!(Folder::decode([&good[..], b"x"].concat()).is_err());
        let unsorted = encode(&[record("b.h", &[]), record("a.h", &[])]).unwrap();
        assert!(matches!(Folder::decode(unsorted), Err(NoRecord::Inconsistent)));
        let twice = encode(&[record("a.h", &[]), record("a.h", &[])]).unwrap();
        assert!(matches!(Folder::decode(twice), Err(NoRecord::Inconsistent)));
    }

    #[test]
    fn directives_that_are_too_much_are_left_out() {
        let large = vec![7; FOLDER_BYTES_MAX / 2 + 1];
        let folder = Folder::decode(encode(&[record("a.h", &[&large, &large]), record("b.h", &[b"small"])]).unwrap()).unwrap();
        let kept: Vec<usize> = folder.records().map(|record| record.directives.len()).collect();
        assert_eq!(kept, [1, 1]);
    }
}
