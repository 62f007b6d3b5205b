//! Frames with descriptors over a tokio socket. Knows no request's meaning.

use kiln_frame::{Decoder, Frame, FrameError, recv_with_fds, send_with_fds};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Bytes taken from a socket at a time.
const READ_LEN: usize = 64 << 10;

/// Why a conversation with a wrapper ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The socket failed or closed within a frame.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is no frame.
    #[error("{0}")]
    Frame(#[from] FrameError),
}

/// One wrapper's connection.
pub(crate) struct Wire {
    stream: UnixStream,
    decoder: Decoder,
}

impl Wire {
    pub(crate) fn new(stream: UnixStream) -> Wire {
        Wire { stream, decoder: Decoder::new() }
    }

    /// The peer's process and user.
    pub(crate) fn peer(&self) -> io::Result<(Option<i32>, u32)> {
        let credentials = self.stream.peer_cred()?;
        Ok((credentials.pid(), credentials.uid()))
    }

    /// The next frame; `None` when the peer closed between frames.
    pub(crate) async fn receive(&mut self) -> Result<Option<Frame>, WireError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            let mut buffer = [0u8; READ_LEN];
            let mut fds: Vec<OwnedFd> = Vec::new();
            let count =
                self.stream.async_io(Interest::READABLE, || recv_with_fds(self.stream.as_fd(), &mut buffer, &mut fds)).await?;
            if count == 0 {
                return match self.decoder.is_at_boundary() {
                    true => Ok(None),
                    false => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                };
            }
            self.decoder.push(&buffer[..count], fds)?;
        }
    }

    /// Sends encoded frames, `fds` with their first byte.
    pub(crate) async fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), WireError> {
        let (mut rest, mut fds) = (bytes, fds);
        while !rest.is_empty() {
            let sent = self.stream.async_io(Interest::WRITABLE, || send_with_fds(self.stream.as_fd(), rest, fds)).await?;
            rest = &rest[sent..];
            fds = &[];
        }
        Ok(())
    }

    /// Ends when the peer has gone. A peer that sends more than its one request has gone mad and counts as gone.
    pub(crate) async fn gone(&self) {
        let mut byte = [0u8; 1];
        let mut fds = Vec::new();
        // Whatever comes, data, an end or an error: nobody waits for an answer any more.
        let _ = self.stream.async_io(Interest::READABLE, || recv_with_fds(self.stream.as_fd(), &mut byte, &mut fds)).await;
    }
}
