//! Walks a path as the kernel would, component by component, and tells every entry it passes.

use super::LINKS_MAX;
use super::listing::Kind;
use super::store::{Epoch, Files};

/// Something a path goes through. Paths are physical: no component but the last is a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Directory(&'a str),
    Symlink { path: &'a str, target: &'a str },
}

/// Where a path ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WalkEnd {
    /// A directory, at this physical path.
    Directory(String),
    /// A regular file, at this physical path.
    File(String),
    /// Nothing is there; `name` is missing in the existing physical directory `directory` (or that is no directory).
    Absent,
    /// A FIFO, socket, device, a link loop, a name that is not UTF-8, or anything below `/proc`, where each process sees other
    /// things.
    Other,
}

impl Files {
    /// Walks `path` (absolute, `..` and links allowed) and tells `visit` each directory and link on the way, the last
    /// included.
    pub(crate) fn walk(&self, path: &str, epoch: Epoch, visit: &mut dyn FnMut(Step<'_>)) -> WalkEnd {
        self.walk_as(path, epoch, false, visit)
    }

    /// As [`walk`](Self::walk), remembering each name as one that a scan asked for.
    pub(crate) fn walk_asked(&self, path: &str, epoch: Epoch) -> WalkEnd {
        self.walk_as(path, epoch, true, &mut |_| {})
    }

    fn walk_as(&self, path: &str, epoch: Epoch, asked: bool, visit: &mut dyn FnMut(Step<'_>)) -> WalkEnd {
        let mut here = String::from("/");
        let mut pending: Vec<String> = components(path);
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == ".." {
                let cut = here.rfind('/').unwrap_or(0);
                here.truncate(cut.max(1));
                continue;
            }
            let listing = if asked { self.listing_asked(&here, &name, epoch) } else { self.listing(&here, epoch) };
            let Some(listing) = listing else { return WalkEnd::Absent };
            let Some(kind) = listing.names.get(name.as_str()) else { return WalkEnd::Absent };
            let next = join(&here, &name);
            match kind {
                Kind::Directory if next == "/proc" && !pending.is_empty() => return WalkEnd::Other,
                Kind::Directory => {
                    visit(Step::Directory(&next));
                    here = next;
                }
                Kind::File => {
                    return match pending.is_empty() && !path.ends_with('/') {
                        true => WalkEnd::File(next),
                        false => WalkEnd::Absent,
                    };
                }
                Kind::Symlink(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return WalkEnd::Other;
                    }
                    visit(Step::Symlink { path: &next, target });
                    if target.starts_with('/') {
                        here = String::from("/");
                    }
                    pending.extend(components(target));
                }
                Kind::Other => return WalkEnd::Other,
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
