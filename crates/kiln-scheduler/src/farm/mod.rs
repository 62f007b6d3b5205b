//! The farm's state behind one task: names on this side, numbers in the core. Knows no wire but its messages.

mod actor;
mod calls;
mod error;
mod event;
mod handle;
mod members;
mod names;
mod report;
mod stats;
mod turned_away;
mod words;
mod workers;

pub use error::CallError;
pub(crate) use error::same_protocol;
pub use handle::Farm;
pub(crate) use stats::News;
pub use stats::Stats;

/// A name that nobody guesses: 128 random bits in hexadecimal.
pub(crate) fn random_name() -> Result<String, CallError> {
    Ok(members::hex(&members::random::<16>()?))
}
