//! Fills an input root with the client's files at their own paths, and remembers where each blob can be read.

use kiln_cas::{Digest, DirectoryWriter, NodeProperties, TreeError, normalise_segments, relative_link};
use kiln_scan::{Closure, ContentId, DirId, FileId};
use kiln_toolchain::{Entry, Toolchain};
use rustc_hash::{FxHashMap, FxHashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::files::{Epoch, Files, Found, Kind, Position, Step, Walk, WalkEnd, is_stdin, join, spelled};

/// Most entries taken when a whole directory is an input (`-B`, resource directories).
const WHOLE_DIRECTORY_MAX: usize = 20_000;

/// Why a root cannot be filled; the unit then runs here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootError {
    /// A path is no directory or file, or cannot be read.
    #[error("{path}: {source}")]
    Read { path: String, source: io::Error },
    /// Something that no tree can hold is on the way: a FIFO, a device, a link loop.
    #[error("{0}: neither file nor directory")]
    Special(String),
    /// Two things at one path, or a file that is not what was scanned: a file system that changes under the build.
    #[error("{0}: changes all the time")]
    Changing(String),
    /// A path that no tree can hold.
    #[error("{0}")]
    Path(#[from] kiln_cas::PathError),
    /// A directory that must be taken whole is too large.
    #[error("{0}: too many files to ship")]
    TooLarge(String),
}

impl From<TreeError> for RootError {
    fn from(error: TreeError) -> RootError {
        match error {
            TreeError::Path(error) => RootError::Path(error),
            TreeError::Conflict(path) => RootError::Changing(path),
        }
    }
}

/// What a path turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    File(FileId),
    Directory(DirId),
    Absent,
}

/// What stands under a name.
#[derive(Debug, Clone)]
enum Node {
    File { digest: Digest, executable: bool, properties: Option<Box<NodeProperties>> },
    Symlink(Arc<str>),
}

#[derive(Debug, Clone)]
struct Named {
    dir: DirId,
    name: Arc<str>,
    node: Node,
}

impl Named {
    /// Whether nothing but content is said of it.
    fn is_bare(&self) -> bool {
        !matches!(self.node, Node::File { properties: Some(_), .. })
    }
}

/// Most toolchains whose part of roots is kept: as many as are remembered at all.
const BASES_MAX: usize = 256;

/// The part of roots that toolchains are, by toolchain.
#[derive(Debug, Default)]
pub(crate) struct Bases(Mutex<FxHashMap<Digest, Arc<Base>>>);

impl Bases {
    /// The part of a toolchain.
    ///
    /// # Errors
    /// When a path of it cannot stand in a tree.
    pub(crate) fn get(&self, toolchain: &Toolchain, files: &Files) -> Result<Arc<Base>, RootError> {
        let mut bases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(base) = bases.get(&toolchain.id).filter(|base| base.era == files.era()) {
            return Ok(Arc::clone(base));
        }
        let base = Arc::new(Base::of(toolchain, files)?);
        if bases.len() >= BASES_MAX {
            bases.clear();
        }
        bases.insert(toolchain.id, Arc::clone(&base));
        Ok(base)
    }
}

/// A toolchain's part of every root, with the directories by number.
#[derive(Debug)]
pub(crate) struct Base {
    era: (u32, u32),
    dirs: Vec<DirId>,
    nodes: Vec<Named>,
}

impl Base {
    fn of(toolchain: &Toolchain, files: &Files) -> Result<Base, RootError> {
        let mut base = Base { era: files.era(), dirs: Vec::new(), nodes: Vec::new() };
        for entry in &toolchain.entries {
            let Some((dir, name)) = base.enter(files, entry.path())? else { continue };
            let node = match entry {
                Entry::Directory { .. } => {
                    base.dirs.extend(files.child_dir(dir, &name));
                    continue;
                }
                Entry::File { digest, executable, .. } => Node::File { digest: *digest, executable: *executable, properties: None },
                Entry::Symlink { path, target } => Node::Symlink(relative_link(path, target).into()),
            };
            base.nodes.push(Named { dir, name, node });
        }
        Ok(base)
    }

