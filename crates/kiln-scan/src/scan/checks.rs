//! What a unit's options and texts mean beyond lookups: flags, and reasons to give up. It reaches nothing.

use std::sync::Arc;

use crate::directives::{Item, Mentions};
use crate::macros::CommandMacro;
use crate::resolve::Found;
use crate::search::Compiler;
use crate::unprovable::Unprovable;
use crate::view::{Entry, FileView};

use super::Scan;

impl<V: FileView + ?Sized> Scan<'_, V> {
    /// What the text of `-D` does wherever the macro is used.
    pub(super) fn check_command_macros(&mut self) -> Result<(), Unprovable> {
        let request = self.request;
        for command in &request.command_macros {
            let CommandMacro::Define(text) = command else { continue };
            self.flags.date |= text.contains("__DATE__");
            self.flags.time |= text.contains("__TIME__");
            self.flags.timestamp |= text.contains("__TIMESTAMP__");
            self.flags.file_macro |= text.contains("__FILE__") || text.contains("__BASE_FILE__");
            let path = request.source.clone();
            if text.contains("__has_include") || text.contains("__has_embed") {
                return Err(Unprovable::HasInclude { path });
            }
            if text.contains("_Pragma") {
                return Err(Unprovable::IncludeAlias { path });
            }
            if text.contains("incbin") || text.contains(".include") {
                return Err(Unprovable::Assembler { path });
            }
        }
        Ok(())
    }

    /// clang takes a file named as a search directory for a map of headers.
    pub(super) fn check_header_maps(&mut self) -> Result<(), Unprovable> {
        let request = self.request;
        for path in request.search.missing.iter().filter(|_| request.compiler == Compiler::Clang) {
            if self.resolver.entry_at(self.view, self.cwd, path) != Entry::Absent {
                return Err(Unprovable::HeaderMap { path: path.clone() });
            }
        }
        Ok(())
    }

    /// A source in which no directive counts: only what the assembler would read for it.
    pub(super) fn preprocessed(&mut self, source: Found, file: u32) -> Result<(), Unprovable> {
        let directives = self.directives_of(source.file, file)?;
        let node = self.add_node(source, file, true, Arc::clone(&directives));
        for block in &directives.blocks {
            let meant = [Mentions::INCBIN, Mentions::ASM_INCLUDE, Mentions::MODULES];
            for mention in meant.into_iter().filter(|m| block.mentions.has(*m)) {
                self.mention(node, mention)?;
            }
        }
        for item in &directives.items {
            if let Item::Incbin { header, line } = *item {
                self.incbin(node, header, line)?;
            }
        }
        Ok(())
    }

    /// What a reached block says beyond its directives.
    pub(super) fn mention(&mut self, node: u32, mentions: Mentions) -> Result<(), Unprovable> {
        self.flags.date |= mentions.has(Mentions::DATE);
        self.flags.time |= mentions.has(Mentions::TIME);
        self.flags.timestamp |= mentions.has(Mentions::TIMESTAMP);
        self.flags.file_macro |= mentions.has(Mentions::FILE);
        self.flags.modules |= mentions.has(Mentions::MODULES);
        if mentions.has(Mentions::OPTIONS) && self.options_seen.is_none() {
            self.options_seen = Some(0);
            self.touch_options();
        }
        let path = || self.path_of(node);
        if mentions.has(Mentions::INCBIN) || mentions.has(Mentions::ASM_INCLUDE) {
            return Err(Unprovable::Assembler { path: path() });
        }
        if mentions.has(Mentions::DEPENDENCY) {
            return Err(Unprovable::Dependency { path: path() });
        }
        if mentions.has(Mentions::ALIAS) {
            return Err(Unprovable::IncludeAlias { path: path() });
        }
        if mentions.has(Mentions::HAS_INCLUDE) {
            return Err(Unprovable::HasInclude { path: path() });
        }
        Ok(())
    }

    /// After `#pragma GCC target`: macros that follow the compiler's options are unknown, also those that only now have a number.
    pub(super) fn touch_options(&mut self) {
        let Some(seen) = self.options_seen else { return };
        let mut tables = self.view.names().write();
        let names = tables.follow_options();
        for &name in &names[seen.min(names.len())..] {
            self.slots.touch(name, &mut self.reopen);
        }
        self.options_seen = Some(names.len());
    }
}
