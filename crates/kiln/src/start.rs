//! Reaches the daemon, starting it where there is none: once, however many wrappers race. Knows no request.

use std::ffi::CStr;
use std::ffi::CString;
use std::fs;
use std::fs::File;
use std::fs::TryLockError;
use std::io;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use kiln_frame::Connection;
use kiln_frame::ConnectionError;
use kiln_frame::Identity;
use kiln_frame::PROTOCOL_VERSION;
use kiln_frame::Place;
use kiln_frame::READY;
use kiln_frame::state_dir;
use kiln_frame::sys;

use crate::environment::Environment;
use crate::environment::name;
use crate::notice;

/// Longest wait for a daemon to listen. A start takes some ten milliseconds; the rest is for a machine at load 100.
const START_WAIT: Duration = Duration::from_secs(2);

/// After a failed start, how long every wrapper goes on without trying: one start's cost a build's ten seconds.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// First and longest pause between two looks at a start that another wrapper has in hand.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// A log larger than this, in bytes, is set aside when a daemon starts: two of them are kept.
const LOG_MAX: u64 = 10 << 20;

/// Why there is no daemon to talk to, and where the user's terminal was last warned.
pub(crate) struct NoDaemon {
    /// One line.
    pub(crate) why: String,
    /// The runtime directory, if there is one.
    pub(crate) dir: Option<PathBuf>,
}

/// Connects to the daemon of this view, starting one where needed.
///
/// # Errors
/// [`NoDaemon`], at once where a start failed a moment ago.
pub(crate) fn connect(env: &Environment, identity: &Identity) -> Result<Connection, NoDaemon> {
    let settings = |name: &str| env.os(name);
    let state = state_dir(&settings);
    let place = Place::find(&settings, identity).map_err(|error| {
        let why = error.to_string();
        notice::last_error(&state, &why);
        NoDaemon { why, dir: None }
    })?;
    let failed = match try_connect(&place) {
        Some(Ok(connection)) => return Ok(connection),
        Some(Err(why)) => Err(why),
        None => start(env, &place, &state),
    };
    failed.map_err(|why| NoDaemon { why, dir: Some(place.dir().to_owned()) })
}

/// `None` where nobody listens.
fn try_connect(place: &Place) -> Option<Result<Connection, String>> {
    match Connection::connect(&place.socket()) {
        Ok(connection) => Some(Ok(connection)),
        Err(ConnectionError::Io(error)) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            None
        }
        Err(error) => Some(Err(format!("{}: {error}", place.socket().display()))),
    }
}

/// Waits for another wrapper's start, or does it.
fn start(env: &Environment, place: &Place, state: &Path) -> Result<Connection, String> {
    let lock = sys_error(kiln_frame::open_lock(&place.start_lock()), &place.start_lock())?;
    let deadline = Instant::now() + START_WAIT;
    let mut pause = PAUSES.0;
    loop {
        if notice::is_recent(&place.start_failed(), RETRY_AFTER) {
            let why = fs::read_to_string(place.start_failed()).unwrap_or_default();
            return Err(format!("the daemon did not start: {}", why.trim()));
        }
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return sys_error(Err(error), &place.start_lock()),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(format!("the daemon is being started for over {} s", START_WAIT.as_secs()));
            }
            Err(TryLockError::WouldBlock) => {}
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSES.1);
        if let Some(answer) = try_connect(place) {
            return answer;
        }
    }
    // The one before may have started it between the last look and the lock.
    if let Some(answer) = try_connect(place) {
        return answer;
    }
    drain_older(place);
    let started = launch(env, state).and_then(|()| match try_connect(place) {
        Some(answer) => answer,
        None => Err(nobody_listens(place)),
    });
    match started {
        Ok(connection) => {
            notice::clear_last_error(state);
            Ok(connection)
        }
        Err(why) => {
            notice::touch(&place.start_failed(), &why);
            let why = format!("the daemon did not start: {why}");
            notice::last_error(state, &why);
            Err(why)
        }
    }
}

fn sys_error<T>(result: io::Result<T>, path: &Path) -> Result<T, String> {
    result.map_err(|error| format!("{}: {error}", path.display()))
}

