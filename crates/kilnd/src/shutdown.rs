//! Signals: one SIGTERM drains, a second one ends at once, SIGHUP re-reads. Knows no service.

use std::sync::Arc;

use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio_util::sync::CancellationToken;

/// Exit code of a service that was told twice: it left work behind.
const EXIT_AT_ONCE: i32 = 1;

/// What SIGHUP does.
pub(crate) type Reload = Arc<dyn Fn() + Send + Sync>;

/// Watches signals for the rest of the process's life; the token is cancelled by the first SIGTERM or SIGINT.
///
/// # Errors
/// Handlers cannot be installed.
pub(crate) fn watch(reload: Reload) -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    reload();
                    continue;
                }
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                tracing::warn!("told to end twice: leaving at once");
                std::process::exit(EXIT_AT_ONCE);
            }
            tracing::info!("draining: finishing what runs; a second signal ends at once");
            stop.cancel();
        }
    });
    Ok(token)
}
