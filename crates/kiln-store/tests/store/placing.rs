//! Blobs under names outside the store.

use crate::{PLENTY, content, file_of, open};
use kiln_cas::{BlobStore, Digest, StoreError};
use kiln_store::{CopyTimes, FILE_MTIME_S, Placed};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

#[test]
fn the_two_forms_are_two_inodes_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), PLENTY);
    let script = b"#!/bin/sh\necho ran\n";
    let digest = Digest::of(script);
    store.put(&digest, script).unwrap();
    let mut inodes = Vec::new();
    for round in 0..3 {
        for executable in [false, true] {
            let path = dir.path().join(format!("{round}-{executable}"));
            assert_eq!(store.link(&digest, executable, &path).unwrap(), Placed::Linked);
            let metadata = std::fs::metadata(&path).unwrap();
            assert_eq!(metadata.mode() & 0o777, if executable { 0o555 } else { 0o444 });
            assert_eq!(metadata.mtime(), FILE_MTIME_S);
            inodes.push(metadata.ino());
        }
    }
    inodes.sort_unstable();
    inodes.dedup();
    assert_eq!(inodes.len(), 2);
    let output = Command::new(dir.path().join("0-true")).output().unwrap();
    assert_eq!(output.stdout, b"ran\n");
}

#[test]
fn the_plain_form_is_made_from_the_executable_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), PLENTY);
    let mut writer = store.writer(&Digest::of(b"tool"), true).unwrap();
    writer.write(b"tool").unwrap();
    let digest = writer.finish().unwrap();
    assert_eq!(store.get(&digest).unwrap().as_deref(), Some(&b"tool"[..]));
    assert!(!file_of(dir.path(), &digest, false).exists());
    assert_eq!(store.link(&digest, false, &dir.path().join("plain")).unwrap(), Placed::Linked);
    assert!(file_of(dir.path(), &digest, false).exists());
}

#[test]
fn a_copy_is_private_and_has_its_own_times() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), PLENTY);
    let bytes = content(1, 300_000);
    let digest = Digest::of(&bytes);
    store.put(&digest, &bytes).unwrap();
    let path = dir.path().join("copy");
    let times = CopyTimes { seconds: 1_600_000_000, nanoseconds: 123_456_789 };
    assert_eq!(store.copy(&digest, true, &path, times).unwrap(), Placed::Copied);
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.nlink(), metadata.mode() & 0o777), (1, 0o555));
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_600_000_000, 123_456_789));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    std::fs::remove_file(&path).unwrap();
    let held = std::fs::File::open(dir.path()).unwrap();
    assert_eq!(store.copy_at(&digest, false, held.as_fd(), Path::new("copy"), CopyTimes::CONSTANT).unwrap(), Placed::Copied);
    assert_eq!(store.link_at(&digest, false, held.as_fd(), Path::new("link")).unwrap(), Placed::Linked);
    assert_eq!(std::fs::read(dir.path().join("link")).unwrap(), bytes);
}

#[test]
fn what_is_in_the_way_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), PLENTY);
    store.put(&Digest::of(b"x"), b"x").unwrap();
    let path = dir.path().join("taken");
    std::fs::write(&path, b"mine").unwrap();
    for outcome in [
        store.link(&Digest::of(b"x"), false, &path),
        store.copy(&Digest::of(b"x"), false, &path, CopyTimes::CONSTANT),
        store.link(&Digest::of(b"x"), false, &dir.path().join("no/such")),
    ] {
        assert!(matches!(outcome, Err(StoreError::Io { .. })));
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    assert!(store.contains(&Digest::of(b"x")));
    assert_eq!(store.link(&Digest::of(b"absent"), false, &dir.path().join("new")).unwrap(), Placed::Missing);
    assert_eq!(store.copy(&Digest::of(b"absent"), false, &dir.path().join("new"), CopyTimes::CONSTANT).unwrap(), Placed::Missing);
    assert!(!dir.path().join("new").exists());
}

#[test]
fn another_file_system_gets_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    assert_ne!(std::fs::metadata(dir.path()).unwrap().dev(), std::fs::metadata(memory.path()).unwrap().dev());
    let store = open(dir.path(), PLENTY);
    store.put(&Digest::of(b"x"), b"x").unwrap();
    let path = memory.path().join("x");
    assert_eq!(store.link(&Digest::of(b"x"), false, &path).unwrap(), Placed::Copied);
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.mtime(), metadata.mode() & 0o777), (FILE_MTIME_S, 0o444));
}

/// ext4 allows 65,000 names of one file.
#[test]
fn a_blob_may_be_asked_for_more_often_than_links_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), PLENTY);
    store.put(&Digest::of(b"x"), b"x").unwrap();
    let mut copied = 0;
    for number in 0..66_000 {
        let path = dir.path().join(number.to_string());
        match store.link(&Digest::of(b"x"), false, &path).unwrap() {
            Placed::Linked => assert_eq!(copied, 0),
            Placed::Copied => {
                copied += 1;
                assert_eq!(std::fs::read(&path).unwrap(), b"x");
            }
            Placed::Missing => panic!("lost at {number}"),
        }
    }
    let stats = store.stats();
    assert_eq!((stats.links + stats.copies, stats.copies), (66_000, copied));
    assert_eq!(stats.links + 1, std::fs::metadata(file_of(dir.path(), &Digest::of(b"x"), false)).unwrap().nlink());
}
