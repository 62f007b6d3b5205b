//! Reads glibc's library cache, `/etc/ld.so.cache`: which file a library name means. Knows only the format.

use std::collections::BTreeMap;

/// Most entries read: 65,536. A large desktop has some thousand.
const LIBRARIES_MAX: usize = 1 << 16;

/// Start of the format in use since glibc 2.2 (1998); it may follow a table in the older format.
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";

/// Header after the magic: number of libraries, length of strings, flags, extension offset, unused; 48 bytes with the magic.
const HEADER_SIZE: usize = 48;

/// flags, name offset, path offset, version, capabilities.
const ENTRY_SIZE: usize = 24;

/// File names by library name, in the cache's order, that is, best first.
#[derive(Debug, Default)]
pub(crate) struct LdCache {
    files: BTreeMap<String, Vec<String>>,
}

impl LdCache {
    /// Reads a cache; one that is damaged beyond use is as none.
    pub(crate) fn parse(bytes: &[u8]) -> LdCache {
        parse(bytes).unwrap_or_default()
    }

    /// The files a library name stands for, of any processor and capability.
    pub(crate) fn files(&self, name: &str) -> &[String] {
        self.files.get(name).map_or(&[], Vec::as_slice)
    }
}

fn parse(bytes: &[u8]) -> Option<LdCache> {
    let start = bytes.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    let table = &bytes[start..];
    let swapped = match table.get(MAGIC.len() + 8)? & 3 {
        3 => cfg!(target_endian = "little"),
        2 => cfg!(target_endian = "big"),
        _ => false,
    };
    let number = |at: usize| -> Option<usize> {
        let raw = u32::from_ne_bytes(table.get(at..at.checked_add(4)?)?.try_into().ok()?);
        Some(if swapped { raw.swap_bytes() } else { raw } as usize)
    };
    let count = number(MAGIC.len())?;
    if count > LIBRARIES_MAX {
        return None;
    }
    let string = |offset: usize| -> Option<String> {
        let rest = table.get(offset..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        String::from_utf8(rest[..end].to_vec()).ok()
    };
    let mut cache = LdCache::default();
    for index in 0..count {
        let at = HEADER_SIZE + index * ENTRY_SIZE;
        let (name, path) = (string(number(at + 4)?)?, string(number(at + 8)?)?);
        if path.starts_with('/') {
            cache.files.entry(name).or_default().push(path);
        }
    }
    Some(cache)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_cache_is_read() {
        let bytes = std::fs::read("/etc/ld.so.cache").expect("a glibc system has a library cache");
        let cache = LdCache::parse(&bytes);
        let libc = cache.files("libc.so.6");
        assert!(!libc.is_empty() && libc.iter().all(|path| path.ends_with("/libc.so.6")), "{libc:?}");
        assert!(cache.files("libnone.so").is_empty());
    }

    #[test]
    fn damage_is_never_a_panic() {
        let bytes = std::fs::read("/etc/ld.so.cache").unwrap();
        let good = LdCache::parse(&bytes).files.len();
        for at in (0..bytes.len()).step_by(97) {
            assert!(LdCache::parse(&bytes[..at]).files.len() <= good);
            let mut bad = bytes.clone();
            bad[at] ^= 0xff;
            assert!(LdCache::parse(&bad).files.len() <= good + 1);
        }
    }
}