    /// The directory of a physical path, entered with all above it, and the last name; `None` for the root.
    fn enter(&mut self, files: &Files, path: &str) -> Result<Option<(DirId, Arc<str>)>, RootError> {
        let segments = normalise_segments(path)?;
        let Some((name, above)) = segments.split_last() else { return Ok(None) };
        let mut dir = files.root_dir();
        for segment in above {
            let Some(next) = files.child_dir(dir, segment) else { return Err(RootError::Changing(path.to_owned())) };
            dir = next;
            self.dirs.push(dir);
        }
        Ok(Some((dir, (*name).into())))
    }
}

#[derive(Debug, Clone)]
struct Input {
    file: FileId,
    dir: DirId,
    name: Arc<str>,
    path: Arc<str>,
    found: Found,
    once_only: bool,
}

/// An input root in the making.
pub(crate) struct Root<'a> {
    files: &'a Files,
    epoch: Epoch,
    base: Arc<Base>,
    dirs: Vec<DirId>,
    nodes: Vec<Named>,
    inputs: Vec<Input>,
    /// Places in `inputs`.
    known: FxHashMap<FileId, u32>,
    /// Walks entered already, by address; they are held by `walks`.
    walked: FxHashSet<usize>,
    walks: Vec<Arc<Walk>>,
    made: Vec<(Digest, Arc<[u8]>)>,
    times: bool,
}

/// A finished root.
pub(crate) struct FilledRoot {
    /// Digest of the root directory.
    pub(crate) root: Digest,
    /// Every directory, encoded; each once.
    pub(crate) directories: Vec<(Digest, Arc<[u8]>)>,
    /// The client's files: digest, place, and path to read it from.
    pub(crate) inputs: Vec<(Digest, FileId, Arc<str>)>,
    /// Blobs that stand in no file.
    pub(crate) made: Vec<(Digest, Arc<[u8]>)>,
}

