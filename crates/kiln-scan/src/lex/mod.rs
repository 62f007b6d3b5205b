//! Reads the directives out of a file's bytes, whatever they are, in one pass. It knows no other file and evaluates nothing.

mod build;
mod cond;
mod cursor;
mod literal;
mod mention;
mod pragma;

use crate::dialect::Dialect;
use crate::directives::{BODY_FUNCTION, BODY_OBJECT, BODY_UNDEF, Computed, Cond, Directives, Item, Lookup};
use crate::names::Names;

pub(crate) use build::ANY_CALL;
use build::{BODY_BYTES_MAX, Builder};
use cursor::Cursor;
pub(crate) use cursor::{is_ident, is_space};
use mention::Needles;

/// Why a file's directives cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LexError {
    /// The tables of names are full (4 GiB of distinct names).
    #[error("too many distinct names")]
    TooManyNames,
    /// The file is longer than [`FILE_BYTES_MAX`].
    #[error("the file is too long to be scanned")]
    TooLong,
}

/// Longest file that is read: offsets are 32-bit, and nothing that is included is longer than 1 GiB.
pub const FILE_BYTES_MAX: usize = 1 << 30;

/// The directives of a file with these bytes under this dialect.
///
/// Any bytes are read, in time linear in their number.
///
/// # Errors
/// [`LexError`] when a bound is reached.
pub fn directives(bytes: &[u8], dialect: Dialect, names: &Names) -> Result<Directives, LexError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(LexError::TooLong);
    }
    if dialect.plain {
        let mut lexer = Lexer::new(bytes, dialect, Needles::ALL);
        lexer.assembler_text(bytes, None, 0);
        return lexer.build.finish(names);
    }
    let needles = Needles::find(bytes);
    let mut lexer = Lexer::new(bytes, dialect, needles);
    lexer.run();
    if lexer.cut_word && !needles.careful {
        lexer = Lexer::new(bytes, dialect, Needles::ALL);
        lexer.run();
    }
    lexer.build.finish(names)
}

struct Lexer<'a> {
    cursor: Cursor<'a>,
    build: Builder,
    needles: Needles,
    scratch: Vec<u8>,
    text: Vec<u8>,
    /// Where the directive or line being read starts.
    start: usize,
    /// A place in the file and the number of its line.
    counted: (usize, u32),
    cut_word: bool,
}

impl<'a> Lexer<'a> {
    fn new(bytes: &'a [u8], dialect: Dialect, needles: Needles) -> Self {
        Self {
            cursor: Cursor::new(bytes, dialect),
            build: Builder::new(),
            needles,
            scratch: Vec::new(),
            text: Vec::new(),
            start: 0,
            counted: (0, 1),
            cut_word: false,
        }
    }

    fn run(&mut self) {
        while !self.cursor.at_end() {
            self.cursor.in_directive = false;
            self.cursor.skip_space();
            match self.cursor.peek() {
                b'\n' => {
                    self.cursor.bump();
                    continue;
                }
                b'#' => {
                    self.start = self.cursor.pos;
                    self.cursor.bump();
                    self.directive();
                    continue;
                }
                b'%' if self.cursor.dialect.digraphs => {
                    self.start = self.cursor.pos;
                    self.cursor.bump();
                    if self.cursor.eat(b':') {
                        self.directive();
                        continue;
                    }
                    self.cursor.pos = self.start;
                }
                b'i' | b'm' | b'e' if self.cursor.dialect.modules => self.module_line(),
                _ => {}
            }
            if self.needles.careful {
                self.start = self.cursor.pos;
                self.careful_line();
            } else {
                self.cut_word |= self.cursor.skip_line();
            }
        }
    }

    /// Number of the line at which the directive or line being read starts, counted from 1.
    fn line(&mut self) -> u32 {
        let (from, line) = self.counted;
        let more = memchr::memchr_iter(b'\n', &self.cursor.bytes[from..self.start]).count();
        self.counted = (self.start, line.saturating_add(more as u32));
        self.counted.1
    }

    /// One directive, its `#` read; ends behind its newline.
    fn directive(&mut self) {
        self.cursor.in_directive = true;
        self.cursor.skip_space();
        let mut scratch = std::mem::take(&mut self.scratch);
        let word = self.cursor.word(&mut scratch);
        match word {
            b"define" => return self.finish_directive(scratch, Self::define),
            b"include" | b"import" | b"__include_macros" => self.include(false, false),
            b"include_next" => self.include(true, false),
            b"embed" => self.include(false, true),
            b"undef" => self.undef(),
            b"ifdef" => self.ifdef(false),
            b"ifndef" => self.ifdef(true),
            b"if" => {
                let line = self.line();
                let cursor = &mut self.cursor;
                self.build.open_group(|build| cond::compile(cursor, build, line));
            }
            b"elif" => {
                let line = self.line();
                let cursor = &mut self.cursor;
                self.build.next_branch(|build| cond::compile(cursor, build, line));
            }
            b"elifdef" => self.elifdef(false),
            b"elifndef" => self.elifdef(true),
            b"else" => self.build.next_branch(|_| Cond::True),
            b"endif" => self.build.close_group(),
            b"pragma" => return self.finish_directive(scratch, Self::pragma_line),
            _ => {}
        }
        self.scratch = scratch;
        self.cursor.skip_line();
    }

