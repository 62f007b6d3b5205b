//! Configuration: one table of keys, read from flags, environment and `kiln.toml` once, into typed settings. Knows no
//! service.

mod doc;
mod file;
mod resolve;
mod settings;
mod suggest;
mod table;
mod value;

pub(crate) use doc::kind as words_of;
pub(crate) use doc::reference;
pub(crate) use resolve::Sources;
pub(crate) use resolve::resolve;
pub(crate) use settings::Settings;
pub(crate) use table::KEYS;
pub(crate) use table::SECTIONS;
