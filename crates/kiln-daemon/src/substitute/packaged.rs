//! A compiler of another machine, and a unit's root with it in place of the client's own. Reads no file and sends nothing.

use kiln_cas::{Digest, Directory, TreeBuilder, TreeError, relative_link};
use kiln_cmdline::OutputKind;
use kiln_proto::v1::{PackagedEntry, PackagedToolchain};
use kiln_toolchain::{Entry, Toolchain};
use kiln_worker::{TERMINAL_PROPERTY, family_name};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};

use crate::action::Analysed;
use crate::blobs::Source;

/// Most entries of one: clang with its resource directory and what it loads has 300.
const ENTRIES_MAX: usize = 20_000;

/// Links on the way to one file: what the kernel follows.
const LINKS_MAX: usize = 40;

/// A compiler of another machine. Its files are there and in the farm, not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Substitute {
    /// Digest of the message that describes it.
    pub(crate) id: Digest,
    pub(crate) driver: String,
    pub(crate) machine: String,
    pub(crate) search_path: String,
    entries: Vec<Entry>,
}

/// Why a unit cannot be compiled by a substitute, or a message is no substitute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unfit(String);

impl From<TreeError> for Unfit {
    fn from(error: TreeError) -> Unfit {
        Unfit(error.to_string())
    }
}

fn unfit<T>(why: impl Into<String>) -> Result<T, Unfit> {
    Err(Unfit(why.into()))
}

impl Substitute {
    /// Reads a description that has the digest `id`.
    pub(crate) fn read(id: Digest, bytes: &[u8]) -> Result<Substitute, Unfit> {
        let packaged = PackagedToolchain::decode(bytes).map_err(|error| Unfit(error.to_string()))?;
        if !packaged.driver.starts_with('/') || packaged.machine.is_empty() || packaged.search_path.is_empty() {
            return unfit("a compiler without a driver, a machine or a path");
        }
        if packaged.entries.len() > ENTRIES_MAX {
            return unfit(format!("more than {ENTRIES_MAX} entries"));
        }
        let PackagedToolchain { driver, machine, search_path, entries, .. } = packaged;
        let entries = entries.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let substitute = Substitute { id, driver, machine, search_path, entries };
        // What cannot stand in a tree alone cannot stand in one with others.
        substitute.add_to(&mut TreeBuilder::new())?;
        Ok(substitute)
    }

    fn add_to(&self, tree: &mut TreeBuilder) -> Result<(), TreeError> {
        self.entries.iter().try_for_each(|entry| match entry {
            Entry::File { path, digest, executable } => tree.file(path, *digest, *executable),
            Entry::Symlink { path, target } => tree.symlink(path, &relative_link(path, target)),
            Entry::Directory { path } => tree.directory(path),
        })
    }
}

fn entry(packaged: PackagedEntry) -> Result<Entry, Unfit> {
    let PackagedEntry { path, digest, executable, target } = packaged;
    match (digest.is_empty(), target.is_empty()) {
        (false, true) => match digest.parse() {
            Ok(digest) => Ok(Entry::File { path, digest, executable }),
            Err(_) => unfit(format!("{path}: no digest")),
        },
        (true, false) => Ok(Entry::Symlink { path, target }),
        (true, true) => Ok(Entry::Directory { path }),
        (false, false) => unfit(format!("{path}: file and link at once")),
    }
}

/// Whether a compiler that says this of itself could stand in for `toolchain`.
pub(crate) fn could_be(toolchain: &Toolchain, offered: &kiln_proto::v1::Substitute) -> bool {
    let own = (family_name(toolchain.family), toolchain.cxx, toolchain.version.as_str(), toolchain.target.as_str());
    own == (offered.family.as_str(), offered.cxx, offered.version.as_str(), offered.target.as_str())
}

impl Analysed {
    /// The same unit compiled by `substitute`: another action, with another key. In its root the client's compiler is absent;
    /// headers stand where the client has them.
    pub(crate) fn with_substitute(&self, substitute: &Substitute) -> Result<Analysed, Unfit> {
        self.check_substitutable()?;
        let mut tree = self.root_without_toolchain()?;
        substitute.add_to(&mut tree)?;
        let tree = tree.build();
        let mut unit = self.clone();
        unit.blobs = self.blobs.with_root_of_others(tree.directories);
        unit.action.input_root_digest = tree.root;
        unit.run_by(&substitute.driver, &substitute.machine, &substitute.search_path);
        Ok(unit)
    }

    /// What makes a unit depend on more of its compiler than two of them can have in common.
    fn check_substitutable(&self) -> Result<(), Unfit> {
        let precompiles = self.unit.output_kind == OutputKind::Precompiled;
        if precompiles || !self.unit.precompiled.is_empty() || self.closure.flags.precompiled {
            return unfit("a precompiled header holds the compiler's own memory");
        }
        if !self.unit.specs.is_empty() {
            return unfit("specs files name programs");
        }
        if self.unit.env.iter().any(|(name, _)| name.starts_with("LD_")) {
            return unfit("the loader is told where to look");
        }
        if self.action.property(TERMINAL_PROPERTY).is_some() {
            return unfit("messages for a terminal");
        }
        Ok(())
    }

