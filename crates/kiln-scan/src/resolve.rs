//! Finds the file that an include means, along the search list, and remembers the answers while the view's generation lasts.
//! It knows no conditions.

use std::sync::Arc;

use crate::closure::{Dir as UsedDir, Searched, Tried};
use crate::hash::LookupMap;
use crate::names::{HeaderId, Table, Tables};
use crate::search::{SearchList, absolute};
use crate::view::{DirId, Entry, FileId, FileView};

/// Longest path the system takes (`PATH_MAX` of Linux, its NUL included).
pub(crate) const PATH_BYTES_MAX: usize = 4096;
/// Answers remembered before all are forgotten: about 100 bytes each, 100 MiB.
const MEMO_MAX: usize = 1 << 20;

/// A directory under one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DirRef(pub(crate) u32);
/// A file under one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PathId(pub(crate) u32);
/// A name in a directory, however the directory is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PhysId(pub(crate) u32);
/// A search list in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListRef(pub(crate) u32);

/// A file found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathId,
    pub(crate) phys: PhysId,
    pub(crate) file: FileId,
    /// The directory it lies in.
    pub(crate) dir: DirRef,
    /// Where on the search list it was found; `None` beside its includer or by an absolute path.
    pub(crate) at: Option<u16>,
}

/// What a name came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Found(Found),
    Missing,
    /// Something that is neither file nor directory is in the way.
    Special(PathId),
    /// The path is too long.
    TooLong,
}

struct Dir {
    cwd: u32,
    spelled: Arc<str>,
    id: DirId,
}

struct Path {
    dir: DirRef,
    base: u32,
    text: Option<Arc<str>>,
}

/// A header's name in parts.
#[derive(Clone)]
pub(crate) struct Header {
    pub(crate) name: Arc<str>,
    /// Directories before the last component; `None` if there are none.
    prefix: Option<u32>,
    base: u32,
    absolute: bool,
    /// Not UTF-8, or it holds a NUL.
    pub(crate) invalid: bool,
}

#[derive(Clone, Copy)]
struct Slot {
    answer: Answer,
    /// Scan in which the search was last put on record.
    scan: u32,
    /// What else was looked into: a range of [`Resolver::extras`].
    extras: (u32, u32),
}

/// What a search for a name with directories looked into besides the directories of its list.
#[derive(Clone, Copy)]
enum Extra {
    /// A directory that is there.
    Dir(DirRef),
    /// A path of several components that leads nowhere.
    Missing(DirRef, u32),
}

struct List {
    cwd: u32,
    list: SearchList,
    dirs: Vec<DirRef>,
    spelled: Arc<[Arc<str>]>,
    angle: u16,
    /// By header, for searches from the start of the angled directories.
    slots: Vec<Option<Slot>>,
    /// Searches from anywhere else.
    others: LookupMap<(u16, HeaderId), Slot>,
}

/// Tables of answers.
#[derive(Default)]
pub(crate) struct Resolver {
    generation: Option<u64>,
    scan: u32,
    cwds: Vec<String>,
    dirs: Vec<Dir>,
    dir_index: LookupMap<(u32, String), Option<DirRef>>,
    subdirs: LookupMap<(DirRef, u32), Option<DirRef>>,
    paths: Vec<Path>,
    path_index: LookupMap<(DirRef, u32), PathId>,
    phys_index: LookupMap<(DirId, u32), PhysId>,
    lists: Vec<List>,
    extras: Vec<Extra>,
    local: LookupMap<(DirRef, HeaderId), Slot>,
    /// Components and prefixes of names; survives generations, as headers do.
    parts: Table,
    headers: Vec<Option<Header>>,
    pub(crate) searched: Vec<Searched>,
    /// Directories of this scan; by directory, the scan that last used it and its place among them.
    used: Vec<UsedDir>,
    used_at: Vec<(u32, u32)>,
    missing_below: Vec<(u32, Arc<str>)>,
    /// Directories looked into that were not remembered, since it was last set to 0.
    pub(crate) probed: u64,
}

