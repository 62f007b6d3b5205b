//! What a file says outside of its directives: time macros, assembler includes, modules, `_Pragma`. It resolves nothing.

use memchr::memmem;

use crate::directives::{BODY_FUNCTION, Computed, Item, Lookup, Mentions};
use crate::names::NameId;

use super::cursor::Cursor;
use super::{Lexer, is_ident, is_space};

/// Which rare things occur anywhere in a file's bytes: only then its lines are looked at word by word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needles {
    pub(super) careful: bool,
    pub(super) has_include: bool,
}

impl Needles {
    pub(super) const ALL: Self = Self { careful: true, has_include: true };

    pub(super) fn find(bytes: &[u8]) -> Self {
        const CAREFUL: &[&str] = &[
            "__DATE__",
            "__TIME",
            "__FILE__",
            "__BASE_FILE__",
            "__builtin_FILE",
            "incbin",
            "INCBIN",
            ".include",
            ".INCLUDE",
            "_Pragma",
        ];
        let has = |needle: &&str| memmem::find(bytes, needle.as_bytes()).is_some();
        Self { careful: CAREFUL.iter().any(has), has_include: has(&"__has_include") || has(&"__has_embed") }
    }
}

/// What the name of a macro says about the unit if it is used.
fn mention_of(word: &[u8]) -> Mentions {
    match word {
        b"__DATE__" => Mentions::DATE,
        b"__TIME__" => Mentions::TIME,
        b"__TIMESTAMP__" => Mentions::TIMESTAMP,
        b"__FILE__" | b"__BASE_FILE__" | b"__builtin_FILE" => Mentions::FILE,
        _ => Mentions::default(),
    }
}

/// An assembler directive found in a text.
enum Assembler<'t> {
    Incbin(&'t [u8]),
    OddIncbin,
    Include,
}

/// Assembler includes in assembler source, or in the text of a string literal before the character `next`; names in quotes with or
/// without backslash.
fn assembler(text: &[u8], next: Option<u8>) -> Vec<Assembler<'_>> {
    let mut found = Vec::new();
    for dot in memchr::memchr_iter(b'.', text) {
        let rest = &text[dot + 1..];
        let len = rest.iter().position(|&c| !is_ident(c)).unwrap_or(rest.len());
        let word = &rest[..len];
        if next.is_some_and(|next| !may_have_name(&rest[len..], next)) {
            continue;
        }
        if word.eq_ignore_ascii_case(b"include") {
            found.push(Assembler::Include);
        } else if word.eq_ignore_ascii_case(b"incbin") {
            found.push(incbin_name(&rest[len..]).map_or(Assembler::OddIncbin, Assembler::Incbin));
        }
    }
    found
}

/// Whether a quoted name may follow a directive in a literal of which `text` is left: assemblers take no other. Where nothing of the
/// literal is left, the next one or a macro may have it.
fn may_have_name(text: &[u8], next: u8) -> bool {
    match text.trim_ascii_start() {
        [] | [b'"'] | [b')', ..] => !matches!(next, b',' | b')' | b';' | b'=' | b'!' | b'}' | b']'),
        [first, ..] => matches!(first, b'"' | b'\\' | b'%' | b'{'),
    }
}

fn incbin_name(text: &[u8]) -> Option<&[u8]> {
    let start = text.iter().position(|&c| !is_space(c))?;
    let text = &text[start..];
    let text = text.strip_prefix(b"\\").unwrap_or(text).strip_prefix(b"\"")?;
    let len = text.iter().position(|&c| matches!(c, b'"' | b'\\' | b'%' | b'\n'))?;
    let name = &text[..len];
    let closed = matches!(&text[len..], [b'"', ..] | [b'\\', b'"', ..]);
    (closed && !name.is_empty()).then_some(name)
}

