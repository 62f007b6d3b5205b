//! Stands in for a compiler or another command: asks the daemon, then commits its result or becomes the real one.

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use kiln_frame::Compile;
use kiln_frame::DEPTH_MAX;
use kiln_frame::FileId;
use kiln_frame::Hello;
use kiln_frame::Request;
use kiln_frame::Slot;
use kiln_frame::state_dir;
use kiln_frame::sys;

use crate::ask;
use crate::ask::Answer;
use crate::commit;
use crate::compiler::Search;
use crate::compiler::with_script;
use crate::environment::Environment;
use crate::environment::name;
use crate::notice;
use crate::quick;
use crate::quick::Look;
use crate::run;
use crate::run::Command;
use crate::run::SlotAbove;
use crate::start;
use crate::start::NoDaemon;
use crate::stdin;
use crate::stdin::Spooled;

/// Exit code where `fallback = fail` keeps a unit from running here: no compiler uses it, and other tools that start
/// commands (`env`, `timeout`) use it for "the tool itself failed".
const EXIT_FALLBACK: i32 = 125;

/// Programs, by base name, whose one process may take as much memory as a large link.
const HEAVY_TOOLS: [&str; 6] = ["ld", "lld", "gold", "mold", "collect2", "lto1"];

/// What is the same for every way a command can go.
struct Job<'a> {
    command: Command<'a>,
    cwd: PathBuf,
    /// Token of a slot above that only the daemon can judge, or that a script above gives back when its compiler is on its way.
    under_slot: Option<Vec<u8>>,
    /// PATH as it was given, if it leads to kiln.
    full_path: Option<Vec<u8>>,
}

/// Stands in for compiler `name`, called by a link or as a launcher. Returns an exit code where the compiler ran elsewhere.
pub(crate) fn compile(name: &CStr, args: &[&CStr], by_link: bool) -> i32 {
    with_job(name, args, by_link, |job| {
        if let Some(stand_in) = stand_in(&job.command) {
            run::exec_as(&stand_in, &job.command);
        }
        match quick::look(args) {
            Look::Probe => job.command.exec(None),
            Look::Link => job.under_slot(true, "link"),
            Look::Ask => job.ask_compile(),
        }
    })
}

/// The stand-in of a `kiln verify` above for a compiler that is called through kiln: it compiles both ways.
fn stand_in(command: &Command<'_>) -> Option<Vec<u8>> {
    let dir = command.env.get(name::VERIFY).filter(|dir| !dir.is_empty())?;
    let file = [dir, b"/bin/", crate::mode::base(command.program)].concat();
    sys::may_execute(Path::new(OsStr::from_bytes(&file))).then_some(file)
}

/// Stands in for any other command: runs it here under a slot. `heavy` as the user said, else by its name.
pub(crate) fn tool(name: &CStr, args: &[&CStr], heavy: Option<bool>, by_link: bool) -> i32 {
    let base = crate::mode::base(name.to_bytes());
    let is_heavy = heavy.unwrap_or_else(|| HEAVY_TOOLS.iter().any(|tool| base == tool.as_bytes()));
    with_job(name, args, by_link, |job| job.under_slot(is_heavy, "local"))
}

