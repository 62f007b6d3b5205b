//! Action results: whole, complete, first come first kept.

use crate::{PLENTY, content, damage, open, stored_files};
use kiln_cas::{BlobStore, Digest};
use kiln_store::{PutOutcome, ResultConfig, ResultStore, StoredResult};
use std::path::Path;

fn open_results(dir: &Path, max_bytes: u64) -> ResultStore {
    ResultStore::open(ResultConfig { dir: dir.to_owned(), max_bytes }).unwrap()
}

fn result(text: &str, referenced: &[Digest]) -> StoredResult {
    StoredResult {
        bytes: text.as_bytes().to_vec(),
        referenced: referenced.to_vec(),
        essence: Digest::of(text.as_bytes()),
        writer: "w1".into(),
    }
}

#[test]
fn the_first_result_stays_and_a_differing_one_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let results = open_results(dir.path(), PLENTY);
    let action = Digest::of(b"action");
    let first = result("first", &[]);
    assert_eq!(results.put("main", &action, &first).unwrap(), PutOutcome::Stored);
    assert_eq!(results.put("main", &action, &first).unwrap(), PutOutcome::Same);
    let again = StoredResult { bytes: b"first, at another time".to_vec(), ..first.clone() };
    assert_eq!(results.put("main", &action, &again).unwrap(), PutOutcome::Same);
    let outcome = results.put("main", &action, &result("second", &[])).unwrap();
    assert_eq!(outcome, PutOutcome::Differs { first: Digest::of(b"first") });
    assert_eq!(results.get("main", &action), Some(first.clone()));
    assert_eq!(results.stats().differing, 1);
    drop(results);
    assert_eq!(open_results(dir.path(), PLENTY).get("main", &action), Some(first));
}

#[test]
fn instances_are_apart() {
    let dir = tempfile::tempdir().unwrap();
    let results = open_results(dir.path(), PLENTY);
    let action = Digest::of(b"action");
    results.put("main", &action, &result("main's", &[])).unwrap();
    assert_eq!(results.get("", &action), None);
    assert_eq!(results.get("mai", &action), None);
    assert_eq!(results.get("main", &Digest { size: 7, ..action }), None);
    assert_eq!(results.put("../../x\0/é", &action, &result("odd", &[])).unwrap(), PutOutcome::Stored);
    assert_eq!(results.get("../../x\0/é", &action).unwrap().bytes, b"odd");
    assert_eq!(results.get("main", &action).unwrap().bytes, b"main's");
}

#[test]
fn only_complete_results_are_served_and_their_blobs_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let results = open_results(dir.path(), PLENTY);
    let blobs = open(dir.path(), PLENTY);
    let action = Digest::of(b"action");
    let object = Digest::of(b"object");
    blobs.put(&object, b"object").unwrap();
    results.put("main", &action, &result("r", &[object, Digest::EMPTY])).unwrap();
    assert!(results.get_complete("main", &action, &blobs).is_some());
    let empty = kiln_cas::MemoryStore::new();
    assert_eq!(results.get_complete("main", &action, &empty), None);
    assert_eq!(results.stats().incomplete, 1);
    assert_eq!(results.put("main", &action, &result("r2", &[object])).unwrap(), PutOutcome::Stored);
}

#[test]
fn a_damaged_result_is_a_miss_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let action = Digest::of(b"action");
    let whole = result(&"text".repeat(1000), &[Digest::of(b"a")]);
    let changes: [fn(&mut Vec<u8>); 4] =
        [|bytes| bytes[2000] ^= 1, |bytes| bytes.truncate(100), |bytes| bytes.clear(), |bytes| bytes.fill(0)];
    for change in changes {
        let results = open_results(dir.path(), PLENTY);
        assert_eq!(results.put("main", &action, &whole).unwrap(), PutOutcome::Stored);
        let file = stored_files(dir.path()).pop().unwrap();
        damage(&file, change);
        assert_eq!(results.get("main", &action), None);
        assert!(!file.exists());
        assert_eq!(results.stats().corrupt, 1);
    }
}

#[test]
fn a_result_under_another_name_is_no_result() {
    let dir = tempfile::tempdir().unwrap();
    let results = open_results(dir.path(), PLENTY);
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    results.put("main", &one, &result("one", &[])).unwrap();
    let from = stored_files(dir.path()).pop().unwrap();
    results.put("main", &two, &result("two", &[])).unwrap();
    let to = stored_files(dir.path()).into_iter().find(|file| *file != from).unwrap();
    std::fs::rename(from, to).unwrap();
    assert_eq!(results.get("main", &two), None);
    assert_eq!(results.get("main", &one), None);
}

#[test]
fn the_bound_holds() {
    let dir = tempfile::tempdir().unwrap();
    let results = open_results(dir.path(), 10 * 8192);
    for seed in 0..50 {
        let bytes = content(seed, 3000);
        results.put("main", &Digest::of(&bytes), &StoredResult { bytes, ..result("", &[]) }).unwrap();
        assert!(results.stats().bytes <= 10 * 8192);
    }
    assert_eq!(stored_files(dir.path()).len(), 10);
    assert!(results.put("main", &Digest::EMPTY, &StoredResult { bytes: vec![0; 1 << 20], ..result("", &[]) }).is_err());
}

#[test]
fn one_writers_results_can_be_removed() {
    let dir = tempfile::tempdir().unwrap();
    let results = open_results(dir.path(), PLENTY);
    for number in 0..10u8 {
        let writer = if number % 3 == 0 { "bad" } else { "good" };
        let stored = StoredResult { writer: writer.into(), ..result("r", &[]) };
        results.put("main", &Digest::of(&[number]), &stored).unwrap();
    }
    assert_eq!(results.purge_writer("bad"), 4);
    assert_eq!((0..10u8).filter(|number| results.get("main", &Digest::of(&[*number])).is_some()).count(), 6);
    assert!(results.remove("main", &Digest::of(&[1])));
    assert!(!results.remove("main", &Digest::of(&[1])));
}

#[test]
fn racing_writers_agree_on_one() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open_results(dir.path(), PLENTY), open_results(dir.path(), PLENTY)];
    let action = Digest::of(b"action");
    for round in 0..50 {
        let action = Digest::of(format!("{round}").as_bytes());
        let stored: usize = std::thread::scope(|scope| {
            let tasks: Vec<_> = (0..4)
                .map(|writer| {
                    let store = &stores[writer % 2];
                    scope.spawn(move || store.put("main", &action, &result(&format!("{writer}"), &[])).unwrap())
                })
                .collect();
            tasks.into_iter().filter_map(|task| task.join().ok()).filter(|outcome| *outcome == PutOutcome::Stored).count()
        });
        assert_eq!(stored, 1);
        assert_eq!(stores[0].get("main", &action), stores[1].get("main", &action));
    }
    assert_eq!(stores[0].get("main", &action), None);
}
