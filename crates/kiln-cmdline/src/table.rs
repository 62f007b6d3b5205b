//! The options as data: how a value attaches and what the option does. Knows nothing of any one command line.

mod assembler;
mod cc1;
mod clang;
mod gcc;
mod lookup;
mod shared;

pub(crate) use lookup::Table;

use crate::invocation::SearchKind;
use crate::reason::Reason;

/// The kind of compiler driver. Decided by the caller from the toolchain, not from argv\[0\].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// The GNU compilers.
    Gcc,
    /// The LLVM compilers.
    Clang,
}

/// How an option's value attaches to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// The argument is the name and nothing else.
    Nothing,
    /// The rest of the argument, perhaps empty.
    Joined,
    /// The next argument.
    Separate,
    /// The rest of the argument, or the next one when there is no rest.
    Either,
}

/// What an option asks of the dependency output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depend {
    /// Write it, system headers included.
    All,
    /// Write it without system headers.
    User,
    /// The file.
    File,
    /// A target, written as it is.
    Target,
    /// A target, quoted for make.
    QuotedTarget,
    /// An empty rule for each header.
    Phony,
}

/// A side file an option asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `.dwo`.
    SplitDwarf,
    /// `.gcno`, with the instrumentation that goes with it.
    Coverage,
    /// `.gcno` alone.
    TestCoverage,
    /// `.su`.
    StackUsage,
    /// `.ci`.
    CallGraph,
    /// The optimisation record.
    OptRecord,
    /// The optimisation record in a named file.
    OptRecordFile,
    /// A filter of the optimisation record.
    OptRecordPasses,
    /// The time trace.
    TimeTrace,
    /// Serialised diagnostics.
    Diagnostics,
    /// The prototypes of `-aux-info`.
    AuxInfo,
    /// The minimised bitcode.
    ThinLink,
    /// A compilation database entry.
    CompilationDatabase,
    /// The assembler's listing.
    Listing,
    /// The assembler's dependencies.
    AssemblerDep,
}

/// A file an option makes the compiler read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// The value is the file.
    File,
    /// The profile of an earlier run, named after the output or the value.
    ProfileUse,
    /// The directory of such profiles.
    ProfileDir,
    /// A sampled profile, `fbdata.afdo` without a value (gcc), the value otherwise.
    AutoProfile,
    /// `list=FILE`, or a word that names no file.
    SectionList,
}

/// What an option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Stop after the object.
    Compile,
    /// Stop after the assembly.
    Assemble,
    /// The output's name.
    Output,
    /// The language of the files that follow.
    Language,
    /// A directory of the search path.
    Search(SearchKind),
    /// A directory of the search path, below the system root.
    SearchInSysroot,
    /// The prefix of the `-iwithprefix` that follow.
    SearchPrefix,
    /// A directory below that prefix, searched last (gcc: with the system's).
    WithPrefix,
    /// A directory below that prefix, searched as `-I`.
    WithPrefixBefore,
    /// `--sysroot`.
    Sysroot,
    /// `-isysroot`.
    IncludeSysroot,
    /// No system directories.
    NoStdInc,
    /// No directories of the C++ library.
    NoStdIncxx,
    /// Not the compiler's own directory.
    NoBuiltinInc,
    /// Only the compiler's own directory.
    NoStdlibInc,
    /// Defines a macro.
    Define,
    /// Removes a macro.
    Undefine,
    /// A header read first.
    Include,
    /// A header read first for its macros.
    Imacros,
    /// clang's inner compiler makes a precompiled header; its driver says so by itself for a header.
    EmitPch,
    /// A precompiled header read first.
    IncludePch,
    /// Dependencies.
    Depend(Depend),
    /// May change the code, or what the preprocessor knows. Names no file.
    Code,
    /// Debug information on, or off with a level of 0.
    Debug,
    /// The directory written into debug information.
    CompilationDir,
    /// Warnings only.
    Warn,
    /// How messages look, or nothing at all.
    Message,
    /// Colour of messages.
    Color,
    /// The format of messages; some formats write files.
    DiagnosticsFormat,
    /// Matters to the linker only.
    Link,
    /// The processor; `native` means this machine's.
    Machine,
    /// A specs file; those of newlib are known, others are not.
    Specs,
    /// A character set.
    Charset,
    /// Letters that each ask for a dump or an annotation.
    DumpLetters,
    /// Reports of optimisations, to standard error or a file.
    OptInfo,
    /// Profile instrumentation: absolute paths enter the object.
    Instrument,
    /// Bitcode in place of machine code.
    EmitLlvm,
    /// Link-time optimisation.
    Lto,
    /// Keep intermediate files.
    SaveTemps,
    /// A side file.
    Side(Side),
    /// A file is read.
    Reads(Reads),
    /// A directory whose files are looked for by name.
    ReadsDir,
    /// Options for the preprocessor.
    PassPreprocessor,
    /// Options for the assembler.
    PassAssembler,
    /// An option for clang's inner compiler.
    PassCc1,
    /// An option for LLVM.
    PassLlvm,
    /// Not distributed.
    Refuse(Reason),
}

