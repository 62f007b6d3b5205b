//! What the bench needs beside the released binaries: an engine that answers actions from records. Knows no peer of kiln's.

#![forbid(unsafe_code)]

mod recording;
mod replay;

pub use recording::{Record, Recording};
pub use replay::Replay;
