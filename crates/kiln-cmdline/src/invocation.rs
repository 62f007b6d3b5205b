//! What one compile command asks for, as values. Knows neither the options' spelling nor the file system.

/// The language a source is read as, after `-x` and the suffix rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// C.
    C,
    /// C++.
    Cxx,
    /// Objective-C.
    ObjC,
    /// Objective-C++.
    ObjCxx,
    /// Preprocessed C (`.i`).
    CPreprocessed,
    /// Preprocessed C++ (`.ii`).
    CxxPreprocessed,
    /// Preprocessed Objective-C (`.mi`).
    ObjCPreprocessed,
    /// Preprocessed Objective-C++ (`.mii`).
    ObjCxxPreprocessed,
    /// Assembly (`.s`).
    Assembler,
    /// Assembly that is preprocessed first (`.S`).
    AssemblerWithCpp,
}

impl Language {
    /// The name both compilers know after `-x`.
    #[must_use]
    pub fn x_name(self) -> &'static str {
        match self {
            Language::C => "c",
            Language::Cxx => "c++",
            Language::ObjC => "objective-c",
            Language::ObjCxx => "objective-c++",
            Language::CPreprocessed => "cpp-output",
            Language::CxxPreprocessed => "c++-cpp-output",
            Language::ObjCPreprocessed => "objective-c-cpp-output",
            Language::ObjCxxPreprocessed => "objective-c++-cpp-output",
            Language::Assembler => "assembler",
            Language::AssemblerWithCpp => "assembler-with-cpp",
        }
    }

    /// Whether the preprocessor runs, so that includes are looked up and dependencies written.
    #[must_use]
    pub fn is_preprocessed_first(self) -> bool {
        matches!(self, Language::C | Language::Cxx | Language::ObjC | Language::ObjCxx | Language::AssemblerWithCpp)
    }

    /// Whether the compiler proper runs, and not the assembler alone.
    #[must_use]
    pub fn is_compiled(self) -> bool {
        !matches!(self, Language::Assembler | Language::AssemblerWithCpp)
    }

    /// The suffix of the preprocessed text that `-save-temps` keeps, with its dot.
    pub(crate) fn preprocessed_suffix(self) -> &'static str {
        match self {
            Language::C => ".i",
            Language::Cxx => ".ii",
            Language::ObjC => ".mi",
            Language::ObjCxx => ".mii",
            Language::AssemblerWithCpp => ".s",
            _ => "",
        }
    }
}

/// What the command ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputKind {
    /// `-c`.
    Object,
    /// `-S`.
    Assembly,
    /// A header made into a precompiled one.
    Precompiled,
}

/// What a file written by the compile is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The object file (or bitcode with `-emit-llvm`).
    Object,
    /// The assembly (or textual bitcode with `-emit-llvm`).
    Assembly,
    /// The precompiled header.
    Precompiled,
    /// The make rule of the dependencies.
    DepFile,
    /// The split debug information.
    Dwo,
    /// The coverage notes.
    Gcno,
    /// The stack use of each function.
    StackUsage,
    /// The call graph.
    CallGraph,
    /// An intermediate kept by `-save-temps`.
    Temp,
    /// The compiler's own time trace.
    TimeTrace,
    /// The optimisation record.
    OptRecord,
    /// Serialised diagnostics.
    Diagnostics,
    /// The prototypes written by `-aux-info`.
    AuxInfo,
    /// The assembler's listing.
    Listing,
    /// The make rule of the assembler's own dependencies.
    AssemblerDepFile,
    /// The counts of an earlier run's coverage, which an object without a stamp of its own makes void.
    Counts,
    /// The minimised bitcode for thin link-time optimisation.
    ThinLink,
    /// An entry of a compilation database.
    CompilationDatabase,
}

/// What becomes of a file that was there before, if the compile fails and does not write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnFailure {
    /// It stays as it was.
    Keep,
    /// It is removed.
    Remove,
    /// It is removed if the assembler was the one that failed, and stays if the compiler proper did.
    RemoveIfAssembled,
    /// It is removed if an included file was not found (clang's dependencies), and stays otherwise.
    RemoveIfHeaderMissing,
    /// Outputs of which each is made from the one before it, the main one last: the first that was not written is removed.
    RemoveIfNext,
    /// It is removed by every compile in which the compiler proper succeeds, and is never written.
    RemoveIfCompiled,
}

/// A file the compile may write.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Output {
    /// The path as the compiler spells it: relative to the working directory, or absolute.
    pub path: String,
    /// What it is.
    pub role: Role,
    /// Whether a compile that succeeds always writes it.
    pub required: bool,
    /// What a failing compile does to an older file of that name.
    pub on_failure: OnFailure,
}

/// Which list of directories an entry belongs to. The compilers walk them in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SearchKind {
    /// `-iquote`: before the others, for `"..."` only.
    Quote,
    /// `-I`.
    Normal,
    /// `-F` and `-iframework`: directories of frameworks.
    Framework,
    /// `-isystem`.
    System,
    /// `-cxx-isystem`: as `-isystem`, for C++ only.
    CxxSystem,
    /// `-stdlib++-isystem`: in place of the C++ library's own directories.
    CxxStdlib,
    /// `-isystem-after`: after the system directories, searched as one of them.
    SystemAfter,
    /// `-idirafter`.
    After,
    /// `--embed-dir`: for `#embed` only.
    Embed,
    /// `-Wa,-I`: where the assembler looks for `.include` and `.incbin`; see [`Invocation::assembler_dirs`].
    Assembler,
}

