//! Includes whose name comes out of macros: all values that the macros may have here. It knows no expansion rules.

use crate::directives::{BODY_ODD, BODY_POP, BODY_UNDEF, Lookup};
use crate::hash::LookupMap;
use crate::macros::Value;
use crate::names::{HeaderId, NameId};
use crate::unprovable::Unprovable;
use crate::view::FileView;

use super::Scan;
use super::expand::{Choice, Source, Unfollowed, expand};
use super::slots::Known;

/// Expansions of one include, over all combinations of its macros' values.
pub(super) const COMBINATIONS_MAX: usize = 4096;

impl<V: FileView + ?Sized> Scan<'_, V> {
    /// Expands every computed include reached so far with what is defined by now. Whether there may be more to walk.
    pub(super) fn expand_computed(&mut self) -> Result<bool, Unprovable> {
        if self.computed.is_empty() || self.expanded_at == Some(self.reached_blocks.len()) {
            return Ok(false);
        }
        self.expanded_at = Some(self.reached_blocks.len());
        let mut values = LookupMap::default();
        for i in 0..self.computed.len() {
            let (node, index) = self.computed[i];
            self.expand_one(node, index, &mut values)?;
        }
        Ok(true)
    }

    fn expand_one(&mut self, node: u32, index: u32, values: &mut LookupMap<Vec<u8>, Vec<Choice>>) -> Result<(), Unprovable> {
        let computed = self.nodes[node as usize].directives.computed[index as usize].clone();
        let path = self.path_of(node);
        let mut source = Values { scan: self, known: values };
        let expanded = expand(&computed.text, path.as_bytes(), &mut source)
            .map_err(|Unfollowed| Unprovable::ComputedInclude { path, line: computed.line })?;
        self.spend(expanded.steps)?;
        for (quoted, name) in expanded.names {
            let Some(header) = self.view.names().write().headers.intern(&name).map(HeaderId) else {
                return Err(Unprovable::TooManyLookups);
            };
            let how = Lookup { quoted, next: computed.next, embed: computed.embed };
            if computed.probe {
                self.look_up(node, how, header)?;
            } else {
                self.include(node, how, header, computed.line)?;
            }
        }
        Ok(())
    }

    /// Every text that `name` may have, and whether it may have none.
    fn choices(&mut self, name: &[u8]) -> Vec<Choice> {
        let Some(name) = self.view.names().read().macros.find(name).map(NameId) else { return vec![Choice::Undefined] };
        let known = self.slots.known(name);
        let mut choices = Vec::new();
        if let Some(base) = self.slots.base_of(name) {
            let base = self.bases.get(base);
            choices.push(match base.value {
                Value::Undefined => Choice::Undefined,
                _ if base.text.is_empty() => Choice::Odd,
                _ => Choice::Text(base.text.to_vec()),
            });
        } else {
            choices.push(Choice::Undefined);
        }
        if known != Known::Touched {
            return choices;
        }
        // Eight names are compared in a step; the bound is checked when the include is done.
        let names: usize = self.nodes.iter().map(|n| n.directives.defines.len()).sum();
        self.steps += (names / 8 + self.reached_blocks.len() / 8) as u64;
        for &(node, block) in &self.reached_blocks {
            let d = &self.nodes[node as usize].directives;
            let (start, end) = d.blocks[block as usize].defines;
            for i in start as usize..end as usize {
                if d.defines[i] != name {
                    continue;
                }
                let choice = match d.body(i) {
                    [] | [BODY_ODD, ..] => Choice::Odd,
                    [BODY_UNDEF, ..] => Choice::Undefined,
                    [BODY_POP, ..] => continue,
                    text => Choice::Text(text.to_vec()),
                };
                if choices.len() > COMBINATIONS_MAX {
                    return vec![Choice::Odd];
                }
                if !choices.contains(&choice) {
                    choices.push(choice);
                }
            }
        }
        choices
    }
}

/// The macros of a scan as the expander asks for them.
struct Values<'a, 's, V: ?Sized> {
    scan: &'a mut Scan<'s, V>,
    known: &'a mut LookupMap<Vec<u8>, Vec<Choice>>,
}

impl<V: FileView + ?Sized> Source for Values<'_, '_, V> {
    fn choices(&mut self, name: &[u8]) -> &[Choice] {
        if !self.known.contains_key(name) {
            let choices = self.scan.choices(name);
            self.known.insert(name.to_vec(), choices);
        }
        self.known.get(name).map_or(&[], Vec::as_slice)
    }
}
