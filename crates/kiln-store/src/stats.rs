//! What a store counts. Knows no store.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since a store was opened, and its state now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Look-ups that found what they asked for.
    pub hits: u64,
    /// Look-ups that found nothing.
    pub misses: u64,
    /// Files added.
    pub puts: u64,
    /// Bytes of files added.
    pub put_bytes: u64,
    /// Files that were there already when they were to be added.
    pub duplicates: u64,
    /// Files removed to make room.
    pub evictions: u64,
    /// Bytes freed by that, in whole blocks.
    pub evicted_bytes: u64,
    /// Files found to be other than their name says, and removed.
    pub corrupt: u64,
    /// Bytes refused because their digest was another.
    pub mismatches: u64,
    /// Files refused for want of room, by the store's bound or the disk's.
    pub full: u64,
    /// Hard links given out.
    pub links: u64,
    /// Copies given out, those in place of a link included.
    pub copies: u64,
    /// Results not served because a blob they name is gone.
    pub incomplete: u64,
    /// Results that came a second time and differed.
    pub differing: u64,
    /// Files now.
    pub files: u64,
    /// Bytes they take now, in whole blocks.
    pub bytes: u64,
    /// Digests pinned now.
    pub pinned: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) puts: AtomicU64,
    pub(crate) put_bytes: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) evictions: AtomicU64,
    pub(crate) evicted_bytes: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) mismatches: AtomicU64,
    pub(crate) full: AtomicU64,
    pub(crate) links: AtomicU64,
    pub(crate) copies: AtomicU64,
    pub(crate) incomplete: AtomicU64,
    pub(crate) differing: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn snapshot(&self) -> StoreStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreStats {
            hits: read(&self.hits),
            misses: read(&self.misses),
            puts: read(&self.puts),
            put_bytes: read(&self.put_bytes),
            duplicates: read(&self.duplicates),
            evictions: read(&self.evictions),
            evicted_bytes: read(&self.evicted_bytes),
            corrupt: read(&self.corrupt),
            mismatches: read(&self.mismatches),
            full: read(&self.full),
            links: read(&self.links),
            copies: read(&self.copies),
            incomplete: read(&self.incomplete),
            differing: read(&self.differing),
            ..StoreStats::default()
        }
    }
}