impl Resolver {
    /// Starts a scan: forgets everything if the view has changed.
    pub(crate) fn begin(&mut self, generation: u64) {
        let crowded = self.paths.len() + self.local.len() + self.subdirs.len() + self.dirs.len() > MEMO_MAX;
        if self.generation != Some(generation) || crowded || self.scan == u32::MAX {
            let parts = std::mem::take(&mut self.parts);
            let headers = std::mem::take(&mut self.headers);
            *self = Self { parts, headers, generation: Some(generation), ..Self::default() };
        }
        self.scan += 1;
        self.searched.clear();
        self.used.clear();
        self.missing_below.clear();
    }

    /// Puts a directory on this scan's list, once; its place there.
    pub(crate) fn use_dir(&mut self, dir: DirRef) -> u32 {
        let i = dir.0 as usize;
        if self.used_at.len() <= i {
            self.used_at.resize(self.dirs.len().max(i + 1), (0, 0));
        }
        if self.used_at[i].0 != self.scan {
            let Dir { spelled, id, .. } = &self.dirs[i];
            self.used_at[i] = (self.scan, self.used.len() as u32);
            self.used.push(UsedDir { spelled: Arc::clone(spelled), id: *id });
        }
        self.used_at[i].1
    }

    /// The directories of this scan, and the paths below them that lead nowhere.
    pub(crate) fn take_used(&mut self) -> (Vec<UsedDir>, Vec<(u32, Arc<str>)>) {
        (std::mem::take(&mut self.used), std::mem::take(&mut self.missing_below))
    }

    /// Puts on this scan's list all that a search looked into.
    fn use_all(&mut self, slot: Slot) {
        if let Answer::Found(found) = slot.answer {
            self.use_dir(found.dir);
        }
        for i in slot.extras.0..slot.extras.1 {
            match self.extras[i as usize] {
                Extra::Dir(dir) => drop(self.use_dir(dir)),
                Extra::Missing(dir, prefix) => {
                    let at = self.use_dir(dir);
                    let path = text(&self.parts, prefix).into();
                    self.missing_below.push((at, path));
                }
            }
        }
    }

    pub(crate) fn cwd(&mut self, cwd: &str) -> u32 {
        if let Some(i) = self.cwds.iter().position(|c| c == cwd) {
            return i as u32;
        }
        self.cwds.push(cwd.to_owned());
        (self.cwds.len() - 1) as u32
    }

    /// The directory spelled so, seen from working directory `cwd`.
    pub(crate) fn dir<V: FileView + ?Sized>(&mut self, view: &V, cwd: u32, spelled: &str) -> Option<DirRef> {
        let key = (cwd, spelled.to_owned());
        if let Some(known) = self.dir_index.get(&key) {
            return *known;
        }
        let id = view.dir(&absolute(&self.cwds[cwd as usize], spelled));
        let dir = id.map(|id| self.add_dir(cwd, spelled.into(), id));
        self.dir_index.insert(key, dir);
        dir
    }

    fn add_dir(&mut self, cwd: u32, spelled: Arc<str>, id: DirId) -> DirRef {
        self.dirs.push(Dir { cwd, spelled, id });
        DirRef((self.dirs.len() - 1) as u32)
    }

    pub(crate) fn spelled(&self, dir: DirRef) -> &Arc<str> {
        &self.dirs[dir.0 as usize].spelled
    }

    /// The search list, ready for use.
    pub(crate) fn list<V: FileView + ?Sized>(&mut self, view: &V, cwd: u32, list: &SearchList) -> ListRef {
        if let Some(i) = self.lists.iter().position(|l| l.cwd == cwd && l.list == *list) {
            return ListRef(i as u32);
        }
        let mut dirs = Vec::new();
        let mut angle = 0;
        for (i, spelled) in list.quote.iter().chain(&list.angle).enumerate() {
            if i == list.quote.len() {
                angle = dirs.len() as u16;
            }
            dirs.extend(self.dir(view, cwd, spelled));
        }
        if list.angle.is_empty() {
            angle = dirs.len() as u16;
        }
        let spelled = dirs.iter().map(|d| Arc::clone(self.spelled(*d))).collect();
        let list = List { cwd, list: list.clone(), dirs, spelled, angle, slots: Vec::new(), others: LookupMap::default() };
        self.lists.push(list);
        ListRef((self.lists.len() - 1) as u32)
    }

