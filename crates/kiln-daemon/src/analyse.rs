//! From a wrapper's request to an action: read the command line, find the toolchain and the inputs, build the root. Blocks.

use kiln_cas::{Action, Command, Digest, TreeBuilder};
use kiln_cmdline::{Family, Invocation, Link, Refusal, Request};
use kiln_frame::Compile;
use kiln_sandbox::KILN_ROOT;
use kiln_toolchain::{LookupEnv, NATIVE_SPECS_PATH, Native, Toolchain, names_native};
use kiln_worker::{ROOT_PROPERTY, STDIN_PROPERTY, TERMINAL_PROPERTY};
use rustix::fs::FileType;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::files::{Epoch, Files, View, WalkEnd, join};
use crate::inputs::{self, Form};
use crate::root::{FilledRoot, Root, RootError};
use crate::toolchains::{Toolchains, lookup_args};

/// Largest response file read: a 2 MB command line is the largest that the kernel passes on, four times that.
const RESPONSE_FILE_MAX: u64 = 8 << 20;

/// Where a source that came by standard input stands in the root.
const STDIN_PATH: &str = "/.kiln-stdin";

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
            RootError::Tree(_) => "changing-tree",
            RootError::TooLarge(_) => "too-many-inputs",
        };
        Refused::new(code, error.to_string())
    }
}

/// Where a blob's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A file of the client, which may have changed since.
    File(Arc<str>),
    /// A message made here.
    Memory(Arc<[u8]>),
}

