//! A farm of real binaries on one machine: what it builds, what it says, and what it survives.
//! Knows kiln as its users do, by commands, files and JSON.

#[path = "farm/builds.rs"]
mod builds;
#[path = "farm/client.rs"]
mod client;
#[path = "farm/egress.rs"]
mod egress;
#[path = "farm/fresh.rs"]
mod fresh;
#[path = "farm/hostile.rs"]
mod hostile;
#[path = "farm/inputs.rs"]
mod inputs;
#[path = "farm/kept.rs"]
mod kept;
#[path = "farm/killed.rs"]
mod killed;
#[path = "farm/liar.rs"]
mod liar;
#[path = "farm/services.rs"]
mod services;
#[path = "farm/substitutes.rs"]
mod substitutes;
#[path = "farm/support.rs"]
mod support;
#[path = "farm/versions.rs"]
mod versions;
#[path = "farm/workers.rs"]
mod workers;
