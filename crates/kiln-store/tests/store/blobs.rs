//! What goes in comes out, and nothing else does.

use crate::{PLENTY, content, damage, file_of, open, stored_files};
use kiln_cas::{BlobStore, Digest, StoreError, TreeBuilder};
use kiln_store::{DirectoryError, FILE_MTIME_S, StoreConfig};
use std::io::Read;
use std::os::unix::fs::MetadataExt;

#[test]
fn a_blob_is_read_back_in_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), PLENTY);
    for len in [0, 1, 4096, 300_000] {
        let bytes = content(1, len);
        let digest = Digest::of(&bytes);
        store.put(&digest, &bytes).unwrap();
        assert!(store.contains(&digest));
        assert_eq!(store.get(&digest).unwrap().as_deref(), Some(&bytes[..]));
        let mut read = Vec::new();
        store.open_file(&digest).unwrap().unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, bytes);
    }
    let absent = Digest::of(b"absent");
    assert_eq!(store.find_missing(&[Digest::EMPTY, absent, Digest::of(&content(1, 1))]), [absent]);
    assert!(store.get(&absent).unwrap().is_none());
    assert!(store.open_file(&absent).unwrap().is_none());
}

#[test]
fn files_are_read_only_and_of_one_age() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), PLENTY);
    for executable in [false, true] {
        let mut writer = store.writer(&Digest::of(b"tool"), executable).unwrap();
        writer.write(b"to").unwrap();
        writer.write(b"ol").unwrap();
        let digest = writer.finish().unwrap();
        let metadata = std::fs::metadata(file_of(dir.path(), &digest, executable)).unwrap();
        assert_eq!(metadata.mode() & 0o7777, if executable { 0o555 } else { 0o444 });
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (FILE_MTIME_S, 0));
    }
    assert_eq!(stored_files(dir.path()).len(), 2);
}

#[test]
fn lies_are_refused_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), PLENTY);
    let digest = Digest::of(b"truth");
    assert!(matches!(store.put(&digest, b"a lie"), Err(StoreError::Mismatch(_))));
    let mut longer = store.writer(&digest, false).unwrap();
    longer.write(b"tru").unwrap();
    assert!(matches!(longer.write(b"thful"), Err(StoreError::Mismatch(_))));
    drop(longer);
    let mut shorter = store.writer(&digest, false).unwrap();
    shorter.write(b"trut").unwrap();
    assert!(matches!(shorter.finish(), Err(StoreError::Mismatch(_))));
    let mut other = store.writer(&digest, false).unwrap();
    other.write(b"trutH").unwrap();
    assert!(matches!(other.finish(), Err(StoreError::Mismatch(_))));
    let wrong_size = Digest { size: 6, ..digest };
    store.put(&digest, b"truth").unwrap();
    assert!(!store.contains(&wrong_size) && store.get(&wrong_size).unwrap().is_none());
    assert_eq!(stored_files(dir.path()).len(), 1);
    assert_eq!(store.stats().mismatches, 4);
}

#[test]
fn a_file_is_kept_under_the_digest_of_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), PLENTY);
    let bytes = content(7, 3 << 20);
    let source = dir.path().join("source");
    std::fs::write(&source, &bytes).unwrap();
    let file = std::fs::File::open(&source).unwrap();
    assert_eq!(store.put_file(&file, PLENTY, false).unwrap(), Digest::of(&bytes));
    assert_eq!(store.get(&Digest::of(&bytes)).unwrap().as_deref(), Some(&bytes[..]));
    assert!(matches!(store.put_file(&file, bytes.len() as u64 - 1, false), Err(StoreError::Full(_))));
    store.put_file(&file, bytes.len() as u64, false).unwrap();
    assert_eq!(stored_files(&dir.path().join("blobs-v1")).len(), 1);
}

#[test]
fn every_kind_of_damage_is_a_miss_and_the_file_goes() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(3, 10_000);
    let digest = Digest::of(&bytes);
    let path = file_of(dir.path(), &digest, false);
    let changes: [fn(&mut Vec<u8>); 4] =
        [|bytes| bytes[5_000] ^= 4, |bytes| bytes.truncate(9_999), |bytes| bytes.clear(), |bytes| bytes.push(0)];
    for reopen in [false, true] {
        for (number, change) in changes.iter().enumerate() {
            for way in 0..4 {
                let mut store = open(dir.path(), PLENTY);
                store.put(&digest, &bytes).unwrap();
                damage(&path, change);
                if reopen {
                    drop(store);
                    store = open(dir.path(), PLENTY);
                } else if way != 0 && number == 0 {
                    // Same size and times, changed behind the back of a process that wrote it: only `get` looks at each byte.
                    std::fs::remove_file(&path).unwrap();
                    continue;
                }
                let target = dir.path().join("target");
                let missing = match way {
                    0 => store.get(&digest).unwrap().is_none(),
                    1 => store.open_file(&digest).unwrap().is_none(),
                    2 => store.link(&digest, false, &target).unwrap() == kiln_store::Placed::Missing,
                    _ => store.link(&digest, true, &target).unwrap() == kiln_store::Placed::Missing,
                };
                assert!(missing && !path.exists() && !target.exists(), "change {number}, way {way}, reopen {reopen}");
                assert_eq!(store.stats().corrupt, 1);
                assert!(!store.contains(&digest));
                store.put(&digest, &bytes).unwrap();
                assert!(store.get(&digest).unwrap().is_some());
                std::fs::remove_file(&path).unwrap();
            }
        }
    }
}

