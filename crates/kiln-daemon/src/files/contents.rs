//! Contents by number and what was read out of them. Reads files again where it must; does not know which place holds what.

use kiln_cas::Digest;
use kiln_scan::{ContentId, Dialect, Directives};
use rustc_hash::FxHashMap;
use std::sync::Arc;

use super::content::{Content, Stamp};
use super::{CONTENTS_MAX, FRESH_BYTES_MAX};

/// A regular file as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) content: ContentId,
    pub(crate) digest: Digest,
    pub(crate) stamp: Stamp,
}

/// Where a content can be read again, and its bytes as long as they were not lexed.
#[derive(Debug)]
struct Origin {
    path: Arc<str>,
    fresh: Option<Vec<u8>>,
    digest: Digest,
}

/// A content to lex.
pub(super) struct Unread {
    /// Where it should stand.
    pub(super) path: Arc<str>,
    pub(super) digest: Digest,
    /// Its bytes, if they are still in memory.
    pub(super) fresh: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
pub(super) struct Contents {
    ids: FxHashMap<Digest, ContentId>,
    origins: FxHashMap<ContentId, Origin>,
    directives: FxHashMap<(ContentId, Dialect), Arc<Directives>>,
    /// All that occur in `directives`: a handful.
    dialects: Vec<Dialect>,
    next: u32,
    fresh_bytes: usize,
}

impl Contents {
    /// Makes room by forgetting everything when there is too much; whether it did. Numbers are never given twice, so a
    /// forgotten content is simply met again under a new one.
    pub(super) fn forget_if_full(&mut self) -> bool {
        if self.ids.len() < CONTENTS_MAX {
            return false;
        }
        *self = Contents { next: self.next, ..Contents::default() };
        true
    }

    /// Gives a content that was just read its number.
    pub(super) fn enter(&mut self, path: &Arc<str>, content: Content) -> Found {
        self.number(path, content.digest, content.stamp, Some(content.bytes))
    }

    /// Gives a content that is known to stand at a path its number; it was not read.
    pub(super) fn meet(&mut self, path: &Arc<str>, digest: Digest, stamp: Stamp) -> Found {
        self.number(path, digest, stamp, None)
    }

    fn number(&mut self, path: &Arc<str>, digest: Digest, stamp: Stamp, bytes: Option<Vec<u8>>) -> Found {
        let next = ContentId(self.next);
        let id = *self.ids.entry(digest).or_insert(next);
        if id == next {
            self.next += 1;
            let fresh = bytes.filter(|bytes| self.fresh_bytes + bytes.len() <= FRESH_BYTES_MAX);
            self.fresh_bytes += fresh.as_ref().map_or(0, Vec::len);
            self.origins.insert(id, Origin { path: Arc::clone(path), fresh, digest });
        }
        Found { content: id, digest, stamp }
    }

    pub(super) fn directives(&self, id: ContentId, dialect: Dialect) -> Option<Arc<Directives>> {
        self.directives.get(&(id, dialect)).cloned()
    }

    pub(super) fn keep_directives(&mut self, id: ContentId, dialect: Dialect, directives: &Arc<Directives>) {
        if !self.dialects.contains(&dialect) {
            self.dialects.push(dialect);
        }
        self.directives.insert((id, dialect), Arc::clone(directives));
    }

    /// What was read out of a content, in each dialect.
    pub(super) fn all_directives(&self, id: ContentId) -> impl Iterator<Item = (Dialect, Arc<Directives>)> {
        self.dialects.iter().filter_map(move |dialect| Some((*dialect, self.directives(id, *dialect)?)))
    }

    /// Takes a content for lexing; `None` for a forgotten one.
    pub(super) fn take_unread(&mut self, id: ContentId) -> Option<Unread> {
        let origin = self.origins.get_mut(&id)?;
        let fresh = origin.fresh.take();
        self.fresh_bytes -= fresh.as_ref().map_or(0, Vec::len);
        Some(Unread { path: Arc::clone(&origin.path), digest: origin.digest, fresh })
    }

    /// A content can be read at another path.
    pub(super) fn moved(&mut self, id: ContentId, path: &Arc<str>) {
        if let Some(origin) = self.origins.get_mut(&id) {
            origin.path = Arc::clone(path);
        }
    }
}
