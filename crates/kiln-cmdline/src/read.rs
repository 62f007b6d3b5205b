//! Walks the words of a command and gathers what they mean. Refuses what is not modelled. Touches no file system.

use crate::environment;
use crate::invocation::{DepTarget, ForcedInclude, Invocation, Language, MacroOp, OutputKind, SearchDir, SearchKind};
use crate::outputs::{self, Sides, Temps};
use crate::pass;
use crate::reason::{Reason, Refusal};
use crate::response;
use crate::several::{self, Reading};
use crate::source::{self, Kind};
use crate::table::{Depend, Effect, Family, Reads};
use crate::words::{Names, Spelled, Word, Words};

/// One command as the wrapper saw it.
pub struct Request<'a> {
    /// The kind of driver, decided from the toolchain.
    pub family: Family,
    /// Whether the driver is `g++`, `clang++` or `c++`, whose default language is C++.
    pub cxx_driver: bool,
    /// The arguments after argv\[0\].
    pub args: &'a [Vec<u8>],
    /// The environment, in any order. `LD_LIBRARY_PATH` refuses the command, for it may put other libraries under the
    /// compiler; a caller who has seen that none of its directories holds a library the compiler loads leaves it out.
    pub env: &'a [(Vec<u8>, Vec<u8>)],
    /// The working directory's physical path, absolute.
    pub cwd: &'a str,
    /// Reads a response file named relative to the working directory or absolutely; `None` when it cannot be read or is
    /// larger than the caller allows.
    pub read_file: &'a dyn Fn(&str) -> Option<Vec<u8>>,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("family", &self.family)
            .field("cxx_driver", &self.cxx_driver)
            .field("args", &self.args)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

/// Reads a command of one source. A refusal means: run it here, untouched, and cache nothing.
///
/// # Errors
/// Every command that is not one compile of one source with outputs that are all known, with the reason of the lowest
/// rank that was found.
pub fn parse(req: &Request<'_>) -> Result<Invocation, Refusal> {
    let Reading { mut units, link } = parse_all(req)?;
    match (units.pop(), units.is_empty(), link) {
        (Some(unit), true, None) => Ok(unit),
        (_, _, None) => Err(Refusal::new(Reason::MultipleSources, "several compiles")),
        _ => Err(Refusal::new(Reason::Link, "several compiles and a link")),
    }
}

/// Reads a command of any number of sources.
///
/// # Errors
/// As [`parse`], and commands whose sources cannot be compiled one by one with the same outcome.
pub fn parse_all(req: &Request<'_>) -> Result<Reading, Refusal> {
    let args = utf8_args(req.args)?;
    let expanded = response::expand(req.family, &args, req.read_file)?;
    let driver = Driver { family: req.family, cxx: req.cxx_driver, env: req.env, cwd: req.cwd };
    if let Some(reading) = several::read(&driver, &expanded) {
        return reading;
    }
    let mut unit = driver.read(expanded.args)?;
    unit.args = args;
    unit.response_files = expanded.files;
    Ok(Reading { units: vec![unit], link: None })
}

/// What is the same for all units of a command.
#[derive(Debug)]
pub(crate) struct Driver<'a> {
    pub(crate) family: Family,
    pub(crate) cxx: bool,
    pub(crate) env: &'a [(Vec<u8>, Vec<u8>)],
    pub(crate) cwd: &'a str,
}

impl Driver<'_> {
    /// Reads a command of one source, response files expanded.
    pub(crate) fn read(&self, args: Vec<String>) -> Result<Invocation, Refusal> {
        if self.family == Family::Gcc && response::is_too_long_for_gcc(&args) {
            return Err(Refusal::new(Reason::TooLong, "gcc hands no more than 128 KiB of options on to its compiler"));
        }
        let mut state = State::new(self.family);
        for word in Words::new(Names::Driver(self.family), &args) {
            state.word(word);
        }
        pass::finish(&mut state);
        let main = state.main_file(self.cxx);
        let language = main.as_ref().map_or(Language::C, |(_, language)| *language);
        let environment = match environment::read(self.env, self.cwd, language, state.forced_color) {
            Ok(environment) => environment,
            Err(refusal) => {
                state.refuse_with(refusal);
                environment::Environment::default()
            }
        };
        let pwd = environment.sent.iter().find(|(name, _)| name == "PWD").map_or(self.cwd, |(_, value)| value.as_str());
        let outputs = state.outputs(main.as_ref(), pwd);
        if let Some(refusal) = state.refused {
            return Err(refusal);
        }
        let (Some((source, _)), Some(outputs)) = (main, outputs) else {
            return Err(Refusal::new(Reason::NoSource, "no source file"));
        };
        let mut invocation = state.invocation;
        invocation.args.clone_from(&args);
        invocation.expanded = args;
        invocation.source = source;
        invocation.language = language;
        invocation.output_kind = outputs.kind;
        invocation.outputs = outputs.files;
        invocation.dep = outputs.dep;
        invocation.input_files.extend(outputs.profile_inputs);
        invocation.forced_color = state.forced_color;
        invocation.env = environment.sent;
        invocation.terminal_env = environment.terminal;
        Ok(invocation)
    }
}

