//! Include scanning over a [`FileView`]: every lookup a translation unit can make, and its outcome. No I/O of its own.
//!
//! # How it works
//! Each file is read once into [`Directives`]: the lines that can decide what is looked up, conditions compiled to small
//! programs. A scan is then a fixpoint over the unit's files. A macro that is predefined or given by an option, and that no
//! reached file defines or undefines, has its one value; a name nobody defines is undefined; every other macro is unknown.
//! Conditions are true, false or unknown, and what is not false is reached. When a newly reached file defines a name,
//! conditions decided on that name are opened again. The result is the least such set: it contains every file that any order
//! of evaluation could open, and depends neither on the order of the scan nor on units scanned before.
//!
//! What cannot be proven that way ends in [`Unprovable`], and the caller asks the compiler.

#![forbid(unsafe_code)]

mod closure;
mod dialect;
mod directives;
mod hash;
mod lex;
mod macros;
mod memory;
mod names;
mod number;
mod record;
mod request;
mod resolve;
mod scan;
mod search;
mod unprovable;
mod view;

pub use closure::{Absent, Closure, Dir, File, Reason, UnitFlags};
pub use dialect::{Dialect, Language, LineComments};
pub use directives::Directives;
pub use lex::{FILE_BYTES_MAX, LexError, directives};
pub use macros::{CommandMacro, MacroTable};
pub use memory::MemoryView;
pub use names::{HeaderId, NameId, Names};
pub use record::RecordError;
pub use request::{Forced, ForcedKind, ScanRequest};
pub use scan::{FILES_MAX, LOOKUPS_MAX, STEPS_MAX, Scanner};
pub use search::{Compiler, SearchDirs, SearchList};
pub use unprovable::Unprovable;
pub use view::{ContentId, DirId, Entry, FileId, FileView, ReadError};
