//! Why a command is run here untouched: stable codes for statistics and explanations. Knows nothing of how they are found.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $rank:literal;)+) => {
        /// The reason a command is not read as a distributable compile. The codes are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in declaration order.
            pub const ALL: &[Reason] = &[$(Reason::$name,)+];

            /// The stable kebab-case code.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$name => $code,)+ }
            }

            /// One line for people.
            #[must_use]
            pub fn describe(self) -> &'static str {
                match self { $(Reason::$name => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// Which of several reasons of one command is told: the lowest rank, then the first found.
            pub(crate) fn rank(self) -> u8 {
                match self { $(Reason::$name => $rank,)+ }
            }
        }
    };
}

reasons! {
    /// A path, argument or variable is not UTF-8.
    NotUtf8 = "not-utf8", 0;
    /// The command asks the compiler about itself, or is a configure-time feature probe.
    Probe = "probe", 1;
    /// A response file is unreadable, loops, is too large, or is quoted in a way the compilers disagree about.
    ResponseFile = "response-file", 1;
    /// The command preprocesses only (`-E`).
    PreprocessOnly = "preprocess-only", 2;
    /// The command writes dependencies only (`-M`, `-MM`).
    DependenciesOnly = "dependencies-only", 2;
    /// The command checks the syntax only and writes no file.
    SyntaxOnly = "syntax-only", 2;
    /// The command names no source file.
    NoSource = "no-source", 3;
    /// The command links.
    Link = "link", 3;
    /// The source is standard input without `-x`, or another stream of the caller.
    Stdin = "stdin", 4;
    /// The output is no regular file: a device, standard output, an empty name.
    SpecialOutput = "special-output", 4;
    /// The output is also an input, or two outputs have one name.
    OutputClash = "output-clash", 6;
    /// Several sources in one command.
    MultipleSources = "multiple-sources", 6;
    /// A precompiled header that was not made through kiln or is older than its header, or one made together with other files.
    PrecompiledHeader = "precompiled-header", 5;
    /// C++ or clang modules.
    Modules = "modules", 5;
    /// A language that is not C, C++, Objective-C or assembly.
    UnsupportedLanguage = "unsupported-language", 5;
    /// An object or library is named though nothing is linked.
    LinkerInput = "linker-input", 7;
    /// A compiler plugin is loaded.
    Plugin = "plugin", 6;
    /// A specs file that does more than give options, or a program in the compiler's way (`-specs=`, `-wrapper`).
    Specs = "specs", 6;
    /// A configuration file of the compiler holds further options.
    Config = "config", 6;
    /// Intermediate files are kept together with something that names them in a way that is not modelled.
    SaveTemps = "save-temps", 6;
    /// Compiler dumps are written.
    Dump = "dump", 6;
    /// The compiler is told to name its side files itself (`-dumpbase`, `-dumpdir`).
    SideNames = "side-names", 6;
    /// The compiler tells what it does; temporary names make each run's messages differ.
    Verbose = "verbose", 6;
    /// The messages hold times or memory figures of the run.
    Timing = "timing", 6;
    /// Code for an accelerator is compiled beside the host's.
    Offload = "offload", 6;
    /// The result is built for several architectures at once.
    MultipleArch = "multiple-arch", 6;
    /// The static analyser or a rewriter runs in place of the compiler.
    Analyze = "analyze", 2;
    /// Something other than an object or assembly is written (syntax trees, interface stubs).
    OtherOutput = "other-output", 6;
    /// The compiler compiles twice and compares.
    CompareDebug = "compare-debug", 6;
    /// A character set that needs conversion tables of the machine.
    Charset = "charset", 6;
    /// A virtual file system overlay or another working directory changes what every path means.
    Overlay = "overlay", 6;
    /// An option inside `-Wp,` or `-Xpreprocessor` that is not modelled.
    PreprocessorOption = "preprocessor-option", 7;
    /// An option inside `-Wa,` or `-Xassembler` that is not modelled.
    AssemblerOption = "assembler-option", 7;
    /// An option inside `-Xclang` or `-mllvm` that is not modelled.
    BackendOption = "backend-option", 7;
    /// An environment variable changes which compiler runs or what it writes.
    Environment = "environment", 7;
    /// The last option lacks its value; the compiler will say so.
    MissingValue = "missing-value", 7;
    /// An option that may not be combined with the others, or that the compiler rejects.
    BadCombination = "bad-combination", 7;
    /// The command line is larger than kiln reads, or than gcc can hand on to its own compiler.
    TooLong = "too-long", 1;
    /// An option that is in no table: it may write any file.
    UnknownOption = "unknown-option", 5;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A command that is run here, untouched, and never cached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stable reason.
    pub reason: Reason,
    /// What showed it: an option, a file name or a variable.
    pub detail: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Refusal { reason, detail: detail.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

impl std::error::Error for Refusal {}
