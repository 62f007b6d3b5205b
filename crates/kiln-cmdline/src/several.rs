//! Commands of several sources, cut into one command a source and, where they link, the command that links the objects.
//! Knows positions of words, not what options mean beyond that.
//!
//! Both drivers run the steps of each source as if it were alone. What would tell the difference is refused: clang's own
//! command line written into objects, and with a link everything that is named after the program instead of the object.

use crate::invocation::Invocation;
use crate::read::Driver;
use crate::reason::{Reason, Refusal};
use crate::response::Expanded;
use crate::source::{self, Kind};
use crate::table::{Effect, Family, Side};
use crate::words::{Names, Word, Words};
use std::ops::Range;

/// Most sources in one command. Each has an object that may need a descriptor, of which a reply has 64; commands of more are
/// whole programs, and those are seldom compiled at once.
pub const SOURCES_MAX: usize = 60;

/// What a command asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The compiles, in the order in which the driver runs them.
    pub units: Vec<Invocation>,
    /// The link that follows if all of them succeed.
    pub link: Option<Link>,
}

/// A link of objects that were made elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The words after argv\[0\].
    pub words: Vec<LinkWord>,
    /// The file that it makes.
    pub output: String,
}

/// A word of a command that links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkWord {
    /// As the user wrote it, or for clang a word that keeps it from complaining of the user's.
    Plain(String),
    /// The object of this unit.
    Object(usize),
}

/// A command's words sorted by what a split needs.
#[derive(Debug, Default)]
struct Sorted {
    /// Positions of sources.
    sources: Vec<usize>,
    /// Positions of objects and libraries.
    linked: Vec<usize>,
    /// Positions of all other files.
    others: Vec<usize>,
    /// Positions of `-o` and its value, the last such value, and positions of options that matter to the linker only.
    output: Vec<usize>,
    named: Option<String>,
    link_only: Vec<usize>,
    /// Whether `-c` or `-S` is there.
    stops: bool,
    /// Positions of each `-x` and its value, and whether the last one names a language.
    forced: Vec<Range<usize>>,
    language: bool,
    /// An option under which the units of a linking command differ from those of separate ones.
    tells: Option<String>,
    /// clang: an option that writes the command line into objects.
    records: Option<String>,
}

fn sort(driver: &Driver<'_>, args: &[String]) -> Sorted {
    let mut sorted = Sorted::default();
    let mut words = Words::new(Names::Driver(driver.family), args);
    loop {
        let from = words.position();
        let Some(word) = words.next() else { return sorted };
        let at = from..words.position();
        match word {
            Word::Input(path) => {
                let kind = source::from_suffix(driver.family, driver.cxx, path);
                let to = match kind {
                    _ if sorted.language => &mut sorted.sources,
                    Kind::Source(_) => &mut sorted.sources,
                    Kind::LinkerInput if path != "-" => &mut sorted.linked,
                    _ => &mut sorted.others,
                };
                // The last position: clang's `--` may stand before it.
                to.extend(at.last());
            }
            Word::Option(spelled) => {
                let arg = spelled.arg;
                match spelled.found.opt.effect {
                    Effect::Compile | Effect::Assemble => sorted.stops = true,
                    Effect::Output => {
                        sorted.output.extend(at);
                        sorted.named = Some(spelled.value.to_owned());
                    }
                    Effect::Language => {
                        sorted.forced.push(at);
                        sorted.language = spelled.value != "none";
                    }
                    Effect::Link => sorted.link_only.extend(at),
                    Effect::Instrument | Effect::Side(Side::SplitDwarf) => sorted.tells = Some(arg.to_owned()),
                    _ if ["-static", "-shared", "-pie", "-no-pie"].contains(&arg) => sorted.link_only.extend(at),
                    _ if ["record", "embed-bitcode"].iter().any(|part| arg.contains(part)) => sorted.records = Some(arg.to_owned()),
                    _ => {}
                }
            }
            Word::Unknown(_) | Word::MissingValue(_) => {}
        }
    }
}

/// Reads a command of more than one source; `None` for all others.
pub(crate) fn read(driver: &Driver<'_>, expanded: &Expanded) -> Option<Result<Reading, Refusal>> {
    let sorted = sort(driver, &expanded.args);
    if sorted.sources.len() < 2 {
        return None;
    }
    Some(if sorted.stops { compiles(driver, &expanded.args, &sorted) } else { links(driver, &expanded.args, &sorted) })
}

