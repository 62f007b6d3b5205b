//! Finds, identifies and packages compilers, and asks them for their built-in directories and macros.
//!
//! A [`Toolchain`] is every file, link and directory that a driver (`gcc`, `clang++-19`, `aarch64-linux-gnu-gcc`) executes or
//! reads by itself in a compile, headers apart: those are found per unit. [`Toolchain::id`] is the Merkle root over all of
//! it, so two machines with the same compiler have the same id. Nothing is configured and nothing is taken from a name: a
//! driver is a compiler when it behaves like one.
//!
//! Everything here blocks; compilers are run through one function with explicit arguments, environment, directory and time
//! limit. Which options select which files is known to the command line's tables, not here: see [`LookupEnv::args`].

#![forbid(unsafe_code)]

mod builtins;
mod cache;
mod clang;
mod depfile;
mod elf;
mod env;
mod error;
mod gcc;
mod hidden;
mod identify;
mod ldcache;
mod list;
mod loader;
mod locale;
mod native;
mod record;
mod run;
mod toolchain;
mod walk;
mod watch;

pub use builtins::{Builtins, IncludeDir, query_builtins, query_operators};
pub use cache::{DIGESTS_MAX, DigestCache, FileStamp, keeps_stamps};
pub use depfile::{DepfileError, parse_depfile, parse_first_rule};
/// Which of the two families a driver belongs to; named here for users of this crate alone.
pub use kiln_cmdline::Family;

pub use env::{LOCALE_VARIABLES, LookupEnv};
pub use error::{ListError, ToolchainError};
pub use hidden::hidden_options;
pub use list::{list_inputs, without_outputs};
pub use native::{NATIVE_SPECS_PATH, Native, names_native, resolve_native};
pub use record::RecordError;
pub use toolchain::{Entry, Toolchain};

/// Parsers that are no part of the interface, for the fuzzer alone.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// The headers of a program or library.
    pub fn elf(bytes: &[u8]) {
        let _ = crate::elf::parse_bytes(bytes);
    }

    /// The loader's cache.
    pub fn ldcache(bytes: &[u8]) {
        let _ = crate::ldcache::LdCache::parse(bytes).files("libc.so.6");
    }
}
