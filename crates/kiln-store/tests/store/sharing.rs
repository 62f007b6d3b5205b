//! Two stores on one directory, as two processes have them.

use crate::{PLENTY, content, file_of, open};
use kiln_cas::{BlobStore, Digest};
use kiln_store::{DiskStore, Placed, StoreConfig};
use std::fs::FileTimes;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A store that looks at every [`DiskStore::maintain`] what the others did.
fn open_watchful(dir: &Path, max_bytes: u64) -> DiskStore {
    DiskStore::open(StoreConfig { rescan_every: Duration::ZERO, ..StoreConfig::new(dir, max_bytes) }).unwrap()
}

fn put(store: &dyn BlobStore, seed: u32) -> Digest {
    let bytes = content(seed, 4000);
    let digest = Digest::of(&bytes);
    store.put(&digest, &bytes).unwrap();
    digest
}

#[test]
fn each_sees_what_the_other_adds_and_removes() {
    let dir = tempfile::tempdir().unwrap();
    let one = open(dir.path(), PLENTY);
    let two = open(dir.path(), PLENTY);
    let digest = put(&one, 0);
    assert!(two.find_missing(&[digest]).is_empty());
    assert!(two.get(&digest).unwrap().is_some());
    std::fs::remove_file(file_of(dir.path(), &digest, false)).unwrap();
    assert!(two.get(&digest).unwrap().is_none());
    assert!(!two.contains(&digest));
    assert_eq!(one.link(&digest, false, &dir.path().join("out")).unwrap(), Placed::Missing);
    let digest = put(&two, 1);
    assert_eq!(one.link(&digest, true, &dir.path().join("out")).unwrap(), Placed::Linked);
}

#[test]
fn housekeeping_counts_what_the_other_added() {
    let dir = tempfile::tempdir().unwrap();
    let one = open_watchful(dir.path(), 20 * 8192);
    let two = open_watchful(dir.path(), 20 * 8192);
    for seed in 0..15 {
        put(&one, seed);
        put(&two, 100 + seed);
    }
    one.maintain().unwrap();
    assert!(one.stats().bytes <= 20 * 8192);
    assert!(crate::stored_files(dir.path()).len() <= 20);
    two.maintain().unwrap();
    assert_eq!(two.stats().files, one.stats().files);
}

#[test]
fn a_blob_the_other_uses_is_not_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let one = open(dir.path(), 4 * 8192);
    let digests: Vec<Digest> = (0..4).map(|seed| put(&one, seed)).collect();
    drop(one);
    for (digest, hours) in digests.iter().zip([4, 3, 2, 1]) {
        let file = std::fs::File::open(file_of(dir.path(), digest, false)).unwrap();
        let mtime = file.metadata().unwrap().modified().unwrap();
        let ago = SystemTime::now() - Duration::from_secs(3600 * hours);
        file.set_times(FileTimes::new().set_accessed(ago).set_modified(mtime)).unwrap();
    }
    let one = open(dir.path(), 4 * 8192);
    let two = open(dir.path(), PLENTY);
    assert!(two.contains(&digests[0]));
    put(&one, 9);
    assert_eq!(one.find_missing(&digests), [digests[1]]);
    assert!(one.get(&digests[0]).unwrap().is_some() && one.get(&digests[1]).unwrap().is_none());
}

/// Both put, read and evict the same few blobs as fast as they can: a read is right or a miss, a put that worked is no error.
#[test]
fn a_fight_over_little_room_serves_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open_watchful(dir.path(), 8 * 8192), open_watchful(dir.path(), 8 * 8192)];
    let blobs: Vec<(Digest, Vec<u8>)> = (0..24).map(|seed| content(seed, 4000)).map(|bytes| (Digest::of(&bytes), bytes)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let (stores, blobs, dir) = (&stores, &blobs, dir.path());
            scope.spawn(move || {
                let store = &stores[thread % 2];
                for step in 0..1500 {
                    let (digest, bytes) = &blobs[(step * 7 + thread * 5) % blobs.len()];
                    store.put(digest, bytes).unwrap();
                    if let Some(read) = store.get(digest).unwrap() {
                        assert_eq!(&read[..], &bytes[..]);
                    }
                    let link = dir.join(format!("link-{thread}"));
                    if store.link(digest, step % 3 == 0, &link).unwrap() != Placed::Missing {
                        assert_eq!(&std::fs::read(&link).unwrap(), bytes);
                        std::fs::remove_file(&link).unwrap();
                    }
                    if step % 50 == 0 {
                        store.maintain().unwrap();
                    }
                }
            });
        }
    });
    for store in &stores {
        assert_eq!(store.stats().corrupt, 0);
        store.maintain().unwrap();
        assert!(store.stats().bytes <= 8 * 8192);
    }
}