fn utf8_args(args: &[Vec<u8>]) -> Result<Vec<String>, Refusal> {
    let mut bytes = 0;
    let mut out = Vec::with_capacity(args.len());
    for arg in args {
        bytes += arg.len() + 1;
        let Ok(text) = std::str::from_utf8(arg) else {
            return Err(Refusal::new(Reason::NotUtf8, String::from_utf8_lossy(arg)));
        };
        out.push(text.to_owned());
    }
    if bytes > response::BYTES_MAX {
        return Err(Refusal::new(Reason::TooLong, format!("{bytes} bytes of arguments")));
    }
    Ok(out)
}

/// What `-x` says at a point of the command line.
#[derive(Debug, Clone, Copy)]
enum Forced {
    No,
    Kind(Kind),
    Other(Reason),
}

/// What has been read so far.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) family: Family,
    pub(crate) invocation: Invocation,
    pub(crate) sides: Sides,
    pub(crate) refused: Option<Refusal>,
    /// Tokens of `-Wp,` and `-Xpreprocessor`, in order; the compilers append them to the inner command.
    pub(crate) preprocessor: Vec<String>,
    /// Tokens of `-Wa,` and `-Xassembler`, in order.
    pub(crate) assembler: Vec<String>,
    /// Tokens of `-Xclang`, in order.
    pub(crate) cc1: Vec<String>,
    pub(crate) llvm: Vec<String>,
    inputs: Vec<(String, Forced)>,
    forced: Forced,
    includes: Vec<ForcedInclude>,
    kind: Option<OutputKind>,
    prefix: Option<String>,
    forced_color: bool,
    emits_pch: bool,
}

impl State {
    fn new(family: Family) -> Self {
        State {
            family,
            invocation: empty_invocation(),
            sides: Sides::default(),
            refused: None,
            preprocessor: Vec::new(),
            assembler: Vec::new(),
            cc1: Vec::new(),
            llvm: Vec::new(),
            inputs: Vec::new(),
            forced: Forced::No,
            includes: Vec::new(),
            kind: None,
            prefix: None,
            forced_color: false,
            emits_pch: false,
        }
    }

    pub(crate) fn refuse(&mut self, reason: Reason, detail: &str) {
        let replaces = self.refused.as_ref().is_none_or(|old| reason.rank() < old.reason.rank());
        if replaces {
            self.refused = Some(Refusal::new(reason, detail));
        }
    }

    fn refuse_with(&mut self, refusal: Refusal) {
        self.refuse(refusal.reason, &refusal.detail);
    }

    fn word(&mut self, word: Word<'_>) {
        match word {
            Word::Option(spelled) => self.option(spelled),
            Word::Input(path) => self.inputs.push((path.to_owned(), self.forced)),
            Word::Unknown(arg) if self.is_target_option(arg) => self.probe(arg, None),
            Word::Unknown(arg) => self.refuse(Reason::UnknownOption, arg),
            Word::MissingValue(arg) => self.refuse(Reason::MissingValue, arg),
        }
    }

