//! Frames, messages and descriptors between the wrapper `kiln` and its daemon, over a Unix stream socket.
//! Knows the bytes and the socket; knows nothing of compilers, results or scheduling.
//!
//! The layers, from pure to effectful:
//! - [`Frame`], [`Decoder`], [`Hello`], [`Request`], [`Reply`]: bytes in, values out. No I/O; every byte is taken as hostile.
//! - [`Connection`]: a blocking socket that sends and receives frames with descriptors. An asynchronous peer uses
//!   [`send_with_fds`] and [`recv_with_fds`] on its non-blocking socket and feeds a [`Decoder`] itself.
//! - [`View`], [`Identity`]: what world a process sees, so that a daemon never answers from another one.
//! - [`Place`]: where the socket is, who may have made its directory, and that only one daemon serves it.
//! - [`sys`]: the few system calls the wrapper needs beyond `std`, as safe functions.
//!
//! A conversation: the wrapper connects, both ends check the peer's uid ([`Connection::check_peer`]), the wrapper sends
//! [`Hello`] and one [`Request`] in one go, the daemon answers any number of [`Reply::Wait`] (at least one a
//! [`KEEPALIVE`]) and one final reply. A wrapper that hears nothing for [`SILENCE`] gives the daemon up, unless that
//! waits for a processor ([`STARVED_MAX`]). Closing the socket cancels the request. A [`Drain`](kind::DRAIN) frame
//! instead of `Hello` asks a daemon of any version to finish
//! what it has and to go.

#![warn(missing_docs)]

mod connection;
mod frame;
mod limits;
mod message;
mod place;
mod reply;
pub mod sys;
mod view;
mod wire;

pub use connection::Connection;
pub use connection::ConnectionError;
pub use connection::recv_with_fds;
pub use connection::send_with_fds;
pub use frame::Decoder;
pub use frame::Frame;
pub use frame::FrameError;
pub use frame::HEADER;
pub use frame::drain_frame;
pub use frame::kind;
pub use limits::*;
pub use message::Compile;
pub use message::Control;
pub use message::Hello;
pub use message::Request;
pub use message::Slot;
pub use message::Terminal;
pub use place::Claim;
pub use place::Place;
pub use place::PlaceError;
pub use place::READY;
pub use place::open_lock;
pub use place::report_ready;
pub use place::state_dir;
pub use reply::Data;
pub use reply::Done;
pub use reply::Ending;
pub use reply::NOT_A_COMPILER;
pub use reply::OutputFile;
pub use reply::Reply;
pub use reply::Rest;
pub use reply::RunLocally;
pub use view::FileId;
pub use view::Identity;
pub use view::Limits;
pub use view::View;
