//! Where the daemon's socket is, and that one daemon at a time serves it. Knows no message.
//!
//! Wrapper and daemon find the same place from the same few settings: the first directory that can be used of
//! `$XDG_RUNTIME_DIR/kiln`, `KILN_DIR/run` and `/tmp/kiln-UID`. It belongs to the user and nobody else may enter it. The
//! socket's name holds the protocol version, and a hash of the [`Identity`] and of the settings `KILN_DIR` and
//! `KILN_CONFIG`, so that another view or configuration gets a daemon of its own.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::fs::File;
use std::fs::TryLockError;
use std::io;
use std::io::Write;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;

use crate::Identity;
use crate::limits::PROTOCOL_VERSION;
use crate::limits::SOCKET_PATH_MAX;
use crate::sys;

/// Settings by name, as the environment gives them.
type Settings<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Why there is no socket to connect to or to serve.
#[derive(Debug)]
pub enum PlaceError {
    /// No directory could be used; the last one tried and why.
    NoDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another daemon serves this place.
    Taken,
    /// The socket or its lock cannot be made.
    Io {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        error: io::Error,
    },
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlaceError::NoDirectory { path, why } => write!(f, "no directory for the socket: {}: {why}", path.display()),
            PlaceError::Taken => f.write_str("another daemon serves this socket"),
            PlaceError::Io { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for PlaceError {}

/// The files of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    dir: PathBuf,
    /// `HASH`: what this view's files share over all protocol versions.
    name: String,
}

/// The right to serve a place, and the listening socket. Dropping it removes the socket.
#[derive(Debug)]
pub struct Claim {
    /// Bound and listening, blocking, close-on-exec.
    pub listener: UnixListener,
    socket: PathBuf,
    _lock: File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The lock is still held here, so nobody else can have bound the name.
        let _ = fs::remove_file(&self.socket);
    }
}

/// Where state is kept: `KILN_DIR`, else `~/.cache/kiln`, else `/tmp/kiln-UID`. Not created, not checked.
pub fn state_dir(settings: Settings<'_>) -> PathBuf {
    let set = |name| settings(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("KILN_DIR")
        .or_else(|| set("HOME").map(|home| home.join(".cache/kiln")))
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/kiln-{}", sys::effective_user())))
}

impl Place {
    /// Finds the place for `identity`, creating its directory.
    ///
    /// # Errors
    /// [`PlaceError::NoDirectory`].
    pub fn find(settings: Settings<'_>, identity: &Identity) -> Result<Place, PlaceError> {
        let set = |name| settings(name).filter(|value| !value.is_empty());
        let (dir, config) = (set("KILN_DIR").unwrap_or_default(), set("KILN_CONFIG").unwrap_or_default());
        let name = format!("{:016x}", identity.hash(&[dir.as_bytes(), config.as_bytes()]));
        let candidates = [
            set("XDG_RUNTIME_DIR").map(|dir| (PathBuf::from(dir).join("kiln"), false)),
            Some((state_dir(settings).join("run"), true)),
            Some((PathBuf::from(format!("/tmp/kiln-{}", sys::effective_user())), false)),
        ];
        let mut last = PlaceError::Taken;
        for (dir, recursive) in candidates.into_iter().flatten() {
            let place = Place { dir, name: name.clone() };
            match private_dir(&place.dir, &place.socket(), recursive) {
                Ok(()) => return Ok(place),
                Err(why) => last = PlaceError::NoDirectory { path: place.dir, why },
            }
        }
        Err(last)
    }

    /// The directory, for files besides the socket.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The socket of this protocol version.
    pub fn socket(&self) -> PathBuf {
        self.socket_of(PROTOCOL_VERSION)
    }

    fn socket_of(&self, version: u32) -> PathBuf {
        self.dir.join(format!("v{version}-{}.sock", self.name))
    }

    /// Held (`flock`) by the one wrapper that starts a daemon.
    pub fn start_lock(&self) -> PathBuf {
        self.dir.join(format!("{}.start", self.name))
    }

    /// Exists where the last start failed; its time says when. [`claim`](Self::claim) removes it.
    pub fn start_failed(&self) -> PathBuf {
        self.dir.join(format!("{}.failed", self.name))
    }

    /// Versions and sockets of other protocol versions of the same view, ascending: older ones are to be drained.
    pub fn other_versions(&self) -> Vec<(u32, PathBuf)> {
        let end = format!("-{}.sock", self.name);
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let mut sockets: Vec<(u32, PathBuf)> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                let version = name.to_str()?.strip_prefix('v')?.strip_suffix(&end)?.parse().ok()?;
                (version != PROTOCOL_VERSION).then(|| (version, self.socket_of(version)))
            })
            .collect();
        sockets.sort();
        sockets
    }

    /// Takes the place for this process and listens. A socket left by a dead daemon is replaced.
    ///
    /// # Errors
    /// [`PlaceError::Taken`] while another daemon lives, [`PlaceError::Io`].
    pub fn claim(&self) -> Result<Claim, PlaceError> {
        let socket = self.socket();
        let lock_path = self.dir.join(format!("v{PROTOCOL_VERSION}-{}.lock", self.name));
        let lock = open_lock(&lock_path).map_err(|error| PlaceError::Io { path: lock_path.clone(), error })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PlaceError::Taken),
            Err(TryLockError::Error(error)) => return Err(PlaceError::Io { path: lock_path, error }),
        }
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).map_err(|error| PlaceError::Io { path: socket.clone(), error })?;
        let _ = fs::remove_file(self.start_failed());
        Ok(Claim { listener, socket, _lock: lock })
    }
}

