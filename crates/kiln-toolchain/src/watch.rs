//! Whether what a toolchain was found from still stands: files by stamp, names by their directory's stamp. Finds nothing itself.

use crate::cache::is_lasting;
use crate::{DigestCache, FileStamp, record};
use kiln_cas::Digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// What a name in a directory has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Expect {
    /// Nothing, or nothing that can be looked at.
    Absent,
    /// A link with this text.
    Link(String),
    /// A directory.
    Directory,
    /// Anything through which no path leads.
    Other,
}

#[derive(Debug, Serialize, Deserialize)]
struct WatchedFile {
    path: PathBuf,
    stamp: FileStamp,
    /// Set while the stamp does not vouch for the content: the file was too fresh when it was read.
    #[serde(with = "record::optional_digest")]
    unsettled: Option<Digest>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct WatchedDirectory {
    names: BTreeMap<String, Expect>,
    /// All names of the directory, sorted, where any new one would matter.
    listing: Option<Vec<String>>,
}

/// Collects what has to stay.
#[derive(Debug, Default)]
pub(crate) struct WatchBuilder {
    files: BTreeMap<PathBuf, (FileStamp, Option<Digest>)>,
    directories: BTreeMap<PathBuf, WatchedDirectory>,
}

/// Everything a toolchain was found from. Asking costs one stat for each file and directory, as long as no directory changed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Watch {
    files: Vec<WatchedFile>,
    directories: Vec<(PathBuf, WatchedDirectory)>,
    /// Stamp of each directory at which its names were seen to be right, if it had settled then.
    #[serde(skip)]
    seen: Mutex<Vec<Option<FileStamp>>>,
}

impl WatchBuilder {
    pub(crate) fn file(&mut self, path: &str, stamp: FileStamp, unsettled: Option<Digest>) {
        self.files.insert(PathBuf::from(path), (stamp, unsettled));
    }

    /// `directory` is physical and exists; `/` is the root.
    pub(crate) fn name(&mut self, directory: &str, name: &str, expect: Expect) {
        self.directory(directory).names.insert(name.to_owned(), expect);
    }

    pub(crate) fn listing(&mut self, directory: &str, names: Vec<String>) {
        self.directory(directory).listing = Some(names);
    }

    fn directory(&mut self, path: &str) -> &mut WatchedDirectory {
        let path = if path.is_empty() { "/" } else { path };
        self.directories.entry(PathBuf::from(path)).or_default()
    }

    pub(crate) fn build(self) -> Watch {
        let files =
            self.files.into_iter().map(|(path, (stamp, unsettled))| WatchedFile { path, stamp, unsettled }).collect::<Vec<_>>();
        let directories: Vec<_> = self.directories.into_iter().collect();
        Watch { files, directories, seen: Mutex::default() }
    }
}

impl Watch {
    /// Whether all of it still is as it was found.
    pub(crate) fn holds(&self) -> bool {
        self.files.iter().all(file_holds) && {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.resize(self.directories.len(), None);
            self.directories.iter().zip(seen.iter_mut()).all(|((path, directory), seen)| directory_holds(path, directory, seen))
        }
    }

    /// Whether stamps alone vouch for every file, and will to another process.
    pub(crate) fn is_lasting(&self) -> bool {
        let mut devices = BTreeSet::new();
        let mut lasts = |file: &WatchedFile| !devices.insert(file.stamp.dev) || is_lasting(&file.path);
        self.files.iter().all(|file| file.unsettled.is_none() && lasts(file))
    }

    /// Whether a change at an absolute path would be noticed: a watched file, a watched name, or anything below a name that
    /// is watched to be absent.
    pub(crate) fn covers(&self, path: &Path) -> bool {
        let mut walked = PathBuf::from("/");
        for name in path.components() {
            let name = match name {
                std::path::Component::Normal(name) => name,
                std::path::Component::ParentDir => {
                    walked.pop();
                    continue;
                }
                _ => continue,
            };
            let child = walked.join(name);
            if self.files.binary_search_by(|file| file.path.as_path().cmp(&child)).is_ok() {
                return true;
            }
            let watched = self.directories.binary_search_by(|(directory, _)| directory.as_path().cmp(&walked));
            if let Some((_, directory)) = watched.ok().and_then(|at| self.directories.get(at)) {
                let listed = directory.listing.is_some() && !child.exists();
                if listed || name.to_str().and_then(|name| directory.names.get(name)) == Some(&Expect::Absent) {
                    return true;
                }
            }
            match child.canonicalize() {
                Ok(physical) => walked = physical,
                Err(_) => return false,
            }
        }
        let watched = self.directories.binary_search_by(|(directory, _)| directory.as_path().cmp(&walked));
        watched.is_ok() || self.files.binary_search_by(|file| file.path.as_path().cmp(&walked)).is_ok()
    }
}

fn file_holds(file: &WatchedFile) -> bool {
    let Ok(metadata) = std::fs::symlink_metadata(&file.path) else { return false };
    if !metadata.is_file() || FileStamp::of(&metadata) != file.stamp {
        return false;
    }
    match file.unsettled {
        None => true,
        Some(digest) => DigestCache::new().digest(&file.path).is_ok_and(|(now, _)| now == digest),
    }
}

fn directory_holds(path: &Path, directory: &WatchedDirectory, seen: &mut Option<FileStamp>) -> bool {
    let now = SystemTime::now();
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return false };
    let stamp = FileStamp::of(&metadata);
    if !metadata.is_dir() {
        return false;
    }
    if *seen == Some(stamp) {
        return true;
    }
    let names = directory.names.iter().all(|(name, expect)| name_holds(&path.join(name), expect));
    let listing = directory.listing.as_ref().is_none_or(|names| list(path).is_ok_and(|now| now == *names));
    *seen = (names && listing && stamp.is_settled_at(now)).then_some(stamp);
    names && listing
}

fn name_holds(path: &Path, expect: &Expect) -> bool {
    match (std::fs::symlink_metadata(path), expect) {
        (Err(_), Expect::Absent) => true,
        (Ok(metadata), Expect::Directory) => metadata.is_dir(),
        (Ok(metadata), Expect::Other) => !metadata.is_dir() && !metadata.is_symlink(),
        (Ok(metadata), Expect::Link(target)) => {
            metadata.is_symlink()
                && std::fs::read_link(path).is_ok_and(|now| now.as_os_str().as_encoded_bytes() == target.as_bytes())
        }
        _ => false,
    }
}

/// The names in a directory, sorted; those that are not UTF-8 with replacement characters, for comparing only.
pub(crate) fn list(path: &Path) -> std::io::Result<Vec<String>> {
    let mut names = std::fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
