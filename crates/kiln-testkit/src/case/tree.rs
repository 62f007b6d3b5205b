//! What a directory holds, and how two of them differ. Knows files, not what made them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of a text shown on each side of a difference.
const SHOWN_MAX: usize = 400;

/// What stands at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File(Vec<u8>),
    Link(PathBuf),
    Directory,
    Other,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// The first name of the same file, where it has several.
    linked: Option<PathBuf>,
    /// Whether it was written since the directory was made.
    written: bool,
}

/// All entries below a directory.
pub(crate) type Tree = BTreeMap<PathBuf, Node>;

/// Times of all files, as they are before something runs.
pub(crate) type Times = BTreeMap<PathBuf, (i64, i64)>;

/// Takes all that is below `dir`; what has another time than in `before` was written.
pub(crate) fn take(dir: &Path, before: &Times) -> Tree {
    let mut tree = Tree::new();
    let mut names: BTreeMap<u64, PathBuf> = BTreeMap::new();
    walk(dir, &mut |path, meta| {
        let name = path.strip_prefix(dir).expect("below the directory").to_owned();
        let kind = match meta.file_type() {
            of if of.is_file() => Kind::File(fs::read(path).unwrap_or_default()),
            of if of.is_symlink() => Kind::Link(fs::read_link(path).unwrap_or_default()),
            of if of.is_dir() => Kind::Directory,
            _ => Kind::Other,
        };
        let linked = (meta.is_file() && meta.nlink() > 1).then(|| names.entry(meta.ino()).or_insert(name.clone()).clone());
        let written = meta.is_file() && before.get(&name) != Some(&(meta.mtime(), meta.mtime_nsec()));
        tree.insert(name, Node { kind, mode: meta.mode(), linked, written });
    });
    tree
}

/// The times of all files below `dir`.
pub(crate) fn times(dir: &Path) -> Times {
    let mut times = Times::new();
    walk(dir, &mut |path, meta| {
        times.insert(path.strip_prefix(dir).expect("below the directory").to_owned(), (meta.mtime(), meta.mtime_nsec()));
    });
    times
}

/// Every entry below `dir`, in order of names.
fn walk(dir: &Path, each: &mut impl FnMut(&Path, &fs::Metadata)) {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        each(&path, &meta);
        if meta.is_dir() {
            walk(&path, each);
        }
    }
}

/// In what two directories differ, a line each.
pub(crate) fn differences(local: &Tree, kiln: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, node) in local {
        let name = path.display();
        match kiln.get(path) {
            None => found.push(format!("{name}: not there with kiln")),
            Some(other) if other != node && plain(other) != plain(node) => {
                found.push(format!("{name}: {}", difference(node, other)));
            }
            Some(_) => {}
        }
    }
    found.extend(
        kiln.keys().filter(|path| !local.contains_key(*path)).map(|path| format!("{}: there with kiln alone", path.display())),
    );
    found
}

/// What a precompiled header of gcc begins with, the version included. The rest is the compiler's memory as it was, addresses and
/// all, which differs from run to run.
const GCC_PRECOMPILED: (&[u8], usize) = (b"gpch", 8);

/// The node with what differs between any two runs made equal: temporary names in a text, gcc's own memory.
fn plain(node: &Node) -> Node {
    match &node.kind {
        Kind::File(bytes) if bytes.starts_with(GCC_PRECOMPILED.0) => {
            Node { kind: Kind::File(bytes[..GCC_PRECOMPILED.1.min(bytes.len())].to_vec()), ..node.clone() }
        }
        Kind::File(bytes) if is_text(bytes) => Node { kind: Kind::File(without_temporary_names(bytes)), ..node.clone() },
        _ => node.clone(),
    }
}

fn is_text(bytes: &[u8]) -> bool {
    !bytes.iter().take(4096).any(|byte| *byte == 0)
}

fn difference(local: &Node, kiln: &Node) -> String {
    match (&local.kind, &kiln.kind) {
        (Kind::File(one), Kind::File(other)) if one != other => bytes_differ(one, other),
        (one, other) if one != other => format!("{} locally, {} with kiln", what(one), what(other)),
        _ if local.mode != kiln.mode => format!("mode {:o} locally, {:o} with kiln", local.mode, kiln.mode),
        _ if local.linked != kiln.linked => format!("linked as {:?} locally, as {:?} with kiln", local.linked, kiln.linked),
        _ => format!("written {} locally, {} with kiln", local.written, kiln.written),
    }
}

