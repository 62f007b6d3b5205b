//! An input root as a checked tree in memory. Knows the blobs' directories, nothing of the disk.

use super::{DEPTH_MAX, ENTRIES_MAX};
use crate::{Blobs, LayoutError};
use kiln_cas::{Digest, Directory, FileNode, NodeProperties};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

/// Longest name of an entry: `NAME_MAX`.
const NAME_BYTES_MAX: usize = 255;

/// Longest target of a symbolic link: `PATH_MAX` less its NUL.
const TARGET_BYTES_MAX: usize = 4095;

/// Seconds that ext4 and tmpfs both keep: from 1901 (32 bits) to 2446 (34 bits above it).
const MTIME_SECONDS: std::ops::RangeInclusive<i64> = -(1 << 31)..=15_032_385_535;

/// A directory with everything below it. Equal digests are equal subtrees, so nodes are shared between trees.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) digest: Digest,
    pub(super) dir: Arc<Directory>,
    /// In the order of `dir.directories`.
    pub(super) children: Vec<Arc<Node>>,
    /// Files, links and directories below this one.
    pub(super) entries: u64,
    /// Levels below this one.
    height: usize,
    /// By how many levels some link below climbs above this directory.
    climb: usize,
}

impl Node {
    /// The root before anything is laid out.
    pub(super) fn empty() -> Arc<Node> {
        Arc::new(Node { digest: Digest::EMPTY, dir: Arc::default(), children: Vec::new(), entries: 0, height: 0, climb: 0 })
    }

    /// Entries that `self` and `other` have in common, counted whole directories at a time; looks at no more than `budget`
    /// directories.
    pub(super) fn common(&self, other: &Node, budget: &mut usize) -> u64 {
        if self.digest == other.digest {
            return self.entries;
        }
        if *budget == 0 {
            return 0;
        }
        *budget -= 1;
        let mut sum = 0;
        let mut theirs = other.named_children().peekable();
        for (name, child) in self.named_children() {
            while theirs.next_if(|(other, _)| other.as_bytes() < name.as_bytes()).is_some() {}
            if let Some((_, other)) = theirs.next_if(|(other, _)| *other == name) {
                sum += 1 + child.common(other, budget);
            }
        }
        sum
    }

    pub(super) fn named_children(&self) -> impl Iterator<Item = (&str, &Arc<Node>)> {
        self.dir.directories.iter().map(|node| node.name.as_str()).zip(&self.children)
    }
}

/// Nodes of trees that are laid out somewhere, by digest.
#[derive(Debug, Default)]
pub(super) struct NodeCache {
    nodes: HashMap<Digest, Weak<Node>>,
    purge_at: usize,
}

/// Dead entries are looked for only when the cache has doubled since the last time, and not below this many.
const PURGE_MIN: usize = 1024;

impl NodeCache {
    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Node>> {
        self.nodes.get(digest)?.upgrade()
    }

    /// Remembers a tree's nodes for as long as the tree lives.
    pub(super) fn remember(&mut self, root: &Arc<Node>) {
        if self.nodes.get(&root.digest).is_some_and(|node| node.strong_count() > 0) {
            return;
        }
        self.nodes.insert(root.digest, Arc::downgrade(root));
        if self.nodes.len() > self.purge_at.max(PURGE_MIN) {
            self.nodes.retain(|_, node| node.strong_count() > 0);
            self.purge_at = self.nodes.len() * 2;
        }
        for child in &root.children {
            self.remember(child);
        }
    }
}

/// Reads and checks a whole tree.
pub(super) struct Planner<'a> {
    blobs: &'a dyn Blobs,
    known: &'a dyn Fn(&Digest) -> Option<Arc<Node>>,
    read: HashMap<Digest, Arc<Node>>,
    missing: BTreeSet<Digest>,
    path: Vec<String>,
}

