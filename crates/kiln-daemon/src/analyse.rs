//! From a wrapper's request to an action: read the command line, find the toolchain and the inputs, build the root. Blocks.

use kiln_cmdline::{Family, Invocation, Link, Refusal, Request};
use kiln_frame::Compile;
use kiln_scan::FileId;
use kiln_toolchain::{LookupEnv, NATIVE_SPECS_PATH, Native, Toolchain, names_native};
use rustix::fs::FileType;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::action::{Analysed, STDIN_PATH};
use crate::files::{Epoch, Files, View, WalkEnd, join};
use crate::inputs::{self, Inputs};
use crate::precompiled::Precompiled;
use crate::root::{Added, Bases, FilledRoot, Root, RootError};
use crate::toolchains::{Toolchains, lookup_args};

/// Largest response file read: a 2 MB command line is the largest that the kernel passes on, four times that.
const RESPONSE_FILE_MAX: u64 = 8 << 20;

/// The unit runs here untouched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Stable code.
    pub(crate) reason: String,
    /// What showed it.
    pub(crate) detail: String,
    /// Whether the command is worth a heavy slot (it compiles or links) or is over in a moment.
    pub(crate) heavy: bool,
}

impl Refused {
    pub(crate) fn new(reason: &str, detail: impl Into<String>) -> Refused {
        Refused { reason: reason.to_owned(), detail: detail.into(), heavy: true }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        use kiln_cmdline::Reason;
        let heavy = !matches!(
            refusal.reason,
            Reason::Probe | Reason::NoSource | Reason::DependenciesOnly | Reason::PreprocessOnly | Reason::SyntaxOnly
        );
        Refused { reason: refusal.reason.as_str().to_owned(), detail: refusal.detail, heavy }
    }
}

impl From<RootError> for Refused {
    fn from(error: RootError) -> Refused {
        let code = match error {
            RootError::Read { .. } => "unreadable-input",
            RootError::Special(_) => "special-input",
            RootError::Changing(_) | RootError::Path(_) => CHANGING,
            RootError::TooLarge(_) => "too-many-inputs",
        };
        Refused::new(code, error.to_string())
    }
}

/// What a command comes to.
pub(crate) struct Work {
    /// At least one.
    pub(crate) units: Vec<Analysed>,
    /// What follows if all of them succeed.
    pub(crate) link: Option<Link>,
}

/// What the analysis needs of the daemon.
pub(crate) struct Analyst<'a> {
    pub(crate) files: &'a Files,
    pub(crate) scans: &'a inputs::Scans,
    pub(crate) toolchains: &'a Toolchains,
    pub(crate) bases: &'a Bases,
    pub(crate) precompiled: &'a Precompiled,
    /// What the wrapper read from standard input.
    pub(crate) stdin: Option<Arc<[u8]>>,
    /// Whether a command of an earlier request is looked at again.
    pub(crate) again: bool,
}

/// Code of a refusal for files that change faster than they can be read.
const CHANGING: &str = "changing-tree";

/// Times a root is filled again because files changed under it.
const REFILLS_MAX: usize = 4;

