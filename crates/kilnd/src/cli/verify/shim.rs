//! Stands in for a compiler below `kiln verify`: compiles a unit by kiln and plainly, and compares all that comes of it.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;

use anyhow::Context;
use kiln_cmdline::Family;
use kiln_cmdline::Invocation;
use kiln_cmdline::OnFailure;
use kiln_cmdline::OutputKind;
use kiln_cmdline::Request;

use super::VERIFY_DIR;
use super::findings::Finding;
use super::inputs;
use crate::cli::child;
use crate::cli::place;
use crate::cli::talk::Asker;
use crate::exit::Exit;
use crate::exit::say;

/// Largest response file read, as the daemon has it.
const RESPONSE_FILE_MAX: u64 = 8 << 20;

/// A stand-in at its work.
pub(super) struct Shim {
    dir: PathBuf,
    name: OsString,
    args: Vec<OsString>,
    kiln: PathBuf,
    /// The real compiler.
    real: PathBuf,
    /// PATH without the shims.
    path: OsString,
    asker: Asker,
}

/// A command that is tried both ways.
struct Judged {
    source: String,
    units: Vec<Invocation>,
    outputs: Vec<Written>,
}

/// A file that it may write.
struct Written {
    path: String,
    on_failure: OnFailure,
}

/// What came of one compile.
struct Outcome {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Content and whether it may be executed, in the order of the outputs.
    files: Vec<Option<(Vec<u8>, bool)>>,
}

