//! Characters of a file as the preprocessor sees them: splices, trigraphs, comments and literals. It knows no directives.

use crate::dialect::{Dialect, LineComments};

/// Class bits of a byte.
const IDENT: u8 = 1;
const SPACE: u8 = 2;
const STOP: u8 = 4;
const STOP_TRIGRAPH: u8 = 8;

const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        let c = i as u8;
        if c.is_ascii_alphanumeric() || c == b'_' || c == b'$' || c >= 0x80 {
            table[i] |= IDENT;
        }
        if matches!(c, b' ' | b'\t' | b'\r' | 0x0b | 0x0c | 0) {
            table[i] |= SPACE;
        }
        if matches!(c, b'\n' | b'\r' | b'\\' | b'/' | b'"' | b'\'') {
            table[i] |= STOP;
        }
        if c == b'?' {
            table[i] |= STOP_TRIGRAPH;
        }
        i += 1;
    }
    table
}

/// Whether a byte may stand in an identifier (UTF-8 and `$` included).
pub(crate) fn is_ident(c: u8) -> bool {
    CLASS[c as usize] & IDENT != 0
}

/// Whether a byte is blank but ends no line.
pub(crate) fn is_space(c: u8) -> bool {
    CLASS[c as usize] & SPACE != 0
}

/// A place in a file, moved forward only.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) pos: usize,
    pub(super) dialect: Dialect,
    pub(super) in_directive: bool,
    stop: u8,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], dialect: Dialect) -> Self {
        let mut stop = STOP;
        if dialect.trigraphs {
            stop |= STOP_TRIGRAPH;
        }
        let pos = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        Self { bytes, pos, dialect, in_directive: false, stop }
    }

    pub(super) fn at_end(&self) -> bool {
        self.pos >= self.bytes.len()
    }

    pub(super) fn byte(&self, pos: usize) -> u8 {
        self.bytes.get(pos).copied().unwrap_or(b'\n')
    }

    /// Width of a backslash at `pos`: 1, 3 as a trigraph, 0 if there is none.
    fn backslash(&self, pos: usize) -> usize {
        match self.byte(pos) {
            b'\\' => 1,
            b'?' if self.dialect.trigraphs && self.bytes[pos..].starts_with(b"??/") => 3,
            _ => 0,
        }
    }

    /// Where the line goes on if `pos` starts a splice (backslash, blanks, end of line).
    fn splice(&self, pos: usize) -> Option<usize> {
        let width = self.backslash(pos);
        if width == 0 {
            return None;
        }
        let mut p = pos + width;
        loop {
            match self.bytes.get(p) {
                Some(b'\n') => return Some(p + 1),
                Some(b'\r') if self.byte(p + 1) != b'\n' => return Some(p + 1),
                Some(&c) if is_space(c) => p += 1,
                Some(_) => return None,
                None => return Some(p),
            }
        }
    }

    pub(super) fn skip_splices(&mut self) {
        while let Some(next) = self.splice(self.pos) {
            self.pos = next;
        }
    }

    /// The next character after splices, and its width in bytes; a newline of width 0 or more at the end of the line.
    fn look(&mut self) -> (u8, usize) {
        let c = self.byte(self.pos);
        match c {
            b'\\' => {
                self.skip_splices();
                self.plain(self.byte(self.pos))
            }
            b'?' if self.dialect.trigraphs => {
                self.skip_splices();
                self.plain(self.byte(self.pos))
            }
            _ => self.plain(c),
        }
    }

    fn plain(&self, c: u8) -> (u8, usize) {
        if self.at_end() {
            return (b'\n', 0);
        }
        if c == b'?' && self.dialect.trigraphs && self.byte(self.pos + 1) == b'?' {
            let to = match self.byte(self.pos + 2) {
                b'=' => b'#',
                b'/' => b'\\',
                b'\'' => b'^',
                b'(' => b'[',
                b')' => b']',
                b'!' => b'|',
                b'<' => b'{',
                b'>' => b'}',
                b'-' => b'~',
                _ => return (c, 1),
            };
            return (to, 3);
        }
        if c == b'\r' && self.byte(self.pos + 1) != b'\n' {
            return (b'\n', 1);
        }
        (c, 1)
    }

    /// The next character; `\n` at the end of the line or file.
    pub(super) fn peek(&mut self) -> u8 {
        self.look().0
    }

    /// Steps over the next character and returns it.
    pub(super) fn bump(&mut self) -> u8 {
        let (c, width) = self.look();
        self.pos += width;
        c
    }

    /// Steps over `c` if it comes next.
    pub(super) fn eat(&mut self, c: u8) -> bool {
        let (next, width) = self.look();
        if next == c && width > 0 {
            self.pos += width;
            return true;
        }
        false
    }

    /// Steps over a comment if one starts here. A line comment's newline stays.
    pub(super) fn comment(&mut self) -> bool {
        if self.peek() != b'/' {
            return false;
        }
        let start = self.pos;
        self.bump();
        match self.peek() {
            b'*' => {
                self.bump();
                self.block_comment();
                true
            }
            b'/' if self.starts_line_comment() => {
                self.line_comment();
                true
            }
            _ => {
                self.pos = start;
                false
            }
        }
    }

    /// Whether the second slash at the cursor makes a comment of the line.
    fn starts_line_comment(&mut self) -> bool {
        let everywhere = self.dialect.line_comments == LineComments::Everywhere;
        if everywhere || (self.dialect.line_comments == LineComments::InText && self.in_directive) {
            return everywhere;
        }
        let start = self.pos;
        self.bump();
        let starts = self.peek() != b'*';
        self.pos = start;
        starts
    }

    /// From inside of a block comment to behind its end.
    fn block_comment(&mut self) {
        let start = self.pos;
        for slash in memchr::memchr_iter(b'/', &self.bytes[start..]) {
            let slash = start + slash;
            if self.before(slash, start) == Some(b'*') {
                self.pos = slash + 1;
                return;
            }
        }
        self.pos = self.bytes.len();
    }

    /// From inside of a line comment to the newline that ends it.
    fn line_comment(&mut self) {
        loop {
            let rest = &self.bytes[self.pos..];
            let Some(offset) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.pos = self.bytes.len();
                return;
            };
            let end = self.pos + offset;
            if self.bytes[end] == b'\r' && self.bytes.get(end + 1) == Some(&b'\n') {
                self.pos = end + 1;
                if self.spliced(end + 1, 0).is_none() {
                    return;
                }
                self.pos = end + 2;
            } else if self.spliced(end, 0).is_some() {
                self.pos = end + 1;
            } else {
                self.pos = end;
                return;
            }
        }
    }

    /// If the newline at `newline` is spliced away, where the backslash stands.
    pub(super) fn spliced(&self, newline: usize, floor: usize) -> Option<usize> {
        let mut p = newline;
        if p > floor && self.bytes[p - 1] == b'\r' && self.bytes.get(p) == Some(&b'\n') {
            p -= 1;
        }
        while p > floor && is_space(self.bytes[p - 1]) && self.bytes[p - 1] != b'\r' {
            p -= 1;
        }
        if p > floor && self.bytes[p - 1] == b'\\' {
            return Some(p - 1);
        }
        if self.dialect.trigraphs && p >= floor + 3 && &self.bytes[p - 3..p] == b"??/" {
            return Some(p - 3);
        }
        None
    }

    /// The character before `pos` (splices skipped), not looking further back than `floor`.
    fn before(&self, pos: usize, floor: usize) -> Option<u8> {
        let mut p = pos;
        while p > floor {
            let c = self.bytes[p - 1];
            if c != b'\n' && c != b'\r' {
                return Some(c);
            }
            p = self.spliced(p - 1, floor)?;
        }
        None
    }

    /// Steps over blanks and comments; stops at the newline.
    pub(super) fn skip_space(&mut self) {
        loop {
            while self.bytes.get(self.pos).is_some_and(|&c| c == b' ' || c == b'\t') {
                self.pos += 1;
            }
            let Some(&c) = self.bytes.get(self.pos) else { return };
            if CLASS[c as usize] & (SPACE | self.stop) == 0 || c == b'\n' {
                return;
            }
            let c = self.peek();
            if is_space(c) {
                self.bump();
            } else if c != b'/' || !self.comment() {
                return;
            }
        }
    }

    /// Steps to behind the end of the logical line, over whatever stands there. Returns whether a splice cut a word in two.
    pub(super) fn skip_line(&mut self) -> bool {
        let mut cut_word = false;
        loop {
            while let Some(&c) = self.bytes.get(self.pos) {
                if CLASS[c as usize] & self.stop != 0 {
                    break;
                }
                self.pos += 1;
            }
            if self.at_end() {
                return cut_word;
            }
            match self.bytes[self.pos] {
                b'\n' => {
                    self.pos += 1;
                    return cut_word;
                }
                b'\r' => {
                    self.pos += 1;
                    if self.byte(self.pos) != b'\n' {
                        return cut_word;
                    }
                }
                b'/' => {
                    if !self.comment() {
                        self.pos += 1;
                    }
                }
                b'"' | b'\'' => self.literal(),
                _ => match self.splice(self.pos) {
                    Some(next) => {
                        let joins = self.pos > 0 && is_ident(self.bytes[self.pos - 1]);
                        cut_word |= joins && self.bytes.get(next).copied().is_some_and(is_ident);
                        self.pos = next;
                    }
                    None => self.pos += 1,
                },
            }
        }
    }

    /// Reads an identifier or number into a slice: of the file itself, or of `scratch` where splices or escapes are in it.
    pub(super) fn word<'s>(&mut self, scratch: &'s mut Vec<u8>) -> &'s [u8]
    where
        'a: 's,
    {
        self.skip_splices();
        let start = self.pos;
        let rest = &self.bytes[start..];
        let len = rest.iter().position(|&c| !is_ident(c)).unwrap_or(rest.len());
        let ends = self.byte(start + len);
        if ends != b'\\' && !(ends == b'?' && self.dialect.trigraphs) {
            self.pos = start + len;
            return &rest[..len];
        }
        scratch.clear();
        loop {
            let c = self.peek();
            if is_ident(c) {
                scratch.push(c);
                self.bump();
            } else if c != b'\\' || !self.universal(scratch) {
                return scratch;
            }
        }
    }

    /// Reads `\u00e9` as the character it names.
    fn universal(&mut self, out: &mut Vec<u8>) -> bool {
        let start = self.pos;
        self.bump();
        let digits = match self.bump() {
            b'u' => 4,
            b'U' => 8,
            _ => 0,
        };
        let mut value = 0u32;
        for _ in 0..digits {
            match char::from(self.bump()).to_digit(16) {
                Some(d) => value = value << 4 | d,
                None => {
                    self.pos = start;
                    return false;
                }
            }
        }
        match char::from_u32(value) {
            Some(c) if digits > 0 => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                true
            }
            _ => {
                self.pos = start;
                false
            }
        }
    }

    /// Reads up to and over `close` on this logical line; `None` (and nothing read) if the line ends first.
    pub(super) fn until(&mut self, close: u8) -> Option<Vec<u8>> {
        let start = self.pos;
        let mut out = Vec::new();
        loop {
            let c = self.peek();
            if c == b'\n' {
                self.pos = start;
                return None;
            }
            self.bump();
            if c == close {
                return Some(out);
            }
            out.push(c);
        }
    }

    /// The raw rest of the line if no comment, literal or splice is in it; the newline is eaten.
    pub(super) fn plain_rest(&mut self) -> Option<&'a [u8]> {
        let start = self.pos;
        let rest = &self.bytes[start..];
        let len = rest.iter().position(|&c| CLASS[c as usize] & self.stop != 0).unwrap_or(rest.len());
        if len < rest.len() && rest[len] != b'\n' {
            return None;
        }
        self.pos = (start + len + 1).min(self.bytes.len());
        Some(&rest[..len])
    }
}
