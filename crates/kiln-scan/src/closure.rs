//! The product of a scan: files, lookups and their outcomes. It knows no digests and lays nothing out.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::view::{ContentId, DirId, FileId};

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
    /// The file itself.
    pub file: FileId,
    /// The directory it lies in, an index into [`Closure::dirs`]: `path` is that directory's spelling and a name.
    pub dir: u32,
    /// The version of its bytes that was scanned; `None` if it was not: it is only looked for, or its text does not matter.
    pub content: Option<ContentId>,
    /// Why it is here; the first reason found counts.
    pub reason: Reason,
    /// `#pragma once`: content, time and identity of the file decide whether it is read a second time.
    pub once: bool,
    /// Index of the file that asked for it first; `None` for the source and what the command line names.
    pub from: Option<u32>,
    /// Line in that file, 0 if none.
    pub line: u32,
}

/// A directory that was looked into, or that a file of the closure lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dir {
    /// As the compiler spells it; empty: the working directory.
    pub spelled: Arc<str>,
    /// The directory itself.
    pub id: DirId,
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
    /// A precompiled header may be read in place of a header; it is listed.
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
    /// Directories, in the order in which they were first looked into. One directory may be here under several spellings.
    pub dirs: Vec<Dir>,
    /// Directories of two components or more below one of [`Closure::dirs`] that do not exist: index of that one, and path.
    pub missing_below: Vec<(u32, Arc<str>)>,
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

    /// Names that were looked for in the directory `dirs[dir]`, directories on the way among them; the same name may come more
    /// than once. With [`Closure::files`] these are all the names of it that decided anything.
    pub fn names_in(&self, dir: usize) -> impl Iterator<Item = &str> + '_ {
        let spelled: &str = self.dirs.get(dir).map_or("", |dir| &dir.spelled);
        self.searches.iter().flat_map(move |search| {
            let tried: &[Arc<str>] = match &search.tried {
                Tried::Dir(dir) => std::slice::from_ref(dir),
                Tried::List { from, to } => &self.list[usize::from(*from)..usize::from((*to + 1).min(self.list.len() as u16))],
            };
            tried.iter().filter_map(|tried| name_in(spelled, tried, &search.name))
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

/// The component of `name`, looked up from the directory `tried`, that is looked up in the directory `spelled`.
fn name_in<'n>(spelled: &str, tried: &str, name: &'n str) -> Option<&'n str> {
    let mut below = spelled.strip_prefix(tried)?;
    if !below.is_empty() {
        // The spelling of a directory below another has one slash in between, unless the upper one ends in a slash or is empty.
        below = match (tried.is_empty() || tried.ends_with('/'), below.strip_prefix('/')) {
            (true, _) => below,
            (false, Some(below)) => below,
            (false, None) => return None,
        };
    }
    let rest = match below {
        "" => name,
        below => name.strip_prefix(below)?.strip_prefix('/')?,
    };
    rest.split('/').next().filter(|component| !component.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_component_by_component() {
        for (spelled, tried, name, component) in [
            ("inc", "inc", "a.h", Some("a.h")),
            ("inc", "inc", "sys/a.h", Some("sys")),
            ("inc/sys", "inc", "sys/a.h", Some("a.h")),
            ("inc/sys", "inc/", "sys/a.h", Some("a.h")),
            ("inc/sys", "inc", "system/a.h", None),
            ("include", "inc", "lude/a.h", None),
            ("sys", "", "sys/a.h", Some("a.h")),
            ("", "", "sys/a.h", Some("sys")),
            ("/usr/include/sys", "/usr/include", "sys/x/a.h", Some("x")),
        ] {
            assert_eq!(name_in(spelled, tried, name), component, "{name} from {tried} in {spelled}");
        }
    }
}
