//! Bytes to frames and back, with the descriptors that belong to each. Knows no socket and no message.
//!
//! A frame is eight bytes of header and a body: `u32` body length, `u8` kind, `u8` zero, `u16` number of descriptors, all
//! little-endian. Its descriptors are sent along with its first byte. The header and the kinds [`kind::HELLO`] and
//! [`kind::DRAIN`] are the same in every protocol version.

use std::fmt;
use std::os::fd::OwnedFd;

use crate::limits::FRAME_BODY_MAX;
use crate::limits::FRAME_FDS_MAX;

/// Bytes of a frame before its body.
pub const HEADER: usize = 8;

/// What a frame holds.
pub mod kind {
    /// First frame of a conversation.
    pub const HELLO: u8 = 1;
    /// Empty body, no hello before it: finish what is running, take nothing new, go. Understood by every version.
    pub const DRAIN: u8 = 2;
    /// [`Request::Compile`](crate::Request::Compile).
    pub const COMPILE: u8 = 16;
    /// [`Request::Slot`](crate::Request::Slot).
    pub const SLOT: u8 = 17;
    /// [`Request::Control`](crate::Request::Control).
    pub const CONTROL: u8 = 18;
    /// [`Reply::Wait`](crate::Reply::Wait).
    pub const WAIT: u8 = 32;
    /// [`Reply::RunLocally`](crate::Reply::RunLocally).
    pub const RUN_LOCALLY: u8 = 33;
    /// [`Reply::Done`](crate::Reply::Done).
    pub const DONE: u8 = 34;
    /// [`Reply::Answer`](crate::Reply::Answer).
    pub const ANSWER: u8 = 35;
    /// [`Reply::Refuse`](crate::Reply::Refuse).
    pub const REFUSE: u8 = 36;
    /// [`Reply::Fail`](crate::Reply::Fail).
    pub const FAIL: u8 = 37;
}

/// What is wrong with received bytes, or with a message that is too large to send. The connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// A body over [`FRAME_BODY_MAX`].
    TooLarge {
        /// The length the header claims, in bytes.
        len: usize,
    },
    /// More than [`FRAME_FDS_MAX`] descriptors, or descriptors that no frame claims.
    TooManyDescriptors,
    /// Fewer descriptors arrived than the frame claims.
    MissingDescriptors,
    /// A body ends inside a field.
    Truncated,
    /// A body goes on after its last field.
    Trailing,
    /// A field holds a value it cannot have.
    BadValue(&'static str),
    /// A kind that does not belong here.
    UnexpectedKind(u8),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLarge { len } => write!(f, "a frame of {len} bytes (at most {FRAME_BODY_MAX})"),
            FrameError::TooManyDescriptors => write!(f, "too many descriptors (at most {FRAME_FDS_MAX} a frame)"),
            FrameError::MissingDescriptors => f.write_str("a frame without the descriptors it claims"),
            FrameError::Truncated => f.write_str("a message that ends too early"),
            FrameError::Trailing => f.write_str("a message with bytes after its end"),
            FrameError::BadValue(what) => write!(f, "a message with a bad {what}"),
            FrameError::UnexpectedKind(kind) => write!(f, "an unexpected message of kind {kind}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// One whole frame as received.
#[derive(Debug)]
pub struct Frame {
    /// One of [`kind`]'s values, or an unknown one.
    pub kind: u8,
    /// The message's fields.
    pub body: Vec<u8>,
    /// Descriptors in the order they were sent; messages name them by index. All are close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Appends a frame with `fds` descriptors whose body is what `body` writes.
///
/// # Errors
/// [`FrameError::TooLarge`] and [`FrameError::TooManyDescriptors`]; `out` is then as before.
pub(crate) fn encode(out: &mut Vec<u8>, kind: u8, fds: usize, body: impl FnOnce(&mut Vec<u8>)) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind, 0, 0, 0]);
    body(out);
    let len = out.len() - start - HEADER;
    let count = u16::try_from(fds).ok().filter(|_| fds <= FRAME_FDS_MAX);
    let (Some(count), true) = (count, len <= FRAME_BODY_MAX) else {
        out.truncate(start);
        return Err(if len > FRAME_BODY_MAX { FrameError::TooLarge { len } } else { FrameError::TooManyDescriptors });
    };
    out[start..start + 4].copy_from_slice(&(len as u32).to_le_bytes());
    out[start + 6..start + 8].copy_from_slice(&count.to_le_bytes());
    Ok(())
}

/// A whole [`kind::DRAIN`] frame, as daemons of every version understand it.
pub fn drain_frame() -> [u8; HEADER] {
    [0, 0, 0, 0, kind::DRAIN, 0, 0, 0]
}

/// Collects received bytes and descriptors and gives out whole frames.
///
/// Holds at most one frame over what was pushed last: a claimed length is refused before any of its bytes are waited for.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Bytes at the front of `bytes` already given out.
    used: usize,
    fds: std::collections::VecDeque<OwnedFd>,
}

impl Decoder {
    /// A decoder that has received nothing.
    pub fn new() -> Self {
        Decoder::default()
    }

    /// Takes bytes and the descriptors that came with them, in order of arrival.
    ///
    /// # Errors
    /// [`FrameError::TooManyDescriptors`] when more wait than two frames could claim.
    pub fn push(&mut self, bytes: &[u8], fds: impl IntoIterator<Item = OwnedFd>) -> Result<(), FrameError> {
        self.fds.extend(fds);
        if self.fds.len() > 2 * FRAME_FDS_MAX {
            return Err(FrameError::TooManyDescriptors);
        }
        if self.used > 0 {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole frame, or `None` until more bytes are pushed.
    ///
    /// # Errors
    /// A header that no peer of any version sends. The decoder is then of no more use.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.bytes[self.used..];
        let Some((&[a, b, c, d, kind, zero, e, f], body)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > FRAME_BODY_MAX {
            return Err(FrameError::TooLarge { len });
        }
        if zero != 0 {
            return Err(FrameError::BadValue("header"));
        }
        let count = usize::from(u16::from_le_bytes([e, f]));
        if count > FRAME_FDS_MAX {
            return Err(FrameError::TooManyDescriptors);
        }
        let Some(body) = body.get(..len) else { return Ok(None) };
        if count > self.fds.len() {
            return Err(FrameError::MissingDescriptors);
        }
        let frame = Frame { kind, body: body.to_vec(), fds: self.fds.drain(..count).collect() };
        self.used += HEADER + len;
        Ok(Some(frame))
    }

    /// Whether no byte of an unfinished frame is waiting: an end of the stream here is an orderly one.
    pub fn is_at_boundary(&self) -> bool {
        self.used == self.bytes.len()
    }
}
