//! Integer constants of preprocessor expressions. It knows the 64-bit arithmetic they are evaluated in and nothing else.

/// The value of an integer constant and whether it is unsigned; `None` if it is none or does not fit.
pub(crate) fn parse(word: &[u8]) -> Option<(u64, bool)> {
    let suffix = suffix_start(word);
    let unsigned = suffix_is_unsigned(&word[suffix..])?;
    let digits = &word[..suffix];
    let (radix, digits) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', b'b' | b'B', rest @ ..] => (2, rest),
        [b'0', rest @ ..] if !rest.is_empty() => (8, rest),
        _ => (10, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &c in digits {
        let digit = char::from(c).to_digit(radix)?;
        value = value.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))?;
    }
    Some((value, unsigned || value > i64::MAX as u64))
}

fn suffix_start(word: &[u8]) -> usize {
    let hex = word.starts_with(b"0x") || word.starts_with(b"0X");
    let skip = if hex { 2 } else { 0 };
    let in_number = |c: &u8| if hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
    let binary = word.starts_with(b"0b") || word.starts_with(b"0B");
    let skip = if binary { 2 } else { skip };
    word[skip..].iter().position(|c| !in_number(c)).map_or(word.len(), |n| n + skip)
}

/// Whether a suffix (`u`, `ll`, `uz`, ...) makes the constant unsigned; `None` if it is no integer suffix.
fn suffix_is_unsigned(suffix: &[u8]) -> Option<bool> {
    let lower = suffix.to_ascii_lowercase();
    match &lower[..] {
        b"" | b"l" | b"ll" | b"z" => Some(false),
        b"u" | b"ul" | b"lu" | b"ull" | b"llu" | b"uz" | b"zu" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn constants_of_every_kind() {
        let cases: &[(&str, Option<(u64, bool)>)] = &[
            ("0", Some((0, false))),
            ("201703L", Some((201_703, false))),
            ("0x7fff", Some((0x7fff, false))),
            ("0XFFUL", Some((255, true))),
            ("017", Some((15, false))),
            ("08", None),
            ("0b101", Some((5, false))),
            ("0x", None),
            ("12ab", None),
            ("1llu", Some((1, true))),
            ("9223372036854775807", Some((i64::MAX as u64, false))),
            ("9223372036854775808", Some((1 << 63, true))),
            ("18446744073709551616", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), *expected, "{text}");
        }
    }
}
