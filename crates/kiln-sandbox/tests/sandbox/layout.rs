//! Laying roots out: by difference as if anew, identities, hostile trees.

use super::support::Store;
use kiln_cas::{Digest, Directory, DirectoryNode, FileNode, NodeProperties, SymlinkNode, TreeBuilder};
use kiln_sandbox::{Blobs, DEPTH_MAX, ENTRIES_MAX, JobUser, LayoutError, NODE_MTIME_SECONDS, RootPool};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

struct Bench {
    store: Store,
    pool: RootPool,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(idle_max: usize) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("store"));
        let pool = RootPool::open(&dir.path().join("roots"), JobUser::NOBODY, idle_max).unwrap();
        Bench { store, pool, dir }
    }

    fn roots(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("roots")).unwrap().count()
    }

    #[track_caller]
    fn lay_out(&self, tree: &TreeBuilder) -> kiln_sandbox::LaidRoot {
        let root = self.store.put_tree(&tree.build());
        self.pool.lay_out(&self.store, &root).unwrap()
    }
}

/// All that a job could tell about a tree, its root apart: kind, mode, time, content, and who shares an inode with whom.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, String> {
    let (mut entries, mut inodes, mut todo) = (BTreeMap::new(), BTreeMap::<u64, PathBuf>::new(), vec![root.to_owned()]);
    while let Some(path) = todo.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let relative = path.strip_prefix(root).unwrap().to_owned();
        let what = if metadata.is_dir() {
            let mut below: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            below.sort_by(|a, b| b.cmp(a));
            todo.extend(below);
            "directory".to_owned()
        } else if metadata.is_symlink() {
            format!("link to {}", std::fs::read_link(&path).unwrap().display())
        } else {
            let first = inodes.entry(metadata.ino()).or_insert_with(|| relative.clone());
            format!("{:?} same as {}", std::fs::read(&path).unwrap(), first.display())
        };
        let state = format!("{:o} {} {}.{} {what}", metadata.mode(), metadata.uid(), metadata.mtime(), metadata.mtime_nsec());
        entries.insert(relative, state);
    }
    entries
}

#[derive(Debug, Clone)]
enum Thing {
    File(u8, bool),
    Timed(u8, i64),
    Grouped(u8, u8),
    Link(u8),
    Dir,
}

fn things() -> impl Strategy<Value = Vec<(u8, u8, u8, Thing)>> {
    let thing = prop_oneof![
        6 => (0..6u8, any::<bool>()).prop_map(|(content, executable)| Thing::File(content, executable)),
        1 => (0..3u8, 0..3i64).prop_map(|(content, time)| Thing::Timed(content, time)),
        1 => (0..2u8, 0..2u8).prop_map(|(content, group)| Thing::Grouped(content, group)),
        1 => (0..3u8).prop_map(Thing::Link),
        1 => Just(Thing::Dir),
    ];
    prop::collection::vec((0..4u8, 0..3u8, 0..5u8, thing), 0..24)
}

