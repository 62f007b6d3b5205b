//! zstd with bounds on both ends. Knows no wire and no store but what it writes to.

use crate::limits::{COMPRESS_MIN_BYTES, ZSTD_LEVEL, ZSTD_WINDOW_LOG_MAX};
use kiln_store::{BlobWriter, StoreError};
use std::io::Write as _;

/// Decompresses a whole blob that must be `size` bytes; `None` when it is not, whatever it claims.
pub(crate) fn unpack(packed: &[u8], size: usize) -> Option<Vec<u8>> {
    let bytes = zstd::bulk::decompress(packed, size).ok()?;
    (bytes.len() == size).then_some(bytes)
}

/// Compresses a whole blob; `None` when that does not make it smaller.
pub(crate) fn pack(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() < COMPRESS_MIN_BYTES {
        return None;
    }
    zstd::bulk::compress(bytes, ZSTD_LEVEL).ok().filter(|packed| packed.len() < bytes.len())
}

/// Decompresses into a blob as pieces come. The blob's writer refuses the first byte too many, so a bomb costs what its digest
/// claims and no more.
pub(crate) struct Unpacker {
    decoder: zstd::stream::write::Decoder<'static, BlobWriter>,
}

impl Unpacker {
    pub(crate) fn new(writer: BlobWriter) -> std::io::Result<Unpacker> {
        let mut decoder = zstd::stream::write::Decoder::new(writer)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        Ok(Unpacker { decoder })
    }

    /// Takes the next piece; `Ok(Err(_))` is what the store says, `Err(_)` bytes that are not zstd.
    pub(crate) fn write(&mut self, packed: &[u8]) -> Result<Result<(), StoreError>, std::io::Error> {
        sort(self.decoder.write_all(packed))
    }

    /// What was decompressed, complete only if the frame was.
    pub(crate) fn finish(mut self) -> Result<Result<BlobWriter, StoreError>, std::io::Error> {
        Ok(sort(self.decoder.flush())?.map(|()| self.decoder.into_inner()))
    }
}

fn sort(outcome: std::io::Result<()>) -> Result<Result<(), StoreError>, std::io::Error> {
    match outcome {
        Ok(()) => Ok(Ok(())),
        Err(error) => error.downcast::<StoreError>().map(Err),
    }
}

/// Compresses pieces as they are asked for.
pub(crate) struct Packer {
    encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
}

impl Packer {
    pub(crate) fn new() -> std::io::Result<Packer> {
        Ok(Packer { encoder: zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)? })
    }

    /// Takes the next piece and gives what is compressed so far, perhaps nothing.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        self.encoder.write_all(bytes)?;
        Ok(std::mem::take(self.encoder.get_mut()))
    }

    /// The rest.
    pub(crate) fn finish(self) -> std::io::Result<Vec<u8>> {
        self.encoder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let bytes = b"abcdefgh".repeat(1000);
        let packed = pack(&bytes).unwrap();
        assert_eq!(unpack(&packed, bytes.len()).as_deref(), Some(&bytes[..]));
        assert_eq!(unpack(&packed, bytes.len() - 1), None);
        assert_eq!(unpack(&packed, bytes.len() + 1), None);
        assert_eq!(unpack(b"no zstd", 7), None);
        assert_eq!(pack(b"short"), None);
    }

    #[test]
    fn a_packed_stream_is_one_frame_of_all_pieces() {
        let mut packer = Packer::new().unwrap();
        let mut packed = Vec::new();
        for _ in 0..100 {
            packed.extend(packer.write(&[7; 10_000]).unwrap());
        }
        packed.extend(packer.finish().unwrap());
        assert_eq!(unpack(&packed, 1_000_000), Some(vec![7; 1_000_000]));
    }
}