    pub(crate) fn list_dirs(&self, list: ListRef) -> Arc<[Arc<str>]> {
        Arc::clone(&self.lists[list.0 as usize].spelled)
    }

    pub(crate) fn list_len(&self, list: ListRef) -> u16 {
        self.lists[list.0 as usize].dirs.len() as u16
    }

    /// Where the angled directories start.
    pub(crate) fn angle(&self, list: ListRef) -> u16 {
        self.lists[list.0 as usize].angle
    }

    /// The header's name in parts, asked of the tables of names the first time.
    pub(crate) fn header<V: FileView + ?Sized>(&mut self, view: &V, id: HeaderId) -> &Header {
        let i = id.0 as usize;
        if self.headers.len() <= i {
            self.headers.resize(i + 1, None);
        }
        if self.headers[i].is_none() {
            let header = split(&view.names().read(), id, &mut self.parts);
            self.headers[i] = Some(header);
        }
        self.headers[i].get_or_insert_with(|| Header { name: "".into(), prefix: None, base: 0, absolute: false, invalid: true })
    }

    fn parts_of<V: FileView + ?Sized>(&mut self, view: &V, id: HeaderId) -> (Option<u32>, u32, bool) {
        let header = self.header(view, id);
        (header.prefix, header.base, header.absolute)
    }

    /// The directory under `from` that a name's prefix leads to.
    fn subdir<V: FileView + ?Sized>(&mut self, view: &V, from: DirRef, prefix: u32) -> Option<DirRef> {
        if let Some(known) = self.subdirs.get(&(from, prefix)) {
            return *known;
        }
        let relative = text(&self.parts, prefix);
        let below = &self.dirs[from.0 as usize];
        let (cwd, found) = (below.cwd, view.walk(below.id, relative));
        let key = (cwd, join(&below.spelled, relative));
        // One spelling, one number: paths are told apart by it.
        let dir = match (found, self.dir_index.get(&key)) {
            (None, _) => None,
            (Some(_), Some(Some(known))) => Some(*known),
            (Some(id), _) => {
                let dir = self.add_dir(cwd, key.1.as_str().into(), id);
                self.dir_index.insert(key, Some(dir));
                Some(dir)
            }
        };
        self.subdirs.insert((from, prefix), dir);
        dir
    }

    /// What stands under a name in one directory.
    fn probe<V: FileView + ?Sized>(&mut self, view: &V, dir: DirRef, parts: (Option<u32>, u32), at: Option<u16>) -> Answer {
        let dir = match parts.0 {
            None => dir,
            Some(prefix) => match self.subdir(view, dir, prefix) {
                Some(sub) => {
                    self.extras.push(Extra::Dir(sub));
                    sub
                }
                None => {
                    if text(&self.parts, prefix).contains('/') {
                        self.extras.push(Extra::Missing(dir, prefix));
                    }
                    return Answer::Missing;
                }
            },
        };
        self.probed += 1;
        let base = parts.1;
        let here = &self.dirs[dir.0 as usize];
        let name = text(&self.parts, base);
        if matches!(name, "" | "." | "..") {
            return Answer::Missing;
        }
        if here.spelled.len() + name.len() + 1 >= PATH_BYTES_MAX {
            return Answer::TooLong;
        }
        match view.entry(here.id, name) {
            Entry::Absent | Entry::Dir => Answer::Missing,
            Entry::Special => Answer::Special(self.path(dir, base)),
            Entry::File(file) => {
                let id = here.id;
                let next = PhysId(self.phys_index.len() as u32);
                let phys = *self.phys_index.entry((id, base)).or_insert(next);
                Answer::Found(Found { path: self.path(dir, base), phys, file, dir, at })
            }
        }
    }

