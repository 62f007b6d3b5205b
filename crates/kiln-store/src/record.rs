//! How an action result stands in its file. Knows no file system.
//!
//! `KILNRES1`, SHA-256 of the rest, then: instance, action, essence, writer, referenced digests, result. Numbers are
//! little-endian; strings and lists are preceded by their length.

use crate::results::StoredResult;
use kiln_cas::Digest;

const MAGIC: &[u8; 8] = b"KILNRES1";

/// Most blobs one result may name: 64 Ki; a compile names a handful.
pub(crate) const REFERENCED_MAX: usize = 1 << 16;

/// Largest record: 16 MiB. Results hold inline streams of at most a few MiB beside their digests.
pub(crate) const RECORD_BYTES_MAX: usize = 16 << 20;

const DIGEST_LEN: usize = 40;

fn put_digest(out: &mut Vec<u8>, digest: &Digest) {
    out.extend_from_slice(&digest.hash);
    out.extend_from_slice(&digest.size.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// The file's bytes, or `None` when the result is over a bound.
pub(crate) fn encode(instance: &str, action: &Digest, result: &StoredResult) -> Option<Vec<u8>> {
    if result.referenced.len() > REFERENCED_MAX {
        return None;
    }
    let mut body = Vec::with_capacity(256 + DIGEST_LEN * result.referenced.len() + result.bytes.len());
    put_bytes(&mut body, instance.as_bytes());
    put_digest(&mut body, action);
    put_digest(&mut body, &result.essence);
    put_bytes(&mut body, result.writer.as_bytes());
    body.extend_from_slice(&(result.referenced.len() as u32).to_le_bytes());
    for digest in &result.referenced {
        put_digest(&mut body, digest);
    }
    put_bytes(&mut body, &result.bytes);
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&Digest::of(&body).hash);
    file.extend_from_slice(&body);
    (file.len() <= RECORD_BYTES_MAX).then_some(file)
}

/// Instance, action and result of a file, or `None` when it is not whole.
pub(crate) fn decode(file: &[u8]) -> Option<(String, Digest, StoredResult)> {
    let rest = file.strip_prefix(MAGIC)?;
    let (checksum, body) = rest.split_at_checked(32)?;
    if Digest::of(body).hash != checksum {
        return None;
    }
    let mut reader = Reader(body);
    let instance = String::from_utf8(reader.bytes()?.to_vec()).ok()?;
    let action = reader.digest()?;
    let essence = reader.digest()?;
    let writer = String::from_utf8(reader.bytes()?.to_vec()).ok()?;
    let count = reader.number()?;
    if count > REFERENCED_MAX {
        return None;
    }
    let referenced = (0..count).map(|_| reader.digest()).collect::<Option<Vec<_>>>()?;
    let bytes = reader.bytes()?.to_vec();
    reader.0.is_empty().then_some((instance, action, StoredResult { bytes, referenced, essence, writer }))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn number(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?) as usize)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        self.take(len)
    }

    fn digest(&mut self) -> Option<Digest> {
        let hash = self.take(32)?.try_into().ok()?;
        let size = u64::from_le_bytes(self.take(8)?.try_into().ok()?);
        Some(Digest { hash, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> StoredResult {
        StoredResult {
            bytes: b"result".to_vec(),
            referenced: vec![Digest::of(b"a"), Digest::of(b"b")],
            essence: Digest::of(b"essence"),
            writer: "worker-1".into(),
        }
    }

    #[test]
    fn records_round_trip() {
        let action = Digest::of(b"action");
        let file = encode("main", &action, &sample()).unwrap();
        assert_eq!(decode(&file), Some(("main".to_owned(), action, sample())));
    }

    #[test]
    fn no_changed_or_cut_record_is_read() {
        let file = encode("main", &Digest::of(b"action"), &sample()).unwrap();
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert_eq!(decode(&changed), None, "byte {at}");
            assert_eq!(decode(&file[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn results_over_a_bound_are_none() {
        let mut result = sample();
        result.referenced = vec![Digest::EMPTY; REFERENCED_MAX + 1];
        assert_eq!(encode("main", &Digest::EMPTY, &result), None);
        let mut result = sample();
        result.bytes = vec![0; RECORD_BYTES_MAX];
        assert_eq!(encode("main", &Digest::EMPTY, &result), None);
    }
}
