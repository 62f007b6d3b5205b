//! Builds an input root as a Merkle tree of canonical directories. Knows paths and digests, no files.

use crate::{Digest, Directory, DirectoryNode, FileNode, NodeProperties, PathError, SymlinkNode, normalise_segments};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Two things that cannot both stand at one path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The path is not one.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Another kind of entry, or other content, is there already.
    #[error("{0:?} stands in the tree already, as something else")]
    Conflict(String),
}

#[derive(Debug, Clone)]
enum Entry {
    File { digest: Digest, is_executable: bool, properties: Option<NodeProperties> },
    Symlink(String),
    Directory(Node),
}

#[derive(Debug, Clone, Default)]
struct Node {
    entries: BTreeMap<String, Entry>,
}

/// Collects entries by absolute path. Paths must be physical: no component but the last may be a symbolic link, and `..` is
/// refused; whoever fills the tree walks links component by component and enters each.
#[derive(Debug, Clone, Default)]
pub struct TreeBuilder {
    root: Node,
}

/// A finished tree.
#[derive(Debug, Clone)]
pub struct BuiltTree {
    /// Digest of the root directory.
    pub root: Digest,
    /// Every directory of the tree, encoded, by digest; each once.
    pub directories: Vec<(Digest, Arc<[u8]>)>,
}

impl TreeBuilder {
    /// An empty root.
    pub fn new() -> TreeBuilder {
        TreeBuilder::default()
    }

    fn parent(&mut self, path: &str) -> Result<(&mut Node, String), TreeError> {
        let segments = normalise_segments(path)?;
        let (last, parents) = segments.split_last().ok_or_else(|| TreeError::Conflict(path.to_owned()))?;
        let mut node = &mut self.root;
        for segment in parents {
            let entry = node.entries.entry((*segment).to_owned()).or_insert_with(|| Entry::Directory(Node::default()));
            node = match entry {
                Entry::Directory(next) => next,
                _ => return Err(TreeError::Conflict(path.to_owned())),
            };
        }
        Ok((node, (*last).to_owned()))
    }

    /// Enters a file.
    ///
    /// # Errors
    /// [`TreeError::Conflict`] when something else stands there.
    pub fn file(&mut self, path: &str, digest: Digest, is_executable: bool) -> Result<(), TreeError> {
        self.file_with(path, digest, is_executable, None)
    }

    /// Enters a file with properties beyond its content.
    ///
    /// # Errors
    /// [`TreeError::Conflict`] when something else stands there.
    pub fn file_with(
        &mut self,
        path: &str,
        digest: Digest,
        is_executable: bool,
        properties: Option<NodeProperties>,
    ) -> Result<(), TreeError> {
        let (node, name) = self.parent(path)?;
        match node.entries.get_mut(&name) {
            None => {
                node.entries.insert(name, Entry::File { digest, is_executable, properties });
            }
            Some(Entry::File { digest: old, properties: old_properties, .. }) if *old == digest => {
                if properties.is_some() {
                    *old_properties = properties;
                }
            }
            Some(_) => return Err(TreeError::Conflict(path.to_owned())),
        }
        Ok(())
    }

    /// Enters a symbolic link; `target` as it is to stand in the root (see [`crate::relative_link`]).
    ///
    /// # Errors
    /// [`TreeError::Conflict`] when something else stands there.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), TreeError> {
        let (node, name) = self.parent(path)?;
        match node.entries.get(&name) {
            None => {
                node.entries.insert(name, Entry::Symlink(target.to_owned()));
                Ok(())
            }
            Some(Entry::Symlink(old)) if old == target => Ok(()),
            Some(_) => Err(TreeError::Conflict(path.to_owned())),
        }
    }

    /// Enters a directory, empty if nothing else comes below it.
    ///
    /// # Errors
    /// [`TreeError::Conflict`] when a file or link stands there.
    pub fn directory(&mut self, path: &str) -> Result<(), TreeError> {
        if normalise_segments(path)?.is_empty() {
            return Ok(());
        }
        let (node, name) = self.parent(path)?;
        match node.entries.entry(name).or_insert_with(|| Entry::Directory(Node::default())) {
            Entry::Directory(_) => Ok(()),
            _ => Err(TreeError::Conflict(path.to_owned())),
        }
    }

    /// Encodes the tree, leaves first.
    pub fn build(&self) -> BuiltTree {
        let mut directories = BTreeMap::new();
        let root = encode_node(&self.root, &mut directories);
        BuiltTree { root, directories: directories.into_iter().collect() }
    }
}

fn encode_node(node: &Node, out: &mut BTreeMap<Digest, Arc<[u8]>>) -> Digest {
    let mut directory = Directory::default();
    for (name, entry) in &node.entries {
        let name = name.clone();
        match entry {
            Entry::File { digest, is_executable, properties } => directory.files.push(FileNode {
                name,
                digest: *digest,
                is_executable: *is_executable,
                properties: properties.clone(),
            }),
            Entry::Symlink(target) => directory.symlinks.push(SymlinkNode { name, target: target.clone() }),
            Entry::Directory(node) => {
                let digest = encode_node(node, out);
                directory.directories.push(DirectoryNode { name, digest });
            }
        }
    }
    let bytes = directory.encode();
    let digest = Digest::of(&bytes);
    out.entry(digest).or_insert_with(|| bytes.into());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_entering_does_not_matter() {
        let file = Digest::of(b"x");
        let mut one = TreeBuilder::new();
        one.file("/a/b.h", file, false).unwrap();
        one.directory("/empty").unwrap();
        one.symlink("/l", "a").unwrap();
        let mut two = TreeBuilder::new();
        two.symlink("/l", "a").unwrap();
        two.directory("/empty").unwrap();
        two.directory("/a").unwrap();
        two.file("/a/b.h", file, false).unwrap();
        two.file("//a/./b.h", file, false).unwrap();
        assert_eq!(one.build().root, two.build().root);
        assert_eq!(one.build().directories.len(), 3);
    }

    #[test]
    fn two_things_at_one_path_are_refused() {
        let mut tree = TreeBuilder::new();
        tree.file("/a", Digest::of(b"x"), false).unwrap();
        assert!(tree.file("/a", Digest::of(b"y"), false).is_err());
        assert!(tree.symlink("/a", "b").is_err());
        assert!(tree.directory("/a").is_err());
        assert!(tree.file("/a/b", Digest::of(b"x"), false).is_err());
        assert!(tree.file("/../a", Digest::of(b"x"), false).is_err());
        assert!(tree.directory("/").is_ok());
    }

    #[test]
    fn decoded_directories_are_those_encoded() {
        let mut tree = TreeBuilder::new();
        let mtime = NodeProperties { properties: vec![("link-group".into(), "1".into())], mtime: Some((7, 9)) };
        tree.file_with("/d/x.h", Digest::of(b"x"), true, Some(mtime)).unwrap();
        tree.symlink("/d/y", "x.h").unwrap();
        for (digest, bytes) in tree.build().directories {
            let directory = Directory::decode(&bytes).unwrap();
            assert_eq!(Digest::of(&directory.encode()), digest);
        }
    }
}
