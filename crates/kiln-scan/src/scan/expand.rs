//! Macro expansion of an include's operand over all values that macros may have. It knows no files and no conditions.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use crate::directives::BODY_FUNCTION;
use crate::lex::{is_ident, is_space};

use super::computed::COMBINATIONS_MAX;

/// Tokens looked at for one include over all combinations: 16 for each of [`COMBINATIONS_MAX`]. Exponential macros end here.
const TOKENS_MAX: u64 = 16 * COMBINATIONS_MAX as u64;
/// Arguments within arguments that are followed.
const NESTING_MAX: u32 = 64;

/// One value a macro may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Not defined.
    Undefined,
    /// Its text, as kept in a file's directives.
    Text(Vec<u8>),
    /// A text that was not kept.
    Odd,
}

/// Where macros are looked up.
pub(super) trait Source {
    /// All values `name` may have, at least one.
    fn choices(&mut self, name: &[u8]) -> &[Choice];
}

/// What an operand may come to.
#[derive(Debug)]
pub(super) struct Expanded {
    /// Header names, and whether they are quoted.
    pub(super) names: BTreeSet<(bool, Vec<u8>)>,
    /// Tokens looked at.
    pub(super) steps: u64,
}

/// A macro on the way is not known well enough, or a bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfollowed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ident,
    Text,
    Other,
}

/// Names a token must not be replaced by again.
type Hidden = Option<Rc<Names>>;

struct Names {
    name: Vec<u8>,
    rest: Hidden,
}

#[derive(Clone)]
struct Token {
    kind: Kind,
    text: Rc<[u8]>,
    /// Blank before it.
    space: bool,
    hidden: Hidden,
}

impl Token {
    fn is(&self, text: &[u8]) -> bool {
        &*self.text == text
    }

    fn hides(&self, name: &[u8]) -> bool {
        let mut at = &self.hidden;
        while let Some(names) = at {
            if names.name == name {
                return true;
            }
            at = &names.rest;
        }
        false
    }
}

/// The header names that an operand may come to.
/// A combination that is no header name is an error of the unit, and adds nothing.
pub(super) fn expand<S: Source>(text: &[u8], file: &[u8], source: &mut S) -> Result<Expanded, Unfollowed> {
    let mut run = Run { source, file, choices: Vec::new(), next: 0, tokens: 0 };
    let mut names = BTreeSet::new();
    for _ in 0..COMBINATIONS_MAX {
        run.next = 0;
        let tokens = run.expand(tokens(text).into(), 0)?;
        for spaced in [true, false] {
            names.extend(header_name(&tokens, spaced));
        }
        if !run.advance() {
            return Ok(Expanded { names, steps: run.tokens });
        }
    }
    Err(Unfollowed)
}

/// The name in expanded tokens; without its blanks as well, for compilers differ in them.
fn header_name(tokens: &[Token], spaced: bool) -> Option<(bool, Vec<u8>)> {
    let first = tokens.first()?;
    let clean = |name: &[u8]| name.iter().copied().filter(|&c| spaced || c != b' ').collect();
    if let (Kind::Text, [b'"', name @ .., b'"']) = (first.kind, &*first.text) {
        return Some((true, clean(name)));
    }
    if !first.is(b"<") {
        return None;
    }
    let mut name = Vec::new();
    for token in &tokens[1..] {
        if token.is(b">") {
            return Some((false, clean(&name)));
        }
        if token.space {
            name.push(b' ');
        }
        name.extend_from_slice(&token.text);
    }
    None
}

fn tokens(text: &[u8]) -> Vec<Token> {
    let mut out = Vec::new();
    let mut at = 0;
    let mut space = false;
    while at < text.len() {
        let c = text[at];
        if is_space(c) || c == b'\n' {
            space = true;
            at += 1;
            continue;
        }
        let rest = &text[at..];
        let (kind, len) = if c.is_ascii_digit() {
            (Kind::Other, rest.iter().position(|&c| !is_ident(c) && c != b'.').unwrap_or(rest.len()))
        } else if is_ident(c) {
            (Kind::Ident, rest.iter().position(|&c| !is_ident(c)).unwrap_or(rest.len()))
        } else if c == b'"' {
            (Kind::Text, string_len(rest))
        } else if rest.starts_with(b"##") {
            (Kind::Other, 2)
        } else {
            (Kind::Other, 1)
        };
        out.push(Token { kind, text: rest[..len].into(), space, hidden: None });
        space = false;
        at += len;
    }
    out
}

