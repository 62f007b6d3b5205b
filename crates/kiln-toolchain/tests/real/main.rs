//! Toolchains of the compilers on this machine: laid out alone they compile as here, and nothing they touch is missing.

mod changes;
mod kinds;
mod questions;
mod roots;
mod support;
mod traces;
