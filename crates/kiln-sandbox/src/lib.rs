//! Lays out an input root, runs one job in it without privileges, and collects its outputs.
//!
//! Three parts, each usable without the others:
//! - [`RootPool`] keeps laid-out input roots and turns one into the next by their difference; it takes blobs from a
//!   [`Blobs`] and knows no job.
//! - [`Sandbox`] runs jobs in laid-out roots through a helper process ([`server_main`]); it knows no digest and no network.
//! - [`probe`] says what this machine allows ([`Rung`]) and how to give it more.
//!
//! What a job can see is part of the platform `kiln-root = chroot/1`; see [`KILN_ROOT`].

mod blobs;
mod client;
mod confine;
mod error;
mod init;
mod job;
mod layout;
mod message;
mod rung;
mod server;
mod socket;
mod sys;
mod user;
mod wire;

pub use blobs::{Blobs, BlobsError, LinkKind};
pub use client::{Canceller, HOST_PATHS, JobHandle, Sandbox, SandboxConfig};
pub use error::{LayoutError, SandboxError};
pub use job::{CollectedFile, Ending, JobOutcome, JobSpec, Limit, Limits, RootMode, Terminal};
pub use layout::{DEPTH_MAX, ENTRIES_MAX, LaidRoot, NODE_MTIME_SECONDS, RootPool};
pub use rung::{Rung, RungReport, probe};
pub use server::server_main;
pub use user::JobUser;

/// Value of the platform property `kiln-root` for [`RootMode::Chroot`]. The number changes whenever what a job can see
/// changes: uid 1000, gid 1000, host name `kiln`, `/dev` {null, zero, full, random, urandom, fd, stdin, stdout,
/// stderr, and pts and shm, empty directories},
/// a fresh `/proc`, an empty `/tmp` unless the input root has one, no network, address randomisation off.
pub const KILN_ROOT: &str = "chroot/1";

/// Parsers that are no part of the interface, for the fuzzer alone.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// What goes between the sandbox's helper and its owner.
    pub fn messages(bytes: &[u8]) {
        let _ = crate::message::Setup::decode(bytes);
        let _ = crate::message::decode_ready(bytes);
        let _ = crate::message::Job::decode(bytes);
        let _ = crate::message::Report::decode(bytes);
    }
}
