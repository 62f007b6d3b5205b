//! Which lexical rules a file is read by. It knows no options: whoever parses the command line sets the fields.

/// The lexical rules that decide where a directive starts and ends, and what a condition means.
///
/// Two units with equal dialects see the same directives in the same bytes, so directives are cached by (content, dialect).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dialect {
    /// `//` starts a comment (everything but strict C90).
    pub line_comments: bool,
    /// `R"x(...)x"` is a literal (C++11 and later, GNU C99 and later).
    pub raw_strings: bool,
    /// `1'000` is one number (C++14, C23).
    pub digit_separators: bool,
    /// `??=` and its kin are replaced (strict ISO modes, `-trigraphs`).
    pub trigraphs: bool,
    /// `%:` is `#` (all but C90).
    pub digraphs: bool,
    /// `true` is 1, `and` is `&&` in conditions (C++).
    pub cplusplus: bool,
    /// The text is assembler with directives (`.S`): `.incbin` stands outside of strings.
    pub assembler: bool,
    /// Lines that start with `import`, `module` or `export` may be C++20 modules.
    pub modules: bool,
    /// A lone carriage return ends a line (clang).
    pub bare_cr: bool,
}

impl Dialect {
    /// GNU C17, gcc's default for C.
    pub const GNU_C: Self = Self {
        line_comments: true,
        raw_strings: true,
        digit_separators: false,
        trigraphs: false,
        digraphs: true,
        cplusplus: false,
        assembler: false,
        modules: false,
        bare_cr: false,
    };

    /// GNU C++17, gcc's default for C++.
    pub const GNU_CXX: Self = Self { digit_separators: true, cplusplus: true, ..Self::GNU_C };

    /// Assembler with directives.
    pub const ASSEMBLER: Self = Self { raw_strings: false, assembler: true, ..Self::GNU_C };
}
