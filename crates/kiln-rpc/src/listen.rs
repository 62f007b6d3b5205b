//! Sockets that listen: who may make them and where. Knows no protocol.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::net::UnixStream;

use crate::Address;
use crate::ServerTls;

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    pub(crate) tls: Option<Arc<ServerTls>>,
    _unlink: Option<Unlink>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Removes a socket's name when it is no longer listened to.
#[derive(Debug)]
struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A connection as accepted.
#[derive(Debug)]
pub(crate) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The kernel or the resolver refuses.
    #[error("cannot listen at {address}: {error}")]
    Io {
        /// Where.
        address: Address,
        /// Why.
        error: io::Error,
    },
    /// A TCP listener that others reach, without TLS.
    #[error("{0} is not on loopback and has no TLS: name a certificate ([tls] cert, key), or state insecure = true")]
    NoTls(Address),
    /// The directory of a Unix socket is open to others.
    #[error("{dir}: mode {mode:o}, owner {uid}: the directory of a Unix socket must be yours and of mode 700")]
    OpenDirectory {
        /// The directory.
        dir: PathBuf,
        /// Its mode bits.
        mode: u32,
        /// Its owner.
        uid: u32,
    },
    /// Something answers there, or the name is taken by another kind of file.
    #[error("{0} is in use")]
    InUse(Address),
}

impl Listener {
    /// Listens. A TCP address needs TLS unless it is on loopback or `insecure` is stated; of a name with several addresses
    /// the first is used. A Unix socket's directory is made, of mode 0700, where it is missing; a socket that nobody
    /// serves any more is replaced.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn bind(address: &Address, tls: Option<Arc<ServerTls>>, insecure: bool) -> Result<Listener, ListenError> {
        let io = |error| ListenError::Io { address: address.clone(), error };
        match address {
            Address::Tcp { host, port } => {
                if tls.is_none() && !insecure && !address.is_local() {
                    return Err(ListenError::NoTls(address.clone()));
                }
                let socket = TcpListener::bind((host.as_str(), *port)).await.map_err(io)?;
                let bound = socket.local_addr().map_err(io)?;
                // A name is kept, for certificates name it; only a free port is filled in.
                let address = Address::tcp(host.clone(), bound.port());
                Ok(Listener { socket: Socket::Tcp(socket), address, tls, _unlink: None })
            }
            Address::Unix(path) => {
                private_parent(path, address)?;
                remove_stale(path, address).await?;
                let socket = UnixListener::bind(path).map_err(io)?;
                let unlink = Some(Unlink(path.clone()));
                Ok(Listener { socket: Socket::Unix(socket), address: address.clone(), tls: None, _unlink: unlink })
            }
        }
    }

    /// Where it listens, with the real port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(socket) => Ok(Accepted::Tcp(socket.accept().await?.0)),
            Socket::Unix(socket) => Ok(Accepted::Unix(socket.accept().await?.0)),
        }
    }
}

/// Makes the socket's directory, or checks that nobody else can enter it.
fn private_parent(path: &Path, address: &Address) -> Result<(), ListenError> {
    let io = |error| ListenError::Io { address: address.clone(), error };
    let Some(dir) = path.parent() else { return Err(ListenError::InUse(address.clone())) };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    let meta = std::fs::symlink_metadata(dir).map_err(io)?;
    let own = own_uid().map_err(io)?;
    if !meta.is_dir() || meta.mode() & 0o077 != 0 || meta.uid() != own {
        return Err(ListenError::OpenDirectory { dir: dir.to_owned(), mode: meta.mode() & 0o7777, uid: meta.uid() });
    }
    Ok(())
}

async fn remove_stale(path: &Path, address: &Address) -> Result<(), ListenError> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() || UnixStream::connect(path).await.is_ok() {
        return Err(ListenError::InUse(address.clone()));
    }
    std::fs::remove_file(path).map_err(|error| ListenError::Io { address: address.clone(), error })
}

/// The effective user of this process, as the owner of its /proc entry.
pub(crate) fn own_uid() -> io::Result<u32> {
    std::fs::metadata("/proc/self").map(|me| me.uid())
}