/// A unit that can run anywhere.
#[derive(Clone)]
pub(crate) struct Analysed {
    pub(crate) unit: Invocation,
    pub(crate) toolchain: Arc<Toolchain>,
    pub(crate) action: Action,
    pub(crate) command: Command,
    pub(crate) action_digest: Digest,
    /// Every blob of the input root, and the action and command themselves.
    pub(crate) blobs: BTreeMap<Digest, Source>,
    /// Blobs that only this unit needs: its source and its messages; all others are shared.
    pub(crate) own: Vec<Digest>,
    pub(crate) form: Form,
    /// Files of the closure, for `kiln explain`.
    pub(crate) inputs: Vec<(String, Digest)>,
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
    /// What the wrapper read from standard input.
    pub(crate) stdin: Option<Arc<[u8]>>,
}

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
        let here = names.into_iter().find(|name| self.files.walk(&absolute(cwd, name), epoch, &mut |_| {}) != WalkEnd::Absent);
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
        let read: BTreeSet<&str> = units.iter().flat_map(|unit| unit.inputs.iter().map(|(path, _)| path.as_str())).collect();
        for output in units.iter().flat_map(|unit| &unit.unit.outputs) {
            let path = absolute(cwd, &output.path);
            if let WalkEnd::File(path) = self.files.walk(&path, epoch, &mut |_| {})
                && read.contains(path.as_str())
            {
                return Err(Refused::new("output-clash", path));
            }
        }
        Ok(())
    }

    fn toolchain(&self, driver: &Path, env: &LookupEnv, epoch: Epoch) -> Result<Arc<Toolchain>, Refused> {
        let found = self.toolchains.get(driver, env, epoch, self.files.now());
        found.map_err(|error| Refused::new("not-a-compiler", error.to_string()))
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
            match self.files.walk(&absolute(cwd, directory), epoch, &mut |_| {}) {
                WalkEnd::Directory(path) => match self.files.listing(&path, epoch) {
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
        let mut base = TreeBuilder::new();
        toolchain.add_to(&mut base).map_err(RootError::from)?;
        let mut root = Root::new(self.files, epoch, base);
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
        if let Some(text) = native.as_ref().and_then(|native| native.specs.as_ref()) {
            root.add_made(NATIVE_SPECS_PATH, Arc::from(text.as_bytes()))?;
        }
        let form = inputs::enter(self, &unit, &toolchain, cwd, epoch, &mut root)?;
        let source = self.source(&unit, cwd, &mut root)?;
        let inputs = root.input_list();
        let filled = root.finish()?;
        let arguments = match &native {
            Some(native) => native.spell(&unit.expanded),
            None => unit.args.clone(),
        };
        Ok(self.action(unit, toolchain, arguments, cwd, form, &source, inputs, filled))
    }

    /// Enters the unit's source; its path in the root.
    fn source(&self, unit: &Invocation, cwd: &str, root: &mut Root<'_>) -> Result<String, Refused> {
        if let Some(bytes) = self.stdin.as_ref().filter(|_| unit.reads_stdin()) {
            root.add_made(STDIN_PATH, Arc::clone(bytes))?;
            return Ok(STDIN_PATH.to_owned());
        }
        match root.add(&absolute(cwd, &unit.source))? {
            crate::root::Added::File(path) => Ok(path),
            _ => Err(Refused::new("no-source", unit.source.clone())),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one value")]
    fn action(
        &self,
        unit: Invocation,
        toolchain: Arc<Toolchain>,
        words: Vec<String>,
        cwd: &str,
        form: Form,
        source: &str,
        inputs: Vec<(String, Digest)>,
        filled: FilledRoot,
    ) -> Analysed {
        let mut arguments = vec![toolchain.driver.to_string_lossy().into_owned()];
        arguments.extend(words);
        let mut environment = unit.env.clone();
        environment.push(("PATH".to_owned(), toolchain.search_path.clone()));
        environment.sort();
        let mut output_paths: Vec<String> = unit.outputs.iter().map(|output| output.path.clone()).collect();
        output_paths.sort();
        output_paths.dedup();
        let platform = platform(toolchain.host_arch, unit.reads_stdin(), None);
        let command = Command {
            arguments,
            environment,
            output_files: output_paths.clone(),
            output_directories: Vec::new(),
            platform: platform.clone(),
            working_directory: cwd.trim_start_matches('/').to_owned(),
            output_paths,
        };
        let mut blobs: BTreeMap<Digest, Source> = BTreeMap::new();
        let mut own = Vec::new();
        for (digest, path) in filled.sources {
            if &*path == source {
                own.push(digest);
            }
            blobs.insert(digest, Source::File(path));
        }
        for (digest, bytes) in filled.made {
            own.push(digest);
            blobs.insert(digest, Source::Memory(bytes));
        }
        for (digest, bytes) in filled.tree.directories {
            own.push(digest);
            blobs.insert(digest, Source::Memory(bytes));
        }
        for (digest, path) in toolchain_sources(&toolchain) {
            blobs.entry(digest).or_insert(Source::File(path));
        }
        let action = Action {
            command_digest: Digest::EMPTY,
            input_root_digest: filled.tree.root,
            timeout_ms: None,
            do_not_cache: false,
            salt: Vec::new(),
            platform,
        };
        let mut analysed = Analysed { unit, toolchain, action, command, action_digest: Digest::EMPTY, blobs, own, form, inputs };
        analysed.seal();
        analysed
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
            match self.files.walk(parent_of(&path), epoch, &mut |_| {}) {
                WalkEnd::Directory(_) => {}
                _ => return Err(Refused::new("output-directory", path)),
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

impl Analysed {
    /// Computes the digests of command and action after a change to either.
    fn seal(&mut self) {
        let command = self.command.encode();
        self.action.command_digest = Digest::of(&command);
        let action = self.action.encode();
        self.action_digest = Digest::of(&action);
        for (digest, bytes) in [(self.action.command_digest, command), (self.action_digest, action)] {
            self.own.push(digest);
            self.blobs.insert(digest, Source::Memory(bytes.into()));
        }
    }

    /// Whether a job sees of the user's terminal what the compiler would see here: clang may look it up in a database, of which the
    /// toolchain holds the usual entries.
    pub(crate) fn knows_terminal(&self) -> bool {
        let value = |name: &str| self.unit.terminal_env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let mut entries = self.toolchain.entries.iter().filter(|entry| entry.path().contains("/terminfo/")).peekable();
        let name = value("TERM").unwrap_or_default();
        let own = value("TERMINFO").or(value("TERMINFO_DIRS")).is_some();
        let end = format!("/{name}");
        entries.peek().is_none() || name.is_empty() || (!own && entries.any(|entry| entry.path().ends_with(&end)))
    }

    /// The same unit, its messages written for a terminal of that size.
    pub(crate) fn for_terminal(mut self, terminal: kiln_frame::Terminal) -> Analysed {
        let value = format!("{}x{}", terminal.columns, terminal.rows);
        self.action.platform = platform(self.toolchain.host_arch, self.unit.reads_stdin(), Some(&value));
        self.command.platform = self.action.platform.clone();
        self.command.environment.extend(self.unit.terminal_env.iter().cloned());
        self.command.environment.sort();
        self.command.environment.dedup();
        self.seal();
        self
    }
}

fn platform(machine: &str, stdin: bool, terminal: Option<&str>) -> Vec<(String, String)> {
    let isa = match machine {
        "x86_64" => "x86-64",
        "aarch64" => "arm-a64",
        other => other,
    };
    let mut platform = vec![
        ("ISA".to_owned(), isa.to_owned()),
        ("OSFamily".to_owned(), "linux".to_owned()),
        (ROOT_PROPERTY.to_owned(), KILN_ROOT.to_owned()),
    ];
    if stdin {
        platform.push((STDIN_PROPERTY.to_owned(), STDIN_PATH.to_owned()));
    }
    if let Some(terminal) = terminal {
        platform.push((TERMINAL_PROPERTY.to_owned(), terminal.to_owned()));
    }
    platform
}

fn toolchain_sources(toolchain: &Toolchain) -> impl Iterator<Item = (Digest, Arc<str>)> + '_ {
    toolchain.entries.iter().filter_map(|entry| match entry {
        kiln_toolchain::Entry::File { path, digest, .. } => Some((*digest, Arc::from(path.as_str()))),
        _ => None,
    })
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
