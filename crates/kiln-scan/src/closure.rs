//! The product of a scan: files, lookups and their outcomes. It knows no digests and lays nothing out.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::view::FileId;

/// Why a file is in the closure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The source itself.
    Source,
    /// `-include`, `-imacros` or the compiler's own choice.
    Forced,
    /// An include that may be reached.
    Included,
    /// A `__has_include` or `__has_embed` that may be evaluated: looked up, not read by the unit for that.
    Probed,
    /// `#embed`.
    Embedded,
    /// `.incbin`.
    Assembled,
    /// A precompiled header beside the header that would be read.
    Precompiled,
}

/// A file of the closure under one of its spellings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The path as the compiler opens it: absolute or relative to the working directory, not normalised.
    pub path: Arc<str>,
    /// The version of its bytes that was scanned.
    pub file: FileId,
    /// Why it is here; the first reason found counts.
    pub reason: Reason,
    /// `#pragma once`: content, time and identity of the file decide whether it is read a second time.
    pub once: bool,
    /// Index of the file that asked for it first; `None` for the source and what the command line names.
    pub from: Option<u32>,
    /// Line in that file, 0 if none.
    pub line: u32,
}

/// A candidate that was tried and is not there (or is a directory, which compilers pass over).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Absent {
    /// The directory searched, as the compiler spells it (empty: the working directory).
    pub dir: Arc<str>,
    /// The name tried in it, with directories if it has any.
    pub name: Arc<str>,
}

/// What the unit as a whole does that matters beyond its inputs. Only text that may be reached counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitFlags {
    /// `__DATE__` may be used.
    pub date: bool,
    /// `__TIME__` may be used.
    pub time: bool,
    /// `__TIMESTAMP__` may be used: the time of the source (and of the headers that say so) is an input.
    pub timestamp: bool,
    /// `__FILE__` or `__BASE_FILE__` may be used.
    pub file_macro: bool,
    /// `.incbin` reads files, all of them listed.
    pub incbin: bool,
    /// `#embed` reads files, all of them listed.
    pub embed: bool,
    /// C++20 modules may be imported or declared: their files are not listed.
    pub modules: bool,
    /// gcc may read a precompiled header; it is listed.
    pub precompiled: bool,
}

impl UnitFlags {
    /// Whether `__DATE__` or `__TIME__` may be used.
    #[must_use]
    pub fn uses_clock(self) -> bool {
        self.date || self.time
    }
}

/// One search: candidates in order up to the one found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Searched {
    pub(crate) name: Arc<str>,
    pub(crate) tried: Tried,
    pub(crate) found: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// One directory in which it is absent.
    Dir(Arc<str>),
    /// Directories `from..to` of the search list.
    List { from: u16, to: u16 },
}

/// Everything a unit can look up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closure {
    /// Files, the source first, then in the order in which they were reached. A file reached under two spellings is here twice.
    pub files: Vec<File>,
    /// What the unit does beyond reading files.
    pub flags: UnitFlags,
    /// Search directories that do not exist, as spelled; were one of them made, other files could be found.
    pub missing_dirs: Vec<Arc<str>>,
    pub(crate) list: Arc<[Arc<str>]>,
    pub(crate) searches: Vec<Searched>,
}

impl Closure {
    /// Every candidate that was tried before the one found, or in vain. The same pair may come more than once.
    pub fn absent(&self) -> impl Iterator<Item = Absent> + '_ {
        self.searches.iter().flat_map(|search| {
            let dirs: &[Arc<str>] = match &search.tried {
                Tried::Dir(dir) => std::slice::from_ref(dir),
                Tried::List { from, to } => &self.list[usize::from(*from)..usize::from(*to)],
            };
            dirs.iter().map(|dir| Absent { dir: Arc::clone(dir), name: Arc::clone(&search.name) })
        })
    }

    /// Names that were looked for everywhere and found nowhere. Most of them stand behind conditions that the compiler knows to be
    /// false; if the compile fails, one of them may be why.
    pub fn unresolved(&self) -> impl Iterator<Item = &str> {
        self.searches.iter().filter(|s| !s.found && matches!(s.tried, Tried::List { .. })).map(|s| &*s.name)
    }

    /// Every directory that a path of the closure walks through, as spelled, shorter ones first.
    #[must_use]
    pub fn directories(&self) -> BTreeSet<&str> {
        let mut dirs = BTreeSet::new();
        for file in &self.files {
            for (slash, _) in file.path.match_indices('/').rev() {
                if slash > 0 && !dirs.insert(&file.path[..slash]) {
                    break;
                }
            }
        }
        dirs
    }
}
