//! Which lexical rules a file is read by. It knows no options: whoever parses the command line sets the fields.

use serde::{Deserialize, Serialize};

use crate::search::Compiler;

/// The lexical rules that decide where a directive starts and ends, and what a condition means.
///
/// Two units with equal dialects see the same directives in the same bytes, so directives are cached by (content, dialect).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dialect {
    /// Where `//` starts a comment.
    pub line_comments: LineComments,
    /// `R"x(...)x"` is a literal (C++11 and later, GNU C99 and later).
    pub raw_strings: bool,
    /// `u8R"..."`, `uR"..."` and `UR"..."` are raw strings as well.
    pub raw_unicode: bool,
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
    /// The text goes to the assembler as it is: no directives, no comments that could hide anything (`.s`).
    pub plain: bool,
    /// Lines that start with `import`, `module` or `export` may be C++20 modules.
    pub modules: bool,
}

/// Where `//` starts a comment. Strict C90 has no such comments, but compilers read system headers that use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LineComments {
    /// Wherever it stands.
    Everywhere,
    /// Unless `*` follows at once (clang in C90).
    NotBeforeStar,
    /// Unless `*` follows at once, and never in a directive (gcc in C90).
    InText,
}

impl Dialect {
    /// GNU C17, gcc's default for C.
    pub const GNU_C: Self = Self {
        line_comments: LineComments::Everywhere,
        raw_strings: true,
        raw_unicode: true,
        digit_separators: false,
        trigraphs: false,
        digraphs: true,
        cplusplus: false,
        assembler: false,
        plain: false,
        modules: false,
    };

    /// GNU C++17, gcc's default for C++.
    pub const GNU_CXX: Self = Self { digit_separators: true, cplusplus: true, ..Self::GNU_C };

    /// Assembler without directives.
    pub const PLAIN_ASSEMBLER: Self = Self { plain: true, ..Self::ASSEMBLER };

    /// Assembler with directives.
    pub const ASSEMBLER: Self = Self { raw_strings: false, raw_unicode: false, assembler: true, ..Self::GNU_C };
}

/// What a source is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// C and Objective-C.
    C,
    /// C++ and Objective-C++.
    Cxx,
    /// Assembler with directives.
    Assembler,
}

/// A language standard as `-std=` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standard {
    /// `gnu..`: extensions on.
    gnu: bool,
    /// Year of C (1990, 1999, ...) or C++ (1998, 2011, ...); drafts count as the standard they became.
    year: u32,
}

impl Standard {
    fn parse(language: Language, name: &str) -> Option<Self> {
        let digits = name.trim_start_matches("gnu").trim_start_matches("iso9899:").trim_start_matches('c');
        let year = match (language, digits) {
            (Language::Cxx, "++98" | "++03") => 1998,
            (Language::Cxx, "++11" | "++0x") => 2011,
            (Language::Cxx, "++14" | "++1y") => 2014,
            (Language::Cxx, "++17" | "++1z") => 2017,
            (Language::Cxx, "++20" | "++2a") => 2020,
            (Language::Cxx, "++23" | "++2b") => 2023,
            (Language::Cxx, "++26" | "++2c") => 2026,
            (Language::C, "89" | "90" | "1990") => 1990,
            (Language::C, "199409") => 1994,
            (Language::C, "99" | "9x" | "1999" | "199x") => 1999,
            (Language::C, "11" | "1x" | "2011") => 2011,
            (Language::C, "17" | "18" | "2017" | "2018") => 2017,
            (Language::C, "2x" | "23" | "2024") => 2023,
            (Language::C, "2y") => 2029,
            _ => return None,
        };
        Some(Self { gnu: name.starts_with("gnu"), year })
    }
}

/// The standard without `-std=`, always with extensions.
fn default_year(compiler: Compiler, major: u32, language: Language) -> u32 {
    match (language, compiler, major) {
        (Language::Cxx, Compiler::Gcc, ..6) => 1998,
        (Language::Cxx, Compiler::Gcc, 6..11) | (Language::Cxx, Compiler::Clang, ..16) => 2014,
        (Language::Cxx, Compiler::Gcc, 16..) => 2020,
        (Language::Cxx, ..) => 2017,
        (_, Compiler::Gcc, 15..) => 2023,
        _ => 2017,
    }
}

