//! Servers and channels against each other and against bytes that are no protocol, on loopback and in a temporary directory.

mod harm;
mod support;
mod trust;
