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

/// Bytes to lex.
pub(super) enum Bytes {
    /// Still in memory.
    Fresh(Vec<u8>),
    /// To be read from that path, where it should have that digest.
    At(Arc<str>, Digest),
}

#[derive(Debug, Default)]
pub(super) struct Contents {
    ids: FxHashMap<Digest, ContentId>,
    origins: FxHashMap<ContentId, Origin>,
    directives: FxHashMap<(ContentId, Dialect), Arc<Directives>>,
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
        let next = ContentId(self.next);
        let id = *self.ids.entry(content.digest).or_insert(next);
        if id == next {
            self.next += 1;
            let keep = self.fresh_bytes + content.bytes.len() <= FRESH_BYTES_MAX;
            let fresh = keep.then_some(content.bytes);
            self.fresh_bytes += fresh.as_ref().map_or(0, Vec::len);
            self.origins.insert(id, Origin { path: Arc::clone(path), fresh, digest: content.digest });
        }
        Found { content: id, digest: content.digest, stamp: content.stamp }
    }

    pub(super) fn directives(&self, id: ContentId, dialect: Dialect) -> Option<Arc<Directives>> {
        self.directives.get(&(id, dialect)).cloned()
    }

    pub(super) fn keep_directives(&mut self, id: ContentId, dialect: Dialect, directives: &Arc<Directives>) {
        self.directives.insert((id, dialect), Arc::clone(directives));
    }

    /// Takes a content's bytes for lexing; `None` for a forgotten one.
    pub(super) fn take_bytes(&mut self, id: ContentId) -> Option<Bytes> {
        let origin = self.origins.get_mut(&id)?;
        Some(match origin.fresh.take() {
            Some(bytes) => {
                self.fresh_bytes -= bytes.len();
                Bytes::Fresh(bytes)
            }
            None => Bytes::At(Arc::clone(&origin.path), origin.digest),
        })
    }

    /// A content can be read at another path.
    pub(super) fn moved(&mut self, id: ContentId, path: &Arc<str>) {
        if let Some(origin) = self.origins.get_mut(&id) {
            origin.path = Arc::clone(path);
        }
    }
}
