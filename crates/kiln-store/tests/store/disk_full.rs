//! A disk that is full, though the bound is not reached: room is made by eviction, or the put fails cleanly.

use crate::{PLENTY, content, open};
use kiln_cas::{BlobStore, Digest, StoreError};
use std::path::Path;
use std::process::Command;

const INSIDE: &str = "KILN_TEST_SMALL_DISK";

/// Runs this test again inside a user and mount namespace with an 8 MiB tmpfs on a directory of its own.
#[test]
fn a_full_disk_makes_room_or_an_error_and_never_a_wrong_file() {
    if let Some(dir) = std::env::var_os(INSIDE) {
        return inside(dir.as_ref());
    }
    let dir = tempfile::tempdir().unwrap();
    let script = format!(r#"mount -t tmpfs -o size=8m none "${INSIDE}" && exec "$0" "$@""#);
    let output = Command::new("unshare")
        .args(["-Urm", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "disk_full::a_full_disk_makes_room_or_an_error_and_never_a_wrong_file", "--nocapture"])
        .env(INSIDE, dir.path())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn inside(dir: &Path) {
    let store = open(dir, PLENTY);
    for seed in 0..40 {
        let bytes = content(seed, 1 << 20);
        let digest = Digest::of(&bytes);
        store.put(&digest, &bytes).unwrap();
        assert_eq!(store.get(&digest).unwrap().as_deref(), Some(&bytes[..]));
    }
    assert!(store.stats().evictions > 0);
    let bytes = content(99, 20 << 20);
    assert!(matches!(store.put(&Digest::of(&bytes), &bytes), Err(StoreError::Full(_))));
    let pinned: Vec<Vec<u8>> = (100..106).map(|seed| content(seed, 1 << 20)).collect();
    let digests: Vec<Digest> = pinned.iter().map(|bytes| Digest::of(bytes)).collect();
    let guard = store.pin(&digests);
    for (digest, bytes) in digests.iter().zip(&pinned) {
        store.put(digest, bytes).unwrap();
    }
    let bytes = content(200, 4 << 20);
    assert!(matches!(store.put(&Digest::of(&bytes), &bytes), Err(StoreError::Full(_))));
    assert!(store.find_missing(&digests).is_empty());
    for (digest, bytes) in digests.iter().zip(&pinned) {
        assert_eq!(store.get(digest).unwrap().as_deref(), Some(&bytes[..]));
    }
    drop(guard);
    store.put(&Digest::of(&bytes), &bytes).unwrap();
    assert_eq!(store.stats().corrupt, 0);
}
