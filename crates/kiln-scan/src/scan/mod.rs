//! The fixpoint over a unit's files. It knows directives and names, and files only through the view.

mod checks;
mod computed;
mod eval;
mod expand;
mod include;
mod listed;
mod precompiled;
mod slots;
mod wrappers;

use std::sync::Arc;

use crate::closure::{Closure, File, Reason, UnitFlags};
use crate::dialect::Dialect;
use crate::directives::{Cond, Directives, Item, Mentions};
use crate::hash::LookupMap;
use crate::macros::MacroTable;
use crate::request::ScanRequest;
use crate::resolve::{Answer, DirRef, Found, ListRef, PathId, PhysId, Resolver};
use crate::unprovable::Unprovable;
use crate::view::{ContentId, FileId, FileView};

use eval::{Num, Truth};
use slots::{Bases, Slots};

/// Files of a unit under all their spellings; the largest units known have some 5,000.
pub const FILES_MAX: usize = 50_000;
/// Searches of a unit: 20 for each of [`FILES_MAX`].
pub const LOOKUPS_MAX: usize = 1_000_000;
/// Steps of evaluation of a unit: directives looked at, operators evaluated, tokens expanded. A unit of 600 headers takes about
/// 30,000; at some 10 ns each, the bound is reached within 0.2 s.
pub const STEPS_MAX: u64 = 10_000_000;
/// Directives kept by a scanner before all are dropped (the view keeps them too).
const CACHED_MAX: usize = 1 << 17;

/// A file as it is evaluated: its contents at one place on the search list.
struct Node {
    directives: Arc<Directives>,
    dir: DirRef,
    phys: PhysId,
    at: Option<u16>,
    /// First of its blocks in `reached`.
    blocks: u32,
    /// Its place among the closure's files.
    file: u32,
    main: bool,
}

/// A block being walked.
struct Frame {
    node: u32,
    next: u32,
    end: u32,
}

/// Memory that is used again from scan to scan, and answers that hold while the view does not change.
///
/// A scanner serves one view. It has no influence on results, only on speed.
#[derive(Default)]
pub struct Scanner {
    /// Whose view it serves; 0 before the first scan.
    names: u64,
    resolver: Resolver,
    slots: Slots,
    dialects: Vec<Dialect>,
    directives: LookupMap<(ContentId, u32), Arc<Directives>>,
    pools: Pools,
}

/// Vectors emptied, not freed, between scans.
#[derive(Default)]
struct Pools {
    nodes: Vec<Node>,
    reached: Vec<bool>,
    reached_blocks: Vec<(u32, u32)>,
    frames: Vec<Frame>,
    reopen: Vec<(u32, u32)>,
    reads: Vec<crate::names::NameId>,
    stack: Vec<Num>,
    /// By spelling: the scan in which it was last seen, and its place among the files.
    seen: Vec<(u32, u32)>,
    /// By file: the scan in which it was last entered, and its node.
    entered: Vec<(u32, u32)>,
    epoch: u32,
}

impl Scanner {
    /// A scanner with nothing remembered.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Finds every lookup that the unit can make.
    ///
    /// # Errors
    /// [`Unprovable`] when the inputs cannot be proven; the compiler can be asked for them.
    ///
    /// # Panics
    /// When the request's macros were read with another view's names, or the scanner was used with another view: every
    /// answer would be wrong.
    pub fn scan<V: FileView + ?Sized>(&mut self, view: &V, request: &ScanRequest) -> Result<Closure, Unprovable> {
        self.with(view, request, |scan| scan.unit())
    }

    /// What the compiler's own list of a unit's files (`-M`) does not show: what its `__has_include` would find, the files of
    /// `.incbin` and `#embed`, and what the texts mean beyond their inputs. No condition is evaluated: all that the listed files
    /// say counts. The closure begins with the listed files.
    ///
    /// # Errors
    /// [`Unprovable`] when there may be more.
    ///
    /// # Panics
    /// As [`scan`](Self::scan).
    pub fn complete<V: FileView + ?Sized>(
        &mut self,
        view: &V,
        request: &ScanRequest,
        listed: &[String],
    ) -> Result<Closure, Unprovable> {
        self.with(view, request, |scan| scan.listed(listed))
    }

