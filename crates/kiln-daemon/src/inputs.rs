//! The inputs of a unit: found by the scanner, or listed by the compiler where the scanner cannot prove them.

use kiln_cmdline::{Family, ForcedInclude, Invocation, Language, MacroOp, OutputKind, SearchKind};
use kiln_scan::{
    Closure, CommandMacro, Compiler, Dialect, FileView as _, Forced, ForcedKind, Names, ScanRequest, Scanner, SearchDirs,
    SearchList, Unprovable,
};
use kiln_toolchain::Toolchain;
use rustc_hash::FxHashMap;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::action::Analysed;
use crate::analyse::{Analyst, Refused, absolute};
use crate::files::{Epoch, View};
use crate::precompiled;
use crate::root::Root;
use crate::toolchains::Asked;

/// Most scanners kept for reuse; each holds scratch memory for one unit.
const SCANNERS_MAX: usize = 8;

/// Times a scan is made again because files changed under it.
const RESCANS_MAX: usize = 4;

/// How a unit's inputs were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// By the scanner.
    Scanned,
    /// By the compiler's own list, and why the scanner could not.
    Listed(String),
}

/// Most files in remembered closures, all taken together: some 100 bytes each with the searches for them, 30 MB.
const REMEMBERED_FILES_MAX: usize = 300_000;

/// A closure, and what it was found for. It holds while no name it relies on has changed and every file that was scanned
/// holds what it held.
struct Remembered {
    request: ScanRequest,
    closure: Arc<Closure>,
    generation: u64,
}

#[derive(Default)]
struct Memory {
    closures: FxHashMap<u64, Arc<Remembered>>,
    files: usize,
}

/// What scans share: names by number, scanners with their caches, and what they found last.
pub(crate) struct Scans {
    pub(crate) names: Names,
    idle: Mutex<Vec<Scanner>>,
    memory: Mutex<Memory>,
}

impl Scans {
    pub(crate) fn new() -> Scans {
        Scans { names: Names::new(), idle: Mutex::default(), memory: Mutex::default() }
    }

    /// What was found last for this request, if it still holds as far as contents go: a scan follows from names and directives.
    /// Names are for the caller to check.
    fn recall(&self, view: &View<'_>, request: &ScanRequest) -> Option<Arc<Closure>> {
        if view.has_stdin() {
            return None;
        }
        let known = self.memory.lock().unwrap_or_else(PoisonError::into_inner).closures.get(&key(request)).cloned()?;
        if known.generation != view.generation() || !is_same(&known.request, request) {
            return None;
        }
        view.glance(&known.closure);
        let mut changed = Vec::new();
        for (index, file) in known.closure.files.iter().enumerate() {
            let Some(content) = file.content else { continue };
            let now = view.content(file.file).ok()?;
            if now != content {
                changed.push((index, content, now));
            }
        }
        if changed.is_empty() {
            return Some(Arc::clone(&known.closure));
        }
        // Most edits change no directive: then the same is found.
        let rules = request.rules();
        let directives = |content| view.directives(content, rules).ok();
        if !changed.iter().all(|(_, then, now)| directives(*then).is_some_and(|then| directives(*now) == Some(then))) {
            return None;
        }
        let mut closure = Closure::clone(&known.closure);
        for (index, _, now) in changed {
            closure.files[index].content = Some(now);
        }
        let closure = Arc::new(closure);
        self.remember(view, request, &closure, known.generation);
        Some(closure)
    }

    fn remember(&self, view: &View<'_>, request: &ScanRequest, closure: &Arc<Closure>, generation: u64) {
        if view.has_stdin() {
            return;
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.files + closure.files.len() > REMEMBERED_FILES_MAX {
            *memory = Memory::default();
        }
        let remembered = Remembered { request: request.clone(), closure: Arc::clone(closure), generation };
        memory.files += closure.files.len();
        if let Some(old) = memory.closures.insert(key(request), Arc::new(remembered)) {
            memory.files -= old.closure.files.len();
        }
    }

    fn scan(&self, view: &View<'_>, request: &ScanRequest) -> Result<Closure, Unprovable> {
        if view.has_stdin() {
            // What is known of other units' directories does not hold for this one.
            return Scanner::default().scan(view, request);
        }
        // What stood in the way may have gone since the scanner was told of it: names are checked only after a scan that succeeds.
        self.with_scanner(|scanner| scanner.scan(view, request)).or_else(|_| Scanner::default().scan(view, request))
    }

    fn with_scanner<T>(&self, work: impl FnOnce(&mut Scanner) -> T) -> T {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scanner = idle.unwrap_or_default();
        let done = work(&mut scanner);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < SCANNERS_MAX {
            idle.push(scanner);
        }
        done
    }
}

/// Tells most requests apart.
fn key(request: &ScanRequest) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    (&request.source, &request.cwd, &request.search.angle).hash(&mut hasher);
    for command in &request.command_macros {
        match command {
            CommandMacro::Define(text) | CommandMacro::Undefine(text) => text.hash(&mut hasher),
        }
    }
    hasher.finish()
}

