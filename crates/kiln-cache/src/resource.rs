//! ByteStream resource names, read strictly. Knows no blob.
//!
//! Reads: `[INSTANCE/]blobs/HASH/SIZE`, `[INSTANCE/]compressed-blobs/zstd/HASH/SIZE`.
//! Writes: the same after `[INSTANCE/]uploads/UUID/`, with anything after a further slash.

use kiln_cas::Digest;

/// How the bytes of a stream are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressor {
    /// As they are.
    Identity,
    /// One or more zstd frames.
    Zstd,
}

/// What a resource name names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The instance; may be empty, may hold slashes.
    pub instance: String,
    /// The blob, by its uncompressed content.
    pub digest: Digest,
    /// How it travels.
    pub compressor: Compressor,
}

/// A name that names no blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad resource name {name:?}: {reason}")]
pub struct ResourceError {
    /// The name, shortened.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Longest name read: 1 KiB; a hash, a UUID and the fixed words are 150 bytes.
const NAME_BYTES_MAX: usize = 1024;

/// Segments that no instance name holds.
const KEYWORDS: [&str; 7] = ["blobs", "uploads", "actions", "actionResults", "operations", "capabilities", "compressed-blobs"];

/// Digest functions that a name may hold, none of which is served. (SHA-256 is never named.)
const FUNCTIONS: [&str; 10] = ["sha256", "sha1", "md5", "vso", "sha384", "sha512", "murmur3", "sha256tree", "blake3", "gitsha1"];

/// Reads the name of a Read request.
///
/// # Errors
/// When it names no blob.
pub fn read_name(name: &str) -> Result<Resource, ResourceError> {
    let (instance, rest) = split(name)?;
    let (compressor, digest, rest) = blob(name, &rest)?;
    match rest {
        [] => Ok(Resource { instance, digest, compressor }),
        _ => Err(bad(name, "more follows the size")),
    }
}

/// Reads the name of a Write request.
///
/// # Errors
/// When it names no blob to be written.
pub fn write_name(name: &str) -> Result<Resource, ResourceError> {
    let (instance, rest) = split(name)?;
    let ["uploads", uuid, rest @ ..] = &rest[..] else { return Err(bad(name, "no uploads/UUID before the blob")) };
    if !is_uuid(uuid) {
        return Err(bad(name, "uploads/ is not followed by a UUID"));
    }
    let (compressor, digest, _) = blob(name, rest)?;
    Ok(Resource { instance, digest, compressor })
}

fn bad(name: &str, reason: &'static str) -> ResourceError {
    ResourceError { name: name.chars().take(200).collect(), reason }
}

/// The instance, and the segments from the first keyword on.
fn split(name: &str) -> Result<(String, Vec<&str>), ResourceError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(bad(name, "too long"));
    }
    let segments: Vec<&str> = name.split('/').collect();
    let keyword = segments.iter().position(|segment| KEYWORDS.contains(segment)).ok_or_else(|| bad(name, "no blobs/ in it"))?;
    let (instance, rest) = segments.split_at(keyword);
    if instance.iter().any(|segment| segment.is_empty()) {
        return Err(bad(name, "empty segment in the instance name"));
    }
    Ok((instance.join("/"), rest.to_vec()))
}

/// `blobs/HASH/SIZE` or `compressed-blobs/zstd/HASH/SIZE`, and what follows.
fn blob<'a, 'b>(name: &str, segments: &'a [&'b str]) -> Result<(Compressor, Digest, &'a [&'b str]), ResourceError> {
    let (compressor, rest) = match segments {
        ["blobs", rest @ ..] => (Compressor::Identity, rest),
        ["compressed-blobs", "zstd", rest @ ..] => (Compressor::Zstd, rest),
        ["compressed-blobs", ..] => return Err(bad(name, "only zstd is served")),
        _ => return Err(bad(name, "no blobs/ where it belongs")),
    };
    match rest {
        [function, ..] if FUNCTIONS.contains(function) => Err(bad(name, "only SHA-256 is served, which is not named")),
        [hash, size, rest @ ..] => Ok((compressor, digest(name, hash, size)?, rest)),
        _ => Err(bad(name, "hash or size is missing")),
    }
}

