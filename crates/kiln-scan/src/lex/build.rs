//! Gathers directives as they are read and groups them by block. It knows no syntax.

use crate::directives::{
    BODY_ODD, BODY_POP, BODY_UNDEF, Block, Branch, Computed, Cond, Directives, Item, Mentions, Op, Probe, Target,
};
use crate::names::{HeaderId, NameId, Names, Tables};

use super::LexError;

/// A macro's text is kept up to this length: a header name cannot be longer than a path (4096), and none seen comes near a quarter of it.
pub(super) const BODY_BYTES_MAX: usize = 1024;

/// Where the arrays stood when a conditional was opened, so that an empty one can be forgotten.
#[derive(Clone, Copy)]
struct Mark {
    blocks: usize,
    ops: usize,
    wide: usize,
    probes: usize,
}

struct Open {
    branches: Vec<Branch>,
    parent: u32,
    mark: Mark,
}

struct Definition {
    block: u32,
    name: NameId,
    text_end: u32,
}

/// Directives of one file under construction; names have numbers of this file until [`Builder::finish`].
pub(super) struct Builder {
    names: Tables,
    block: u32,
    open: Vec<Open>,
    mentions: Vec<Mentions>,
    filled: Vec<bool>,
    definitions: Vec<Definition>,
    text: Vec<u8>,
    items: Vec<(u32, Item)>,
    groups: Vec<Vec<Branch>>,
    pub(super) ops: Vec<Op>,
    pub(super) wide: Vec<(u64, bool)>,
    pub(super) probes: Vec<Probe>,
    pub(super) computed: Vec<Computed>,
    calls: Vec<NameId>,
    more_calls: bool,
    wrappers: Vec<NameId>,
    pub(super) once: bool,
    pub(super) uses_next: bool,
    full: bool,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            names: Tables::new(),
            block: 0,
            open: Vec::new(),
            mentions: vec![Mentions::default()],
            filled: vec![false],
            definitions: Vec::new(),
            text: Vec::new(),
            items: Vec::new(),
            groups: Vec::new(),
            ops: Vec::new(),
            wide: Vec::new(),
            probes: Vec::new(),
            computed: Vec::new(),
            calls: Vec::new(),
            more_calls: false,
            wrappers: Vec::new(),
            once: false,
            uses_next: false,
            full: false,
        }
    }

    pub(super) fn name(&mut self, name: &[u8]) -> NameId {
        NameId(self.names.macros.intern(name).unwrap_or_else(|| {
            self.full = true;
            0
        }))
    }

    pub(super) fn header(&mut self, name: &[u8]) -> HeaderId {
        HeaderId(self.names.headers.intern(name).unwrap_or_else(|| {
            self.full = true;
            0
        }))
    }

    /// A definition of `name`; `text` starts with its `BODY_*` byte.
    pub(super) fn define(&mut self, name: NameId, text: &[u8]) {
        let odd = text.len() > BODY_BYTES_MAX || !matches!(text[0], BODY_UNDEF | BODY_POP) && implausible(text);
        let text = if odd { &[BODY_ODD][..] } else { text };
        if self.text.len() + text.len() > u32::MAX as usize {
            self.full = true;
            return;
        }
        self.text.extend_from_slice(text);
        self.filled[self.block as usize] = true;
        self.definitions.push(Definition { block: self.block, name, text_end: self.text.len() as u32 });
    }

    pub(super) fn item(&mut self, item: Item) {
        self.filled[self.block as usize] = true;
        self.items.push((self.block, item));
    }

    pub(super) fn mention(&mut self, what: Mentions) {
        if what != Mentions::default() {
            self.filled[self.block as usize] = true;
            self.mentions[self.block as usize].add(what);
        }
    }

    pub(super) fn computed(&mut self, computed: Computed) -> u32 {
        self.uses_next |= computed.next;
        self.computed.push(computed);
        (self.computed.len() - 1) as u32
    }

    /// A macro called with arguments in a condition.
    pub(super) fn call(&mut self, name: NameId) {
        if self.calls.contains(&name) {
            return;
        }
        if self.calls.len() < CALLS_MAX {
            self.calls.push(name);
        } else {
            self.more_calls = true;
        }
    }

    /// A macro whose parameter ends up in `__has_include`.
    pub(super) fn wrapper(&mut self, name: NameId) {
        self.wrappers.push(name);
    }

    fn new_block(&mut self) -> u32 {
        self.mentions.push(Mentions::default());
        self.filled.push(false);
        (self.mentions.len() - 1) as u32
    }

    /// Where a condition that is compiled now starts: to be given to [`Builder::open_group`].
    fn mark(&self) -> Mark {
        Mark { blocks: self.filled.len(), ops: self.ops.len(), wide: self.wide.len(), probes: self.probes.len() }
    }

    /// `#if`: the condition is compiled by `cond` so that what it adds belongs to the conditional.
    pub(super) fn open_group(&mut self, cond: impl FnOnce(&mut Self) -> Cond) {
        let mark = self.mark();
        let cond = cond(self);
        let block = self.new_block();
        self.open.push(Open { branches: vec![Branch { cond, block }], parent: self.block, mark });
        self.block = block;
    }

    /// `#elif`, `#else`. One that belongs to nothing is ignored (the compiler stops there).
    pub(super) fn next_branch(&mut self, cond: impl FnOnce(&mut Self) -> Cond) {
        if self.open.is_empty() {
            return;
        }
        let cond = cond(self);
        let block = self.new_block();
        if let Some(open) = self.open.last_mut() {
            open.branches.push(Branch { cond, block });
            self.block = block;
        }
    }

    /// `#endif`. A conditional with nothing in it that matters leaves no trace.
    pub(super) fn close_group(&mut self) {
        let Some(mut open) = self.open.pop() else { return };
        self.block = open.parent;
        let probing = self.probes.len() > open.mark.probes;
        if !probing {
            while open.branches.last().is_some_and(|b| !self.filled[b.block as usize]) {
                open.branches.pop();
            }
        }
        if open.branches.is_empty() {
            self.mentions.truncate(open.mark.blocks);
            self.filled.truncate(open.mark.blocks);
            self.ops.truncate(open.mark.ops);
            self.wide.truncate(open.mark.wide);
            return;
        }
        self.groups.push(open.branches);
        self.item(Item::Group((self.groups.len() - 1) as u32));
    }

    /// Whether the whole file is one `#ifndef X` with `X` defined inside: then its inside is block `.0`.
    fn guarded(&self) -> Option<u32> {
        let only = match &self.items[..] {
            [.., (0, Item::Group(group))] => *group,
            _ => return None,
        };
        let alone = self.items.iter().filter(|(block, _)| *block == 0).count() == 1
            && !self.definitions.iter().any(|d| d.block == 0)
            && self.mentions[0] == Mentions::default();
        match &self.groups[only as usize][..] {
            [Branch { cond: Cond::NotDefined(name), block }] if alone => {
                self.definitions.iter().any(|d| d.block == *block && d.name == *name).then_some(*block)
            }
            _ => None,
        }
    }

    /// Groups everything by block and gives all names their numbers in `names`.
    pub(super) fn finish(mut self, names: &Names) -> Result<Directives, LexError> {
        while !self.open.is_empty() {
            self.close_group();
        }
        let root = self.guarded().unwrap_or(0);
        let global = self.translate(names)?;
        let order = by_block(self.filled.len(), self.definitions.iter().map(|d| d.block));
        let mut blocks: Vec<Block> = self.mentions.iter().map(|&mentions| Block { mentions, ..Block::default() }).collect();
        let mut defines = Vec::with_capacity(order.len());
        let mut body_ends = Vec::with_capacity(order.len());
        let mut text = Vec::with_capacity(self.text.len());
        for &i in &order {
            let d = &self.definitions[i as usize];
            let start = if i == 0 { 0 } else { self.definitions[i as usize - 1].text_end };
            text.extend_from_slice(&self.text[start as usize..d.text_end as usize]);
            defines.push(global.name(d.name));
            body_ends.push(text.len() as u32);
            extend(&mut blocks[d.block as usize].defines, defines.len());
        }
        let order = by_block(self.filled.len(), self.items.iter().map(|(block, _)| *block));
        let mut items = Vec::with_capacity(order.len());
        for &i in &order {
            let (block, item) = self.items[i as usize];
            items.push(global.item(item));
            extend(&mut blocks[block as usize].items, items.len());
        }
        let mut groups = Vec::with_capacity(self.groups.len());
        let mut branches = Vec::new();
        for group in &self.groups {
            let start = branches.len() as u32;
            branches.extend(group.iter().map(|b| Branch { cond: global.cond(b.cond), block: b.block }));
            groups.push((start, branches.len() as u32));
        }
        Ok(Directives {
            blocks: blocks.into(),
            defines: defines.into(),
            body_ends: body_ends.into(),
            text: text.into(),
            items: items.into(),
            groups: groups.into(),
            branches: branches.into(),
            ops: self.ops.iter().map(|&op| global.op(op)).collect(),
            wide: self.wide.into(),
            probes: self.probes.iter().map(|&p| global.probe(p)).collect(),
            computed: self.computed.into(),
            calls: self.calls.iter().map(|&n| global.name(n)).chain(self.more_calls.then_some(ANY_CALL)).collect(),
            wrappers: self.wrappers.iter().map(|&n| global.name(n)).collect(),
            root,
            once: self.once,
            uses_next: self.uses_next,
        })
    }

    fn translate(&self, names: &Names) -> Result<Translation, LexError> {
        if self.full {
            return Err(LexError::TooManyNames);
        }
        let mut tables = names.write();
        let macros = tables.macros.take_in(&self.names.macros);
        let headers = tables.headers.take_in(&self.names.headers);
        match (macros, headers) {
            (Some(macros), Some(headers)) => Ok(Translation { macros, headers }),
            _ => Err(LexError::TooManyNames),
        }
    }
}

