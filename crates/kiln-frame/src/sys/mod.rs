//! System calls that `std` lacks, as safe functions for wrapper and daemon. Knows no protocol.

mod detach;
mod exec;
mod file;
mod process;
mod signal;
mod socket;

pub use detach::*;
pub use exec::*;
pub use file::*;
pub use process::*;
pub use signal::*;
pub use socket::*;
