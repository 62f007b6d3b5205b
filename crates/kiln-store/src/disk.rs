//! Blobs as plain files on disk, by digest and executable bit. Knows no wire and no job; `place` puts blobs into job roots.

use crate::error::io_error;
use crate::key::Key;
use crate::shelf::{RESCAN_EVERY, Shelf};
use crate::stats::{StoreStats, add};
use crate::writer::BlobWriter;
use crate::{BlobStore, COPY_BUFFER_BYTES, StoreError};
use kiln_cas::{DecodeError, Digest, Directory, Hasher, MESSAGE_SIZE_MAX};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Decoded directories kept unless configured otherwise: 16 MiB, about a hundred thousand entries.
const DIRECTORY_CACHE_BYTES_DEFAULT: u64 = 16 << 20;

/// An encoded directory is this many times smaller than a decoded one (an entry is some 90 bytes encoded; decoded it is two
/// strings' worth of headers and a digest).
const DECODED_FACTOR: u64 = 3;

/// Version of the layout on disk: the name of the directory below the configured one, so that another version finds nothing.
const LAYOUT: &str = "blobs-v1";

/// Where a [`DiskStore`] lives and how large it may become.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The directory; made if it is not there.
    pub dir: PathBuf,
    /// Most bytes of disk taken, in whole blocks.
    pub max_bytes: u64,
    /// Most bytes of memory for decoded directories.
    pub directory_cache_bytes: u64,
    /// Time between two listings of the directory while other processes use it too: so long may each of them fill the bound by
    /// itself.
    pub rescan_every: Duration,
}

impl StoreConfig {
    /// A store in `dir` of at most `max_bytes`, all else as usual.
    pub fn new(dir: impl Into<PathBuf>, max_bytes: u64) -> StoreConfig {
        StoreConfig { dir: dir.into(), max_bytes, directory_cache_bytes: DIRECTORY_CACHE_BYTES_DEFAULT, rescan_every: RESCAN_EVERY }
    }
}

/// Why a directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blob is no directory message.
    #[error("{digest} is no directory: {source}")]
    Decode {
        /// The blob.
        digest: Digest,
        /// What is wrong with it.
        source: DecodeError,
    },
}

/// Blobs on disk. Clones share one store; the last one gone ends it. Several processes may open one directory.
#[derive(Clone)]
pub struct DiskStore {
    pub(crate) shelf: Arc<Shelf>,
    directories: Arc<Cache<Digest, Arc<Directory>, ByEncodedSize>>,
}

#[derive(Clone)]
struct ByEncodedSize;

impl Weighter<Digest, Arc<Directory>> for ByEncodedSize {
    fn weight(&self, digest: &Digest, _: &Arc<Directory>) -> u64 {
        digest.size.max(1) * DECODED_FACTOR
    }
}

/// Keeps blobs from eviction while it lives.
#[must_use = "blobs are pinned only while the guard lives"]
pub struct PinGuard {
    shelf: Arc<Shelf>,
    digests: Vec<Digest>,
}

impl Drop for PinGuard {
    fn drop(&mut self) {
        self.shelf.unpin(&self.digests);
    }
}

impl DiskStore {
    /// Opens the store, making it if it is not there, and lists what it holds; files half written by processes that are gone
    /// are removed.
    ///
    /// # Errors
    /// When the directory cannot be made, read or locked.
    pub fn open(config: StoreConfig) -> Result<DiskStore, StoreError> {
        let shelf = Shelf::open(&config.dir.join(LAYOUT), config.max_bytes, config.rescan_every)?;
        let items = (config.directory_cache_bytes / 4096).max(16) as usize;
        let directories = Cache::with_weighter(items, config.directory_cache_bytes, ByEncodedSize);
        Ok(DiskStore { shelf: Arc::new(shelf), directories: Arc::new(directories) })
    }

    /// Counts since the store was opened, and its size now.
    pub fn stats(&self) -> StoreStats {
        self.shelf.stats()
    }

    /// Most bytes of disk the store may take.
    pub fn max_bytes(&self) -> u64 {
        self.shelf.max_bytes()
    }

