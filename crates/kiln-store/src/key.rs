//! Names of stored files: digest and kind to path and back. Knows no file system.

use kiln_cas::Digest;

/// What a stored file is. One inode cannot be executable and not, so a blob has up to two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A blob, mode 0444.
    Plain,
    /// The same blob, mode 0555.
    Exec,
    /// A record whose name is no digest of its content, so its size is not known from its name.
    Record,
}

/// One stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) digest: Digest,
    pub(crate) kind: Kind,
}

impl Key {
    pub(crate) fn blob(digest: &Digest, executable: bool) -> Key {
        Key { digest: *digest, kind: if executable { Kind::Exec } else { Kind::Plain } }
    }

    /// `ab/abcd...-SIZE[.x|.r]`, relative to the shelf.
    pub(crate) fn path(&self) -> String {
        let hex = self.digest.hex();
        let suffix = match self.kind {
            Kind::Plain => "",
            Kind::Exec => ".x",
            Kind::Record => ".r",
        };
        format!("{}/{hex}-{}{suffix}", &hex[..SHARD_LEN], self.digest.size)
    }

    /// The key whose file is called `name` in the directory `shard`.
    pub(crate) fn parse(shard: &str, name: &str) -> Option<Key> {
        let (stem, kind) = if let Some(stem) = name.strip_suffix(".x") {
            (stem, Kind::Exec)
        } else if let Some(stem) = name.strip_suffix(".r") {
            (stem, Kind::Record)
        } else {
            (name, Kind::Plain)
        };
        let (hash, size) = stem.split_once('-')?;
        let digest = Digest::from_wire(hash, size.parse().ok()?).ok()?;
        let key = Key { digest, kind };
        (key.path() == format!("{shard}/{name}")).then_some(key)
    }

    /// The file mode of this kind: never writable, for other names of the same inode stand in job roots.
    pub(crate) fn mode(&self) -> u32 {
        match self.kind {
            Kind::Plain => 0o444,
            Kind::Exec => 0o555,
            Kind::Record => 0o400,
        }
    }
}

/// Hexadecimal digits in a shard's name: 256 directories, so that a million blobs are four thousand in each.
pub(crate) const SHARD_LEN: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for kind in [Kind::Plain, Kind::Exec, Kind::Record] {
            let key = Key { digest: Digest::of(b"hello"), kind };
            let path = key.path();
            let (shard, name) = path.split_once('/').unwrap();
            assert_eq!(Key::parse(shard, name), Some(key));
        }
    }

    #[test]
    fn other_names_are_none() {
        let hex = Digest::EMPTY.hex();
        for (shard, name) in [
            ("e3", String::new()),
            ("e3", hex.clone()),
            ("e4", format!("{hex}-0")),
            ("e3", format!("{hex}-00")),
            ("e3", format!("{hex}-+0")),
            ("e3", format!("{hex}-0.y")),
            ("e3", format!("{hex}-0.x.x")),
            ("e3", format!("{}-0", hex.to_uppercase())),
        ] {
            assert_eq!(Key::parse(shard, &name), None, "{name}");
        }
    }
}
