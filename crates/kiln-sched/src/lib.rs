//! The scheduling core: a state machine from events to commands. Knows no clock, no socket, no name and no random number.
//!
//! [`Scheduler::step`] takes the time and one [`Event`] and appends [`Command`]s; the same events at the same times give the
//! same commands. Workers, clients, users and toolchains are dense numbers here; whoever drives the core (a service, a
//! simulator) keeps their names.
//!
//! The policy, as far as it is built:
//! 1. a worker's capacity is the least of its slots, its cores less foreign load, and its memory over what jobs need;
//! 2. dedicated workers up to half load first, then whichever is least loaded for its capacity and speed;
//! 3. not the requester's own machine while others have room, when more units wait than it has cores;
//! 4. between users: interactive before batch, then whoever holds fewest slots;
//! 5. no room: the request waits, at most as long as it says; what nobody can ever serve is refused at once.
//!
//! A worker's reports are the truth: what runs there under leases this core never gave (another scheduler's, or its own before
//! a restart) takes up room like its own.

#![forbid(unsafe_code)]

mod acquire;
mod client;
mod event;
mod id;
mod lease;
mod leasing;
pub mod limits;
mod liveness;
mod pool;
mod queue;
mod scheduler;
mod status;
mod worker;

pub use event::{Acquire, Command, Event, Granted, Item, Load, Need, Outcome, Refusal, Report, Revoked, Spec};
pub use id::{ActionKey, ClientId, LeaseId, MachineId, Micros, RequestId, RootId, ToolchainId, UserId, WorkerId};
pub use scheduler::Scheduler;
pub use status::{ClientView, Counters, Tight, WorkerView};
pub use worker::{Cause, State};