fn is_same(a: &ScanRequest, b: &ScanRequest) -> bool {
    let ScanRequest {
        source,
        cwd,
        dialect,
        compiler,
        search,
        predefined,
        command_macros,
        forced,
        assembler_dirs,
        embed_dirs,
        stand_ins,
        precompiles,
        preprocessed,
    } = a;
    Arc::ptr_eq(predefined, &b.predefined)
        && (source, cwd, dialect, compiler, search) == (&b.source, &b.cwd, &b.dialect, &b.compiler, &b.search)
        && (command_macros, forced, assembler_dirs) == (&b.command_macros, &b.forced, &b.assembler_dirs)
        && (embed_dirs, stand_ins) == (&b.embed_dirs, &b.stand_ins)
        && (precompiles, preprocessed) == (&b.precompiles, &b.preprocessed)
}

/// What a unit can read.
pub(crate) struct Inputs {
    pub(crate) form: Form,
    pub(crate) closure: Arc<Closure>,
}

/// Enters all that a unit can read into `root`.
pub(crate) fn enter(
    analyst: &Analyst<'_>,
    unit: &Invocation,
    toolchain: &Toolchain,
    cwd: &str,
    epoch: Epoch,
    root: &mut Root<'_>,
) -> Result<Inputs, Refused> {
    if unit.language == Language::Assembler {
        return assembler(analyst, unit, cwd, epoch, root);
    }
    let asked = analyst.toolchains.ask(toolchain, unit, Path::new(cwd), &analyst.scans.names);
    let asked = asked.map_err(|error| Refused::new("compiler-probe", error.to_string()))?;
    for file in &asked.builtins.preincluded {
        root.add(&absolute(cwd, file))?;
    }
    enter_directories(unit, &asked, cwd, root)?;
    if let Some(directory) = frameworks(unit, &asked) {
        return Err(Refused::new("framework", directory));
    }
    let view = analyst.view(unit, cwd, epoch)?;
    let made = unit.precompiled.iter().map(|path| precompiled::enter(analyst, &absolute(cwd, path), epoch, root));
    let mut made = made.collect::<Result<Vec<Analysed>, Refused>>()?;
    let forced = made.iter().flat_map(read_for).collect();
    if unit.output_kind == OutputKind::Precompiled && toolchain.family == Family::Clang {
        precompiled::keep_times(unit, root);
    }
    let Some(mut request) = request(&view, unit, &asked, toolchain, forced, cwd) else {
        return Err(Refused::new("unknown-standard", unit.source.clone()));
    };
    let mut scanned = settle(analyst.scans, &view, &request, cwd);
    while let Err(Unprovable::PrecompiledHeader { path }) = &scanned
        && request.stand_ins.iter().all(|(known, _)| known != path)
    {
        let made = precompiled::enter(analyst, &absolute(cwd, path), epoch, root)?;
        request.stand_ins.push((path.clone(), read_for(&made).map(|forced| forced.name).collect()));
        scanned = settle(analyst.scans, &view, &request, cwd);
    }
    let (closure, form) = match scanned {
        Ok(closure) => (closure, Form::Scanned),
        Err(why) => (Arc::new(listed(analyst.scans, &view, &request, unit, toolchain, &why)?), Form::Listed(why.code().to_owned())),
    };
    check_flags(&closure, unit, toolchain)?;
    if closure.flags.timestamp {
        enter_times(unit, cwd, root)?;
    }
    root.add_closure(&closure, cwd)?;
    if closure.flags.precompiled {
        precompiled::enter_found(analyst, &closure, cwd, epoch, root, &mut made)?;
    }
    let is_silent = |content| view.directives(content, request.dialect).is_ok_and(|directives| directives.is_empty());
    precompiled::check_read(&made, &closure, is_silent)?;
    Ok(Inputs { form, closure })
}

