//! Every file a compile may write and how the compilers name it: gcc from release 11 on, clang 14 to 19. Knows the options
//! only as the few facts in [`Sides`].

use crate::invocation::{DepOptions, DepTarget, Language, OnFailure, Output, OutputKind, Role};
use crate::reason::{Reason, Refusal};
use crate::source::suffix;
use crate::table::{Effect, Family, Side};
use crate::words::Spelled;

/// Where `-save-temps` keeps files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Temps {
    BesideOutput,
    WorkingDir,
}

/// The dependency options as read.
#[derive(Debug, Default)]
pub(crate) struct Dep {
    pub(crate) wanted: bool,
    /// `-MMD`, which counts over `-MD` in any order.
    pub(crate) user: bool,
    /// gcc: the same from `-Wp,`, where the last counts, and over the driver's.
    pub(crate) inner_system: Option<bool>,
    pub(crate) phony: bool,
    pub(crate) file: Option<String>,
    /// gcc: the file given to the inner compiler by `-Wp,-MD,FILE`, which counts over `-MF`.
    pub(crate) inner_file: Option<String>,
    pub(crate) targets: Vec<DepTarget>,
}

/// The side files asked for.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    pub(crate) output: Option<String>,
    pub(crate) dep: Dep,
    pub(crate) temps: Option<Temps>,
    pub(crate) bitcode: bool,
    /// clang: link-time optimisation counts over `-emit-llvm` in the names.
    pub(crate) lto: bool,
    pub(crate) compilation_dir: bool,
    pub(crate) profile_use: bool,
    /// The random seed was given: nothing in the object tells one compile from another.
    pub(crate) seeded: bool,
    pub(crate) profile_paths: Vec<String>,
    split_dwarf: bool,
    notes: bool,
    stack_usage: bool,
    call_graph: bool,
    opt_record: Option<String>,
    opt_record_file: Option<String>,
    /// A filter of passes asks for the record too (clang 19).
    opt_record_passes: bool,
    time_trace: Option<String>,
    named: Vec<(Role, String)>,
}

impl Sides {
    /// Notes a side file; the error is the reason it is not modelled.
    pub(crate) fn ask(&mut self, spelled: Spelled<'_>) -> Result<(), Reason> {
        let Effect::Side(side) = spelled.found.opt.effect else {
            return Ok(());
        };
        let (on, value) = (!spelled.found.negated, spelled.value);
        match side {
            Side::SplitDwarf => match value {
                "" | "split" => self.split_dwarf = on,
                "single" => self.split_dwarf = false,
                _ => return Err(Reason::BadCombination),
            },
            Side::Coverage | Side::TestCoverage => self.notes |= on,
            Side::StackUsage => self.stack_usage = on,
            Side::CallGraph => self.call_graph = on,
            // With `=` and nothing, clang's file ends in `.opt.`.
            Side::OptRecord => {
                let format = if spelled.found.opt.name.ends_with('=') { value } else { "yaml" };
                self.opt_record = on.then(|| format.to_owned());
            }
            Side::OptRecordPasses => self.opt_record_passes = true,
            Side::OptRecordFile => self.opt_record_file = Some(value.to_owned()),
            Side::TimeTrace => self.time_trace = on.then(|| value.to_owned()),
            Side::Diagnostics => self.name_once(Role::Diagnostics, value),
            Side::AuxInfo => self.name_once(Role::AuxInfo, value),
            Side::ThinLink => self.name_once(Role::ThinLink, value),
            Side::CompilationDatabase => self.name_once(Role::CompilationDatabase, value),
            Side::AssemblerDep => self.name_once(Role::AssemblerDepFile, value),
            Side::Listing => return self.listing(value),
        }
        Ok(())
    }

    /// Whether any file besides the dependencies was asked for.
    fn any(&self) -> bool {
        let flags = [self.split_dwarf, self.notes, self.stack_usage, self.call_graph, self.opt_record_passes, self.bitcode];
        let options = [self.opt_record.is_some(), self.opt_record_file.is_some(), self.time_trace.is_some()];
        flags.into_iter().chain(options).any(|asked| asked) || self.temps.is_some() || !self.named.is_empty()
    }

    /// The last option of a kind names the file.
    fn name_once(&mut self, role: Role, path: &str) {
        self.named.retain(|(old, _)| *old != role);
        self.named.push((role, path.to_owned()));
    }

