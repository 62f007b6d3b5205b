//! Counters of what became of every request. The keys of the JSON are fixed; the counters outlive the daemon.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Results reused, by where they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hits {
    /// On this machine's disk.
    pub local: u64,
    /// In this daemon's memory.
    pub memory: u64,
    /// In the cluster's cache.
    pub remote: u64,
}

/// Counters since they were last set to zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Compile requests of wrappers.
    pub requests: u64,
    /// Compiled on a worker elsewhere.
    pub remote: u64,
    /// Results reused.
    pub hits: Hits,
    /// Waited for an equal running action.
    pub joined: u64,
    /// Cacheable units that ran here.
    pub local: u64,
    /// Run here untouched, by reason.
    pub refused: BTreeMap<String, u64>,
    /// The farm let the unit down and it ran here, by reason.
    pub fallback: BTreeMap<String, u64>,
    /// The compiler itself said no.
    pub failed: u64,
    /// First form, inputs found by the scanner.
    pub scanned: u64,
    /// First form, inputs listed by the compiler itself.
    pub listed: u64,
    /// Second form.
    pub preprocessed: u64,
    /// Bytes sent to the farm.
    pub uploaded_bytes: u64,
    /// Bytes of results received.
    pub downloaded_bytes: u64,
    /// CPU time of this daemon.
    pub client_cpu_ms: u64,
    /// Things that should not happen.
    pub errors: u64,
    /// Remote attempts that were lost and tried again, by reason.
    pub lost_attempts: BTreeMap<String, u64>,
    /// Units whose inputs the compiler had to list, by why the scanner could not.
    pub unprovable: BTreeMap<String, u64>,
    /// Names in a compiler's own list that the scan had not found; each discards a result.
    pub scan_miss: u64,
    /// Of `remote`, those compiled by a substitute of another machine.
    pub substituted: u64,
}

/// The daemon's counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    stats: Mutex<Stats>,
    cpu_zero_ms: Mutex<u64>,
}

impl Counters {
    /// Continues where the last daemon stopped; what cannot be read counts as nothing.
    pub(crate) fn load(path: &Path) -> Counters {
        let stats = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Counters { stats: Mutex::new(stats.unwrap_or_default()), cpu_zero_ms: Mutex::new(own_cpu_ms()) }
    }

    /// Writes the counters aside and renames them into place.
    pub(crate) fn save(&self, path: &Path) {
        let aside = path.with_extension("new");
        let text = serde_json::to_vec(&self.snapshot()).unwrap_or_default();
        if let Err(error) = std::fs::write(&aside, text).and_then(|()| std::fs::rename(&aside, path)) {
            tracing::debug!("counters not saved: {error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.lock());
    }

    pub(crate) fn refused(&self, reason: &str) {
        self.count(|stats| *stats.refused.entry(reason.to_owned()).or_default() += 1);
    }

    pub(crate) fn fallback(&self, reason: &str) {
        self.count(|stats| *stats.fallback.entry(reason.to_owned()).or_default() += 1);
    }

    pub(crate) fn lost_attempt(&self, reason: &str) {
        self.count(|stats| *stats.lost_attempts.entry(reason.to_owned()).or_default() += 1);
    }

    /// The counters now.
    pub(crate) fn snapshot(&self) -> Stats {
        let mut stats = self.lock().clone();
        let zero = *self.cpu_zero_ms.lock().unwrap_or_else(PoisonError::into_inner);
        stats.client_cpu_ms += own_cpu_ms().saturating_sub(zero);
        stats
    }

    /// Sets everything to zero and answers what it was.
    pub(crate) fn zero(&self) -> Stats {
        let before = self.snapshot();
        *self.cpu_zero_ms.lock().unwrap_or_else(PoisonError::into_inner) = own_cpu_ms();
        *self.lock() = Stats::default();
        before
    }
}

/// User and system time of this process, in milliseconds.
fn own_cpu_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |index: usize| after_name.split_whitespace().nth(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    // utime and stime are the 14th and 15th fields of all, in clock ticks of 10 ms on every Linux.
    (field(11) + field(12)) * 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_keys_are_there() {
        let counters = Counters::default();
        counters.refused("link");
        counters.fallback("worker-lost");
        let json = serde_json::to_value(counters.snapshot()).unwrap();
        for key in [
            "requests",
            "remote",
            "hits",
            "joined",
            "local",
            "refused",
            "fallback",
            "failed",
            "scanned",
            "listed",
            "preprocessed",
            "uploaded_bytes",
            "downloaded_bytes",
            "client_cpu_ms",
            "errors",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
        for key in ["local", "memory", "remote"] {
            assert!(json["hits"].get(key).is_some(), "{key}");
        }
        assert_eq!(json["refused"]["link"], 1);
        assert_eq!(counters.zero().fallback["worker-lost"], 1);
        assert_eq!(counters.snapshot().refused.len(), 0);
    }

    #[test]
    fn counters_outlive_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.json");
        let counters = Counters::load(&path);
        counters.count(|stats| stats.requests += 7);
        counters.save(&path);
        assert_eq!(Counters::load(&path).snapshot().requests, 7);
        std::fs::write(&path, "{nonsense").unwrap();
        assert_eq!(Counters::load(&path).snapshot(), Stats { client_cpu_ms: 0, ..Stats::default() });
    }
}
