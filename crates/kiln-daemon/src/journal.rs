//! What became of each unit and why, for `kiln explain`: the last units, in memory, bounded. Knows files by number and digest.

use kiln_cas::Digest;
use kiln_cmdline::Family;
use kiln_scan::FileId;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Units remembered: one large build. At some 2 KiB each (paths, words, reasons) 16 MiB.
pub(crate) const UNITS_MAX: usize = 8192;

/// Inputs remembered of all units together, those of the oldest units forgotten first: 16 bytes each, 16 MiB; 128 for each
/// of 8,192 units.
pub(crate) const INPUTS_MAX: usize = 1 << 20;

/// Most bytes of arguments remembered of one command: ten long lines of a kernel build. A command may have 6 MiB of them.
const ARGS_MAX: usize = 32 << 10;

/// Units told of at a time.
const TOLD_MAX: usize = 16;

/// Differences told of one unit.
const DIFFERENCES_MAX: usize = 50;

/// One remote attempt.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Attempt {
    pub(crate) worker: String,
    pub(crate) outcome: String,
    /// When it began, from when the unit did.
    pub(crate) at_ms: u64,
    pub(crate) ms: u64,
}

/// One option of a command and what it means.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Read {
    pub(crate) words: String,
    pub(crate) meaning: String,
}

/// One unit's story.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Unit {
    pub(crate) number: u64,
    #[serde(skip)]
    pub(crate) began: Option<Instant>,
    /// How long ago it began, when it is told.
    pub(crate) ago_ms: u64,
    pub(crate) cwd: String,
    pub(crate) compiler: String,
    pub(crate) args: Vec<String>,
    pub(crate) source: String,
    pub(crate) output: String,
    /// `refused`, `hit`, `remote`, `local`, `fallback`, `failed`.
    pub(crate) went: String,
    pub(crate) reason: String,
    /// `scanned` or `listed`, and why it was listed.
    pub(crate) form: String,
    pub(crate) action: String,
    pub(crate) command: String,
    pub(crate) input_root: String,
    pub(crate) toolchain: String,
    /// Whose options the command has; known once the toolchain is.
    #[serde(skip)]
    pub(crate) family: Option<(Family, bool)>,
    /// The environment that is part of the key.
    #[serde(skip)]
    pub(crate) env: Vec<(String, String)>,
    /// The digest of the precompiled header that it made.
    #[serde(skip)]
    pub(crate) precompiled: Option<Digest>,
    /// The files read, told only where they are asked for.
    pub(crate) inputs: Vec<String>,
    /// How the command was read, when it is told.
    pub(crate) read: Vec<Read>,
    /// In what its key differs from that of the last unit of the same source and output, when it is told.
    pub(crate) differs: Vec<String>,
    pub(crate) uploaded_blobs: u64,
    pub(crate) uploaded_bytes: u64,
    /// The first of the files that were sent.
    pub(crate) uploaded_files: Vec<String>,
    pub(crate) attempts: Vec<Attempt>,
    /// When it was sent to this machine's own sandbox, from when it began.
    pub(crate) here_at_ms: Option<u64>,
    pub(crate) exit: Option<i32>,
    pub(crate) analyse_us: u64,
    pub(crate) total_ms: u64,
}

impl Unit {
    /// Since it began.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.began.map_or(0, |began| began.elapsed().as_millis() as u64)
    }

    fn told(&self) -> Unit {
        Unit { ago_ms: self.elapsed_ms(), ..self.clone() }
    }

    fn is_of(&self, other: &Unit) -> bool {
        (&self.source, &self.output, &self.cwd) == (&other.source, &other.output, &other.cwd)
    }

    fn read(&self) -> Vec<Read> {
        let by_name = || if self.compiler.contains("clang") { Family::Clang } else { Family::Gcc };
        let (family, cxx) = self.family.unwrap_or_else(|| (by_name(), self.compiler.contains("++")));
        let told = kiln_cmdline::explain(family, cxx, &self.args);
        told.into_iter().map(|told| Read { words: told.words, meaning: told.meaning }).collect()
    }
}

