//! Copies and compares trees of files. Knows no build.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::bail;

/// Entries of one tree: ten times the kernel's.
const ENTRIES_MAX: usize = 1_000_000;
/// Directories within directories.
const DEPTH_MAX: usize = 128;

/// What comparing two trees gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// Regular files compared.
    pub(crate) files: usize,
    /// Paths, from the tree, that differ or are in one of them alone.
    pub(crate) differing: Vec<PathBuf>,
}

/// Copies a tree with its times and links, so that a build finds what it had.
///
/// # Errors
/// Something in it cannot be read or written.
pub(crate) fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for (path, kind) in walk(from)? {
        let (source, target) = (from.join(&path), to.join(&path));
        let copied = if kind.is_dir() {
            std::fs::create_dir_all(&target)
        } else if kind.is_symlink() {
            std::fs::read_link(&source).and_then(|link| std::os::unix::fs::symlink(link, &target))
        } else if kind.is_file() {
            std::fs::copy(&source, &target).and_then(|_| {
                let modified = std::fs::metadata(&source)?.modified()?;
                // A read-only copy cannot be opened for writing; its time is set through a read descriptor all the same.
                std::fs::File::open(&target)?.set_modified(modified)
            })
        } else {
            // Sockets and pipes are no part of a project.
            Ok(())
        };
        copied.with_context(|| format!("cannot copy {}", source.display()))?;
    }
    Ok(())
}

/// Moves a finished tree away.
///
/// # Errors
/// It cannot be moved.
pub(crate) fn keep(tree: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::rename(tree, to).with_context(|| format!("cannot move {}", tree.display()))
}

/// Compares all regular files of two trees.
///
/// # Errors
/// Something in them cannot be read.
pub(crate) fn compare(one: &Path, other: &Path) -> anyhow::Result<Compared> {
    let files = |tree: &Path| -> anyhow::Result<Vec<PathBuf>> {
        Ok(walk(tree)?.into_iter().filter(|(_, kind)| kind.is_file()).map(|(path, _)| path).collect())
    };
    let (mut here, there) = (files(one)?, files(other)?);
    let mut compared = Compared::default();
    for path in &here {
        compared.files += 1;
        let (Ok(a), Ok(b)) = (std::fs::read(one.join(path)), std::fs::read(other.join(path))) else {
            compared.differing.push(path.clone());
            continue;
        };
        if a != b {
            compared.differing.push(path.clone());
        }
    }
    here.sort();
    compared.differing.extend(there.into_iter().filter(|path| here.binary_search(path).is_err()));
    Ok(compared)
}

/// Everything below `root`, each directory before what is in it.
fn walk(root: &Path) -> anyhow::Result<Vec<(PathBuf, std::fs::FileType)>> {
    let mut found = vec![(PathBuf::new(), std::fs::metadata(root).with_context(|| root.display().to_string())?.file_type())];
    let mut next = 0;
    while let Some((path, kind)) = found.get(next).cloned() {
        next += 1;
        if !kind.is_dir() {
            continue;
        }
        let dir = root.join(&path);
        for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let entry = entry?;
            found.push((path.join(entry.file_name()), entry.file_type()?));
        }
        if found.len() > ENTRIES_MAX || path.components().count() > DEPTH_MAX {
            bail!("{}: too large a tree", root.display());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_equal_until_something_changes() {
        let temp = tempfile::tempdir().unwrap();
        let (one, other) = (temp.path().join("one"), temp.path().join("other"));
        std::fs::create_dir_all(one.join("sub/deep")).unwrap();
        std::fs::write(one.join("sub/deep/a"), "a").unwrap();
        std::fs::write(one.join("b"), "b").unwrap();
        std::os::unix::fs::symlink("b", one.join("link")).unwrap();
        copy(&one, &other).unwrap();
        assert_eq!(compare(&one, &other).unwrap(), Compared { files: 2, differing: vec![] });
        let time = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(&one.join("b")), time(&other.join("b")));
        assert_eq!(std::fs::read_link(other.join("link")).unwrap(), Path::new("b"));
        std::fs::write(one.join("sub/deep/a"), "x").unwrap();
        std::fs::remove_file(one.join("b")).unwrap();
        std::fs::write(one.join("new"), "").unwrap();
        let mut compared = compare(&one, &other).unwrap();
        compared.differing.sort();
        assert_eq!(compared.differing, [Path::new("b"), Path::new("new"), Path::new("sub/deep/a")]);
    }
}