impl Dialect {
    /// The rules of a compiler for a language and a standard (the value of `-std=`, empty for the default; `-ansi` is `c90` or
    /// `c++98`). `major` is the compiler's version. `None` for a standard that is not known: the unit cannot be scanned.
    ///
    /// From `lang_defaults` of gcc's libcpp and `LangStandards.def` of clang. An explicit `-trigraphs` or `-fmodules-ts` is for
    /// the caller to put in.
    #[must_use]
    pub fn select(compiler: Compiler, major: u32, language: Language, standard: &str) -> Option<Self> {
        let clang = compiler == Compiler::Clang;
        if language == Language::Assembler {
            return Some(Self { digraphs: clang, ..Self::ASSEMBLER });
        }
        let Standard { gnu, year } = match standard {
            "" => Standard { gnu: true, year: default_year(compiler, major, language) },
            name => Standard::parse(language, name)?,
        };
        let cxx = language == Language::Cxx;
        // gcc dropped trigraphs from strict C23 in release 13, clang in release 18.
        let c23_trigraphs = major < if clang { 18 } else { 13 };
        // clang reads raw strings in GNU C since release 19.
        let gnu_c_raw = gnu && year >= 1999 && (!clang || major >= 19);
        let raw_strings = if cxx { year >= 2011 } else { gnu_c_raw };
        Some(Self {
            line_comments: match (cxx || gnu || year >= 1999, compiler) {
                (true, _) => LineComments::Everywhere,
                (false, Compiler::Gcc) => LineComments::InText,
                (false, Compiler::Clang) => LineComments::NotBeforeStar,
            },
            raw_strings,
            raw_unicode: raw_strings && (!clang || cxx || year >= 2011),
            digit_separators: if cxx { year >= 2014 } else { year >= 2023 },
            trigraphs: !gnu && if cxx { year < 2017 } else { year < 2023 || c23_trigraphs },
            digraphs: cxx || gnu || year >= 1994,
            cplusplus: cxx,
            assembler: false,
            plain: false,
            modules: cxx && year >= 2020,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_strict_modes() {
        let gcc = |language, std| Dialect::select(Compiler::Gcc, 12, language, std).expect("known");
        assert_eq!(gcc(Language::C, ""), Dialect::GNU_C);
        assert_eq!(gcc(Language::Cxx, "gnu++17"), Dialect::GNU_CXX);
        assert_eq!(gcc(Language::Cxx, ""), Dialect::GNU_CXX);
        assert_eq!(gcc(Language::C, "gnu11"), Dialect::GNU_C);
        assert_eq!(gcc(Language::C, "c11"), Dialect { raw_strings: false, raw_unicode: false, trigraphs: true, ..Dialect::GNU_C });
        let c90 = gcc(Language::C, "c90");
        assert!(c90.line_comments == LineComments::InText && !c90.digraphs && c90.trigraphs);
        assert!(gcc(Language::C, "iso9899:199409").digraphs);
        assert!(gcc(Language::Cxx, "c++14").trigraphs && !gcc(Language::Cxx, "c++17").trigraphs);
        assert!(gcc(Language::Cxx, "c++11").raw_strings && !gcc(Language::Cxx, "c++11").digit_separators);
        assert!(gcc(Language::Cxx, "c++20").modules && gcc(Language::C, "c2x").digit_separators);
        assert!(gcc(Language::Cxx, "gnu++2c").modules);
        assert_eq!(Dialect::select(Compiler::Gcc, 12, Language::C, "c++11"), None);
        assert_eq!(Dialect::select(Compiler::Gcc, 12, Language::Cxx, "d99"), None);
        assert!(!Dialect::select(Compiler::Clang, 14, Language::C, "").expect("known").raw_strings);
    }
}
