//! A server: accepts on its listeners, finds out who calls, hands requests to the services, drains at the end. Knows no
//! service's messages.

use std::convert::Infallible;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use http::Request;
use http::Response;
use http::StatusCode;
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

use crate::Denials;
use crate::Listener;
use crate::Peer;
use crate::Role;
use crate::auth::Auth;
use crate::auth::Connected;
use crate::auth::Denied;
use crate::connection::converse;
use crate::connection::enter;
use crate::connection::peer_of;
use crate::limiter::Limiter;
use crate::limits::BAD_PEER_LINES;
use crate::limits::CONNECTIONS_MAX;
use crate::limits::DRAIN_MAX;
use crate::limits::REQUESTS_MAX;
use crate::listen::Accepted;
use crate::metrics::Metrics;
use crate::metrics::Registry;
use crate::metrics::Snapshot;

/// What a server is told beside its listeners and services.
pub struct ServeOptions {
    /// Shown in log lines: `worker`, `scheduler`, ...
    pub name: &'static str,
    /// Who may call.
    pub auth: Arc<Auth>,
    /// What `/metrics` shows; the server adds its own counters.
    pub registry: Arc<Registry>,
    /// What `/healthz` says: `Err(why)` is 503.
    pub health: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Where peers that are turned away are noted.
    pub denials: Arc<Denials>,
    /// How long requests in flight may take after the shutdown began.
    pub drain_max: Duration,
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Requests at once; further ones are answered `RESOURCE_EXHAUSTED`.
    pub requests_max: usize,
}

impl ServeOptions {
    /// Options of a healthy service, with the bounds of [`limits`](crate::limits).
    pub fn new(name: &'static str, auth: Arc<Auth>) -> ServeOptions {
        ServeOptions {
            name,
            auth,
            registry: Arc::default(),
            health: Arc::new(|| Ok(())),
            denials: Arc::default(),
            drain_max: DRAIN_MAX,
            connections_max: CONNECTIONS_MAX,
            requests_max: REQUESTS_MAX,
        }
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because their requests took too long.
    pub cut: usize,
}

struct Server {
    name: &'static str,
    auth: Arc<Auth>,
    routes: Routes,
    registry: Arc<Registry>,
    health: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    denials: Arc<Denials>,
    connections: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    counters: Arc<Counters>,
    lines: Mutex<Limiter>,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    closed: AtomicU64,
    denied: AtomicU64,
    overloaded: AtomicU64,
}

/// Serves `routes` on all listeners until `shutdown` completes, then takes no new connection and waits for the requests
/// in flight, at most [`ServeOptions::drain_max`].
///
/// Bytes that are no request close their connection with one (rate-limited) log line.
pub async fn serve(listeners: Vec<Listener>, routes: Routes, options: ServeOptions, shutdown: impl Future<Output = ()>) -> Drained {
    let counters = Arc::new(Counters::default());
    options.registry.register(counters.clone());
    let server = Arc::new(Server {
        name: options.name,
        auth: options.auth,
        routes: routes.prepare(),
        registry: options.registry,
        health: options.health,
        denials: options.denials,
        connections: Arc::new(Semaphore::new(options.connections_max)),
        requests: Arc::new(Semaphore::new(options.requests_max)),
        counters,
        lines: Mutex::new(Limiter::new(BAD_PEER_LINES, Duration::from_secs(1), Instant::now())),
    });
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for listener in listeners {
        tracing::info!("{} listens at {}", server.name, listener.address());
        tasks.spawn(accept(listener, server.clone(), stopped.clone()));
    }
    drop(stopped);
    shutdown.await;
    stop.send_replace(true);
    let mut cut = 0;
    let deadline = tokio::time::Instant::now() + options.drain_max;
    // Each accepting task returns the connections it still has; they end by themselves or at the deadline.
    while let Some(ended) = tasks.join_next().await {
        let Ok(mut connections) = ended else { continue };
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout_at(deadline, all).await.is_err() {
            cut += connections.len();
            connections.shutdown().await;
        }
    }
    Drained { cut }
}

/// Accepts until stopped; the connections still open then.
async fn accept(listener: Listener, server: Arc<Server>, mut stopped: watch::Receiver<bool>) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    let stop = stopped.clone();
    let mut end = pin!(async move { stopped.wait_for(|stop| *stop).await.is_ok() });
    loop {
        // While the server is full, peers wait in the kernel's queue.
        let permit = server.connections.clone().acquire_owned();
        let accepted = async { (permit.await, listener.accept().await) };
        tokio::select! {
            _ = &mut end => return connections,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (permit, accepted) = accepted => match (permit, accepted) {
                (Ok(permit), Ok(accepted)) => {
                    let tls = listener.tls.clone();
                    let (server, stop) = (server.clone(), stop.clone());
                    connections.spawn(async move {
                        let _permit = permit;
                        server.connection(accepted, tls.as_deref(), stop).await;
                    });
                }
                (_, Err(error)) => {
                    // Out of descriptors, most likely: going round at once would burn the core that could free some.
                    server.complain(&format!("cannot accept at {}: {error}", listener.address()));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                (Err(_), _) => return connections,
            },
        }
    }
}

/// Pause after a failed accept: long against a core's time, short against a client's patience.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Server {
    async fn connection(self: Arc<Server>, accepted: Accepted, tls: Option<&crate::ServerTls>, stop: watch::Receiver<bool>) {
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        let peer = match peer_of(&accepted, tls.is_some()) {
            Ok(peer) => peer,
            // It went away before it was looked at.
            Err(_) => return,
        };
        let mut stopping = stop.clone();
        let entered = tokio::select! {
            entered = enter(accepted, peer.clone(), tls, &self.auth) => entered,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        let entered = match entered {
            Ok(entered) => entered,
            Err(why) => return self.closed(&peer, &why),
        };
        let front = Requests { server: self.clone(), connected: entered.connected.clone() };
        if let Err(error) = converse(entered, front, stop).await
            && let Some(why) = blame(&error)
        {
            self.closed(&peer, &why);
        }
    }

    fn closed(&self, peer: &Peer, why: &str) {
        self.counters.closed.fetch_add(1, Ordering::Relaxed);
        self.denials.note(peer, why);
        self.complain(&format!("closed connection from {peer}: {why}"));
    }

    fn complain(&self, line: &str) {
        if self.lines.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
            tracing::warn!("{}: {line}", self.name);
        }
    }

