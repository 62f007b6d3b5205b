//! Response files (`@file`), expanded as each compiler does it. Files come from the caller; what the compilers disagree
//! about, or what no build writes, is refused.

use crate::reason::{Reason, Refusal};
use crate::table::Family;

/// Response files read for one command; libiberty gives up after 2,000 expansions, builds use a handful.
const FILES_MAX: usize = 256;
/// Depth of response files that name response files.
const DEPTH_MAX: usize = 16;
/// Bytes of all arguments after expansion: 8 times the 2 MiB a command line may have on Linux.
pub(crate) const BYTES_MAX: usize = 16 << 20;

/// Bytes of one argument or variable of a new process, its end included (Linux: 32 pages).
const STRING_MAX: usize = 32 * 4096;

/// Whether gcc's driver cannot start its compiler: it hands all options on in one variable, `COLLECT_GCC_OPTIONS='-D' 'X' '-I' 'dir' ...`,
/// a blank and four quotes to each of those counted here. Builds reach the limit by macros and directories; others are so few that the
/// compiler itself shall say it.
pub(crate) fn is_too_long_for_gcc(args: &[String]) -> bool {
    let counted = |arg: &&String| arg.len() > 2 && ["-D", "-U", "-I"].iter().any(|name| arg.starts_with(name));
    let bytes: usize = args.iter().filter(counted).map(|arg| arg.len() + "'' '' ".len()).sum();
    bytes + "COLLECT_GCC_OPTIONS=".len() > STRING_MAX
}

/// The arguments after expansion, and the files that were read.
#[derive(Debug, Default)]
pub(crate) struct Expanded {
    pub(crate) args: Vec<String>,
    pub(crate) files: Vec<String>,
    bytes: usize,
    reads: usize,
}

pub(crate) fn expand(family: Family, args: &[String], read_file: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<Expanded, Refusal> {
    let mut out = Expanded::default();
    expand_into(family, args, read_file, 0, &mut out)?;
    Ok(out)
}

fn expand_into(
    family: Family,
    args: &[String],
    read_file: &dyn Fn(&str) -> Option<Vec<u8>>,
    depth: usize,
    out: &mut Expanded,
) -> Result<(), Refusal> {
    let refuse = |path: &str, what: &str| Err(Refusal::new(Reason::ResponseFile, format!("@{path}: {what}")));
    for arg in args {
        let Some(path) = arg.strip_prefix('@') else {
            out.bytes += arg.len() + 1;
            if out.bytes > BYTES_MAX {
                return Err(Refusal::new(Reason::TooLong, format!("over {BYTES_MAX} bytes of arguments")));
            }
            out.args.push(arg.clone());
            continue;
        };
        out.reads += 1;
        if depth >= DEPTH_MAX || out.reads > FILES_MAX {
            return refuse(path, "too many response files, or they loop");
        }
        let Some(content) = read_file(path) else {
            return refuse(path, "cannot be read");
        };
        if content.len() > BYTES_MAX {
            return refuse(path, "too large");
        }
        let Ok(text) = String::from_utf8(content) else {
            return Err(Refusal::new(Reason::NotUtf8, format!("@{path}")));
        };
        if text.contains('\0') || text.starts_with('\u{feff}') {
            return refuse(path, "holds a NUL byte or a byte order mark");
        }
        if !out.files.iter().any(|seen| seen == path) {
            out.files.push(path.to_owned());
        }
        let inner = match family {
            Family::Gcc => split_libiberty(&text),
            Family::Clang => split_llvm(&text),
        };
        let Some(inner) = inner else {
            return refuse(path, "quoted in a way that versions of the compiler read differently");
        };
        expand_into(family, &inner, read_file, depth + 1, out)?;
    }
    Ok(())
}

/// What C's `isspace` finds in the C locale.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// libiberty's buildargv: blanks separate, `'` and `"` quote, a backslash takes the next character as it is. Inside single
/// quotes releases differ about the backslash: `None`.
fn split_libiberty(text: &str) -> Option<Vec<String>> {
    let mut args = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.peek().copied().is_some_and(is_space) {
            chars.next();
        }
        if chars.peek().is_none() {
            return Some(args);
        }
        let mut arg = String::new();
        let mut quote = None;
        while let Some(&c) = chars.peek() {
            if quote.is_none() && is_space(c) {
                break;
            }
            chars.next();
            match (c, quote) {
                ('\\', Some('\'')) => return None,
                ('\\', _) => arg.push(chars.next()?),
                (c, Some(q)) if c == q => quote = None,
                ('\'' | '"', None) => quote = Some(c),
                (c, _) => arg.push(c),
            }
        }
        if quote.is_some() {
            return None;
        }
        args.push(arg);
    }
}

/// LLVM's GNU tokenizer: as above, a backslash also works inside single quotes. An empty quoted argument is dropped by some
/// releases and kept by others: `None`.
fn split_llvm(text: &str) -> Option<Vec<String>> {
    let mut args = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.peek().copied().is_some_and(|c| matches!(c, ' ' | '\t' | '\n' | '\r')) {
            chars.next();
        }
        if chars.peek().is_none() {
            return Some(args);
        }
        let mut arg = String::new();
        let mut quote = None;
        while let Some(&c) = chars.peek() {
            if quote.is_none() && is_space(c) {
                if matches!(c, '\x0b' | '\x0c') {
                    return None;
                }
                break;
            }
            chars.next();
            match (c, quote) {
                ('\\', _) => arg.push(chars.next()?),
                (c, Some(q)) if c == q => quote = None,
                ('\'' | '"', None) => quote = Some(c),
                (c, _) => arg.push(c),
            }
        }
        if quote.is_some() || arg.is_empty() {
            return None;
        }
        args.push(arg);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, gcc: Option<&[&str]>, clang: Option<&[&str]>) {
        let owned = |list: Option<&[&str]>| list.map(|l| l.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        assert_eq!(split_libiberty(text), owned(gcc), "gcc: {text:?}");
        assert_eq!(split_llvm(text), owned(clang), "clang: {text:?}");
    }

    #[test]
    fn quoting() {
        check("", Some(&[]), Some(&[]));
        check(" \n\t ", Some(&[]), Some(&[]));
        check("-c a.c\n-o 'b c.o'", Some(&["-c", "a.c", "-o", "b c.o"]), Some(&["-c", "a.c", "-o", "b c.o"]));
        check(r#"-DX=\"s\""#, Some(&[r#"-DX="s""#]), Some(&[r#"-DX="s""#]));
        check(r#""a\"b"c"#, Some(&["a\"bc"]), Some(&["a\"bc"]));
        check(r#"'a\'b'"#, None, Some(&["a'b"]));
        check("''", Some(&[""]), None);
        check("'open", None, None);
        check("back\\", None, None);
        check("-D\\ X", Some(&["-D X"]), Some(&["-D X"]));
    }
}