/// Why a daemon that said it was ready is not to be reached: most likely it is not of this wrapper's version.
fn nobody_listens(place: &Place) -> String {
    let lives = |(_, socket): &(u32, PathBuf)| Connection::connect(socket).is_ok();
    match place.other_versions().into_iter().find(lives) {
        Some((version, _)) => {
            format!(
                "kilnd speaks version {version} of the protocol and kiln speaks {PROTOCOL_VERSION}: install both of one release"
            )
        }
        None => "it said it was ready, but nobody listens".into(),
    }
}

/// Asks daemons of older protocol versions to finish and go; newer ones are left to their users.
fn drain_older(place: &Place) {
    for (version, socket) in place.other_versions() {
        if version < PROTOCOL_VERSION
            && let Ok(mut connection) = Connection::connect(&socket)
        {
            // A daemon that does not take it has its own idle end.
            let _ = connection.send(&kiln_frame::drain_frame(), &[]);
        }
    }
}

/// Runs `kilnd daemon` in the background and waits until it listens.
fn launch(env: &Environment, state: &Path) -> Result<(), String> {
    let program = kilnd(env.get(name::PATH)).ok_or("kilnd is neither beside kiln, nor in ../libexec, nor in PATH")?;
    let program = sys_error(sys::c_string(program.as_os_str().as_bytes()), &program)?;
    let ready_fd = CString::new(sys::READY_FD.to_string()).unwrap_or_default();
    let argv: [&CStr; 4] = [&program, c"daemon", c"--ready-fd", &ready_fd];
    let mut env = env.clone();
    env.retain(|variable| {
        let own = variable.starts_with(b"KILN_")
            && ![name::SLOT, name::DEPTH, name::DISABLE].iter().any(|name| name.as_bytes() == variable);
        own || matches!(variable, b"HOME" | b"USER" | b"LOGNAME" | b"XDG_RUNTIME_DIR")
    });
    let log = open_log(state);
    let pipe = sys::detach(&program, &argv, &env.c_strings(), log.as_ref()).map_err(|error| error.to_string())?;
    await_ready(pipe)
}

/// Reads what the daemon says of its start.
fn await_ready(mut pipe: File) -> Result<(), String> {
    let deadline = Instant::now() + START_WAIT;
    let mut said = Vec::new();
    let mut buffer = [0; 512];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if !sys::wait_readable(pipe.as_fd(), left).map_err(|error| error.to_string())? {
            return Err(format!("it was not ready within {} s", START_WAIT.as_secs()));
        }
        match pipe.read(&mut buffer) {
            Ok(0) if said.is_empty() => return Err("it ended at once; its log may say why".into()),
            Ok(0) => return Err(String::from_utf8_lossy(&said).trim().to_owned()),
            Ok(count) => said.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
        if said == READY {
            return Ok(());
        }
        // A line is all a daemon says.
        if said.contains(&b'\n') || said.len() > 4096 {
            return Err(String::from_utf8_lossy(&said).trim().to_owned());
        }
    }
}

/// `kilnd`: beside this program, in `../libexec`, in PATH.
pub(crate) fn kilnd(path: Option<&[u8]>) -> Option<PathBuf> {
    let own = fs::read_link("/proc/self/exe").ok().or_else(|| {
        let path = std::ffi::OsStr::from_bytes(sys::executed_as()?.to_bytes());
        fs::canonicalize(path).ok()
    });
    let beside = own.as_deref().and_then(Path::parent);
    let libexec = beside.and_then(Path::parent).map(|prefix| prefix.join("libexec"));
    let dirs = path.unwrap_or_default().split(|byte| *byte == b':').filter(|dir| dir.first() == Some(&b'/'));
    beside
        .map(Path::to_owned)
        .into_iter()
        .chain(libexec)
        .chain(dirs.map(|dir| PathBuf::from(std::ffi::OsStr::from_bytes(dir))))
        .map(|dir| dir.join("kilnd"))
        .find(|file| file.is_file() && sys::may_execute(file))
}

/// The daemon's log, appended to; a large one is set aside first. `None` where it cannot be written.
fn open_log(state: &Path) -> Option<File> {
    let path = state.join("daemon.log");
    if fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_MAX) {
        let _ = fs::rename(&path, state.join("daemon.log.1"));
    }
    let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(state);
    File::options().append(true).create(true).mode(0o600).open(path).ok()
}
