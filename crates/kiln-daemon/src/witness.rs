//! What a finished compile tells of the files it read or asked for, against what was found before it ran. Knows no farm.
//!
//! Every file on its own list of dependencies must be one that the scan entered; a file that it did not find must not be on this
//! machine. Either would mean that the compile saw other files than a local one.

use bytes::Bytes;
use kiln_cmdline::{Invocation, Role};
use kiln_scan::{Closure, File, FileId, Reason};
use kiln_toolchain::Family;
use rustc_hash::FxHashSet;
use std::os::unix::fs::FileExt as _;

use crate::action::Analysed;
use crate::analyse::absolute;
use crate::files::{Epoch, Files, WalkEnd, spelled};
use crate::reply::{Contents, ResultFile, UnitResult};

/// Largest list of dependencies looked at, as [`kiln_toolchain::parse_first_rule`] has it.
const LIST_MAX: u64 = 16 << 20;
/// Last lines of messages looked at: a missing file ends a compile; its line, those it quotes and a summary follow.
const LINES_MAX: usize = 16;
/// Names looked for in those lines: some five parts each.
const NAMES_MAX: usize = 80;

/// An input that the compile read or lacked, and that was not found before it ran.
pub(crate) fn missed(unit: &Analysed, files: &Files, result: &UnitResult) -> Option<String> {
    Witness::of(unit, files, &unit.closure).missed(result)
}

struct Witness<'a> {
    unit: &'a Invocation,
    closure: &'a Closure,
    lists_probed: bool,
    files: &'a Files,
    cwd: String,
    epoch: Epoch,
}

impl<'a> Witness<'a> {
    fn of(unit: &'a Analysed, files: &'a Files, closure: &'a Closure) -> Witness<'a> {
        let cwd = format!("/{}", unit.command.working_directory);
        let lists_probed = unit.toolchain.family == Family::Clang;
        Witness { unit: &unit.unit, closure, lists_probed, files, cwd, epoch: files.begin() }
    }

    fn missed(&self, result: &UnitResult) -> Option<String> {
        if result.exit_code != 0 {
            return self.lacked(&String::from_utf8_lossy(&result.stderr));
        }
        let mut lists = self.unit.outputs.iter().filter(|output| output.role == Role::DepFile);
        lists.find_map(|output| self.read_unseen(&text_of(result.files.iter().find(|file| file.path == output.path)?)?))
    }

    /// A file on the compile's own list that the scan did not enter.
    fn read_unseen(&self, list: &[u8]) -> Option<String> {
        let names = kiln_toolchain::parse_first_rule(list).ok()?;
        let entered: FxHashSet<&str> = self.entered().map(|file| without_dots(&file.path)).collect();
        let mut unknown = names.iter().filter(|name| !entered.contains(without_dots(name))).peekable();
        unknown.peek()?;
        // Compilers shorten some paths; some they list because options name them.
        let known = self.known(self.entered());
        unknown.find(|name| self.file(name).is_some_and(|file| !known.contains(&file))).map(|name| name.to_string())
    }

    /// A file that messages say is missing, and that is here but not in the root.
    fn lacked(&self, stderr: &str) -> Option<String> {
        let names = missing_names(stderr);
        if names.is_empty() {
            return None;
        }
        let known = self.known(self.closure.files.iter());
        let options = self.unit.search.iter().map(|dir| absolute(&self.cwd, &dir.path));
        let dirs: Vec<String> = [self.cwd.clone()]
            .into_iter()
            .chain(self.closure.dirs.iter().map(|dir| spelled(&self.cwd, &dir.spelled)))
            .chain(options)
            .collect();
        let is_here =
            |name: &str| dirs.iter().any(|dir| self.file(&absolute(dir, name)).is_some_and(|file| !known.contains(&file)));
        names.into_iter().find(|name| is_here(name)).map(str::to_owned)
    }

    /// Files of the closure that may be on the compile's list: those whose text was followed. Clang lists what it only looked for as well.
    fn entered(&self) -> impl Iterator<Item = &File> {
        self.closure.files.iter().filter(|file| file.reason != Reason::Probed || self.lists_probed)
    }

    /// These files and those that options name.
    fn known<'f>(&self, files: impl Iterator<Item = &'f File>) -> FxHashSet<FileId> {
        let named = self.unit.input_files.iter().chain(&self.unit.response_files);
        files.map(|file| file.file).chain(named.filter_map(|path| self.file(path))).collect()
    }

