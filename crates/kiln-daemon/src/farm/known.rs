//! Which blobs are known to be where, so that a warm unit asks nobody. A wrong yes costs one round trip, never a result.

use kiln_cas::Digest;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{Mutex, PoisonError};

/// Most blobs remembered for one node: 40 bytes each, 10 MB a node at most; beyond it the node is forgotten and asked anew.
const BLOBS_MAX: usize = 262_144;

/// Most nodes remembered.
const NODES_MAX: usize = 1024;

/// Digests by node.
#[derive(Default)]
pub(crate) struct Known {
    nodes: Mutex<FxHashMap<String, FxHashSet<Digest>>>,
}

impl Known {
    fn with<T>(&self, act: impl FnOnce(&mut FxHashMap<String, FxHashSet<Digest>>) -> T) -> T {
        act(&mut self.nodes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Those of `digests` that are not known to be at `node`.
    pub(crate) fn unknown<'a>(&self, node: &str, digests: impl Iterator<Item = &'a Digest>) -> Vec<Digest> {
        self.with(|nodes| match nodes.get(node) {
            Some(known) => digests.filter(|digest| !known.contains(digest)).copied().collect(),
            None => digests.copied().collect(),
        })
    }

    /// `digests` are at `node` now.
    pub(crate) fn learn(&self, node: &str, digests: impl IntoIterator<Item = Digest>) {
        self.with(|nodes| {
            if nodes.len() >= NODES_MAX && !nodes.contains_key(node) {
                nodes.clear();
            }
            let known = nodes.entry(node.to_owned()).or_default();
            if known.len() >= BLOBS_MAX {
                known.clear();
            }
            known.extend(digests);
        });
    }

    /// Nothing is known of `node` any more: it was restarted, or something thought to be there was not.
    pub(crate) fn forget(&self, node: &str) {
        self.with(|nodes| nodes.remove(node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_not_asked() {
        let known = Known::default();
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        known.learn("w", [a]);
        assert_eq!(known.unknown("w", [a, b].iter()), [b]);
        known.forget("w");
        assert_eq!(known.unknown("w", [a, b].iter()), [a, b]);
    }
}
