//! What is stored, how large it is, when it was last used and what must stay. Knows no file system and no clock: callers say
//! what time it is.

use crate::key::{Key, Kind};
use kiln_cas::Digest;
use std::collections::{BTreeMap, HashMap};

/// A use within this time of the last one does not move an entry: one ordered-map update a second is enough for eviction.
const USE_STEP_US: u64 = 1_000_000;

/// How far a file's access time may lag behind its last use. Another process sharing the directory sees uses this late, and a
/// restart forgets that much; in return a hot blob costs one `utimensat` in five minutes.
pub(crate) const SAVED_LAG_US: u64 = 300 * 1_000_000;

/// Files are charged in whole blocks of this size, as common file systems allocate them.
pub(crate) const BLOCK_BYTES: u64 = 4096;

/// What a file of `size` bytes takes of the bound: its blocks, and one for its inode and name.
pub(crate) fn charge(size: u64) -> u64 {
    size.div_ceil(BLOCK_BYTES).saturating_add(1).saturating_mul(BLOCK_BYTES)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Here,
    /// Chosen for eviction: its file is about to go, so it counts as absent; who wants to publish it waits.
    Leaving,
}

/// A time of use in microseconds, and a number that makes it unique.
type Stamp = (u64, u64);

#[derive(Debug, Clone)]
struct Entry {
    charge: u64,
    stamp: Stamp,
    /// The access time on disk, in microseconds like the stamp's.
    saved: u64,
    verified: bool,
    state: State,
}

/// What [`Index::touch`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touch {
    Absent,
    /// Here; `verified` in this process.
    Here {
        verified: bool,
        /// Whether the caller should now write the access time.
        save: bool,
    },
    Leaving,
}

/// An entry on its way out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Victim {
    pub(crate) key: Key,
    pub(crate) charge: u64,
    pub(crate) saved: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: HashMap<Key, Entry>,
    /// Unpinned entries that are here, oldest use first.
    order: BTreeMap<Stamp, Key>,
    next: u64,
    pins: HashMap<Digest, u32>,
    used: u64,
    reserved: u64,
}

impl Index {
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn pinned(&self) -> usize {
        self.pins.len()
    }

