//! Random steps against a model: a set of blobs, of which those not pinned may vanish for want of room.

use crate::{content, damage, file_of, open};
use kiln_cas::{BlobStore, Digest};
use kiln_store::{DiskStore, PinGuard, Placed};
use proptest::prelude::*;
use std::collections::BTreeSet;

const BLOBS: u32 = 12;
const ROOM: u64 = 6 * 8192;

#[derive(Debug, Clone)]
enum Step {
    Put(u32),
    PutExecutable(u32),
    Get(u32),
    Link(u32, bool),
    Missing,
    Pin(u32),
    Unpin,
    Damage(u32),
    Maintain,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let blob = 0..BLOBS;
    prop_oneof![
        4 => blob.clone().prop_map(Step::Put),
        1 => blob.clone().prop_map(Step::PutExecutable),
        4 => blob.clone().prop_map(Step::Get),
        2 => (blob.clone(), any::<bool>()).prop_map(|(blob, executable)| Step::Link(blob, executable)),
        1 => Just(Step::Missing),
        1 => blob.clone().prop_map(Step::Pin),
        1 => Just(Step::Unpin),
        1 => blob.prop_map(Step::Damage),
        1 => Just(Step::Maintain),
        1 => Just(Step::Reopen),
    ]
}

/// The store and what must hold of it: a blob was put since it was last seen to be gone (`maybe`), or it is gone.
struct World {
    dir: tempfile::TempDir,
    blobs: Vec<(Digest, Vec<u8>)>,
    store: Option<DiskStore>,
    maybe: BTreeSet<u32>,
    pins: Vec<(u32, PinGuard)>,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let contents = (0..BLOBS).map(|blob| content(blob, 1000 + blob as usize * 250));
        let blobs = contents.map(|bytes| (Digest::of(&bytes), bytes)).collect();
        let store = Some(open(dir.path(), ROOM));
        World { dir, blobs, store, maybe: BTreeSet::new(), pins: Vec::new() }
    }

    fn store(&self) -> &DiskStore {
        self.store.as_ref().unwrap()
    }

    fn digest(&self, blob: u32) -> Digest {
        self.blobs[blob as usize].0
    }

    /// A blob was found to be gone; one that is pinned and was here may not.
    fn gone(&mut self, blob: u32) {
        let pinned = self.pins.iter().any(|(pinned, _)| *pinned == blob);
        assert!(!(pinned && self.maybe.contains(&blob)), "blob {blob} is pinned and gone");
        self.maybe.remove(&blob);
    }

    /// A put failed: only pins can be the reason, for all blobs together are what makes the bound too small.
    fn refused(&self) {
        assert!(!self.pins.is_empty());
    }

    fn put(&mut self, blob: u32, executable: bool) {
        let (digest, bytes) = &self.blobs[blob as usize];
        let written = match executable {
            false => self.store().put(digest, bytes),
            true => self.store().writer(digest, true).and_then(|mut writer| {
                writer.write(bytes)?;
                writer.finish().map(|_| ())
            }),
        };
        if written.is_err() {
            return self.refused();
        }
        self.maybe.insert(blob);
        assert!(self.store().contains(&self.digest(blob)));
    }

    fn get(&mut self, blob: u32) {
        let (digest, bytes) = &self.blobs[blob as usize];
        let Some(read) = self.store().get(digest).unwrap() else { return self.gone(blob) };
        assert_eq!(&read[..], &bytes[..]);
        assert!(self.maybe.contains(&blob));
    }

    fn link(&mut self, blob: u32, executable: bool) {
        let path = self.dir.path().join("link");
        match self.store().link(&self.digest(blob), executable, &path) {
            Ok(Placed::Missing) => self.gone(blob),
            Ok(_) => {
                assert_eq!(std::fs::read(&path).unwrap(), self.blobs[blob as usize].1);
                std::fs::remove_file(&path).unwrap();
            }
            Err(_) => self.refused(),
        }
    }

    fn find_missing(&mut self) {
        let all: Vec<Digest> = self.blobs.iter().map(|(digest, _)| *digest).collect();
        let missing = self.store().find_missing(&all);
        for blob in 0..BLOBS {
            match missing.contains(&self.digest(blob)) {
                true => self.gone(blob),
                false => assert!(self.maybe.contains(&blob)),
            }
        }
    }

    fn pin(&mut self, blob: u32) {
        let digest = self.digest(blob);
        let guard = self.store().pin(&[digest]);
        if !self.store().contains(&digest) {
            self.gone(blob);
        }
        self.pins.push((blob, guard));
    }

    /// Looked at by `get` alone, which compares every byte however well the file was known before.
    fn damage(&mut self, blob: u32) {
        let digest = self.digest(blob);
        for executable in [false, true] {
            let path = file_of(self.dir.path(), &digest, executable);
            if path.exists() {
                damage(&path, |bytes| bytes[0] ^= 1);
            }
        }
        assert!(self.store().get(&digest).unwrap().is_none());
        assert!(!file_of(self.dir.path(), &digest, false).exists());
        self.maybe.remove(&blob);
    }

    fn reopen(&mut self) {
        self.pins.clear();
        self.store = None;
        self.store = Some(open(self.dir.path(), ROOM));
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Put(blob) => self.put(blob, false),
            Step::PutExecutable(blob) => self.put(blob, true),
            Step::Get(blob) => self.get(blob),
            Step::Link(blob, executable) => self.link(blob, executable),
            Step::Missing => self.find_missing(),
            Step::Pin(blob) => self.pin(blob),
            Step::Unpin => drop(self.pins.pop()),
            Step::Damage(blob) => self.damage(blob),
            Step::Maintain => self.store().maintain().unwrap(),
            Step::Reopen => self.reopen(),
        }
        assert!(self.store().stats().bytes <= ROOM);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_store_holds_what_it_must_and_nothing_else(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.apply(step));
    }
}
