//! The scheduler service: kiln-sched behind gRPC, and the front door for other REAPI clients.

#![forbid(unsafe_code)]

mod farm;
mod front;
pub mod limits;
mod service;

pub use farm::{CallError, Farm, Stats};
pub use front::{Front, FrontSettings};
pub use service::SchedulerService;
