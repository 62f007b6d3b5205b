//! Fills an input root with the client's files at their own paths, and remembers where each blob can be read.

use kiln_cas::{BuiltTree, Digest, NodeProperties, TreeBuilder, TreeError, relative_link};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::files::{Epoch, Files, Found, Step, WalkEnd};

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
    /// Two things at one path: a file system that changes under the build.
    #[error("{0}")]
    Tree(#[from] TreeError),
    /// A directory that must be taken whole is too large.
    #[error("{0}: too many files to ship")]
    TooLarge(String),
}

/// What a path turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Added {
    File(String),
    Directory(String),
    Absent,
}

struct Input {
    found: Found,
    once_only: bool,
}

/// An input root in the making.
pub(crate) struct Root<'a> {
    files: &'a Files,
    epoch: Epoch,
    tree: TreeBuilder,
    inputs: BTreeMap<String, Input>,
    walked: FxHashMap<String, Added>,
    made: BTreeMap<Digest, Arc<[u8]>>,
    times: bool,
}

/// A finished root.
pub(crate) struct FilledRoot {
    pub(crate) tree: BuiltTree,
    /// Each blob and one file that holds it.
    pub(crate) sources: BTreeMap<Digest, Arc<str>>,
    /// Blobs that stand in no file.
    pub(crate) made: BTreeMap<Digest, Arc<[u8]>>,
}

impl<'a> Root<'a> {
    /// A root that holds `base` (a toolchain) so far.
    pub(crate) fn new(files: &'a Files, epoch: Epoch, base: TreeBuilder) -> Root<'a> {
        Root {
            files,
            epoch,
            tree: base,
            inputs: BTreeMap::new(),
            walked: FxHashMap::default(),
            made: BTreeMap::new(),
            times: false,
        }
    }

    /// Enters `path` as it is spelled: every directory and link on the way, and the file or directory at its end.
    pub(crate) fn add(&mut self, path: &str) -> Result<Added, RootError> {
        if let Some((parent, name)) = split(path) {
            // Most inputs share their directory: walk that once.
            let parent = match self.walked.get(parent) {
                Some(added) => added.clone(),
                None => {
                    let added = self.walk(parent)?;
                    self.walked.insert(parent.to_owned(), added.clone());
                    added
                }
            };
            let Added::Directory(physical) = parent else { return Ok(Added::Absent) };
            return self.walk(&crate::files::join(&physical, name));
        }
        self.walk(path)
    }

    fn walk(&mut self, path: &str) -> Result<Added, RootError> {
        let mut error = None;
        let tree = &mut self.tree;
        let end = self.files.walk(path, self.epoch, &mut |step| {
            let entered = match step {
                Step::Directory(path) => tree.directory(path),
                Step::Symlink { path, target } => tree.symlink(path, &relative_link(path, target)),
            };
            error = error.take().or(entered.err());
        });
        if let Some(error) = error {
            return Err(error.into());
        }
        match end {
            WalkEnd::Directory(path) => Ok(Added::Directory(path)),
            WalkEnd::Absent => Ok(Added::Absent),
            WalkEnd::Other => Err(RootError::Special(path.to_owned())),
            WalkEnd::File(physical) => {
                if !self.inputs.contains_key(&physical) {
                    let found = self.files.file(&physical, self.epoch);
                    let found = found.map_err(|source| RootError::Read { path: physical.clone(), source })?;
                    self.inputs.insert(physical.clone(), Input { found, once_only: false });
                }
                Ok(Added::File(physical))
            }
        }
    }

    /// Enters a file that the scan reached; `once_only` when it asks to be included once.
    pub(crate) fn add_scanned(&mut self, path: &str, once_only: bool) -> Result<(), RootError> {
        if let Added::File(physical) = self.add(path)?
            && once_only
            && let Some(input) = self.inputs.get_mut(&physical)
        {
            input.once_only = true;
        }
        Ok(())
    }

    /// Enters a file that stands nowhere on this machine.
    pub(crate) fn add_made(&mut self, path: &str, content: Arc<[u8]>) -> Result<(), RootError> {
        let digest = Digest::of(&content);
        self.tree.file(path, digest, false)?;
        self.made.insert(digest, content);
        Ok(())
    }

    /// Lets every file keep the time of its last change, which otherwise is the same for all.
    pub(crate) fn keep_times(&mut self) {
        self.times = true;
    }

    /// Enters a directory with all that is below it.
    pub(crate) fn add_whole(&mut self, path: &str) -> Result<Added, RootError> {
        let added = self.add(path)?;
        let Added::Directory(physical) = &added else { return Ok(added) };
        let mut pending = vec![physical.clone()];
        let mut count = 0;
        while let Some(directory) = pending.pop() {
            let Some(listing) = self.files.listing(&directory, self.epoch) else { continue };
            for name in listing.sorted_names() {
                count += 1;
                if count > WHOLE_DIRECTORY_MAX {
                    return Err(RootError::TooLarge(path.to_owned()));
                }
                match self.walk(&crate::files::join(&directory, &name)) {
                    // A link's target may lie anywhere; what it leads to is entered, not what is below that.
                    Ok(Added::Directory(next)) if next.starts_with(&directory) => pending.push(next),
                    Ok(_) | Err(RootError::Special(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(added)
    }

    /// The files entered so far, by physical path.
    pub(crate) fn input_list(&self) -> Vec<(String, Digest)> {
        self.inputs.iter().map(|(path, input)| (path.clone(), input.found.digest)).collect()
    }

    /// Encodes the tree.
    pub(crate) fn finish(mut self) -> Result<FilledRoot, RootError> {
        let mut by_digest: FxHashMap<Digest, Vec<&str>> = FxHashMap::default();
        for (path, input) in &self.inputs {
            by_digest.entry(input.found.digest).or_default().push(path);
        }
        let mut sources = BTreeMap::new();
        for (path, input) in &self.inputs {
            let twins = &by_digest[&input.found.digest];
            let properties = match twins.len() > 1 || self.times {
                true => self.identity(path, input, twins),
                false => None,
            };
            let executable = input.found.stamp.is_executable();
            self.tree.file_with(path, input.found.digest, executable, properties)?;
            sources.entry(input.found.digest).or_insert_with(|| Arc::from(path.as_str()));
        }
        Ok(FilledRoot { tree: self.tree.build(), sources, made: self.made })
    }

    /// What tells a file from others of equal content, where a compiler would look: gcc's once-only test compares times, clang
    /// takes one inode for one file.
    fn identity(&self, path: &str, input: &Input, twins: &[&str]) -> Option<NodeProperties> {
        let inode = |path: &str| (self.inputs[path].found.stamp.dev, self.inputs[path].found.stamp.ino);
        let first_of_inode = twins.iter().position(|twin| inode(twin) == inode(path))?;
        let linked = twins.iter().filter(|twin| inode(twin) == inode(path)).count() > 1;
        let once_only = twins.iter().any(|twin| self.inputs[*twin].once_only);
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

/// Directory and name, where the name is plain.
fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    match name {
        "" | "." | ".." => None,
        name => Some((if parent.is_empty() { "/" } else { parent }, name)),
    }
}