fn what(kind: &Kind) -> String {
    match kind {
        Kind::File(bytes) => format!("a file of {} bytes", bytes.len()),
        Kind::Link(target) => format!("a link to {}", target.display()),
        Kind::Directory => "a directory".to_owned(),
        Kind::Other => "neither file nor directory".to_owned(),
    }
}

/// Where two contents differ, and both from there on where they are text.
pub(crate) fn bytes_differ(local: &[u8], kiln: &[u8]) -> String {
    let at = local.iter().zip(kiln).take_while(|(one, other)| one == other).count();
    let mut text = format!("{} bytes locally, {} with kiln, the first difference at {at}", local.len(), kiln.len());
    if is_text(local) && is_text(kiln) {
        let line = local[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        for (who, bytes) in [("local", local), ("kiln ", kiln)] {
            let end = bytes.len().min(line + SHOWN_MAX);
            let _ = write!(
                text,
                "\n      {who}: {}",
                bytes[line.min(end)..end].escape_ascii().to_string().replace("\\n", "\n             ")
            );
        }
    }
    text
}

/// Writes the files of `tree` in which it differs from `other` below `dir`, for a look at them.
pub(crate) fn keep(tree: &Tree, other: &Tree, dir: &Path) {
    for (path, node) in tree.iter().filter(|(path, node)| other.get(*path) != Some(node)) {
        if let Kind::File(bytes) = &node.kind {
            let to = dir.join(path);
            let _ = fs::create_dir_all(to.parent().unwrap_or(dir));
            let _ = fs::write(to, bytes);
        }
    }
}

/// `bytes` with the names that compilers give their temporary files made equal: `/tmp/ccXXXXXX` of gcc and `/tmp/NAME-XXXXXX` of
/// clang are drawn by lot.
pub(crate) fn without_temporary_names(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b"/tmp/") {
            let name = after.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)).count();
            let (name, after) = after.split_at(name);
            let stem = name.len().checked_sub(6).filter(|stem| name[..*stem] == *b"cc" || name[..*stem].ends_with(b"-"));
            if let Some(stem) = stem {
                out.extend_from_slice(b"/tmp/");
                out.extend_from_slice(&name[..stem]);
                out.extend_from_slice(b"XXXXXX");
                rest = after;
                continue;
            }
        }
        out.push(rest[0]);
        rest = &rest[1..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_seen() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "one\n").expect("a file");
        fs::hard_link(at("a"), at("b")).expect("a link");
        std::os::unix::fs::symlink("a", at("l")).expect("a link");
        let before = times(dir.path());
        let tree = take(dir.path(), &before);
        assert!(differences(&tree, &take(dir.path(), &before)).is_empty());

        fs::remove_file(at("b")).expect("removed");
        fs::write(at("b"), "one\n").expect("a file");
        fs::write(at("new"), "").expect("a file");
        fs::remove_file(at("l")).expect("removed");
        fs::write(at("l"), "one\n").expect("a file");
        let found = differences(&tree, &take(dir.path(), &before)).join("\n");
        for expect in ["a: linked as", "b: linked as", "l: a link to a locally, a file of 4 bytes", "new: there with kiln alone"] {
            assert!(found.contains(expect), "{expect} is not in\n{found}");
        }
        let touched = Node { written: true, ..tree[Path::new("a")].clone() };
        assert!(difference(&tree[Path::new("a")], &touched).contains("written"));
        let other = Node { kind: Kind::File(b"two\n".to_vec()), ..touched };
        assert!(difference(&tree[Path::new("a")], &other).contains("local: one"));
    }

    #[test]
    fn temporary_names_are_made_equal() {
        let text = b"/tmp/ccAbC12Z.s:1: /tmp/a-12ab9f.o /tmp/cc.s /tmp/other/ccAbC12Z";
        let expect = "/tmp/ccXXXXXX.s:1: /tmp/a-XXXXXX.o /tmp/cc.s /tmp/other/ccAbC12Z";
        assert_eq!(String::from_utf8_lossy(&without_temporary_names(text)), expect);
    }
}
