//! Input roots on disk: laid out by difference from one that is there already. Knows trees and blobs, no jobs.

mod apply;
mod plan;

use crate::{Blobs, JobUser, LayoutError};
use apply::{Change, Identities};
use kiln_cas::Digest;
use plan::{Node, NodeCache, Planner};
use rustix::fs::{FlockOperation, Gid, Mode, OFlags, Uid};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most entries (files, directories, links) of one root: 512 Ki. A kernel unit has 700, a large plain action some 100,000;
/// at 50 µs an entry this many take half a minute.
pub const ENTRIES_MAX: u64 = 512 << 10;

/// Deepest directory of a root. Paths are at most 4,096 bytes, real trees at most some 30 levels.
pub const DEPTH_MAX: usize = 256;

/// The one modification time of every laid-out node without its own, in seconds since 1970 (2000-01-01 00:00 UTC).
/// Store files must carry it.
pub const NODE_MTIME_SECONDS: i64 = 946_684_800;

/// How many idle roots, the most recently used first, are compared with a new tree.
const CANDIDATES_MAX: usize = 8;

/// How many directories are looked at to compare one idle root with a new tree: enough for the way down to a project and
/// its toolchain; a comparison costs some 50 ns a directory.
const COMPARE_BUDGET: usize = 256;

/// Laid-out roots, each in a directory of its own, kept for reuse.
#[derive(Debug, Clone)]
pub struct RootPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    /// Open and locked for as long as the pool lives.
    fd: OwnedFd,
    owner: Option<JobUser>,
    idle_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Least recently used first.
    idle: Vec<Root>,
    nodes: NodeCache,
    made: u64,
}

#[derive(Debug)]
struct Root {
    name: String,
    fd: OwnedFd,
    tree: Arc<Node>,
    identities: Identities,
}

impl RootPool {
    /// Opens the pool in `dir` (made if absent, emptied of leftovers), which must be on the store's file system for hard
    /// links to work. `job_user` owns the directories of the roots where this process is root (so that jobs may add
    /// files to them); at most `idle_max` roots are kept while unused.
    ///
    /// # Errors
    /// When the directory cannot be made or emptied, or another pool uses it.
    pub fn open(dir: &Path, job_user: JobUser, idle_max: usize) -> io::Result<RootPool> {
        std::fs::create_dir_all(dir)?;
        let fd = rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
        // Jobs enter their roots by name, as a user who cannot list the others.
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o711))?;
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        let owner = job_user.can_be_become().then_some(job_user);
        let shared = Shared { dir: dir.to_owned(), fd, owner, idle_max, state: Mutex::default() };
        Ok(RootPool { shared: Arc::new(shared) })
    }

    /// Lays out the tree of that digest: takes the idle root that is most like it and changes the difference.
    ///
    /// # Errors
    /// [`LayoutError`]; nothing of a hostile tree is written.
    pub fn lay_out(&self, blobs: &dyn Blobs, root: &Digest) -> Result<LaidRoot, LayoutError> {
        let known = |digest: &Digest| self.shared.lock().nodes.get(digest);
        let tree = Planner::new(blobs, &known).plan(root)?;
        let taken = self.shared.take(&tree);
        let mut taken = match taken {
            Some(taken) => taken,
            None => self.shared.make().map_err(|source| LayoutError::Io { path: String::new(), source })?,
        };
        let old = taken.tree.clone();
        let change = Change::new(blobs, taken.fd.as_fd(), self.shared.owner, &mut taken.identities);
        if let Err(error) = change.run(&old, &tree) {
            self.shared.discard(&taken);
            return Err(error);
        }
        taken.tree = tree;
        self.shared.lock().nodes.remember(&taken.tree);
        Ok(LaidRoot { shared: self.shared.clone(), root: Some(taken), spoiled: false })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The idle root that has most in common with `tree`; none while there is room for another and none is half like it.
    fn take(&self, tree: &Node) -> Option<Root> {
        let mut state = self.lock();
        let from = state.idle.len().saturating_sub(CANDIDATES_MAX);
        let (common, index) =
            (from..state.idle.len()).map(|index| (state.idle[index].tree.common(tree, &mut { COMPARE_BUDGET }), index)).max()?;
        let alike = common.saturating_mul(2) >= tree.entries;
        (alike || state.idle.len() >= self.idle_max).then(|| state.idle.remove(index))
    }

    fn make(&self) -> io::Result<Root> {
        let name = {
            let mut state = self.lock();
            state.made += 1;
            format!("r{}", state.made)
        };
        rustix::fs::mkdirat(&self.fd, &name, Mode::from_raw_mode(0o755))?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, &name, flags, Mode::empty())?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755))?;
        if let Some(user) = self.owner {
            rustix::fs::fchown(&fd, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
        }
        rustix::fs::futimens(&fd, &apply::node_times(None))?;
        Ok(Root { name, fd, tree: Node::empty(), identities: Identities::default() })
    }

    fn give_back(&self, root: Root) {
        let surplus = {
            let mut state = self.lock();
            state.idle.push(root);
            if state.idle.len() > self.idle_max { Some(state.idle.remove(0)) } else { None }
        };
        if let Some(root) = surplus {
            self.discard(&root);
        }
    }

    /// Removes a root from the disk. What cannot be removed now is removed when the pool is opened again.
    fn discard(&self, root: &Root) {
        let _ = std::fs::remove_dir_all(self.dir.join(&root.name));
    }
}

/// A root that is laid out and in use; goes back to its pool when dropped.
#[derive(Debug)]
pub struct LaidRoot {
    shared: Arc<Shared>,
    /// Present until dropped.
    root: Option<Root>,
    spoiled: bool,
}

impl LaidRoot {
    /// Where it is on the host.
    pub fn path(&self) -> PathBuf {
        self.shared.dir.join(self.name())
    }

    /// The pool's directory.
    pub(crate) fn pool_dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Its name in the pool's directory.
    pub(crate) fn name(&self) -> &str {
        self.root.as_ref().map_or("", |root| &root.name)
    }

    /// Says that a job may have written to it, so that it is thrown away instead of reused.
    pub(crate) fn spoil(&mut self) {
        self.spoiled = true;
    }
}

impl Drop for LaidRoot {
    fn drop(&mut self) {
        let Some(root) = self.root.take() else { return };
        if self.spoiled {
            self.shared.discard(&root);
        } else {
            self.shared.give_back(root);
        }
    }
}