/// A file that a unit reads: its number, and the beginning of its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Input {
    file: FileId,
    digest: u64,
}

/// Tells the path of a file; `None` for one that is forgotten.
type Paths<'a> = &'a dyn Fn(FileId) -> Option<Arc<str>>;

#[derive(Debug)]
struct Entry {
    unit: Unit,
    /// `None` once they are forgotten.
    inputs: Option<Box<[Input]>>,
}

#[derive(Debug, Default)]
struct Inner {
    added: u64,
    entries: VecDeque<Entry>,
    /// Inputs held by all entries, and how many of the oldest entries have none any more.
    inputs: usize,
}

/// The arguments of a command as they are remembered: as many of the first as are no more than [`ARGS_MAX`] bytes.
pub(crate) fn remembered(args: &[Vec<u8>]) -> Vec<String> {
    let mut left = ARGS_MAX;
    let fit = args.iter().take_while(|arg| {
        let fits = arg.len() < left;
        left = left.saturating_sub(arg.len() + 1);
        fits
    });
    let mut told: Vec<String> = fit.map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
    if told.len() < args.len() {
        told.push(format!("... and {} more", args.len() - told.len()));
    }
    told
}

/// Whether these arguments are remembered in full.
pub(crate) fn is_whole(args: &[String]) -> bool {
    !args.last().is_some_and(|last| last.starts_with("... and ") && last.ends_with(" more"))
}

/// The last units.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    inner: Mutex<Inner>,
}

impl Journal {
    /// Remembers a unit and what it read.
    pub(crate) fn add(&self, mut unit: Unit, inputs: &[(FileId, Digest)]) {
        let inputs: Box<[Input]> = inputs.iter().map(|(file, digest)| Input { file: *file, digest: short(digest) }).collect();
        let mut inner = self.lock();
        inner.added += 1;
        unit.number = inner.added;
        if inner.entries.len() >= UNITS_MAX
            && let Some(oldest) = inner.entries.pop_front()
        {
            inner.inputs -= oldest.inputs.map_or(0, |inputs| inputs.len());
        }
        let over = (inner.inputs + inputs.len()).saturating_sub(INPUTS_MAX);
        inner.forget(over);
        inner.inputs += inputs.len();
        inner.entries.push_back(Entry { unit, inputs: Some(inputs) });
    }

    /// The last `count` units, oldest first, without their inputs.
    pub(crate) fn last(&self, count: usize) -> Vec<Unit> {
        let inner = self.lock();
        let skip = inner.entries.len().saturating_sub(count);
        inner.entries.iter().skip(skip).map(|entry| entry.unit.told()).collect()
    }

