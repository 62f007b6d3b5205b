//! Which language a source is in: its suffix and `-x`. Does not look into files.

use crate::invocation::Language;
use crate::reason::Reason;
use crate::table::Family;

/// What a suffix or a name after `-x` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A source kiln distributes.
    Source(Language),
    /// A header to be made into a precompiled one.
    Header(Language),
    /// A source it does not.
    Other(Reason),
    /// Nothing a compiler reads: an object, a library, a linker script.
    LinkerInput,
}

/// What is named after `-x`, a source or a header; `Ok(None)` for `none`.
pub(crate) fn from_x(name: &str) -> Result<Option<Kind>, Reason> {
    use Language as L;
    let language = match name {
        "none" => return Ok(None),
        "c-header" => return Ok(Some(Kind::Header(L::C))),
        "c++-header" => return Ok(Some(Kind::Header(L::Cxx))),
        "c" => L::C,
        "c++" => L::Cxx,
        "objective-c" => L::ObjC,
        "objective-c++" => L::ObjCxx,
        "cpp-output" => L::CPreprocessed,
        "c++-cpp-output" => L::CxxPreprocessed,
        "objective-c-cpp-output" | "objc-cpp-output" => L::ObjCPreprocessed,
        "objective-c++-cpp-output" | "objc++-cpp-output" => L::ObjCxxPreprocessed,
        "assembler" => L::Assembler,
        "assembler-with-cpp" => L::AssemblerWithCpp,
        _ if name.contains("header-unit") || name.contains("module") || name.ends_with("-user-header") => {
            return Err(Reason::Modules);
        }
        _ if name.ends_with("-header") => return Err(Reason::PrecompiledHeader),
        _ => return Err(Reason::UnsupportedLanguage),
    };
    Ok(Some(Kind::Source(language)))
}

/// The text after the last dot of the file name, `None` when there is no dot after its first character.
pub(crate) fn suffix(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rfind('.') {
        Some(dot) if dot > 0 => Some(&name[dot + 1..]),
        _ => None,
    }
}

/// The language of a file by its suffix.
pub(crate) fn from_suffix(family: Family, cxx_driver: bool, path: &str) -> Kind {
    use Language as L;
    let Some(suffix) = suffix(path) else {
        return Kind::LinkerInput;
    };
    let source = match suffix {
        // g++ and clang++ read what C would be as C++.
        "c" | "i" | "h" if cxx_driver => match suffix {
            "c" => L::Cxx,
            "i" => L::CxxPreprocessed,
            // clang has something to say of that, each in its own version.
            _ if family == Family::Clang => return Kind::Other(Reason::PrecompiledHeader),
            _ => return Kind::Header(L::Cxx),
        },
        "c" => L::C,
        "i" => L::CPreprocessed,
        "ii" => L::CxxPreprocessed,
        "m" => L::ObjC,
        "mi" => L::ObjCPreprocessed,
        "mm" | "M" => L::ObjCxx,
        "mii" => L::ObjCxxPreprocessed,
        "C" | "cc" | "cp" | "cxx" | "cpp" | "c++" | "CPP" => L::Cxx,
        "CC" | "CXX" | "C++" if family == Family::Clang => L::Cxx,
        "s" => L::Assembler,
        "S" => L::AssemblerWithCpp,
        "sx" if family == Family::Gcc => L::AssemblerWithCpp,
        "h" => return Kind::Header(L::C),
        "H" | "hh" | "hpp" | "hxx" => return Kind::Header(L::Cxx),
        "hp" | "h++" | "HPP" | "tcc" if family == Family::Gcc => return Kind::Header(L::Cxx),
        "hp" | "h++" | "HPP" | "tcc" | "pch" | "gch" => return Kind::Other(Reason::PrecompiledHeader),
        "cppm" | "ccm" | "cxxm" | "c++m" | "ixx" | "iim" | "pcm" => return Kind::Other(Reason::Modules),
        "ads" | "adb" | "f" | "for" | "ftn" | "fi" | "fii" | "F" | "FOR" | "fpp" | "FPP" | "FTN" | "f90" | "f95" | "f03"
        | "f08" | "F90" | "F95" | "F03" | "F08" | "f77" | "go" | "d" | "di" | "dd" | "mod" | "cu" | "cui" | "hip" | "hipi"
        | "cl" | "clcpp" | "ll" | "bc" | "ast" | "asm" | "hlsl" | "ifs" | "rs" => {
            return Kind::Other(Reason::UnsupportedLanguage);
        }
        _ => return Kind::LinkerInput,
    };
    Kind::Source(source)
}

/// Whether a source is standard input or another stream of the caller.
pub(crate) fn is_stream(path: &str) -> bool {
    path == "-" || path == "/dev/stdin" || path.starts_with("/dev/fd/") || path.starts_with("/proc/self/fd/")
}

/// Whether a file name or directory is one that configure tools use for trial compiles.
pub(crate) fn is_trial(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.split('.').next().unwrap_or(name);
    matches!(stem, "conftest" | "_configtest")
        || path.contains("CMakeFiles/CMakeTmp/")
        || path.contains("CMakeFiles/CMakeScratch/")
        || path.contains("meson-private/tmp")
}