/// Opens or creates an empty file to lock, readable by nobody else.
///
/// # Errors
/// As `open`.
pub fn open_lock(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Makes `dir` where it is missing (`recursive`: its parents too) and checks that it is ours alone and that `socket`'s
/// path fits.
fn private_dir(dir: &Path, socket: &Path, recursive: bool) -> Result<(), String> {
    if !dir.is_absolute() {
        return Err("not an absolute path".into());
    }
    if socket.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(format!("its path is too long for a socket (over {SOCKET_PATH_MAX} bytes)"));
    }
    let mut made = fs::symlink_metadata(dir);
    if made.is_err() {
        match fs::DirBuilder::new().recursive(recursive).mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.to_string()),
            _ => {}
        }
        made = fs::symlink_metadata(dir);
    }
    let made = made.map_err(|error| error.to_string())?;
    if !made.is_dir() {
        return Err("not a directory".into());
    }
    if made.uid() != sys::effective_user() {
        return Err(format!("belongs to user {}", made.uid()));
    }
    if made.mode() & 0o077 != 0 {
        return Err(format!("others may enter it (mode {:o}, must be 700)", made.mode() & 0o777));
    }
    if !sys::may_write(dir) {
        return Err("not writable".into());
    }
    Ok(())
}

/// Tells the wrapper that started this daemon how the start went, by `fd` from `kilnd daemon --ready-fd FD`: `Ok` once
/// the socket listens, else one line of why. Closes `fd`. The daemon that ends without this has failed too.
///
/// # Errors
/// `fd` is no descriptor that can be written.
pub fn report_ready(fd: RawFd, outcome: Result<(), &str>) -> io::Result<()> {
    if fd < 3 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: the caller was handed this number on its command line for this one purpose; a number that is not open makes
    // the write fail, and nothing else in the process owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut pipe = File::from(fd);
    match outcome {
        Ok(()) => pipe.write_all(READY),
        Err(why) => pipe.write_all(why.lines().next().unwrap_or("unknown").as_bytes()),
    }
}

/// What a daemon that listens writes to its ready descriptor.
pub const READY: &[u8] = b"ready\n";
