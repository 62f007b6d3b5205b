//! The daemon: from a wrapper's request to verified results. One a user, host and view.
//!
//! A request's way: `listen` takes it off the socket, `analyse` reads it into an action (with `files`, `toolchains`, `inputs`
//! and `root`), `unit` follows it to an end (`course` decides, `local` and `farm` do), `reply` packs what the wrapper commits.
//! Compilers of other machines that may take the place of this one's are in `substitute`. What became of it is in `stats` and `journal`, which `control` answers from.

#![forbid(unsafe_code)]

mod action;
mod analyse;
mod blobs;
mod capture;
mod control;
mod course;
mod daemon;
mod farm;
mod files;
mod inputs;
mod journal;
mod listen;
mod local;
mod precompiled;
mod reply;
mod root;
mod several;
mod slots;
mod stats;
mod substitute;
mod taken;
mod toolchains;
mod unit;
mod why;
mod wire;
mod witness;

pub use daemon::{Fallback, Settings, run};
pub use farm::FarmSettings;
pub use stats::{Hits, Stats};

/// Parsers that are no part of the interface, for the fuzzer alone.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// What an earlier daemon kept of a directory's files.
    pub fn files(bytes: &[u8]) {
        crate::files::recorded(bytes);
    }
}
