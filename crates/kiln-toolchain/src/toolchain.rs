//! The toolchain as a value: its entries, its identity, and whether it still stands. Leaves finding the files to others.

use crate::identify::{Driver, Mark};
use crate::record::RecordError;
use crate::walk::Walker;
use crate::watch::Watch;
use crate::{DigestCache, LookupEnv, ToolchainError, clang, gcc, record};
use kiln_cas::{Digest, TreeBuilder, TreeError, relative_link};
use kiln_cmdline::Family;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One thing that has to stand in a root for the compiler to run as it does here. Paths are physical: no component but the
/// last is a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Entry {
    /// A regular file.
    File {
        /// Absolute physical path.
        path: String,
        /// Of its content.
        #[serde(with = "record::digest")]
        digest: Digest,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link on the way to a file.
    Symlink {
        /// Absolute path of the link itself.
        path: String,
        /// Its text, as read.
        target: String,
    },
    /// A directory that is walked through or looked at.
    Directory {
        /// Absolute physical path.
        path: String,
    },
}

impl Entry {
    /// The entry's path.
    pub fn path(&self) -> &str {
        match self {
            Entry::File { path, .. } | Entry::Symlink { path, .. } | Entry::Directory { path } => path,
        }
    }
}

/// A processor's name. Under a name of its own, for serde takes a field of type `&str` for one that borrows.
type Arch = &'static str;

/// A compiler with everything it executes and reads by itself. Cheap to clone into an `Arc`; immutable.
#[derive(Debug, Serialize, Deserialize)]
pub struct Toolchain {
    /// The driver as it is to be invoked: absolute, as the caller spelled it. It is `argv[0]` of every run.
    pub driver: PathBuf,
    /// What the driver behaves like.
    #[serde(with = "record::family")]
    pub family: Family,
    /// Whether it is a C++ driver (`g++`, `clang++`): takes `.c` files as C++ (gcc) and links the C++ library.
    pub cxx: bool,
    /// The version as the driver says it (`12.2.0`, `19.1.7`).
    pub version: String,
    /// The target triple as the driver says it (`x86_64-linux-gnu`, `x86_64-pc-linux-gnu`), under [`LookupEnv::args`].
    pub target: String,
    /// The processor the driver itself runs on, as `uname -m` says it (`x86_64`, `aarch64`).
    #[serde(with = "record::arch")]
    pub host_arch: Arch,
    /// The Merkle root of a tree that holds [`Toolchain::entries`] and nothing else.
    #[serde(with = "record::digest")]
    pub id: Digest,
    /// Sorted by path.
    pub entries: Vec<Entry>,
    /// The shortest `PATH` under which the driver finds the same programs; give it to every run, here and elsewhere, so
    /// that a user's `PATH` does not enter keys.
    pub search_path: String,
    /// What it was looked up with.
    pub(crate) env: LookupEnv,
    #[serde(with = "record::shared")]
    pub(crate) watch: Arc<Watch>,
}

/// What asking a driver told.
pub(crate) struct Identity {
    pub(crate) family: Family,
    pub(crate) cxx: bool,
    pub(crate) version: String,
    pub(crate) target: String,
    /// The installation's prefix (`/usr`).
    pub(crate) prefix: String,
    /// Directories of `PATH` in which programs were found.
    pub(crate) path: Vec<String>,
}

/// `PATH` for drivers that take nothing from it: it must not be empty, for that means the working directory.
const PATH_FALLBACK: &str = "/usr/bin";

