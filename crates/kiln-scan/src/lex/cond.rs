//! Compiles the expression of `#if` and `#elif` to a postfix program. It evaluates nothing.

use crate::directives::{Binary, Computed, Cond, Lookup, Op, Probe, Target, Unary};
use crate::names::NameId;
use crate::number;

use super::build::Builder;
use super::cursor::{Cursor, is_ident, is_space};

/// Parentheses and ternaries within each other that are followed; 63 is what the C standard asks for. Beyond, the value is unknown.
const EXPRESSION_DEPTH_MAX: u32 = 256;

/// The line is no expression (or too deep): its value is unknown.
struct Bad;

struct Parser<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    build: &'c mut Builder,
    scratch: Vec<u8>,
    depth: u32,
    line: u32,
}

/// Compiles the rest of the logical line. The newline stays.
pub(super) fn compile(cursor: &mut Cursor<'_>, build: &mut Builder, line: u32) -> Cond {
    let (start, probes) = (build.ops.len(), build.probes.len());
    let mut parser = Parser { cursor, build, scratch: Vec::new(), depth: 0, line };
    let parsed = parser.ternary().and_then(|()| {
        parser.cursor.skip_space();
        if parser.cursor.peek() == b'\n' { Ok(()) } else { Err(Bad) }
    });
    if parsed.is_err() {
        parser.recover();
        build.ops.truncate(start);
        build.ops.extend((probes..build.probes.len()).map(|i| Op::Probe(i as u32)));
        build.ops.push(Op::Unknown);
    }
    let simple = match build.ops[start..] {
        [Op::Int(0)] => Cond::False,
        [Op::Int(_)] => Cond::True,
        [Op::Unknown] => Cond::Unknown,
        [Op::Defined(name)] => Cond::Defined(name),
        [Op::Defined(name), Op::Unary(Unary::Not)] => Cond::NotDefined(name),
        _ => return Cond::Program { start: start as u32, len: (build.ops.len() - start) as u32 },
    };
    build.ops.truncate(start);
    simple
}

/// How the operators that look up files do it, by name.
fn operator_lookup(name: &[u8]) -> Option<Lookup> {
    let (next, embed) = match name {
        b"__has_include" | b"__has_include__" => (false, false),
        b"__has_include_next" | b"__has_include_next__" => (true, false),
        b"__has_embed" => (false, true),
        _ => return None,
    };
    Some(Lookup { quoted: false, next, embed })
}

impl Parser<'_, '_> {
    fn emit(&mut self, op: Op) {
        self.build.ops.push(op);
    }

