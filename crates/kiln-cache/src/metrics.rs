//! The stores' counts for `/metrics`. Knows no request.

use crate::blobs::Blobs;
use kiln_rpc::metrics::{Metrics, Snapshot};
use kiln_store::{ResultStore, StoreStats};

/// Shows the counts of blobs and results.
pub(crate) struct StoreMetrics {
    pub(crate) blobs: Blobs,
    pub(crate) results: ResultStore,
}

type Row = (&'static str, &'static str, fn(&StoreStats) -> u64);

const COUNTERS: [Row; 14] = [
    ("kiln_store_hits", "Look-ups that found what they asked for", |stats| stats.hits),
    ("kiln_store_misses", "Look-ups that found nothing", |stats| stats.misses),
    ("kiln_store_puts", "Files added", |stats| stats.puts),
    ("kiln_store_put_bytes", "Bytes of files added", |stats| stats.put_bytes),
    ("kiln_store_duplicates", "Files that were there already when added", |stats| stats.duplicates),
    ("kiln_store_evictions", "Files removed to make room", |stats| stats.evictions),
    ("kiln_store_evicted_bytes", "Bytes freed by evictions", |stats| stats.evicted_bytes),
    ("kiln_store_corrupt", "Files found damaged and removed", |stats| stats.corrupt),
    ("kiln_store_mismatches", "Uploads whose digest was another", |stats| stats.mismatches),
    ("kiln_store_full", "Files refused for want of room", |stats| stats.full),
    ("kiln_store_links", "Hard links given out", |stats| stats.links),
    ("kiln_store_copies", "Copies given out", |stats| stats.copies),
    ("kiln_store_incomplete", "Results not served because a blob is gone", |stats| stats.incomplete),
    ("kiln_store_nondeterministic", "Results that came twice and differed", |stats| stats.differing),
];

const GAUGES: [Row; 3] = [
    ("kiln_store_files", "Files now", |stats| stats.files),
    ("kiln_store_bytes", "Bytes of disk taken now", |stats| stats.bytes),
    ("kiln_store_pinned", "Digests pinned now", |stats| stats.pinned),
];

impl Snapshot for StoreMetrics {
    fn write(&self, out: &mut Metrics<'_>) {
        let stores = [("blobs", self.blobs.disk().stats()), ("results", self.results.stats())];
        for (name, help, value) in COUNTERS {
            for (store, stats) in &stores {
                out.counter(name, help, &[("store", store)], value(stats));
            }
        }
        for (name, help, value) in GAUGES {
            for (store, stats) in &stores {
                out.gauge(name, help, &[("store", store)], value(stats) as i64);
            }
        }
        if let Some(memory) = self.blobs.memory_stats() {
            out.counter("kiln_memory_hits", "Reads answered from memory", &[], memory.hits);
            out.counter("kiln_memory_misses", "Reads passed on to the disk", &[], memory.misses);
            out.gauge("kiln_memory_blobs", "Blobs in memory now", &[], memory.blobs as i64);
            out.gauge("kiln_memory_bytes", "Bytes of memory taken now", &[], memory.bytes as i64);
        }
    }
}
