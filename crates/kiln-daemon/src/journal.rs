//! What became of each unit and why, for `kiln explain`: the last units, in memory, bounded.

use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Units remembered: one large build. At some 2 KiB each (paths, reasons, and the list of inputs as digests) under 20 MiB.
pub(crate) const UNITS_MAX: usize = 8192;

/// Most inputs listed for one unit.
pub(crate) const INPUTS_MAX: usize = 2000;

/// One remote attempt.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Attempt {
    pub(crate) worker: String,
    pub(crate) outcome: String,
    /// When it began, from when the unit did.
    pub(crate) at_ms: u64,
    pub(crate) ms: u64,
}

/// One unit's story.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Unit {
    pub(crate) number: u64,
    #[serde(skip)]
    pub(crate) began: Option<Instant>,
    /// How long ago it began, when it is told.
    pub(crate) ago_ms: u64,
    pub(crate) cwd: String,
    pub(crate) compiler: String,
    pub(crate) args: Vec<String>,
    pub(crate) source: String,
    pub(crate) output: String,
    /// `refused`, `hit`, `remote`, `local`, `fallback`, `failed`.
    pub(crate) went: String,
    pub(crate) reason: String,
    /// `scanned` or `listed`, and why it was listed.
    pub(crate) form: String,
    pub(crate) action: String,
    pub(crate) input_root: String,
    pub(crate) toolchain: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) uploaded_blobs: u64,
    pub(crate) uploaded_bytes: u64,
    pub(crate) attempts: Vec<Attempt>,
    /// When it was sent to this machine's own sandbox, from when it began.
    pub(crate) here_at_ms: Option<u64>,
    pub(crate) exit: Option<i32>,
    pub(crate) analyse_us: u64,
    pub(crate) total_ms: u64,
}

impl Unit {
    /// Since it began.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.began.map_or(0, |began| began.elapsed().as_millis() as u64)
    }

    fn told(&self) -> Unit {
        Unit { ago_ms: self.elapsed_ms(), ..self.clone() }
    }
}

/// The last units.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    inner: Mutex<(u64, VecDeque<Unit>)>,
}

impl Journal {
    pub(crate) fn add(&self, mut unit: Unit) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0 += 1;
        unit.number = inner.0;
        if inner.1.len() >= UNITS_MAX {
            inner.1.pop_front();
        }
        inner.1.push_back(unit);
    }

    /// The last `count` units, oldest first, without their input lists.
    pub(crate) fn last(&self, count: usize) -> Vec<Unit> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = inner.1.len().saturating_sub(count);
        inner.1.iter().skip(skip).map(|unit| Unit { inputs: Vec::new(), ..unit.told() }).collect()
    }

    /// The units whose source or output is `name`, or ends in `/name`; newest first.
    pub(crate) fn find(&self, name: &str) -> Vec<Unit> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let tail = format!("/{name}");
        let is_named = |path: &str, cwd: &str| path == name || path.ends_with(&tail) || format!("{cwd}/{path}") == name;
        let matching = inner.1.iter().rev().filter(|unit| is_named(&unit.source, &unit.cwd) || is_named(&unit.output, &unit.cwd));
        matching.take(16).map(Unit::told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_units_are_forgotten() {
        let journal = Journal::default();
        for index in 0..UNITS_MAX + 2 {
            journal.add(Unit { source: format!("src/{index}.c"), cwd: "/p".into(), ..Unit::default() });
        }
        assert!(journal.find("0.c").is_empty());
        assert_eq!(journal.find("2.c").len(), 1);
        assert_eq!(journal.find("/p/src/2.c").len(), 1);
        let last = journal.last(2);
        assert_eq!(last.len(), 2);
        assert_eq!(last[1].number, UNITS_MAX as u64 + 2);
    }
}