    fn deeper(&mut self) -> Result<(), Bad> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX { Err(Bad) } else { Ok(()) }
    }

    fn ternary(&mut self) -> Result<(), Bad> {
        self.deeper()?;
        self.binary(1)?;
        self.cursor.skip_space();
        if self.cursor.eat(b'?') {
            self.ternary()?;
            self.cursor.skip_space();
            if !self.cursor.eat(b':') {
                return Err(Bad);
            }
            self.ternary()?;
            self.emit(Op::Ternary);
        }
        self.depth -= 1;
        Ok(())
    }

    /// Operands joined by operators that bind at least as strongly as `least`.
    fn binary(&mut self, least: u8) -> Result<(), Bad> {
        self.unary()?;
        loop {
            self.cursor.skip_space();
            let before = self.cursor.pos;
            let Some((op, strength)) = self.infix() else {
                self.cursor.pos = before;
                return Ok(());
            };
            if strength < least {
                self.cursor.pos = before;
                return Ok(());
            }
            self.binary(strength + 1)?;
            self.emit(Op::Binary(op));
        }
    }

    fn infix(&mut self) -> Option<(Binary, u8)> {
        let c = self.cursor.peek();
        if is_ident(c) {
            return self.named_infix();
        }
        self.cursor.bump();
        let mut two = |second: u8| self.cursor.eat(second);
        Some(match c {
            b'|' if two(b'|') => (Binary::Or, 1),
            b'&' if two(b'&') => (Binary::And, 2),
            b'|' => (Binary::BitOr, 3),
            b'^' => (Binary::BitXor, 4),
            b'&' => (Binary::BitAnd, 5),
            b'=' if two(b'=') => (Binary::Equal, 6),
            b'!' if two(b'=') => (Binary::NotEqual, 6),
            b'<' if two(b'<') => (Binary::ShiftLeft, 8),
            b'>' if two(b'>') => (Binary::ShiftRight, 8),
            b'<' if two(b'=') => (Binary::LessEqual, 7),
            b'>' if two(b'=') => (Binary::GreaterEqual, 7),
            b'<' => (Binary::Less, 7),
            b'>' => (Binary::Greater, 7),
            b'+' => (Binary::Add, 9),
            b'-' => (Binary::Subtract, 9),
            b'*' => (Binary::Multiply, 10),
            b'/' => (Binary::Divide, 10),
            b'%' => (Binary::Remainder, 10),
            _ => return None,
        })
    }

    fn named_infix(&mut self) -> Option<(Binary, u8)> {
        if !self.cursor.dialect.cplusplus {
            return None;
        }
        Some(match self.cursor.word(&mut self.scratch) {
            b"or" => (Binary::Or, 1),
            b"and" => (Binary::And, 2),
            b"bitor" => (Binary::BitOr, 3),
            b"xor" => (Binary::BitXor, 4),
            b"bitand" => (Binary::BitAnd, 5),
            b"not_eq" => (Binary::NotEqual, 6),
            _ => return None,
        })
    }

    fn unary(&mut self) -> Result<(), Bad> {
        let mut prefixes = Vec::new();
        loop {
            self.cursor.skip_space();
            match self.cursor.peek() {
                b'!' => prefixes.push(Unary::Not),
                b'~' => prefixes.push(Unary::Complement),
                b'-' => prefixes.push(Unary::Minus),
                b'+' => {}
                _ => break,
            }
            self.cursor.bump();
        }
        self.operand(&mut prefixes)?;
        while let Some(op) = prefixes.pop() {
            self.emit(Op::Unary(op));
        }
        Ok(())
    }

    fn operand(&mut self, prefixes: &mut Vec<Unary>) -> Result<(), Bad> {
        match self.cursor.peek() {
            b'(' => {
                self.cursor.bump();
                self.ternary()?;
                self.cursor.skip_space();
                if self.cursor.eat(b')') { Ok(()) } else { Err(Bad) }
            }
            b'\'' => {
                self.character();
                Ok(())
            }
            b'#' => {
                self.cursor.bump();
                self.assertion()
            }
            c if c.is_ascii_digit() => self.number(),
            c if is_ident(c) => {
                let mut scratch = std::mem::take(&mut self.scratch);
                let word = self.cursor.word(&mut scratch).to_vec();
                self.scratch = scratch;
                match &word[..] {
                    b"not" if self.cursor.dialect.cplusplus => prefixes.push(Unary::Not),
                    b"compl" if self.cursor.dialect.cplusplus => prefixes.push(Unary::Complement),
                    _ => return self.identifier(&word),
                }
                self.unary_again()
            }
            _ => Err(Bad),
        }
    }

    fn unary_again(&mut self) -> Result<(), Bad> {
        self.deeper()?;
        self.unary()?;
        self.depth -= 1;
        Ok(())
    }

    fn number(&mut self) -> Result<(), Bad> {
        let mut digits = self.cursor.word(&mut self.scratch).to_vec();
        while self.cursor.dialect.digit_separators && self.cursor.eat(b'\'') {
            digits.extend_from_slice(self.cursor.word(&mut self.scratch));
        }
        if self.cursor.peek() == b'.' {
            return Err(Bad);
        }
        let op = match number::parse(&digits) {
            None => Op::Unknown,
            Some((value, false)) if value <= i32::MAX as u64 => Op::Int(value as i32),
            Some(wide) => {
                self.build.wide.push(wide);
                Op::Wide((self.build.wide.len() - 1) as u32)
            }
        };
        self.emit(op);
        Ok(())
    }

    fn character(&mut self) {
        let mut probe = self.cursor.clone();
        probe.bump();
        let c = probe.bump();
        let closed = probe.bump() == b'\'';
        self.cursor.literal();
        let plain = closed && (b' '..0x7f).contains(&c) && c != b'\\' && c != b'\'';
        self.emit(if plain { Op::Int(i32::from(c)) } else { Op::Unknown });
    }

    /// gcc's `#machine(x)`: depends on assertions, which are not followed.
    fn assertion(&mut self) -> Result<(), Bad> {
        self.cursor.skip_space();
        if self.cursor.word(&mut self.scratch).is_empty() {
            return Err(Bad);
        }
        self.cursor.skip_space();
        if self.cursor.eat(b'(') {
            self.arguments(false)?;
        }
        self.emit(Op::Unknown);
        Ok(())
    }

    fn identifier(&mut self, word: &[u8]) -> Result<(), Bad> {
        if word == b"defined" {
            return self.defined();
        }
        if let Some(how) = operator_lookup(word) {
            return self.has_include(word, how);
        }
        if self.cursor.dialect.cplusplus && (word == b"true" || word == b"false") {
            self.emit(Op::Int(i32::from(word == b"true")));
            return Ok(());
        }
        if self.cursor.peek() == b'\'' {
            self.cursor.literal();
            self.emit(Op::Unknown);
            return Ok(());
        }
        let name = self.build.name(word);
        self.cursor.skip_space();
        if self.cursor.eat(b'(') {
            return self.call(name);
        }
        self.emit(Op::Name(name));
        Ok(())
    }

    fn defined(&mut self) -> Result<(), Bad> {
        self.cursor.skip_space();
        let open = self.cursor.eat(b'(');
        self.cursor.skip_space();
        let word = self.cursor.word(&mut self.scratch);
        if word.is_empty() || word[0].is_ascii_digit() {
            return Err(Bad);
        }
        let name = self.build.name(word);
        if open {
            self.cursor.skip_space();
            if !self.cursor.eat(b')') {
                return Err(Bad);
            }
        }
        self.emit(Op::Defined(name));
        Ok(())
    }

    /// A macro with arguments: unknown, but a literal header name among them is looked up, for it may end in `__has_include`.
    fn call(&mut self, name: NameId) -> Result<(), Bad> {
        self.cursor.skip_space();
        let next = self.cursor.peek();
        if next == b'<' || next == b'"' {
            let how = Lookup { quoted: false, next: false, embed: false };
            if self.literal_target(name, how) {
                return self.arguments(false).map(drop);
            }
        }
        let empty = self.arguments(false)?.is_empty();
        if !empty {
            self.build.call(name);
        }
        self.emit(Op::Unknown);
        Ok(())
    }

    /// The operand of `__has_include` and its kin.
    fn has_include(&mut self, word: &[u8], how: Lookup) -> Result<(), Bad> {
        let name = self.build.name(word);
        self.build.uses_next |= how.next;
        self.cursor.skip_space();
        if !self.cursor.eat(b'(') {
            return Err(Bad);
        }
        self.cursor.skip_space();
        if self.literal_target(name, how) {
            return self.arguments(false).map(drop);
        }
        let text = self.arguments(true)?;
        let computed = Computed { text: text.into(), line: self.line, next: how.next, embed: how.embed, probe: true };
        let index = self.build.computed(computed);
        self.push_probe(Probe { target: Target::Computed(index), by: name });
        Ok(())
    }

    fn push_probe(&mut self, probe: Probe) {
        self.build.probes.push(probe);
        let index = (self.build.probes.len() - 1) as u32;
        self.emit(Op::Probe(index));
    }

    /// `<x>` or `"x"` at the cursor becomes a probe; `false` (and nothing read) if there is none.
    fn literal_target(&mut self, by: NameId, how: Lookup) -> bool {
        let open = self.cursor.peek();
        if open != b'<' && open != b'"' {
            return false;
        }
        let start = self.cursor.pos;
        self.cursor.bump();
        let Some(name) = self.cursor.until(if open == b'<' { b'>' } else { b'"' }) else {
            self.cursor.pos = start;
            return false;
        };
        let header = self.build.header(&name);
        let how = Lookup { quoted: open == b'"', ..how };
        self.push_probe(Probe { target: Target::Literal { how, header }, by });
        true
    }

    /// Reads to behind the parenthesis that closes the open one; the text in between if it is wanted (else whether there is any).
    fn arguments(&mut self, keep: bool) -> Result<Vec<u8>, Bad> {
        let mut text = Vec::new();
        let mut depth = 0u32;
        loop {
            let c = self.cursor.peek();
            match c {
                b'\n' => return Err(Bad),
                b'(' => depth += 1,
                b')' if depth == 0 => {
                    self.cursor.bump();
                    return Ok(text);
                }
                b')' => depth -= 1,
                b'/' if self.cursor.comment() => {
                    continue;
                }
                b'"' | b'\'' => {
                    let start = self.cursor.pos;
                    self.cursor.literal();
                    text.extend_from_slice(&self.cursor.bytes[start..self.cursor.pos]);
                    continue;
                }
                _ => {}
            }
            if keep || !is_space(c) {
                text.push(c);
            }
            self.cursor.bump();
        }
    }

    /// After an error: what the rest of the line would look up is still looked up.
    fn recover(&mut self) {
        loop {
            self.cursor.skip_space();
            let c = self.cursor.peek();
            if c == b'\n' {
                return;
            }
            if c == b'"' || c == b'\'' {
                self.cursor.literal();
            } else if is_ident(c) {
                let word = self.cursor.word(&mut self.scratch).to_vec();
                if let Some(how) = operator_lookup(&word) {
                    let _ = self.has_include(&word, how);
                }
            } else {
                self.cursor.bump();
            }
        }
    }
}