/// Plain assembly: its own `.include` and `.incbin` are read by the scanner's rules for assembler text.
fn assembler(analyst: &Analyst<'_>, unit: &Invocation, cwd: &str, epoch: Epoch, root: &mut Root<'_>) -> Result<Inputs, Refused> {
    let view = analyst.view(unit, cwd, epoch)?;
    let request = ScanRequest {
        assembler_dirs: dirs_of(unit, SearchKind::Assembler),
        preprocessed: true,
        ..ScanRequest::new(&unit.source, cwd, Dialect::ASSEMBLER, Arc::default(), Arc::default())
    };
    let closure = settle(analyst.scans, &view, &request, cwd).map_err(|error| Refused::new(error.code(), error.to_string()))?;
    for directory in &request.assembler_dirs {
        root.add(&absolute(cwd, directory))?;
    }
    root.add_closure(&closure, cwd)?;
    Ok(Inputs { form: Form::Scanned, closure })
}

/// Scans until no name that the scan relied on has changed meanwhile.
fn settle(scans: &Scans, view: &View<'_>, request: &ScanRequest, cwd: &str) -> Result<Arc<Closure>, Unprovable> {
    let mut last = None;
    for _ in 0..RESCANS_MAX {
        let before = view.generation();
        let known = scans.recall(view, request);
        let is_new = known.is_none();
        let closure = match known {
            Some(known) => known,
            None => Arc::new(scans.scan(view, request)?),
        };
        view.check(&closure, cwd);
        if view.generation() == before {
            if is_new {
                scans.remember(view, request, &closure, before);
            }
            return Ok(closure);
        }
        last = Some(closure);
    }
    // Names change faster than they can be scanned; the root is filled from what is there now and its digests say so.
    last.ok_or_else(|| Unprovable::Source { path: request.source.clone() })
}

fn check_flags(closure: &Closure, unit: &Invocation, toolchain: &Toolchain) -> Result<(), Refused> {
    let flags = closure.flags;
    let major = major_of(&toolchain.version);
    // Both take the time from this variable, which is in the action, from these releases on.
    let since = if toolchain.family == Family::Gcc { 7 } else { 16 };
    let fixed_time = major >= since && unit.env.iter().any(|(name, _)| name == "SOURCE_DATE_EPOCH");
    let reason = match flags {
        flags if flags.uses_clock() && !fixed_time => "time-macro",
        // Standard input has the time at which the wrapper read it.
        flags if flags.timestamp && unit.reads_stdin() => "timestamp-macro",
        flags if flags.modules => "modules",
        _ => return Ok(()),
    };
    Err(Refused::new(reason, closure.files.first().map(|file| file.path.to_string()).unwrap_or_default()))
}

/// For `__TIMESTAMP__`: the time of each file's last change, and the zone in which it is told.
fn enter_times(unit: &Invocation, cwd: &str, root: &mut Root<'_>) -> Result<(), Refused> {
    root.keep_times();
    let variable = |wanted: &str| unit.env.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let dir = variable("TZDIR").unwrap_or("/usr/share/zoneinfo");
    match variable("TZ").map(|zone| zone.strip_prefix(':').unwrap_or(zone)) {
        None => {
            root.add("/etc/localtime")?;
        }
        Some("") => {}
        Some(zone) => {
            root.add(&absolute(cwd, &format!("{dir}/{zone}")))?;
            if zone.starts_with('/') {
                root.add(zone)?;
            }
            // The rules of a zone that is spelled out without its own.
            root.add(&absolute(cwd, &format!("{dir}/posixrules")))?;
        }
    }
    Ok(())
}

