//! The real file system as a view, and a request made of a compiler's command line: for tests and for trying things out.
//! It understands the few options that change what is included, and hands all others to the compiler.
#![allow(dead_code, reason = "every test uses a part of it")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is the I/O that the crate itself must not do")]

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kiln_scan::{
    CommandMacro, Compiler, ContentId, Dialect, DirId, Directives, Entry, FileId, FileView, Forced, ForcedKind, Language,
    MacroTable, Names, ReadError, ScanRequest, SearchDirs, SearchList, directives,
};

/// The machine's files, each asked for once.
#[derive(Default)]
pub(crate) struct DiskView {
    names: Names,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    dirs: Vec<String>,
    by_inode: HashMap<(u64, u64), DirId>,
    by_path: HashMap<String, Option<DirId>>,
    walks: HashMap<(DirId, String), Option<DirId>>,
    entries: HashMap<(DirId, String), Entry>,
    files: Vec<String>,
    file_ids: HashMap<(u64, u64), FileId>,
    directives: HashMap<(ContentId, Dialect), Arc<Directives>>,
    bytes_read: u64,
    lexing: std::time::Duration,
}

impl DiskView {
    /// Bytes whose directives were read, and the time it took.
    pub(crate) fn lexed(&self) -> (u64, std::time::Duration) {
        let state = self.state.borrow();
        (state.bytes_read, state.lexing)
    }

    /// Memory that all directives take, and their files.
    pub(crate) fn held(&self) -> (usize, usize) {
        let state = self.state.borrow();
        (state.directives.values().map(|d| d.memory_bytes()).sum(), state.directives.len())
    }

    fn find_dir(&self, path: &str) -> Option<DirId> {
        let meta = std::fs::metadata(path).ok().filter(|m| m.is_dir())?;
        let mut state = self.state.borrow_mut();
        let next = DirId(state.dirs.len() as u32);
        let id = *state.by_inode.entry((meta.dev(), meta.ino())).or_insert(next);
        if id == next {
            state.dirs.push(path.to_owned());
        }
        Some(id)
    }
}

impl FileView for DiskView {
    fn names(&self) -> &Names {
        &self.names
    }

    fn generation(&self) -> u64 {
        0
    }

    fn dir(&self, path: &str) -> Option<DirId> {
        if let Some(known) = self.state.borrow().by_path.get(path) {
            return *known;
        }
        let found = self.find_dir(path);
        self.state.borrow_mut().by_path.insert(path.to_owned(), found);
        found
    }

    fn walk(&self, from: DirId, relative: &str) -> Option<DirId> {
        let key = (from, relative.to_owned());
        if let Some(known) = self.state.borrow().walks.get(&key) {
            return *known;
        }
        let path = format!("{}/{relative}", self.state.borrow().dirs[from.0 as usize]);
        let found = self.find_dir(&path);
        self.state.borrow_mut().walks.insert(key, found);
        found
    }

    fn entry(&self, dir: DirId, name: &str) -> Entry {
        let key = (dir, name.to_owned());
        if let Some(known) = self.state.borrow().entries.get(&key) {
            return *known;
        }
        let mut state = self.state.borrow_mut();
        let path = format!("{}/{name}", state.dirs[dir.0 as usize]);
        let entry = match std::fs::metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound || e.kind() == std::io::ErrorKind::NotADirectory => Entry::Absent,
            Err(_) => Entry::Special,
            Ok(meta) if meta.is_dir() => Entry::Dir,
            Ok(meta) if meta.is_file() => {
                let next = FileId(state.files.len() as u32);
                let id = *state.file_ids.entry((meta.dev(), meta.ino())).or_insert(next);
                if id == next {
                    state.files.push(path);
                }
                Entry::File(id)
            }
            Ok(_) => Entry::Special,
        };
        state.entries.insert(key, entry);
        entry
    }

    fn content(&self, file: FileId) -> Result<ContentId, ReadError> {
        // Nothing changes while these tests look.
        Ok(ContentId(file.0))
    }

    fn directives(&self, content: ContentId, dialect: Dialect) -> Result<Arc<Directives>, ReadError> {
        if let Some(known) = self.state.borrow().directives.get(&(content, dialect)) {
            return Ok(Arc::clone(known));
        }
        let mut state = self.state.borrow_mut();
        let bytes = std::fs::read(&state.files[content.0 as usize]).map_err(|_| ReadError::Unreadable)?;
        let start = std::time::Instant::now();
        let read = Arc::new(directives(&bytes, dialect, &self.names)?);
        state.lexing += start.elapsed();
        state.bytes_read += bytes.len() as u64;
        state.directives.insert((content, dialect), Arc::clone(&read));
        Ok(read)
    }
}

