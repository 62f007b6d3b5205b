//! System calls that `std` lacks, as safe functions. Knows no protocol.

mod process;
mod socket;

pub use process::*;
pub use socket::*;
