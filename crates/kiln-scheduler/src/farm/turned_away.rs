//! Nodes whose registration was refused lately, for the status: who, why, how often. Bounded; decides nothing.

use crate::limits::{TURNED_AWAY_KEEP, TURNED_AWAY_MAX};
use kiln_proto::v1;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug)]
struct Entry {
    why: String,
    times: u32,
    last: Duration,
}

/// Nodes turned away, by what they called themselves.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway {
    entries: BTreeMap<String, Entry>,
}

impl TurnedAway {
    pub(crate) fn note(&mut self, who: String, why: String, now: Duration) {
        if !self.entries.contains_key(&who) && self.entries.len() >= TURNED_AWAY_MAX {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.last).map(|(who, _)| who.clone());
            oldest.and_then(|who| self.entries.remove(&who));
        }
        let entry = self.entries.entry(who).or_insert(Entry { why: String::new(), times: 0, last: now });
        *entry = Entry { why, times: entry.times.saturating_add(1), last: now };
    }

    /// Those that are not too long ago.
    pub(crate) fn recent(&self, now: Duration) -> Vec<v1::TurnedAway> {
        let recent = self.entries.iter().filter(|(_, entry)| now.saturating_sub(entry.last) < TURNED_AWAY_KEEP);
        let told = recent.map(|(who, entry)| v1::TurnedAway {
            who: who.clone(),
            why: entry.why.clone(),
            times: entry.times,
            ago_ms: u64::try_from(now.saturating_sub(entry.last).as_millis()).unwrap_or(u64::MAX),
        });
        told.collect()
    }
}