    fn with<V: FileView + ?Sized>(
        &mut self,
        view: &V,
        request: &ScanRequest,
        work: impl FnOnce(&mut Scan<'_, V>) -> Result<Closure, Unprovable>,
    ) -> Result<Closure, Unprovable> {
        let (rules, dialect) = self.begin(view, request);
        let cwd = self.resolver.cwd(&request.cwd);
        let list = self.resolver.list(view, cwd, &request.search);
        let bases = command_macros(view, request);
        for (i, m) in bases.predefined.iter().chain(&bases.command).enumerate() {
            self.slots.base(m.name, i as u32);
        }
        let pools = std::mem::take(&mut self.pools);
        let mut scan = Scan {
            view,
            request,
            cwd,
            list,
            dialect,
            rules,
            bases,
            nodes: pools.nodes,
            reached: pools.reached,
            reached_blocks: pools.reached_blocks,
            frames: pools.frames,
            reopen: pools.reopen,
            reads: pools.reads,
            stack: pools.stack,
            seen: pools.seen,
            entered: pools.entered,
            epoch: pools.epoch,
            entered_at: LookupMap::default(),
            files: Vec::new(),
            flags: UnitFlags::default(),
            computed: Vec::new(),
            computed_known: LookupMap::default(),
            expanded_at: None,
            has_wrappers: false,
            options_seen: None,
            pch_line: None,
            steps: 0,
            resolver: &mut self.resolver,
            slots: &mut self.slots,
            cache: &mut self.directives,
        };
        let result = work(&mut scan);
        self.pools = Pools {
            nodes: scan.nodes,
            reached: scan.reached,
            reached_blocks: scan.reached_blocks,
            frames: scan.frames,
            reopen: scan.reopen,
            reads: scan.reads,
            stack: scan.stack,
            seen: scan.seen,
            entered: scan.entered,
            epoch: scan.epoch,
        };
        // The directives stay in the cache; nodes would only hold on to files that are gone.
        self.pools.nodes.clear();
        result
    }

    /// Empties what the scan before left; the lexical rules of this one, and their number.
    fn begin<V: FileView + ?Sized>(&mut self, view: &V, request: &ScanRequest) -> (Dialect, u32) {
        let names = view.names().identity();
        assert!(request.predefined.names == 0 || request.predefined.names == names, "macros of another view");
        assert!(self.names == 0 || self.names == names, "a scanner of another view");
        self.names = names;
        self.resolver.begin(view.generation());
        self.slots.begin();
        if self.directives.len() > CACHED_MAX {
            self.directives.clear();
        }
        let pools = &mut self.pools;
        pools.nodes.clear();
        pools.reached.clear();
        pools.reached_blocks.clear();
        pools.frames.clear();
        pools.reopen.clear();
        if pools.epoch == u32::MAX {
            (pools.seen, pools.entered, pools.epoch) = (Vec::new(), Vec::new(), 0);
        }
        pools.epoch += 1;
        let rules = request.rules();
        let dialect = self.dialects.iter().position(|d| *d == rules).unwrap_or_else(|| {
            self.dialects.push(rules);
            self.dialects.len() - 1
        });
        (rules, dialect as u32)
    }
}

fn command_macros<'r, V: FileView + ?Sized>(view: &V, request: &'r ScanRequest) -> Bases<'r> {
    let mut table = MacroTable::default();
    if !request.command_macros.is_empty() {
        let mut tables = view.names().write();
        for command in &request.command_macros {
            table.command(command, &mut tables);
        }
    }
    Bases { predefined: &request.predefined.macros, command: table.macros }
}

/// One scan under way.
struct Scan<'s, V: ?Sized> {
    view: &'s V,
    request: &'s ScanRequest,
    cwd: u32,
    list: ListRef,
    dialect: u32,
    rules: Dialect,
    bases: Bases<'s>,
    nodes: Vec<Node>,
    reached: Vec<bool>,
    reached_blocks: Vec<(u32, u32)>,
    frames: Vec<Frame>,
    reopen: Vec<(u32, u32)>,
    reads: Vec<crate::names::NameId>,
    stack: Vec<Num>,
    seen: Vec<(u32, u32)>,
    entered: Vec<(u32, u32)>,
    epoch: u32,
    /// Nodes of files for which the place on the search list matters.
    entered_at: LookupMap<(PhysId, Option<u16>, bool), u32>,
    files: Vec<(PathId, File)>,
    flags: UnitFlags,
    /// Computed includes and probes reached: node and index.
    computed: Vec<(u32, u32)>,
    computed_known: LookupMap<(u32, u32), ()>,
    /// Blocks reached when they were last expanded.
    expanded_at: Option<usize>,
    has_wrappers: bool,
    /// Once a pragma has switched options: how many of the names that follow them were made unknown.
    options_seen: Option<usize>,
    /// Up to this line of the source an include may be the first one, which may be precompiled.
    pch_line: Option<u32>,
    steps: u64,
    resolver: &'s mut Resolver,
    slots: &'s mut Slots,
    cache: &'s mut LookupMap<(ContentId, u32), Arc<Directives>>,
}

