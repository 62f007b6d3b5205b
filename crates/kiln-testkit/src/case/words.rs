//! Words of a command line as a shell splits them. Knows quotes and escapes, no expansion.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Splits `text`: blanks part words, `'...'`, `"..."` and `\` quote, `$'...'` has `\n`, `\t`, `\\`, `\'` and `\xHH`.
///
/// # Errors
/// A quote that does not end, an escape that is none.
pub(crate) fn split(text: &str) -> Result<Vec<OsString>, String> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut rest = text.bytes().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b' ' | b'\t' => words.extend(word.take().map(OsString::from_vec)),
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or("a ' without its end")? {
                        b'\'' => break,
                        byte => word.push(byte),
                    }
                }
            }
            b'"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or("a \" without its end")? {
                        b'"' => break,
                        b'\\' => word.push(rest.next().ok_or("a \\ at the end")?),
                        byte => word.push(byte),
                    }
                }
            }
            b'$' if rest.peek() == Some(&b'\'') => {
                rest.next();
                escaped(&mut rest, word.get_or_insert_default())?;
            }
            b'\\' => word.get_or_insert_default().push(rest.next().ok_or("a \\ at the end")?),
            byte => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word.map(OsString::from_vec));
    Ok(words)
}

/// The inside of `$'...'`.
fn escaped(rest: &mut impl Iterator<Item = u8>, word: &mut Vec<u8>) -> Result<(), String> {
    loop {
        match rest.next().ok_or("a $' without its end")? {
            b'\'' => return Ok(()),
            b'\\' => word.push(match rest.next().ok_or("a \\ at the end")? {
                b'n' => b'\n',
                b't' => b'\t',
                b'x' => {
                    let digits = [rest.next().ok_or("\\x without digits")?, rest.next().ok_or("\\x without digits")?];
                    let digits = std::str::from_utf8(&digits).map_err(|error| error.to_string())?;
                    u8::from_str_radix(digits, 16).map_err(|error| format!("\\x{digits}: {error}"))?
                }
                byte @ (b'\\' | b'\'') => byte,
                other => return Err(format!("\\{} is no escape", char::from(other))),
            }),
            byte => word.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[track_caller]
    fn check(text: &str, expect: &[&[u8]]) {
        let words = split(text).expect("words");
        assert_eq!(words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn words_are_split_as_a_shell_would() {
        check("-c  a.c\t-o 'x y'", &[b"-c", b"a.c", b"-o", b"x y"]);
        check(r#""a\"b"'c\'d\ e"#, &[br#"a"bc\d e"#]);
        check("'' -D$'A=\\xff\\n'", &[b"", b"-DA=\xff\n"]);
        check("cost=$5", &[b"cost=$5"]);
        check("", &[]);
    }

    #[test]
    fn what_is_not_closed_is_said() {
        for bad in ["'a", "\"a", "a\\", "$'\\q'", "$'\\x1'"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