    fn path(&mut self, dir: DirRef, base: u32) -> PathId {
        let next = PathId(self.paths.len() as u32);
        let id = *self.path_index.entry((dir, base)).or_insert(next);
        if id == next {
            self.paths.push(Path { dir, base, text: None });
        }
        id
    }

    /// Number of spellings known: all ids are below.
    pub(crate) fn path_count(&self) -> usize {
        self.paths.len()
    }

    /// Number of files known: all ids are below.
    pub(crate) fn phys_count(&self) -> usize {
        self.phys_index.len()
    }

    /// A path as the compiler spells it.
    pub(crate) fn path_text(&mut self, path: PathId) -> Arc<str> {
        let Self { paths, dirs, parts, .. } = self;
        let path = &mut paths[path.0 as usize];
        let dir = &dirs[path.dir.0 as usize].spelled;
        Arc::clone(path.text.get_or_insert_with(|| join(dir, text(parts, path.base)).into()))
    }

    /// A name given as text, in one directory (the source, an assembler include): not remembered.
    pub(crate) fn file_at<V: FileView + ?Sized>(&mut self, view: &V, cwd: u32, spelled: &str) -> Answer {
        let (prefix, base) = split_name(spelled);
        let Some(base) = self.parts.intern(base.as_bytes()) else { return Answer::Missing };
        let Some(dir) = self.dir(view, cwd, prefix.unwrap_or("")) else { return Answer::Missing };
        self.use_dir(dir);
        self.probe(view, dir, (None, base), None)
    }

    /// What stands at a path given as text: not remembered.
    pub(crate) fn entry_at<V: FileView + ?Sized>(&mut self, view: &V, cwd: u32, spelled: &str) -> Entry {
        let (prefix, base) = split_name(spelled);
        let Some(dir) = self.dir(view, cwd, prefix.unwrap_or("")) else { return Entry::Absent };
        self.use_dir(dir);
        view.entry(self.dirs[dir.0 as usize].id, base)
    }

    /// Looks in the includer's directory.
    pub(crate) fn beside<V: FileView + ?Sized>(&mut self, view: &V, dir: DirRef, header: HeaderId) -> Answer {
        if let Some(slot) = self.local.get_mut(&(dir, header)) {
            if slot.scan == self.scan {
                return slot.answer;
            }
            slot.scan = self.scan;
            let slot = *slot;
            self.record_beside(dir, header, slot);
            return slot.answer;
        }
        let (prefix, base, _) = self.parts_of(view, header);
        let first = self.extras.len() as u32;
        let answer = self.probe(view, dir, (prefix, base), None);
        let slot = Slot { answer, scan: self.scan, extras: (first, self.extras.len() as u32) };
        self.local.insert((dir, header), slot);
        self.record_beside(dir, header, slot);
        answer
    }

    fn record_beside(&mut self, dir: DirRef, header: HeaderId, slot: Slot) {
        self.use_dir(dir);
        self.use_all(slot);
        if slot.answer == Answer::Missing {
            let name = self.name_of(header);
            let tried = Tried::Dir(Arc::clone(self.spelled(dir)));
            self.searched.push(Searched { name, tried, found: false });
        }
    }

    fn name_of(&self, header: HeaderId) -> Arc<str> {
        let known = self.headers.get(header.0 as usize).and_then(Option::as_ref);
        known.map_or_else(|| "".into(), |h| Arc::clone(&h.name))
    }

