//! Compiler command lines and environments read into an [`Invocation`] or a [`Refusal`]. Knows no file system and runs nothing.
//!
//! The compilers' options are data: one table of what gcc and clang share and one for each of them (`table`). What the
//! tables do not hold is refused, so an option that writes a file nobody expects is never run away from home.
#![forbid(unsafe_code)]

mod environment;
mod explain;
mod invocation;
mod outputs;
mod pass;
mod quick;
mod read;
mod reason;
mod reference;
mod response;
mod several;
mod source;
mod specs;
mod table;
mod words;

pub use environment::{EnvEffect, EnvRow, env_effect, environment_rows};
pub use explain::{Told, explain};
pub use invocation::{
    DepOptions, DepTarget, ForcedInclude, Invocation, Language, MacroOp, OnFailure, Output, OutputKind, Role, SearchDir, SearchKind,
};
pub use quick::quick_refusal;
pub use read::{Request, parse, parse_all};
pub use reason::{Reason, Refusal};
pub use reference::reference;
pub use several::{Link, LinkWord, Reading, SOURCES_MAX};
pub use specs::check_specs;
pub use table::{
    Depend, Effect, Family, Opt, Reads, Side, Takes, assembler_options, cc1_options, find_option, options, shared_options,
};
