//! Takes requests off the socket, keeps their wrappers patient, and notices when one has gone.

use kiln_frame::{Frame, Hello, KEEPALIVE, Reply, Request, RunLocally, kind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::net::{UnixListener, UnixStream};

use crate::control;
use crate::daemon::Daemon;
use crate::unit::{self, Answer};
use crate::wire::{Wire, WireError};

/// Pause after a failed accept: descriptors may have run out.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Longest wait for a peer's hello and request: a wrapper sends both at once.
const REQUEST_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// Accepts for ever.
pub(crate) async fn accept(daemon: &Arc<Daemon>, listener: &UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                daemon.active.fetch_add(1, Ordering::SeqCst);
                let active = Active(Arc::clone(daemon));
                tokio::spawn(async move {
                    if let Err(error) = converse(&active.0, stream).await {
                        tracing::info!("a wrapper's connection was closed: {error}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!("accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Counts a conversation, however it ends.
struct Active(Arc<Daemon>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn converse(daemon: &Arc<Daemon>, stream: UnixStream) -> Result<(), WireError> {
    let mut wire = Wire::new(stream);
    let (pid, uid) = wire.peer()?;
    if uid != daemon.identity.euid {
        tracing::warn!("user {uid} has no business here");
        return Ok(());
    }
    let frames = tokio::time::timeout(REQUEST_WAIT, async {
        let Some(first) = wire.receive().await? else { return Ok(None) };
        if first.kind == kind::DRAIN {
            return Ok(Some((first, None)));
        }
        let second = wire.receive().await?;
        Ok::<_, WireError>(Some((first, second)))
    });
    let Ok(frames) = frames.await else { return Ok(()) };
    let Some((first, second)) = frames? else { return Ok(()) };
    if first.kind == kind::DRAIN {
        daemon.drain.notify_one();
        return Ok(());
    }
    let hello = Hello::from_frame(&first)?;
    let Some(frame) = second else { return Ok(()) };
    if hello.view.identity != daemon.identity {
        return send(&wire, &Reply::Refuse("this daemon serves another view".to_owned()), &[]).await;
    }
    *daemon.last_request.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    let request = Request::from_frame(&frame)?;
    answer(daemon, &wire, hello, request, frame, pid).await
}

async fn answer(
    daemon: &Arc<Daemon>,
    wire: &Wire,
    hello: Hello,
    request: Request,
    frame: Frame,
    pid: Option<i32>,
) -> Result<(), WireError> {
    let work = async {
        match request {
            Request::Compile(compile) => unit::compile(daemon, &hello, *compile, &frame.fds, pid).await,
            Request::Slot(slot) => unit::slot(daemon, &slot, pid).await,
            Request::Control(control) => Answer::plain(control::answer(daemon, &hello, &control).await),
        }
    };
    tokio::pin!(work);
    let mut ticks = tokio::time::interval(KEEPALIVE / 2);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            answer = &mut work => return send(wire, &answer.reply, &answer.fds).await,
            // Dropping the work cancels it: the remote run is told, slots come back.
            () = wire.gone() => return Ok(()),
            _ = ticks.tick() => send(wire, &Reply::Wait, &[]).await?,
        }
    }
}

async fn send(wire: &Wire, reply: &Reply, fds: &[OwnedFd]) -> Result<(), WireError> {
    let mut bytes = Vec::new();
    if let Err(error) = reply.encode(&mut bytes, fds.len()) {
        tracing::error!("a reply cannot be sent: {error}");
        bytes.clear();
        // Never nothing: the wrapper runs its compiler itself.
        let instead = RunLocally { reason: "reply-too-large".to_owned(), token: None, warning: None, rest: None };
        Reply::RunLocally(instead).encode(&mut bytes, 0)?;
        return wire.send(&bytes, &[]).await;
    }
    let borrowed: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    wire.send(&bytes, &borrowed).await
}
