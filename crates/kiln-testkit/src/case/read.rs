//! Reads cases from their directories. Knows directives, runs nothing.

use super::drivers::{Driver, choose};
use super::words;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The file of a case that holds directives alone.
const DIRECTIVES: &str = "case";
/// Names of C++ sources end so.
const CXX: &[&str] = &["cc", "cpp", "cxx", "C", "c++", "CPP", "hh", "hpp", "ii", "mm"];

/// One directory of the suite.
#[derive(Debug, Default)]
pub struct Case {
    /// Its path below the suite's directory.
    pub name: String,
    /// What it tries.
    pub title: String,
    /// Whether its lines are run in turn in one directory.
    pub sequence: bool,
    /// Shell commands that complete the directory.
    pub setup: Vec<String>,
    /// A shell command that removes what the case made outside its directory.
    pub cleanup: Option<String>,
    /// Shell commands that come before each line's compiler in one shell: `umask`, `ulimit`, closed streams.
    pub prelude: String,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// The files, by their path below the directory.
    pub files: Vec<(PathBuf, Vec<u8>)>,
}

/// One step of a case.
#[derive(Debug)]
pub enum Step {
    /// A command line.
    Run(Line),
    /// A shell command between two lines of a sequence.
    Edit(String),
}

/// One command line.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// As it is written.
    pub text: String,
    /// The words after the compiler's name.
    pub words: Vec<OsString>,
    /// Variables of its environment.
    pub env: Vec<(OsString, OsString)>,
    /// The file that is its standard input.
    pub stdin: Option<OsString>,
    /// The compilers it is tried with.
    pub drivers: Vec<&'static Driver>,
    /// The reason for which kiln may leave it to this machine; without one it must be compiled on the farm.
    pub here: Option<String>,
    /// Whether its result must have been there already.
    pub hit: bool,
    /// The compiler's path in place of its name, below the case's directory or absolute.
    pub program: Option<String>,
    /// Directory below the case's in which it runs.
    pub subdir: Option<String>,
    /// Width of the terminal that all streams are.
    pub columns: Option<u16>,
    /// Whether both streams go to one pipe.
    pub merged: bool,
}

/// All cases below `dir`, by name.
///
/// # Panics
/// One of them is not well written.
#[must_use]
pub fn cases(dir: &Path) -> Vec<Case> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(at) = dirs.pop() {
        let name = at.strip_prefix(dir).expect("below the directory").display().to_string();
        // What is below a case is its own.
        match Case::read(&at, name) {
            Ok(Some(case)) => found.push(case),
            Ok(None) => dirs.extend(entries(&at).into_iter().filter(|path| path.is_dir())),
            Err(error) => panic!("{}: {error}", at.display()),
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

impl Case {
    /// The case in `dir`; `None` where no file of it holds a directive.
    fn read(dir: &Path, name: String) -> Result<Option<Case>, String> {
        let mut case = Case { name, ..Case::default() };
        let mut directives = Vec::new();
        for path in entries(dir).into_iter().filter(|path| path.is_file()) {
            let bytes = fs::read(&path).map_err(|error| error.to_string())?;
            let alone = path.file_name() == Some(OsStr::new(DIRECTIVES));
            let cxx = path.extension().is_some_and(|of| CXX.iter().any(|extension| of == *extension));
            for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
                let Ok(line) = std::str::from_utf8(line) else { continue };
                if let Some((head, text)) = directive(line, alone) {
                    let place = format!("{}:{}", path.file_name().unwrap_or_default().display(), at + 1);
                    directives.push((place, cxx, head.to_owned(), text.to_owned()));
                } else if alone && !line.trim().is_empty() && !line.starts_with('#') {
                    return Err(format!("{}: no directive", at + 1));
                }
            }
        }
        if directives.is_empty() {
            return Ok(None);
        }
        let cxx = directives.iter().any(|(_, _, head, text)| head == "language" && text == "c++");
        for (place, in_cxx, head, text) in directives {
            case.take(cxx || in_cxx, &head, &text).map_err(|error| format!("{place}: {error}"))?;
        }
        if case.title.is_empty() {
            return Err("no title".to_owned());
        }
        case.files = files_below(dir);
        case.files.retain(|(path, _)| path != Path::new(DIRECTIVES));
        Ok(Some(case))
    }

    fn take(&mut self, cxx: bool, head: &str, text: &str) -> Result<(), String> {
        let (head, chosen) = match head.split_once('(') {
            Some((head, rest)) => {
                let (chosen, rest) = rest.split_once(')').ok_or("a ( without its end")?;
                (format!("{head} {rest}"), chosen)
            }
            None => (head.to_owned(), ""),
        };
        let mut heads = head.split_ascii_whitespace();
        match heads.next().unwrap_or_default() {
            "title" => self.title = text.to_owned(),
            "language" if text == "c++" || text == "c" => {}
            "setup" => self.setup.push(text.to_owned()),
            "cleanup" => self.cleanup = Some(text.to_owned()),
            "prelude" => text.clone_into(&mut self.prelude),
            "sequence" => self.sequence = true,
            "edit" if self.sequence => self.steps.push(Step::Edit(text.to_owned())),
            word @ ("run" | "here") => {
                let chosen: Vec<&str> = chosen.split_ascii_whitespace().collect();
                let here = if word == "here" { Some(heads.next().ok_or("a reason is missing")?.to_owned()) } else { None };
                self.steps.push(Step::Run(Line::read(text, choose(&chosen, cxx)?, here, heads)?));
            }
            other => return Err(format!("{other}: no such directive, or not here")),
        }
        Ok(())
    }

    /// Its command lines.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.steps.iter().filter_map(|step| match step {
            Step::Run(line) => Some(line),
            Step::Edit(_) => None,
        })
    }
}

