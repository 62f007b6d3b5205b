//! Strings, characters, raw strings and digit separators: where they end. It knows nothing of what they mean.

use super::cursor::{Cursor, is_ident, is_space};

/// Longest delimiter of a raw string, by the standard.
const RAW_DELIMITER_MAX: usize = 16;

impl Cursor<'_> {
    /// Steps over the literal whose quote stands at the cursor (or over a digit separator).
    pub(super) fn literal(&mut self) {
        let quote = self.bytes[self.pos];
        if quote == b'"' && self.dialect.raw_strings && self.raw_prefix() {
            self.raw_string();
        } else if quote == b'\'' && self.dialect.digit_separators && self.in_number() {
            self.number();
        } else {
            self.pos += 1;
            self.quoted(quote);
        }
    }

    /// From inside of an ordinary literal to behind its closing quote, or to the newline where it is cut off.
    fn quoted(&mut self, quote: u8) {
        loop {
            let c = self.peek();
            if c == b'\n' {
                return;
            }
            self.bump();
            if c == quote {
                return;
            }
            if c == b'\\' && self.peek() != b'\n' {
                self.bump();
            }
        }
    }

    /// Whether the quote at the cursor follows `R`, `LR`, `uR`, `UR` or `u8R` standing alone.
    fn raw_prefix(&self) -> bool {
        let mut word = [0u8; 4];
        let mut len = 0;
        let mut p = self.pos;
        while len < 4 && p > 0 {
            let c = self.bytes[p - 1];
            if c == b'\n' || c == b'\r' {
                match self.spliced(p - 1, 0) {
                    Some(backslash) => p = backslash,
                    None => break,
                }
                continue;
            }
            if !is_ident(c) {
                break;
            }
            word[len] = c;
            len += 1;
            p -= 1;
        }
        match &word[..len] {
            b"R" | b"RL" => true,
            b"Ru" | b"RU" | b"R8u" => self.dialect.raw_unicode,
            _ => false,
        }
    }

    /// From the quote of a raw string to behind its end; without one, an ordinary string or the end of the file.
    fn raw_string(&mut self) {
        let open = self.pos + 1;
        let limit = (open + RAW_DELIMITER_MAX + 1).min(self.bytes.len());
        let paren = self.bytes[open..limit].iter().position(|&c| c == b'(');
        let delimiter = paren.map(|n| &self.bytes[open..open + n]);
        let valid = delimiter.filter(|d| !d.iter().any(|&c| is_space(c) || matches!(c, b')' | b'\\' | b'"' | b'\n')));
        let Some(delimiter) = valid else {
            self.pos = open;
            self.quoted(b'"');
            return;
        };
        let mut end = Vec::with_capacity(delimiter.len() + 2);
        end.push(b')');
        end.extend_from_slice(delimiter);
        end.push(b'"');
        let body = open + delimiter.len() + 1;
        self.pos = match memchr::memmem::find(&self.bytes[body..], &end) {
            Some(n) => body + n + end.len(),
            None => self.bytes.len(),
        };
    }

    /// Whether the apostrophe at the cursor stands inside of a number and a digit follows.
    fn in_number(&self) -> bool {
        if !self.bytes.get(self.pos + 1).copied().is_some_and(|c| is_ident(c) || c == b'\\') {
            return false;
        }
        let mut p = self.pos;
        let mut first = 0u8;
        while p > 0 {
            let c = self.bytes[p - 1];
            if c == b'\n' || c == b'\r' {
                match self.spliced(p - 1, 0) {
                    Some(backslash) => p = backslash,
                    None => break,
                }
                continue;
            }
            if !is_ident(c) && c != b'.' {
                break;
            }
            first = c;
            p -= 1;
        }
        first.is_ascii_digit() || (first == b'.' && self.byte(p + 1).is_ascii_digit())
    }

    /// From a separator inside of a number to behind the number, so that no part of it is looked at twice.
    fn number(&mut self) {
        loop {
            let c = self.peek();
            if c == b'\'' {
                let at = self.pos;
                self.bump();
                if !is_ident(self.peek()) {
                    self.pos = at + 1;
                    return;
                }
            } else if is_ident(c) || c == b'.' {
                self.bump();
            } else {
                return;
            }
        }
    }
}
