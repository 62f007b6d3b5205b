//! A file on its way onto a shelf, and the room set aside for it. Knows no name it will have.

use crate::StoreError;
use crate::error::{io_error, is_disk_full};
use crate::shelf::{Shelf, VICTIMS_MAX};
use crate::stats::add;
use kiln_cas::Digest;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

/// Room set aside; given back when dropped, after the file it was for has been entered.
pub(crate) struct Reservation {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) bytes: u64,
}

impl Reservation {
    /// Sets `bytes` more aside.
    pub(crate) fn grow(&mut self, digest: &Digest, bytes: u64) -> Result<(), StoreError> {
        let shelf = &self.shelf;
        loop {
            let max_bytes = shelf.max_bytes();
            let mut index = shelf.lock();
            if index.reserve(bytes, max_bytes) {
                self.bytes += bytes;
                return Ok(());
            }
            let excess = index.excess(bytes, max_bytes);
            let victims = if bytes > max_bytes { Vec::new() } else { index.take_victims(excess, VICTIMS_MAX) };
            drop(index);
            if victims.is_empty() {
                add(&shelf.counters.full, 1);
                return Err(StoreError::Full(*digest));
            }
            shelf.evict(&victims);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shelf.lock().release(self.bytes);
    }
}

/// A file being written, and the room for it.
pub(crate) struct Pending {
    pub(crate) temp: Temp,
    pub(crate) reservation: Reservation,
}

/// A file being written; removed when dropped before it is published.
pub(crate) struct Temp {
    pub(crate) shelf: Arc<Shelf>,
    /// `None` once it is complete.
    pub(crate) file: Option<File>,
    /// In the shelf's private directory; empty once it stands under another name.
    pub(crate) name: String,
}

impl Temp {
    /// Appends bytes; when the disk is full, evicts and tries once more.
    pub(crate) fn write_all(&mut self, digest: &Digest, mut bytes: &[u8]) -> Result<(), StoreError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut freed = false;
        while !bytes.is_empty() {
            match file.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if is_disk_full(&error) => {
                    if freed || !self.shelf.free_disk(bytes.len() as u64) {
                        add(&self.shelf.counters.full, 1);
                        return Err(StoreError::Full(*digest));
                    }
                    freed = true;
                }
                Err(error) => return Err(io_error("write in", self.shelf.session().path(), error)),
            }
        }
        Ok(())
    }

    /// It has its name, so it is to stay.
    pub(crate) fn published(&mut self) {
        self.name.clear();
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            self.shelf.session().remove(&self.name);
        }
    }
}
