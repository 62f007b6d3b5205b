//! What a compiler has built in: search directories, macros, operators. Asked of the compiler itself, never assumed.

use crate::depfile::parse_depfile;
use crate::identify::line_after;
use crate::record::{self, RecordError};
use crate::run::{Answer, INPUT_MAX, QUESTION_TIME_MAX, Question};
use crate::{FileStamp, Toolchain, ToolchainError};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Operators of `#if` that compilers have or lack.
pub(crate) const OPERATORS: [&str; 13] = [
    "__has_include",
    "__has_include_next",
    "__has_embed",
    "__has_attribute",
    "__has_cpp_attribute",
    "__has_c_attribute",
    "__has_builtin",
    "__has_feature",
    "__has_extension",
    "__has_declspec_attribute",
    "__has_warning",
    "__has_constexpr_builtin",
    "__building_module",
];

/// Names that carry the answers through the preprocessor; reserved to kiln by their prefix.
const MARK: &str = "__kiln_has_";
const RULE: &str = "kiln-inputs";

/// What a compiler has built in for one language under one set of options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builtins {
    /// Directories searched for `#include "x.h"` only (`-iquote`), in order, as the compiler spells them.
    pub quote_dirs: Vec<String>,
    /// Directories searched for `#include <x.h>`, and after the quote directories, in order, as the compiler spells them.
    pub include_dirs: Vec<IncludeDir>,
    /// Directories it would search if they existed: it searches them as soon as they do.
    pub missing_dirs: Vec<String>,
    /// All predefined macros as `#define` lines, those of [`Builtins::preincluded`] among them.
    pub macros: Vec<u8>,
    /// Headers the compiler includes by itself before the first line (`/usr/include/stdc-predef.h`), and what they include.
    /// They have to be in every root: gcc fails a unit when none of [`Builtins::include_dirs`] is there to search for them.
    pub preincluded: Vec<String>,
    /// The `#if` operators it knows (`__has_include`, `__has_feature`...), sorted.
    #[serde(with = "record::operators")]
    pub operators: Vec<&'static str>,
    cwd: PathBuf,
    identities: Vec<Option<(u64, u64)>>,
    /// Of [`Builtins::preincluded`], whose macros are among the predefined; `None` for one that had not settled.
    stamps: Vec<Option<FileStamp>>,
}

/// One directory of the search list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IncludeDir {
    /// As the compiler spells it; relative to its working directory when not absolute.
    pub path: String,
    /// Whether it holds frameworks (`-F`, `-iframework`): `<A/x.h>` then means `A.framework/Headers/x.h`.
    pub framework: bool,
}

impl Builtins {
    /// Whether the search list would still be the same: no directory of it has gone or become another (the compiler drops
    /// one that is the same as an earlier one), no missing one has come; and the macros, none of the headers that the compiler
    /// includes by itself having changed. No other header is looked at.
    pub fn is_current(&self) -> bool {
        self.identities == identities(&self.cwd, &self.quote_dirs, &self.include_dirs, &self.missing_dirs)
            && self.preincluded.len() == self.stamps.len()
            && self.preincluded.iter().zip(&self.stamps).all(|(path, stamp)| stamp.is_some() && *stamp == stamp_of(&self.cwd, path))
    }

    /// As bytes, for [`Builtins::decode`].
    ///
    /// # Errors
    /// When the working directory is not UTF-8.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        Ok(postcard::to_stdvec(self)?)
    }

    /// What [`Builtins::encode`] wrote. Nothing is looked at: ask [`Builtins::is_current`] before it is used.
    ///
    /// # Errors
    /// When the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Builtins, RecordError> {
        match postcard::take_from_bytes(bytes)? {
            (builtins, []) => Ok(builtins),
            _ => Err(RecordError::Inconsistent),
        }
    }
}

fn stamp_of(cwd: &Path, path: &str) -> Option<FileStamp> {
    std::fs::metadata(cwd.join(path)).ok().map(|metadata| FileStamp::of(&metadata))
}

fn identities(cwd: &Path, quote: &[String], include: &[IncludeDir], missing: &[String]) -> Vec<Option<(u64, u64)>> {
    let paths = quote.iter().chain(include.iter().map(|dir| &dir.path)).chain(missing);
    let identity = |path: &String| std::fs::metadata(cwd.join(path)).ok().map(|found| (found.dev(), found.ino()));
    paths.map(identity).collect()
}

