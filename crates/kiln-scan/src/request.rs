//! What a scan is asked. It knows no options: whoever parses the command line fills it in.

use std::sync::Arc;

use crate::dialect::Dialect;
use crate::macros::{CommandMacro, MacroTable};
use crate::search::{Compiler, SearchList};

/// A file that is read before the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forced {
    /// The name as it was given.
    pub name: String,
    /// How it came in.
    pub kind: ForcedKind,
}

/// How a file comes to be read before the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForcedKind {
    /// `-include`: looked for in the working directory, then like a quoted include.
    Include,
    /// The same, but as text: no precompiled header is taken in its place (clang's `-Xclang -include`).
    Text,
    /// `-imacros`: the same, but only its macros count.
    Imacros,
    /// The compiler's own choice, like an angled include; its absence is no error (gcc: `stdc-predef.h`).
    Implicit,
}

/// One unit to scan.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// The source as the command line spells it, relative to `cwd` or absolute.
    pub source: String,
    /// Working directory, absolute.
    pub cwd: String,
    /// Lexical rules, from language and `-std`.
    pub dialect: Dialect,
    /// Whose rules apply where compilers differ.
    pub compiler: Compiler,
    /// Search lists with the built-in directories, sysroot applied, duplicates removed ([`SearchList::assemble`]).
    pub search: Arc<SearchList>,
    /// Macros of the compiler itself, for every flag of the command line that changes them (`-dM -E`).
    pub predefined: Arc<MacroTable>,
    /// `-D` and `-U`, in order. Those already in `predefined` may be repeated.
    pub command_macros: Vec<CommandMacro>,
    /// Files read before the source, in the order in which they are read (`-imacros` before `-include`).
    pub forced: Vec<Forced>,
    /// Directories in which the assembler looks for `.incbin` files after `cwd` (`-I`, `-Wa,-I`), as spelled.
    pub assembler_dirs: Vec<String>,
    /// Directories of `--embed-dir`, as spelled.
    pub embed_dirs: Vec<String>,
    /// Precompiled headers whose own header is not where it would be looked for: their paths as spelled, and the headers that
    /// stand in them, which are read in their place. Only for [`ForcedKind::Include`].
    pub stand_ins: Vec<(String, Vec<String>)>,
    /// A precompiled header is made. gcc then reads none; clang is told which by its driver as always.
    pub precompiles: bool,
    /// The source is already preprocessed (`.i`, `.ii`, `-fpreprocessed`) or plain assembler (`.s`): no directive in it counts, but
    /// what the assembler reads for it does.
    pub preprocessed: bool,
}

impl ScanRequest {
    /// A request by gcc's rules in which the command line says nothing: no macros, no files before the source, no other directories.
    #[must_use]
    pub fn new(source: &str, cwd: &str, dialect: Dialect, search: Arc<SearchList>, predefined: Arc<MacroTable>) -> ScanRequest {
        ScanRequest {
            source: source.to_owned(),
            cwd: cwd.to_owned(),
            dialect,
            compiler: Compiler::Gcc,
            search,
            predefined,
            command_macros: Vec::new(),
            forced: Vec::new(),
            assembler_dirs: Vec::new(),
            embed_dirs: Vec::new(),
            stand_ins: Vec::new(),
            precompiles: false,
            preprocessed: false,
        }
    }

    /// The lexical rules by which the unit's files are read: [`FileView::directives`](crate::FileView::directives) is asked with them.
    #[must_use]
    pub fn rules(&self) -> Dialect {
        // What is preprocessed and assembler is read by the assembler's rules alone.
        Dialect { plain: self.preprocessed && self.dialect.assembler, ..self.dialect }
    }
}