impl<'a> Planner<'a> {
    /// A planner that takes subtrees from `known` where it can.
    pub(super) fn new(blobs: &'a dyn Blobs, known: &'a dyn Fn(&Digest) -> Option<Arc<Node>>) -> Planner<'a> {
        Planner { blobs, known, read: HashMap::new(), missing: BTreeSet::new(), path: Vec::new() }
    }

    /// The tree of that digest, every directory checked. Files that the store does not have are reported with the missing
    /// directories where the directory that names them was read now; those of known trees when they are linked.
    pub(super) fn plan(mut self, root: &Digest) -> Result<Arc<Node>, LayoutError> {
        let node = self.node(root)?;
        match node {
            Some(node) if self.missing.is_empty() => {
                if node.climb > 0 {
                    return Err(hostile(&climbing_link(&node), "the link leads out of the root"));
                }
                Ok(node)
            }
            _ => Err(LayoutError::Missing(self.missing.into_iter().collect())),
        }
    }

    fn node(&mut self, digest: &Digest) -> Result<Option<Arc<Node>>, LayoutError> {
        if self.path.len() > DEPTH_MAX {
            return Err(self.bad("", "too deep a directory"));
        }
        if let Some(node) = self.read.get(digest) {
            return self.bounded(node.clone()).map(Some);
        }
        if let Some(node) = (self.known)(digest) {
            return self.bounded(node).map(Some);
        }
        if self.missing.contains(digest) {
            return Ok(None);
        }
        let dir = match self.blobs.directory(digest) {
            Ok(Some(dir)) => dir,
            Ok(None) => {
                self.missing.insert(*digest);
                return Ok(None);
            }
            Err(crate::BlobsError::Decode(error)) => return Err(self.bad("", &error.to_string())),
            Err(source) => return Err(LayoutError::Directory { digest: *digest, source }),
        };
        let Some(node) = self.read_directory(digest, dir)? else { return Ok(None) };
        let node = self.bounded(Arc::new(node))?;
        self.read.insert(*digest, node.clone());
        Ok(Some(node))
    }

    fn read_directory(&mut self, digest: &Digest, dir: Arc<Directory>) -> Result<Option<Node>, LayoutError> {
        self.check_names(&dir)?;
        for file in &dir.files {
            self.check_properties(file)?;
            if file.digest != Digest::EMPTY && !self.blobs.contains(&file.digest) {
                self.missing.insert(file.digest);
            }
        }
        let mut climb = 0;
        for link in &dir.symlinks {
            if link.target.is_empty() || link.target.len() > TARGET_BYTES_MAX || link.target.contains('\0') {
                return Err(self.bad(&link.name, "not a link target"));
            }
            let levels = levels_climbed(&link.target).ok_or_else(|| self.bad(&link.name, "the link is absolute"))?;
            climb = climb.max(levels);
        }
        let mut node = Node { digest: *digest, dir: dir.clone(), children: Vec::new(), entries: 0, height: 0, climb };
        node.entries = (dir.files.len() + dir.symlinks.len() + dir.directories.len()) as u64;
        let mut complete = true;
        for entry in &dir.directories {
            self.path.push(entry.name.clone());
            match self.node(&entry.digest)? {
                Some(child) => {
                    node.entries = node.entries.saturating_add(child.entries);
                    node.height = node.height.max(child.height + 1);
                    node.climb = node.climb.max(child.climb.saturating_sub(1));
                    node.children.push(child);
                }
                None => complete = false,
            }
            self.path.pop();
        }
        Ok(complete.then_some(node))
    }

    fn bounded(&self, node: Arc<Node>) -> Result<Arc<Node>, LayoutError> {
        if node.entries > ENTRIES_MAX {
            return Err(self.bad("", "too many entries"));
        }
        if self.path.len() + node.height > DEPTH_MAX {
            return Err(self.bad("", "too deep a directory"));
        }
        Ok(node)
    }

    fn check_names(&self, dir: &Directory) -> Result<(), LayoutError> {
        let mut names: Vec<&str> = dir.names().collect();
        for name in &names {
            let bad = name.is_empty() || *name == "." || *name == ".." || name.len() > NAME_BYTES_MAX;
            if bad || name.bytes().any(|byte| byte == b'/' || byte == 0) {
                return Err(self.bad(name, "not a single path segment"));
            }
        }
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(self.bad(pair[0], "stands twice"));
        }
        let sorted = dir.files.is_sorted_by_key(|node| &node.name)
            && dir.directories.is_sorted_by_key(|node| &node.name)
            && dir.symlinks.is_sorted_by_key(|node| &node.name);
        if sorted { Ok(()) } else { Err(self.bad("", "entries are out of order")) }
    }

    fn check_properties(&self, file: &FileNode) -> Result<(), LayoutError> {
        match file.properties {
            Some(NodeProperties { mtime: Some((seconds, nanos)), .. })
                if !MTIME_SECONDS.contains(&seconds) || nanos >= 1_000_000_000 =>
            {
                Err(self.bad(&file.name, "impossible modification time"))
            }
            _ => Ok(()),
        }
    }

    fn bad(&self, name: &str, reason: &str) -> LayoutError {
        let mut path = self.path.join("/");
        if !name.is_empty() && !path.is_empty() {
            path.push('/');
        }
        hostile(&(path + name), reason)
    }
}

fn hostile(path: &str, reason: &str) -> LayoutError {
    LayoutError::Hostile { path: path.chars().take(200).collect(), reason: reason.to_owned() }
}

/// How far a relative target climbs above the directory of its link, taking names at their word; `None` when absolute.
fn levels_climbed(target: &str) -> Option<usize> {
    if target.starts_with('/') {
        return None;
    }
    let (mut depth, mut climb) = (0usize, 0usize);
    for segment in target.split('/') {
        match segment {
            "" | "." => {}
            ".." if depth == 0 => climb += 1,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    Some(climb)
}

fn climbing_link(root: &Node) -> String {
    let (mut path, mut node) = (String::new(), root);
    let mut allowed = 0;
    loop {
        let link = node.dir.symlinks.iter().find(|link| levels_climbed(&link.target).is_none_or(|levels| levels > allowed));
        if let Some(link) = link {
            return path + &link.name;
        }
        allowed += 1;
        let Some((name, child)) = node.named_children().find(|(_, child)| child.climb > allowed) else { return path };
        path.push_str(name);
        path.push('/');
        node = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn climbing_counts_levels_above_the_link() {
        for (target, levels) in
            [("a", 0), ("../a", 1), ("a/../../b", 1), ("../../..", 3), ("a/b/../..", 0), ("./../a/./..", 1), (".", 0)]
        {
            assert_eq!(levels_climbed(target), Some(levels), "{target}");
        }
        assert_eq!(levels_climbed("/etc"), None);
    }
}
