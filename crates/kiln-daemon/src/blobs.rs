//! The blobs of one unit's action and where their bytes are. Reads and sends nothing.

use kiln_cas::Digest;
use kiln_scan::FileId;
use kiln_toolchain::{Entry, Toolchain};
use rustc_hash::FxHashMap;
use std::sync::{Arc, OnceLock};

use crate::root::FilledRoot;

/// Where a blob's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A file of the client, which may have changed since.
    File(Arc<str>),
    /// A message made here.
    Memory(Arc<[u8]>),
}

/// Every blob of an input root, and the messages that name it.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    /// Whose files are in the root; none of this machine's where another compiler is.
    toolchain: Option<Arc<Toolchain>>,
    inputs: Arc<[(Digest, FileId, Arc<str>)]>,
    made: Vec<(Digest, Arc<[u8]>)>,
    /// Digest of the unit's own source.
    source: Option<Digest>,
    directories: Vec<(Digest, Arc<[u8]>)>,
    messages: Vec<(Digest, Arc<[u8]>)>,
    /// Made when the first blob is asked for: a warm unit asks for none.
    index: OnceLock<FxHashMap<Digest, Source>>,
}

impl Blobs {
    /// The blobs of a root whose main source is the file `source`, if it is a file.
    pub(crate) fn of(filled: FilledRoot, toolchain: Arc<Toolchain>, source: Option<FileId>) -> Blobs {
        let own = filled.inputs.iter().find(|(_, file, _)| Some(*file) == source).map(|(digest, ..)| *digest);
        Blobs {
            toolchain: Some(toolchain),
            inputs: filled.inputs.into(),
            made: filled.made,
            source: own,
            directories: filled.directories,
            messages: Vec::with_capacity(2),
            index: OnceLock::new(),
        }
    }

    /// The same inputs in other directories, beside a compiler whose files are elsewhere. Messages are still to come.
    pub(crate) fn with_root_of_others(&self, directories: Vec<(Digest, Arc<[u8]>)>) -> Blobs {
        let messages = Vec::with_capacity(2);
        Blobs { toolchain: None, directories, messages, index: OnceLock::new(), ..self.clone() }
    }

    /// Paths of the client's files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|(.., path)| path.as_ref())
    }

    fn entries(&self) -> &[Entry] {
        self.toolchain.as_ref().map_or(&[], |toolchain| &toolchain.entries)
    }

    /// Adds messages: the command and the action.
    pub(crate) fn add_messages(&mut self, messages: impl IntoIterator<Item = (Digest, Arc<[u8]>)>) {
        self.messages.extend(messages);
        self.index = OnceLock::new();
    }

    /// Where the bytes of a blob are; `None` for one that is not the unit's.
    pub(crate) fn get(&self, digest: &Digest) -> Option<&Source> {
        self.index.get_or_init(|| self.indexed()).get(digest)
    }

    fn indexed(&self) -> FxHashMap<Digest, Source> {
        let mut index = FxHashMap::default();
        for entry in self.entries() {
            if let Entry::File { path, digest, .. } = entry {
                index.insert(*digest, Source::File(Arc::from(path.as_str())));
            }
        }
        index.extend(self.inputs.iter().map(|(digest, _, path)| (*digest, Source::File(Arc::clone(path)))));
        index.extend(self.in_memory().map(|(digest, bytes)| (*digest, Source::Memory(Arc::clone(bytes)))));
        index
    }

    /// Blobs made here: messages, directories, and files that stand nowhere on this machine.
    pub(crate) fn in_memory(&self) -> impl Iterator<Item = &(Digest, Arc<[u8]>)> {
        self.messages.iter().chain(&self.directories).chain(&self.made)
    }

    /// Blobs that only this unit needs: its source and what was made for it.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Digest> {
        self.in_memory().map(|(digest, _)| digest).chain(&self.source)
    }

    /// Blobs that other units need as well.
    pub(crate) fn shared(&self) -> impl Iterator<Item = &Digest> {
        let toolchain = self.entries().iter().filter_map(|entry| match entry {
            Entry::File { digest, .. } => Some(digest),
            _ => None,
        });
        let inputs = self.inputs.iter().map(|(digest, ..)| digest).filter(|digest| self.source != Some(**digest));
        toolchain.chain(inputs)
    }

    /// The client's files.
    pub(crate) fn files(&self) -> impl Iterator<Item = (FileId, Digest)> + '_ {
        self.inputs.iter().map(|(digest, file, _)| (*file, *digest))
    }
}