/// Finds the real command; runs it at once where kiln is to keep out of the way.
fn with_job(name: &CStr, args: &[&CStr], by_link: bool, go: impl FnOnce(Job<'_>) -> i32) -> i32 {
    let mut env = Environment::current();
    let depth = env.get(name::DEPTH).and_then(|depth| std::str::from_utf8(depth).ok()?.parse().ok()).unwrap_or(0_u32);
    let cwd = std::env::current_dir().unwrap_or_default();
    let scripts = env.get(name::SCRIPT).unwrap_or_default();
    let below_script = !scripts.is_empty();
    let search = Search { path: env.get(name::PATH), cwd: &cwd, own: own_file(), by_link, depth, scripts };
    let found = match search.find(name.to_bytes()) {
        // Twice the depth at which scripts are passed over: nothing that ends by itself nests so deep.
        Ok(_) if depth >= 2 * DEPTH_MAX => {
            notice::line(&format!("{}: leads back to kiln, {depth} times over", name.to_string_lossy()));
            return run::EXIT_NOT_FOUND;
        }
        Ok(found) => found,
        Err(why) => {
            notice::line(&why);
            return run::EXIT_NOT_FOUND;
        }
    };
    let mut full_path = None;
    if let Some(path) = &found.new_path {
        full_path = env.get(name::PATH).map(<[u8]>::to_vec);
        env.set(name::PATH, path);
    }
    let is_disabled = env.get(name::DISABLE).is_some_and(|value| !matches!(value, b"" | b"0"));
    let slot_value = env.get(name::SLOT).map(<[u8]>::to_vec);
    let under_slot = match run::slot_above(slot_value.as_deref()) {
        SlotAbove::Held(token) if below_script => Some(token.to_vec()),
        SlotAbove::Held(_) => {
            Command { program: &found.path, args, env, depth }.exec(None);
        }
        SlotAbove::None => None,
        SlotAbove::Unknown(token) => Some(token.to_vec()),
    };
    let command = Command { program: &found.path, args, env, depth };
    if is_disabled || cwd.as_os_str().is_empty() {
        command.exec(None);
    }
    go(Job { command, cwd, under_slot, full_path })
}

impl Job<'_> {
    /// Runs the command here, under a slot if the daemon has one to give in time.
    fn under_slot(self, heavy: bool, reason: &str) -> i32 {
        let command =
            [self.command.program.to_vec()].into_iter().chain(self.command.args.iter().map(|arg| arg.to_bytes().to_vec()));
        let request =
            Request::Slot(Slot { heavy, reason: reason.into(), command: command.collect(), under_slot: self.under_slot.clone() });
        let hello = Hello::current();
        let answer = match start::connect(&self.command.env, &hello.view.identity) {
            Ok(mut connection) => ask::ask(&mut connection, &hello, &request, None, Some(ask::SLOT_WAIT_MAX)),
            Err(NoDaemon { why, dir }) => {
                self.warn(&why, dir.as_deref());
                Answer::None(why)
            }
        };
        match answer {
            Answer::Local(granted) => self.run_granted(granted),
            // A command that runs here anyway is not let down by the farm.
            Answer::Done(..) | Answer::Fail(_) | Answer::None(_) => self.command.exec(None),
        }
    }

    /// Asks for the compile.
    fn ask_compile(self) -> i32 {
        let spooled = if quick::reads_stdin(self.command.args) { stdin::spool() } else { Spooled::Untouched };
        let stdin = match &spooled {
            Spooled::TooLong => self.command.exec(None),
            Spooled::Whole(file) => Some(file),
            Spooled::Untouched => None,
        };
        let hello = Hello::current();
        let request = Request::Compile(Box::new(self.request(stdin)));
        let mut connection = match start::connect(&self.command.env, &hello.view.identity) {
            Ok(connection) => connection,
            Err(NoDaemon { why, dir }) => return self.without_daemon(&why, dir.as_deref()),
        };
        match ask::ask(&mut connection, &hello, &request, stdin, None) {
            Answer::Local(granted) => self.run_granted(granted),
            Answer::Done(done, fds) => self.commit(&done, &fds, &hello),
            Answer::Fail(why) => {
                notice::line(&why);
                EXIT_FALLBACK
            }
            Answer::None(why) => {
                let state = state_dir(&|name: &str| self.command.env.os(name));
                notice::last_error(&state, &why);
                self.without_daemon(&why, None)
            }
        }
    }

    fn request(&self, stdin: Option<&File>) -> Compile {
        let mut env = self.command.env.clone();
        env.remove(name::DEPTH);
        env.remove(name::SLOT);
        Compile {
            compiler: self.command.program.to_vec(),
            args: self.command.args.iter().map(|arg| arg.to_bytes().to_vec()).collect(),
            cwd: self.cwd.as_os_str().as_bytes().to_vec(),
            env: env.bytes(),
            terminal: sys::terminal(std::io::stderr().as_fd()),
            under_slot: self.under_slot.clone(),
            depth: self.command.depth,
            stdin: stdin.map(|_| 0),
        }
    }

    fn commit(self, done: &kiln_frame::Done, fds: &[std::os::fd::OwnedFd], hello: &Hello) -> i32 {
        let target = commit::Target::of(self.command.program, self.command.args, hello.view.limits.file_size);
        match commit::commit(done, fds, &target) {
            Ok(()) => {}
            // The compiler would fail to write as well, and its own words are what the build expects; or it can, and then
            // the unit is compiled after all.
            Err(_) => self.command.exec(None),
        }
        if let Some(warning) = &done.warning {
            notice::line(warning);
        }
        match done.ending {
            kiln_frame::Ending::Exit(code) => i32::from(code),
            kiln_frame::Ending::Signal(signal) => {
                sys::die_by(signal);
                128 + i32::from(signal)
            }
        }
    }

    fn run_granted(mut self, granted: kiln_frame::RunLocally) -> i32 {
        if let Some(warning) = &granted.warning {
            notice::line(warning);
        }
        if granted.reason == kiln_frame::NOT_A_COMPILER {
            self.lead_script_back();
        }
        let Some(rest) = granted.rest else { self.command.exec(granted.token.as_deref()) };
        let args: Vec<CString> = rest.args.into_iter().map(|arg| CString::new(arg).unwrap_or_default()).collect();
        let args: Vec<&CStr> = args.iter().map(|arg| arg.as_c_str()).collect();
        // As in a result that is committed: a compiler that cannot speak goes on as well.
        let _ = sys::write_patiently(std::io::stderr().as_fd(), &rest.stderr);
        let _ = sys::write_patiently(std::io::stdout().as_fd(), &rest.stdout);
        self.command.exec_with(&args, granted.token.as_deref())
    }

    /// A script that stands in for a compiler, as `c99` does, keeps kiln in its PATH: the compiler that it calls goes the usual way.
    fn lead_script_back(&mut self) {
        let env = &mut self.command.env;
        let scripts = env.get(name::SCRIPT).unwrap_or_default();
        if let Some(path) = &self.full_path
            && let Some(scripts) = with_script(scripts, self.command.program)
        {
            env.set(name::PATH, path);
            env.set(name::SCRIPT, &scripts);
        }
    }

    /// Runs the compiler here, or not, as `fallback` says.
    fn without_daemon(self, why: &str, dir: Option<&Path>) -> i32 {
        if self.command.env.get(name::FALLBACK) == Some(b"fail") {
            notice::line(&format!("{why} (fallback = fail)"));
            return EXIT_FALLBACK;
        }
        self.warn(why, dir);
        self.command.exec(None)
    }

    /// Tells of a missing daemon: `dir` is where terminals already warned are kept, `None` if it is no matter of the start.
    fn warn(&self, why: &str, dir: Option<&Path>) {
        match (self.command.env.get(name::FALLBACK), dir) {
            (Some(b"warn"), _) => notice::line(&format!("{why}; compiling here")),
            (_, Some(dir)) => notice::warn_terminal(dir, &format!("{why}; compiling here")),
            (_, None) => {}
        }
    }
}

/// This program's file.
fn own_file() -> Option<FileId> {
    sys::file_id(c"/proc/self/exe").or_else(|| sys::file_id(sys::executed_as()?))
}
