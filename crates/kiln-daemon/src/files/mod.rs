//! What the daemon knows of the client's files: directory listings and contents by identity, never older than a request.
//!
//! Every answer given to a request was checked by a system call made after that request arrived (see [`Files::begin`]).
//! A directory is checked by one `stat` (its listing answers every failed lookup in it), a file by one `stat`; only what
//! changed is read again, and of a directory that changes under a build only the names that are asked for are looked at.
//! Directories and files have dense numbers, so that a unit whose lookups are all known handles no path as text.
//! Does not know what a compile is.

use kiln_store::KeptBounds;

mod content;
mod contents;
mod listing;
mod places;
mod recall;
mod record;
mod store;
mod view;
mod walk;

pub(crate) use content::open_regular;
pub(crate) use contents::Found;
pub(crate) use listing::Kind;
pub(crate) use places::Epoch;
pub(crate) use store::{Files, Position};
pub(crate) use view::{View, is_stdin, spelled};
pub(crate) use walk::{Step, Walk, WalkEnd, join};

/// Step of file times where the file system keeps nanoseconds: one jiffy of the slowest kernel clock, 1/100 s.
pub(crate) const TICK_NS: i128 = 10_000_000;

/// Step of file times where both lack a fraction: ext3, and ext4 with small inodes, keep seconds, FAT two.
pub(crate) const COARSE_TICK_NS: i128 = 2_000_000_000;

/// Most symbolic links followed in one path, as the kernel has it (`MAXSYMLINKS`).
pub(crate) const LINKS_MAX: usize = 40;

/// Largest file taken as an input: 1 GiB. A larger header or data file makes the unit run locally.
pub(crate) const INPUT_SIZE_MAX: u64 = 1 << 30;

/// Most directories remembered; beyond it all are forgotten (and found again): at 2 KiB each some 130 MB at the very most,
/// 300 in an ordinary build.
pub(crate) const DIRECTORIES_MAX: usize = 65_536;

/// Most files remembered by place; beyond it all places are forgotten. Some 200 bytes each: 50 MB, for a tree of 30,000 headers 6.
pub(crate) const FILES_MAX: usize = 262_144;

/// Most walks remembered: one for each spelling of a directory, some 200 bytes each; beyond it all are walked anew.
pub(crate) const WALKS_MAX: usize = 65_536;

/// Most contents remembered; beyond it all are forgotten. 30,000 headers in a large tree, four versions of each.
pub(crate) const CONTENTS_MAX: usize = 131_072;

/// Most bytes of contents kept between reading and lexing them. What does not fit is read a second time.
pub(crate) const FRESH_BYTES_MAX: usize = 32 << 20;

/// What is kept of files for the next daemon, at most: 16,384 directories and 128 MiB, of which 30,000 headers are two thirds.
pub(crate) const KEPT_BOUNDS: KeptBounds = KeptBounds { values: 16_384, bytes: 128 << 20 };

/// What an earlier daemon kept of a directory's files, whatever the bytes are: written again it is the same.
#[cfg(any(test, fuzzing))]
pub(crate) fn recorded(bytes: &[u8]) {
    let Ok(folder) = record::Folder::decode(bytes.to_vec()) else { return };
    let records: Vec<record::Record> = folder.records().collect();
    let again = record::encode(&records).ok().and_then(|bytes| record::Folder::decode(bytes).ok());
    assert_eq!(again.map(|again| again.records().collect()), Some(records));
}

#[cfg(test)]
mod tests;