impl Lexer<'_> {
    /// A line of code in a file in which one of the needles occurs; ends behind its newline.
    pub(super) fn careful_line(&mut self) {
        let mut cursor = self.cursor.clone();
        let line = self.line();
        let start = cursor.pos;
        self.words(&mut cursor, line);
        if self.cursor.dialect.assembler {
            let text = &self.cursor.bytes[start..cursor.pos];
            self.assembler_text(text, None, line);
        }
        cursor.eat(b'\n');
        self.cursor.pos = cursor.pos;
    }

    /// Mentions in a macro's text.
    pub(super) fn mentions_of(&mut self, text: &[u8]) {
        let line = self.line();
        let mut cursor = Cursor::new(text, self.cursor.dialect);
        self.words(&mut cursor, line);
        if self.cursor.dialect.assembler {
            self.assembler_text(text, None, line);
        }
    }

    /// Walks over the words and literals up to the newline.
    fn words(&mut self, cursor: &mut Cursor<'_>, line: u32) {
        let mut scratch = Vec::new();
        let mut pragma = false;
        loop {
            cursor.skip_space();
            let c = cursor.peek();
            if c == b'\n' {
                return;
            }
            if c == b'"' || c == b'\'' {
                let start = cursor.pos;
                cursor.literal();
                let literal = &cursor.bytes[start..cursor.pos];
                if pragma && c == b'"' {
                    self.pragma_operator(literal);
                } else if !self.cursor.dialect.assembler {
                    let mut after = cursor.clone();
                    after.skip_space();
                    self.assembler_text(literal, Some(after.peek()), line);
                }
            } else if is_ident(c) {
                let word = cursor.word(&mut scratch);
                self.build.mention(mention_of(word));
                // A prefix of the literal keeps the operator in force: `_Pragma(L"...")`.
                pragma = word == b"_Pragma" || (pragma && matches!(word, b"L" | b"u" | b"U" | b"u8" | b"R"));
                continue;
            } else {
                cursor.bump();
                pragma &= c == b'(';
                continue;
            }
            pragma = false;
        }
    }

    pub(super) fn assembler_text(&mut self, text: &[u8], next: Option<u8>, line: u32) {
        for directive in assembler(text, next) {
            match directive {
                Assembler::Include => self.build.mention(Mentions::ASM_INCLUDE),
                Assembler::OddIncbin => self.build.mention(Mentions::INCBIN),
                Assembler::Incbin(name) => {
                    let header = self.build.header(name);
                    self.build.item(Item::Incbin { header, line });
                }
            }
        }
    }

    /// A line that may start a C++20 module declaration or import.
    pub(super) fn module_line(&mut self) {
        let mut cursor = self.cursor.clone();
        let mut scratch = Vec::new();
        let mut word = cursor.word(&mut scratch).to_vec();
        if word == b"export" {
            cursor.skip_space();
            word = cursor.word(&mut scratch).to_vec();
        }
        if word != b"import" && word != b"module" {
            return;
        }
        cursor.skip_space();
        let next = cursor.peek();
        if is_ident(next) || matches!(next, b'<' | b'"' | b':' | b';') {
            self.build.mention(Mentions::MODULES);
        }
    }

    /// `__has_include` in the text of a macro: literal names are looked up where the macro is defined, parameters make it a wrapper.
    pub(super) fn probes_in_body(&mut self, name: NameId, lead: u8, text: &[u8]) {
        let (params, body) = if lead == BODY_FUNCTION {
            let end = text.iter().position(|&c| c == b')').unwrap_or(text.len());
            text.split_at(end)
        } else {
            (&text[..0], text)
        };
        let params: Vec<&[u8]> = params.split(|&c| c == b',').map(<[u8]>::trim_ascii).collect();
        let line = self.line();
        let mut cursor = Cursor::new(body, self.cursor.dialect);
        let mut scratch = Vec::new();
        loop {
            let c = cursor.peek();
            if c == b'\n' {
                return;
            }
            if c == b'"' || c == b'\'' {
                cursor.literal();
            } else if is_ident(c) {
                let word = cursor.word(&mut scratch);
                let (next, embed) = match word {
                    b"__has_include" | b"__has_include__" => (false, false),
                    b"__has_include_next" | b"__has_include_next__" => (true, false),
                    b"__has_embed" => (false, true),
                    _ => continue,
                };
                if !self.probe_in_body(name, &mut cursor, &params, (next, embed, line)) {
                    return;
                }
            } else {
                cursor.bump();
            }
        }
    }

    /// One operator and its operand; `false` if the rest of the text is garbage.
    fn probe_in_body(&mut self, name: NameId, cursor: &mut Cursor<'_>, params: &[&[u8]], how: (bool, bool, u32)) -> bool {
        let (next, embed, line) = how;
        cursor.skip_space();
        if !cursor.eat(b'(') {
            // `#define HAS __has_include`: whoever calls it is a wrapper's caller.
            self.build.wrapper(name);
            return true;
        }
        cursor.skip_space();
        let angle = cursor.peek() == b'<';
        let close = if angle { b'>' } else { b')' };
        let Some(operand) = cursor.until(close) else {
            self.build.mention(Mentions::HAS_INCLUDE);
            return false;
        };
        let operand = operand.trim_ascii();
        if angle && !next {
            let header = self.build.header(&operand[1.min(operand.len())..]);
            let how = Lookup { quoted: false, next, embed };
            self.build.item(Item::Probe { how, header, line });
        } else if params.contains(&operand) {
            self.build.wrapper(name);
        } else if !operand.is_empty() && operand.iter().all(|&c| is_ident(c)) && !next {
            let computed = Computed { text: operand.into(), line, next, embed, probe: true };
            let index = self.build.computed(computed);
            self.build.item(Item::Computed(index));
        } else {
            self.build.mention(Mentions::HAS_INCLUDE);
        }
        true
    }
}