fn digest(name: &str, hash: &str, size: &str) -> Result<Digest, ResourceError> {
    let canonical = size.bytes().all(|byte| byte.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
    let number = size.parse().ok().filter(|_| canonical).ok_or_else(|| bad(name, "size is no number"))?;
    Digest::from_wire(hash, number).map_err(|_| bad(name, "hash is not 64 lower-case hexadecimal digits, or size is too large"))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    const UUID: &str = "0123abcd-4567-489a-bcde-f0123456789A";

    #[track_caller]
    fn check(resource: Result<Resource, ResourceError>, instance: &str, compressor: Compressor) {
        let digest = Digest::of(b"hello");
        assert_eq!(resource, Ok(Resource { instance: instance.to_owned(), digest, compressor }));
    }

    #[test]
    fn good_names() {
        check(read_name(&format!("blobs/{HASH}/5")), "", Compressor::Identity);
        check(read_name(&format!("main/blobs/{HASH}/5")), "main", Compressor::Identity);
        check(read_name(&format!("a/b/c/compressed-blobs/zstd/{HASH}/5")), "a/b/c", Compressor::Zstd);
        check(write_name(&format!("uploads/{UUID}/blobs/{HASH}/5")), "", Compressor::Identity);
        check(write_name(&format!("a/b/uploads/{UUID}/blobs/{HASH}/5/some/blobs//file")), "a/b", Compressor::Identity);
        check(write_name(&format!("main/uploads/{UUID}/compressed-blobs/zstd/{HASH}/5")), "main", Compressor::Zstd);
    }

    #[test]
    fn bad_names() {
        let long = "a/".repeat(600);
        for name in [
            "".to_owned(),
            "/".to_owned(),
            HASH.to_owned(),
            format!("{HASH}/5"),
            format!("/blobs/{HASH}/5"),
            format!("main//blobs/{HASH}/5"),
            format!("blobs//{HASH}/5"),
            format!("blobs/{HASH}"),
            format!("blobs/{HASH}/"),
            format!("blobs/{HASH}/5/"),
            format!("blobs/{HASH}/5/x"),
            format!("blobs/{HASH}/05"),
            format!("blobs/{HASH}/+5"),
            format!("blobs/{HASH}/-5"),
            format!("blobs/{HASH}/5.0"),
            format!("blobs/{HASH}/99999999999999999999"),
            format!("blobs/{HASH}/4294967297"),
            format!("blobs/{}/5", HASH.to_uppercase()),
            format!("blobs/{}/5", &HASH[1..]),
            format!("blobs/blake3/{HASH}/5"),
            format!("blobs/sha256/{HASH}/5"),
            format!("operations/blobs/{HASH}/5"),
            format!("main/actions/blobs/{HASH}/5"),
            format!("compressed-blobs/{HASH}/5"),
            format!("compressed-blobs/deflate/{HASH}/5"),
            format!("compressed-blobs/identity/{HASH}/5"),
            format!("uploads/{UUID}/blobs/{HASH}/5"),
            format!("{long}blobs/{HASH}/5"),
        ] {
            assert!(read_name(&name).is_err(), "{name}");
        }
        for name in [
            format!("blobs/{HASH}/5"),
            format!("uploads/blobs/{HASH}/5"),
            format!("uploads//blobs/{HASH}/5"),
            format!("uploads/1/blobs/{HASH}/5"),
            format!("uploads/{UUID}0/blobs/{HASH}/5"),
            format!("uploads/{UUID}/{HASH}/5"),
            format!("uploads/{UUID}/x/blobs/{HASH}/5"),
            format!("uploads/{UUID}/uploads/{UUID}/blobs/{HASH}/5"),
            format!("uploads/{UUID}/blobs/{HASH}"),
            format!("uploads/{UUID}/compressed-blobs/brotli/{HASH}/5"),
        ] {
            assert!(write_name(&name).is_err(), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(pieces in proptest::collection::vec(0..12usize, 0..12), other in ".{0,40}") {
            let words = ["blobs", "uploads", "compressed-blobs", "zstd", UUID, HASH, "5", "", "main", "blake3", "actions", &other];
            let name = pieces.iter().map(|piece| words[*piece]).collect::<Vec<_>>().join("/");
            for (resource, prefix) in [(read_name(&name), ""), (write_name(&name), "uploads/")] {
                let Ok(resource) = resource else { continue };
                let instance = if resource.instance.is_empty() { String::new() } else { format!("{}/", resource.instance) };
                let start = format!("{instance}{prefix}");
                assert!(name.starts_with(&start) && name.contains(&resource.digest.to_string()), "{name}");
            }
        }
    }
}