fn string_len(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// A macro with its text in tokens.
struct Macro {
    /// `None`: object-like.
    params: Option<Vec<Vec<u8>>>,
    variadic: bool,
    body: Vec<Token>,
}

fn parse_macro(text: &[u8]) -> Macro {
    if text.first() != Some(&BODY_FUNCTION) {
        return Macro { params: None, variadic: false, body: tokens(text) };
    }
    let end = text.iter().position(|&c| c == b')').unwrap_or(text.len());
    let mut variadic = false;
    let mut params = Vec::new();
    for param in text[1..end].split(|&c| c == b',').map(<[u8]>::trim_ascii).filter(|p| !p.is_empty()) {
        match param.strip_suffix(b"...") {
            Some(name) => {
                variadic = true;
                let name = name.trim_ascii();
                params.push(if name.is_empty() { b"__VA_ARGS__".to_vec() } else { name.to_vec() });
            }
            None => params.push(param.to_vec()),
        }
    }
    Macro { params: Some(params), variadic, body: tokens(text.get(end + 1..).unwrap_or(&[])) }
}

/// One combination of values after the other.
struct Run<'s, S> {
    source: &'s mut S,
    file: &'s [u8],
    /// Names with several values met so far: the value taken, and how many there are.
    choices: Vec<(Vec<u8>, usize, usize)>,
    /// How many of them were met in this combination.
    next: usize,
    tokens: u64,
}

impl<S: Source> Run<'_, S> {
    /// Goes on to the next combination; `false` after the last.
    fn advance(&mut self) -> bool {
        self.choices.truncate(self.next);
        while let Some((_, taken, count)) = self.choices.last_mut() {
            *taken += 1;
            if taken < count {
                return true;
            }
            self.choices.pop();
        }
        false
    }

    /// The value of `name` in this combination.
    fn value(&mut self, name: &[u8]) -> Choice {
        let met = self.choices[..self.next].iter().find(|(n, ..)| n == name).map(|c| c.1);
        let choices = self.source.choices(name);
        if choices.len() < 2 {
            return choices.first().cloned().unwrap_or(Choice::Undefined);
        }
        let taken = met.unwrap_or_else(|| {
            if self.next == self.choices.len() {
                self.choices.push((name.to_vec(), 0, choices.len()));
            }
            self.next += 1;
            self.choices[self.next - 1].1
        });
        choices.get(taken).cloned().unwrap_or(Choice::Undefined)
    }

    fn count(&mut self) -> Result<(), Unfollowed> {
        self.tokens += 1;
        if self.tokens > TOKENS_MAX { Err(Unfollowed) } else { Ok(()) }
    }

    fn expand(&mut self, mut input: VecDeque<Token>, depth: u32) -> Result<Vec<Token>, Unfollowed> {
        if depth > NESTING_MAX {
            return Err(Unfollowed);
        }
        let mut out = Vec::new();
        while let Some(token) = input.pop_front() {
            self.count()?;
            if token.kind != Kind::Ident || token.hides(&token.text) {
                out.push(token);
                continue;
            }
            match &*token.text {
                b"__FILE__" => {
                    let text = [b"\"", self.file, b"\""].concat();
                    out.push(Token { kind: Kind::Text, text: text.into(), ..token });
                    continue;
                }
                b"__LINE__" | b"__COUNTER__" | b"__INCLUDE_LEVEL__" | b"__DATE__" | b"__TIME__" | b"__TIMESTAMP__"
                | b"__BASE_FILE__" | b"__FILE_NAME__" | b"_Pragma" | b"__VA_OPT__" => return Err(Unfollowed),
                _ => {}
            }
            let text = match self.value(&token.text) {
                Choice::Undefined => {
                    out.push(token);
                    continue;
                }
                Choice::Odd => return Err(Unfollowed),
                Choice::Text(text) => text,
            };
            let replaced = parse_macro(&text);
            let args = match &replaced.params {
                None => Vec::new(),
                Some(_) if !input.front().is_some_and(|t| t.is(b"(")) => {
                    out.push(token);
                    continue;
                }
                Some(params) => match arguments(&mut input, params.len(), replaced.variadic) {
                    Some(args) => args,
                    None => return Ok(out),
                },
            };
            let mut result = self.substitute(&replaced, &args, depth)?;
            let hidden = Some(Rc::new(Names { name: token.text.to_vec(), rest: token.hidden.clone() }));
            for t in &mut result {
                t.hidden = merge(&t.hidden, &hidden);
            }
            if let Some(first) = result.first_mut() {
                first.space = token.space;
            }
            for t in result.into_iter().rev() {
                self.count()?;
                input.push_front(t);
            }
        }
        Ok(out)
    }

    fn substitute(&mut self, m: &Macro, args: &[Vec<Token>], depth: u32) -> Result<Vec<Token>, Unfollowed> {
        let mut out: Vec<Token> = Vec::new();
        let body = &m.body;
        let mut i = 0;
        let mut paste = false;
        let arg_of = |token: &Token| -> Option<&Vec<Token>> {
            let params = m.params.as_ref()?;
            let at = params.iter().position(|p| token.is(p))?;
            args.get(at)
        };
        while i < body.len() {
            self.count()?;
            let token = &body[i];
            if token.is(b"##") && !out.is_empty() && i + 1 < body.len() {
                paste = true;
                i += 1;
                continue;
            }
            let pasted_after = body.get(i + 1).is_some_and(|t| t.is(b"##"));
            let mut piece = if m.params.is_some() && token.is(b"#") && body.get(i + 1).and_then(arg_of).is_some() {
                i += 1;
                vec![stringify(arg_of(&body[i]).map_or(&[], Vec::as_slice), token.space)]
            } else if let Some(arg) = arg_of(token) {
                if paste || pasted_after { arg.clone() } else { self.expand(arg.clone().into(), depth + 1)? }
            } else {
                vec![token.clone()]
            };
            if let Some(first) = piece.first_mut() {
                first.space = token.space;
            }
            if paste
                && !piece.is_empty()
                && let Some(last) = out.pop()
            {
                let joined = [&*last.text, &*piece[0].text].concat();
                let mut whole = tokens(&joined);
                if let Some(first) = whole.first_mut() {
                    first.space = last.space;
                }
                out.append(&mut whole);
                piece.remove(0);
            }
            paste = false;
            for t in piece {
                self.count()?;
                out.push(t);
            }
            i += 1;
        }
        Ok(out)
    }
}

