//! Pragmas that decide what is read, as a directive or as an operator. It knows nothing of all other pragmas.

use crate::directives::{BODY_POP, Mentions};

use super::{Lexer, is_ident};

impl Lexer<'_> {
    /// `#pragma` to the end of its line.
    pub(super) fn pragma_line(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        self.rest(&mut text, super::BODY_BYTES_MAX);
        self.pragma(&text);
        self.text = text;
        self.cursor.skip_line();
    }

    /// The text of a pragma, wherever it was written.
    pub(super) fn pragma(&mut self, text: &[u8]) {
        let (first, rest) = word(text);
        match first {
            b"once" => self.build.once = true,
            b"push_macro" | b"pop_macro" => {
                if let Some(name) = quoted_name(rest) {
                    let name = self.build.name(name);
                    self.build.define(name, &[BODY_POP]);
                }
            }
            b"include_alias" => self.build.mention(Mentions::ALIAS),
            b"GCC" | b"clang" => match word(rest).0 {
                b"dependency" => self.build.mention(Mentions::DEPENDENCY),
                b"pch_preprocess" => self.build.mention(Mentions::ALIAS),
                b"module" => self.build.mention(Mentions::MODULES),
                b"target" | b"optimize" | b"push_options" | b"pop_options" | b"reset_options" => {
                    self.build.mention(Mentions::OPTIONS);
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// `_Pragma` with this literal (quotes and prefix included).
    pub(super) fn pragma_operator(&mut self, literal: &[u8]) {
        let Some(start) = literal.iter().position(|&c| c == b'"') else { return };
        let inner = literal[start + 1..].strip_suffix(b"\"").unwrap_or(&literal[start + 1..]);
        let mut text = Vec::with_capacity(inner.len());
        let mut bytes = inner.iter().copied().peekable();
        while let Some(c) = bytes.next() {
            if c == b'\\' && matches!(bytes.peek(), Some(b'"' | b'\\')) {
                continue;
            }
            text.push(c);
        }
        self.pragma(&text);
    }
}

/// The first word of `text` and what follows it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let start = text.iter().position(|c| !c.is_ascii_whitespace()).unwrap_or(text.len());
    let text = &text[start..];
    let len = text.iter().position(|&c| !is_ident(c)).unwrap_or(text.len());
    text.split_at(len)
}

/// The macro in `("NAME")`.
fn quoted_name(text: &[u8]) -> Option<&[u8]> {
    let start = text.iter().position(|&c| c == b'"')? + 1;
    let len = text[start..].iter().position(|&c| c == b'"')?;
    let name = text[start..start + len].trim_ascii();
    (!name.is_empty()).then_some(name)
}