/// Distinct macros called in conditions of one file that are remembered by name (feature tests of one header are some dozens).
const CALLS_MAX: usize = 256;
/// Stands in a file's calls for those past [`CALLS_MAX`]: `__has_include` itself, which is never a call.
pub(crate) const ANY_CALL: NameId = NameId(0);

/// From a file's own numbers of names to the view's.
struct Translation {
    macros: Vec<u32>,
    headers: Vec<u32>,
}

impl Translation {
    fn name(&self, id: NameId) -> NameId {
        NameId(self.macros[id.0 as usize])
    }

    fn header(&self, id: HeaderId) -> HeaderId {
        HeaderId(self.headers[id.0 as usize])
    }

    fn item(&self, item: Item) -> Item {
        match item {
            Item::Include { how, header, line } => Item::Include { how, header: self.header(header), line },
            Item::Probe { how, header, line } => Item::Probe { how, header: self.header(header), line },
            Item::Incbin { header, line } => Item::Incbin { header: self.header(header), line },
            Item::Computed(_) | Item::Group(_) => item,
        }
    }

    fn cond(&self, cond: Cond) -> Cond {
        match cond {
            Cond::Defined(n) => Cond::Defined(self.name(n)),
            Cond::NotDefined(n) => Cond::NotDefined(self.name(n)),
            Cond::LateDefined(n) => Cond::LateDefined(self.name(n)),
            Cond::LateNotDefined(n) => Cond::LateNotDefined(self.name(n)),
            Cond::True | Cond::False | Cond::Unknown | Cond::Program { .. } => cond,
        }
    }

