//! Toolchains and what they answered as bytes, to outlive a process. Reads bytes that may be anything; looks at no file.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that are no record, or a value that cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// They do not read as one.
    #[error("no record: {0}")]
    Encoding(#[from] postcard::Error),
    /// They read, but do not agree with themselves.
    #[error("a record that contradicts itself")]
    Inconsistent,
}

/// Digests, whose crate knows no encoding but REAPI's.
pub(crate) mod digest {
    use super::*;
    use kiln_cas::Digest;

    pub(crate) fn serialize<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
        (digest.hash, digest.size).serialize(to)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Digest, D::Error> {
        let (hash, size) = Deserialize::deserialize(from)?;
        Ok(Digest { hash, size })
    }
}

/// Digests that may be missing.
pub(crate) mod optional_digest {
    use super::*;
    use kiln_cas::Digest;

    pub(crate) fn serialize<S: Serializer>(digest: &Option<Digest>, to: S) -> Result<S::Ok, S::Error> {
        digest.map(|digest| (digest.hash, digest.size)).serialize(to)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Digest>, D::Error> {
        let parts: Option<([u8; 32], u64)> = Deserialize::deserialize(from)?;
        Ok(parts.map(|(hash, size)| Digest { hash, size }))
    }
}

/// The family of a driver: whether it is clang's.
pub(crate) mod family {
    use super::*;
    use kiln_cmdline::Family;

    pub(crate) fn serialize<S: Serializer>(family: &Family, to: S) -> Result<S::Ok, S::Error> {
        (*family == Family::Clang).serialize(to)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Family, D::Error> {
        let is_clang = bool::deserialize(from)?;
        Ok(if is_clang { Family::Clang } else { Family::Gcc })
    }
}

/// Names of processors: those that kiln has.
pub(crate) mod arch {
    use super::*;
    use crate::elf::ARCHES;

    pub(crate) fn serialize<S: Serializer>(arch: &&'static str, to: S) -> Result<S::Ok, S::Error> {
        arch.serialize(to)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<&'static str, D::Error> {
        let name = String::deserialize(from)?;
        ARCHES.into_iter().find(|known| *known == name).ok_or_else(|| D::Error::custom("no processor"))
    }
}

/// Names of operators: those that are asked for.
pub(crate) mod operators {
    use super::*;
    use crate::builtins::OPERATORS;

    pub(crate) fn serialize<S: Serializer>(names: &[&'static str], to: S) -> Result<S::Ok, S::Error> {
        names.serialize(to)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<&'static str>, D::Error> {
        let names = Vec::<String>::deserialize(from)?;
        let known = |name: &String| OPERATORS.into_iter().find(|known| known == name);
        names.iter().map(|name| known(name).ok_or_else(|| D::Error::custom("no operator"))).collect()
    }
}

/// What is shared in memory is written by itself.
pub(crate) mod shared {
    use super::*;
    use std::sync::Arc;

    pub(crate) fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, to: S) -> Result<S::Ok, S::Error> {
        value.as_ref().serialize(to)
    }

    pub(crate) fn deserialize<'d, T: Deserialize<'d>, D: Deserializer<'d>>(from: D) -> Result<Arc<T>, D::Error> {
        T::deserialize(from).map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Builtins, DigestCache, Toolchain};

    #[test]
    fn the_fuzzers_seeds_are_records() {
        let toolchain = include_bytes!("../../../fuzz/seeds/toolchain/toolchain");
        let read = Toolchain::decode(toolchain).unwrap();
        assert_eq!((read.driver.to_str(), read.host_arch, read.lookup_env().args.len()), (Some("/usr/bin/gcc"), "x86_64", 1));
        assert_eq!(read.encode().unwrap(), toolchain);
        assert!(!read.is_current(), "such a file there is nowhere");
        let answer = include_bytes!("../../../fuzz/seeds/toolchain/answer");
        let read = Builtins::decode(answer).unwrap();
        assert_eq!((&*read.macros, read.encode().unwrap().as_slice()), (&b"#define A 1\n"[..], &answer[..]));
        assert_eq!(DigestCache::decode(include_bytes!("../../../fuzz/seeds/toolchain/digests")).unwrap().len(), 1);
    }

    #[test]
    fn a_record_that_contradicts_itself_is_refused() {
        let seed = include_bytes!("../../../fuzz/seeds/toolchain/toolchain");
        // Behind the target, which begins with the same letters; the identity follows.
        let processor = seed.windows(6).rposition(|window| window == b"x86_64").unwrap();
        for (at, what) in [(processor, "a processor that there is not"), (processor + 6, "an identity that is another's")] {
            let mut bytes = seed.to_vec();
            bytes[at] ^= 1;
            assert!(Toolchain::decode(&bytes).is_err(), "{what}");
        }
        for at in 0..seed.len() {
            assert!(Toolchain::decode(&seed[..at]).is_err(), "cut at {at}");
        }
    }
}
