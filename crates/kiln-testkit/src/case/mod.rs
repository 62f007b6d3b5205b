//! Cases: directories of small sources whose directives say which command lines to try, locally and through a farm. Knows how
//! they are written; [`Suite`] runs them.
//!
//! A directive is a line `//# HEAD: TEXT` or `/*# HEAD: TEXT */` of a source, or a line `HEAD: TEXT` of a file named `case`, which
//! is no part of the directory that is compiled in. Heads:
//!
//! - `title`: what is tried, in words. Every case has one.
//! - `language: c++`: where no word chooses, compilers for C++. A directive in a source goes by the source's own name.
//! - `setup`: a shell command that completes the fresh directory: links, times, modes.
//! - `cleanup`: a shell command that removes what `setup` made outside the directory.
//! - `prelude`: shell commands that come before each compiler in its own shell: `umask 077`, `ulimit -f 1`, `exec >&-`.
//! - `run`: a command line without the compiler, words as in a shell, `NAME=VALUE` words first, perhaps `< FILE` last. It must be
//!   compiled on the farm. `{dir}` is the directory's absolute path, a word `{N*TEXT}` stands for N words with their
//!   numbers for `#`. In braces after `run`: words that choose compilers, see
//!   `choose`; after that: `tty=COLUMNS` (all streams on a terminal), `merged` (both streams on one pipe), `in=DIR` (run below), `with=PATH` (a
//!   compiler of the case's own), `hit` (its result must have been there already).
//! - `here REASON`: as `run`, but a command that kiln may leave to this machine, for that reason and no other.
//! - `sequence`: all lines are run one after the other in one directory, as builds do; otherwise each in a fresh one.
//! - `edit`: in a sequence, a shell command between two lines.

mod drivers;
mod play;
mod read;
mod suite;
mod tree;
mod words;

pub use drivers::{DRIVERS, Driver, Vendor};
pub use read::{Case, Line, Step, cases};
pub use suite::{Report, Suite};
