//! What a plain action sees of this machine's own files, as one digest. Knows neither actions nor the network.
//!
//! A plain REAPI action sees the worker's `/usr` and its like beside its own input root, so its result is that of these files too. It
//! may be kept for others only where its platform names their digest, and only if they were the same from before the run until after
//! it. The first look reads every file; later ones read those whose identity or times changed.

use kiln_cas::{Digest, Hasher};
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most files looked at: a full desktop has some 500,000 below `/usr`; each takes 100 bytes here.
const FILES_MAX: usize = 4_000_000;
/// How old a file's last change is before its times vouch for it: the coarsest step of times in use is 2 s, of FAT.
const SETTLED_NS: i128 = 2_000_000_000;
/// Bytes read at once.
const CHUNK_LEN: usize = 256 << 10;

/// Files of this machine as they were during one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Digest over names, kinds, executable bits, links' targets and contents: equal on machines with equal files.
    pub digest: Digest,
    /// Digest over names, identities and times. Two looks with equal stamps had equal files at every moment between them: what
    /// changes a file sets its time of change, which nobody can set back.
    pub stamp: Digest,
}

/// Remembers what is known of the files below some paths.
#[derive(Debug)]
pub struct HostRoot {
    paths: Vec<PathBuf>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    seen: Option<Seen>,
    /// By path: stamp of a regular file, and its content's digest.
    contents: BTreeMap<PathBuf, (Stamp, Digest)>,
}

type Stamp = [i128; 4];

fn stamp_of(meta: &Metadata) -> Stamp {
    let ns = |seconds: i64, fraction: i64| i128::from(seconds) * 1_000_000_000 + i128::from(fraction);
    let identity = i128::from(meta.dev()) << 64 | i128::from(meta.ino());
    [identity, i128::from(meta.size()), ns(meta.mtime(), meta.mtime_nsec()), ns(meta.ctime(), meta.ctime_nsec())]
}

impl HostRoot {
    /// The files that the sandbox shows to plain actions.
    pub fn of_plain_actions() -> HostRoot {
        HostRoot::new(kiln_sandbox::HOST_PATHS.iter().map(PathBuf::from).collect())
    }

    /// The files below `paths`.
    pub fn new(paths: Vec<PathBuf>) -> HostRoot {
        HostRoot { paths, known: Mutex::default() }
    }

    /// Looks at all of them. Blocks: a fraction of a second where nothing changed, else as long as reading takes.
    ///
    /// # Errors
    /// One cannot be looked at, or there are too many.
    pub fn look(&self) -> io::Result<Seen> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = self.entries()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
        let is_settled = |stamp: &Stamp| stamp[2].max(stamp[3]) + SETTLED_NS <= now;
        let mut stamp = Hasher::new();
        if !entries.iter().all(|(_, meta)| is_settled(&stamp_of(meta))) {
            // Another change might leave the same times: this look is like no other.
            stamp.update(&now.to_le_bytes());
        }
        for (path, meta) in &entries {
            put(&mut stamp, path.as_os_str().as_bytes());
            for number in stamp_of(meta).into_iter().chain([i128::from(meta.mode())]) {
                stamp.update(&number.to_le_bytes());
            }
        }
        let stamp = stamp.finish();
        if let Some(seen) = known.seen.filter(|seen| seen.stamp == stamp) {
            return Ok(seen);
        }
        let mut digest = Hasher::new();
        let mut contents = BTreeMap::new();
        for (path, meta) in entries {
            put(&mut digest, path.as_os_str().as_bytes());
            let kind = FileType::from_raw_mode(meta.mode());
            put(&mut digest, format!("{kind:?} {}", kind == FileType::RegularFile && meta.mode() & 0o111 != 0).as_bytes());
            match kind {
                FileType::Symlink => put(&mut digest, fs::read_link(&path)?.as_os_str().as_bytes()),
                FileType::RegularFile => {
                    let stamp = stamp_of(&meta);
                    let content = match known.contents.get(&path).filter(|(then, _)| *then == stamp) {
                        Some((_, content)) => *content,
                        None => read(&path)?,
                    };
                    put(&mut digest, content.to_string().as_bytes());
                    if is_settled(&stamp) {
                        contents.insert(path, (stamp, content));
                    }
                }
                _ => {}
            }
        }
        let seen = Seen { digest: digest.finish(), stamp };
        *known = Known { seen: Some(seen), contents };
        Ok(seen)
    }

    /// Everything there, in the order of names within each directory.
    fn entries(&self) -> io::Result<Vec<(PathBuf, Metadata)>> {
        let mut entries = Vec::new();
        let mut ahead: Vec<PathBuf> = self.paths.iter().rev().cloned().collect();
        while let Some(path) = ahead.pop() {
            let meta = match fs::symlink_metadata(&path) {
                Ok(meta) => meta,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(named(&path, &error)),
            };
            if meta.is_dir() {
                // Nobody's job can look into what this process cannot.
                let listing = fs::read_dir(&path).into_iter().flatten();
                let mut names: Vec<PathBuf> = listing.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
                names.sort_unstable_by(|a, b| b.cmp(a));
                ahead.extend(names);
            }
            entries.push((path, meta));
            if entries.len() > FILES_MAX {
                return Err(io::Error::other(format!("more than {FILES_MAX} files")));
            }
        }
        Ok(entries)
    }
}