fn build(store: &Store, things: &[(u8, u8, u8, Thing)]) -> TreeBuilder {
    let mut tree = TreeBuilder::new();
    for (a, b, c, thing) in things {
        // Names clash on purpose: a path may be a file in one tree and a directory in the next.
        let path = match b {
            0 => format!("/{a}"),
            1 => format!("/{a}/{c}"),
            _ => format!("/{a}/{b}/{c}"),
        };
        // Content 0 is empty; an entry that clashes within one tree is left out.
        let content = |content: &u8| store.put(&vec![b'x'; usize::from(*content)]);
        let _ = match thing {
            Thing::File(bytes, executable) => tree.file(&path, content(bytes), *executable),
            Thing::Timed(bytes, time) => {
                let properties = NodeProperties { mtime: Some((1_500_000_000 + time, 7)), ..NodeProperties::default() };
                tree.file_with(&path, content(bytes), false, Some(properties))
            }
            Thing::Grouped(bytes, group) => {
                let properties = NodeProperties { properties: vec![("link-group".into(), group.to_string())], mtime: None };
                tree.file_with(&path, content(bytes), false, Some(properties))
            }
            Thing::Link(to) => tree.symlink(&path, &to.to_string()),
            Thing::Dir => tree.directory(&path),
        };
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn by_difference_is_as_if_laid_out_anew(trees in prop::collection::vec(things(), 1..6)) {
        let reused = Bench::new(1);
        for things in &trees {
            let fresh = Bench::new(1);
            let (one, two) = (reused.lay_out(&build(&reused.store, things)), fresh.lay_out(&build(&fresh.store, things)));
            prop_assert_eq!(snapshot(&one.path()), snapshot(&two.path()));
        }
        prop_assert_eq!(reused.roots(), 1);
        reused.store.verify();
    }
}

#[test]
fn equal_files_are_two_inodes_unless_they_are_links_of_each_other() {
    let bench = Bench::new(1);
    let (same, empty) = (bench.store.put(b"same"), bench.store.put(b""));
    let group = |name: &str| Some(NodeProperties { properties: vec![("link-group".into(), name.into())], mtime: None });
    let mut tree = TreeBuilder::new();
    for name in ["/a/x.h", "/b/x.h", "/c/x.h"] {
        tree.file(name, same, false).unwrap();
    }
    tree.file("/a/e", empty, false).unwrap();
    tree.file("/b/e", empty, false).unwrap();
    for (name, of) in [("/a/g", "1"), ("/b/g", "1"), ("/c/g", "2")] {
        tree.file_with(name, same, false, group(of)).unwrap();
    }
    let root = bench.lay_out(&tree);
    let inode = |name: &str| root.path().join(name).metadata().unwrap().ino();
    let names = ["a/x.h", "b/x.h", "c/x.h", "a/e", "b/e", "a/g", "c/g"];
    let inodes: std::collections::BTreeSet<u64> = names.iter().map(|name| inode(name)).collect();
    assert_eq!(inodes.len(), names.len());
    assert_eq!(inode("a/g"), inode("b/g"));
    // One of the three is the store's own file, so that its pages are shared; a group never is, for its names are the job's.
    let stored = bench.store.dir.join(same.hex()).metadata().unwrap();
    assert_eq!(stored.nlink(), 2);
    assert!(["a/g", "c/g"].iter().all(|name| inode(name) != stored.ino()));
}

#[test]
fn times_are_the_given_ones_or_the_constant() {
    let bench = Bench::new(1);
    let digest = bench.store.put(b"x");
    let mut tree = TreeBuilder::new();
    tree.file("/d/plain", digest, false).unwrap();
    let properties = NodeProperties { mtime: Some((1_234_567_890, 987_654_321)), ..NodeProperties::default() };
    tree.file_with("/d/timed", digest, false, Some(properties)).unwrap();
    tree.symlink("/d/link", "plain").unwrap();
    let root = bench.lay_out(&tree);
    let time = |name: &str| {
        let metadata = std::fs::symlink_metadata(root.path().join(name)).unwrap();
        (metadata.mtime(), metadata.mtime_nsec())
    };
    assert_eq!(time("d/timed"), (1_234_567_890, 987_654_321));
    for name in ["", "d", "d/plain", "d/link"] {
        assert_eq!(time(name), (NODE_MTIME_SECONDS, 0), "{name}");
    }
}

#[test]
fn the_most_similar_idle_root_is_taken() {
    let bench = Bench::new(4);
    let project = |name: &str, version: &str| {
        let mut tree = TreeBuilder::new();
        for index in 0..20 {
            tree.file(&format!("/{name}/{index}"), bench.store.put(format!("{name}{index}").as_bytes()), false).unwrap();
        }
        tree.file("/main.c", bench.store.put(version.as_bytes()), false).unwrap();
        tree
    };
    let (one, two) = (bench.lay_out(&project("one", "1")), bench.lay_out(&project("two", "1")));
    let (first, second) = (one.path(), two.path());
    assert_ne!(first, second);
    drop((one, two));
    assert_eq!(bench.lay_out(&project("one", "2")).path(), first);
    assert_eq!(bench.lay_out(&project("two", "2")).path(), second);
    assert_eq!(bench.roots(), 2);
}

#[test]
fn no_more_idle_roots_are_kept_than_wanted() {
    let bench = Bench::new(2);
    let roots: Vec<_> = (0..5u8)
        .map(|index| {
            let mut tree = TreeBuilder::new();
            tree.file("/a", bench.store.put(&[index; 3]), false).unwrap();
            bench.lay_out(&tree)
        })
        .collect();
    assert_eq!(bench.roots(), 5);
    drop(roots);
    assert_eq!(bench.roots(), 2);
}

#[test]
fn a_pool_is_emptied_when_opened_and_belongs_to_one() {
    let bench = Bench::new(2);
    let roots = bench.dir.path().join("roots");
    let mut tree = TreeBuilder::new();
    tree.file("/a/b", bench.store.put(b"x"), false).unwrap();
    drop(bench.lay_out(&tree));
    assert!(RootPool::open(&roots, JobUser::NOBODY, 1).is_err(), "it is in use");
    let Bench { pool, dir, .. } = bench;
    drop(pool);
    std::fs::write(roots.join("litter"), b"").unwrap();
    let _pool = RootPool::open(&roots, JobUser::NOBODY, 1).unwrap();
    assert_eq!(std::fs::read_dir(&roots).unwrap().count(), 0);
    drop(dir);
}

#[test]
fn all_missing_blobs_are_named_at_once() {
    let bench = Bench::new(2);
    let absent: Vec<Digest> = ["one", "two", "three"].iter().map(|text| Digest::of(text.as_bytes())).collect();
    let mut tree = TreeBuilder::new();
    tree.file("/here", bench.store.put(b"here"), false).unwrap();
    tree.file("/a/one", absent[0], false).unwrap();
    tree.file("/b/c/two", absent[1], false).unwrap();
    tree.file("/b/two-again", absent[1], false).unwrap();
    tree.file("/d/three", absent[2], false).unwrap();
    let built = tree.build();
    // The directory `d` is missing as well, and with it nobody can know of `three`.
    let root = Directory::decode(&built.directories.iter().find(|(digest, _)| *digest == built.root).unwrap().1).unwrap();
    let d = root.directories.iter().find(|node| node.name == "d").unwrap().digest;
    for (digest, bytes) in built.directories.iter().filter(|(digest, _)| *digest != d) {
        bench.store.put_directory(*digest, Directory::decode(bytes).unwrap());
    }
    let mut expected = vec![absent[0], absent[1], d];
    expected.sort();
    match bench.pool.lay_out(&bench.store, &built.root) {
        Err(LayoutError::Missing(missing)) => assert_eq!(missing, expected),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.roots(), 0, "nothing was begun");
}

#[test]
fn a_blob_that_is_evicted_meanwhile_is_missing_not_wrong() {
    let bench = Bench::new(1);
    let (a, b) = (bench.store.put(b"a"), bench.store.put(b"b"));
    let mut tree = TreeBuilder::new();
    tree.file("/sub/a", a, false).unwrap();
    let first = bench.lay_out(&tree);
    bench.store.remove(&a);
    // The pool knows `sub` from the root in use, so that only linking finds out.
    tree.file("/b", b, false).unwrap();
    let root = bench.store.put_tree(&tree.build());
    match bench.pool.lay_out(&bench.store, &root) {
        Err(LayoutError::Missing(missing)) => assert_eq!(missing, [a]),
        other => panic!("{other:?}"),
    }
    drop(first);
    assert_eq!(bench.roots(), 1);
    bench.store.put(b"a");
    let second = bench.pool.lay_out(&bench.store, &root).unwrap();
    assert_eq!(std::fs::read(second.path().join("sub/a")).unwrap(), b"a");
}

fn file(name: &str) -> FileNode {
    FileNode { name: name.into(), digest: Digest::EMPTY, is_executable: false, properties: None }
}

fn below(bench: &Bench, name: &str, directory: Directory) -> Directory {
    let digest = Digest::of(&directory.encode());
    bench.store.put_directory(digest, directory);
    Directory { directories: vec![DirectoryNode { name: name.into(), digest }], ..Directory::default() }
}

/// Expects a refusal that names the entry, and that nothing was written.
#[track_caller]
fn refused(bench: &Bench, directory: Directory, entry: &str) {
    let digest = Digest::of(&directory.encode());
    bench.store.put_directory(digest, directory);
    match bench.pool.lay_out(&bench.store, &digest) {
        Err(LayoutError::Hostile { path, reason }) => assert!(path.starts_with(entry), "{path}: {reason}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{entry} was laid out"),
    }
    assert_eq!(bench.roots(), 0);
    let outside: Vec<_> = std::fs::read_dir(bench.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(outside.len(), 2, "{outside:?}");
}

#[test]
fn names_that_are_no_segments_are_refused() {
    let bench = Bench::new(1);
    for name in ["..", ".", "../x", "/etc/x", "a/b", "", "a\0b", &"x".repeat(256)] {
        let inner = Directory { files: vec![file(name)], ..Directory::default() };
        let named: String = format!("d/{name}").trim_end_matches('/').chars().take(200).collect();
        refused(&bench, below(&bench, "d", inner), &named);
        let inner =
            Directory { directories: vec![DirectoryNode { name: name.into(), digest: Digest::EMPTY }], ..Directory::default() };
        refused(&bench, below(&bench, "d", inner), "d");
        let link = SymlinkNode { name: name.into(), target: "x".into() };
        refused(&bench, below(&bench, "d", Directory { symlinks: vec![link], ..Directory::default() }), "d");
    }
}

#[test]
fn names_that_stand_twice_or_unsorted_are_refused() {
    let bench = Bench::new(1);
    refused(&bench, Directory { files: vec![file("a"), file("a")], ..Directory::default() }, "a");
    let link = SymlinkNode { name: "a".into(), target: "..".into() };
    refused(&bench, Directory { files: vec![file("a")], symlinks: vec![link], ..Directory::default() }, "a");
    refused(&bench, below(&bench, "d", Directory { files: vec![file("b"), file("a")], ..Directory::default() }), "d");
}

#[test]
fn links_out_of_the_root_are_refused() {
    let bench = Bench::new(1);
    for (target, fine) in [("..", true), ("../..", false), ("../x/../../y", false), ("/etc/passwd", false), ("", false)] {
        let link = SymlinkNode { name: "l".into(), target: target.into() };
        let directory = below(&bench, "d", Directory { symlinks: vec![link], ..Directory::default() });
        if fine {
            let digest = Digest::of(&directory.encode());
            bench.store.put_directory(digest, directory);
            let mut root = bench.pool.lay_out(&bench.store, &digest).unwrap();
            assert_eq!(std::fs::read_link(root.path().join("d/l")).unwrap(), Path::new(target));
            let path = root.path();
            root = {
                drop(root);
                let empty = bench.store.put_tree(&TreeBuilder::new().build());
                bench.pool.lay_out(&bench.store, &empty).unwrap()
            };
            assert_eq!(root.path(), path, "reused, the link removed");
            drop(root);
            std::fs::remove_dir(path).unwrap();
        } else {
            refused(&bench, directory, "d/l");
        }
    }
}

#[test]
fn trees_too_deep_or_too_large_are_refused() {
    let bench = Bench::new(1);
    let mut chain = Directory { files: vec![file("f")], ..Directory::default() };
    for _ in 0..=DEPTH_MAX {
        chain = below(&bench, "d", chain);
    }
    refused(&bench, chain, "d/d/d/d");
    // Few bytes, a million entries: each level holds the one below ten times.
    let mut bomb = Directory { files: vec![file("f")], ..Directory::default() };
    for _ in 0..7 {
        let digest = Digest::of(&bomb.encode());
        bench.store.put_directory(digest, bomb);
        let node = |index: u8| DirectoryNode { name: index.to_string(), digest };
        bomb = Directory { directories: (0..10).map(node).collect(), ..Directory::default() };
    }
    refused(&bench, bomb, "");
    let mut names: Vec<String> = (0..=ENTRIES_MAX).map(|index| index.to_string()).collect();
    names.sort();
    let flat = Directory { files: names.iter().map(|name| file(name)).collect(), ..Directory::default() };
    refused(&bench, below(&bench, "flat", flat), "flat");
}

#[test]
fn impossible_times_are_refused() {
    let bench = Bench::new(1);
    for mtime in [(i64::MAX, 0), (i64::MIN, 0), (0, 1_000_000_000)] {
        let properties = NodeProperties { mtime: Some(mtime), ..NodeProperties::default() };
        let file = FileNode { properties: Some(properties), ..file("f") };
        refused(&bench, Directory { files: vec![file], ..Directory::default() }, "f");
    }
}

#[test]
fn a_directory_that_is_no_directory_is_an_error() {
    struct Broken;
    impl Blobs for Broken {
        fn directory(&self, _: &Digest) -> Result<Option<std::sync::Arc<Directory>>, kiln_sandbox::BlobsError> {
            Err(Directory::decode(b"\x0a\xff").unwrap_err().into())
        }
        fn contains(&self, _: &Digest) -> bool {
            true
        }
        fn link(&self, _: &Digest, _: bool, _: std::os::fd::BorrowedFd<'_>, _: &str) -> std::io::Result<kiln_sandbox::LinkKind> {
            Ok(kiln_sandbox::LinkKind::CannotLink)
        }
        fn open(&self, _: &Digest) -> std::io::Result<std::fs::File> {
            std::fs::File::open("/dev/null")
        }
    }
    let bench = Bench::new(1);
    assert!(matches!(bench.pool.lay_out(&Broken, &Digest::of(b"x")), Err(LayoutError::Hostile { .. })));
}

#[test]
fn what_cannot_be_linked_is_copied() {
    struct Unlinkable<'a>(&'a Store);
    impl Blobs for Unlinkable<'_> {
        fn directory(&self, digest: &Digest) -> Result<Option<std::sync::Arc<Directory>>, kiln_sandbox::BlobsError> {
            self.0.directory(digest)
        }
        fn contains(&self, digest: &Digest) -> bool {
            self.0.contains(digest)
        }
        fn link(&self, _: &Digest, _: bool, _: std::os::fd::BorrowedFd<'_>, _: &str) -> std::io::Result<kiln_sandbox::LinkKind> {
            Ok(kiln_sandbox::LinkKind::CannotLink)
        }
        fn open(&self, digest: &Digest) -> std::io::Result<std::fs::File> {
            self.0.open(digest)
        }
    }
    let (linked, copied) = (Bench::new(1), Bench::new(1));
    let mut tree = TreeBuilder::new();
    for bench in [&linked, &copied] {
        bench.store.put(b"text");
    }
    tree.file("/a/x", Digest::of(b"text"), true).unwrap();
    tree.file("/a/y", Digest::of(b"text"), false).unwrap();
    let digest = copied.store.put_tree(&tree.build());
    let one = linked.lay_out(&tree);
    let two = copied.pool.lay_out(&Unlinkable(&copied.store), &digest).unwrap();
    assert_eq!(snapshot(&one.path()), snapshot(&two.path()));
    assert_eq!(two.path().join("a/x").metadata().unwrap().nlink(), 1);
}
