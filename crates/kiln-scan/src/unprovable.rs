//! Why a unit's inputs could not be proven. It knows no remedy: the caller asks the compiler.

/// The scan gave up on a unit: its inputs have to be listed by the compiler, or it is compiled locally.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unprovable {
    /// The source is not a readable regular file.
    #[error("{path}: no readable source")]
    Source {
        /// The source as it was given.
        path: String,
    },
    /// The name of an include comes out of macros that could not be followed.
    #[error("{path}:{line}: the name of an include comes out of macros that cannot be followed")]
    ComputedInclude {
        /// File that holds the directive.
        path: String,
        /// Its line, counted from 1.
        line: u32,
    },
    /// `__has_include` stands behind macros that could not be followed.
    #[error("{path}: __has_include behind macros that cannot be followed")]
    HasInclude {
        /// File that holds the macro or the condition.
        path: String,
    },
    /// A header name that is no valid UTF-8 or holds a NUL.
    #[error("{path}:{line}: the name of an include is not UTF-8")]
    NotUtf8 {
        /// File that holds the directive.
        path: String,
        /// Its line, counted from 1.
        line: u32,
    },
    /// A path longer than the system takes.
    #[error("{path}:{line}: an include leads to a path that is too long")]
    PathTooLong {
        /// File that holds the directive.
        path: String,
        /// Its line, counted from 1.
        line: u32,
    },
    /// A device, FIFO, link loop or unreadable directory entry under a name that was looked up.
    #[error("{path}: not a regular file")]
    Special {
        /// The path as the compiler would open it.
        path: String,
    },
    /// A file that exists but cannot be read.
    #[error("{path}: cannot be read: {error}")]
    Unreadable {
        /// The path as the compiler would open it.
        path: String,
        /// What stands in the way.
        error: crate::view::ReadError,
    },
    /// A precompiled header that the compiler would use and whose own inputs are not known.
    #[error("{path}: a precompiled header")]
    PrecompiledHeader {
        /// The precompiled header's path.
        path: String,
    },
    /// `.incbin` with a name that cannot be read off, or the assembler's `.include`.
    #[error("{path}: the assembler includes a file that cannot be named")]
    Assembler {
        /// File that holds the text.
        path: String,
    },
    /// `#pragma GCC dependency`: the result depends on times of files.
    #[error("{path}: #pragma GCC dependency")]
    Dependency {
        /// File that holds the pragma.
        path: String,
    },
    /// A pragma that gives includes another meaning.
    #[error("{path}: a pragma changes what includes mean")]
    IncludeAlias {
        /// File that holds the pragma.
        path: String,
    },
    /// A file among clang's search directories: it maps names to headers.
    #[error("{path}: a header map")]
    HeaderMap {
        /// The path as it was given.
        path: String,
    },
    /// More files than [`crate::FILES_MAX`].
    #[error("more than {} files", crate::FILES_MAX)]
    TooManyFiles,
    /// More lookups than [`crate::LOOKUPS_MAX`].
    #[error("more than {} lookups", crate::LOOKUPS_MAX)]
    TooManyLookups,
    /// More evaluation steps than [`crate::STEPS_MAX`].
    #[error("more than {} steps of evaluation", crate::STEPS_MAX)]
    TooManySteps,
}

impl Unprovable {
    /// A stable name for counters.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Source { .. } => "source",
            Self::ComputedInclude { .. } => "computed-include",
            Self::HasInclude { .. } => "has-include",
            Self::NotUtf8 { .. } => "not-utf8",
            Self::PathTooLong { .. } => "path-too-long",
            Self::Special { .. } => "special-file",
            Self::Unreadable { .. } => "unreadable",
            Self::PrecompiledHeader { .. } => "precompiled-header",
            Self::Assembler { .. } => "assembler-include",
            Self::Dependency { .. } => "pragma-dependency",
            Self::IncludeAlias { .. } => "include-alias",
            Self::HeaderMap { .. } => "header-map",
            Self::TooManyFiles => "too-many-files",
            Self::TooManyLookups => "too-many-lookups",
            Self::TooManySteps => "too-many-steps",
        }
    }
}