impl Shim {
    pub(super) fn new(argv: &[OsString]) -> anyhow::Result<Shim> {
        let (called, args) = argv.split_first().context("called without a name")?;
        let name = Path::new(called).file_name().context("called without a name")?.to_owned();
        let dir = PathBuf::from(place::variable(VERIFY_DIR).unwrap_or_default());
        let shims = dir.join("bin");
        let all = place::variable("PATH").unwrap_or_default();
        let before = std::env::split_paths(&all).take_while(|entry| *entry != shims).count();
        let kept: Vec<PathBuf> = std::env::split_paths(&all).filter(|entry| *entry != shims).collect();
        let kiln = place::kiln()?;
        let wrapper = std::fs::canonicalize(&kiln)?;
        let is_real = |file: &PathBuf| {
            file.is_file() && kiln_frame::sys::may_execute(file) && std::fs::canonicalize(file).is_ok_and(|real| real != wrapper)
        };
        // The wrapper in front of a compiler's path calls by that path.
        let called = PathBuf::from(called);
        let given = Some(called).filter(|path| path.is_absolute() && !path.starts_with(&shims) && is_real(path));
        // What stands before this stand-in in PATH has had its turn.
        let mut behind = kept[before..].iter().chain(&kept).map(|entry| entry.join(&name));
        let real = given.or_else(|| behind.find(is_real));
        let real = real.with_context(|| format!("no {} behind kiln in PATH", name.display()))?;
        Ok(Shim { dir, name, args: args.to_vec(), kiln, real, path: std::env::join_paths(kept)?, asker: Asker::new() })
    }

    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let Ok(judged) = self.parse() else {
            Finding::Plain(&self.name.to_string_lossy()).note(&self.dir);
            let mut command = self.kiln_command();
            // It takes the place of this process, descriptors and all.
            let error = command.exec();
            return Ok(say(&format!("cannot run {}: {error}", self.kiln.display()), Exit::Command(126)));
        };
        let held = self.dir.join("held").join(std::process::id().to_string());
        std::fs::create_dir_all(&held)?;
        // Both compiles begin with the same files; what was there before is put back where a compiler would have kept it.
        let before = self.take_outputs(&judged, &held.join("before"))?;
        let by_kiln = self.compile(self.kiln_command(), &judged)?;
        let inputs: Vec<_> = judged.units.iter().map(|unit| inputs::found(&self.asker, unit)).collect();
        self.take_outputs(&judged, &held.join("kiln"))?;
        let plain = self.compile(self.plain_command(), &judged)?;
        let differs = difference(&by_kiln, &plain, &judged);
        let what = format!("{} ({})", std::env::current_dir()?.join(&judged.source).display(), self.name.display());
        match differs {
            None => Finding::Equal(&what).note(&self.dir),
            Some(difference) => self.judge(&judged, &held, &plain, &what, &difference)?,
        }
        for (unit, found) in judged.units.iter().zip(inputs) {
            if by_kiln.status.success()
                && let Some(found) = found
                && let Some(listed) = inputs::listed(self.bare_command(), unit)
            {
                inputs::judge(&listed, &found, &what, |finding| finding.note(&self.dir));
            }
        }
        for (output, was) in judged.outputs.iter().zip(before) {
            if let Some(was) = was.filter(|_| output.on_failure == OnFailure::Keep && !plain.status.success())
                && !Path::new(&output.path).exists()
            {
                std::fs::rename(was, &output.path)?;
            }
        }
        let _ = std::fs::remove_dir_all(&held);
        std::io::stdout().write_all(&plain.stdout)?;
        std::io::stderr().write_all(&plain.stderr)?;
        Ok(child::end_as(plain.status))
    }

    /// Compiles plainly once more: what differs then as well says nothing of kiln.
    fn judge(&self, judged: &Judged, held: &Path, plain: &Outcome, what: &str, difference: &str) -> anyhow::Result<()> {
        let kept = held.join("plain");
        self.take_outputs(judged, &kept)?;
        let again = self.compile(self.plain_command(), judged)?;
        self.take_outputs(judged, &held.join("again"))?;
        let unstable = super::shim::difference(plain, &again, judged).is_some();
        // kiln knows its own precompiled header: with another one, what uses it would be run plainly, and nothing be verified.
        let is_header = matches!(judged.units.as_slice(), [unit] if unit.output_kind == OutputKind::Precompiled);
        let own = is_header && unstable && plain.status.success();
        for (number, output) in judged.outputs.iter().enumerate() {
            let by_kiln = Some(held.join("kiln").join(number.to_string())).filter(|file| own && file.exists());
            let file = by_kiln.unwrap_or_else(|| kept.join(number.to_string()));
            if file.exists() {
                move_file(&file, Path::new(&output.path))?;
                std::fs::copy(&output.path, &file)?;
            }
        }
        if unstable {
            Finding::Unstable(what).note(&self.dir);
            return Ok(());
        }
        let safe = self.dir.join("differing").join(std::process::id().to_string());
        std::fs::create_dir_all(&safe)?;
        for part in ["kiln", "plain"] {
            let _ = std::fs::rename(held.join(part), safe.join(part));
        }
        std::fs::write(safe.join("command"), format!("{what}\n{difference}\n{:?} {:?}\n", self.real, self.args))?;
        Finding::Differs(&format!("{what}: {difference}")).note(&self.dir);
        Ok(())
    }

    fn parse(&self) -> anyhow::Result<Judged> {
        let args: Vec<Vec<u8>> = self.args.iter().map(|arg| arg.clone().into_vec()).collect();
        // The daemon looks into the directories of `LD_LIBRARY_PATH`; both compiles have it, whatever it finds.
        let env: Vec<(Vec<u8>, Vec<u8>)> = std::env::vars_os()
            .filter(|(name, _)| name != "LD_LIBRARY_PATH")
            .map(|(name, value)| (name.into_vec(), value.into_vec()))
            .collect();
        let real = std::fs::canonicalize(&self.real)?;
        let base = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let cwd = std::env::current_dir()?;
        let request = Request {
            family: if base.contains("clang") { Family::Clang } else { Family::Gcc },
            cxx_driver: self.name.to_string_lossy().contains("++"),
            args: &args,
            env: &env,
            cwd: cwd.to_str().context("the working directory is not UTF-8")?,
            read_file: &|name| {
                let path = cwd.join(name);
                let small = std::fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= RESPONSE_FILE_MAX);
                small.then(|| std::fs::read(&path).ok()).flatten()
            },
        };
        let reading = kiln_cmdline::parse_all(&request).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
        if reading.units.iter().any(kiln_cmdline::Invocation::reads_stdin) {
            anyhow::bail!("standard input can be read once");
        }
        let sources: Vec<&str> = reading.units.iter().map(|unit| unit.source.as_str()).collect();
        let outputs = match reading.link {
            Some(link) => vec![(link.output, OnFailure::Keep)],
            None => reading.units.iter().flat_map(|unit| &unit.outputs).map(|one| (one.path.clone(), one.on_failure)).collect(),
        };
        let outputs = outputs.into_iter().map(|(path, on_failure)| Written { path, on_failure });
        Ok(Judged { source: sources.join(" "), outputs: outputs.collect(), units: reading.units })
    }

    fn kiln_command(&self) -> Command {
        let mut command = Command::new(&self.kiln);
        command.arg(&self.real).args(&self.args).env("PATH", &self.path).env_remove(VERIFY_DIR);
        command
    }

    fn plain_command(&self) -> Command {
        let mut command = self.bare_command();
        command.args(&self.args);
        command
    }

    /// The real compiler without arguments.
    fn bare_command(&self) -> Command {
        let mut command = Command::new(&self.real);
        command.env("PATH", &self.path).env_remove(VERIFY_DIR);
        command
    }

    fn compile(&self, mut command: Command, judged: &Judged) -> anyhow::Result<Outcome> {
        let program = command.get_program().to_owned();
        let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", program.display()))?;
        let read = |path: &str| {
            let content = std::fs::read(path).ok()?;
            let executable = std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0);
            Some((content, executable))
        };
        let files = judged.outputs.iter().map(|output| read(&output.path)).collect();
        Ok(Outcome { status: output.status, stdout: output.stdout, stderr: output.stderr, files })
    }

    /// Moves the outputs that are there to `dir`, numbered; where each went.
    fn take_outputs(&self, judged: &Judged, dir: &Path) -> anyhow::Result<Vec<Option<PathBuf>>> {
        std::fs::create_dir_all(dir)?;
        let mut taken = Vec::with_capacity(judged.outputs.len());
        for (number, output) in judged.outputs.iter().enumerate() {
            let from = Path::new(&output.path);
            // A device or a link is written in place by both.
            let is_file = std::fs::symlink_metadata(from).is_ok_and(|meta| meta.is_file());
            let to = dir.join(number.to_string());
            if is_file {
                move_file(from, &to)?;
            }
            taken.push(is_file.then_some(to));
        }
        Ok(taken)
    }
}

/// Moves a file, to another file system if need be.
fn move_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            std::fs::copy(from, to)?;
            Ok(std::fs::remove_file(from)?)
        }
        other => other.with_context(|| format!("cannot move {}", from.display())),
    }
}

/// The first thing in which two compiles differ.
fn difference(one: &Outcome, other: &Outcome, judged: &Judged) -> Option<String> {
    if one.status != other.status {
        return Some(format!("{} instead of {}", one.status, other.status));
    }
    if one.stdout != other.stdout {
        return Some("stdout".to_owned());
    }
    if one.stderr != other.stderr {
        return Some("stderr".to_owned());
    }
    let files = one.files.iter().zip(&other.files).zip(&judged.outputs);
    for ((one, other), output) in files {
        let why = match (one, other) {
            (Some((one, _)), Some((other, _))) if one != other => "content",
            (Some((_, one)), Some((_, other))) if one != other => "executable bit",
            (Some(_), None) => "written by kiln alone",
            (None, Some(_)) => "not written by kiln",
            _ => continue,
        };
        return Some(format!("{}: {why}", output.path));
    }
    None
}
