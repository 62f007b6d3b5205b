//! Frames and descriptors over a Unix stream socket. Knows no message but the shape of a frame.

use std::fmt;
use std::io;
use std::mem::size_of;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use crate::Decoder;
use crate::Frame;
use crate::FrameError;
use crate::limits::FRAME_FDS_MAX;
use crate::limits::SILENCE;
use crate::limits::STARVED_MAX;
use crate::sys;

/// Bytes read at a time: a common reply (small streams, an object by descriptor) fits in one.
const READ_BYTES: usize = 16 << 10;

/// Why a conversation cannot go on.
#[derive(Debug)]
pub enum ConnectionError {
    /// The socket failed, or the peer went away inside a frame (`UnexpectedEof`).
    Io(io::Error),
    /// The peer sent what no peer sends, or a message is too large to send.
    Frame(FrameError),
    /// The peer is another user.
    ForeignPeer {
        /// Its uid.
        uid: u32,
    },
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectionError::Io(error) => write!(f, "{error}"),
            ConnectionError::Frame(error) => write!(f, "{error}"),
            ConnectionError::ForeignPeer { uid } => write!(f, "the peer is user {uid}"),
        }
    }
}

impl std::error::Error for ConnectionError {}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        ConnectionError::Io(error)
    }
}

impl From<FrameError> for ConnectionError {
    fn from(error: FrameError) -> Self {
        ConnectionError::Frame(error)
    }
}

/// A blocking socket that speaks frames.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    decoder: Decoder,
}

impl Connection {
    /// Connects to a daemon's socket and checks that the same user listens there.
    ///
    /// # Errors
    /// `NotFound` and `ConnectionRefused` mean that there is no daemon; [`ConnectionError::ForeignPeer`].
    pub fn connect(socket: &Path) -> Result<Connection, ConnectionError> {
        let connection = Connection::over(sys::connect(socket, SILENCE)?);
        connection.check_peer()?;
        Ok(connection)
    }

    /// Speaks over a socket that is connected already.
    pub fn over(stream: UnixStream) -> Connection {
        Connection { stream, decoder: Decoder::new() }
    }

    /// Checks by `SO_PEERCRED` that the peer runs under this process's effective uid.
    ///
    /// # Errors
    /// [`ConnectionError::ForeignPeer`], or the kernel's error.
    pub fn check_peer(&self) -> Result<sys::Peer, ConnectionError> {
        let peer = sys::peer(self.stream.as_fd())?;
        if peer.uid == sys::effective_user() { Ok(peer) } else { Err(ConnectionError::ForeignPeer { uid: peer.uid }) }
    }

    /// The socket itself.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends encoded frames; `fds` go with the first byte.
    ///
    /// # Errors
    /// The socket's own; a vanished peer is `BrokenPipe`, never a signal.
    pub fn send(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), ConnectionError> {
        let mut rest = bytes;
        let mut fds = fds;
        while !rest.is_empty() {
            match send_with_fds(self.stream.as_fd(), rest, fds) {
                Ok(sent) => {
                    rest = &rest[sent..];
                    fds = &[];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits for the next frame; `None` at an orderly end of the stream.
    ///
    /// # Errors
    /// The socket's own, and malformed frames.
    pub fn receive(&mut self) -> Result<Option<Frame>, ConnectionError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// As [`receive`](Self::receive), but gives up once nothing at all has arrived for `silence`.
    ///
    /// Time in which this process did not run itself (stopped, suspended, starved) does not count against the peer: a
    /// wait that ends half a second late starts anew. Nor does, up to [`STARVED_MAX`], time in which the peer waits for a processor.
    ///
    /// # Errors
    /// `TimedOut`, besides those of `receive`.
    pub fn receive_within(&mut self, silence: Duration) -> Result<Option<Frame>, ConnectionError> {
        let mut starved_since = None;
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            if !sys::wait_readable_steadily(self.stream.as_fd(), silence)? {
                let is_starved = sys::peer(self.stream.as_fd()).is_ok_and(|peer| sys::is_runnable(peer.pid));
                if !is_starved || starved_since.get_or_insert_with(Instant::now).elapsed() >= STARVED_MAX {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
                continue;
            }
            starved_since = None;
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads once; false at an orderly end.
    fn fill(&mut self) -> Result<bool, ConnectionError> {
        let mut buffer = [0; READ_BYTES];
        let mut fds = Vec::new();
        let count = loop {
            match recv_with_fds(self.stream.as_fd(), &mut buffer, &mut fds) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if count == 0 {
            let orderly = self.decoder.is_at_boundary();
            return if orderly { Ok(false) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) };
        }
        self.decoder.push(&buffer[..count], fds)?;
        Ok(true)
    }
}

/// Room for one control message with [`FRAME_FDS_MAX`] descriptors, aligned as `cmsghdr` wants: 16 bytes of header and
/// four bytes a descriptor, in words of eight. Not a byte more: what does not fit is how the kernel tells of too many.
type ControlBuffer = [u64; 2 + FRAME_FDS_MAX / 2];

/// Sends some of `bytes`, and all of `fds` with the first of them. Returns how many bytes went.
///
/// # Errors
/// As `sendmsg`; `WouldBlock` on a full non-blocking socket (nothing was sent then, descriptors neither).
pub fn send_with_fds(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.len() > FRAME_FDS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, FrameError::TooManyDescriptors));
    }
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control: ControlBuffer = [0; _];
    // SAFETY: `msghdr` is plain data for which zero is valid; the pointers set below outlive the call, the control buffer
    // is aligned and has room for FRAME_FDS_MAX descriptors, and `fds` holds no more.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if !fds.is_empty() {
            let data_len = size_of_val(fds) as libc::c_uint;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(data_len) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(data_len) as _;
            let data = libc::CMSG_DATA(header).cast::<libc::c_int>();
            for (at, fd) in fds.iter().enumerate() {
                data.add(at).write_unaligned(fd.as_raw_fd());
            }
        }
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Reads some bytes into `buffer` and appends descriptors that came with them to `fds`, all close-on-exec. 0 is the end.
///
/// # Errors
/// As `recvmsg`; `InvalidData` when the peer sent more descriptors than [`FRAME_FDS_MAX`] at once.
pub fn recv_with_fds(socket: BorrowedFd<'_>, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control: ControlBuffer = [0; _];
    // SAFETY: `msghdr` is plain data for which zero is valid; the pointers set below outlive the call and name their true
    // sizes. The kernel wrote whole control messages within msg_controllen, which the CMSG functions walk; every
    // descriptor in an SCM_RIGHTS message is new and ours alone.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<ControlBuffer>() as _;
        let received = libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
        let Ok(received) = usize::try_from(received) else { return Err(io::Error::last_os_error()) };
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let data_len = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<libc::c_int>();
                for at in 0..data_len / size_of::<libc::c_int>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(at).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        if message.msg_flags & libc::MSG_CTRUNC != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, FrameError::TooManyDescriptors));
        }
        Ok(received)
    }
}
