//! The farm as one daemon sees it: schedulers, cache servers, workers, and one attempt at a time on one of them.

mod attempt;
mod clock;
mod grants;
mod known;
mod leases;
mod schedulers;
mod sick;
mod transfer;

pub(crate) use attempt::{Arrived, Remote};
pub use grants::FarmSettings;
pub(crate) use grants::{ACQUIRE_WAIT_MS, Farm, Granted, NoGrant, Wish};
pub(crate) use transfer::Sent;

/// Instance that workers write results to and daemons read.
pub(crate) const INSTANCE: &str = "main";

/// Largest message taken from a worker or cache server: inline outputs, messages of a compiler, and room.
pub(crate) const MESSAGE_MAX: usize = 16 << 20;