    fn finish_directive(&mut self, scratch: Vec<u8>, then: fn(&mut Self)) {
        self.scratch = scratch;
        then(self);
    }

    /// The name after a directive's word, as a number of this file.
    fn name(&mut self) -> Option<crate::names::NameId> {
        self.cursor.skip_space();
        let word = self.cursor.word(&mut self.scratch);
        if word.is_empty() || word[0].is_ascii_digit() {
            return None;
        }
        Some(self.build.name(word))
    }

    fn ifdef(&mut self, negated: bool) {
        let cond = match self.name() {
            None => Cond::Unknown,
            Some(name) if negated => Cond::NotDefined(name),
            Some(name) => Cond::Defined(name),
        };
        self.build.open_group(|_| cond);
    }

    fn elifdef(&mut self, negated: bool) {
        let cond = match self.name() {
            None => Cond::Unknown,
            Some(name) if negated => Cond::LateNotDefined(name),
            Some(name) => Cond::LateDefined(name),
        };
        self.build.next_branch(|_| cond);
    }

    fn undef(&mut self) {
        if let Some(name) = self.name() {
            self.build.define(name, &[BODY_UNDEF]);
        }
    }

    fn include(&mut self, next: bool, embed: bool) {
        self.cursor.skip_space();
        let open = self.cursor.peek();
        self.build.uses_next |= next;
        let line = self.line();
        if open == b'<' || open == b'"' {
            self.cursor.bump();
            let close = if open == b'<' { b'>' } else { b'"' };
            if let Some(name) = self.cursor.until(close) {
                let header = self.build.header(&name);
                let how = Lookup { quoted: open == b'"', next, embed };
                self.build.item(Item::Include { how, header, line });
            }
            return;
        }
        let mut text = std::mem::take(&mut self.text);
        self.rest(&mut text, BODY_BYTES_MAX);
        if !text.is_empty() {
            let computed = Computed { text: (&text[..]).into(), line, next, embed, probe: false };
            let index = self.build.computed(computed);
            self.build.item(Item::Computed(index));
        }
        self.text = text;
    }

    fn define(&mut self) {
        let Some(name) = self.name() else {
            self.cursor.skip_line();
            return;
        };
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let lead = if self.cursor.peek() == b'(' { BODY_FUNCTION } else { BODY_OBJECT };
        if lead == BODY_FUNCTION {
            self.cursor.bump();
        }
        text.push(lead);
        if self.needles.careful || self.needles.has_include {
            let start = self.cursor.pos;
            let mut full = Vec::new();
            self.rest(&mut full, usize::MAX);
            self.mentions_of(&full);
            if self.needles.has_include {
                self.probes_in_body(name, lead, &full);
            }
            self.cursor.pos = start;
        } else if let Some(rest) = self.cursor.plain_rest() {
            text.extend_from_slice(rest.trim_ascii());
            self.build.define(name, &text);
            self.text = text;
            return;
        }
        let mut rest = std::mem::take(&mut self.scratch);
        self.rest(&mut rest, BODY_BYTES_MAX);
        text.extend_from_slice(&rest);
        self.build.define(name, &text);
        self.cursor.skip_line();
        self.scratch = rest;
        self.text = text;
    }

    /// The rest of the logical line with comments and blanks as single spaces, up to `limit` bytes and one more. The newline stays.
    fn rest(&mut self, out: &mut Vec<u8>, limit: usize) {
        out.clear();
        self.cursor.skip_space();
        while out.len() <= limit {
            let c = self.cursor.peek();
            if c == b'\n' {
                break;
            }
            if is_space(c) || c == b'/' {
                let before = self.cursor.pos;
                self.cursor.skip_space();
                if self.cursor.pos != before {
                    out.push(b' ');
                    continue;
                }
            }
            if c == b'"' || c == b'\'' {
                let start = self.cursor.pos;
                self.cursor.literal();
                let literal = &self.cursor.bytes[start..self.cursor.pos];
                out.extend_from_slice(&literal[..literal.len().min(limit.saturating_add(1))]);
                continue;
            }
            out.push(c);
            self.cursor.bump();
        }
        while out.last() == Some(&b' ') {
            out.pop();
        }
    }
}

#[cfg(test)]
mod tests;