/// Head and text of a line that is a directive.
fn directive(line: &str, alone: bool) -> Option<(&str, &str)> {
    let body = match line.strip_prefix("//# ") {
        Some(body) => body,
        None => match line.strip_prefix("/*# ") {
            Some(body) => body.strip_suffix("*/")?,
            None if alone && !line.starts_with('#') => line,
            None => return None,
        },
    };
    let (head, text) = body.split_once(':')?;
    Some((head.trim(), text.trim()))
}

fn files_below(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(at) = dirs.pop() {
        for path in entries(&at) {
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("below the directory").to_owned();
                files.push((name, fs::read(&path).expect("a file")));
            }
        }
    }
    files
}

impl Line {
    fn read<'a>(
        text: &str,
        drivers: Vec<&'static Driver>,
        here: Option<String>,
        options: impl Iterator<Item = &'a str>,
    ) -> Result<Line, String> {
        let mut words = words::split(text)?;
        let count = words.iter().take_while(|word| is_assignment(word)).count();
        let env = words.drain(..count).map(|word| assignment(&word)).collect();
        let mut stdin = None;
        if words.len() >= 2 && words[words.len() - 2] == "<" {
            stdin = words.pop();
            words.pop();
        }
        let mut line = Line { text: text.to_owned(), words, env, stdin, drivers, here, ..Line::default() };
        for option in options {
            match option.split_once('=') {
                Some(("tty", columns)) => line.columns = Some(columns.parse().map_err(|error| format!("{option}: {error}"))?),
                Some(("in", dir)) => line.subdir = Some(dir.to_owned()),
                Some(("with", path)) => line.program = Some(path.to_owned()),
                None if option == "merged" => line.merged = true,
                None if option == "hit" => line.hit = true,
                _ => return Err(format!("{option}: no such option")),
            }
        }
        Ok(line)
    }
}

fn is_assignment(word: &OsStr) -> bool {
    let bytes = word.as_bytes();
    let name = bytes.split(|byte| *byte == b'=').next().unwrap_or_default();
    name.len() < bytes.len() && !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn assignment(word: &OsStr) -> (OsString, OsString) {
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
    (OsString::from_vec(bytes[..at].to_vec()), OsString::from_vec(bytes[at + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Option<Case>, String> {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            fs::create_dir_all(dir.path().join(name).parent().expect("a parent")).expect("a directory");
            fs::write(dir.path().join(name), text).expect("a file");
        }
        Case::read(dir.path(), "t".to_owned())
    }

    #[test]
    fn a_case_is_its_files_and_directives() {
        let source = "//# title: words\n//# setup: mkdir out\n//# run(gnu host) tty=80 in=out: A=1 B= -c a.c < a.c\nint x;\n";
        let case = read(&[("a.c", source), ("inc/h.h", ""), ("case", "# a note\n\nhere link: a.c\n")]).expect("well written");
        let case = case.expect("a case");
        assert_eq!((case.title.as_str(), case.setup.len(), case.files.len()), ("words", 1, 2));
        let lines: Vec<&Line> = case.lines().collect();
        assert_eq!(lines[0].env, [("A".into(), "1".into()), ("B".into(), "".into())]);
        assert_eq!((lines[0].words.len(), lines[0].columns, lines[0].subdir.as_deref()), (2, Some(80), Some("out")));
        assert_eq!((lines[0].stdin.as_deref(), lines[0].drivers.len()), (Some(OsStr::new("a.c")), 1));
        assert_eq!(lines[1].here.as_deref(), Some("link"));
    }

    #[test]
    fn what_is_no_case_is_said() {
        assert!(read(&[("a.c", "int x; //# run: -c a.c\n")]).expect("no directives").is_none());
        for bad in
            ["//# run: -c a.c\n", "//# title: x\n//# walk: a\n", "//# title: x\n//# edit: true\n", "//# title: x\n//# run(z): a\n"]
        {
            assert!(read(&[("a.c", bad)]).is_err(), "{bad}");
        }
    }
}