fn without(args: &[String], positions: impl Fn(usize) -> bool) -> Vec<String> {
    args.iter().enumerate().filter(|(at, _)| !positions(*at)).map(|(_, arg)| arg.clone()).collect()
}

fn compiles(driver: &Driver<'_>, args: &[String], sorted: &Sorted) -> Result<Reading, Refusal> {
    let refuse = |detail: &str| Err(Refusal::new(Reason::MultipleSources, detail));
    if sorted.sources.len() > SOURCES_MAX {
        return refuse("too many");
    }
    if let Some(&at) = sorted.output.first() {
        // The driver says no.
        return refuse(&args[at]);
    }
    let mut units = Vec::with_capacity(sorted.sources.len());
    for &own in &sorted.sources {
        // Of the languages the one in force: of one behind the last file the driver has something to say.
        let language = sorted.forced.iter().rfind(|one| one.end <= own);
        let dropped = |at: usize| {
            let is_language = sorted.forced.iter().any(|one| one.contains(&at));
            at != own && (sorted.sources.contains(&at) || is_language && language.is_none_or(|one| !one.contains(&at)))
        };
        let words = without(args, dropped);
        units.push(driver.read(words)?);
    }
    if let (Family::Clang, Some(option)) = (driver.family, &sorted.records) {
        return refuse(option);
    }
    check_apart(&units)?;
    Ok(Reading { units, link: None })
}

/// No file is written twice, or written by one unit and read by another.
fn check_apart(units: &[Invocation]) -> Result<(), Refusal> {
    let mut seen: Vec<&str> = units.iter().map(|unit| unit.source.as_str()).collect();
    for path in units.iter().flat_map(|unit| &unit.outputs).map(|output| output.path.as_str()) {
        if seen.contains(&path) {
            return Err(Refusal::new(Reason::OutputClash, path));
        }
        seen.push(path);
    }
    Ok(())
}

/// A command of one source that links is never split: it is what configure scripts try by the thousand, and such a source is
/// compiled in less time than it takes to look at it, let alone to link it.
fn links(driver: &Driver<'_>, args: &[String], sorted: &Sorted) -> Result<Reading, Refusal> {
    let refuse = |detail: &str| Err(Refusal::new(Reason::Link, detail));
    if sorted.sources.len() > SOURCES_MAX {
        return refuse("too many sources");
    }
    if let Some(&at) = sorted.others.first() {
        return refuse(&args[at]);
    }
    if !sorted.forced.is_empty() {
        return refuse("-x");
    }
    if let Some(option) = &sorted.tells {
        return refuse(option);
    }
    let mut units = Vec::with_capacity(sorted.sources.len());
    for &own in &sorted.sources {
        let is_clang = driver.family == Family::Clang;
        let dropped = |at: usize| {
            at != own
                && (sorted.sources.contains(&at)
                    || sorted.linked.contains(&at)
                    || sorted.output.contains(&at)
                    // gcc takes them without a word.
                    || is_clang && sorted.link_only.contains(&at))
        };
        let words = [vec!["-c".to_owned()], without(args, dropped)].concat();
        let unit = driver.read(words)?;
        if unit.outputs.len() > 1 {
            return refuse(&unit.outputs[1].path);
        }
        if unit.coverage || !unit.main_output().path.ends_with(".o") {
            return refuse(&unit.source);
        }
        units.push(unit);
    }
    if let (Family::Clang, Some(option)) = (driver.family, &sorted.records) {
        return refuse(option);
    }
    Ok(Reading { units, link: Some(link(driver.family, args, sorted)) })
}

fn link(family: Family, args: &[String], sorted: &Sorted) -> Link {
    let quiet = (family == Family::Clang).then(|| LinkWord::Plain("-Qunused-arguments".to_owned()));
    let word = |(at, arg): (usize, &String)| match sorted.sources.iter().position(|source| *source == at) {
        Some(unit) => LinkWord::Object(unit),
        None => LinkWord::Plain(arg.clone()),
    };
    Link {
        words: quiet.into_iter().chain(args.iter().enumerate().map(word)).collect(),
        output: sorted.named.clone().unwrap_or_else(|| "a.out".to_owned()),
    }
}
