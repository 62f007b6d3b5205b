//! The cache service by its own wire, with the Remote Execution API's client stubs. Each module is one service.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod actions;
mod batches;
mod streams;
mod trees;