#[test]
fn a_put_heals_a_damaged_file_it_has_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(3, 10_000);
    let digest = Digest::of(&bytes);
    open(dir.path(), PLENTY).put(&digest, &bytes).unwrap();
    damage(&file_of(dir.path(), &digest, false), |bytes| bytes[0] ^= 1);
    let store = open(dir.path(), PLENTY);
    store.put(&digest, &bytes).unwrap();
    assert_eq!(std::fs::read(file_of(dir.path(), &digest, false)).unwrap(), bytes);
}

#[test]
fn a_file_written_through_a_link_is_found_out() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), PLENTY);
    let digest = Digest::of(b"header");
    store.put(&digest, b"header").unwrap();
    let link = dir.path().join("link");
    store.link(&digest, false, &link).unwrap();
    std::fs::set_permissions(&link, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(store.open_file(&digest).unwrap().is_some(), "only the mode changed");
    assert_eq!(std::fs::metadata(&link).unwrap().mode() & 0o777, 0o444, "and is restored");
    std::fs::set_permissions(&link, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&link, b"evil!!").unwrap();
    assert_eq!(store.link(&digest, false, &dir.path().join("next")).unwrap(), kiln_store::Placed::Missing);
}

#[test]
fn names_that_are_no_regular_file_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let digest = Digest::of(b"x");
    let path = file_of(dir.path(), &digest, false);
    drop(open(dir.path(), PLENTY));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(dir.path().join("x"), b"x").unwrap();
    std::os::unix::fs::symlink(dir.path().join("x"), &path).unwrap();
    let store = open(dir.path(), PLENTY);
    assert!(!store.contains(&digest));
    store.put(&digest, b"x").unwrap();
    assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
}

#[test]
fn directories_are_decoded_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), PLENTY);
    let mut tree = TreeBuilder::new();
    tree.file("/usr/include/stdio.h", Digest::of(b"stdio"), false).unwrap();
    let tree = tree.build();
    assert!(store.directory(&tree.root).unwrap().is_none());
    for (digest, bytes) in &tree.directories {
        store.put(digest, bytes).unwrap();
    }
    assert_eq!(store.directory(&tree.root).unwrap().unwrap().directories[0].name, "usr");
    let reads = store.stats().hits;
    store.directory(&tree.root).unwrap().unwrap();
    assert_eq!(store.stats().hits, reads);
    store.put(&Digest::of(b"\xff"), b"\xff").unwrap();
    assert!(matches!(store.directory(&Digest::of(b"\xff")), Err(DirectoryError::Decode { .. })));
    let huge = Digest { size: 1 << 31, ..Digest::EMPTY };
    assert!(matches!(store.directory(&huge), Err(DirectoryError::Decode { .. })));
}

#[test]
fn concurrent_writers_of_one_blob_leave_one_inode() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), PLENTY);
    let bytes = content(9, 200_000);
    let digest = Digest::of(&bytes);
    let barrier = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..20 {
                    store.put(&digest, &bytes).unwrap();
                    assert_eq!(store.get(&digest).unwrap().as_deref(), Some(&bytes[..]));
                }
            });
        }
    });
    let inode = std::fs::metadata(file_of(dir.path(), &digest, false)).unwrap().ino();
    store.put(&digest, &bytes).unwrap();
    assert_eq!(std::fs::metadata(file_of(dir.path(), &digest, false)).unwrap().ino(), inode);
    assert_eq!(stored_files(dir.path()).len(), 1);
    let stats = store.stats();
    assert_eq!((stats.files, stats.bytes), (1, 53 * 4096 - 3 * 4096));
    drop(store);
    assert_eq!(std::fs::read_dir(dir.path().join("blobs-v1/tmp")).unwrap().count(), 0);
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(matches!(kiln_store::DiskStore::open(StoreConfig::new(file, PLENTY)), Err(StoreError::Io { .. })));
}
