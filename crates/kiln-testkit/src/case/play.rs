//! Plays one case in one directory, with the compiler itself or with kiln before it. Knows how a build calls a compiler, and
//! compares nothing.

use super::drivers::Driver;
use super::read::{Case, Line, Step};
use super::tree::{Tree, take, times};
use crate::process::{contents, wait_within};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// In which one command line ends, on a machine that does much else.
const LINE_MAX: Duration = Duration::from_secs(120);
/// All files of a fresh directory are of this time, seconds since 1970: 2001-09-09.
const FRESH: u64 = 1_000_000_000;
/// Where compilers are looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What stands before the compiler.
#[derive(Debug)]
pub(crate) enum Way<'a> {
    /// Nothing.
    Plain,
    /// Nothing, as a user runs it who has not asked for anything: everything in memory lies elsewhere each time.
    Drawn,
    /// kiln with these variables: as a launcher, or by a directory of links that is first in `PATH`.
    Kiln { env: &'a [(OsString, OsString)], kiln: &'a Path, links: Option<&'a Path> },
}

/// What came of one command line.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) tree: Tree,
}

/// Makes `dir` anew as the case has it, and runs in it those of its `steps` that are for `driver`.
///
/// # Panics
/// The directory cannot be made, or a command of the case's own fails.
pub(crate) fn play(dir: &Path, case: &Case, steps: &[&Step], driver: &Driver, way: &Way<'_>) -> Vec<Outcome> {
    fresh(dir, case);
    let mut outcomes = Vec::new();
    for step in steps {
        match step {
            Step::Edit(text) => shell(dir, case, text),
            Step::Run(line) if line.drivers.contains(&driver) => outcomes.push(run(dir, (line, &case.prelude), driver, way)),
            Step::Run(_) => {}
        }
    }
    if let Some(text) = &case.cleanup {
        shell(dir, case, text);
    }
    outcomes
}

fn fresh(dir: &Path, case: &Case) {
    if dir.exists() {
        fs::remove_dir_all(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    }
    fs::create_dir_all(dir).expect("a directory");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(FRESH);
    for (name, bytes) in &case.files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap_or(dir)).expect("a directory");
        fs::write(&path, bytes).expect("a file");
        let file = File::options().append(true).open(&path).expect("a file");
        file.set_modified(time).expect("a time");
    }
    for text in &case.setup {
        shell(dir, case, text);
    }
}

fn shell(dir: &Path, case: &Case, text: &str) {
    // Compilers may be among what it runs, so with addresses that are not drawn by lot here too.
    let mut command = Command::new("setarch");
    command.args(["-R", "bash", "-euc", text]).current_dir(dir).env_clear().env("PATH", PATH).stdin(Stdio::null());
    let output = command.output().expect("a shell");
    assert!(output.status.success(), "{}: `{text}`: {}", case.name, String::from_utf8_lossy(&output.stderr));
}

/// The words of a line with `{dir}` replaced and `{N*TEXT}` repeated.
pub(crate) fn words(line: &Line, dir: &Path) -> Vec<OsString> {
    let mut words = Vec::with_capacity(line.words.len());
    for word in &line.words {
        match repeated(word) {
            Some((count, text)) => words.extend((0..count).map(|number| text.replace('#', &number.to_string()).into())),
            None => words.push(replaced(word, dir)),
        }
    }
    words
}

/// Number and text of a word `{N*TEXT}`.
fn repeated(word: &OsStr) -> Option<(u32, &str)> {
    let (count, text) = word.to_str()?.strip_prefix('{')?.strip_suffix('}')?.split_once('*')?;
    Some((count.parse().ok()?, text))
}

/// Whether a line has so many words that the daemon does not remember them all.
pub(crate) fn is_long(line: &Line) -> bool {
    line.words.iter().any(|word| repeated(word).is_some() || word.len() > 4096)
}

fn replaced(word: &OsStr, dir: &Path) -> OsString {
    const MARK: &[u8] = b"{dir}";
    let mut out = Vec::new();
    let mut rest = word.as_bytes();
    while let Some(at) = rest.windows(MARK.len()).position(|part| part == MARK) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(dir.as_os_str().as_bytes());
        rest = &rest[at + MARK.len()..];
    }
    out.extend_from_slice(rest);
    OsString::from_vec(out)
}