/// Options whose value is the next argument when it is not attached.
const WITH_VALUE: &[&str] =
    &["-I", "-D", "-U", "-iquote", "-isystem", "-idirafter", "-include", "-imacros", "-x", "-o", "-MF", "-MT", "-MQ"];

/// A compile's command line, sorted into what the scanner wants to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommandLine {
    pub(crate) compiler: String,
    pub(crate) source: String,
    pub(crate) language: String,
    pub(crate) dirs: SearchDirs,
    pub(crate) macros: Vec<CommandMacro>,
    pub(crate) includes: Vec<String>,
    pub(crate) imacros: Vec<String>,
    /// All that changes predefined macros or built-in directories.
    pub(crate) others: Vec<String>,
}

/// The language of a source by its ending.
fn language_of(source: &str) -> &'static str {
    match Path::new(source).extension().and_then(OsStr::to_str) {
        Some("cc" | "cpp" | "cxx" | "C" | "hpp" | "hh") => "c++",
        Some("S") => "assembler-with-cpp",
        _ => "c",
    }
}

impl CommandLine {
    /// Sorts arguments. Outputs and dependency options are dropped.
    pub(crate) fn parse(args: &[String]) -> Self {
        let mut line = Self { compiler: args[0].clone(), ..Self::default() };
        let mut args = args[1..].iter();
        while let Some(arg) = args.next() {
            let known = WITH_VALUE.iter().filter(|o| arg.starts_with(**o)).max_by_key(|o| o.len());
            let Some(option) = known else {
                match arg.as_str() {
                    "-c" | "-S" | "-E" | "-M" | "-MM" | "-MD" | "-MMD" | "-MP" => {}
                    other if other.starts_with("-Wp,") || other.starts_with("-Wa,") => {}
                    other if other.starts_with('-') => line.others.push(arg.clone()),
                    _ => line.source.clone_from(arg),
                }
                continue;
            };
            let value =
                if arg.len() > option.len() { arg[option.len()..].to_owned() } else { args.next().cloned().unwrap_or_default() };
            line.take(option, value);
        }
        if line.language.is_empty() {
            language_of(&line.source).clone_into(&mut line.language);
        }
        line
    }

    fn take(&mut self, option: &str, value: String) {
        match option {
            "-I" => self.dirs.user.push(value),
            "-iquote" => self.dirs.quote.push(value),
            "-isystem" => self.dirs.system.push(value),
            "-idirafter" => self.dirs.after.push(value),
            "-D" => self.macros.push(CommandMacro::Define(value)),
            "-U" => self.macros.push(CommandMacro::Undefine(value)),
            "-include" => self.includes.push(value),
            "-imacros" => self.imacros.push(value),
            "-x" => self.language = value,
            _ => {}
        }
    }

    pub(crate) fn is_clang(&self) -> bool {
        self.compiler.contains("clang")
    }

    fn dialect(&self) -> Dialect {
        let standard = self.others.iter().rev().find_map(|o| o.strip_prefix("-std=")).unwrap_or("");
        let (compiler, major) = if self.is_clang() { (Compiler::Clang, 14) } else { (Compiler::Gcc, 12) };
        let language = match self.language.as_str() {
            "c++" => Language::Cxx,
            "assembler-with-cpp" => Language::Assembler,
            _ => Language::C,
        };
        let dialect = Dialect::select(compiler, major, language, standard);
        let dialect = dialect.unwrap_or_else(|| panic!("-std={standard} is not known"));
        Dialect { trigraphs: dialect.trigraphs || self.others.iter().any(|o| o == "-trigraphs"), ..dialect }
    }
}

