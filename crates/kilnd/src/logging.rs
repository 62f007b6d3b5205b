//! Where events are written: one line each, to stderr or to a file that can be rotated. Knows no event.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The log of this process, for opening it anew.
#[derive(Debug, Clone)]
pub(crate) struct Log(Option<Arc<LogFile>>);

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

/// Starts logging to `file`, or to stderr.
///
/// # Errors
/// The file cannot be opened, or this process logs already.
pub(crate) fn start(file: Option<&Path>, level: &str) -> anyhow::Result<Log> {
    let filter = EnvFilter::try_new(format!("warn,kilnd={level},{}", crates_at(level)))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    match file {
        None => {
            let color = io::stderr().is_terminal();
            builder.with_ansi(color).with_writer(io::stderr).try_init().map_err(anyhow::Error::msg)?;
            Ok(Log(None))
        }
        Some(path) => {
            let file = open(path).with_context(|| format!("cannot log to {}", path.display()))?;
            let log = Arc::new(LogFile { path: path.to_owned(), file: Mutex::new(file) });
            builder.with_ansi(false).with_writer(Writers(log.clone())).try_init().map_err(anyhow::Error::msg)?;
            Ok(Log(Some(log)))
        }
    }
}

/// kiln's own crates at `level`; libraries stay at `warn`.
fn crates_at(level: &str) -> String {
    const OWN: [&str; 10] = [
        "kiln_cache",
        "kiln_daemon",
        "kiln_rpc",
        "kiln_sandbox",
        "kiln_scan",
        "kiln_sched",
        "kiln_scheduler",
        "kiln_store",
        "kiln_toolchain",
        "kiln_worker",
    ];
    OWN.map(|name| format!("{name}={level}")).join(",")
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

impl Log {
    /// Opens the file anew, after it was moved away.
    pub(crate) fn reopen(&self) {
        let Some(log) = &self.0 else { return };
        match open(&log.path) {
            Ok(file) => *log.file.lock().unwrap_or_else(PoisonError::into_inner) = file,
            Err(error) => tracing::warn!("log goes on in the old file: {}: {error}", log.path.display()),
        }
    }
}

struct Writers(Arc<LogFile>);

/// Writes one event.
struct Writer<'a>(&'a LogFile);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The subscriber writes each event at once, and the file is opened for appending: lines do not mix.
        self.0.file.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Writers {
    type Writer = Writer<'a>;

    fn make_writer(&'a self) -> Writer<'a> {
        Writer(&self.0)
    }
}
