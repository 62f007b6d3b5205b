//! One accepted connection: checks its peer, shakes hands, tells HTTP/2 from HTTP/1 from garbage, serves it. Knows no
//! service beyond the [`Front`] it is given.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use http::Request;
use http::Response;
use hyper::body::Incoming;
use hyper::rt::Read;
use hyper::rt::Write;
use hyper::service::Service;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;

use crate::Peer;
use crate::ServerTls;
use crate::auth::Auth;
use crate::auth::Connected;
use crate::limits::CLIENT_SILENCE_MAX;
use crate::limits::CONNECTION_WINDOW;
use crate::limits::FRAME_MAX;
use crate::limits::HANDSHAKE_TIMEOUT;
use crate::limits::HEADERS_MAX;
use crate::limits::KEEPALIVE_INTERVAL;
use crate::limits::PENDING_RESETS_MAX;
use crate::limits::STREAM_WINDOW;
use crate::limits::STREAMS_MAX;
use crate::listen::Accepted;
use crate::listen::own_uid;
use crate::tls::certificate_caller;

/// What every HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of one HTTP/1 request head; only `GET /metrics` and `GET /healthz` are served.
const HTTP1_HEAD_MAX: usize = 8 * 1024;

/// Both ways of a connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What answers the requests of one connection.
pub(crate) trait Front:
    Service<
        Request<Incoming>,
        Response = Response<Body>,
        Error = Infallible,
        Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>,
    > + Send
    + 'static
{
}
impl<T> Front for T where
    T: Service<
            Request<Incoming>,
            Response = Response<Body>,
            Error = Infallible,
            Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>,
        > + Send
        + 'static
{
}

/// A connection that is let in.
pub(crate) struct Entered {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) connected: Arc<Connected>,
    http2: bool,
}

/// The peer of a connection, before anything is read from it.
pub(crate) fn peer_of(accepted: &Accepted, tls: bool) -> io::Result<Peer> {
    match accepted {
        Accepted::Tcp(stream) => Ok(Peer::Tcp { address: stream.peer_addr()?, tls }),
        Accepted::Unix(stream) => {
            let credentials = stream.peer_cred()?;
            Ok(Peer::Unix { uid: credentials.uid(), pid: credentials.pid() })
        }
    }
}

/// Checks the peer and finds out what it speaks.
///
/// # Errors
/// Why the connection is to be closed, for the log.
pub(crate) async fn enter(accepted: Accepted, peer: Peer, tls: Option<&ServerTls>, auth: &Auth) -> Result<Entered, String> {
    let (mut stream, certificate): (Box<dyn Stream>, _) = match (accepted, &peer) {
        (Accepted::Unix(stream), Peer::Unix { uid, .. }) => {
            let own = own_uid().map_err(|error| error.to_string())?;
            if *uid != own && *uid != 0 {
                return Err("another user".to_owned());
            }
            (Box::new(stream), None)
        }
        (Accepted::Tcp(stream), Peer::Tcp { address, .. }) => {
            if !auth.admits(address.ip()) {
                return Err("not in an allowed network".to_owned());
            }
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            match tls {
                None => (Box::new(stream), None),
                Some(tls) => {
                    let handshake = TlsAcceptor::from(tls.config()).accept(stream);
                    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await;
                    let stream = stream.map_err(|_| "no TLS handshake in time")?.map_err(|error| format!("TLS: {error}"))?;
                    let chain = stream.get_ref().1.peer_certificates();
                    let certificate = chain.and_then(|chain| chain.first()).and_then(certificate_caller);
                    (Box::new(stream), certificate)
                }
            }
        }
        _ => return Err("peer and socket differ in kind".to_owned()),
    };
    let first = tokio::time::timeout(HANDSHAKE_TIMEOUT, first_bytes(&mut stream)).await;
    let (head, http2) = first.map_err(|_| "no request in time".to_owned())??;
    let stream = Box::new(Rewound { head, read: 0, stream });
    Ok(Entered { stream, connected: Arc::new(Connected::new(peer, certificate)), http2 })
}

