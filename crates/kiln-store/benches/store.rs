//! What the store's steps cost: put, get, open, link, a look-up that misses, opening a store. Run with `cargo bench -p kiln-store`;
//! with `--test` (as `cargo test --benches` does) everything runs once on a handful of blobs.

use kiln_cas::{BlobStore, Digest};
use kiln_store::{DiskStore, StoreConfig};
use std::path::Path;
use std::time::Instant;

/// Size of the blobs: a header or a small object.
const BLOB_BYTES: usize = 16 << 10;

fn content(seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) | 1 << 40;
    let mut bytes = Vec::with_capacity(BLOB_BYTES);
    while bytes.len() < BLOB_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

fn open(dir: &Path) -> DiskStore {
    DiskStore::open(StoreConfig::new(dir, 64 << 30)).expect("the store opens")
}

/// CPU time of this process in seconds.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn report(what: &str, count: usize, step: impl FnOnce()) {
    let (wall, before) = (Instant::now(), cpu());
    step();
    let micros = |seconds: f64| seconds * 1e6 / count as f64;
    println!("{what:<34} {:>9.2} us CPU, {:>9.2} us wall each", micros(cpu() - before), micros(wall.elapsed().as_secs_f64()));
}

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--test");
    let count: u32 = if smoke { 20 } else { 50_000 };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    let blobs: Vec<(Digest, Vec<u8>)> = (0..count).map(content).map(|bytes| (Digest::of(&bytes), bytes)).collect();
    let digests: Vec<Digest> = blobs.iter().map(|(digest, _)| *digest).collect();
    let all = blobs.len();
    report("find_missing, all missing", all, || assert_eq!(store.find_missing(&digests).len(), all));
    report("put", all, || blobs.iter().for_each(|(digest, bytes)| store.put(digest, bytes).expect("put")));
    report("put again", all, || blobs.iter().for_each(|(digest, bytes)| store.put(digest, bytes).expect("put")));
    report("find_missing, none missing", all, || assert_eq!(store.find_missing(&digests).len(), 0));
    report("get", all, || assert!(digests.iter().all(|digest| store.get(digest).expect("get").is_some())));
    report("open_file", all, || assert!(digests.iter().all(|digest| store.open_file(digest).expect("open").is_some())));
    report("pin and unpin", all, || drop(store.pin(&digests)));
    let links = dir.path().join("links");
    std::fs::create_dir(&links).expect("a directory");
    report("link", all, || {
        for digest in &digests {
            store.link(digest, false, &links.join(&digest.hex()[..32])).expect("link");
        }
    });
    drop(store);
    let mut reopened = None;
    report("open a store, each file", all, || reopened = Some(open(dir.path())));
    let Some(store) = reopened else { return };
    report("open_file, first after opening", all, || {
        assert!(digests.iter().all(|digest| store.open_file(digest).expect("open").is_some()));
    });
}