impl<V: FileView + ?Sized> Scan<'_, V> {
    fn unit(&mut self) -> Result<Closure, Unprovable> {
        let no_source = || Unprovable::Source { path: self.request.source.clone() };
        let Answer::Found(source) = self.resolver.file_at(self.view, self.cwd, &self.request.source) else {
            return Err(no_source());
        };
        let file = self.record(source, Reason::Source, None, 0)?;
        self.check_command_macros()?;
        self.check_header_maps()?;
        if self.request.preprocessed {
            self.preprocessed(source, file)?;
        } else {
            self.precompiled_source()?;
            self.forced()?;
            self.pch_line = self.source_may_be_precompiled().then_some(u32::MAX);
            self.enter(source, file, true)?;
            self.run()?;
            self.check_wrappers()?;
        }
        Ok(self.closure())
    }

    /// What was found.
    fn closure(&mut self) -> Closure {
        let missing_dirs = self.request.search.missing.iter().map(|d| d.as_str().into()).collect();
        let (dirs, missing_below) = self.resolver.take_used();
        Closure {
            dirs,
            missing_below,
            files: std::mem::take(&mut self.files).into_iter().map(|(_, file)| file).collect(),
            flags: self.flags,
            missing_dirs,
            list: self.resolver.list_dirs(self.list),
            searches: std::mem::take(&mut self.resolver.searched),
        }
    }

    fn spend(&mut self, steps: u64) -> Result<(), Unprovable> {
        self.steps += steps;
        if self.steps > STEPS_MAX { Err(Unprovable::TooManySteps) } else { Ok(()) }
    }

    /// Walks until nothing more can be reached.
    fn run(&mut self) -> Result<(), Unprovable> {
        loop {
            self.walk()?;
            if !self.expand_computed()? {
                return Ok(());
            }
        }
    }

    /// Walks all open blocks and reopened conditionals.
    fn walk(&mut self) -> Result<(), Unprovable> {
        let mut current: Option<(u32, Arc<Directives>)> = None;
        loop {
            let (node, item) = if let Some(frame) = self.frames.last_mut() {
                if frame.next == frame.end {
                    self.frames.pop();
                    continue;
                }
                frame.next += 1;
                (frame.node, frame.next - 1)
            } else if let Some((node, group)) = self.reopen.pop() {
                let d = Arc::clone(&self.nodes[node as usize].directives);
                self.group(node, &d, group)?;
                continue;
            } else {
                return Ok(());
            };
            let d = match &current {
                Some((n, d)) if *n == node => d,
                _ => &current.insert((node, Arc::clone(&self.nodes[node as usize].directives))).1,
            };
            self.item(node, d, d.items[item as usize])?;
        }
    }

    fn item(&mut self, node: u32, d: &Directives, item: Item) -> Result<(), Unprovable> {
        self.spend(1)?;
        match item {
            Item::Include { how, header, line } => self.include(node, how, header, line),
            Item::Probe { how, header, .. } => self.look_up(node, how, header).map(drop),
            Item::Group(group) => self.group(node, d, group),
            Item::Computed(index) => {
                self.add_computed(node, index);
                Ok(())
            }
            Item::Incbin { header, line } => self.incbin(node, header, line),
        }
    }

    /// Evaluates a conditional as far as it can be known now, and reaches every branch that is not excluded.
    fn group(&mut self, node: u32, d: &Directives, group: u32) -> Result<(), Unprovable> {
        let (start, end) = d.groups[group as usize];
        let base = self.frames.len();
        let mut before = false;
        for branch in &d.branches[start as usize..end as usize] {
            self.spend(1)?;
            self.reads.clear();
            let mut truth = self.truth(node, d, branch.cond)?;
            let late = matches!(branch.cond, Cond::LateDefined(_) | Cond::LateNotDefined(_));
            if late && (truth == Truth::Yes || before) {
                truth = Truth::Unknown;
            }
            if truth != Truth::Unknown || late {
                let mut reads = std::mem::take(&mut self.reads);
                for name in reads.drain(..) {
                    self.slots.watch(name, node, group);
                }
                self.reads = reads;
            }
            before = truth != Truth::No;
            if before {
                self.reach(node, d, branch.block)?;
            }
            if truth == Truth::Yes {
                break;
            }
        }
        // The frame on top is walked first: source order.
        self.frames[base..].reverse();
        Ok(())
    }

    /// A block may be active: what it defines counts, and its items are walked.
    fn reach(&mut self, node: u32, d: &Directives, block: u32) -> Result<(), Unprovable> {
        let index = (self.nodes[node as usize].blocks + block) as usize;
        if std::mem::replace(&mut self.reached[index], true) {
            return Ok(());
        }
        self.reached_blocks.push((node, block));
        let block = &d.blocks[block as usize];
        let (start, end) = block.defines;
        for &name in &d.defines[start as usize..end as usize] {
            self.slots.touch(name, &mut self.reopen);
        }
        if block.mentions != Mentions::default() {
            self.mention(node, block.mentions)?;
        }
        let (start, end) = block.items;
        if start < end {
            self.frames.push(Frame { node, next: start, end });
        }
        Ok(())
    }

    fn path_of(&self, node: u32) -> String {
        self.files[self.nodes[node as usize].file as usize].1.path.to_string()
    }

    fn add_computed(&mut self, node: u32, index: u32) {
        if self.computed_known.insert((node, index), ()).is_none() {
            self.computed.push((node, index));
            self.expanded_at = None;
        }
    }

    /// Puts a file on the list under this spelling, once; returns its place.
    fn record(&mut self, found: Found, reason: Reason, from: Option<u32>, line: u32) -> Result<u32, Unprovable> {
        let i = found.path.0 as usize;
        if self.seen.len() <= i {
            self.seen.resize(self.resolver.path_count().max(i + 1), (0, 0));
        }
        if self.seen[i].0 == self.epoch {
            let place = self.seen[i].1;
            let file = &mut self.files[place as usize].1;
            if file.reason == Reason::Probed && reason != Reason::Probed {
                (file.reason, file.from, file.line) = (reason, from, line);
            }
            return Ok(place);
        }
        if self.files.len() >= FILES_MAX {
            return Err(Unprovable::TooManyFiles);
        }
        let place = self.files.len() as u32;
        self.seen[i] = (self.epoch, place);
        let path = self.resolver.path_text(found.path);
        let dir = self.resolver.use_dir(found.dir);
        let file = File { path, file: found.file, dir, content: None, reason, once: false, from, line };
        self.files.push((found.path, file));
        Ok(place)
    }

    /// Walks a file, unless it is being walked already at a place that makes no difference.
    fn enter(&mut self, found: Found, file: u32, main: bool) -> Result<(), Unprovable> {
        let i = found.phys.0 as usize;
        if self.entered.len() <= i {
            self.entered.resize(self.resolver.phys_count().max(i + 1), (0, 0));
        }
        let known = self.entered[i];
        if known.0 == self.epoch {
            let first = &self.nodes[known.1 as usize];
            let same = !first.directives.uses_next || (first.at == found.at && first.main == main);
            let content = self.files[first.file as usize].1.content;
            let again = &mut self.files[file as usize].1;
            (again.once, again.content) = (first.directives.once, content);
            if same || self.entered_at.contains_key(&(found.phys, found.at, main)) {
                return Ok(());
            }
        }
        let directives = self.directives_of(found.file, file)?;
        if self.nodes.len() >= FILES_MAX {
            return Err(Unprovable::TooManyFiles);
        }
        let node = self.add_node(found, file, main, Arc::clone(&directives));
        self.entered[i] = (self.epoch, node);
        if directives.uses_next {
            self.entered_at.insert((found.phys, found.at, main), node);
        }
        self.has_wrappers |= !directives.wrappers.is_empty();
        self.reach(node, &directives, directives.root)
    }

    fn add_node(&mut self, found: Found, file: u32, main: bool, directives: Arc<Directives>) -> u32 {
        self.files[file as usize].1.once = directives.once;
        let blocks = self.reached.len() as u32;
        self.reached.resize(self.reached.len() + directives.blocks.len(), false);
        self.nodes.push(Node { directives, dir: found.dir, phys: found.phys, at: found.at, blocks, file, main });
        (self.nodes.len() - 1) as u32
    }

    /// What the file on place `file` of the list holds now.
    fn directives_of(&mut self, id: FileId, file: u32) -> Result<Arc<Directives>, Unprovable> {
        let unreadable = |error| Unprovable::Unreadable { path: self.files[file as usize].1.path.to_string(), error };
        let content = self.view.content(id).map_err(unreadable)?;
        let key = (content, self.dialect);
        let directives = match self.cache.get(&key) {
            Some(known) => Arc::clone(known),
            None => {
                let directives = self.view.directives(content, self.rules).map_err(unreadable)?;
                self.cache.insert(key, Arc::clone(&directives));
                self.touch_options();
                directives
            }
        };
        self.files[file as usize].1.content = Some(content);
        Ok(directives)
    }
}
