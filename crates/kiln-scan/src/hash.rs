//! A fixed, seedless hash for look-up tables. It knows nothing of what it hashes, and nothing is ever iterated in its order.

use std::hash::{BuildHasherDefault, Hasher};

/// First odd constant of the folded multiplication (fractional digits of pi).
const K0: u64 = 0x243f_6a88_85a3_08d3;
/// Second constant (next digits of pi).
const K1: u64 = 0x1319_8a2e_0370_7345;

/// Hash map for look-ups only.
pub(crate) type LookupMap<K, V> = hashbrown::HashMap<K, V, BuildHasherDefault<FixedHash>>;

/// A hasher without random state: equal input, equal value, in every process.
#[derive(Clone, Copy, Default)]
pub(crate) struct FixedHash(u64);

fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// Hash of a byte string.
pub(crate) fn bytes(data: &[u8]) -> u64 {
    let mut state = K0 ^ (data.len() as u64);
    let mut chunks = data.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0u8; 8];
        word.copy_from_slice(chunk);
        state = fold(state ^ u64::from_le_bytes(word), K1);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut word = [0u8; 8];
        word[..rest.len()].copy_from_slice(rest);
        state = fold(state ^ u64::from_le_bytes(word), K1);
    }
    fold(state, K0)
}

impl Hasher for FixedHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, data: &[u8]) {
        self.0 = fold(self.0 ^ bytes(data), K1);
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = fold(self.0 ^ u64::from(value) ^ K0, K1);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = fold(self.0 ^ value ^ K0, K1);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn neighbouring_strings_hash_apart() {
        let mut seen = std::collections::BTreeSet::new();
        for i in 0..20_000u32 {
            assert!(seen.insert(bytes(format!("CONFIG_{i}").as_bytes())), "collision at {i}");
        }
        assert_ne!(bytes(b""), bytes(b"\0"));
        assert_ne!(bytes(b"a"), bytes(b"a\0"));
    }
}