    /// `-a[letters][=FILE]`: without a file the listing goes to standard output.
    fn listing(&mut self, value: &str) -> Result<(), Reason> {
        let (letters, file) = match value.split_once('=') {
            Some((letters, file)) => (letters, Some(file)),
            None => (value, None),
        };
        if letters.contains('g') {
            return Err(Reason::Timing);
        }
        if !letters.chars().all(|c| "cdhlmns".contains(c)) {
            return Err(Reason::AssemblerOption);
        }
        if let Some(file) = file {
            self.name_once(Role::Listing, file);
        }
        Ok(())
    }
}

/// What is compiled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit<'a> {
    pub(crate) family: Family,
    pub(crate) source: &'a str,
    pub(crate) language: Language,
    pub(crate) kind: OutputKind,
    /// The working directory as the compiler will call it.
    pub(crate) pwd: &'a str,
}

/// The model's answer.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub(crate) kind: OutputKind,
    pub(crate) files: Vec<Output>,
    pub(crate) dep: Option<DepOptions>,
    pub(crate) profile_inputs: Vec<String>,
}

/// Names every output.
pub(crate) fn model(unit: &Unit<'_>, sides: &Sides) -> Result<Outputs, Refusal> {
    if unit.kind == OutputKind::Assembly && !unit.language.is_compiled() {
        return Err(Refusal::new(Reason::PreprocessOnly, "-S of an assembly source"));
    }
    let main = match &sides.output {
        Some(path) => path.clone(),
        None if unit.kind == OutputKind::Precompiled => match unit.family {
            Family::Gcc => format!("{}.gch", unit.source),
            // `.gch` or `.pch`, by the release.
            Family::Clang => return Err(Refusal::new(Reason::PrecompiledHeader, "without -o")),
        },
        None => format!("{}{}", source_stem(unit), main_suffix(unit, sides)),
    };
    if unit.kind == OutputKind::Precompiled && sides.any() {
        return Err(Refusal::new(Reason::PrecompiledHeader, "with side files"));
    }
    let mut files = vec![main_output(unit, &main)];
    let dep = dependencies(unit, sides, &mut files);
    for (role, path) in &sides.named {
        let on_failure = if *role == Role::AuxInfo { OnFailure::Remove } else { OnFailure::Keep };
        files.push(Output { on_failure, ..optional(path, *role) });
    }
    match unit.family {
        Family::Gcc => gcc_sides(unit, sides, &main, &mut files),
        Family::Clang => clang_sides(unit, sides, &main, &mut files)?,
    }
    files.retain(|file| file.path != "/dev/null" || file.path == main);
    check(unit, &files)?;
    let profile_inputs = profile_inputs(unit, sides, &main);
    Ok(Outputs { kind: unit.kind, files, dep, profile_inputs })
}

/// What the names of files begin with that the driver calls after the source. To clang a dot at the start begins a suffix.
fn source_stem<'a>(unit: &Unit<'a>) -> &'a str {
    let name = base_name(unit.source);
    match unit.family {
        Family::Gcc => stem(name),
        Family::Clang => name.rfind('.').map_or(name, |dot| &name[..dot]),
    }
}

