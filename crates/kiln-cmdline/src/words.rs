//! Cuts an argument list into options with their values and input files. Does not know what an option means.

use crate::table::{Family, Found, Table, Takes, find};

/// One option with its value, or one input file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Word<'a> {
    /// An option of the tables.
    Option(Spelled<'a>),
    /// A file to compile, `-` for standard input.
    Input(&'a str),
    /// An argument that looks like an option and is in no table.
    Unknown(&'a str),
    /// The last option, whose value is missing.
    MissingValue(&'a str),
}

/// An option as it was spelled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spelled<'a> {
    pub(crate) found: Found,
    /// The whole first argument.
    pub(crate) arg: &'a str,
    /// The value, empty when the option takes none.
    pub(crate) value: &'a str,
    /// The value's own argument, when it has one.
    pub(crate) next: Option<&'a str>,
}

/// Which names are known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Names {
    /// A driver's.
    Driver(Family),
    /// One table, then perhaps a driver's.
    Table(&'static Table, Option<Family>),
}

impl Names {
    fn find(self, arg: &str) -> Option<Found> {
        match self {
            Names::Driver(family) => find(family, arg),
            Names::Table(table, None) => table.longest(arg),
            Names::Table(table, Some(family)) => match (table.longest(arg), find(family, arg)) {
                (Some(own), Some(drivers)) if drivers.value_at > own.value_at => Some(drivers),
                (own, drivers) => own.or(drivers),
            },
        }
    }
}

/// The words of an argument list, in order.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    names: Names,
    args: &'a [String],
    at: usize,
    only_inputs: bool,
}

impl<'a> Words<'a> {
    pub(crate) fn new(names: Names, args: &'a [String]) -> Self {
        Words { names, args, at: 0, only_inputs: false }
    }

    /// How many arguments were taken.
    pub(crate) fn position(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let arg = self.args.get(self.at)?.as_str();
        self.at += 1;
        if self.only_inputs || arg == "-" || !arg.starts_with('-') {
            return Some(Word::Input(arg));
        }
        if arg == "--" && matches!(self.names, Names::Driver(Family::Clang)) {
            self.only_inputs = true;
            return self.next();
        }
        let Some(found) = self.names.find(arg) else {
            return Some(Word::Unknown(arg));
        };
        let joined = arg.get(found.value_at..).unwrap_or("");
        let from_next = match found.opt.takes {
            Takes::Nothing | Takes::Joined => false,
            Takes::Separate => true,
            Takes::Either => joined.is_empty(),
        };
        // `-fno-x` of an option with a value takes none.
        if !from_next || found.negated {
            return Some(Word::Option(Spelled { found, arg, value: joined, next: None }));
        }
        let Some(value) = self.args.get(self.at) else {
            return Some(Word::MissingValue(arg));
        };
        self.at += 1;
        Some(Word::Option(Spelled { found, arg, value, next: Some(value) }))
    }
}
