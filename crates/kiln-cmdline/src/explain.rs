//! How a command line was read, word for word, for people. Decides nothing.

use crate::reference::describe;
use crate::source::{self, Kind};
use crate::table::Family;
use crate::words::{Names, Word, Words};

/// One option with its value, or one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// As it was spelled.
    pub words: String,
    /// What it does.
    pub meaning: String,
}

/// Tells each word of a command. Response files are told as such; what is in them is not looked at.
#[must_use]
pub fn explain(family: Family, cxx_driver: bool, args: &[String]) -> Vec<Told> {
    let told = |words: &str, meaning: &str| Told { words: words.to_owned(), meaning: meaning.to_owned() };
    let tell = |word| match word {
        Word::Option(spelled) => {
            let words = spelled.next.map_or(spelled.arg.to_owned(), |next| format!("{} {next}", spelled.arg));
            let off = if spelled.found.negated { "off: " } else { "" };
            Told { words, meaning: format!("{off}{}", describe(spelled.found.opt.effect)) }
        }
        Word::Input(path) if path.starts_with('@') => told(path, "response file"),
        Word::Input("-") => told("-", "standard input"),
        Word::Input(path) => match source::from_suffix(family, cxx_driver, path) {
            Kind::Source(language) => told(path, &format!("source: {}", language.x_name())),
            Kind::Header(language) => told(path, &format!("header to precompile: {}", language.x_name())),
            Kind::Other(reason) => told(path, reason.describe()),
            Kind::LinkerInput => told(path, "file for the linker, unless -x says otherwise"),
        },
        Word::Unknown(arg) => told(arg, "in no table: it may write any file"),
        Word::MissingValue(arg) => told(arg, "its value is missing"),
    };
    Words::new(Names::Driver(family), args).map(tell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expect: &[(&str, &str)]) {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let told = explain(Family::Gcc, false, &args);
        let got: Vec<(&str, &str)> = told.iter().map(|told| (told.words.as_str(), told.meaning.as_str())).collect();
        assert_eq!(got, expect, "{line}");
    }

    #[test]
    fn every_word_is_told_once() {
        check("-c a.c -o x.o", &[("-c", "what is made"), ("a.c", "source: c"), ("-o x.o", "the output")]);
        check(
            "-fno-strict-aliasing -fplugin=x.so -fnonsense",
            &[
                ("-fno-strict-aliasing", "off: code or preprocessing"),
                ("-fplugin=x.so", "refused: `plugin`"),
                ("-fnonsense", "in no table: it may write any file"),
            ],
        );
        check("@args - -I", &[("@args", "response file"), ("-", "standard input"), ("-I", "its value is missing")]);
    }
}
