//! The byte bound holds, the least recently used go, the pinned stay.

use crate::{content, file_of, open};
use kiln_cas::{BlobStore, Digest, StoreError};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What a file of up to 4096 bytes is charged: its block and one for the inode.
const SMALL: u64 = 2 * 4096;

fn put(store: &dyn BlobStore, seed: u32) -> Digest {
    let bytes = content(seed, 4000);
    let digest = Digest::of(&bytes);
    store.put(&digest, &bytes).unwrap();
    digest
}

fn last_used(dir: &Path, digest: &Digest, ago: Duration) {
    let file = std::fs::File::open(file_of(dir, digest, false)).unwrap();
    let mtime = file.metadata().unwrap().modified().unwrap();
    let times = std::fs::FileTimes::new().set_accessed(SystemTime::now() - ago).set_modified(mtime);
    file.set_times(times).unwrap();
}

#[test]
fn the_bound_is_never_passed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 10 * SMALL);
    let digests: Vec<Digest> = (0..100)
        .map(|seed| {
            let digest = put(&store, seed);
            assert!(store.stats().bytes <= 10 * SMALL);
            digest
        })
        .collect();
    let stats = store.stats();
    assert_eq!((stats.files, stats.evictions, stats.evicted_bytes), (10, 90, 90 * SMALL));
    assert_eq!(store.find_missing(&digests), digests[..90]);
    assert_eq!(crate::stored_files(dir.path()).len(), 10);
}

#[test]
fn the_order_of_use_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100 * SMALL);
    let digests: Vec<Digest> = (0..10).map(|seed| put(&store, seed)).collect();
    for (age, digest) in [3, 9, 1, 7, 5, 2, 8, 0, 6, 4].iter().zip(&digests) {
        last_used(dir.path(), digest, Duration::from_secs(3600 * (age + 1)));
    }
    drop(store);
    let store = open(dir.path(), 4 * SMALL);
    let left: Vec<usize> = (0..10).filter(|&i| file_of(dir.path(), &digests[i], false).exists()).collect();
    assert_eq!(left, [0, 2, 5, 7]);
    assert_eq!(store.stats().evictions, 6);
}

#[test]
fn a_use_is_remembered_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let digests: Vec<Digest> = {
        let store = open(dir.path(), 100 * SMALL);
        (0..3).map(|seed| put(&store, seed)).collect()
    };
    for digest in &digests {
        last_used(dir.path(), digest, Duration::from_secs(3600));
    }
    assert!(open(dir.path(), 100 * SMALL).contains(&digests[1]));
    let store = open(dir.path(), SMALL);
    assert_eq!(store.find_missing(&digests), [digests[0], digests[2]]);
}

#[test]
fn pinned_blobs_stay_until_the_guard_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 4 * SMALL);
    let early = put(&store, 0);
    let bytes = content(1, 4000);
    let late = Digest::of(&bytes);
    let guard = store.pin(&[early, late]);
    let second = store.pin(&[early]);
    store.put(&late, &bytes).unwrap();
    for seed in 10..30 {
        put(&store, seed);
    }
    assert!(store.find_missing(&[early, late]).is_empty());
    drop(guard);
    for seed in 30..50 {
        put(&store, seed);
    }
    assert_eq!(store.find_missing(&[early, late]), [late]);
    drop(second);
    for seed in 50..70 {
        put(&store, seed);
    }
    assert_eq!(store.find_missing(&[early]), [early]);
    assert_eq!(store.stats().pinned, 0);
}

#[test]
fn a_store_full_of_pinned_blobs_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 2 * SMALL);
    let digests = [put(&store, 0), put(&store, 1)];
    let guard = store.pin(&digests);
    let bytes = content(2, 10);
    assert!(matches!(store.put(&Digest::of(&bytes), &bytes), Err(StoreError::Full(_))));
    assert!(store.find_missing(&digests).is_empty());
    drop(guard);
    store.put(&Digest::of(&bytes), &bytes).unwrap();
    assert_eq!(store.stats().full, 1);
}

#[test]
fn a_blob_over_the_bound_evicts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 4 * SMALL);
    let kept = put(&store, 0);
    let bytes = content(1, 4 * SMALL as usize + 1);
    assert!(matches!(store.put(&Digest::of(&bytes), &bytes), Err(StoreError::Full(_))));
    assert!(store.contains(&kept));
}

#[test]
fn writers_at_work_count_against_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 4 * SMALL);
    let digests: Vec<Digest> = (0..5).map(|seed| Digest::of(&content(seed, 4000))).collect();
    let writers: Vec<_> = digests[..4].iter().map(|digest| store.writer(digest, false).unwrap()).collect();
    assert!(matches!(store.writer(&digests[4], false), Err(StoreError::Full(_))));
    drop(writers);
    let mut unknown = store.writer_unknown(1 << 30, false).unwrap();
    let mut written = 0;
    let error = loop {
        match unknown.write(&content(9, 4096)) {
            Ok(()) => written += 4096,
            Err(error) => break error,
        }
        assert!(written <= 4 * SMALL);
    };
    assert!(matches!(error, StoreError::Full(_)));
    drop(unknown);
    store.writer(&digests[4], false).unwrap();
}

#[test]
fn housekeeping_frees_some_room_ahead_of_need() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 64 * SMALL);
    for seed in 0..64 {
        put(&store, seed);
    }
    assert_eq!(store.stats().evictions, 0);
    store.maintain().unwrap();
    assert_eq!(store.stats().evictions, 2);
}
