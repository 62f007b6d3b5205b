//! Walks a path as the kernel would, component by component, and remembers what it passed.

use kiln_scan::{DirId, FileId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::listing::Kind;
use super::places::Epoch;
use super::store::Files;
use super::{LINKS_MAX, WALKS_MAX};

/// Something a path goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A directory.
    Directory(DirId),
    /// The link `name` in directory `dir`.
    Symlink { dir: DirId, name: Arc<str>, target: Arc<str> },
}

/// Where a path ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WalkEnd {
    Directory(DirId),
    /// A regular file.
    File(FileId),
    /// Nothing is there.
    Absent,
    /// A FIFO, socket, device, a link loop, a name that is not UTF-8, or anything below `/proc`, where each process sees other
    /// things.
    Other,
}

/// A name that decided where a path leads.
#[derive(Debug)]
struct Asked {
    dir: DirId,
    name: Box<str>,
    kind: Option<Kind>,
}

/// A path that was walked. Holds as long as every name it asked for is what it was.
#[derive(Debug)]
pub(crate) struct Walk {
    /// Every directory and link on the way, the last included. The root directory is not told.
    pub(crate) steps: Vec<Step>,
    pub(crate) end: WalkEnd,
    asked: Vec<Asked>,
    /// The last epoch at which it was known to hold.
    checked: AtomicU64,
}

impl Walk {
    /// The directory it leads to.
    pub(crate) fn directory(&self) -> Option<DirId> {
        match self.end {
            WalkEnd::Directory(id) => Some(id),
            _ => None,
        }
    }
}

impl Files {
    /// Walks `path` (absolute, `..` and links allowed), and remembers it.
    pub(crate) fn walk(&self, path: &str, epoch: Epoch) -> Arc<Walk> {
        let known = self.lock().places.walks.get(path).cloned();
        if let Some(known) = known {
            if known.checked.load(Ordering::Relaxed) >= epoch.0 {
                return known;
            }
            let now = self.now();
            if known.asked.iter().all(|asked| self.kind(asked.dir, &asked.name, epoch) == asked.kind) {
                known.checked.fetch_max(now.0, Ordering::Relaxed);
                return known;
            }
        }
        let walk = Arc::new(self.walk_anew(path, epoch));
        let mut inner = self.lock();
        if inner.places.walks.len() >= WALKS_MAX {
            inner.places.walks.clear();
        }
        inner.places.walks.insert(path.into(), Arc::clone(&walk));
        walk
    }

    fn walk_anew(&self, path: &str, epoch: Epoch) -> Walk {
        let checked = AtomicU64::new(self.now().0);
        let (mut steps, mut asked) = (Vec::new(), Vec::new());
        let end = self.follow(path, epoch, &mut steps, &mut asked);
        Walk { steps, end, asked, checked }
    }

    fn follow(&self, path: &str, epoch: Epoch, steps: &mut Vec<Step>, asked: &mut Vec<Asked>) -> WalkEnd {
        let root = self.root_dir();
        let mut here = root;
        let mut pending: Vec<String> = components(path);
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == ".." {
                here = self.parent(here).unwrap_or(root);
                continue;
            }
            let kind = self.kind(here, &name, epoch);
            asked.push(Asked { dir: here, name: name.as_str().into(), kind: kind.clone() });
            match kind {
                None => return WalkEnd::Absent,
                Some(Kind::Directory) if here == root && name == "proc" && !pending.is_empty() => return WalkEnd::Other,
                Some(Kind::Directory) => {
                    let Some(next) = self.child_dir(here, &name) else { return WalkEnd::Absent };
                    steps.push(Step::Directory(next));
                    here = next;
                }
                Some(Kind::File) => {
                    let file = if pending.is_empty() && !path.ends_with('/') { self.child_file(here, &name) } else { None };
                    return file.map_or(WalkEnd::Absent, WalkEnd::File);
                }
                Some(Kind::Symlink(target)) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return WalkEnd::Other;
                    }
                    steps.push(Step::Symlink { dir: here, name: name.into(), target: Arc::clone(&target) });
                    if target.starts_with('/') {
                        here = root;
                    }
                    pending.extend(components(&target));
                }
                Some(Kind::Other) => return WalkEnd::Other,
            }
        }
        WalkEnd::Directory(here)
    }
}

/// The components of a path, last first.
fn components(path: &str) -> Vec<String> {
    path.rsplit('/').filter(|name| !name.is_empty() && *name != ".").map(str::to_owned).collect()
}

pub(crate) fn join(directory: &str, name: &str) -> String {
    let mut path = String::with_capacity(directory.len() + name.len() + 1);
    path.push_str(directory);
    if !directory.ends_with('/') {
        path.push('/');
    }
    path.push_str(name);
    path
}