fn run(command: &mut Command) -> (Vec<u8>, String) {
    let output = command.env("LC_ALL", "C").output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What a compiler says of itself, by its options: asked once each.
#[derive(Default)]
pub(crate) struct Compilers {
    known: BTreeMap<Vec<String>, (Vec<u8>, Vec<String>)>,
}

impl Compilers {
    fn ask(&mut self, line: &CommandLine, cwd: &str) -> (Vec<u8>, Vec<String>) {
        let mut key = vec![line.compiler.clone(), line.language.clone()];
        key.extend(line.others.iter().cloned());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let base = || {
            let mut c = Command::new(&line.compiler);
            c.args(&line.others).args(["-x", &line.language]).current_dir(cwd);
            c
        };
        let (dump, _) = run(base().args(["-dM", "-E", "/dev/null"]));
        let (_, verbose) = run(base().args(["-v", "-E", "/dev/null"]));
        let dirs = verbose
            .lines()
            .skip_while(|l| !l.starts_with("#include <...>"))
            .skip(1)
            .take_while(|l| l.starts_with(' '))
            .map(|l| l.trim().to_owned())
            .collect::<Vec<_>>();
        self.known.insert(key, (dump.clone(), dirs.clone()));
        (dump, dirs)
    }

    /// The request for a command line run in `cwd`.
    pub(crate) fn request(&mut self, view: &DiskView, line: &CommandLine, cwd: &str) -> ScanRequest {
        let (dump, builtin) = self.ask(line, cwd);
        let operators: &[&str] =
            &["__has_include", "__has_include_next", "__has_attribute", "__has_cpp_attribute", "__has_builtin"];
        let absent: &[&str] = if line.is_clang() { &[] } else { &["__has_feature", "__has_extension", "__has_warning"] };
        let predefined = Arc::new(MacroTable::parse(&dump, view.names()).with_operators(operators, absent, view.names()));
        let mut dirs = line.dirs.clone();
        dirs.system.extend(builtin);
        let compiler = if line.is_clang() { Compiler::Clang } else { Compiler::Gcc };
        let mut forced = Vec::new();
        if compiler == Compiler::Gcc && !line.others.iter().any(|o| o == "-ffreestanding" || o == "-nostdinc") {
            forced.push(Forced { name: "stdc-predef.h".into(), kind: ForcedKind::Implicit });
        }
        for (names, kind) in [(&line.imacros, ForcedKind::Imacros), (&line.includes, ForcedKind::Include)] {
            forced.extend(names.iter().map(|name| Forced { name: name.clone(), kind }));
        }
        ScanRequest {
            source: line.source.clone(),
            cwd: cwd.to_owned(),
            dialect: line.dialect(),
            compiler,
            search: Arc::new(SearchList::assemble(view, cwd, &dirs, compiler)),
            predefined,
            command_macros: line.macros.clone(),
            forced,
            assembler_dirs: line.dirs.user.clone(),
            embed_dirs: Vec::new(),
            stand_ins: Vec::new(),
            precompiles: false,
            preprocessed: false,
        }
    }
}

/// The files that the compiler itself lists for a command line; `None` if it fails.
pub(crate) fn listed(args: &[String], cwd: &str) -> Option<Vec<String>> {
    let mut command = Command::new(&args[0]);
    let mut rest = args[1..].iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "-o" | "-MF" | "-MT" | "-MQ" => drop(rest.next()),
            "-c" | "-S" | "-E" | "-MD" | "-MMD" | "-MP" => {}
            other if other.starts_with("-Wp,-M") => {}
            _ => drop(command.arg(arg)),
        }
    }
    let output = command.args(["-M", "-w"]).current_dir(cwd).env("LC_ALL", "C").output().ok()?;
    output.status.success().then(|| dependencies(&output.stdout))
}

/// The headers that the compiler opens (`-H`), missing ones passed over; `None` if it fails.
pub(crate) fn opened(args: &[String], cwd: &str) -> Option<Vec<String>> {
    let mut command = Command::new(&args[0]);
    command.args(args[1..].iter().filter(|a| *a != "-c")).args(["-M", "-MG", "-w", "-H"]);
    let output = command.current_dir(cwd).env("LC_ALL", "C").output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let names = text.lines().filter(|l| l.starts_with('.')).filter_map(|l| l.split_once(' ')).map(|(_, p)| p.to_owned());
    output.status.success().then(|| names.collect())
}

/// The prerequisites in a make rule.
pub(crate) fn dependencies(rule: &[u8]) -> Vec<String> {
    let start = rule.windows(2).position(|w| w == b": " || w == b":\n" || w == b":\\").map_or(0, |n| n + 1);
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut name = Vec::new();
    let mut bytes = rule[start..].iter().copied().peekable();
    while let Some(c) = bytes.next() {
        match (c, bytes.peek()) {
            (b'\\', Some(b'\n')) => drop(bytes.next()),
            (b'\\', Some(&e @ (b' ' | b'#' | b'\\'))) => {
                name.push(e);
                bytes.next();
            }
            (b'$', Some(b'$')) => {
                name.push(b'$');
                bytes.next();
            }
            (b' ' | b'\n' | b'\t', _) => {
                if !name.is_empty() {
                    names.push(std::mem::take(&mut name));
                }
            }
            _ => name.push(c),
        }
    }
    names.push(name);
    names.into_iter().filter(|n| !n.is_empty()).map(|n| String::from_utf8_lossy(&n).into_owned()).collect()
}

/// A file's identity, for comparing lists that spell paths differently.
pub(crate) fn identity(cwd: &str, path: &str) -> Option<(u64, u64)> {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("{cwd}/{path}") };
    std::fs::metadata(OsStr::from_bytes(path.as_bytes())).ok().map(|m| (m.dev(), m.ino()))
}