    /// Housekeeping, to be called about once a minute: frees a little room ahead of need, and now and then looks what other
    /// processes on the same directory did.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn maintain(&self) -> Result<(), StoreError> {
        self.shelf.maintain()
    }

    /// Keeps `digests` from eviction until the guard is dropped, also those that are not here yet. Other processes on the same
    /// directory see pinned blobs as used lately, not as pinned.
    pub fn pin(&self, digests: &[Digest]) -> PinGuard {
        self.shelf.pin(digests);
        PinGuard { shelf: Arc::clone(&self.shelf), digests: digests.to_vec() }
    }

    /// Those of `digests` that are not here, in their order. Those that are count as used.
    pub fn find_missing(&self, digests: &[Digest]) -> Vec<Digest> {
        digests.iter().filter(|digest| !self.contains(digest)).copied().collect()
    }

    /// The blob, open for reading at its start; its content was compared with the digest. `None` when it is not here.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn open_file(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        let file = self.open_any(digest)?;
        self.count_use(file.is_some());
        Ok(file)
    }

    /// A writer for a blob whose digest is known; `executable` says in which form it will be needed first.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room; storage failures.
    pub fn writer(&self, digest: &Digest, executable: bool) -> Result<BlobWriter, StoreError> {
        BlobWriter::expecting(&self.shelf, digest, executable)
    }

    /// A writer for at most `size_max` bytes whose digest is not known yet.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room; storage failures.
    pub fn writer_unknown(&self, size_max: u64, executable: bool) -> Result<BlobWriter, StoreError> {
        BlobWriter::unknown(&self.shelf, size_max, executable)
    }

    /// Keeps a copy of `file`, of at most `size_max` bytes, read from its start whatever its offset.
    ///
    /// # Errors
    /// [`StoreError::Full`] when it is larger or there is no room; storage failures.
    pub fn put_file(&self, file: &File, size_max: u64, executable: bool) -> Result<Digest, StoreError> {
        let mut writer = self.writer_unknown(size_max, executable)?;
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        let mut offset = 0;
        loop {
            let count = read_at(file, &mut buffer, offset).map_err(|source| read_error(self, &Digest::EMPTY, source))?;
            if count == 0 {
                return writer.finish();
            }
            writer.write(&buffer[..count])?;
            offset += count as u64;
        }
    }

    /// The directory message of that digest, decoded; kept in memory for a while. `None` when it is not here.
    ///
    /// # Errors
    /// When the blob is no directory, or the storage fails.
    pub fn directory(&self, digest: &Digest) -> Result<Option<Arc<Directory>>, DirectoryError> {
        if let Some(directory) = self.directories.get(digest) {
            return Ok(Some(directory));
        }
        if digest.size > MESSAGE_SIZE_MAX as u64 {
            let source = DecodeError::TooLarge(usize::try_from(digest.size).unwrap_or(usize::MAX));
            return Err(DirectoryError::Decode { digest: *digest, source });
        }
        let Some(bytes) = self.get(digest)? else { return Ok(None) };
        let decoded = Directory::decode(&bytes).map_err(|source| DirectoryError::Decode { digest: *digest, source })?;
        let directory = Arc::new(decoded);
        self.directories.insert(*digest, Arc::clone(&directory));
        Ok(Some(directory))
    }

    pub(crate) fn count_use(&self, hit: bool) {
        let counters = &self.shelf.counters;
        add(if hit { &counters.hits } else { &counters.misses }, 1);
    }

    /// The blob in either form.
    pub(crate) fn open_any(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        for executable in [false, true] {
            if let Some(file) = self.open_verified(&Key::blob(digest, executable))? {
                return Ok(Some(file));
            }
        }
        if *digest == Digest::EMPTY {
            self.writer(digest, false)?.finish()?;
            return self.open_verified(&Key::blob(digest, false));
        }
        Ok(None)
    }

    /// One form of the blob, compared with its digest if this process has not done so yet, or if somebody changed its mode or
    /// times since.
    pub(crate) fn open_verified(&self, key: &Key) -> Result<Option<File>, StoreError> {
        let Some(found) = self.shelf.touch(key) else { return Ok(None) };
        let Some((file, untouched)) = self.shelf.open_file(key)? else { return Ok(None) };
        if found.verified && untouched.0 {
            return Ok(Some(file));
        }
        if hash_file(&file).map_err(|source| read_error(self, &key.digest, source))? != key.digest {
            self.shelf.discard(key);
            return Ok(None);
        }
        if !untouched.0 {
            self.shelf.restore_metadata(&file, key)?;
        }
        self.shelf.lock().set_verified(key);
        Ok(Some(file))
    }

    /// The bytes of one form, always compared with the digest.
    fn read(&self, key: &Key) -> Result<Option<Arc<[u8]>>, StoreError> {
        if self.shelf.touch(key).is_none() {
            return Ok(None);
        }
        let Some((file, _)) = self.shelf.open_file(key)? else { return Ok(None) };
        let Ok(len) = usize::try_from(key.digest.size) else { return Ok(None) };
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, len).collect();
        if let Some(buffer) = Arc::get_mut(&mut bytes) {
            match file.read_exact_at(buffer, 0) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(read_error(self, &key.digest, error)),
            }
        }
        if !key.digest.matches(&bytes) {
            self.shelf.discard(key);
            return Ok(None);
        }
        self.shelf.lock().set_verified(key);
        Ok(Some(bytes))
    }
}

impl BlobStore for DiskStore {
    fn contains(&self, digest: &Digest) -> bool {
        let here = |executable| self.shelf.touch(&Key::blob(digest, executable)).is_some();
        *digest == Digest::EMPTY || here(false) || here(true)
    }

    fn get(&self, digest: &Digest) -> Result<Option<Arc<[u8]>>, StoreError> {
        if *digest == Digest::EMPTY {
            return Ok(Some(Arc::from([])));
        }
        let mut bytes = self.read(&Key::blob(digest, false))?;
        if bytes.is_none() {
            bytes = self.read(&Key::blob(digest, true))?;
        }
        self.count_use(bytes.is_some());
        Ok(bytes)
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        if !digest.matches(bytes) {
            add(&self.shelf.counters.mismatches, 1);
            return Err(StoreError::Mismatch(*digest));
        }
        // What the index does not know, or this process has not read, is written again: these bytes are known to be right.
        let trusted = |executable| self.shelf.is_trusted(&Key::blob(digest, executable));
        if *digest == Digest::EMPTY || trusted(false) || trusted(true) {
            add(&self.shelf.counters.duplicates, 1);
            return Ok(());
        }
        let mut writer = self.writer(digest, false)?;
        writer.write_verified(bytes)?;
        writer.publish(*digest).map(|_| ())
    }
}

fn read_error(store: &DiskStore, digest: &Digest, source: std::io::Error) -> StoreError {
    io_error("read", &store.shelf.file_path(&Key::blob(digest, false)), source)
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

fn hash_file(file: &File) -> std::io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    loop {
        match read_at(file, &mut buffer, hasher.size())? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