/// A directory named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchDir {
    /// Which list it is appended to.
    pub kind: SearchKind,
    /// The path as spelled, without a leading `=` or `$SYSROOT`.
    pub path: String,
    /// Whether the path is below the system root: it was spelled with a leading `=` or `$SYSROOT`, or by `-iwithsysroot`.
    pub in_sysroot: bool,
}

/// `-D` or `-U`, in the order the compiler applies them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MacroOp {
    /// `-D`: the text after it, `NAME`, `NAME=VALUE` or `NAME(ARGS)=VALUE`.
    Define(String),
    /// `-U`: the name.
    Undefine(String),
}

/// A file read before the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForcedInclude {
    /// The name, looked up as if by `#include "..."` from the working directory.
    pub name: String,
    /// `-imacros`: only the macros of the file are kept.
    pub macros_only: bool,
    /// `-Xclang -include`: clang's driver, which would take a precompiled header in its place, does not see it.
    pub inner: bool,
}

/// A target of the make rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepTarget {
    /// The text of the target.
    pub text: String,
    /// Whether the compiler quotes what is special to make (`-MQ` and defaults) or writes it as it is (`-MT`).
    pub quoted: bool,
}

/// The dependencies written beside the compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepOptions {
    /// The file, `None` when it goes to standard output or to `/dev/null`.
    pub file: Option<String>,
    /// The targets given by the user; empty for the compiler's default.
    pub targets: Vec<DepTarget>,
    /// Whether system headers are listed (`-MD`) or left out (`-MMD`).
    pub system_headers: bool,
    /// Whether each header becomes an empty rule (`-MP`).
    pub phony: bool,
}

/// A compile that can run elsewhere or be answered from the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The arguments after argv\[0\], exactly the user's.
    pub args: Vec<String>,
    /// The same with response files expanded.
    pub expanded: Vec<String>,
    /// The response files the compiler reads, each once, in the order of first use.
    pub response_files: Vec<String>,
    /// The source as spelled; `-` for standard input.
    pub source: String,
    /// How it is read.
    pub language: Language,
    /// What is made of it.
    pub output_kind: OutputKind,
    /// Every file the compile may write; the object or assembly first.
    pub outputs: Vec<Output>,
    /// Files read besides source, headers and response files; some may not exist.
    pub input_files: Vec<String>,
    /// Directories whose files are looked for by name: `-B`, resource directories.
    pub input_dirs: Vec<String>,
    /// Specs files (gcc). One without a slash is looked for among the toolchain's own files, then in the working directory.
    /// What is in them has to pass [`check_specs`](crate::check_specs).
    pub specs: Vec<String>,
    /// Include directories in command-line order.
    pub search: Vec<SearchDir>,
    /// `--sysroot`.
    pub sysroot: Option<String>,
    /// `-isysroot`.
    pub isysroot: Option<String>,
    /// `-nostdinc`: no system directories at all.
    pub nostdinc: bool,
    /// `-nostdinc++`: no directories of the C++ library.
    pub nostdincxx: bool,
    /// `-nobuiltininc` (clang): not the compiler's own directory.
    pub nobuiltininc: bool,
    /// `-nostdlibinc` (clang): only the compiler's own directory.
    pub nostdlibinc: bool,
    /// `-D` and `-U` in the compiler's order.
    pub macros: Vec<MacroOp>,
    /// `-imacros` first, then `-include`, each in order.
    pub forced_includes: Vec<ForcedInclude>,
    /// Precompiled headers read in place of a header (clang's `-include-pch`).
    pub precompiled: Vec<String>,
    /// The options that can change predefined macros, built-in directories or feature tables: the key and the arguments of
    /// a query `-E -dM -v -x LANGUAGE /dev/null`.
    pub probe_args: Vec<String>,
    /// The dependencies asked for.
    pub dep: Option<DepOptions>,
    /// Whether debug information is written, so that the working directory is in the object.
    pub debug: bool,
    /// Whether coverage or profile instrumentation is on, so that absolute paths are in the object.
    pub coverage: bool,
    /// Whether a missing directory of the search path is warned of.
    pub warn_missing_include_dirs: bool,
    /// Whether the arguments hold `native`, which means this machine's processor.
    pub native: bool,
    /// Whether a coloured message was demanded whatever the terminal.
    pub forced_color: bool,
    /// The environment to send, canonical and sorted by name.
    pub env: Vec<(String, String)>,
    /// The variables that change messages on a terminal only, sorted by name.
    pub terminal_env: Vec<(String, String)>,
}

impl Invocation {
    /// The output that names the result: the object or the assembly.
    #[must_use]
    pub fn main_output(&self) -> &Output {
        &self.outputs[0]
    }

    /// Whether the source is standard input.
    #[must_use]
    pub fn reads_stdin(&self) -> bool {
        self.source == "-"
    }

    /// Where the assembler looks for `.include` and `.incbin` after the working directory, in its order: each `-I` of the
    /// command, which both drivers hand on, then those of `-Wa,`. clang's own assembler looks in `-iquote` and `-isystem`
    /// directories too; they stand behind.
    pub fn assembler_dirs(&self) -> impl Iterator<Item = &SearchDir> {
        const ORDER: [SearchKind; 5] =
            [SearchKind::Normal, SearchKind::Assembler, SearchKind::Quote, SearchKind::System, SearchKind::After];
        ORDER.into_iter().flat_map(|kind| self.search.iter().filter(move |dir| dir.kind == kind))
    }
}
