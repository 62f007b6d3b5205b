//! Tests of the stores on real directories. Each module is one promise.

mod blobs;
mod bounds;
mod crash;
mod disk_full;
mod model;
mod placing;
mod results;
mod sharing;

use kiln_cas::Digest;
use kiln_store::{DiskStore, StoreConfig};
use std::path::{Path, PathBuf};

/// More than any test here stores.
const PLENTY: u64 = 1 << 30;

fn open(dir: &Path, max_bytes: u64) -> DiskStore {
    DiskStore::open(StoreConfig::new(dir, max_bytes)).unwrap()
}

/// Bytes that differ for every `seed`.
fn content(seed: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Every file below `dir` but the ones being written, as the store names them.
fn stored_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true if entry.file_name() == "tmp" => {}
                true => pending.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files.sort();
    files
}

/// The file of a blob.
fn file_of(dir: &Path, digest: &Digest, executable: bool) -> PathBuf {
    let name = format!("{}-{}{}", digest.hex(), digest.size, if executable { ".x" } else { "" });
    dir.join("blobs-v1").join(&digest.hex()[..2]).join(name)
}

/// Changes a stored file in spite of its mode, as a failing disk would, leaving its times as they were.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    use std::os::unix::fs::PermissionsExt;
    let before = std::fs::metadata(path).unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(path, bytes).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_times(std::fs::FileTimes::new().set_modified(before.modified().unwrap()).set_accessed(before.accessed().unwrap()))
        .unwrap();
    std::fs::set_permissions(path, before.permissions()).unwrap();
}