/// Every directory on the search path that exists is laid out, even if nothing in it is read: compilers warn of missing ones.
fn enter_directories(unit: &Invocation, asked: &Asked, cwd: &str, root: &mut Root<'_>) -> Result<(), Refused> {
    for directory in &unit.search {
        root.add(&absolute(cwd, &in_sysroot(unit, &directory.path, directory.in_sysroot)))?;
    }
    for directory in asked.builtins.quote_dirs.iter().chain(asked.builtins.include_dirs.iter().map(|dir| &dir.path)) {
        root.add(&absolute(cwd, directory))?;
    }
    for sysroot in unit.sysroot.iter().chain(&unit.isysroot) {
        root.add(&absolute(cwd, sysroot))?;
    }
    Ok(())
}

/// A directory of frameworks, where `<A/x.h>` means `A.framework/Headers/x.h`: the scanner does not look there.
fn frameworks(unit: &Invocation, asked: &Asked) -> Option<String> {
    let named = unit.search.iter().find(|dir| dir.kind == SearchKind::Framework).map(|dir| dir.path.clone());
    named.or_else(|| asked.builtins.include_dirs.iter().find(|dir| dir.framework).map(|dir| dir.path.clone()))
}

fn in_sysroot(unit: &Invocation, path: &str, inside: bool) -> String {
    let sysroot = unit.isysroot.as_ref().or(unit.sysroot.as_ref());
    match (inside, sysroot) {
        (true, Some(sysroot)) => format!("{sysroot}{path}"),
        _ => path.to_owned(),
    }
}

fn dirs_of(unit: &Invocation, kind: SearchKind) -> Vec<String> {
    let dirs = unit.search.iter().filter(|dir| dir.kind == kind);
    dirs.map(|dir| in_sysroot(unit, &dir.path, dir.in_sysroot)).collect()
}

/// What stands in a precompiled header, as headers that are read first.
fn read_for(made: &Analysed) -> impl Iterator<Item = Forced> + '_ {
    let cwd = format!("/{}", made.command.working_directory);
    let names = made.unit.forced_includes.iter().map(forced_include);
    let source = Forced { name: made.unit.source.clone(), kind: ForcedKind::Text };
    names.chain([source]).map(move |forced| Forced { name: absolute(&cwd, &forced.name), kind: ForcedKind::Text })
}

fn request(
    view: &View<'_>,
    unit: &Invocation,
    asked: &Asked,
    toolchain: &Toolchain,
    precompiled: Vec<Forced>,
    cwd: &str,
) -> Option<ScanRequest> {
    let compiler = match toolchain.family {
        Family::Gcc => Compiler::Gcc,
        Family::Clang => Compiler::Clang,
    };
    let mut dirs = SearchDirs {
        quote: dirs_of(unit, SearchKind::Quote),
        user: dirs_of(unit, SearchKind::Normal),
        system: dirs_of(unit, SearchKind::System),
        after: dirs_of(unit, SearchKind::After),
        ignore_includer: unit.expanded.iter().any(|argument| argument == "-I-"),
    };
    dirs.user.extend(env_path(unit, "CPATH"));
    let cxx = matches!(unit.language, Language::Cxx | Language::ObjCxx);
    if cxx {
        dirs.system.extend(dirs_of(unit, SearchKind::CxxSystem));
        dirs.system.extend(dirs_of(unit, SearchKind::CxxStdlib));
    }
    dirs.quote.extend(asked.builtins.quote_dirs.iter().cloned());
    dirs.system.extend(asked.builtins.include_dirs.iter().map(|dir| dir.path.clone()));
    dirs.system.extend(dirs_of(unit, SearchKind::SystemAfter));
    let mut forced = vec![Forced { name: "stdc-predef.h".to_owned(), kind: ForcedKind::Implicit }];
    forced.extend(precompiled);
    forced.extend(unit.forced_includes.iter().map(forced_include));
    let assembler_dirs = unit.assembler_dirs().map(|dir| in_sysroot(unit, &dir.path, dir.in_sysroot)).collect();
    Some(ScanRequest {
        source: unit.source.clone(),
        cwd: cwd.to_owned(),
        dialect: dialect(unit, compiler, &toolchain.version)?,
        compiler,
        search: Arc::new(SearchList::assemble(view, cwd, &dirs, compiler)),
        predefined: Arc::clone(&asked.macros),
        command_macros: unit.macros.iter().map(command_macro).collect(),
        forced,
        assembler_dirs,
        embed_dirs: dirs_of(unit, SearchKind::Embed),
        stand_ins: Vec::new(),
        precompiles: unit.output_kind == OutputKind::Precompiled,
        preprocessed: !unit.language.is_preprocessed_first() || unit.expanded.iter().any(|argument| argument == "-fpreprocessed"),
    })
}

