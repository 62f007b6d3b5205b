//! Reads the make rule that compilers write for `-M`: names with make's escapes. Opens no file.

use std::borrow::Cow;

/// Most bytes of a list that is read: 16 MiB, ten thousand long names tenfold.
const DEPFILE_SIZE_MAX: usize = 16 << 20;

/// A list that cannot be read without doubt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DepfileError {
    /// There is no `target:`.
    #[error("there is no rule")]
    NoRule,
    /// Something follows the rule: another rule (`-MP`), or a name with a newline, which make cannot spell.
    #[error("something follows the rule at byte {0}")]
    Trailing(usize),
    /// A name is not UTF-8.
    #[error("a name at byte {0} is not UTF-8")]
    NotUtf8(usize),
    /// The list is over 16 MiB.
    #[error("the list is too long")]
    TooLong,
}

/// The prerequisites of the one rule in `text`, as the compiler spelled the names, in its order, repeats kept.
///
/// gcc and clang write a space as `\ ` with the backslashes before it doubled, `#` as `\#`, `$` as `$$`, and leave every other
/// byte alone; lines go on after `\` and a newline.
///
/// # Errors
/// When there is no rule or more than one, or a name is not UTF-8.
pub fn parse_depfile(text: &[u8]) -> Result<Vec<String>, DepfileError> {
    let (names, end) = first_rule(text)?;
    match text[end..].iter().position(|byte| !byte.is_ascii_whitespace()) {
        None => Ok(names.into_iter().map(Cow::into_owned).collect()),
        Some(more) => Err(DepfileError::Trailing(end + more)),
    }
}

/// As [`parse_depfile`], of a file that a user asked for: what follows the rule (`-MP`) is left alone.
///
/// # Errors
/// When there is no rule, or a name is not UTF-8.
pub fn parse_first_rule(text: &[u8]) -> Result<Vec<Cow<'_, str>>, DepfileError> {
    first_rule(text).map(|(names, _)| names)
}

/// The prerequisites, and where the rule ends.
fn first_rule(text: &[u8]) -> Result<(Vec<Cow<'_, str>>, usize), DepfileError> {
    if text.len() > DEPFILE_SIZE_MAX {
        return Err(DepfileError::TooLong);
    }
    let mut at = end_of_targets(text).ok_or(DepfileError::NoRule)?;
    let mut names = Vec::new();
    let mut name = Vec::new();
    while let Some(&byte) = text.get(at) {
        if name.is_empty()
            && let Some(plain) = plain_name(&text[at..])
        {
            at += plain.len();
            names.push(Cow::Borrowed(std::str::from_utf8(plain).map_err(|_| DepfileError::NotUtf8(at))?));
            continue;
        }
        match byte {
            b'\\' => {
                let run = text[at..].iter().take_while(|byte| **byte == b'\\').count();
                let after = text.get(at + run).copied();
                match after {
                    Some(b'\n') if run == 1 => {
                        push(&mut names, &mut name, at)?;
                        at += 1;
                    }
                    // Doubled backslashes and one more quote the space.
                    Some(b' ' | b'\t') if run % 2 == 1 => {
                        name.extend(std::iter::repeat_n(b'\\', run / 2));
                        name.push(after.unwrap_or_default());
                    }
                    Some(b'#') => {
                        name.extend(std::iter::repeat_n(b'\\', run - 1));
                        name.push(b'#');
                    }
                    Some(_) | None => {
                        name.extend(std::iter::repeat_n(b'\\', run));
                        at += run;
                        continue;
                    }
                }
                at += run + usize::from(run != 1 || after != Some(b'\n'));
                continue;
            }
            b'$' if text.get(at + 1) == Some(&b'$') => {
                name.push(b'$');
                at += 1;
            }
            b' ' | b'\t' => push(&mut names, &mut name, at)?,
            b'\n' => {
                push(&mut names, &mut name, at)?;
                return Ok((names, at));
            }
            _ => name.push(byte),
        }
        at += 1;
    }
    push(&mut names, &mut name, at)?;
    Ok((names, at))
}