    /// Looks along a search list from its directory `from` on.
    pub(crate) fn along<V: FileView + ?Sized>(&mut self, view: &V, list: ListRef, from: u16, header: HeaderId) -> Answer {
        let scan = self.scan;
        let table = &mut self.lists[list.0 as usize];
        let known = if from == table.angle {
            table.slots.get_mut(header.0 as usize).and_then(Option::as_mut)
        } else {
            table.others.get_mut(&(from, header))
        };
        let slot = match known {
            Some(slot) if slot.scan == scan => return slot.answer,
            Some(slot) => {
                slot.scan = scan;
                *slot
            }
            None => {
                let first = self.extras.len() as u32;
                let answer = self.search(view, list, from, header);
                let slot = Slot { answer, scan, extras: (first, self.extras.len() as u32) };
                self.remember(list, from, header, slot);
                slot
            }
        };
        let answer = slot.answer;
        let to = match answer {
            Answer::Found(found) => found.at.unwrap_or(from),
            _ => self.list_len(list),
        };
        for at in from..(to + 1).min(self.list_len(list)) {
            self.use_dir(self.lists[list.0 as usize].dirs[usize::from(at)]);
        }
        self.use_all(slot);
        let name = self.name_of(header);
        self.searched.push(Searched { name, tried: Tried::List { from, to }, found: answer != Answer::Missing });
        answer
    }

    fn remember(&mut self, list: ListRef, from: u16, header: HeaderId, slot: Slot) {
        let table = &mut self.lists[list.0 as usize];
        if from != table.angle {
            table.others.insert((from, header), slot);
            return;
        }
        let i = header.0 as usize;
        if table.slots.len() <= i {
            table.slots.resize(i + 1, None);
        }
        table.slots[i] = Some(slot);
    }

    fn search<V: FileView + ?Sized>(&mut self, view: &V, list: ListRef, from: u16, header: HeaderId) -> Answer {
        let (prefix, base, _) = self.parts_of(view, header);
        let count = self.list_len(list);
        for at in from..count {
            let dir = self.lists[list.0 as usize].dirs[usize::from(at)];
            match self.probe(view, dir, (prefix, base), Some(at)) {
                Answer::Missing => {}
                answer => return answer,
            }
        }
        Answer::Missing
    }

    /// An absolute name; `None` if the name is relative.
    pub(crate) fn absolute<V: FileView + ?Sized>(&mut self, view: &V, cwd: u32, header: HeaderId) -> Option<Answer> {
        if !self.header(view, header).absolute {
            return None;
        }
        let name = self.name_of(header);
        let answer = self.file_at(view, cwd, &name);
        if answer == Answer::Missing {
            let below = name.trim_start_matches('/').into();
            self.searched.push(Searched { name: below, tried: Tried::Dir("/".into()), found: false });
        }
        Some(answer)
    }
}

fn text(parts: &Table, id: u32) -> &str {
    std::str::from_utf8(parts.get(id)).unwrap_or("")
}

/// `dir/name` as compilers put them together: no slash after an empty directory or one that ends in a slash.
pub(crate) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else if dir.ends_with('/') {
        format!("{dir}{name}")
    } else {
        format!("{dir}/{name}")
    }
}

/// The directories of a name and its last component.
fn split_name(name: &str) -> (Option<&str>, &str) {
    match name.rfind('/') {
        Some(0) => (Some("/"), &name[1..]),
        Some(slash) => (Some(&name[..slash]), &name[slash + 1..]),
        None => (None, name),
    }
}

fn split(tables: &Tables, id: HeaderId, parts: &mut Table) -> Header {
    let bytes = tables.headers.get(id.0);
    let invalid = Header { name: "".into(), prefix: None, base: 0, absolute: false, invalid: true };
    let Ok(name) = std::str::from_utf8(bytes) else { return invalid };
    if name.contains('\0') {
        return invalid;
    }
    let (prefix, base) = split_name(name);
    let prefix = prefix.map(|p| parts.intern(p.as_bytes()));
    match (prefix, parts.intern(base.as_bytes())) {
        (Some(None), _) | (_, None) => invalid,
        (prefix, Some(base)) => {
            Header { name: name.into(), prefix: prefix.flatten(), base, absolute: name.starts_with('/'), invalid: false }
        }
    }
}