impl Toolchain {
    /// Finds out what `driver` is and all that it executes and reads. `driver` is absolute and any masquerade is resolved;
    /// links (alternatives, versions) are followed and entered. Costs some dozen runs of the driver, and reading what
    /// `cache` does not remember.
    ///
    /// # Errors
    /// [`ToolchainError`]; each means that commands with this driver run locally.
    pub fn discover(driver: &Path, env: &LookupEnv, cache: &mut DigestCache) -> Result<Toolchain, ToolchainError> {
        let looked = Driver::look(driver, env)?;
        let mut walker = Walker::new(cache);
        let identity = match looked.mark {
            Mark::Gcc => gcc::enter(&looked, &mut walker)?,
            Mark::Clang => clang::enter(&looked, &mut walker)?,
        };
        gcc::enter_locale(&looked, &mut walker, &identity.prefix)?;
        let (entries, watch) = walker.finish();
        let id = root_of(&entries).map_err(|error| looked.unmodelled(error.to_string()))?;
        let search_path = match identity.path.is_empty() {
            true => PATH_FALLBACK.to_owned(),
            false => identity.path.join(":"),
        };
        let toolchain = Toolchain {
            driver: driver.to_owned(),
            family: identity.family,
            cxx: identity.cxx,
            version: identity.version,
            target: identity.target,
            host_arch: looked.host_arch,
            id,
            entries,
            search_path,
            env: env.clone(),
            watch: Arc::new(watch.build()),
        };
        // The driver was asked while its files were read: had one changed in between, the answers may be of another.
        match toolchain.is_current() {
            true => Ok(toolchain),
            false => Err(ToolchainError::Changing(driver.to_owned())),
        }
    }

    /// Whether a new [`Toolchain::discover`] with the same arguments would find the same: no entry has changed, and nothing
    /// has appeared where the driver, its programs or the loader would take it instead. Some 50 to 100 system calls.
    pub fn is_current(&self) -> bool {
        self.watch.holds()
    }

    /// Whether another process may rely on it for as long as [`Toolchain::is_current`] says so: all its files had settled, and
    /// lie where a changed file has another stamp for certain.
    pub fn is_lasting(&self) -> bool {
        self.watch.is_lasting()
    }

    /// As bytes, for [`Toolchain::decode`].
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        Ok(postcard::to_stdvec(self)?)
    }

    /// What [`Toolchain::encode`] wrote. Nothing is looked at: ask [`Toolchain::is_current`] before it is used.
    ///
    /// # Errors
    /// When the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Toolchain, RecordError> {
        let (toolchain, rest) = postcard::take_from_bytes::<Toolchain>(bytes)?;
        match rest.is_empty() && root_of(&toolchain.entries).is_ok_and(|id| id == toolchain.id) {
            true => Ok(toolchain),
            false => Err(RecordError::Inconsistent),
        }
    }

    /// Whether a change at `path` (its content, its coming or going) would be noticed by [`Toolchain::is_current`].
    pub fn notices(&self, path: &Path) -> bool {
        self.watch.covers(path)
    }

    /// What it was looked up with.
    pub fn lookup_env(&self) -> &LookupEnv {
        &self.env
    }

    /// Enters the toolchain into an input root.
    ///
    /// # Errors
    /// When something else stands there already.
    pub fn add_to(&self, tree: &mut TreeBuilder) -> Result<(), TreeError> {
        add(&self.entries, tree)
    }

    /// Total size of the files in bytes.
    pub fn size(&self) -> u64 {
        let sizes = self.entries.iter().map(|entry| match entry {
            Entry::File { digest, .. } => digest.size,
            _ => 0,
        });
        sizes.sum()
    }
}

fn add(entries: &[Entry], tree: &mut TreeBuilder) -> Result<(), TreeError> {
    for entry in entries {
        match entry {
            Entry::File { path, digest, executable } => tree.file(path, *digest, *executable)?,
            Entry::Symlink { path, target } => tree.symlink(path, &relative_link(path, target))?,
            Entry::Directory { path } => tree.directory(path)?,
        }
    }
    Ok(())
}

fn root_of(entries: &[Entry]) -> Result<Digest, TreeError> {
    let mut tree = TreeBuilder::new();
    add(entries, &mut tree)?;
    Ok(tree.build().root)
}