/// Adds a field so that no two lists of fields add up to the same bytes.
fn put(hasher: &mut Hasher, field: &[u8]) {
    hasher.update(&(field.len() as u64).to_le_bytes());
    hasher.update(field);
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The digest of a file's content; that of nothing where this process, and so its jobs, may not read it.
fn read(path: &Path) -> io::Result<Digest> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(Digest::EMPTY),
        Err(error) => return Err(named(path, &error)),
    };
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; CHUNK_LEN]);
    loop {
        match file.read(&mut buffer).map_err(|error| named(path, &error))? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lib")).unwrap();
        fs::write(dir.path().join("lib/a"), "one").unwrap();
        fs::write(dir.path().join("lib/b"), "two").unwrap();
        symlink("lib", dir.path().join("link")).unwrap();
        dir
    }

    #[test]
    fn a_look_tells_what_there_is_and_whether_it_was_touched() {
        let dir = tree();
        let root = HostRoot::new(vec![dir.path().to_owned(), dir.path().join("absent")]);
        let first = root.look().unwrap();
        assert_ne!(root.look().unwrap().stamp, first.stamp, "the files are too new to be sure");
        assert_eq!(HostRoot::new(vec![dir.path().to_owned()]).look().unwrap().digest, first.digest);
        let settled = HostRoot::new(vec![PathBuf::from("/etc/ld.so.conf.d")]);
        assert_eq!(settled.look().unwrap(), settled.look().unwrap());
    }

    #[test]
    fn every_difference_shows() {
        let dir = tree();
        let root = HostRoot::new(vec![dir.path().to_owned()]);
        let mut digests = vec![root.look().unwrap().digest];
        let path = |name: &str| dir.path().join(name);
        let changes: [&dyn Fn(); 5] = [
            &|| fs::write(path("lib/a"), "eno").unwrap(),
            &|| fs::set_permissions(path("lib/b"), fs::Permissions::from_mode(0o755)).unwrap(),
            &|| fs::rename(path("lib/b"), path("lib/c")).unwrap(),
            &|| fs::create_dir(path("lib/empty")).unwrap(),
            &|| {
                fs::remove_file(path("link")).unwrap();
                symlink("lib/a", path("link")).unwrap();
            },
        ];
        for change in changes {
            change();
            let digest = root.look().unwrap().digest;
            assert!(!digests.contains(&digest));
            digests.push(digest);
        }
    }
}