    async fn answer(self: Arc<Server>, connected: Arc<Connected>, request: Request<Incoming>) -> Response<Body> {
        let plain = request.version() < http::Version::HTTP_2 || matches!(request.uri().path(), "/healthz" | "/metrics");
        let caller = self.auth.identify(&connected, request.headers());
        if plain {
            return self.page(&connected.peer, request.uri().path(), caller);
        }
        let caller = match caller {
            Ok(caller) => caller,
            Err(denied) => {
                self.counters.denied.fetch_add(1, Ordering::Relaxed);
                // That it is turned away for a while says less than why it was before.
                if denied != Denied::Blocked {
                    self.denials.note(&connected.peer, &denied.to_string());
                }
                self.complain(&format!("refused a request from {}: {denied}", connected.peer));
                let status = match denied {
                    Denied::Blocked => Status::resource_exhausted(denied.to_string()),
                    Denied::Missing | Denied::Unknown => Status::unauthenticated(denied.to_string()),
                };
                return status.into_http();
            }
        };
        let Ok(permit) = self.requests.clone().try_acquire_owned() else {
            self.counters.overloaded.fetch_add(1, Ordering::Relaxed);
            return Status::resource_exhausted("too many requests at once").into_http();
        };
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(caller);
        match self.routes.clone().oneshot(request).await {
            Ok(response) => response.map(|body| Body::new(Held { body, _permit: permit })),
            Err(never) => match never {},
        }
    }

    fn page(&self, peer: &Peer, path: &str, caller: Result<crate::Caller, Denied>) -> Response<Body> {
        let near = match peer {
            Peer::Unix { .. } => true,
            Peer::Tcp { address, .. } => address.ip().to_canonical().is_loopback(),
        };
        let admin = caller.is_ok_and(|caller| matches!(caller.role, Role::Admin | Role::Local));
        match path {
            "/healthz" if near || admin => match (self.health)() {
                Ok(()) => text(StatusCode::OK, "ok\n".to_owned()),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            },
            "/metrics" if admin => {
                let mut page = text(StatusCode::OK, self.registry.text());
                page.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(OPEN_METRICS));
                page
            }
            "/healthz" | "/metrics" => text(StatusCode::UNAUTHORIZED, "an admin credential is needed\n".to_owned()),
            _ => text(StatusCode::NOT_FOUND, "gRPC, /metrics and /healthz are served here\n".to_owned()),
        }
    }
}

/// The format of `/metrics`.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::from(body)));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// What the peer is to be blamed for; `None` for a connection that merely ended or fell silent in an ordinary way.
fn blame(error: &hyper::Error) -> Option<String> {
    if error.is_timeout() {
        return Some("silent".to_owned());
    }
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut last = String::new();
    // Chains are a few long; the bound is against a cycle.
    for _ in 0..16 {
        let Some(error) = source else { break };
        if error.downcast_ref::<std::io::Error>().is_some() {
            return None;
        }
        last = error.to_string();
        source = error.source();
    }
    (!error.is_incomplete_message() && !error.is_canceled()).then(|| format!("malformed: {last}"))
}

/// Answers the requests of one connection.
struct Requests {
    server: Arc<Server>,
    connected: Arc<Connected>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (server, connected) = (self.server.clone(), self.connected.clone());
        Box::pin(async move { Ok(server.answer(connected, request).await) })
    }
}

/// A response body that counts as a request in flight until its last byte.
struct Held {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl hyper::body::Body for Held {
    type Data = <Body as hyper::body::Body>::Data;
    type Error = <Body as hyper::body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

impl Snapshot for Counters {
    fn write(&self, out: &mut Metrics<'_>) {
        out.counter("kiln_rpc_connections", "Connections accepted", &[], self.connections.load(Ordering::Relaxed));
        out.counter("kiln_rpc_closed", "Connections closed for what the peer sent", &[], self.closed.load(Ordering::Relaxed));
        out.counter("kiln_rpc_denied", "Requests without a good credential", &[], self.denied.load(Ordering::Relaxed));
        out.counter("kiln_rpc_overloaded", "Requests above the limit at once", &[], self.overloaded.load(Ordering::Relaxed));
    }
}