impl Analyst<'_> {
    /// The client's files as `unit` sees them.
    pub(crate) fn view(&self, unit: &Invocation, cwd: &str, epoch: Epoch) -> Result<View<'_>, Refused> {
        let view = View::new(self.files, &self.scans.names, epoch);
        match (unit.reads_stdin(), &self.stdin) {
            (false, _) => Ok(view),
            (true, Some(bytes)) => Ok(view.with_stdin(cwd, Arc::clone(bytes))),
            (true, None) => Err(Refused::new("stdin", "it was not read")),
        }
    }

    /// Reads the request again that made a precompiled header.
    pub(crate) fn once_more(&self, request: &Compile, epoch: Epoch) -> Result<Analysed, Refused> {
        if self.again {
            return Err(Refused::new("precompiled-header", "one is made of another"));
        }
        let again = Analyst { stdin: None, again: true, ..*self };
        let Work { mut units, link } = again.analyse(request, epoch)?;
        match (units.pop(), units.is_empty(), link) {
            (Some(unit), true, None) => Ok(unit),
            _ => Err(Refused::new("precompiled-header", "made beside others")),
        }
    }

    /// Reads a request to its end.
    pub(crate) fn analyse(&self, request: &Compile, epoch: Epoch) -> Result<Work, Refused> {
        let compiler = text(&request.compiler)?;
        let cwd = text(&request.cwd)?;
        let env = split_env(&request.env);
        let lookup = LookupEnv::from_pairs(
            env.iter().filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))),
        );
        let driver = Path::new(compiler);
        let first = self.toolchain(driver, &lookup, epoch)?;
        let env = self.without_idle_library_path(env, &first, cwd, epoch);
        let reading = kiln_cmdline::parse_all(&Request {
            family: match first.family {
                kiln_toolchain::Family::Gcc => Family::Gcc,
                kiln_toolchain::Family::Clang => Family::Clang,
            },
            cxx_driver: first.cxx,
            args: &request.args,
            env: &env,
            cwd,
            read_file: &|path| read_response_file(&absolute(cwd, path)),
        })?;
        let units = reading.units.into_iter().map(|unit| self.unit(unit, &first, driver, &lookup, cwd, epoch));
        let units: Vec<Analysed> = units.collect::<Result<_, _>>()?;
        self.check_apart(&units, cwd, epoch)?;
        Ok(Work { units, link: reading.link })
    }

    fn unit(
        &self,
        mut unit: Invocation,
        first: &Arc<Toolchain>,
        driver: &Path,
        lookup: &LookupEnv,
        cwd: &str,
        epoch: Epoch,
    ) -> Result<Analysed, Refused> {
        let specs = self.specs(&unit, cwd, epoch)?;
        let args = lookup_args(&unit.probe_args, cwd);
        let toolchain = match args.is_empty() {
            true => Arc::clone(first),
            false => self.toolchain(driver, &LookupEnv { args, ..lookup.clone() }, epoch)?,
        };
        for text in specs.into_iter().chain(own_specs(&unit, &toolchain)) {
            let text = text.map_err(|path| Refused::new("specs", path))?;
            kiln_cmdline::check_specs(&text).map_err(|what| Refused::new("specs", what))?;
        }
        self.toolchains.reveal(&toolchain, &mut unit, cwd).map_err(|why| Refused::new("specs", why))?;
        self.build(unit, toolchain, cwd, epoch)
    }

    /// Texts of the specs files that are named by a path; the path of one that cannot be read.
    fn specs(&self, unit: &Invocation, cwd: &str, epoch: Epoch) -> Result<Vec<Result<String, String>>, Refused> {
        let (paths, names): (Vec<&String>, Vec<&String>) = unit.specs.iter().partition(|path| path.contains('/'));
        // gcc would look among its own files first.
        let here = names.into_iter().find(|name| self.files.walk(&absolute(cwd, name), epoch).end != WalkEnd::Absent);
        match here {
            Some(name) => Err(Refused::new("specs", name.clone())),
            None => Ok(paths.into_iter().map(|path| read_text(&absolute(cwd, path)).ok_or_else(|| path.clone())).collect()),
        }
    }

    /// Of several units none reads what another writes: the driver runs them one after the other, here they run at once.
    fn check_apart(&self, units: &[Analysed], cwd: &str, epoch: Epoch) -> Result<(), Refused> {
        if units.len() < 2 {
            return Ok(());
        }
        let read: BTreeSet<FileId> = units.iter().flat_map(|unit| unit.blobs.files().map(|(file, _)| file)).collect();
        for output in units.iter().flat_map(|unit| &unit.unit.outputs) {
            let path = absolute(cwd, &output.path);
            if let WalkEnd::File(file) = self.files.walk(&path, epoch).end
                && read.contains(&file)
            {
                return Err(Refused::new("output-clash", path));
            }
        }
        Ok(())
    }

    fn toolchain(&self, driver: &Path, env: &LookupEnv, epoch: Epoch) -> Result<Arc<Toolchain>, Refused> {
        let found = self.toolchains.get(driver, env, epoch, self.files.now());
        found.map_err(|error| Refused::new(kiln_frame::NOT_A_COMPILER, error.to_string()))
    }

    /// `LD_LIBRARY_PATH` changes nothing where none of its directories holds a library that the compiler loads (cargo, conda and
    /// environment modules set it all the time): then it is left out.
    fn without_idle_library_path(
        &self,
        mut env: Vec<(Vec<u8>, Vec<u8>)>,
        toolchain: &Toolchain,
        cwd: &str,
        epoch: Epoch,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let is_it = |name: &[u8]| name == b"LD_LIBRARY_PATH";
        let Some((_, value)) = env.iter().find(|(name, _)| is_it(name)) else { return env };
        let Ok(value) = std::str::from_utf8(value) else { return env };
        let names = toolchain.entries.iter().filter_map(|entry| entry.path().rsplit_once('/').map(|(_, name)| name));
        let libraries: BTreeSet<&str> = names.filter(|name| name.contains(".so")).chain(["glibc-hwcaps", "tls"]).collect();
        let idle = value.split([':', ';']).all(|directory| {
            // An empty element means the working directory.
            match self.files.walk(&absolute(cwd, directory), epoch).end {
                WalkEnd::Directory(id) => match self.files.listing(id, epoch) {
                    Some(listing) => !libraries.iter().any(|name| listing.names.contains_key(*name)),
                    None => false,
                },
                WalkEnd::Absent => !directory.contains('$'),
                _ => false,
            }
        });
        if idle {
            env.retain(|(name, _)| !is_it(name));
        }
        env
    }

    fn build(&self, unit: Invocation, toolchain: Arc<Toolchain>, cwd: &str, epoch: Epoch) -> Result<Analysed, Refused> {
        self.check_outputs(&unit, cwd, epoch)?;
        let native = self.native(&unit, &toolchain)?;
        let native = native.as_deref();
        self.files.make_room();
        let mut filled = self.fill(&unit, &toolchain, native, cwd, epoch);
        for _ in 0..REFILLS_MAX {
            let changing = matches!(&filled, Err(refused) if refused.reason == CHANGING);
            let forgotten = filled.as_ref().is_ok_and(|filled| filled.era != self.files.era());
            if !changing && !forgotten {
                break;
            }
            filled = self.fill(&unit, &toolchain, native, cwd, epoch);
        }
        let Filled { inputs, source, root, .. } = filled?;
        let words = match native {
            Some(native) => native.spell(&unit.expanded),
            None => unit.args.clone(),
        };
        Ok(Analysed::of(unit, toolchain, words, cwd, inputs, root, source))
    }

    /// Fills the unit's root from the files as they are.
    fn fill(
        &self,
        unit: &Invocation,
        toolchain: &Toolchain,
        native: Option<&Native>,
        cwd: &str,
        epoch: Epoch,
    ) -> Result<Filled, Refused> {
        let era = self.files.era();
        let mut root = Root::new(self.files, epoch, self.bases.get(toolchain, self.files)?);
        root.add(cwd)?;
        // A job has a /proc of its own, in which /proc/self/cwd is right.
        if let Some((_, pwd)) = unit.env.iter().find(|(name, value)| name == "PWD" && !value.starts_with("/proc/")) {
            root.add(pwd)?;
        }
        for output in &unit.outputs {
            root.add(parent_of(&absolute(cwd, &output.path)))?;
        }
        let specs = unit.specs.iter().filter(|path| path.contains('/'));
        for file in unit.response_files.iter().chain(&unit.input_files).chain(specs) {
            root.add(&absolute(cwd, file))?;
        }
        for directory in &unit.input_dirs {
            root.add_whole(&absolute(cwd, directory))?;
        }
        if let Some(text) = native.and_then(|native| native.specs.as_ref()) {
            root.add_made(NATIVE_SPECS_PATH, Arc::from(text.as_bytes()))?;
        }
        let inputs = inputs::enter(self, unit, toolchain, cwd, epoch, &mut root)?;
        let source = self.source(unit, cwd, &mut root)?;
        Ok(Filled { era, inputs, source, root: root.finish()? })
    }

    /// Enters the unit's source; `None` where it is no file.
    fn source(&self, unit: &Invocation, cwd: &str, root: &mut Root<'_>) -> Result<Option<FileId>, Refused> {
        if let Some(bytes) = self.stdin.as_ref().filter(|_| unit.reads_stdin()) {
            root.add_made(STDIN_PATH, Arc::clone(bytes))?;
            return Ok(None);
        }
        match root.add(&absolute(cwd, &unit.source))? {
            Added::File(file) => Ok(Some(file)),
            _ => Err(Refused::new("no-source", unit.source.clone())),
        }
    }

    /// What the unit's `native` means, where it says so.
    fn native(&self, unit: &Invocation, toolchain: &Toolchain) -> Result<Option<Arc<Native>>, Refused> {
        if !unit.native {
            return Ok(None);
        }
        let native = self.toolchains.native(toolchain, unit).map_err(|why| Refused::new("native", why))?;
        // What is left names this machine in a way that was not seen in the options.
        match native.specs.is_none() && names_native(&native.spell(&unit.expanded)) {
            true => Err(Refused::new("native", "an option that cannot be spelled out")),
            false => Ok(Some(native)),
        }
    }

    /// Outputs that the wrapper could not put in place as the compiler would are refused before anything is sent.
    fn check_outputs(&self, unit: &Invocation, cwd: &str, epoch: Epoch) -> Result<(), Refused> {
        for output in &unit.outputs {
            let path = absolute(cwd, &output.path);
            if self.files.walk(parent_of(&path), epoch).directory().is_none() {
                return Err(Refused::new("output-directory", path));
            }
            match rustix::fs::stat(path.as_str()) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                    return Err(Refused::new("special-output", path));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A root that was filled for a unit.
struct Filled {
    /// [`Files::era`] before.
    era: (u32, u32),
    inputs: Inputs,
    /// The unit's own source.
    source: Option<FileId>,
    root: FilledRoot,
}

fn text(bytes: &[u8]) -> Result<&str, Refused> {
    std::str::from_utf8(bytes).map_err(|_| Refused::new("not-utf8", String::from_utf8_lossy(bytes).into_owned()))
}

fn read_text(path: &str) -> Option<String> {
    read_response_file(path).and_then(|bytes| String::from_utf8(bytes).ok())
}

/// Texts of the specs files that stand among the toolchain's own; the name of one that does not.
fn own_specs<'a>(unit: &'a Invocation, toolchain: &'a Toolchain) -> impl Iterator<Item = Result<String, String>> + 'a {
    let names = unit.specs.iter().filter(|name| !name.contains('/'));
    names.map(|name| {
        let tail = format!("/{name}");
        let entry = toolchain.entries.iter().find(|entry| entry.path().ends_with(&tail));
        entry.and_then(|entry| read_text(entry.path())).ok_or_else(|| name.clone())
    })
}

/// `NAME=VALUE` strings as pairs; one without `=` is a name without a value.
fn split_env(env: &[Vec<u8>]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let split = |variable: &Vec<u8>| match variable.iter().position(|&byte| byte == b'=') {
        Some(at) => (variable[..at].to_vec(), variable[at + 1..].to_vec()),
        None => (variable.clone(), Vec::new()),
    };
    env.iter().map(split).collect()
}

fn read_response_file(path: &str) -> Option<Vec<u8>> {
    let stat = rustix::fs::stat(path).ok()?;
    let fits = u64::try_from(stat.st_size).is_ok_and(|size| size <= RESPONSE_FILE_MAX);
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    (fits && regular).then(|| std::fs::read(path).ok()).flatten()
}

/// `path` seen from `cwd`, not normalised: `..` and links keep their meaning.
pub(crate) fn absolute(cwd: &str, path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => join(cwd, path),
    }
}

fn parent_of(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}
