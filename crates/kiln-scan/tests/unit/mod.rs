//! A unit over files in memory, and what its scan finds.
#![allow(dead_code, reason = "every test uses a part of it")]

use std::collections::BTreeSet;
use std::sync::Arc;

use kiln_scan::{
    Closure, CommandMacro, Compiler, Dialect, FileView, Forced, ForcedKind, MacroTable, MemoryView, Reason, ScanRequest, Scanner,
    SearchDirs, SearchList, Unprovable,
};

/// A unit in `/w` with the source `a.c`, directories `i` and `j` on the search path and `/sys` behind them.
pub(crate) struct Unit {
    pub(crate) view: MemoryView,
    pub(crate) dirs: SearchDirs,
    pub(crate) dialect: Dialect,
    pub(crate) compiler: Compiler,
    pub(crate) predefined: &'static str,
    pub(crate) macros: Vec<CommandMacro>,
    pub(crate) forced: Vec<Forced>,
    pub(crate) embed_dirs: Vec<String>,
    pub(crate) source: &'static str,
    pub(crate) stand_ins: Vec<(String, Vec<String>)>,
    pub(crate) precompiles: bool,
}

impl Unit {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let mut view = MemoryView::new();
        for dir in ["/w/i", "/w/j", "/sys"] {
            view.add_dir(dir);
        }
        for (path, text) in files {
            let path = if path.starts_with('/') { (*path).to_owned() } else { format!("/w/{path}") };
            view.write(&path, text.as_bytes());
        }
        let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        Self {
            view,
            dirs: SearchDirs { user: strings(&["i", "j"]), system: strings(&["/sys"]), ..SearchDirs::default() },
            dialect: Dialect::GNU_C,
            compiler: Compiler::Gcc,
            predefined: "#define __GNUC__ 12\n#define __x86_64__ 1\n",
            macros: Vec::new(),
            forced: Vec::new(),
            embed_dirs: Vec::new(),
            source: "a.c",
            stand_ins: Vec::new(),
            precompiles: false,
        }
    }

    pub(crate) fn define(mut self, text: &str) -> Self {
        self.macros.push(CommandMacro::Define(text.to_owned()));
        self
    }

    pub(crate) fn undefine(mut self, text: &str) -> Self {
        self.macros.push(CommandMacro::Undefine(text.to_owned()));
        self
    }

    pub(crate) fn force(mut self, kind: ForcedKind, name: &str) -> Self {
        self.forced.push(Forced { name: name.to_owned(), kind });
        self
    }

    pub(crate) fn request(&self) -> ScanRequest {
        let table = MacroTable::parse(self.predefined.as_bytes(), self.view.names());
        let table = table.with_operators(&["__has_include", "__has_include_next"], &["__has_feature"], self.view.names());
        ScanRequest {
            source: self.source.to_owned(),
            cwd: "/w".to_owned(),
            dialect: self.dialect,
            compiler: self.compiler,
            search: Arc::new(SearchList::assemble(&self.view, "/w", &self.dirs, self.compiler)),
            predefined: Arc::new(table),
            command_macros: self.macros.clone(),
            forced: self.forced.clone(),
            assembler_dirs: vec!["i".to_owned()],
            embed_dirs: self.embed_dirs.clone(),
            stand_ins: self.stand_ins.clone(),
            precompiles: self.precompiles,
            preprocessed: false,
        }
    }

    pub(crate) fn result(&self) -> Result<Closure, Unprovable> {
        Scanner::new().scan(&self.view, &self.request())
    }

    pub(crate) fn closure(&self) -> Closure {
        self.result().expect("provable")
    }

    /// Paths of the closure but for the source, sorted; probed ones with a question mark.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = self.closure().files[1..]
            .iter()
            .map(|f| if f.reason == Reason::Probed { format!("{}?", f.path) } else { f.path.to_string() })
            .collect();
        files.sort();
        files
    }

    #[track_caller]
    pub(crate) fn finds(&self, expected: &[&str]) -> &Self {
        assert_eq!(self.files(), expected);
        self
    }

    #[track_caller]
    pub(crate) fn lacks(&self, expected: &[(&str, &str)]) -> &Self {
        let absent: BTreeSet<(String, String)> = self.closure().absent().map(|a| (a.dir.to_string(), a.name.to_string())).collect();
        for (dir, name) in expected {
            assert!(absent.contains(&((*dir).to_owned(), (*name).to_owned())), "{dir} {name} not in {absent:?}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn is_unprovable(&self, code: &str) {
        match self.result() {
            Ok(closure) => panic!("{code} expected, found {:?}", closure.files),
            Err(reason) => assert_eq!(reason.code(), code, "{reason}"),
        }
    }
}

pub(crate) fn unit(files: &[(&str, &str)]) -> Unit {
    Unit::new(files)
}

/// A unit whose source is `text`, with empty headers at these paths.
pub(crate) fn source(text: &str, headers: &[&str]) -> Unit {
    let mut files = vec![("a.c", text)];
    files.extend(headers.iter().map(|h| (*h, "")));
    Unit::new(&files)
}
