//! The scheduling core from outside: events in, commands out.

mod absurd;
mod fairness;
mod farm;
mod leases;
mod liveness;
mod placement;
mod random;
mod scale;
