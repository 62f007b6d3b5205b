//! One conversation with the daemon: a request, and what came of it. Knows no file but the socket.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use kiln_frame::Connection;
use kiln_frame::ConnectionError;
use kiln_frame::Done;
use kiln_frame::Hello;
use kiln_frame::Reply;
use kiln_frame::Request;
use kiln_frame::RunLocally;
use kiln_frame::SILENCE;

/// Longest wait for a local slot, whatever the daemon says meanwhile. Longer than nearly every link; what waits longer
/// may wait for itself (a command under a slot whose environment was emptied), and only this ends that.
pub(crate) const SLOT_WAIT_MAX: Duration = Duration::from_secs(600);

/// What the daemon decided.
pub(crate) enum Answer {
    /// Run the command here.
    Local(RunLocally),
    /// A result, with the descriptors that hold its larger parts. The connection is kept until it is in place.
    Done(Box<Done>, Vec<OwnedFd>),
    /// Say this and exit with 125.
    Fail(String),
    /// There is no answer; why not.
    None(String),
}

/// Sends hello and request and waits for the final reply, at most `wait_max` if given.
pub(crate) fn ask(
    connection: &mut Connection,
    hello: &Hello,
    request: &Request,
    stdin: Option<&File>,
    wait_max: Option<Duration>,
) -> Answer {
    let fds: Vec<BorrowedFd<'_>> = stdin.iter().map(|file| file.as_fd()).collect();
    let mut bytes = Vec::with_capacity(16 << 10);
    if let Err(error) = hello.encode(&mut bytes).and_then(|()| request.encode(&mut bytes, fds.len())) {
        return Answer::None(format!("the request does not fit: {error}"));
    }
    let sent = connection.send(&bytes, &fds);
    // A daemon that refuses may have closed before it read everything; its reason can still be waiting.
    match (converse(connection, wait_max), sent) {
        (Ok(answer), _) => answer,
        (Err(_), Err(error)) | (Err(error), Ok(())) => Answer::None(format!("the daemon went away: {error}")),
    }
}

fn converse(connection: &mut Connection, wait_max: Option<Duration>) -> Result<Answer, ConnectionError> {
    let end = wait_max.map(|wait| Instant::now() + wait);
    loop {
        let Some(mut frame) = connection.receive_within(SILENCE)? else {
            return Ok(Answer::None("the daemon ended".into()));
        };
        match Reply::from_frame(&frame)? {
            Reply::Wait if end.is_some_and(|end| Instant::now() >= end) => {
                return Ok(Answer::None("no slot became free".into()));
            }
            Reply::Wait => {}
            Reply::RunLocally(run) => return Ok(Answer::Local(run)),
            Reply::Done(done) => return Ok(Answer::Done(done, std::mem::take(&mut frame.fds))),
            Reply::Fail(text) => return Ok(Answer::Fail(text)),
            Reply::Refuse(why) => return Ok(Answer::None(why)),
            Reply::Answer(_) => return Ok(Answer::None("the daemon answered another question".into())),
        }
    }
}
