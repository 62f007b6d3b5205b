//! The environment as a table like the options': sent, canonicalised, for terminals only, irrelevant, or refusing.

use crate::invocation::Language;
use crate::reason::{Reason, Refusal};

/// What a variable means to a compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvEffect {
    /// Sent as it is.
    Sent,
    /// Sent when it is an absolute path, else replaced by the working directory.
    WorkingDir,
    /// Sent for C and its kin only.
    SentForC,
    /// Sent for C++ only.
    SentForCxx,
    /// Sent for Objective-C only.
    SentForObjC,
    /// Sent for Objective-C++ only.
    SentForObjCxx,
    /// Changes messages on a terminal only; part of that key alone.
    Terminal,
    /// As `Terminal`, and sent when colour was demanded on the command line.
    TerminalColor,
    /// Changes nothing in any output.
    Irrelevant,
    /// Changes which compiler runs or what it writes: the command runs here.
    Refuses,
    /// As `Refuses`, unless the value is empty.
    RefusesUnlessEmpty,
}

/// One row: a name, or the beginning or end of one where `*` stands.
#[derive(Debug, Clone, Copy)]
pub struct EnvRow {
    /// The name. `X*` is every name that begins with X, `*X` every name that ends so; a longer row counts over a shorter.
    pub name: &'static str,
    /// What it means.
    pub effect: EnvEffect,
}

const fn row(name: &'static str, effect: EnvEffect) -> EnvRow {
    EnvRow { name, effect }
}

/// Sorted by name. Names that are in no row change nothing.
static ROWS: &[EnvRow] = &[
    row("*_INCLUDE_PATH", EnvEffect::RefusesUnlessEmpty),
    row("CCC_*", EnvEffect::Refuses),
    row("CLANG_*", EnvEffect::Refuses),
    row("CLANG_VERSION", EnvEffect::Irrelevant),
    row("COLLECT_*", EnvEffect::Refuses),
    row("COLUMNS", EnvEffect::Terminal),
    row("COMPILER_PATH", EnvEffect::Refuses),
    row("CPATH", EnvEffect::Sent),
    row("CPLUS_INCLUDE_PATH", EnvEffect::SentForCxx),
    row("C_INCLUDE_PATH", EnvEffect::SentForC),
    row("DEPENDENCIES_OUTPUT", EnvEffect::Refuses),
    row("GCC_*", EnvEffect::Refuses),
    row("GCC_COLORS", EnvEffect::TerminalColor),
    row("GCC_EXTRA_DIAGNOSTIC_OUTPUT", EnvEffect::Sent),
    row("GCC_MIRRORS", EnvEffect::Irrelevant),
    row("GCC_URLS", EnvEffect::TerminalColor),
    row("GCC_VERSION", EnvEffect::Irrelevant),
    row("LANG", EnvEffect::Sent),
    row("LANGUAGE", EnvEffect::Sent),
    row("LC_ALL", EnvEffect::Sent),
    row("LC_CTYPE", EnvEffect::Sent),
    row("LC_MESSAGES", EnvEffect::Sent),
    row("LD_*", EnvEffect::Refuses),
    row("LD_BIND_NOW", EnvEffect::Irrelevant),
    row("LD_LIBRARY_PATH", EnvEffect::RefusesUnlessEmpty),
    row("LD_PRELOAD", EnvEffect::RefusesUnlessEmpty),
    row("LD_RUN_PATH", EnvEffect::Irrelevant),
    row("LLVM_*", EnvEffect::Refuses),
    row("LLVM_CONFIG", EnvEffect::Irrelevant),
    row("LLVM_CONFIG_PATH", EnvEffect::Irrelevant),
    row("LLVM_DIR", EnvEffect::Irrelevant),
    row("LLVM_HOME", EnvEffect::Irrelevant),
    row("LLVM_PROFILE_FILE", EnvEffect::Irrelevant),
    row("LLVM_ROOT", EnvEffect::Irrelevant),
    row("LLVM_SYMBOLIZER_PATH", EnvEffect::Irrelevant),
    row("LLVM_SYS_*", EnvEffect::Irrelevant),
    row("LLVM_VERSION", EnvEffect::Irrelevant),
    row("LOCPATH", EnvEffect::Refuses),
    row("NLSPATH", EnvEffect::Irrelevant),
    row("NO_COLOR", EnvEffect::Terminal),
    row("OBJCPLUS_INCLUDE_PATH", EnvEffect::SentForObjCxx),
    row("OBJC_INCLUDE_PATH", EnvEffect::SentForObjC),
    row("PWD", EnvEffect::WorkingDir),
    row("SDKROOT", EnvEffect::RefusesUnlessEmpty),
    row("SOURCE_DATE_EPOCH", EnvEffect::Sent),
    row("SUNPRO_DEPENDENCIES", EnvEffect::Refuses),
    row("TERM", EnvEffect::Terminal),
    row("TERMINFO", EnvEffect::Terminal),
    row("TERMINFO_DIRS", EnvEffect::Terminal),
    row("TERM_URLS", EnvEffect::TerminalColor),
    row("TZ", EnvEffect::Sent),
    row("TZDIR", EnvEffect::Sent),
];