    /// The file that a path leads to on this machine, now.
    fn file(&self, path: &str) -> Option<FileId> {
        match self.files.walk(&absolute(&self.cwd, path), self.epoch).end {
            WalkEnd::File(file) => Some(file),
            _ => None,
        }
    }
}

fn text_of(file: &ResultFile) -> Option<Bytes> {
    match &file.contents {
        Contents::Bytes(bytes) => Some(bytes.clone()),
        Contents::File(file, len) => {
            let mut bytes = vec![0; usize::try_from((*len).min(LIST_MAX)).ok()?];
            file.read_exact_at(&mut bytes, 0).ok()?;
            Some(bytes.into())
        }
    }
}

/// A path as lists spell it: `./` is left out at its beginning.
fn without_dots(mut path: &str) -> &str {
    while let Some(rest) = path.strip_prefix("./") {
        path = rest.trim_start_matches('/');
    }
    path
}

/// Names that may be those of files that a compiler or assembler could not open, in any language: a part of a line between colons, as
/// in `a.c:1:10: fatal error: x.h: No such file or directory`, a word with a dot or a slash, or what clang quotes, as in `'x.h' file not
/// found`.
fn missing_names(stderr: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for line in stderr.lines().rev().take(LINES_MAX) {
        names.extend(
            line.split(':').skip(1).map(|part| part.trim_matches(|of: char| of.is_whitespace() || "'\"`‘’«»".contains(of))),
        );
        names.extend(line.split_whitespace().filter(|word| word.contains(['.', '/'])));
        if line.ends_with("not found") || line.contains("not find") {
            names.extend(line.split(['\'', '"']).skip(1).step_by(2));
        }
    }
    names.retain(|name| !name.is_empty() && !name.contains('\0') && name.contains(|of: char| !of.is_ascii_digit()));
    names.truncate(NAMES_MAX);
    names
}

#[cfg(test)]
mod withheld;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_files_are_named_in_every_language() {
        for (text, name) in [
            (
                "a.c:1:10: fatal error: sub/x.h: No such file or directory\n    1 | #include <sub/x.h>\n      |          ^~~~~~\ncompilation terminated.\n",
                "sub/x.h",
            ),
            ("a.c:1:10: schwerwiegender Fehler: x.h: Datei oder Verzeichnis nicht gefunden\nKompilierung beendet.\n", "x.h"),
            ("a.c:1:10: erreur fatale\u{a0}: vector\u{a0}: Aucun fichier ou dossier de ce type\ncompilation terminée.\n", "vector"),
            ("cc1: fatal error: forced.h: No such file or directory\ncompilation terminated.\n", "forced.h"),
            ("a.c:1:10: fatal error: 'x y.h' file not found\n#include \"x y.h\"\n         ^~~~~\n1 error generated.\n", "x y.h"),
            ("a.s: Assembler messages:\na.s:3: Error: file not found: data.bin\n", "data.bin"),
            ("<inline asm>:1:10: error: Could not find incbin file 'data.bin'\n", "data.bin"),
            ("a.s: Assembler messages:\na.s:1: Error: can't open x.inc for reading: No such file or directory\n", "x.inc"),
        ] {
            assert!(missing_names(text).contains(&name), "{text}: {:?}", missing_names(text));
        }
    }

    #[test]
    fn ordinary_errors_name_few_things() {
        let text = "a.cc:2:1: error: 'string' does not name a type\na.cc:1:1: note: 'std::string' is defined in header '<string>'; did you forget to '#include <string>'?\n";
        assert!(!missing_names(text).iter().any(|name| ["string", "<string>"].contains(name)), "{:?}", missing_names(text));
        let many = format!("{}\n", "a:b:c:d:e:f:g:h:i:j:k:l:m:n:o:p:q:r:s:t\n".repeat(100));
        assert_eq!(missing_names(&many).len(), NAMES_MAX);
    }

    #[test]
    fn leading_dots_do_not_count() {
        for (path, shown) in [("./a.h", "a.h"), (".//./a.h", "a.h"), ("../a.h", "../a.h"), ("a/./b.h", "a/./b.h"), ("/a.h", "/a.h")]
        {
            assert_eq!(without_dots(path), shown);
        }
    }
}