    fn op(&self, op: Op) -> Op {
        match op {
            Op::Name(n) => Op::Name(self.name(n)),
            Op::Defined(n) => Op::Defined(self.name(n)),
            _ => op,
        }
    }

    fn probe(&self, probe: Probe) -> Probe {
        let target = match probe.target {
            Target::Literal { how, header } => Target::Literal { how, header: self.header(header) },
            computed @ Target::Computed(_) => computed,
        };
        Probe { target, by: self.name(probe.by) }
    }
}

fn extend(range: &mut (u32, u32), len: usize) {
    if range.1 == 0 {
        range.0 = len as u32 - 1;
    }
    range.1 = len as u32;
}

/// Indices in the order of their blocks, source order within a block.
fn by_block(blocks: usize, of: impl Iterator<Item = u32> + Clone) -> Vec<u32> {
    let mut next = vec![0u32; blocks + 1];
    let mut count = 0;
    for block in of.clone() {
        next[block as usize + 1] += 1;
        count += 1;
    }
    for i in 1..next.len() {
        next[i] += next[i - 1];
    }
    let mut order = vec![0u32; count];
    for (i, block) in of.enumerate() {
        let slot = &mut next[block as usize];
        order[*slot as usize] = i as u32;
        *slot += 1;
    }
    order
}

/// Whether a macro's text has characters that no header name written with macros has.
fn implausible(text: &[u8]) -> bool {
    const ODD: [bool; 256] = {
        let mut table = [false; 256];
        let odd = b"{};=&|!~?:*[]%^@`'\\";
        let mut i = 0;
        while i < odd.len() {
            table[odd[i] as usize] = true;
            i += 1;
        }
        table
    };
    text.iter().any(|&c| ODD[c as usize])
}