/// The table, sorted by name.
#[must_use]
pub fn environment_rows() -> &'static [EnvRow] {
    ROWS
}

/// What a variable means, by its row of the most letters.
#[must_use]
pub fn env_effect(name: &str) -> EnvEffect {
    if let Ok(at) = ROWS.binary_search_by(|row| row.name.cmp(name)) {
        return ROWS[at].effect;
    }
    let patterns = ROWS.iter().filter(|row| row.name.starts_with('*') || row.name.ends_with('*'));
    patterns
        .filter(|row| match (row.name.strip_prefix('*'), row.name.strip_suffix('*')) {
            (Some(end), _) => name.ends_with(end),
            (_, Some(start)) => name.starts_with(start),
            _ => false,
        })
        .max_by_key(|row| row.name.len())
        .map_or(EnvEffect::Irrelevant, |row| row.effect)
}

/// What a command's environment comes to.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    /// Sorted by name.
    pub(crate) sent: Vec<(String, String)>,
    /// Sorted by name.
    pub(crate) terminal: Vec<(String, String)>,
}

/// Reads an environment. The first of two equal names counts, as in `getenv`.
pub(crate) fn read(env: &[(Vec<u8>, Vec<u8>)], cwd: &str, language: Language, forced_color: bool) -> Result<Environment, Refusal> {
    let mut out = Environment::default();
    let mut pwd = cwd.to_owned();
    let mut seen = Vec::new();
    for (name, value) in env {
        // No row has a name beyond UTF-8.
        let Ok(name) = std::str::from_utf8(name) else { continue };
        let effect = env_effect(name);
        if effect == EnvEffect::Irrelevant || seen.contains(&name) {
            continue;
        }
        seen.push(name);
        if effect == EnvEffect::Refuses || (effect == EnvEffect::RefusesUnlessEmpty && !value.is_empty()) {
            return Err(Refusal::new(Reason::Environment, name));
        }
        let Ok(value) = std::str::from_utf8(value) else {
            return Err(Refusal::new(Reason::NotUtf8, name));
        };
        let pair = || (name.to_owned(), value.to_owned());
        if effect == EnvEffect::WorkingDir {
            if value.starts_with('/') {
                value.clone_into(&mut pwd);
            }
            continue;
        }
        if is_sent(effect, language, forced_color) {
            out.sent.push(pair());
        }
        if matches!(effect, EnvEffect::Terminal | EnvEffect::TerminalColor) {
            out.terminal.push(pair());
        }
    }
    out.sent.push(("PWD".to_owned(), pwd));
    out.sent.sort();
    out.terminal.sort();
    Ok(out)
}

fn is_sent(effect: EnvEffect, language: Language, forced_color: bool) -> bool {
    match effect {
        EnvEffect::Sent => true,
        EnvEffect::TerminalColor => forced_color,
        EnvEffect::SentForC => matches!(language, Language::C | Language::AssemblerWithCpp),
        EnvEffect::SentForCxx => language == Language::Cxx,
        EnvEffect::SentForObjC => language == Language::ObjC,
        EnvEffect::SentForObjCxx => language == Language::ObjCxx,
        _ => false,
    }
}
