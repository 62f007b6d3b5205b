//! Macros that are defined before the first line of a unit. It knows no files and expands nothing.

use crate::directives::{BODY_FUNCTION, BODY_OBJECT};
use crate::lex::{is_ident, is_space};
use crate::names::{NameId, Names, Tables};
use crate::number;

/// `-D` or `-U`, with the text that follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommandMacro {
    /// `-DTEXT`: `NAME`, `NAME=VALUE` or `NAME(PARAMETERS)=VALUE`.
    Define(String),
    /// `-UNAME`.
    Undefine(String),
}

/// What a macro is worth in a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A number, and whether it is unsigned.
    Int(u64, bool),
    /// Another name.
    Alias(NameId),
    /// Nothing that is evaluated; as a name it is defined.
    Other,
    /// Not defined, although the language could give the name a meaning.
    Undefined,
}

#[derive(Clone, Debug)]
pub(crate) struct Macro {
    pub(crate) name: NameId,
    pub(crate) value: Value,
    /// As in a file's directives, led by a `BODY_*` byte.
    pub(crate) text: Box<[u8]>,
}

/// Macros with their one value each; later definitions of a name replace earlier ones.
/// A table belongs to the [`Names`] it was made with.
#[derive(Clone, Debug, Default)]
pub struct MacroTable {
    pub(crate) macros: Vec<Macro>,
    /// Whose numbers it uses; 0 if it has none.
    pub(crate) names: u64,
}

impl MacroTable {
    /// Reads what a compiler prints for `-dM -E`. Lines that are no `#define` or `#undef` are passed over.
    #[must_use]
    pub fn parse(text: &[u8], names: &Names) -> Self {
        let mut tables = names.write();
        let mut table = Self { names: names.identity(), ..Self::default() };
        for line in text.split(|&c| c == b'\n') {
            let line = line.trim_ascii();
            let Some(line) = line.strip_prefix(b"#") else { continue };
            let line = line.trim_ascii_start();
            if let Some(rest) = line.strip_prefix(b"define ") {
                table.define(rest.trim_ascii_start(), &mut tables);
            } else if let Some(rest) = line.strip_prefix(b"undef ") {
                table.undefine(rest.trim_ascii(), &mut tables);
            }
        }
        table
    }

    /// States which operators like `__has_include` the compiler has (they count as defined) and which it does not have.
    /// Of those not mentioned neither is assumed.
    #[must_use]
    pub fn with_operators(mut self, defined: &[&str], undefined: &[&str], names: &Names) -> Self {
        self.names = names.identity();
        let mut tables = names.write();
        for (list, value) in [(defined, Value::Other), (undefined, Value::Undefined)] {
            for name in list {
                if let Some(id) = tables.macros.intern(name.as_bytes()) {
                    self.macros.push(Macro { name: NameId(id), value, text: Box::default() });
                }
            }
        }
        self
    }

    /// Number of definitions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.macros.len()
    }

    /// Whether nothing is defined.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.macros.is_empty()
    }

    /// Takes in one `-D` or `-U`.
    pub(crate) fn command(&mut self, command: &CommandMacro, tables: &mut Tables) {
        match command {
            CommandMacro::Undefine(name) => self.undefine(name.trim().as_bytes(), tables),
            CommandMacro::Define(text) => {
                let line = match text.split_once('=') {
                    Some((name, value)) => format!("{name} {value}"),
                    None => format!("{text} 1"),
                };
                self.define(line.as_bytes(), tables);
            }
        }
    }

    fn undefine(&mut self, name: &[u8], tables: &mut Tables) {
        if let Some(id) = tables.macros.intern(name) {
            self.macros.push(Macro { name: NameId(id), value: Value::Undefined, text: Box::default() });
        }
    }

    /// `NAME TEXT` or `NAME(PARAMETERS) TEXT`.
    fn define(&mut self, line: &[u8], tables: &mut Tables) {
        let len = line.iter().position(|&c| !is_ident(c)).unwrap_or(line.len());
        let (name, rest) = line.split_at(len);
        let Some(id) = tables.macros.intern(name) else { return };
        if name.is_empty() {
            return;
        }
        let function = rest.first() == Some(&BODY_FUNCTION);
        let value = if function { Value::Other } else { value(rest.trim_ascii(), tables) };
        let mut text = Vec::with_capacity(rest.len() + 1);
        if function {
            text.extend_from_slice(rest);
        } else {
            text.push(BODY_OBJECT);
            text.extend_from_slice(rest.trim_ascii());
        }
        self.macros.push(Macro { name: NameId(id), value, text: text.into() });
    }
}

/// The value of a macro's text, if it is so simple that it has the same value wherever it is put.
fn value(text: &[u8], tables: &mut Tables) -> Value {
    let mut text = text;
    while let [b'(', inner @ .., b')'] = text {
        text = inner.trim_ascii();
    }
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest.trim_ascii_start()),
        [b'+', rest @ ..] => (false, rest.trim_ascii_start()),
        _ => (false, text),
    };
    if text.is_empty() || text.iter().any(|&c| is_space(c) && !negative) {
        return Value::Other;
    }
    if let Some((number, unsigned)) = number::parse(digits) {
        return Value::Int(if negative { number.wrapping_neg() } else { number }, unsigned);
    }
    let word = !text[0].is_ascii_digit() && text.iter().all(|&c| is_ident(c));
    match tables.macros.intern(text) {
        Some(id) if word => Value::Alias(NameId(id)),
        _ => Value::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(command: &str) -> (Vec<u8>, Value) {
        let names = Names::new();
        let mut table = MacroTable::default();
        table.command(&CommandMacro::Define(command.to_owned()), &mut names.write());
        (names.macro_name(table.macros[0].name), table.macros[0].value)
    }

    #[test]
    fn values_of_definitions() {
        assert_eq!(one("A"), (b"A".to_vec(), Value::Int(1, false)));
        assert_eq!(one("A="), (b"A".to_vec(), Value::Other));
        assert_eq!(one("A=7"), (b"A".to_vec(), Value::Int(7, false)));
        assert_eq!(one("A=-1"), (b"A".to_vec(), Value::Int(u64::MAX, false)));
        assert_eq!(one("A=(0x10u)"), (b"A".to_vec(), Value::Int(16, true)));
        assert_eq!(one("A=1+1"), (b"A".to_vec(), Value::Other));
        assert_eq!(one("F(x)=x"), (b"F".to_vec(), Value::Other));
        assert_eq!(one("A=(1)+(2)"), (b"A".to_vec(), Value::Other));
        assert!(matches!(one("A=B").1, Value::Alias(_)));
    }

    #[test]
    fn a_dump_is_read() {
        let names = Names::new();
        let table = MacroTable::parse(b"#define __GNUC__ 12\n#define F(a,b) a b\n# 1 \"x\"\n#undef X\n", &names);
        let values: Vec<_> = table.macros.iter().map(|m| (names.macro_name(m.name), m.value)).collect();
        assert_eq!(
            values,
            vec![(b"__GNUC__".to_vec(), Value::Int(12, false)), (b"F".to_vec(), Value::Other), (b"X".to_vec(), Value::Undefined)]
        );
    }
}