/// One row of a table.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    /// The option with its leading dashes; a name that ends with `=` or `,` has its value joined.
    pub name: &'static str,
    /// How the value attaches.
    pub takes: Takes,
    /// What it does.
    pub effect: Effect,
}

/// A row, short enough for one line a row.
const fn row(name: &'static str, takes: Takes, effect: Effect) -> Opt {
    Opt { name, takes, effect }
}

/// The options only `family` knows, sorted by name.
#[must_use]
pub fn options(family: Family) -> &'static [Opt] {
    match family {
        Family::Gcc => gcc::ROWS,
        Family::Clang => clang::ROWS,
    }
}

/// The options both families spell and understand alike, sorted by name.
#[must_use]
pub fn shared_options() -> &'static [Opt] {
    shared::ROWS
}

/// The options of the GNU assembler, as met in `-Wa,` and `-Xassembler`, sorted by name.
#[must_use]
pub fn assembler_options() -> &'static [Opt] {
    assembler::ROWS
}

/// The options of clang's inner compiler that are met in `-Xclang` and mean something else to the driver or nothing.
#[must_use]
pub fn cc1_options() -> &'static [Opt] {
    cc1::ROWS
}

/// Beginnings of LLVM options (`-mllvm`) known to write and read no file, sorted.
pub(crate) fn llvm_prefixes() -> &'static [&'static str] {
    cc1::LLVM_PREFIXES
}

static GCC: Table = Table { rows: gcc::ROWS, heads: &lookup::heads::<{ gcc::ROWS.len() }>(gcc::ROWS) };
static CLANG: Table = Table { rows: clang::ROWS, heads: &lookup::heads::<{ clang::ROWS.len() }>(clang::ROWS) };
static SHARED: Table = Table { rows: shared::ROWS, heads: &lookup::heads::<{ shared::ROWS.len() }>(shared::ROWS) };
/// What [`assembler_options`] lists.
pub(crate) static ASSEMBLER: Table =
    Table { rows: assembler::ROWS, heads: &lookup::heads::<{ assembler::ROWS.len() }>(assembler::ROWS) };
/// What [`cc1_options`] lists.
pub(crate) static CC1: Table = Table { rows: cc1::ROWS, heads: &lookup::heads::<{ cc1::ROWS.len() }>(cc1::ROWS) };

/// An option as found on a command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) opt: &'static Opt,
    /// `-fno-x` for a row `-fx`.
    pub(crate) negated: bool,
    /// Where a joined value starts in the argument.
    pub(crate) value_at: usize,
}

/// The row of an argument, and whether it is the negated spelling of it.
///
/// The longest name that fits wins, as in both drivers.
#[must_use]
pub fn find_option(family: Family, arg: &str) -> Option<(&'static Opt, bool)> {
    find(family, arg).map(|found| (found.opt, found.negated))
}

pub(crate) fn find(family: Family, arg: &str) -> Option<Found> {
    if let Some(found) = find_exactly(family, arg)
        && !shadows_negation(found, arg)
    {
        return Some(found);
    }
    let (positive, letter) = positive_of(arg)?;
    let found = find_exactly(family, &positive)?;
    // `-g` and `-W` fit any argument that begins with them: only a longer name is a name to negate.
    if found.opt.name.len() <= 2 || !found.opt.name.as_bytes()[1].eq(&letter) {
        return None;
    }
    Some(Found { negated: true, value_at: found.value_at + "no-".len(), ..found })
}

/// Whether a one-letter name was found for what is in truth a negation (`-gno-x` is not `-g` with a level `no-x`).
fn shadows_negation(found: Found, arg: &str) -> bool {
    found.opt.name == "-g" && arg.starts_with("-gno-")
}

/// `-fno-x` becomes `-fx`, for the four families of options that can be negated.
fn positive_of(arg: &str) -> Option<(String, u8)> {
    let letter = *arg.as_bytes().get(1)?;
    if !matches!(letter, b'f' | b'm' | b'g' | b'W') || !arg.get(2..)?.starts_with("no-") {
        return None;
    }
    Some((format!("-{}{}", letter as char, &arg[5..]), letter))
}

fn find_exactly(family: Family, arg: &str) -> Option<Found> {
    let own = match family {
        Family::Gcc => &GCC,
        Family::Clang => &CLANG,
    };
    match (own.longest(arg), SHARED.longest(arg)) {
        (Some(a), Some(b)) => Some(if a.value_at >= b.value_at { a } else { b }),
        (a, b) => a.or(b),
    }
}
