//! Numbers for names: the core knows numbers only. Knows nothing of what is named.

use std::collections::BTreeMap;

/// Names with the number of uses of each. A name without a use is dropped and its number given anew.
#[derive(Debug)]
pub(crate) struct Names<K> {
    by_name: BTreeMap<K, u32>,
    entries: Vec<Option<(K, u32)>>,
    free: Vec<u32>,
    max: usize,
}

impl<K: Ord + Clone> Names<K> {
    /// At most `max` names.
    pub(crate) fn new(max: usize) -> Names<K> {
        Names { by_name: BTreeMap::new(), entries: Vec::new(), free: Vec::new(), max }
    }

    /// The number of a name, used once more; `None` when there are too many.
    pub(crate) fn hold(&mut self, name: &K) -> Option<u32> {
        if let Some(id) = self.by_name.get(name) {
            if let Some(Some((_, uses))) = self.entries.get_mut(*id as usize) {
                *uses += 1;
            }
            return Some(*id);
        }
        if self.by_name.len() >= self.max {
            return None;
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = u32::try_from(self.entries.len()).ok()?;
                self.entries.push(None);
                id
            }
        };
        self.entries[id as usize] = Some((name.clone(), 1));
        self.by_name.insert(name.clone(), id);
        Some(id)
    }

    /// One use of a number less.
    pub(crate) fn drop_use(&mut self, id: u32) {
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        let Some((name, uses)) = entry else { return };
        *uses -= 1;
        if *uses == 0 {
            self.by_name.remove(name);
            *entry = None;
            self.free.push(id);
        }
    }

    /// The number of a name that is in use.
    pub(crate) fn find(&self, name: &K) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The name of a number that is in use.
    pub(crate) fn name(&self, id: u32) -> Option<&K> {
        self.entries.get(id as usize)?.as_ref().map(|(name, _)| name)
    }

    /// All numbers in use, in the order of their names.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.by_name.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_while_it_is_used() {
        let mut names = Names::new(2);
        let a = names.hold(&"a").unwrap();
        assert_eq!(names.hold(&"a"), Some(a));
        let b = names.hold(&"b").unwrap();
        assert_ne!(a, b);
        assert_eq!(names.hold(&"c"), None, "bounded");
        names.drop_use(a);
        assert_eq!(names.find(&"a"), Some(a));
        names.drop_use(a);
        assert_eq!(names.find(&"a"), None);
        assert_eq!(names.hold(&"c"), Some(a), "the number is free again");
        assert_eq!(names.name(a), Some(&"c"));
        names.drop_use(99);
        assert_eq!(names.ids().count(), 2);
    }
}