    /// The units whose source or output (or, if refused, any argument) is `name`, or ends in `/name`; newest first, with all that is known of them.
    pub(crate) fn find(&self, name: &str, paths: Paths<'_>) -> Vec<Unit> {
        let inner = self.lock();
        let tail = format!("/{name}");
        let is_named = |path: &str, cwd: &str| path == name || path.ends_with(&tail) || format!("{cwd}/{path}") == name;
        let names_it = |unit: &Unit| match unit.source.is_empty() {
            false => is_named(&unit.source, &unit.cwd) || is_named(&unit.output, &unit.cwd),
            // Refused before it was known what the source is.
            true => unit.args.iter().any(|arg| is_named(arg, &unit.cwd)),
        };
        let matching = inner.entries.iter().enumerate().rev().filter(|(_, entry)| names_it(&entry.unit));
        matching.take(TOLD_MAX).map(|(at, _)| inner.tell(at, paths)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Forgets inputs of the oldest units, at least `count`.
    fn forget(&mut self, count: usize) {
        let mut forgotten = 0;
        for entry in &mut self.entries {
            if forgotten >= count {
                break;
            }
            forgotten += entry.inputs.take().map_or(0, |inputs| inputs.len());
        }
        self.inputs -= forgotten;
    }

    fn tell(&self, at: usize, paths: Paths<'_>) -> Unit {
        let entry = &self.entries[at];
        let mut unit = entry.unit.told();
        unit.read = unit.read();
        unit.inputs = entry.inputs.iter().flatten().map(|input| path_of(input, paths)).collect();
        unit.inputs.sort();
        if !unit.action.is_empty() {
            let earlier =
                self.entries.range(..at).rev().find(|earlier| earlier.unit.is_of(&unit) && !earlier.unit.action.is_empty());
            unit.differs = match earlier {
                None => vec!["no earlier unit of this source and output is remembered".to_owned()],
                Some(earlier) => differences(earlier, entry, paths),
            };
        }
        unit
    }
}

fn path_of(input: &Input, paths: Paths<'_>) -> String {
    paths(input.file).map_or_else(|| "a file that is forgotten".to_owned(), |path| path.to_string())
}

fn differences(old: &Entry, new: &Entry, paths: Paths<'_>) -> Vec<String> {
    if old.unit.action == new.unit.action {
        return vec![format!("nothing: the key is that of unit {}", old.unit.number)];
    }
    let mut told = Vec::new();
    if old.unit.toolchain != new.unit.toolchain {
        told.push(format!("toolchain: {}", old.unit.toolchain));
    }
    words(&old.unit.args, &new.unit.args, &mut told);
    variables(&old.unit.env, &new.unit.env, &mut told);
    match (&old.inputs, &new.inputs) {
        (Some(old), Some(new)) => files(old, new, paths, &mut told),
        _ => told.push("files: the earlier unit's are forgotten".to_owned()),
    }
    if told.is_empty() {
        told.push("directories, links, times or modes of files".to_owned());
    }
    if told.len() > DIFFERENCES_MAX {
        let more = told.len() - DIFFERENCES_MAX;
        told.truncate(DIFFERENCES_MAX);
        told.push(format!("and {more} more"));
    }
    told
}

fn files(old: &[Input], new: &[Input], paths: Paths<'_>, told: &mut Vec<String>) {
    let by_path = |inputs: &[Input]| inputs.iter().map(|input| (input.file, *input)).collect::<BTreeMap<_, _>>();
    let (old, new) = (by_path(old), by_path(new));
    for (file, input) in &new {
        match old.get(file) {
            None => told.push(format!("file added: {}", path_of(input, paths))),
            Some(before) if before.digest != input.digest => told.push(format!("file changed: {}", path_of(input, paths))),
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|(file, _)| !new.contains_key(file));
    told.extend(gone.map(|(_, input)| format!("file gone: {}", path_of(input, paths))));
}

fn short(digest: &Digest) -> u64 {
    let bytes = digest.hash.first_chunk::<8>().copied().unwrap_or_default();
    u64::from_le_bytes(bytes)
}

fn words(old: &[String], new: &[String], told: &mut Vec<String>) {
    let before = told.len();
    let lacks = |list: &[String], word: &String| !list.contains(word);
    told.extend(new.iter().filter(|word| lacks(old, word)).map(|word| format!("argument added: {word}")));
    told.extend(old.iter().filter(|word| lacks(new, word)).map(|word| format!("argument gone: {word}")));
    if told.len() == before && old != new {
        told.push("arguments: another order or number".to_owned());
    }
}

fn variables(old: &[(String, String)], new: &[(String, String)], told: &mut Vec<String>) {
    let value = |env: &[(String, String)], name: &str| env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let mut names: Vec<&String> = old.iter().chain(new).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (old, new) = (value(old, name), value(new, name));
        if old != new {
            let shown = |value: Option<String>| value.unwrap_or_else(|| "unset".to_owned());
            told.push(format!("variable {name}: {} instead of {}", shown(new), shown(old)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(source: &str) -> Unit {
        Unit { source: source.into(), output: "o".into(), cwd: "/p".into(), action: "a".into(), ..Unit::default() }
    }

    fn input(file: u32, content: &[u8]) -> (FileId, Digest) {
        (FileId(file), Digest::of(content))
    }

    /// `/0`, `/1`, and so on.
    fn paths(file: FileId) -> Option<Arc<str>> {
        Some(format!("/{}", file.0).into())
    }

    #[test]
    fn the_oldest_units_are_forgotten() {
        let journal = Journal::default();
        for index in 0..UNITS_MAX + 2 {
            journal.add(unit(&format!("src/{index}.c")), &[input(7, b"")]);
        }
        assert!(journal.find("0.c", &paths).is_empty());
        assert_eq!(journal.find("2.c", &paths).len(), 1);
        assert_eq!(journal.find("/p/src/2.c", &paths).len(), 1);
        let last = journal.last(2);
        assert_eq!(last.len(), 2);
        assert_eq!(last[1].number, UNITS_MAX as u64 + 2);
        assert_eq!(journal.lock().inputs, UNITS_MAX);
    }

    #[test]
    fn what_differs_from_the_last_key_is_told() {
        let journal = Journal::default();
        let add = |action: &str, args: &[&str], lang: &str, inputs: &[(FileId, Digest)]| {
            let args = args.iter().map(|arg| (*arg).to_owned()).collect();
            let env = vec![("LANG".to_owned(), lang.to_owned())];
            journal.add(Unit { action: action.into(), args, env, ..unit("a.c") }, inputs);
            journal.find("a.c", &paths)[0].differs.clone()
        };
        let old = [input(0, b"1"), input(1, b"1"), input(2, b"")];
        assert_eq!(add("1", &["-c", "a.c", "-O1"], "C", &old), ["no earlier unit of this source and output is remembered"]);
        assert_eq!(add("1", &["-c", "a.c", "-O1"], "C", &old), ["nothing: the key is that of unit 1"]);
        let new = [input(0, b"2"), input(1, b"1"), input(3, b"")];
        assert_eq!(
            add("2", &["-c", "a.c", "-O2"], "de", &new),
            [
                "argument added: -O2",
                "argument gone: -O1",
                "variable LANG: de instead of C",
                "file changed: /0",
                "file added: /3",
                "file gone: /2"
            ]
        );
        assert_eq!(add("3", &["a.c", "-c", "-O2"], "de", &new), ["arguments: another order or number"]);
        assert_eq!(add("4", &["a.c", "-c", "-O2"], "de", &new), ["directories, links, times or modes of files"]);
    }

    #[test]
    fn a_refused_command_is_found_by_its_words() {
        let journal = Journal::default();
        let args = ["-c", "sub/a.c", "-fplugin=x.so"].map(str::to_owned).to_vec();
        journal.add(Unit { cwd: "/p".into(), args, compiler: "/usr/bin/gcc".into(), ..Unit::default() }, &[]);
        let found = journal.find("/p/sub/a.c", &paths);
        assert_eq!((found.len(), journal.find("a.c", &paths).len(), journal.find("b.c", &paths).len()), (1, 1, 0));
        assert_eq!(found[0].read[2].meaning, "refused: `plugin`");
        assert!(found[0].differs.is_empty());
    }

    #[test]
    fn inputs_are_bounded() {
        let journal = Journal::default();
        let many: Vec<_> = (0..INPUTS_MAX as u32 / 16).map(|number| input(number, b"")).collect();
        for _ in 0..20 {
            journal.add(unit("a.c"), &many);
        }
        assert!(journal.lock().inputs <= INPUTS_MAX);
        assert_eq!(journal.find("a.c", &paths)[0].inputs.len(), many.len());
        assert_eq!(journal.find("a.c", &|_| None)[0].inputs[0], "a file that is forgotten");
    }

    #[test]
    fn of_a_very_long_command_the_beginning_is_remembered() {
        let args = |count: usize, len: usize| vec![vec![b'x'; len]; count];
        assert_eq!(remembered(&args(3, 5)), ["xxxxx"; 3]);
        let told = remembered(&args(100_000, 9));
        assert_eq!((told.len(), told.last().map(String::as_str)), (ARGS_MAX / 10 + 1, Some("... and 96724 more")));
        assert_eq!(remembered(&args(2, 1 << 20)), ["... and 2 more"]);
    }
}
