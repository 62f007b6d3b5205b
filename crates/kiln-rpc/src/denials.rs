//! Peers that a server turned away lately and why, for whoever asks what is wrong with the farm. Bounded; decides nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::Peer;
use crate::limits::DENIALS_KEEP;
use crate::limits::DENIALS_MAX;

/// One peer that was turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Its address, without the port.
    pub who: String,
    /// The last reason.
    pub why: String,
    /// How often, since it was first turned away.
    pub times: u32,
    /// The time since the last.
    pub ago: Duration,
}

#[derive(Debug)]
struct Entry {
    why: String,
    times: u32,
    last: Instant,
}

/// The peers turned away lately: [`DENIALS_MAX`] of them for [`DENIALS_KEEP`].
#[derive(Debug, Default)]
pub struct Denials {
    entries: Mutex<BTreeMap<String, Entry>>,
}

impl Denials {
    /// Notes that `peer` was turned away.
    pub(crate) fn note(&self, peer: &Peer, why: &str) {
        let who = match peer {
            Peer::Tcp { address, .. } => address.ip().to_canonical().to_string(),
            Peer::Unix { uid, .. } => format!("user {uid}"),
        };
        self.note_at(who, why, Instant::now());
    }

    fn note_at(&self, who: String, why: &str, now: Instant) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if !entries.contains_key(&who) && entries.len() >= DENIALS_MAX {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.last).map(|(who, _)| who.clone());
            oldest.and_then(|who| entries.remove(&who));
        }
        let entry = entries.entry(who).or_insert_with(|| Entry { why: String::new(), times: 0, last: now });
        entry.times = entry.times.saturating_add(1);
        entry.last = now;
        why.clone_into(&mut entry.why);
    }

    /// Those that are not too long ago, the last one first.
    pub fn recent(&self) -> Vec<Denial> {
        self.recent_at(Instant::now())
    }

    fn recent_at(&self, now: Instant) -> Vec<Denial> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| now.saturating_duration_since(entry.last) < DENIALS_KEEP);
        let denial = |(who, entry): (&String, &Entry)| Denial {
            who: who.clone(),
            why: entry.why.clone(),
            times: entry.times,
            ago: now.saturating_duration_since(entry.last),
        };
        let mut denials: Vec<Denial> = entries.iter().map(denial).collect();
        denials.sort_by_key(|denial| denial.ago);
        denials
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_few_are_kept_for_a_while() {
        let (denials, start) = (Denials::default(), Instant::now());
        for index in 0..DENIALS_MAX as u64 + 5 {
            denials.note_at(format!("host {index}"), "a wrong token", start + Duration::from_secs(index));
        }
        denials.note_at("host 7".into(), "another", start + Duration::from_secs(30));
        let recent = denials.recent_at(start + Duration::from_secs(31));
        assert_eq!(recent.len(), DENIALS_MAX);
        assert_eq!(recent[0], Denial { who: "host 7".into(), why: "another".into(), times: 2, ago: Duration::from_secs(1) });
        assert!(!recent.iter().any(|denial| denial.who == "host 1"), "the oldest went");
        assert!(denials.recent_at(start + DENIALS_KEEP + Duration::from_secs(60)).is_empty());
    }
}
