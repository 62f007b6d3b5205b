//! Macros that hide `__has_include`: what is called through them must have been looked up. It expands nothing.

use std::collections::BTreeSet;

use crate::directives::BODY_FUNCTION;
use crate::lex::{ANY_CALL, is_ident};
use crate::names::NameId;
use crate::unprovable::Unprovable;
use crate::view::FileView;

use super::Scan;

impl<V: FileView + ?Sized> Scan<'_, V> {
    /// A wrapper called with a literal name was looked up where it was called. Called with anything else, directly or by way of
    /// another macro, its lookup is not known.
    pub(super) fn check_wrappers(&mut self) -> Result<(), Unprovable> {
        if !self.has_wrappers {
            return Ok(());
        }
        let mut wrappers: BTreeSet<NameId> = BTreeSet::new();
        for node in &self.nodes {
            wrappers.extend(node.directives.wrappers.iter().copied());
        }
        for i in 0..self.nodes.len() {
            let calls = &self.nodes[i].directives.calls;
            if calls.iter().any(|call| *call == ANY_CALL || wrappers.contains(call)) || self.mentions_any(i, &wrappers) {
                return Err(Unprovable::HasInclude { path: self.path_of(i as u32) });
            }
        }
        Ok(())
    }

    /// Whether a macro defined in a file uses one of these in its text.
    fn mentions_any(&self, node: usize, wrappers: &BTreeSet<NameId>) -> bool {
        let names = self.view.names().read();
        let d = &self.nodes[node].directives;
        (0..d.defines.len()).any(|i| {
            let text = d.body(i);
            let start = match text.first() {
                Some(&BODY_FUNCTION) => text.iter().position(|&c| c == b')').unwrap_or(0),
                Some(b' ') => 0,
                _ => return false,
            };
            text[start..]
                .split(|&c| !is_ident(c))
                .filter(|word| !word.is_empty())
                .any(|word| names.macros.find(word).is_some_and(|id| wrappers.contains(&NameId(id))))
        })
    }
}
