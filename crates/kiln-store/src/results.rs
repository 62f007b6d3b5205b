//! Action results on disk, by instance and action. Results are opaque bytes beside the digests they name; the blobs themselves
//! live elsewhere.

use crate::error::io_error;
use crate::key::{Key, Kind};
use crate::pending::Pending;
use crate::record::{RECORD_BYTES_MAX, decode, encode};
use crate::shelf::{Publish, RESCAN_EVERY, Shelf};
use crate::stats::{StoreStats, add};
use crate::{BlobStore, StoreError};
use kiln_cas::{Digest, Hasher};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// Version of the layout on disk, see the one of blobs.
const LAYOUT: &str = "results-v1";

/// Times a result is tried to be stored while other processes store and remove the same one.
const PUT_ATTEMPTS: u32 = 4;

/// Where a [`ResultStore`] lives and how large it may become.
#[derive(Debug, Clone)]
pub struct ResultConfig {
    /// The directory; made if it is not there. May be that of a [`crate::DiskStore`].
    pub dir: PathBuf,
    /// Most bytes of disk taken, in whole blocks.
    pub max_bytes: u64,
}

/// A result and what the store must know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResult {
    /// The encoded result.
    pub bytes: Vec<u8>,
    /// Every blob it names.
    pub referenced: Vec<Digest>,
    /// Digest of what two honest runs must agree in (the result without times and names of machines).
    pub essence: Digest,
    /// Who wrote it, so that one writer's results can be removed.
    pub writer: String,
}

/// What became of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is stored.
    Stored,
    /// An equal one was stored before and stays.
    Same,
    /// Another one was stored before and stays.
    Differs {
        /// The essence of the one that stays.
        first: Digest,
    },
}

/// Action results on disk. Clones share one store. Several processes may open one directory.
#[derive(Clone)]
pub struct ResultStore {
    shelf: Arc<Shelf>,
}

fn key(instance: &str, action: &Digest) -> Key {
    let mut hasher = Hasher::new();
    hasher.update(&action.hash);
    hasher.update(&action.size.to_le_bytes());
    hasher.update(instance.as_bytes());
    Key { digest: Digest { hash: hasher.finish().hash, size: 0 }, kind: Kind::Record }
}

impl ResultStore {
    /// Opens the store, making it if it is not there.
    ///
    /// # Errors
    /// When the directory cannot be made, read or locked.
    pub fn open(config: ResultConfig) -> Result<ResultStore, StoreError> {
        Ok(ResultStore { shelf: Arc::new(Shelf::open(&config.dir.join(LAYOUT), config.max_bytes, RESCAN_EVERY)?) })
    }

    /// Counts since the store was opened, and its size now.
    pub fn stats(&self) -> StoreStats {
        self.shelf.stats()
    }

    /// Housekeeping, as [`crate::DiskStore::maintain`].
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn maintain(&self) -> Result<(), StoreError> {
        self.shelf.maintain()
    }

    /// The result, if every blob it names is in `blobs` (and thereby used there). One that is not complete is removed, so that
    /// the next run's result takes its place. What cannot be read is a miss.
    pub fn get_complete(&self, instance: &str, action: &Digest, blobs: &dyn BlobStore) -> Option<StoredResult> {
        let result = self.read(instance, action);
        let complete = result.filter(|result| {
            let complete = result.referenced.iter().all(|digest| blobs.contains(digest));
            if !complete {
                add(&self.shelf.counters.incomplete, 1);
                self.shelf.remove(&key(instance, action));
            }
            complete
        });
        self.count_use(complete.is_some());
        complete
    }

    /// The result, whether or not the blobs it names are anywhere; the caller finds out, and calls [`ResultStore::remove`] when
    /// they are not.
    pub fn get(&self, instance: &str, action: &Digest) -> Option<StoredResult> {
        let result = self.read(instance, action);
        self.count_use(result.is_some());
        result
    }

    /// Keeps a result, unless there is one.
    ///
    /// # Errors
    /// [`StoreError::Full`] when it is over a bound or there is no room; storage failures.
    pub fn put(&self, instance: &str, action: &Digest, result: &StoredResult) -> Result<PutOutcome, StoreError> {
        let Some(file) = encode(instance, action, result) else {
            add(&self.shelf.counters.full, 1);
            return Err(StoreError::Full(*action));
        };
        let key = key(instance, action);
        for _ in 0..PUT_ATTEMPTS {
            if let Some(first) = self.read(instance, action) {
                return Ok(self.compare(&first, result));
            }
            let reservation = self.shelf.reserve(action, file.len() as u64)?;
            let mut pending = Pending { temp: self.shelf.create(action)?, reservation };
            pending.temp.write_all(action, &file)?;
            if self.shelf.publish(pending, &key, file.len() as u64, false)? == Publish::Done {
                return Ok(PutOutcome::Stored);
            }
        }
        // Others put and remove the same result faster than this one looks; theirs is as good.
        Ok(PutOutcome::Same)
    }

    /// Removes a result; true if there was one.
    pub fn remove(&self, instance: &str, action: &Digest) -> bool {
        let key = key(instance, action);
        let here = self.shelf.touch(&key).is_some();
        self.shelf.remove(&key);
        here
    }

    /// Removes every result that `writer` wrote, reading all of them; answers how many.
    pub fn purge_writer(&self, writer: &str) -> usize {
        let mut count = 0;
        let keys = self.shelf.lock().keys();
        for key in keys {
            if self.read_key(&key).is_some_and(|(_, _, result)| result.writer == writer) {
                self.shelf.remove(&key);
                count += 1;
            }
        }
        count
    }

    fn count_use(&self, hit: bool) {
        let counters = &self.shelf.counters;
        add(if hit { &counters.hits } else { &counters.misses }, 1);
    }

    fn compare(&self, first: &StoredResult, second: &StoredResult) -> PutOutcome {
        if first.essence == second.essence {
            add(&self.shelf.counters.duplicates, 1);
            return PutOutcome::Same;
        }
        add(&self.shelf.counters.differing, 1);
        PutOutcome::Differs { first: first.essence }
    }

    fn read(&self, instance: &str, action: &Digest) -> Option<StoredResult> {
        let key = key(instance, action);
        self.shelf.touch(&key)?;
        let (found_instance, found_action, result) = self.read_key(&key)?;
        if found_instance != instance || found_action != *action {
            self.shelf.discard(&key);
            return None;
        }
        Some(result)
    }

    /// Reads one record; a bad one is removed.
    fn read_key(&self, key: &Key) -> Option<(String, Digest, StoredResult)> {
        let (file, _) = self.shelf.open_file(key).ok()??;
        let mut bytes = Vec::new();
        file.take(RECORD_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| io_error("read", &self.shelf.file_path(key), error))
            .ok()?;
        let record = decode(&bytes);
        if record.is_none() {
            self.shelf.discard(key);
        }
        record
    }
}
