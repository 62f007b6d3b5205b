//! Options that a specs file gives to the compiler proper and not to the preprocessor, which is all that can be asked for its
//! macros. Knows the words of both commands, not what options mean.

use crate::native::commands_until;
use crate::{Toolchain, ToolchainError};

/// The options with which the compiler proper runs and a preprocessor alone would not, for a unit with options `args` in
/// `language`; given behind `args` they make the preprocessor's macros the compiler's.
///
/// # Errors
/// [`ToolchainError::Unmodelled`] where another option of the command says something of the same matter: the order would count.
pub fn hidden_options(tc: &Toolchain, args: &[String], language: &str) -> Result<Vec<String>, ToolchainError> {
    let first = |stop| commands_until(stop, tc, args, language).map(|commands| commands.into_iter().next().unwrap_or_default());
    let (compile, preprocess) = (first("-c")?, first("-E")?);
    let is_option = |word: &String| word.starts_with("-f") || word.starts_with("-m") || word.starts_with("-O");
    let hidden: Vec<String> = compile.iter().filter(|word| is_option(word) && !preprocess.contains(word)).cloned().collect();
    for word in &hidden {
        if let Some(other) = compile.iter().find(|other| is_option(other) && *other != word && matter(other) == matter(word)) {
            let why = format!("its specs give {word} beside {other}");
            return Err(ToolchainError::Unmodelled { driver: tc.driver.clone(), why });
        }
    }
    Ok(hidden)
}

/// What an option is about: its name without `no-` and value. Position-independent code of all kinds is one matter.
fn matter(word: &str) -> String {
    let (kind, name) = word.split_at(2);
    let name = name.strip_prefix("no-").unwrap_or(name);
    let name = if kind == "-O" { "" } else { name.split('=').next().unwrap_or_default() };
    match name.to_ascii_lowercase().as_str() {
        "pic" | "pie" => "-fpic".to_owned(),
        name => format!("{kind}{name}"),
    }
}