fn main_suffix(unit: &Unit<'_>, sides: &Sides) -> &'static str {
    match (unit.kind, sides.bitcode && !sides.lto && unit.language.is_compiled()) {
        (OutputKind::Object, false) => ".o",
        (OutputKind::Object, true) => ".bc",
        (OutputKind::Assembly, false) => ".s",
        (OutputKind::Assembly, true) => ".ll",
        (OutputKind::Precompiled, _) => ".gch",
    }
}

fn main_output(unit: &Unit<'_>, path: &str) -> Output {
    let (role, on_failure) = match (unit.kind, unit.family) {
        (OutputKind::Assembly, _) => (Role::Assembly, OnFailure::Remove),
        (OutputKind::Precompiled, _) => (Role::Precompiled, OnFailure::Remove),
        (OutputKind::Object, Family::Clang) => (Role::Object, OnFailure::Remove),
        (OutputKind::Object, Family::Gcc) => (Role::Object, OnFailure::RemoveIfAssembled),
    };
    Output { path: path.to_owned(), role, required: true, on_failure }
}

fn optional(path: impl Into<String>, role: Role) -> Output {
    Output { path: path.into(), role, required: false, on_failure: OnFailure::Keep }
}

fn dependencies(unit: &Unit<'_>, sides: &Sides, files: &mut Vec<Output>) -> Option<DepOptions> {
    let dep = &sides.dep;
    if !dep.wanted || !unit.language.is_preprocessed_first() {
        return None;
    }
    let default = || match &sides.output {
        Some(output) => replace_extension(output, "d"),
        None => format!("{}.d", source_stem(unit)),
    };
    let file = dep.inner_file.clone().or_else(|| dep.file.clone()).unwrap_or_else(default);
    let file = Some(file).filter(|file| file != "-" && file != "/dev/null");
    if let Some(file) = &file {
        let on_failure = if unit.family == Family::Clang { OnFailure::RemoveIfHeaderMissing } else { OnFailure::Keep };
        files.push(Output { required: true, on_failure, ..optional(file, Role::DepFile) });
    }
    let system_headers = dep.inner_system.unwrap_or(!dep.user);
    Some(DepOptions { file, targets: dep.targets.clone(), system_headers, phony: dep.phony })
}

/// gcc names side files after the output: its directory, and its base name without the last suffix. With
/// `-save-temps=cwd` they go to the working directory.
fn gcc_sides(unit: &Unit<'_>, sides: &Sides, main: &str, files: &mut Vec<Output>) {
    let aux = gcc_aux(sides, main);
    let compiled = unit.language.is_compiled();
    if sides.split_dwarf && unit.kind == OutputKind::Object {
        files.push(optional(format!("{aux}.dwo"), Role::Dwo));
    }
    if sides.notes && compiled {
        files.push(Output { on_failure: OnFailure::Remove, ..optional(format!("{aux}.gcno"), Role::Gcno) });
        if sides.seeded && !sides.profile_use {
            files.push(Output { on_failure: OnFailure::RemoveIfCompiled, ..optional(format!("{aux}.gcda"), Role::Counts) });
        }
    }
    if sides.stack_usage && compiled {
        files.push(optional(format!("{aux}.su"), Role::StackUsage));
    }
    if sides.call_graph && compiled {
        files.push(optional(format!("{aux}.ci"), Role::CallGraph));
    }
    if sides.opt_record.is_some() && compiled {
        let extension = suffix(unit.source).map(|s| format!(".{s}")).unwrap_or_default();
        files.push(optional(format!("{aux}{extension}.opt-record.json.gz"), Role::OptRecord));
    }
    if sides.temps.is_some() {
        let preprocessed = unit.language.preprocessed_suffix();
        if !preprocessed.is_empty() {
            files.push(optional(format!("{aux}{preprocessed}"), Role::Temp));
        }
        if compiled && unit.kind == OutputKind::Object {
            files.push(optional(format!("{aux}.s"), Role::Temp));
        }
    }
}

fn gcc_aux(sides: &Sides, main: &str) -> String {
    let name = stem(base_name(main));
    match sides.temps {
        Some(Temps::WorkingDir) => name.to_owned(),
        _ => format!("{}{name}", directory(main)),
    }
}

/// clang names side files after the output, intermediates after the source.
fn clang_sides(unit: &Unit<'_>, sides: &Sides, main: &str, files: &mut Vec<Output>) -> Result<(), Refusal> {
    let source_stem = source_stem(unit);
    let refuse = |reason, what: &str| Err(Refusal::new(reason, what));
    let dwo = match &sides.output {
        Some(output) if unit.kind == OutputKind::Object => replace_extension(output, "dwo"),
        _ if sides.split_dwarf && sides.compilation_dir => {
            return refuse(Reason::BadCombination, "-gsplit-dwarf with a compilation directory and no -o");
        }
        _ => format!("{source_stem}.dwo"),
    };
    if sides.split_dwarf {
        files.push(optional(dwo, Role::Dwo));
    }
    if sides.notes {
        files.push(optional(replace_extension(main, "gcno"), Role::Gcno));
    }
    if sides.stack_usage {
        files.push(optional(replace_extension(main, "su"), Role::StackUsage));
    }
    if let Some(path) = &sides.opt_record_file {
        files.push(optional(path, Role::OptRecord));
    } else if let Some(format) = sides.opt_record.as_deref().or(sides.opt_record_passes.then_some("yaml")) {
        let extension = format!("opt.{format}");
        files.push(optional(replace_extension(sides.output.as_deref().unwrap_or(source_stem), &extension), Role::OptRecord));
    }
    if let Some(path) = &sides.time_trace {
        if sides.temps.is_some() {
            return refuse(Reason::SaveTemps, "-save-temps with -ftime-trace");
        }
        let beside = replace_extension(main, "json");
        if path.is_empty() {
            files.push(optional(beside, Role::TimeTrace));
        } else {
            // A directory takes the trace under the output's name, any other path is the trace.
            let below = format!("{}/{}", path.trim_end_matches('/'), base_name(&beside));
            files.push(optional(below, Role::TimeTrace));
            files.push(optional(path, Role::TimeTrace));
        }
    }
    if let Some(temps) = sides.temps {
        let dir = match temps {
            Temps::BesideOutput => directory(main),
            Temps::WorkingDir => "",
        };
        let bitcode = if sides.bitcode { ".tmp.bc" } else { ".bc" };
        for suffix in [unit.language.preprocessed_suffix(), bitcode, ".s"] {
            let path = format!("{dir}{source_stem}{suffix}");
            let made = match suffix {
                "" => false,
                ".s" => unit.kind == OutputKind::Object,
                _ => unit.language.is_compiled(),
            };
            let modelled = made && path != main;
            if modelled && !files.iter().any(|file| file.path == path) {
                files.push(Output { on_failure: OnFailure::RemoveIfNext, ..optional(path, Role::Temp) });
            }
        }
        files[0].on_failure = OnFailure::RemoveIfNext;
    }
    Ok(())
}

/// Names no compile may write to from elsewhere, and names that mean two things.
fn check(unit: &Unit<'_>, files: &[Output]) -> Result<(), Refusal> {
    for (at, file) in files.iter().enumerate() {
        let path = file.path.as_str();
        let special = path.is_empty()
            || path == "-"
            || path.ends_with('/')
            || ["/dev/", "/proc/", "/sys/"].iter().any(|dir| path.starts_with(dir));
        if special {
            return Err(Refusal::new(Reason::SpecialOutput, path));
        }
        if path == unit.source || files[..at].iter().any(|earlier| earlier.path == path) {
            return Err(Refusal::new(Reason::OutputClash, path));
        }
    }
    Ok(())
}

/// Where a profile of an earlier run may be.
fn profile_inputs(unit: &Unit<'_>, sides: &Sides, main: &str) -> Vec<String> {
    if !sides.profile_use {
        return Vec::new();
    }
    let mut paths = Vec::new();
    match unit.family {
        Family::Clang => {
            for path in &sides.profile_paths {
                paths.push(path.clone());
                paths.push(format!("{}/default.profdata", path.trim_end_matches('/')));
            }
            if paths.is_empty() {
                paths.push("default.profdata".to_owned());
            }
        }
        Family::Gcc => {
            let data = format!("{}.gcda", gcc_aux(sides, main));
            let absolute = if data.starts_with('/') { data } else { format!("{}/{data}", unit.pwd) };
            for path in &sides.profile_paths {
                paths.push(path.clone());
                paths.push(format!("{path}/{}", mangle(&absolute)));
            }
            paths.push(absolute);
        }
    }
    paths
}

/// libgcov's mangle_path: every `/` becomes `#`, every component `..` becomes `^`.
fn mangle(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').map(|part| if part == ".." { "^" } else { part }).collect();
    parts.join("#")
}

/// The path after its last slash.
fn base_name(path: &str) -> &str {
    &path[directory(path).len()..]
}

/// The path up to and with its last slash.
fn directory(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..=slash])
}

/// A file name without its last suffix; a dot at the start begins no suffix.
fn stem(name: &str) -> &str {
    match name.rfind('.') {
        Some(dot) if dot > 0 => &name[..dot],
        _ => name,
    }
}

/// The path with its last suffix replaced or one added; here a dot at the start does begin a suffix.
fn replace_extension(path: &str, extension: &str) -> String {
    let dir = directory(path).len();
    let end = path[dir..].rfind('.').map_or(path.len(), |dot| dir + dot);
    format!("{}.{extension}", &path[..end])
}