    /// Every key that is here, in no order.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.entries.iter().filter(|(_, entry)| entry.state == State::Here).map(|(key, _)| *key).collect()
    }

    fn is_pinned(&self, key: &Key) -> bool {
        key.kind != Kind::Record && self.pins.contains_key(&key.digest)
    }

    fn enqueue(&mut self, key: Key, time: u64) -> Stamp {
        self.next += 1;
        let stamp = (time, self.next);
        self.order.insert(stamp, key);
        stamp
    }

    /// The stamp of an entry used at `time`: in the order only if nothing pins it.
    fn stamp(&mut self, key: Key, time: u64) -> Stamp {
        if self.is_pinned(&key) { (time, 0) } else { self.enqueue(key, time) }
    }

    /// Enters a file, or renews what is known of it. `stamp` is its last use, as it stands on disk.
    pub(crate) fn insert(&mut self, key: Key, size: u64, stamp: u64, verified: bool) {
        let before = self.remove(&key);
        let verified = verified || before.is_some_and(|entry| entry.verified);
        let saved = stamp;
        let stamp = self.stamp(key, stamp);
        let charge = charge(size);
        self.used += charge;
        self.entries.insert(key, Entry { charge, stamp, saved, verified, state: State::Here });
    }

    /// Enters a file only if nothing is known of it.
    pub(crate) fn discover(&mut self, key: Key, size: u64, stamp: u64) {
        if !self.entries.contains_key(&key) {
            self.insert(key, size, stamp, false);
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        if self.order.get(&entry.stamp) == Some(key) {
            self.order.remove(&entry.stamp);
        }
        if entry.state == State::Here {
            self.used -= entry.charge;
        }
        Some(entry)
    }

    /// Forgets a file; true if it was known.
    pub(crate) fn forget(&mut self, key: &Key) -> bool {
        self.remove(key).is_some()
    }

    /// Whether the file is here, and compared with its digest by this process.
    pub(crate) fn is_verified(&self, key: &Key) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.verified && entry.state == State::Here)
    }

    /// Marks a use at `now`.
    pub(crate) fn touch(&mut self, key: &Key, now: u64) -> Touch {
        let Some(entry) = self.entries.get_mut(key) else { return Touch::Absent };
        if entry.state == State::Leaving {
            return Touch::Leaving;
        }
        let verified = entry.verified;
        let save = now.saturating_sub(entry.saved) > SAVED_LAG_US;
        if save {
            entry.saved = now;
        }
        let old = entry.stamp;
        if now.saturating_sub(old.0) > USE_STEP_US && self.order.get(&old) == Some(key) {
            self.order.remove(&old);
            let stamp = self.enqueue(*key, now);
            if let Some(entry) = self.entries.get_mut(key) {
                entry.stamp = stamp;
            }
        }
        Touch::Here { verified, save }
    }

    /// Notes that the content was found to be what the name says.
    pub(crate) fn set_verified(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.verified = true;
        }
    }

    /// Keeps `digest` from eviction until as many [`Index::unpin`] follow, also if it is not here yet.
    pub(crate) fn pin(&mut self, digest: &Digest) {
        let count = self.pins.entry(*digest).or_insert(0);
        *count += 1;
        if *count == 1 {
            for executable in [false, true] {
                let key = Key::blob(digest, executable);
                if let Some(entry) = self.entries.get(&key)
                    && self.order.get(&entry.stamp) == Some(&key)
                {
                    self.order.remove(&entry.stamp);
                }
            }
        }
    }

    /// Takes one pin back; the end of the last one counts as a use at `now`.
    pub(crate) fn unpin(&mut self, digest: &Digest, now: u64) {
        let Some(count) = self.pins.get_mut(digest) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.pins.remove(digest);
        for executable in [false, true] {
            let key = Key::blob(digest, executable);
            if self.entries.get(&key).is_some_and(|entry| entry.state == State::Here) {
                let stamp = self.enqueue(key, now);
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.stamp = stamp;
                }
            }
        }
    }

    /// Sets `bytes` aside for a file being written, if they fit under `max_bytes` beside all else.
    pub(crate) fn reserve(&mut self, bytes: u64, max_bytes: u64) -> bool {
        let fits = self.used.saturating_add(self.reserved).saturating_add(bytes) <= max_bytes;
        if fits {
            self.reserved += bytes;
        }
        fits
    }

    /// Gives back what [`Index::reserve`] set aside.
    pub(crate) fn release(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    /// Bytes that must go so that `bytes` more fit under `max_bytes`.
    pub(crate) fn excess(&self, bytes: u64, max_bytes: u64) -> u64 {
        self.used.saturating_add(self.reserved).saturating_add(bytes).saturating_sub(max_bytes)
    }

    /// Takes the least recently used unpinned entries, at most `count_max`, until they hold `bytes`; they count as absent
    /// from now on. Each must be given to [`Index::forget`] or [`Index::restore`] afterwards.
    pub(crate) fn take_victims(&mut self, bytes: u64, count_max: usize) -> Vec<Victim> {
        let mut victims = Vec::new();
        let mut sum = 0;
        while sum < bytes && victims.len() < count_max {
            let Some((_, key)) = self.order.pop_first() else { break };
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            entry.state = State::Leaving;
            self.used -= entry.charge;
            sum += entry.charge;
            victims.push(Victim { key, charge: entry.charge, saved: entry.saved });
        }
        victims
    }

    /// Takes a victim back, last used at `stamp` by somebody else.
    pub(crate) fn restore(&mut self, victim: &Victim, stamp: u64) {
        let Some(mut entry) = self.remove(&victim.key) else { return };
        entry.saved = stamp;
        entry.state = State::Here;
        entry.stamp = self.stamp(victim.key, stamp);
        self.used += entry.charge;
        self.entries.insert(victim.key, entry);
    }

    /// Panics if the side tables do not agree with the entries.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let here = || self.entries.iter().filter(|(_, entry)| entry.state == State::Here);
        assert_eq!(self.used, here().map(|(_, entry)| entry.charge).sum::<u64>());
        assert_eq!(self.order.len(), here().filter(|(key, _)| !self.is_pinned(key)).count());
        for (stamp, key) in &self.order {
            assert_eq!(self.entries[key].stamp, *stamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn key(name: u8) -> Key {
        Key::blob(&Digest::of(&[name]), false)
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut index = Index::default();
        for name in 0..4 {
            index.insert(key(name), 1, u64::from(name), true);
        }
        assert_eq!(index.touch(&key(0), 10 * SECOND), Touch::Here { verified: true, save: false });
        let victims: Vec<Key> = index.take_victims(charge(1) * 2, usize::MAX).iter().map(|victim| victim.key).collect();
        assert_eq!(victims, [key(1), key(2)]);
        index.check();
        assert_eq!(index.touch(&key(1), 11 * SECOND), Touch::Leaving);
        index.forget(&key(1));
        assert_eq!(index.touch(&key(1), 11 * SECOND), Touch::Absent);
        index.check();
    }

    #[test]
    fn a_pin_holds_what_is_here_and_what_comes() {
        let mut index = Index::default();
        index.insert(key(0), 1, 0, true);
        index.pin(&key(0).digest);
        index.pin(&key(1).digest);
        index.pin(&key(1).digest);
        index.insert(key(1), 1, 1, true);
        assert!(index.take_victims(u64::MAX, usize::MAX).is_empty());
        index.unpin(&key(1).digest, 2);
        assert!(index.take_victims(u64::MAX, usize::MAX).is_empty());
        index.unpin(&key(1).digest, 2);
        index.check();
        assert_eq!(index.take_victims(u64::MAX, usize::MAX)[0].key, key(1));
        index.check();
    }

    #[test]
    fn a_restored_victim_counts_again() {
        let mut index = Index::default();
        index.insert(key(0), 1, 0, true);
        let victim = index.take_victims(1, 1)[0];
        assert_eq!(index.used(), 0);
        index.restore(&victim, 5);
        index.check();
        assert_eq!(index.used(), charge(1));
    }

    #[test]
    fn access_times_are_saved_seldom() {
        let mut index = Index::default();
        index.insert(key(0), 1, 0, true);
        assert_eq!(index.touch(&key(0), SAVED_LAG_US), Touch::Here { verified: true, save: false });
        assert_eq!(index.touch(&key(0), SAVED_LAG_US + 1), Touch::Here { verified: true, save: true });
        assert_eq!(index.touch(&key(0), SAVED_LAG_US + 2), Touch::Here { verified: true, save: false });
        index.check();
    }

    #[test]
    fn reservations_count_against_the_bound() {
        let mut index = Index::default();
        assert!(index.reserve(charge(1), 3 * charge(1)));
        index.insert(key(0), 1, 0, true);
        assert!(!index.reserve(2 * charge(1), 3 * charge(1)));
        assert_eq!(index.excess(2 * charge(1), 3 * charge(1)), charge(1));
        index.release(charge(1));
        assert!(index.reserve(2 * charge(1), 3 * charge(1)));
    }
}