/// Asks the compiler what it has built in for `language` (`c`, `c++`, `assembler-with-cpp`, `objective-c`... as for `-x`) under
/// `probe_args`: the options that bear on it (`-std=`, `-m...`, `-O`, `-f...`, `-I` and its kin), without sources, outputs,
/// `-include` or `-D`. `env` holds what the unit's run gets (`CPATH`, ...); messages are asked for in English whatever it
/// says. One run of the driver.
///
/// # Errors
/// When the driver refuses, hangs, or answers what cannot be read.
pub fn query_builtins(
    tc: &Toolchain,
    language: &str,
    probe_args: &[String],
    env: &[(String, String)],
    cwd: &Path,
) -> Result<Builtins, ToolchainError> {
    let mut input = String::new();
    for operator in OPERATORS {
        input.push_str(&format!("#ifdef {operator}\n#define {MARK}{operator} 1\n#endif\n"));
    }
    let own = ["-E", "-dM", "-v", "-MD", "-MT", RULE, "-MF", "/dev/stderr", "-x", language, "-"];
    let started = SystemTime::now();
    let (answer, question) = ask(tc, probe_args, &own, input.as_bytes(), env, cwd)?;
    let unreadable = |why: &str| ToolchainError::Probe { driver: tc.driver.clone(), args: question.clone(), why: why.into() };
    let text = String::from_utf8(answer.stderr).map_err(|_| unreadable("its answer is not UTF-8"))?;
    // Text that is preprocessed includes nothing, and no list is told.
    let list = if is_preprocessed(language) { Some(Default::default()) } else { search_list(&text) };
    let (quote_dirs, include_dirs) = list.ok_or_else(|| unreadable("its answer holds no search list"))?;
    let missing_dirs = missing(&text);
    let preincluded = preincluded(&text).ok_or_else(|| unreadable("its list of inputs cannot be read"))?;
    let mut operators = Vec::new();
    let mut macros = Vec::with_capacity(answer.stdout.len());
    for line in answer.stdout.split_inclusive(|byte| *byte == b'\n') {
        let name = line.strip_prefix(b"#define ").and_then(|rest| rest.strip_prefix(MARK.as_bytes()));
        match name {
            Some(name) => operators.extend(OPERATORS.iter().filter(|known| name.starts_with(format!("{known} ").as_bytes()))),
            None => macros.extend_from_slice(line),
        }
    }
    operators.sort_unstable();
    let identities = identities(cwd, &quote_dirs, &include_dirs, &missing_dirs);
    let settled = |path: &String| stamp_of(cwd, path).filter(|stamp| stamp.is_settled_at(started));
    let stamps = preincluded.iter().map(settled).collect();
    let cwd = cwd.to_owned();
    Ok(Builtins { quote_dirs, include_dirs, missing_dirs, macros, preincluded, operators, cwd, identities, stamps })
}

/// Asks for the values of `#if` operators with arguments (`__has_feature(cxx_rtti)`, `__has_cpp_attribute(gnu::unused)`), in the
/// order given. One run of the driver for all of them. The operators have to be among [`Builtins::operators`], and none that
/// looks for files: those depend on where they stand.
///
/// # Errors
/// When the driver refuses one of them, hangs, or answers what is no number, or when they are too many for one run (64 KiB).
pub fn query_operators(
    tc: &Toolchain,
    language: &str,
    probe_args: &[String],
    expressions: &[String],
    env: &[(String, String)],
    cwd: &Path,
) -> Result<Vec<i64>, ToolchainError> {
    let mut input = String::new();
    for (index, expression) in expressions.iter().enumerate() {
        if expression.contains(['\n', '\r']) || input.len() + expression.len() + 40 > INPUT_MAX {
            return Err(ToolchainError::Probe {
                driver: tc.driver.clone(),
                args: expression.chars().take(80).collect(),
                why: "it cannot be asked".into(),
            });
        }
        input.push_str(&format!("{MARK}{index} {expression}\n"));
    }
    let (answer, question) = ask(tc, probe_args, &["-E", "-P", "-x", language, "-"], input.as_bytes(), env, cwd)?;
    let text = String::from_utf8_lossy(&answer.stdout);
    let value = |index: usize| {
        let line = line_after(&text, &format!("{MARK}{index} "))?;
        line.trim_end_matches(['l', 'L', 'u', 'U']).parse().ok()
    };
    (0..expressions.len())
        .map(|index| {
            value(index).ok_or_else(|| ToolchainError::Probe {
                driver: tc.driver.clone(),
                args: question.clone(),
                why: format!("it gives {} no value", expressions[index]),
            })
        })
        .collect()
}