    /// gcc's options for the targets kiln has no list of: `-m` and a word, perhaps with a value that is no path. No target
    /// has one that takes a separate value or names a file.
    fn is_target_option(&self, arg: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '=' | ',');
        self.family == Family::Gcc && arg.len() > 2 && arg.starts_with("-m") && arg.chars().all(plain)
    }

    /// Notes an option that can change what the preprocessor knows.
    pub(crate) fn probe(&mut self, arg: &str, next: Option<&str>) {
        self.invocation.probe_args.push(arg.to_owned());
        self.invocation.probe_args.extend(next.map(str::to_owned));
    }

    fn option(&mut self, spelled: Spelled<'_>) {
        let Spelled { found, arg, value, next } = spelled;
        match found.opt.effect {
            Effect::Compile => self.kind = self.kind.or(Some(OutputKind::Object)),
            Effect::Assemble => self.kind = Some(OutputKind::Assembly),
            Effect::Output => self.sides.output = Some(value.to_owned()),
            Effect::Language => self.language(value),
            Effect::PassPreprocessor if next.is_some() => self.preprocessor.push(value.to_owned()),
            Effect::PassPreprocessor => pass::comma_preprocessor(self, arg, value),
            Effect::PassAssembler if next.is_some() => self.assembler.push(value.to_owned()),
            Effect::PassAssembler => self.assembler.extend(value.split(',').map(str::to_owned)),
            Effect::PassCc1 => self.cc1.push(value.to_owned()),
            Effect::PassLlvm => self.llvm.push(value.to_owned()),
            Effect::SaveTemps => self.save_temps(arg, value),
            _ => self.common(spelled),
        }
    }

    /// Effects that mean the same on the driver's command line and inside `-Wp,`.
    pub(crate) fn common(&mut self, spelled: Spelled<'_>) {
        let Spelled { found, arg, value, next } = spelled;
        match found.opt.effect {
            Effect::Search(_) | Effect::SearchInSysroot | Effect::SearchPrefix | Effect::WithPrefix | Effect::WithPrefixBefore => {
                self.search(found.opt.effect, value)
            }
            Effect::Sysroot | Effect::IncludeSysroot | Effect::NoStdInc | Effect::NoStdIncxx => self.standard(spelled),
            Effect::NoBuiltinInc | Effect::NoStdlibInc => self.standard(spelled),
            Effect::Define => self.invocation.macros.push(MacroOp::Define(value.to_owned())),
            Effect::Undefine => self.invocation.macros.push(MacroOp::Undefine(value.to_owned())),
            Effect::Include | Effect::Imacros => {
                let macros_only = found.opt.effect == Effect::Imacros;
                self.includes.push(ForcedInclude { name: value.to_owned(), macros_only, inner: false });
            }
            Effect::IncludePch => self.invocation.precompiled.push(value.to_owned()),
            Effect::EmitPch => self.emits_pch = true,
            Effect::Depend(what) => self.depend(what, value),
            Effect::Code => {
                self.sides.seeded |= arg.starts_with("-frandom-seed");
                self.probe(arg, next);
            }
            Effect::Debug => {
                self.invocation.debug = !found.negated && value != "0";
                self.probe(arg, next);
            }
            Effect::CompilationDir => self.sides.compilation_dir = true,
            Effect::Warn => self.warn(arg, value),
            Effect::Message | Effect::Link => {}
            Effect::Color => {
                self.forced_color = !found.negated && matches!(value, "" | "always");
            }
            Effect::DiagnosticsFormat if value.ends_with("-file") => self.refuse(Reason::OtherOutput, arg),
            Effect::DiagnosticsFormat => {}
            Effect::Machine => {
                self.invocation.native |= value.starts_with("native");
                self.probe(arg, next);
            }
            Effect::Charset => self.charset(arg, value),
            Effect::Specs => self.specs(spelled),
            Effect::DumpLetters if value.chars().all(|c| "ADIMNPUp".contains(c)) && !value.is_empty() => {}
            Effect::DumpLetters => self.refuse(Reason::Dump, arg),
            Effect::OptInfo if value.contains('=') => self.refuse(Reason::Dump, arg),
            Effect::OptInfo => {}
            Effect::Instrument => self.invocation.coverage |= !found.negated,
            Effect::EmitLlvm => self.sides.bitcode = true,
            Effect::Lto => {
                self.sides.lto = !found.negated;
                self.probe(arg, next);
            }
            Effect::Side(_) => self.side(spelled),
            Effect::Reads(what) => self.reads(what, value, found.negated),
            Effect::ReadsDir => {
                self.invocation.input_dirs.push(value.to_owned());
                self.probe(arg, next);
            }
            Effect::Refuse(_) if found.negated => {}
            Effect::Refuse(reason) => self.refuse(reason, arg),
            Effect::Compile
            | Effect::Assemble
            | Effect::Output
            | Effect::Language
            | Effect::PassPreprocessor
            | Effect::PassAssembler
            | Effect::PassCc1
            | Effect::PassLlvm
            | Effect::SaveTemps => self.refuse(Reason::BadCombination, arg),
        }
    }

    /// A header read first by clang's inner compiler, unseen by its driver.
    pub(crate) fn include_inner(&mut self, name: &str) {
        self.includes.push(ForcedInclude { name: name.to_owned(), macros_only: false, inner: true });
    }

    fn language(&mut self, name: &str) {
        self.forced = match source::from_x(name) {
            Ok(None) => Forced::No,
            Ok(Some(kind)) => Forced::Kind(kind),
            Err(reason) => Forced::Other(reason),
        };
    }

    fn search(&mut self, effect: Effect, value: &str) {
        let (kind, path) = match effect {
            Effect::Search(kind) => (kind, value.to_owned()),
            Effect::SearchInSysroot => (SearchKind::System, value.to_owned()),
            Effect::SearchPrefix => {
                self.prefix = Some(value.to_owned());
                return;
            }
            _ => {
                let Some(prefix) = &self.prefix else {
                    return self.refuse(Reason::BadCombination, "-iwithprefix without -iprefix");
                };
                let kind = match (effect, self.family) {
                    (Effect::WithPrefixBefore, _) => SearchKind::Normal,
                    (_, Family::Gcc) => SearchKind::System,
                    (_, Family::Clang) => SearchKind::After,
                };
                (kind, format!("{prefix}{value}"))
            }
        };
        if path.is_empty() {
            return self.refuse(Reason::BadCombination, "empty include directory");
        }
        let below = path.strip_prefix('=').or_else(|| path.strip_prefix("$SYSROOT")).map(str::to_owned);
        let in_sysroot = below.is_some() || effect == Effect::SearchInSysroot;
        self.invocation.search.push(SearchDir { kind, path: below.unwrap_or(path), in_sysroot });
    }

    fn standard(&mut self, spelled: Spelled<'_>) {
        let Spelled { found, arg, value, next } = spelled;
        match found.opt.effect {
            Effect::Sysroot => self.invocation.sysroot = Some(value.to_owned()),
            Effect::IncludeSysroot => self.invocation.isysroot = Some(value.to_owned()),
            Effect::NoStdInc => self.invocation.nostdinc = true,
            Effect::NoStdIncxx => self.invocation.nostdincxx = true,
            Effect::NoBuiltinInc => self.invocation.nobuiltininc = true,
            _ => self.invocation.nostdlibinc = true,
        }
        self.probe(arg, next);
    }

    pub(crate) fn depend(&mut self, what: Depend, value: &str) {
        let dep = &mut self.sides.dep;
        match what {
            Depend::All => dep.wanted = true,
            Depend::User => (dep.wanted, dep.user) = (true, true),
            Depend::File => dep.file = Some(value.to_owned()),
            Depend::Target => dep.targets.push(DepTarget { text: value.to_owned(), quoted: false }),
            Depend::QuotedTarget => dep.targets.push(DepTarget { text: value.to_owned(), quoted: true }),
            Depend::Phony => dep.phony = true,
        }
    }

    /// `-W` and a name: a family whose members neither name nor write files.
    fn warn(&mut self, arg: &str, value: &str) {
        if !arg.starts_with("-W") {
            return;
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '=' | '#' | ':');
        if !value.chars().all(plain) {
            return self.refuse(Reason::UnknownOption, arg);
        }
        match value {
            "missing-include-dirs" | "error=missing-include-dirs" => self.invocation.warn_missing_include_dirs = true,
            "no-missing-include-dirs" => self.invocation.warn_missing_include_dirs = false,
            "everything" => self.invocation.warn_missing_include_dirs = true,
            _ => {}
        }
    }

    /// glibc converts these without tables of its own; any other name loads a module of the machine.
    fn charset(&mut self, arg: &str, value: &str) {
        // UTF-16 and UTF-32 are no names that gcc or libc know without tables.
        const BUILT_IN: &[&str] = &["UTF-8", "UTF8", "ASCII", "US-ASCII", "ANSI_X3.4-1968", "UCS-4LE"];
        if !BUILT_IN.iter().any(|name| name.eq_ignore_ascii_case(value)) {
            self.refuse(Reason::Charset, arg);
        }
        self.probe(arg, None);
    }

    /// gcc: what is in the file decides, which is not read here. clang has no specs.
    fn specs(&mut self, spelled: Spelled<'_>) {
        if self.family == Family::Clang || spelled.value.is_empty() {
            return self.refuse(Reason::Specs, spelled.arg);
        }
        self.invocation.specs.push(spelled.value.to_owned());
        self.probe(spelled.arg, spelled.next);
    }

    fn save_temps(&mut self, arg: &str, value: &str) {
        self.sides.temps = match value {
            "" if self.family == Family::Gcc => Some(Temps::BesideOutput),
            "obj" => Some(Temps::BesideOutput),
            "" | "cwd" => Some(Temps::WorkingDir),
            _ => return self.refuse(Reason::SaveTemps, arg),
        };
    }

    fn reads(&mut self, what: Reads, value: &str, negated: bool) {
        if negated {
            return;
        }
        let files = &mut self.invocation.input_files;
        match what {
            Reads::File => files.push(value.to_owned()),
            Reads::SectionList => files.extend(value.strip_prefix("list=").map(str::to_owned)),
            Reads::AutoProfile if value.is_empty() => files.push("fbdata.afdo".to_owned()),
            Reads::AutoProfile => files.push(value.to_owned()),
            Reads::ProfileUse => {
                self.sides.profile_use = true;
                self.sides.profile_paths.extend(Some(value.to_owned()).filter(|path| !path.is_empty()));
            }
            Reads::ProfileDir => self.sides.profile_paths.push(value.to_owned()),
        }
    }

    fn side(&mut self, spelled: Spelled<'_>) {
        if let Err(reason) = self.sides.ask(spelled) {
            self.refuse(reason, spelled.arg);
        }
        if let Effect::Side(side) = spelled.found.opt.effect {
            match side {
                crate::table::Side::SplitDwarf => {
                    self.invocation.debug |= !spelled.found.negated;
                    self.probe(spelled.arg, spelled.next);
                }
                crate::table::Side::Coverage | crate::table::Side::TestCoverage => {
                    self.invocation.coverage |= !spelled.found.negated;
                }
                _ => {}
            }
        }
    }

    /// The one source and its language; refuses every other number and kind of inputs.
    fn main_file(&mut self, cxx_driver: bool) -> Option<(String, Language)> {
        let (imacros, includes): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.includes).into_iter().partition(|include| include.macros_only);
        self.invocation.forced_includes = imacros.into_iter().chain(includes).collect();
        let inputs = std::mem::take(&mut self.inputs);
        if let Some((trial, _)) = inputs.iter().find(|(path, _)| source::is_trial(path)) {
            self.refuse(Reason::Probe, trial);
        }
        let none = inputs.is_empty();
        if none {
            self.refuse(Reason::NoSource, "no source file");
        }
        let mut main = None;
        for (path, forced) in inputs {
            let kind = match forced {
                Forced::Kind(Kind::Source(language)) if path == "-" => Kind::Source(language),
                _ if source::is_stream(&path) => Kind::Other(Reason::Stdin),
                _ if path == "/dev/null" => Kind::Other(Reason::Probe),
                _ if path.is_empty() => Kind::Other(Reason::BadCombination),
                Forced::Kind(kind) => kind,
                Forced::Other(reason) => Kind::Other(reason),
                Forced::No => source::from_suffix(self.family, cxx_driver, &path),
            };
            match kind {
                Kind::Other(reason) => self.refuse(reason, &path),
                Kind::LinkerInput => self.refuse(Reason::LinkerInput, &path),
                Kind::Source(_) | Kind::Header(_) if main.is_some() => self.refuse(Reason::MultipleSources, &path),
                Kind::Source(language) => main = Some((path, language)),
                Kind::Header(language) => {
                    if self.kind == Some(OutputKind::Assembly) {
                        self.refuse(Reason::PrecompiledHeader, "-S");
                    }
                    self.kind = Some(OutputKind::Precompiled);
                    main = Some((path, language));
                }
            }
        }
        if !none && self.kind.is_none() {
            self.refuse(Reason::Link, "neither -c nor -S");
        }
        if self.emits_pch && self.kind != Some(OutputKind::Precompiled) {
            self.refuse(Reason::PrecompiledHeader, "-emit-pch of a source");
        }
        main
    }

    fn outputs(&mut self, main: Option<&(String, Language)>, pwd: &str) -> Option<outputs::Outputs> {
        let (source, language) = main?;
        let unit = outputs::Unit { family: self.family, source, language: *language, kind: self.kind?, pwd };
        match outputs::model(&unit, &self.sides) {
            Ok(outputs) => Some(outputs),
            Err(refusal) => {
                self.refuse_with(refusal);
                None
            }
        }
    }
}

fn empty_invocation() -> Invocation {
    Invocation {
        args: Vec::new(),
        expanded: Vec::new(),
        response_files: Vec::new(),
        source: String::new(),
        language: Language::C,
        output_kind: OutputKind::Object,
        outputs: Vec::new(),
        input_files: Vec::new(),
        input_dirs: Vec::new(),
        specs: Vec::new(),
        search: Vec::new(),
        sysroot: None,
        isysroot: None,
        nostdinc: false,
        nostdincxx: false,
        nobuiltininc: false,
        nostdlibinc: false,
        macros: Vec::new(),
        forced_includes: Vec::new(),
        precompiled: Vec::new(),
        probe_args: Vec::new(),
        dep: None,
        debug: false,
        coverage: false,
        warn_missing_include_dirs: false,
        native: false,
        forced_color: false,
        env: Vec::new(),
        terminal_env: Vec::new(),
    }
}
