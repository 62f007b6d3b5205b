//! SHA-256 digests with their sizes. Does not know where blobs live.

use sha2::Digest as _;
use std::fmt;
use std::str::FromStr;

/// Names a blob: SHA-256 of its bytes and their number, as `build.bazel.remote.execution.v2.Digest`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    /// SHA-256 of the content.
    pub hash: [u8; 32],
    /// Length of the content in bytes; part of the identity.
    pub size: u64,
}

/// A string or message that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The hash is not 64 lower-case hexadecimal digits.
    #[error("hash is not 64 lower-case hexadecimal digits: {0:?}")]
    Hash(String),
    /// The size is negative, not a number, or over [`crate::BLOB_SIZE_MAX`].
    #[error("size is not between 0 and {max}: {0}", max = crate::BLOB_SIZE_MAX)]
    Size(String),
}

impl Digest {
    /// The digest of no bytes.
    pub const EMPTY: Digest = Digest {
        hash: [
            0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4,
            0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
        ],
        size: 0,
    };

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest { hash: sha2::Sha256::digest(bytes).into(), size: bytes.len() as u64 }
    }

    /// The hash as 64 lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.hash {
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
        text
    }

    /// A digest from the wire's pair.
    ///
    /// # Errors
    /// When the hash is not 64 lower-case hexadecimal digits or the size is out of range.
    pub fn from_wire(hash: &str, size: i64) -> Result<Digest, DigestError> {
        let size = u64::try_from(size)
            .ok()
            .filter(|&size| size <= crate::BLOB_SIZE_MAX)
            .ok_or_else(|| DigestError::Size(size.to_string()))?;
        Ok(Digest { hash: parse_hex(hash)?, size })
    }

    /// Whether `bytes` are what this digest names.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.size && Digest::of(bytes) == *self
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn parse_hex(text: &str) -> Result<[u8; 32], DigestError> {
    let bad = || DigestError::Hash(text.chars().take(80).collect());
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return Err(bad());
    }
    let nibble = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; 32];
    for (out, pair) in hash.iter_mut().zip(bytes.chunks_exact(2)) {
        *out = nibble(pair[0]).ok_or_else(bad)? << 4 | nibble(pair[1]).ok_or_else(bad)?;
    }
    Ok(hash)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.hex(), self.size)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", &self.hex()[..12], self.size)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    /// Reads `HASH/SIZE`, as in REAPI resource names.
    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let (hash, size) = text.split_once('/').ok_or_else(|| DigestError::Hash(text.chars().take(80).collect()))?;
        let size = size.parse::<i64>().map_err(|_| DigestError::Size(size.chars().take(40).collect()))?;
        Digest::from_wire(hash, size)
    }
}

/// Computes a digest of bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct Hasher {
    state: sha2::Sha256,
    size: u64,
}

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Hasher {
        Hasher::default()
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// Number of bytes seen so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of everything seen.
    pub fn finish(self) -> Digest {
        Digest { hash: self.state.finalize().into(), size: self.size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_digest_is_that_of_no_bytes() {
        assert_eq!(Digest::of(b""), Digest::EMPTY);
        assert!(Digest::EMPTY.matches(b""));
        assert!(!Digest::EMPTY.matches(b"x"));
    }

    #[test]
    fn text_round_trips() {
        let digest = Digest::of(b"hello");
        assert_eq!(digest.to_string(), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824/5");
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn bad_text_is_refused() {
        let hex = Digest::EMPTY.hex();
        for bad in [
            "",
            "/",
            "ab/1",
            &hex,
            &format!("{hex}/"),
            &format!("{hex}/-1"),
            &format!("{}/0", hex.to_uppercase()),
            &format!("{hex}/99999999999"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn pieces_hash_like_the_whole() {
        let mut hasher = Hasher::new();
        hasher.update(b"hel");
        hasher.update(b"lo");
        assert_eq!(hasher.finish(), Digest::of(b"hello"));
    }
}