fn ask(
    tc: &Toolchain,
    probe_args: &[String],
    own: &[&str],
    input: &[u8],
    env: &[(String, String)],
    cwd: &Path,
) -> Result<(Answer, String), ToolchainError> {
    let args: Vec<String> = probe_args.iter().cloned().chain(own.iter().map(|arg| (*arg).to_owned())).collect();
    let mut env: Vec<(String, String)> = env.iter().filter(|(name, _)| name != "LC_ALL" && name != "LANGUAGE").cloned().collect();
    env.push(("LC_ALL".into(), "C".into()));
    let question = Question { driver: &tc.driver, args: &args, env: &env, cwd, input, time_max: QUESTION_TIME_MAX };
    question.ask_well().map(|answer| (answer, args.join(" ")))
}

fn is_preprocessed(language: &str) -> bool {
    language.ends_with("cpp-output")
}

fn search_list(text: &str) -> Option<(Vec<String>, Vec<IncludeDir>)> {
    let (_, rest) = text.split_once("#include \"...\" search starts here:\n")?;
    let (all, _) = rest.split_once("End of search list.")?;
    // clang leaves out the line in the middle where nothing comes after it.
    let (quote, include) = all.split_once("#include <...> search starts here:\n").unwrap_or((all, ""));
    let dirs = |text: &str| -> Vec<IncludeDir> {
        text.lines()
            .filter_map(|line| line.strip_prefix(' '))
            .map(|line| match line.strip_suffix(" (framework directory)") {
                Some(path) => IncludeDir { path: path.to_owned(), framework: true },
                None => IncludeDir { path: line.strip_suffix(" (headermap)").unwrap_or(line).to_owned(), framework: false },
            })
            .collect()
    };
    Some((dirs(quote).into_iter().map(|dir| dir.path).collect(), dirs(include)))
}

fn missing(text: &str) -> Vec<String> {
    let quoted = |line: &str| line.strip_prefix("ignoring nonexistent directory \"")?.strip_suffix('"').map(str::to_owned);
    text.lines().filter_map(quoted).collect()
}

/// The names in the rule among the other lines; gcc writes no rule where there is none.
fn preincluded(text: &str) -> Option<Vec<String>> {
    let start = match (text.starts_with(&format!("{RULE}:")), text.find(&format!("\n{RULE}:"))) {
        (true, _) => 0,
        (false, Some(at)) => at + 1,
        (false, None) => return Some(Vec::new()),
    };
    let rule = &text[start..];
    let end = rule.match_indices('\n').map(|(at, _)| at).find(|at| !rule[..*at].ends_with('\\')).unwrap_or(rule.len());
    let names = parse_depfile(&rule.as_bytes()[..end]).ok()?;
    Some(names.into_iter().filter(|name| name != "-" && name != "<stdin>").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_list_is_read_in_order() {
        let text = "ignoring nonexistent directory \"/no\"\nignoring duplicate directory \"/a\"\n#include \"...\" search starts here:\n q\n\
                    #include <...> search starts here:\n /a b\n /F (framework directory)\nEnd of search list.\nkiln-inputs: \\\n /x.h\nZ=1\n";
        let (quote, include) = search_list(text).unwrap();
        assert_eq!(quote, ["q"]);
        assert_eq!(include[0], IncludeDir { path: "/a b".into(), framework: false });
        assert_eq!(include[1], IncludeDir { path: "/F".into(), framework: true });
        assert_eq!(missing(text), ["/no"]);
        assert_eq!(preincluded(text), Some(vec!["/x.h".to_owned()]));
        assert_eq!(search_list("garbage"), None);
        let empty = "#include \"...\" search starts here:\n q\nEnd of search list.\n";
        assert_eq!(search_list(empty), Some((vec!["q".to_owned()], Vec::new())));
    }
}
