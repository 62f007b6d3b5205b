//! The scheduler service: kiln-sched behind gRPC, and the front door for other REAPI clients.

#![forbid(unsafe_code)]

mod farm;
pub mod limits;
mod service;

pub use farm::{CallError, Farm, Stats};
pub use service::SchedulerService;