    /// The root as a tree, less the files that are there for the compiler alone and the links that lead to those.
    fn root_without_toolchain(&self) -> Result<TreeBuilder, Unfit> {
        let own: BTreeMap<&str, &Entry> = self.toolchain.entries.iter().map(|entry| (entry.path(), entry)).collect();
        let inputs: BTreeSet<&str> = self.blobs.paths().collect();
        let is_dropped = |path: &str| {
            let end = leads_to(&own, path);
            end.is_some_and(|end| !inputs.contains(end))
        };
        let mut tree = TreeBuilder::new();
        let mut pending = vec![(String::new(), self.action.input_root_digest)];
        while let Some((at, digest)) = pending.pop() {
            let directory = match self.blobs.get(&digest) {
                Some(Source::Memory(bytes)) => Directory::decode(bytes).map_err(|error| Unfit(error.to_string()))?,
                _ => return unfit(format!("{at}: no directory")),
            };
            if !at.is_empty() {
                tree.directory(&at)?;
            }
            for file in directory.files {
                let path = format!("{at}/{}", file.name);
                if !is_dropped(&path) {
                    tree.file_with(&path, file.digest, file.is_executable, file.properties)?;
                }
            }
            for link in directory.symlinks {
                let path = format!("{at}/{}", link.name);
                if !is_dropped(&path) {
                    tree.symlink(&path, &link.target)?;
                }
            }
            pending.extend(directory.directories.into_iter().map(|below| (format!("{at}/{}", below.name), below.digest)));
        }
        Ok(tree)
    }
}

/// The file of the toolchain that `path` leads to by links of the toolchain, if it is plain to see.
fn leads_to<'a>(own: &BTreeMap<&'a str, &'a Entry>, path: &str) -> Option<&'a str> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match own.get(path.as_str())? {
            Entry::File { path, .. } => return Some(path),
            Entry::Directory { .. } => return None,
            Entry::Symlink { path: link, target } => path = joined(link, target),
        }
    }
    None
}

/// Where a link leads, its directory and every component of its target being no links.
fn joined(link: &str, target: &str) -> String {
    let mut segments: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => link.split('/').filter(|segment| !segment.is_empty()).collect(),
    };
    if !target.starts_with('/') {
        segments.pop();
    }
    for segment in target.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_among_the_toolchains_own() {
        let entries = [
            Entry::Symlink { path: "/usr/bin/gcc".into(), target: "gcc-12".into() },
            Entry::Symlink { path: "/usr/bin/gcc-12".into(), target: "../lib/./x/gcc".into() },
            Entry::Symlink { path: "/usr/bin/as".into(), target: "/etc/alternatives/as".into() },
            Entry::File { path: "/usr/lib/x/gcc".into(), digest: Digest::EMPTY, executable: true },
            Entry::Symlink { path: "/loop".into(), target: "loop".into() },
            Entry::Directory { path: "/usr/lib/x".into() },
        ];
        let own: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (entry.path(), entry)).collect();
        for (path, end) in [
            ("/usr/bin/gcc", Some("/usr/lib/x/gcc")),
            ("/usr/lib/x/gcc", Some("/usr/lib/x/gcc")),
            ("/usr/bin/as", None),
            ("/usr/lib/x", None),
            ("/loop", None),
            ("/other", None),
        ] {
            assert_eq!(leads_to(&own, path), end, "{path}");
        }
    }

    #[test]
    fn a_description_from_elsewhere_is_checked() {
        let file = |path: &str| PackagedEntry { path: path.into(), digest: Digest::EMPTY.to_string(), ..Default::default() };
        let good = PackagedToolchain {
            driver: "/usr/bin/gcc".into(),
            machine: "aarch64".into(),
            search_path: "/usr/bin".into(),
            entries: vec![file("/usr/bin/gcc")],
            ..Default::default()
        };
        let read = |packaged: &PackagedToolchain| Substitute::read(Digest::EMPTY, &packaged.encode_to_vec());
        assert_eq!(read(&good).map(|substitute| substitute.driver), Ok("/usr/bin/gcc".to_owned()));
        let with = |entry: PackagedEntry| PackagedToolchain { entries: vec![file("/a"), entry], ..good.clone() };
        let bad = [
            PackagedToolchain { driver: "gcc".into(), ..good.clone() },
            PackagedToolchain { machine: String::new(), ..good.clone() },
            with(file("relative")),
            with(file("/x/../../y")),
            with(file("/a/below-a-file")),
            with(PackagedEntry { digest: "12".into(), ..file("/b") }),
            with(PackagedEntry { target: "c".into(), ..file("/b") }),
            PackagedToolchain { entries: vec![file("/a"); ENTRIES_MAX + 1], ..good.clone() },
        ];
        for packaged in bad {
            assert!(read(&packaged).is_err(), "{packaged:?}");
        }
        assert!(Substitute::read(Digest::EMPTY, b"\xff\xff").is_err());
    }
}