/// Ends the name that is being put together, if there is one.
fn push(names: &mut Vec<Cow<'_, str>>, name: &mut Vec<u8>, at: usize) -> Result<(), DepfileError> {
    if !name.is_empty() {
        let text = String::from_utf8(std::mem::take(name)).map_err(|_| DepfileError::NotUtf8(at))?;
        names.push(Cow::Owned(text));
    }
    Ok(())
}

/// The name at the beginning of `text`, if there is one and none of its bytes is escaped.
fn plain_name(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\\' | b'$')).unwrap_or(text.len());
    (end > 0 && !matches!(text.get(end), Some(b'\\' | b'$'))).then(|| &text[..end])
}

/// The place after the first colon that ends the targets: one before a space or the line's end.
fn end_of_targets(text: &[u8]) -> Option<usize> {
    let colon = (0..text.len()).find(|&at| text[at] == b':' && matches!(text.get(at + 1), None | Some(b' ' | b'\n' | b'\t')))?;
    let targets = &text[..colon];
    let broken =
        targets.iter().enumerate().any(|(at, byte)| *byte == b'\n' && at.checked_sub(1).is_none_or(|at| targets[at] != b'\\'));
    (!broken).then_some(colon + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unescaped() {
        for (text, want) in [
            ("a.o: a.c", vec!["a.c"]),
            ("a.o b.o: a.c b.h \\\n /usr/include/stdio.h\n", vec!["a.c", "b.h", "/usr/include/stdio.h"]),
            ("a\\ b.o: x\\ y.h", vec!["x y.h"]),
            ("x: a\\\\\\ b", vec!["a\\ b"]),
            ("x: a\\b a\\\\b", vec!["a\\b", "a\\\\b"]),
            ("x: a$$b $$", vec!["a$b", "$"]),
            ("x: a\\#b a\\\\#b", vec!["a#b", "a\\#b"]),
            ("x: c:d e:\n", vec!["c:d", "e:"]),
            ("x:\n", vec![]),
            ("x: \\\n  \\\n a\n\n", vec!["a"]),
            ("x: ä,é\n", vec!["ä,é"]),
        ] {
            assert_eq!(
                parse_depfile(text.as_bytes()).as_deref(),
                Ok(&want.iter().map(|s| s.to_string()).collect::<Vec<_>>()[..]),
                "{text:?}"
            );
        }
    }

    #[test]
    fn doubt_is_an_error() {
        assert_eq!(parse_depfile(b""), Err(DepfileError::NoRule));
        assert_eq!(parse_depfile(b"no rule at all"), Err(DepfileError::NoRule));
        assert_eq!(parse_depfile(b"x\ny: a"), Err(DepfileError::NoRule));
        assert_eq!(parse_depfile(b"x: a\nb.h:\n"), Err(DepfileError::Trailing(5)));
        assert_eq!(parse_first_rule(b"x: a \\\n b.h\nb.h:\n").as_deref(), Ok(&["a".into(), "b.h".into()][..]));
        assert_eq!(parse_depfile(b"x: new\nline.h\n"), Err(DepfileError::Trailing(7)));
        assert_eq!(parse_depfile(b"x: \xff\n"), Err(DepfileError::NotUtf8(4)));
        assert_eq!(parse_depfile(&vec![b' '; DEPFILE_SIZE_MAX + 1]), Err(DepfileError::TooLong));
    }

    #[test]
    fn any_bytes_end() {
        let alphabet = b"\\ :$#\na\t";
        let mut state = 1_u32;
        for _ in 0..20_000 {
            let text: Vec<u8> = (0..12)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    alphabet[(state >> 24) as usize % alphabet.len()]
                })
                .collect();
            if let Ok(names) = parse_depfile(&text) {
                assert!(names.iter().all(|name| !name.is_empty() && !name.contains('\n')), "{text:?}");
            }
        }
    }
}