/// Both sets of hidden names; the shorter list is put before the other.
fn merge(a: &Hidden, b: &Hidden) -> Hidden {
    let mut merged = b.clone();
    let mut at = a;
    while let Some(names) = at {
        merged = Some(Rc::new(Names { name: names.name.clone(), rest: merged }));
        at = &names.rest;
    }
    merged
}

/// Takes the arguments of a call off the input, its parenthesis first; `None` if it is not closed.
fn arguments(input: &mut VecDeque<Token>, count: usize, variadic: bool) -> Option<Vec<Vec<Token>>> {
    input.pop_front();
    let mut args: Vec<Vec<Token>> = vec![Vec::new()];
    let mut depth = 0u32;
    while let Some(token) = input.pop_front() {
        if token.is(b")") && depth == 0 {
            args.resize(args.len().max(count), Vec::new());
            return Some(args);
        }
        if token.is(b"(") {
            depth += 1;
        } else if token.is(b")") {
            depth -= 1;
        } else if token.is(b",") && depth == 0 && !(variadic && args.len() >= count) {
            args.push(Vec::new());
            continue;
        }
        if let Some(arg) = args.last_mut() {
            arg.push(token);
        }
    }
    None
}

fn stringify(arg: &[Token], space: bool) -> Token {
    let mut text = vec![b'"'];
    for (i, token) in arg.iter().enumerate() {
        if i > 0 && token.space {
            text.push(b' ');
        }
        for &c in &*token.text {
            if token.kind == Kind::Text && matches!(c, b'"' | b'\\') {
                text.push(b'\\');
            }
            text.push(c);
        }
    }
    text.push(b'"');
    Token { kind: Kind::Text, text: text.into(), space, hidden: None }
}

#[cfg(test)]
mod tests;