/// The directory in which a line runs.
pub(crate) fn cwd(line: &Line, dir: &Path) -> PathBuf {
    line.subdir.as_ref().map_or_else(|| dir.to_owned(), |below| dir.join(below))
}

fn run(dir: &Path, (line, prelude): (&Line, &str), driver: &Driver, way: &Way<'_>) -> Outcome {
    // Addresses that are not drawn by lot, as in kiln's jobs: some compilers' output depends on them.
    let first: &[&str] = if matches!(way, Way::Drawn) { &["env"] } else { &["setarch", "-R"] };
    let mut command = Command::new(if prelude.is_empty() { first[0] } else { "bash" });
    match prelude {
        "" => command.args(&first[1..]),
        _ => command.args(["-euc", &format!("{prelude}; exec \"$@\""), "bash"]).args(first),
    };
    command.current_dir(cwd(line, dir)).env_clear();
    let mut path = OsString::from(PATH);
    match way {
        // By its whole path, as kiln calls it: some words of gcc, such as COLLECT_GCC, hold what it was called by.
        Way::Plain | Way::Drawn => {
            let own = line.program.as_ref().map(|program| dir.join(program));
            command.arg(own.unwrap_or_else(|| Path::new("/usr/bin").join(driver.name)))
        }
        Way::Kiln { env, kiln, links } => {
            command.envs(env.iter().map(|(name, value)| (name, value)));
            match links {
                _ if line.program.is_some() => command.arg(kiln).arg(dir.join(line.program.as_deref().unwrap_or_default())),
                None => command.arg(kiln).arg(driver.name),
                Some(links) => {
                    path = OsString::from(links);
                    path.push(":");
                    path.push(PATH);
                    command.arg(driver.name)
                }
            }
        }
    };
    command.args(words(line, dir)).env("PATH", path).env("LANG", "C.UTF-8").env("HOME", "/nonexistent");
    command.envs(line.env.iter().map(|(name, value)| (name, replaced(value, dir))));
    let stdin = line.stdin.as_ref().map(|name| File::open(dir.join(name)).expect("a file for standard input"));
    command.stdin(stdin.map_or_else(Stdio::null, Stdio::from));
    let before = times(dir);
    let (status, stdout, stderr) = match line.columns {
        Some(columns) => on_terminal(&mut command, columns),
        None => on_files(&mut command, line.merged),
    };
    let status = status.unwrap_or_else(|| panic!("{}: still running after {LINE_MAX:?}", line.text));
    Outcome { code: status.code(), signal: status.signal(), stdout, stderr, tree: take(dir, &before) }
}

type Ended = (Option<std::process::ExitStatus>, Vec<u8>, Vec<u8>);

fn on_files(command: &mut Command, merged: bool) -> Ended {
    let mut stdout = tempfile::tempfile().expect("a file for standard output");
    let mut stderr = tempfile::tempfile().expect("a file for standard error");
    let both = if merged { &stdout } else { &stderr };
    command.stdout(stdout.try_clone().expect("a descriptor")).stderr(both.try_clone().expect("a descriptor"));
    let mut child = command.spawn().expect("a process");
    let status = wait_within(&mut child, LINE_MAX);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    (status, contents(&mut stdout), contents(&mut stderr))
}

fn on_terminal(command: &mut Command, columns: u16) -> Ended {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&master).expect("a terminal");
    unlockpt(&master).expect("a terminal");
    let name = ptsname(&master, Vec::new()).expect("a terminal's name");
    let slave = File::options().read(true).write(true).open(OsStr::from_bytes(name.as_bytes())).expect("a terminal");
    tcsetwinsize(&slave, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).expect("a size");
    command.env("TERM", "xterm-256color");
    command.stdout(slave.try_clone().expect("a descriptor")).stderr(slave.try_clone().expect("a descriptor"));
    let mut child = command.spawn().expect("a process");
    // The command holds descriptors of the terminal too.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    drop(slave);
    let mut file = File::from(master);
    let limit = Timespec::try_from(LINE_MAX).expect("a time");
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let ready = poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(&limit));
        // It fails when nobody has the terminal open any more.
        match file.read(&mut buffer) {
            Ok(count) if count > 0 && ready.is_ok() => all.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    let status = wait_within(&mut child, LINE_MAX);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    (status, all, Vec::new())
}
