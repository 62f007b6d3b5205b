//! Channels to services: connected when first used, kept alive, given up when the peer falls silent. Knows no service.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use http::HeaderValue;
use http::Request;
use http::Response;
use http::Uri;
use http::header::AUTHORIZATION;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tonic::Code;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower::Service;

use crate::Address;
use crate::ClientTls;
use crate::Token;
use crate::connection::Stream;
use crate::limits::CONNECT_TIMEOUT;
use crate::limits::CONNECTION_WINDOW;
use crate::limits::HEADERS_MAX;
use crate::limits::KEEPALIVE_INTERVAL;
use crate::limits::KEEPALIVE_TIMEOUT;
use crate::limits::RETRY;
use crate::limits::RETRY_REFUSED;
use crate::limits::STREAM_WINDOW;
use crate::listen::own_uid;

/// How to reach a service.
#[derive(Debug, Clone, Default)]
pub struct Dial {
    /// TLS, for TCP addresses. A Unix socket never uses it.
    pub tls: ClientTls,
    /// Shown with each request. Never set it for a worker or for anything merely discovered: it would learn the token.
    pub token: Option<Token>,
    /// The name the server's certificate must hold, where it is not the address's host.
    pub tls_name: Option<String>,
    /// The configuration states that a token may go over plain TCP to another machine.
    pub insecure: bool,
}

/// Why there can be no channel; an unreachable peer is no such reason, it fails the requests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// A token would leave the machine in the clear.
    #[error("{0}: a token is not sent without TLS: name a CA ([tls] ca), or state insecure = true")]
    TokenInClear(Address),
    /// The name to expect is none.
    #[error("`{0}` is no name that a certificate could hold")]
    BadName(String),
    /// The host is no host.
    #[error("{0}: bad address")]
    BadAddress(Address),
}

/// A channel to one service, cheap to clone; the clones share a connection. Requests fail with `UNAVAILABLE` while the
/// peer cannot be reached, and the next one tries to connect again.
#[derive(Debug, Clone)]
pub struct Channel {
    inner: tonic::transport::Channel,
    bearer: Option<HeaderValue>,
}

/// Makes a channel; nothing is sent before the first request.
///
/// # Errors
/// See [`DialError`].
pub fn connect(address: &Address, dial: &Dial) -> Result<Channel, DialError> {
    let plain = !dial.tls.is_tls();
    if dial.token.is_some() && plain && !address.is_local() && !dial.insecure {
        return Err(DialError::TokenInClear(address.clone()));
    }
    let connector = Connector::new(address, dial)?;
    let bad = |_| DialError::BadAddress(address.clone());
    let authority = match address {
        Address::Tcp { .. } => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    let scheme = if connector.tls.is_some() { "https" } else { "http" };
    let origin: Uri = format!("{scheme}://{authority}").parse().map_err(bad)?;
    // The connector encrypts; to the layer above each stream is a plain one.
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))
        .map_err(|_| DialError::BadAddress(address.clone()))?
        .origin(origin)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        // Without a request in flight there is nothing to lose: the next one finds out.
        .keep_alive_while_idle(false)
        .http2_max_header_list_size(HEADERS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let inner = endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| connector.clone().connect()));
    Ok(Channel { inner, bearer: dial.token.as_ref().map(bearer) })
}

fn bearer(token: &Token) -> HeaderValue {
    // A token holds header characters only, by construction.
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    /// `UNAVAILABLE`, whatever happened to the connection: what a peer says of a request never comes this way.
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Service::poll_ready(&mut self.inner, cx).map_err(|error| broken(&error))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(bearer) = &self.bearer {
            request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        }
        let answer = Service::call(&mut self.inner, request);
        Box::pin(async move {
            let response = answer.await.map_err(|error| broken(&error))?;
            Ok(response.map(|body| Body::new(body.map_err(|status| broken(&status)))))
        })
    }
}

/// How long to wait before a service is tried again that answered with `status`.
pub fn retry_after(status: &Status) -> Duration {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied | Code::FailedPrecondition | Code::InvalidArgument => RETRY_REFUSED,
        _ => RETRY,
    }
}

/// An error of the connection with its causes on one line.
fn broken(error: &(dyn std::error::Error + 'static)) -> Status {
    // A chain is a few long; the bound is against a cycle.
    const CAUSES_MAX: usize = 8;
    let mut text = match error.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    };
    let mut cause = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(error) = cause else { break };
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    Status::unavailable(text)
}

/// Makes the byte streams of one channel.
#[derive(Clone)]
struct Connector {
    address: Address,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// What a channel reads and writes.
type Io = TokioIo<Pin<Box<dyn Stream>>>;

impl Connector {
    fn new(address: &Address, dial: &Dial) -> Result<Connector, DialError> {
        let tls = match (address, dial.tls.config()) {
            (Address::Tcp { host, .. }, Some(config)) => {
                let name = dial.tls_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(host).to_owned();
                let server = ServerName::try_from(name.clone()).map_err(|_| DialError::BadName(name))?;
                Some((TlsConnector::from(config), server))
            }
            _ => None,
        };
        Ok(Connector { address: address.clone(), tls })
    }

    async fn connect(self) -> io::Result<Io> {
        let late =
            || io::Error::new(io::ErrorKind::TimedOut, format!("{}: no connection within {CONNECT_TIMEOUT:?}", self.address));
        tokio::time::timeout(CONNECT_TIMEOUT, self.stream()).await.map_err(|_| late())?
    }

    async fn stream(&self) -> io::Result<Io> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.address));
        let stream: Pin<Box<dyn Stream>> = match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(named)?;
                let (peer, own) = (stream.peer_cred()?.uid(), own_uid()?);
                if peer != own && peer != 0 {
                    return Err(named(io::Error::new(io::ErrorKind::PermissionDenied, format!("served by user {peer}"))));
                }
                Box::pin(stream)
            }
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(named)?;
                stream.set_nodelay(true)?;
                match &self.tls {
                    None => Box::pin(stream),
                    Some((tls, name)) => Box::pin(tls.connect(name.clone(), stream).await.map_err(named)?),
                }
            }
        };
        Ok(TokioIo::new(stream))
    }
}