impl<'a> Root<'a> {
    /// A root that holds `base` (a toolchain) so far.
    pub(crate) fn new(files: &'a Files, epoch: Epoch, base: Arc<Base>) -> Root<'a> {
        Root {
            files,
            epoch,
            base,
            dirs: Vec::with_capacity(64),
            nodes: Vec::new(),
            inputs: Vec::with_capacity(512),
            known: FxHashMap::with_capacity_and_hasher(512, Default::default()),
            walked: FxHashSet::default(),
            walks: Vec::with_capacity(64),
            made: Vec::new(),
            times: false,
        }
    }

    /// Lets every file keep the time of its last change, which otherwise is the same for all.
    pub(crate) fn keep_times(&mut self) {
        self.times = true;
    }

    /// Enters `path` as it is spelled: every directory and link on the way, and the file or directory at its end.
    pub(crate) fn add(&mut self, path: &str) -> Result<Added, RootError> {
        let Some((parent, name)) = split(path) else { return self.add_walk(path) };
        let Added::Directory(dir) = self.add_walk(parent)? else { return Ok(Added::Absent) };
        match self.files.kind(dir, name, self.epoch) {
            None => Ok(Added::Absent),
            Some(Kind::File) => match self.files.child_file(dir, name) {
                Some(file) => self.add_file(file, false),
                None => Err(RootError::Changing(path.to_owned())),
            },
            Some(Kind::Directory) => match self.files.child_dir(dir, name) {
                Some(dir) => {
                    self.dirs.push(dir);
                    Ok(Added::Directory(dir))
                }
                None => Err(RootError::Changing(path.to_owned())),
            },
            Some(Kind::Symlink(_)) => self.add_walk(path),
            Some(Kind::Other) => Err(RootError::Special(path.to_owned())),
        }
    }

    fn add_walk(&mut self, path: &str) -> Result<Added, RootError> {
        let walk = self.files.walk(path, self.epoch);
        self.enter(&walk);
        match walk.end {
            WalkEnd::Directory(dir) => Ok(Added::Directory(dir)),
            WalkEnd::File(file) => self.add_file(file, false),
            WalkEnd::Absent => Ok(Added::Absent),
            WalkEnd::Other => Err(RootError::Special(path.to_owned())),
        }
    }

    fn enter(&mut self, walk: &Arc<Walk>) {
        if !self.walked.insert(Arc::as_ptr(walk) as usize) {
            return;
        }
        self.walks.push(Arc::clone(walk));
        for step in &walk.steps {
            match step {
                Step::Directory(dir) => self.dirs.push(*dir),
                Step::Symlink { dir, name, target } => {
                    let target = match target.starts_with('/') {
                        true => relative_link(&join(&self.files.dir_path(*dir).unwrap_or_default(), name), target).into(),
                        false => Arc::clone(target),
                    };
                    self.nodes.push(Named { dir: *dir, name: Arc::clone(name), node: Node::Symlink(target) });
                }
            }
        }
    }

    fn add_file(&mut self, file: FileId, once_only: bool) -> Result<Added, RootError> {
        if let Some(index) = self.known.get(&file) {
            self.inputs[*index as usize].once_only |= once_only;
            return Ok(Added::File(file));
        }
        let Some((dir, name, path)) = self.files.place(file) else { return Err(RootError::Changing("a file".to_owned())) };
        let found = self.files.found(file, self.epoch);
        let found = found.map_err(|source| RootError::Read { path: path.to_string(), source })?;
        self.known.insert(file, self.inputs.len() as u32);
        self.inputs.push(Input { file, dir, name, path, found, once_only });
        Ok(Added::File(file))
    }

    /// Enters all that a scan found: the directories it looked into and the files it reached, as they were scanned.
    pub(crate) fn add_closure(&mut self, closure: &Closure, cwd: &str) -> Result<(), RootError> {
        let mut physical = Vec::with_capacity(closure.dirs.len());
        for dir in &closure.dirs {
            let walk = self.files.walk(&spelled(cwd, &dir.spelled), self.epoch);
            self.enter(&walk);
            physical.push(walk.directory());
        }
        // What came by standard input stands nowhere; the caller enters it where the job finds it.
        for file in closure.files.iter().filter(|file| !is_stdin(file.file)) {
            let place = self.files.place(file.file);
            let changing = || RootError::Changing(file.path.to_string());
            let spelled_name = file.path.rsplit('/').next().unwrap_or_default();
            let is_here =
                |(dir, name, _): &(DirId, Arc<str>, _)| physical[file.dir as usize] == Some(*dir) && **name == *spelled_name;
            let plain = place.as_ref().is_some_and(is_here);
            let added = match plain {
                true => self.add_file(file.file, file.once)?,
                // By a link, or in a directory that is another by now.
                false => match self.add(&spelled(cwd, &file.path))? {
                    Added::File(at) if at == file.file => self.add_file(at, file.once)?,
                    _ => return Err(changing()),
                },
            };
            let Added::File(at) = added else { return Err(changing()) };
            if file.content.is_some_and(|content| self.content(at) != Some(content)) {
                return Err(changing());
            }
        }
        Ok(())
    }

    fn content(&self, file: FileId) -> Option<ContentId> {
        self.known.get(&file).map(|index| self.inputs[*index as usize].found.content)
    }

    /// Enters a file that stands nowhere on this machine.
    pub(crate) fn add_made(&mut self, path: &str, content: Arc<[u8]>) -> Result<(), RootError> {
        let digest = Digest::of(&content);
        let mut base = Base { era: self.base.era, dirs: Vec::new(), nodes: Vec::new() };
        let Some((dir, name)) = base.enter(self.files, path)? else { return Err(RootError::Special(path.to_owned())) };
        self.dirs.append(&mut base.dirs);
        self.nodes.push(Named { dir, name, node: Node::File { digest, executable: false, properties: None } });
        self.made.push((digest, content));
        Ok(())
    }

    /// Enters a directory with all that is below it.
    pub(crate) fn add_whole(&mut self, path: &str) -> Result<Added, RootError> {
        let added = self.add(path)?;
        let Added::Directory(top) = added else { return Ok(added) };
        let mut pending = vec![top];
        let mut count = 0;
        while let Some(dir) = pending.pop() {
            let (Some(listing), Some(at)) = (self.files.listing(dir, self.epoch), self.files.dir_path(dir)) else { continue };
            for name in listing.sorted_names() {
                count += 1;
                if count > WHOLE_DIRECTORY_MAX {
                    return Err(RootError::TooLarge(path.to_owned()));
                }
                match self.add(&join(&at, &name)) {
                    // A link's target may lie anywhere; what it leads to is entered, not what is below that.
                    Ok(Added::Directory(next)) if self.files.parent(next) == Some(dir) => pending.push(next),
                    Ok(_) | Err(RootError::Special(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(added)
    }

    /// The digest of a file entered so far.
    pub(crate) fn digest_of(&self, file: FileId) -> Option<Digest> {
        self.known.get(&file).map(|index| self.inputs[*index as usize].found.digest)
    }

    /// Encodes the tree.
    pub(crate) fn finish(mut self) -> Result<FilledRoot, RootError> {
        self.name_inputs();
        let base = Arc::clone(&self.base);
        self.dirs.extend_from_slice(&base.dirs);
        self.nodes.extend_from_slice(&base.nodes);
        let (root, directories) = encode(self.files, self.dirs, self.nodes)?;
        let inputs = self.inputs.into_iter().map(|input| (input.found.digest, input.file, input.path)).collect();
        Ok(FilledRoot { root, directories, inputs, made: self.made })
    }

    /// Makes nodes of the inputs, with what tells those of equal content apart.
    fn name_inputs(&mut self) {
        let mut first: FxHashMap<ContentId, u32> = FxHashMap::with_capacity_and_hasher(self.inputs.len(), Default::default());
        let mut twins: FxHashMap<ContentId, Vec<u32>> = FxHashMap::default();
        for (index, input) in self.inputs.iter().enumerate() {
            let content = input.found.content;
            if let Some(before) = first.insert(content, index as u32) {
                twins.entry(content).or_insert_with(|| vec![before]).push(index as u32);
            }
        }
        self.nodes.reserve(self.inputs.len());
        for (index, input) in self.inputs.iter().enumerate() {
            let properties = match twins.get(&input.found.content) {
                Some(twins) => self.identity(index, twins),
                None if self.times => self.identity(index, &[index as u32]),
                None => None,
            };
            let properties = properties.map(Box::new);
            let node = Node::File { digest: input.found.digest, executable: input.found.stamp.is_executable(), properties };
            self.nodes.push(Named { dir: input.dir, name: Arc::clone(&input.name), node });
        }
    }

    /// What tells a file from others of equal content, where a compiler would look: gcc's once-only test compares times, clang
    /// takes one inode for one file.
    fn identity(&self, index: usize, twins: &[u32]) -> Option<NodeProperties> {
        let mut twins: Vec<&Input> = twins.iter().map(|twin| &self.inputs[*twin as usize]).collect();
        twins.sort_by(|a, b| a.path.cmp(&b.path));
        let input = &self.inputs[index];
        let inode = |input: &Input| (input.found.stamp.dev, input.found.stamp.ino);
        let first_of_inode = twins.iter().position(|twin| inode(twin) == inode(input))?;
        let linked = twins.iter().filter(|twin| inode(twin) == inode(input)).count() > 1;
        let once_only = twins.iter().any(|twin| twin.once_only);
        let mut properties = NodeProperties::default();
        if linked {
            properties.properties.push(("link-group".to_owned(), first_of_inode.to_string()));
        }
        let timed = once_only || self.times;
        if timed {
            let mtime_ns = input.found.stamp.mtime_ns;
            let seconds = i64::try_from(mtime_ns.div_euclid(1_000_000_000)).unwrap_or(0);
            properties.mtime = Some((seconds, mtime_ns.rem_euclid(1_000_000_000) as u32));
        }
        (linked || timed).then_some(properties)
    }
}

/// A directory being encoded.
struct Open {
    position: Position,
    /// Index of the directory above.
    above: Option<u32>,
    nodes: Vec<Named>,
    below: Vec<(Arc<str>, Digest)>,
}

type Encoded = (Digest, Vec<(Digest, Arc<[u8]>)>);

/// Encodes directories, the deepest first.
fn encode(files: &Files, mut dirs: Vec<DirId>, nodes: Vec<Named>) -> Result<Encoded, RootError> {
    let changing = || RootError::Changing("a directory".to_owned());
    dirs.push(files.root_dir());
    dirs.extend(nodes.iter().map(|named| named.dir));
    dirs.sort_unstable();
    dirs.dedup();
    let positions = files.positions(&dirs);
    let index: FxHashMap<DirId, u32> = positions.iter().enumerate().map(|(index, (id, _))| (*id, index as u32)).collect();
    let mut open = Vec::with_capacity(positions.len());
    for (_, position) in positions {
        let above = match position.parent {
            Some(parent) => Some(*index.get(&parent).ok_or_else(changing)?),
            None => None,
        };
        open.push(Open { position, above, nodes: Vec::new(), below: Vec::new() });
    }
    for named in nodes {
        let at = *index.get(&named.dir).ok_or_else(changing)?;
        open[at as usize].nodes.push(named);
    }
    let mut order: Vec<u32> = (0..open.len() as u32).collect();
    order.sort_unstable_by_key(|at| std::cmp::Reverse(open[*at as usize].position.depth));
    let mut encoded: FxHashMap<Digest, Arc<[u8]>> = FxHashMap::default();
    let mut writer = DirectoryWriter::new();
    let mut root = None;
    for at in order {
        let directory = &mut open[at as usize];
        write(&mut writer, directory)?;
        let digest = Digest::of(writer.bytes());
        encoded.entry(digest).or_insert_with(|| Arc::from(writer.bytes()));
        match directory.above {
            Some(above) => {
                let name = Arc::clone(&directory.position.name);
                open[above as usize].below.push((name, digest));
            }
            None => root = Some(digest),
        }
    }
    Ok((root.ok_or_else(changing)?, encoded.into_iter().collect()))
}

/// Writes one directory in canonical order. The same thing entered twice is there once; two things at one name are an error.
fn write(writer: &mut DirectoryWriter, directory: &mut Open) -> Result<(), RootError> {
    writer.clear();
    let changing = |name: &str| RootError::Changing(name.to_owned());
    // Of equal ones the first stays: one that says more than its content.
    directory.nodes.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()).then_with(|| a.is_bare().cmp(&b.is_bare())));
    directory.below.sort_unstable();
    let mut last: Option<&Named> = None;
    let mut links = Vec::new();
    for named in &directory.nodes {
        if let Some(last) = last.filter(|last| last.name == named.name) {
            match (&last.node, &named.node) {
                (Node::File { digest: a, .. }, Node::File { digest: b, .. }) if a == b => continue,
                (Node::Symlink(a), Node::Symlink(b)) if a == b => continue,
                _ => return Err(changing(&named.name)),
            }
        }
        last = Some(named);
        if directory.below.binary_search_by(|(name, _)| name.as_bytes().cmp(named.name.as_bytes())).is_ok() {
            return Err(changing(&named.name));
        }
        match &named.node {
            Node::File { digest, executable, properties } => writer.file(&named.name, digest, *executable, properties.as_deref()),
            Node::Symlink(target) => links.push((&named.name, target)),
        }
    }
    for (name, digest) in &directory.below {
        writer.directory(name, digest);
    }
    for (name, target) in links {
        writer.symlink(name, target);
    }
    Ok(())
}

/// Directory and name, where the name is plain.
fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    match name {
        "" | "." | ".." => None,
        name => Some((if parent.is_empty() { "/" } else { parent }, name)),
    }
}
