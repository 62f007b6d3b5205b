//! Whatever a crash leaves, nothing wrong is served and nothing stays behind.

use crate::{PLENTY, content, damage, file_of, open, stored_files};
use kiln_cas::{BlobStore, Digest};
use kiln_store::{Placed, ResultConfig, ResultStore, StoredResult};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// The state of the directory when a writer is cut off after each of its steps.
#[test]
fn a_put_cut_off_at_any_step_leaves_a_miss_or_the_blob() {
    let bytes = content(5, 100_000);
    let digest = Digest::of(&bytes);
    for written in [0, 1, 50_000, 99_999, 100_000] {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), PLENTY));
        let session = dir.path().join("blobs-v1/tmp/999999-0");
        std::fs::create_dir(&session).unwrap();
        std::fs::write(session.join("0"), &bytes[..written]).unwrap();
        let store = open(dir.path(), PLENTY);
        assert!(!session.exists());
        assert!(!store.contains(&digest));
        store.put(&digest, &bytes).unwrap();
        assert!(store.get(&digest).unwrap().is_some());
    }
}

/// After a power failure a renamed file may hold less than was written, or zeros.
#[test]
fn a_file_that_lost_its_data_is_a_miss() {
    let bytes = content(6, 100_000);
    let digest = Digest::of(&bytes);
    for kept in [0, 1, 4096, 99_999] {
        for zeros in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            open(dir.path(), PLENTY).put(&digest, &bytes).unwrap();
            damage(&file_of(dir.path(), &digest, false), |bytes| match zeros {
                false => bytes.truncate(kept),
                true => bytes[kept..].fill(0),
            });
            let store = open(dir.path(), PLENTY);
            assert_eq!(store.link(&digest, false, &dir.path().join("out")).unwrap(), Placed::Missing);
            assert!(!store.contains(&digest));
            assert_eq!(store.stats().corrupt, 1);
        }
    }
}

const CHILD: &str = "KILN_TEST_CRASH_DIR";

/// Kills a process that puts blobs and results as fast as it can, and looks at what it left; ten times on one directory.
#[test]
fn a_killed_process_leaves_only_whole_files() {
    if let Some(dir) = std::env::var_os(CHILD) {
        write_for_ever(dir.as_ref());
    }
    let dir = tempfile::tempdir().unwrap();
    for round in 0..10u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::a_killed_process_leaves_only_whole_files", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let count = lines.map(Result::unwrap).filter(|line| line == "put").take(20 + 7 * round as usize).count();
        assert_eq!(count, 20 + 7 * round as usize);
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(dir.path(), PLENTY);
        let files = stored_files(&dir.path().join("blobs-v1"));
        assert!(files.len() >= 20);
        for file in files {
            let name = file.file_name().unwrap().to_str().unwrap();
            let digest: Digest = name.replace('-', "/").parse().unwrap();
            assert!(digest.matches(&std::fs::read(&file).unwrap()), "{name}");
            assert!(store.contains(&digest));
        }
        assert_eq!(std::fs::read_dir(dir.path().join("blobs-v1/tmp")).unwrap().count(), 1);
        assert_eq!(store.stats().corrupt, 0);
    }
}

fn write_for_ever(dir: &std::path::Path) -> ! {
    let store = open(dir, PLENTY);
    let results = ResultStore::open(ResultConfig { dir: dir.to_owned(), max_bytes: PLENTY }).unwrap();
    let mut seed = std::process::id();
    loop {
        seed = seed.wrapping_add(1);
        let bytes = content(seed, 20_000);
        let digest = Digest::of(&bytes);
        store.put(&digest, &bytes).unwrap();
        let result = StoredResult { bytes, referenced: vec![digest], essence: digest, writer: String::new() };
        results.put("main", &digest, &result).unwrap();
        println!("\nput");
    }
}
