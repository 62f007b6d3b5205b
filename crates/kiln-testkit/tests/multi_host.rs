//! A farm of hosts: user, schedulers, cache and workers, each in a network namespace on one bridge, all inside one user
//! namespace; builds over it while each role is killed, stopped, cut off and restarted. Needs no root and leaves nothing.

#[path = "multi_host/builds.rs"]
mod builds;
#[path = "multi_host/hosts.rs"]
mod hosts;
#[path = "multi_host/readme.rs"]
mod readme;
#[path = "multi_host/roles.rs"]
mod roles;
#[path = "multi_host/sick.rs"]
mod sick;