/// Reads until it is plain what the peer speaks; the bytes read, and whether it is HTTP/2.
async fn first_bytes(stream: &mut Box<dyn Stream>) -> Result<(Vec<u8>, bool), String> {
    let mut head = Vec::with_capacity(PREFACE.len());
    loop {
        let mut buffer = [0u8; PREFACE.len()];
        let room = PREFACE.len() - head.len();
        let count = stream.read(&mut buffer[..room]).await.map_err(|error| error.to_string())?;
        if count == 0 {
            let what = if head.is_empty() { "closed before a request" } else { "malformed: neither HTTP/2 nor HTTP/1" };
            return Err(what.to_owned());
        }
        head.extend_from_slice(&buffer[..count]);
        if head.as_slice() == PREFACE {
            return Ok((head, true));
        }
        let http1 = [b"GET /".as_slice(), b"HEAD /".as_slice()];
        if http1.iter().any(|start| head.starts_with(start)) {
            return Ok((head, false));
        }
        let may_become = |start: &[u8]| start.starts_with(&head);
        if !may_become(PREFACE) && !http1.into_iter().any(may_become) {
            return Err("malformed: neither HTTP/2 nor HTTP/1".to_owned());
        }
    }
}

/// Serves an entered connection until it ends; once `stop` turns true, until its requests in flight are answered.
///
/// # Errors
/// What the peer did wrong, or how the connection broke.
pub(crate) async fn converse(entered: Entered, front: impl Front, mut stop: watch::Receiver<bool>) -> Result<(), hyper::Error> {
    let io = TokioIo::new(entered.stream);
    let stopped = async move {
        // A closed channel means that the server is gone: stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    if entered.http2 { http2(io, front, stopped).await } else { http1(io, front, stopped).await }
}

async fn http2(
    io: impl Read + Write + Unpin + Send + 'static,
    front: impl Front,
    stopped: impl Future<Output = ()>,
) -> Result<(), hyper::Error> {
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(CLIENT_SILENCE_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_MAX)
        .max_frame_size(FRAME_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .serve_connection(io, front);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stopped => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn http1(
    io: impl Read + Write + Unpin + Send + 'static,
    front: impl Front,
    stopped: impl Future<Output = ()>,
) -> Result<(), hyper::Error> {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .max_buf_size(HTTP1_HEAD_MAX)
        .serve_connection(io, front);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stopped => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// A stream whose first bytes were read already.
struct Rewound {
    head: Vec<u8>,
    read: usize,
    stream: Box<dyn Stream>,
}

impl AsyncRead for Rewound {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read < self.head.len() {
            let count = buffer.remaining().min(self.head.len() - self.read);
            buffer.put_slice(&self.head[self.read..self.read + count]);
            self.read += count;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Credentials;

    #[tokio::test]
    async fn another_user_is_turned_away_at_a_unix_socket() {
        let auth = Auth::new(Arc::new(Credentials::none()));
        let own = own_uid().unwrap();
        for (uid, expect) in [(own + 1, "another user"), (own, "closed before a request")] {
            let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
            drop(theirs);
            let peer = Peer::Unix { uid, pid: None };
            let why = enter(Accepted::Unix(ours), peer, None, &auth).await.err();
            assert_eq!(why.as_deref(), Some(expect));
        }
    }

    #[tokio::test]
    async fn a_network_that_is_not_listed_is_turned_away() {
        let auth = Auth::new(Arc::new(Credentials::none())).with_networks(vec!["192.0.2.0/24".parse().unwrap()]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = Accepted::Tcp(listener.accept().await.unwrap().0);
        let peer = peer_of(&accepted, false).unwrap();
        assert_eq!(peer, Peer::Tcp { address: client.local_addr().unwrap(), tls: false });
        let why = enter(accepted, peer, None, &auth).await.err();
        assert_eq!(why.as_deref(), Some("not in an allowed network"));
    }
}
