//! Workers that were lost: they get no unit of this daemon until they answer a question. Asks nobody itself; time comes from
//! the caller.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// From the loss of a worker to the first question, and between two: a process that restarts takes as long.
const ASK_AFTER: Duration = Duration::from_secs(1);

/// The longest time between two questions, doubled each time.
const ASK_AFTER_MAX: Duration = Duration::from_secs(8);

/// A worker that nobody heard of for this long is asked no more: the scheduler forgets it as well.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Most sick workers known: what one request to the scheduler may exclude. Beyond it the one lost first is forgotten.
const SICK_MAX: usize = 32;

/// Where a worker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: String,
    pub(crate) tls_name: String,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    lost: Instant,
    ask_at: Instant,
    pause: Duration,
}

/// The sick workers, by name.
#[derive(Debug, Default)]
pub(crate) struct Sick {
    workers: BTreeMap<String, Entry>,
}

impl Sick {
    /// A worker was lost.
    pub(crate) fn lost(&mut self, name: &str, place: Place, now: Instant) {
        if !self.workers.contains_key(name) && self.workers.len() >= SICK_MAX {
            let first = self.workers.iter().min_by_key(|(_, entry)| entry.lost).map(|(name, _)| name.clone());
            first.and_then(|name| self.workers.remove(&name));
        }
        let entry = Entry { place, lost: now, ask_at: now + ASK_AFTER, pause: ASK_AFTER };
        self.workers.entry(name.to_owned()).or_insert(entry);
    }

    /// All of them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.workers.keys().map(String::as_str)
    }

    /// Those to be asked now; each counts as asked.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(String, Place)> {
        self.workers.retain(|_, entry| now.saturating_duration_since(entry.lost) < FORGET_AFTER);
        let mut due = Vec::new();
        for (name, entry) in self.workers.iter_mut().filter(|(_, entry)| entry.ask_at <= now) {
            entry.ask_at = now + entry.pause;
            entry.pause = (entry.pause * 2).min(ASK_AFTER_MAX);
            due.push((name.clone(), entry.place.clone()));
        }
        due
    }

    /// One answered.
    pub(crate) fn answered(&mut self, name: &str) {
        self.workers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { address: "w:1".into(), tls_name: String::new() }
    }

    #[test]
    fn a_lost_worker_is_avoided_until_it_answers() {
        let (mut sick, start) = (Sick::default(), Instant::now());
        sick.lost("w", place(), start);
        sick.lost("w", place(), start);
        assert_eq!(sick.names().collect::<Vec<_>>(), ["w"]);
        assert!(sick.due(start).is_empty());
        let mut asked = Vec::new();
        for second in 1..40 {
            if !sick.due(start + second * ASK_AFTER).is_empty() {
                asked.push(second);
            }
        }
        assert_eq!(asked, [1, 2, 4, 8, 16, 24, 32], "less and less often");
        sick.answered("w");
        assert_eq!(sick.names().count(), 0);
    }

    #[test]
    fn few_are_known_and_not_for_ever() {
        let (mut sick, start) = (Sick::default(), Instant::now());
        for index in 0..SICK_MAX as u32 + 1 {
            sick.lost(&index.to_string(), place(), start + index * Duration::from_millis(1));
        }
        assert_eq!(sick.names().count(), SICK_MAX);
        assert!(!sick.names().any(|name| name == "0"));
        assert!(sick.due(start + FORGET_AFTER + ASK_AFTER).is_empty());
        assert_eq!(sick.names().count(), 0);
    }
}
