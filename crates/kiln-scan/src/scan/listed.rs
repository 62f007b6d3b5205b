//! What a compiler's own list of a unit's files leaves out. It evaluates nothing: all that the files say counts.

use std::sync::Arc;

use crate::closure::{Closure, Reason};
use crate::directives::{Directives, Item, Lookup, Mentions, Target};
use crate::names::HeaderId;
use crate::resolve::Answer;
use crate::unprovable::Unprovable;
use crate::view::FileView;

use super::Scan;

impl<V: FileView + ?Sized> Scan<'_, V> {
    /// The closure of files that the compiler listed, the source first.
    pub(super) fn listed(&mut self, listed: &[String]) -> Result<Closure, Unprovable> {
        self.check_command_macros()?;
        self.check_header_maps()?;
        self.precompiled_source()?;
        let request = self.request;
        for forced in &request.forced {
            let header = self.header_of_forced(&forced.name)?;
            self.precompiled_forced(forced.kind, header)?;
        }
        for (i, path) in listed.iter().enumerate() {
            let Answer::Found(found) = self.resolver.file_at(self.view, self.cwd, path) else {
                return Err(Unprovable::Source { path: path.clone() });
            };
            let reason = if i == 0 { Reason::Source } else { Reason::Included };
            let file = self.record(found, reason, None, 0)?;
            let directives = self.directives_of(found.file, file)?;
            self.add_node(found, file, i == 0, directives);
        }
        if self.source_may_be_precompiled() {
            self.precompiled_before_any()?;
        }
        for node in 0..self.nodes.len() as u32 {
            let directives = Arc::clone(&self.nodes[node as usize].directives);
            self.unlisted(node, &directives)?;
        }
        self.has_wrappers = self.nodes.iter().any(|node| !node.directives.wrappers.is_empty());
        self.check_wrappers()?;
        Ok(self.closure())
    }

    /// Precompiled headers that gcc could take at the first include of the source.
    fn precompiled_before_any(&mut self) -> Result<(), Unprovable> {
        let Some(directives) = self.nodes.first().map(|node| Arc::clone(&node.directives)) else { return Ok(()) };
        let mut last = u32::MAX;
        let (start, end) = directives.blocks[directives.root as usize].items;
        for item in &directives.items[start as usize..end as usize] {
            if let Item::Include { line, .. } = *item {
                last = last.min(line);
            }
        }
        let mut any = false;
        for item in &*directives.items {
            match *item {
                Item::Include { how, header, line } if line <= last && !how.embed => {
                    self.precompiled_first(0, how.quoted, header, line)?;
                }
                Item::Computed(index) if directives.computed[index as usize].line <= last => any = true,
                _ => {}
            }
        }
        if any { self.precompiled_of_listed() } else { Ok(()) }
    }

    /// The first include of the source may be that of any listed file, by any name that leads to it.
    fn precompiled_of_listed(&mut self) -> Result<(), Unprovable> {
        let list = self.resolver.list_dirs(self.list);
        let beside = Arc::clone(self.resolver.spelled(self.nodes[0].dir));
        for node in 1..self.nodes.len() as u32 {
            let path = self.path_of(node);
            for dir in list.iter().chain([&beside]) {
                let name = if dir.is_empty() { Some(&*path) } else { path.strip_prefix(&**dir) };
                let name = name.map(|name| name.trim_start_matches('/')).filter(|name| !name.is_empty());
                if let Some(name) = name {
                    self.precompiled_along(Some(Arc::clone(&beside)), true, name)?;
                }
            }
        }
        Ok(())
    }

    /// What one file asks for or says that no list shows.
    fn unlisted(&mut self, node: u32, d: &Directives) -> Result<(), Unprovable> {
        // Which file an include means by a pragma shows in the list.
        for block in &d.blocks {
            self.mention(node, block.mentions.without(Mentions::ALIAS))?;
        }
        for item in &*d.items {
            match *item {
                Item::Include { how, header, line } if how.embed => self.include(node, how, header, line)?,
                Item::Probe { how, header, .. } => self.probe_anywhere(node, how, header)?,
                Item::Incbin { header, line } => self.incbin(node, header, line)?,
                Item::Include { .. } | Item::Computed(_) | Item::Group(_) => {}
            }
        }
        for probe in &*d.probes {
            if let Target::Literal { how, header } = probe.target {
                self.probe_anywhere(node, how, header)?;
            }
        }
        let hidden = d.computed.iter().find(|computed| computed.probe || computed.embed);
        hidden.map_or(Ok(()), |_| Err(Unprovable::HasInclude { path: self.path_of(node) }))
    }

    /// Everything that a probe may find, wherever its search begins.
    fn probe_anywhere(&mut self, node: u32, how: Lookup, header: HeaderId) -> Result<(), Unprovable> {
        if how.embed || self.resolver.header(self.view, header).name.starts_with('/') {
            return self.look_up(node, how, header).map(drop);
        }
        self.look_up(node, Lookup { next: false, ..how }, header)?;
        let mut from = 0;
        while let Answer::Found(found) = self.resolver.along(self.view, self.list, from, header) {
            let parent = self.nodes[node as usize].file;
            self.record(found, Reason::Probed, Some(parent), 0)?;
            from = found.at.map_or(u16::MAX, |at| at + 1);
            if from >= self.resolver.list_len(self.list) {
                break;
            }
        }
        Ok(())
    }
}