fn env_path(unit: &Invocation, name: &str) -> Vec<String> {
    let value = unit.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    // An empty element means the working directory.
    value.map_or(Vec::new(), |value| value.split(':').map(|dir| if dir.is_empty() { "." } else { dir }.to_owned()).collect())
}

fn forced_include(include: &ForcedInclude) -> Forced {
    let kind = match include {
        ForcedInclude { macros_only: true, .. } => ForcedKind::Imacros,
        ForcedInclude { inner: true, .. } => ForcedKind::Text,
        _ => ForcedKind::Include,
    };
    Forced { name: include.name.clone(), kind }
}

fn command_macro(op: &MacroOp) -> CommandMacro {
    match op {
        MacroOp::Define(text) => CommandMacro::Define(text.clone()),
        MacroOp::Undefine(name) => CommandMacro::Undefine(name.clone()),
    }
}

fn major_of(version: &str) -> u32 {
    version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
}

/// The lexical rules of a unit; `None` for a standard that the scanner does not know.
fn dialect(unit: &Invocation, compiler: Compiler, version: &str) -> Option<Dialect> {
    let language = match unit.language {
        Language::Cxx | Language::ObjCxx | Language::CxxPreprocessed | Language::ObjCxxPreprocessed => kiln_scan::Language::Cxx,
        Language::AssemblerWithCpp | Language::Assembler => kiln_scan::Language::Assembler,
        _ => kiln_scan::Language::C,
    };
    let ansi = if language == kiln_scan::Language::Cxx { "c++98" } else { "c90" };
    let standard = unit.expanded.iter().rev().find_map(|argument| match argument.as_str() {
        "-ansi" | "--ansi" => Some(ansi),
        other => other.strip_prefix("-std=").or_else(|| other.strip_prefix("--std=")),
    });
    let mut dialect = Dialect::select(compiler, major_of(version), language, standard.unwrap_or(""))?;
    let says = |option: &str| unit.expanded.iter().any(|argument| argument == option);
    dialect.trigraphs |= says("-trigraphs") || says("--trigraphs");
    dialect.modules |= unit.expanded.iter().any(|argument| argument.starts_with("-fmodules"));
    Some(dialect)
}

/// The compiler's own list, and what it does not show (`__has_include`, `.incbin`, `#embed`), which the scanner finds in the texts of the
/// files on it. What no list shows either, and what could hold up the compiler, makes the unit run here.
fn listed(
    scans: &Scans,
    view: &View<'_>,
    request: &ScanRequest,
    unit: &Invocation,
    toolchain: &Toolchain,
    why: &Unprovable,
) -> Result<Closure, Refused> {
    let refused = |why: &Unprovable| Refused::new(why.code(), why.to_string());
    match why {
        Unprovable::ComputedInclude { .. }
        | Unprovable::NotUtf8 { .. }
        | Unprovable::PathTooLong { .. }
        | Unprovable::IncludeAlias { .. }
        | Unprovable::TooManyFiles
        | Unprovable::TooManyLookups
        | Unprovable::TooManySteps => {}
        Unprovable::Source { .. }
        | Unprovable::HasInclude { .. }
        | Unprovable::Special { .. }
        | Unprovable::Unreadable { .. }
        | Unprovable::PrecompiledHeader { .. }
        | Unprovable::Assembler { .. }
        | Unprovable::Dependency { .. }
        | Unprovable::HeaderMap { .. } => return Err(refused(why)),
    }
    if unit.reads_stdin() {
        return Err(Refused::new("not-listed", "a source from standard input"));
    }
    let mut env = unit.env.clone();
    env.push(("PATH".to_owned(), toolchain.search_path.clone()));
    let names = kiln_toolchain::list_inputs(toolchain, &unit.expanded, &env, Path::new(&request.cwd))
        .map_err(|error| Refused::new("not-listed", error.to_string()))?;
    // What made the scan give up is told, even where the list could not be completed either.
    scans.with_scanner(|scanner| scanner.complete(view, request, &names)).map_err(|_| refused(why))
}
