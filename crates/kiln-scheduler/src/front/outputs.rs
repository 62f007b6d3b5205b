//! Which worker made which blob, for those that are not at their home yet. Bounded: the oldest is forgotten.

use crate::limits::OUTPUTS_MAX;
use kiln_cas::Digest;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Default)]
struct Table {
    makers: BTreeMap<Digest, Arc<str>>,
    order: VecDeque<Digest>,
}

/// Blobs by their makers' names.
#[derive(Debug, Default)]
pub(crate) struct Outputs(Mutex<Table>);

impl Outputs {
    /// Notes that `worker` has these.
    pub(crate) fn note(&self, worker: &str, digests: impl IntoIterator<Item = Digest>) {
        let worker: Arc<str> = worker.into();
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in digests {
            if table.makers.insert(digest, Arc::clone(&worker)).is_none() {
                table.order.push_back(digest);
            }
            if table.order.len() > OUTPUTS_MAX
                && let Some(oldest) = table.order.pop_front()
            {
                table.makers.remove(&oldest);
            }
        }
    }

    /// Who made a blob.
    pub(crate) fn maker(&self, digest: &Digest) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).makers.get(digest).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_at_the_bound() {
        let outputs = Outputs::default();
        let digest = |number: usize| Digest::of(&number.to_le_bytes());
        outputs.note("w1", (0..OUTPUTS_MAX).map(digest));
        outputs.note("w2", [digest(0)]);
        assert_eq!(outputs.maker(&digest(0)).as_deref(), Some("w2"));
        outputs.note("w3", [digest(OUTPUTS_MAX)]);
        assert_eq!(outputs.maker(&digest(0)), None);
        assert_eq!(outputs.maker(&digest(1)).as_deref(), Some("w1"));
        assert_eq!(outputs.0.lock().unwrap().order.len(), OUTPUTS_MAX);
    }
}
