//! Fixtures for tests: a farm of real binaries in a temporary directory, processes with deadlines, and projects to build.
//! Knows no type of any other crate: it sees kiln as its users do, by binaries, variables and JSON.
//!
//! Everything here panics with the reason when something does not come up: a test can do nothing better.

pub mod case;
mod farm;
mod network;
mod process;
mod project;
mod real;

pub use farm::{Layout, TestFarm, binary};
pub use network::{Network, host_address};
pub use process::{Ran, Running, await_for, descendants, run};
pub use project::{Project, SLOW_SOURCE, slow_source};
pub use real::{Calls, Products, RealProject};
