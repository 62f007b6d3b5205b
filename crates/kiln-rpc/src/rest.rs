//! Nodes that failed lately and are left alone for a while, so that a dead one costs one caller its time and not all. Pure:
//! time comes from the caller.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use crate::limits::REST;
use crate::limits::REST_MAX;
use crate::limits::RESTING_MAX;

#[derive(Debug, Clone, Copy)]
struct Entry {
    until: Instant,
    length: Duration,
}

/// Who is left alone, by name.
#[derive(Debug, Default)]
pub struct Resting {
    entries: BTreeMap<String, Entry>,
}

impl Resting {
    /// `name` failed: it is left alone for [`REST`], and longer each time it fails again.
    pub fn failed(&mut self, name: &str, now: Instant) {
        if !self.entries.contains_key(name) && self.entries.len() >= RESTING_MAX {
            let soonest = self.entries.iter().min_by_key(|(_, entry)| entry.until).map(|(name, _)| name.clone());
            soonest.and_then(|name| self.entries.remove(&name));
        }
        let length = match self.entries.get(name) {
            // Callers that failed together are one failure.
            Some(entry) if now < entry.until => return,
            Some(entry) => (entry.length * 2).min(REST_MAX),
            None => REST,
        };
        self.entries.insert(name.to_owned(), Entry { until: now + length, length });
    }

    /// `name` did well.
    pub fn well(&mut self, name: &str) {
        if !self.entries.is_empty() {
            self.entries.remove(name);
        }
    }

    /// Whether `name` may be asked. After its rest one caller tries, and the others are told no for another [`REST`].
    pub fn may_try(&mut self, name: &str, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return true };
        if now < entry.until {
            return false;
        }
        entry.until = now + REST;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_tries_after_a_rest_that_grows() {
        let mut resting = Resting::default();
        let start = Instant::now();
        assert!(resting.may_try("a", start));
        resting.failed("a", start);
        resting.failed("a", start);
        assert!(!resting.may_try("a", start));
        let again = start + REST;
        assert!(resting.may_try("a", again));
        assert!(!resting.may_try("a", again), "the others wait for who tries");
        resting.failed("a", again + REST);
        assert!(!resting.may_try("a", again + REST + REST), "twice as long");
        assert!(resting.may_try("a", again + REST + 2 * REST));
        resting.well("a");
        assert!(resting.may_try("a", again));
        for index in 0..RESTING_MAX + 1 {
            resting.failed(&index.to_string(), start);
        }
        assert_eq!(resting.entries.len(), RESTING_MAX);
    }
}
