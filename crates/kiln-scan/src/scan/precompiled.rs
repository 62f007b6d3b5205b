//! Precompiled headers that a compiler would read in place of a header, by the rules of each. It does not look into them.

use std::sync::Arc;

use crate::closure::{Reason, Searched, Tried};
use crate::directives::Item;
use crate::names::HeaderId;
use crate::request::ForcedKind;
use crate::resolve::{Answer, join};
use crate::search::Compiler;
use crate::unprovable::Unprovable;
use crate::view::{Entry, FileView};

use super::Scan;

impl<V: FileView + ?Sized> Scan<'_, V> {
    /// Before `-include` and its kin, and whether there is one. gcc looks wherever it looks for the header, clang only at the name
    /// as it was given.
    pub(super) fn precompiled_forced(&mut self, kind: ForcedKind, header: HeaderId) -> Result<bool, Unprovable> {
        let name = Arc::clone(&self.resolver.header(self.view, header).name);
        match (self.request.compiler, kind) {
            (Compiler::Clang, ForcedKind::Include) => {
                Ok(self.precompiled_at("", &format!("{name}.pch"))? || self.precompiled_at("", &format!("{name}.gch"))?)
            }
            (Compiler::Clang, _) => Ok(false),
            (Compiler::Gcc, _) if self.request.precompiles => Ok(false),
            (Compiler::Gcc, ForcedKind::Implicit) => self.precompiled_along(None, false, &name),
            (Compiler::Gcc, _) => self.precompiled_along(Some("".into()), true, &name),
        }
    }

    /// gcc: before an include of the source that may be the unit's first.
    pub(super) fn precompiled_first(&mut self, node: u32, quoted: bool, header: HeaderId, line: u32) -> Result<(), Unprovable> {
        let name = Arc::clone(&self.resolver.header(self.view, header).name);
        let beside = Arc::clone(self.resolver.spelled(self.nodes[node as usize].dir));
        self.precompiled_along(Some(beside), quoted, &name)?;
        if self.is_unconditional(node, header, line) {
            self.pch_line = Some(line);
        }
        Ok(())
    }

    /// gcc: in place of the source itself.
    pub(super) fn precompiled_source(&mut self) -> Result<(), Unprovable> {
        if self.request.compiler == Compiler::Gcc && !self.request.precompiles {
            self.precompiled_at("", &format!("{}.gch", self.request.source))?;
        }
        Ok(())
    }

    /// Whether includes of the source may be the unit's first: nothing but the compiler's own choice is read before.
    pub(super) fn source_may_be_precompiled(&self) -> bool {
        self.request.compiler == Compiler::Gcc
            && !self.request.precompiles
            && self.request.forced.iter().all(|f| f.kind == ForcedKind::Implicit)
    }

    /// Whether an include of the source stands outside of every conditional.
    fn is_unconditional(&self, node: u32, header: HeaderId, line: u32) -> bool {
        let d = &self.nodes[node as usize].directives;
        let (start, end) = d.blocks[d.root as usize].items;
        d.items[start as usize..end as usize]
            .iter()
            .any(|item| matches!(item, Item::Include { header: h, line: l, .. } if *h == header && *l == line))
    }

    /// In each directory where gcc looks for the header, up to the one where the header is.
    /// Whether there is one.
    pub(super) fn precompiled_along(&mut self, beside: Option<Arc<str>>, quoted: bool, name: &str) -> Result<bool, Unprovable> {
        let precompiled = format!("{name}.gch");
        if name.starts_with('/') {
            return match self.precompiled_at("", &precompiled)? {
                true if !matches!(self.resolver.entry_at(self.view, self.cwd, name), Entry::File(_)) => {
                    Err(Unprovable::PrecompiledHeader { path: precompiled })
                }
                there => Ok(there),
            };
        }
        let beside = beside.filter(|_| quoted && !self.request.search.ignore_includer);
        let from = if quoted { 0 } else { self.resolver.angle(self.list) };
        let list = self.resolver.list_dirs(self.list);
        let dirs: Vec<Arc<str>> = beside.into_iter().chain(list[usize::from(from)..].iter().cloned()).collect();
        let mut without = None;
        for dir in dirs {
            if self.precompiled_at(&dir, &precompiled)? {
                without.get_or_insert(dir.clone());
            }
            if matches!(self.resolver.entry_at(self.view, self.cwd, &join(&dir, name)), Entry::File(_)) {
                return Ok(without.is_some());
            }
        }
        match without {
            None => Ok(false),
            // What the header that it was made of says cannot be read.
            Some(dir) => Err(Unprovable::PrecompiledHeader { path: join(&dir, &precompiled) }),
        }
    }

    /// One candidate, and whether it is there. The compiler checks that it fits and else reads the header itself (gcc) or fails
    /// (clang), so both are inputs; a directory of several is left to the compiler.
    fn precompiled_at(&mut self, dir: &str, name: &str) -> Result<bool, Unprovable> {
        self.spend(1)?;
        let path = join(dir, name);
        match self.resolver.entry_at(self.view, self.cwd, &path) {
            Entry::Absent => {
                let (dir, name) = match name.strip_prefix('/') {
                    Some(below) => ("/", below),
                    None => (dir, name),
                };
                self.resolver.searched.push(Searched { name: name.into(), tried: Tried::Dir(dir.into()), found: true });
                Ok(false)
            }
            Entry::File(_) => {
                self.flags.precompiled = true;
                if let Answer::Found(found) = self.resolver.file_at(self.view, self.cwd, &path) {
                    self.record(found, Reason::Precompiled, None, 0)?;
                }
                Ok(true)
            }
            Entry::Dir | Entry::Special => Err(Unprovable::PrecompiledHeader { path }),
        }
    }
}
