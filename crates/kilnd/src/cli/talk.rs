//! Asks the daemon by its socket. Knows the frames, no answer's meaning.

use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::bail;
use kiln_frame::Connection;
use kiln_frame::Control;
use kiln_frame::Hello;
use kiln_frame::Place;
use kiln_frame::Reply;
use kiln_frame::Request;
use kiln_frame::SILENCE;
use serde_json::Value;

use super::place;

/// Who asks: made while the process has one thread, used any number of times.
pub(crate) struct Asker {
    hello: Hello,
}

impl Asker {
    /// For this process.
    pub(crate) fn new() -> Asker {
        Asker { hello: Hello::current() }
    }

    /// Starts the daemon where there is none. Only while the process has one thread.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn ensure_daemon(&self) -> anyhow::Result<()> {
        kiln::daemon().map(drop).map_err(anyhow::Error::msg)
    }

    /// A connection to the daemon that runs; `None` where none does.
    ///
    /// # Errors
    /// There is no place for its socket, or something else answers there.
    pub(crate) fn connect(&self) -> anyhow::Result<Option<Connection>> {
        let place = self.place()?;
        match Connection::connect(&place.socket()) {
            Ok(connection) => Ok(Some(connection)),
            Err(kiln_frame::ConnectionError::Io(error))
                if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| place.socket().display().to_string()),
        }
    }

    /// Where the daemon's socket is.
    ///
    /// # Errors
    /// No directory can be used.
    pub(crate) fn place(&self) -> anyhow::Result<Place> {
        Ok(Place::find(&place::variable, &self.hello.view.identity)?)
    }

    /// What the daemon answers to `name`; `None` where there is no daemon.
    ///
    /// # Errors
    /// It refuses, goes away, or answers what is no JSON.
    pub(crate) fn ask(&self, name: &str, args: &[&[u8]]) -> anyhow::Result<Option<Value>> {
        let Some(mut connection) = self.connect()? else { return Ok(None) };
        let args = args.iter().map(|arg| arg.to_vec()).collect();
        let request = Request::Control(Control { name: name.to_owned(), args });
        let mut bytes = Vec::new();
        self.hello.encode(&mut bytes)?;
        request.encode(&mut bytes, 0)?;
        // A daemon that refuses may have closed before it read all; its reason can still be waiting.
        let sent = connection.send(&bytes, &[]);
        let begin = Instant::now();
        loop {
            let frame = match connection.receive_within(SILENCE) {
                Ok(Some(frame)) => frame,
                Ok(None) => bail!("the daemon ended"),
                Err(error) => return Err(sent.err().unwrap_or(error)).context("the daemon went away"),
            };
            match Reply::from_frame(&frame)? {
                Reply::Wait if begin.elapsed() > answer_max(name) => bail!("the daemon has no answer to `{name}`"),
                Reply::Wait => {}
                Reply::Answer(text) => return Ok(Some(serde_json::from_str(&text).context("the daemon's answer")?)),
                Reply::Refuse(why) | Reply::Fail(why) => bail!("the daemon: {why}"),
                Reply::RunLocally(_) | Reply::Done(_) => bail!("the daemon answered another question"),
            }
        }
    }

    /// As [`ask`](Self::ask), of a daemon that must be there.
    ///
    /// # Errors
    /// As `ask`; there is none.
    pub(crate) fn ask_running(&self, name: &str, args: &[&[u8]]) -> anyhow::Result<Value> {
        let last = || match last_error() {
            Some(why) => format!("no daemon runs; the last command that asked for it went without: {why}"),
            None => "no daemon runs; a compile or kiln daemon start starts one".to_owned(),
        };
        self.ask(name, args)?.ok_or_else(|| anyhow::anyhow!(last()))
    }
}

/// A daemon answers questions from memory; what takes longer is a fault. For `doctor` it may have compilers of other machines
/// compile some dozens of probes, half a second each, and send them what they need first.
fn answer_max(name: &str) -> Duration {
    Duration::from_secs(if name == "doctor" { 180 } else { 10 })
}

/// Why the daemon could not start the last time, if it could not.
pub(crate) fn last_error() -> Option<String> {
    let text = std::fs::read_to_string(place::state_dir().join("last-error")).ok()?;
    let text = super::print::plain(text.trim());
    (!text.is_empty()).then_some(text)
}
