//! Servers and channels against each other and against bytes that are no protocol, on loopback and in a temporary directory.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use kiln_proto::reapi;
use kiln_proto::reapi::capabilities_client::CapabilitiesClient;
use kiln_proto::reapi::capabilities_server::Capabilities;
use kiln_proto::reapi::capabilities_server::CapabilitiesServer;
use kiln_proto::semver::SemVer;
use kiln_rpc::Address;
use kiln_rpc::Auth;
use kiln_rpc::Channel;
use kiln_rpc::ClientTls;
use kiln_rpc::Credentials;
use kiln_rpc::Dial;
use kiln_rpc::Drained;
use kiln_rpc::Listener;
use kiln_rpc::Role;
use kiln_rpc::ServeOptions;
use kiln_rpc::ServerTls;
use kiln_rpc::TlsFiles;
use kiln_rpc::Token;
use kiln_rpc::cert;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::sync::oneshot;
use tonic::Code;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::service::Routes;

const USER_TOKEN: &str = "user-token-0123456789";
const ADMIN_TOKEN: &str = "admin-token-0123456789";

/// Answers with the caller's name and role; an instance called `wait` is answered when told to.
#[derive(Clone, Default)]
struct WhoAmI {
    entered: Arc<Notify>,
    go: Arc<Notify>,
}

#[tonic::async_trait]
impl Capabilities for WhoAmI {
    async fn get_capabilities(
        &self,
        request: Request<reapi::GetCapabilitiesRequest>,
    ) -> Result<Response<reapi::ServerCapabilities>, Status> {
        let caller = kiln_rpc::caller(&request)?;
        if request.get_ref().instance_name == "wait" {
            self.entered.notify_one();
            self.go.notified().await;
        }
        let version = SemVer { prerelease: format!("{} {}", caller.name, caller.role), ..SemVer::default() };
        Ok(Response::new(reapi::ServerCapabilities { low_api_version: Some(version), ..Default::default() }))
    }
}

struct Served {
    address: Address,
    service: WhoAmI,
    registry: Arc<kiln_rpc::metrics::Registry>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<Drained>,
}

impl Served {
    async fn start(address: &str, tls: Option<&TlsFiles>) -> Served {
        Served::with_drain(address, tls, Duration::from_secs(60)).await
    }

    async fn with_drain(address: &str, tls: Option<&TlsFiles>, drain_max: Duration) -> Served {
        Served::with(address, tls, |options| options.drain_max = drain_max).await
    }

    async fn with(address: &str, tls: Option<&TlsFiles>, change: impl FnOnce(&mut ServeOptions)) -> Served {
        let tls = tls.map(|files| Arc::new(ServerTls::from_files(files).unwrap()));
        let listener = Listener::bind(&address.parse().unwrap(), tls, false).await.unwrap();
        let token = |role, text: &str| (role, format!("{role}-1"), Token::new(text).unwrap());
        let credentials = Credentials::from_tokens([token(Role::User, USER_TOKEN), token(Role::Admin, ADMIN_TOKEN)]);
        let mut options = ServeOptions::new("test", Arc::new(Auth::new(Arc::new(credentials))));
        change(&mut options);
        let (service, registry, address) = (WhoAmI::default(), options.registry.clone(), listener.address().clone());
        let routes = Routes::new(CapabilitiesServer::new(service.clone()));
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(kiln_rpc::serve(vec![listener], routes, options, async move {
            let _ = stopped.await;
        }));
        Served { address, service, registry, stop: Some(stop), task }
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    fn channel(&self, dial: &Dial) -> Channel {
        kiln_rpc::connect(&self.address, dial).unwrap()
    }

    async fn raw(&self) -> Box<dyn Raw> {
        match &self.address {
            Address::Tcp { host, port } => Box::new(TcpStream::connect((host.as_str(), *port)).await.unwrap()),
            Address::Unix(path) => Box::new(UnixStream::connect(path).await.unwrap()),
        }
    }
}

trait Raw: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Raw for T {}

fn token(text: &str) -> Dial {
    Dial { token: Some(Token::new(text).unwrap()), ..Dial::default() }
}

async fn who(channel: Channel) -> Result<String, Status> {
    ask(channel, "").await
}

async fn ask(channel: Channel, instance: &str) -> Result<String, Status> {
    let request = reapi::GetCapabilitiesRequest { instance_name: instance.to_owned() };
    let answer = CapabilitiesClient::new(channel).get_capabilities(request).await?;
    Ok(answer.into_inner().low_api_version.unwrap().prerelease)
}

#[track_caller]
fn refused(answer: Result<String, Status>, code: Code) {
    assert_eq!(answer.unwrap_err().code(), code);
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Files of a CA and of certificates it signed.
struct Ca {
    dir: tempfile::TempDir,
    made: cert::Made,
}

impl Ca {
    fn new() -> Ca {
        let (dir, made) = (tempfile::tempdir().unwrap(), cert::make_ca("test farm").unwrap());
        write(dir.path(), "ca.pem", &made.cert);
        Ca { dir, made }
    }

    fn files(&self, name: &str, role: Option<Role>, hosts: &[&str]) -> TlsFiles {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let node = cert::make_node(&self.made, name, role, &hosts).unwrap();
        TlsFiles {
            ca: Some(self.dir.path().join("ca.pem")),
            cert: Some(write(self.dir.path(), &format!("{name}.pem"), &node.cert)),
            key: Some(write(self.dir.path(), &format!("{name}.key"), &node.key)),
        }
    }

    fn client(&self) -> Dial {
        let files = TlsFiles { ca: Some(self.dir.path().join("ca.pem")), ..TlsFiles::default() };
        Dial { tls: ClientTls::from_files(&files).unwrap(), ..Dial::default() }
    }
}

#[tokio::test]
async fn a_token_opens_a_loopback_port_over_both_families() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let served = Served::start(address, None).await;
        assert_eq!(who(served.channel(&token(USER_TOKEN))).await.unwrap(), "user-1 user");
        refused(who(served.channel(&Dial::default())).await, Code::Unauthenticated);
        refused(who(served.channel(&token("some-other-token-000"))).await, Code::Unauthenticated);
    }
}

#[tokio::test]
async fn failed_credentials_are_limited_by_address() {
    let served = Served::start("127.0.0.1:0", None).await;
    let wrong = served.channel(&token("some-other-token-000"));
    for _ in 0..kiln_rpc::limits::FAILURES_BURST {
        refused(who(wrong.clone()).await, Code::Unauthenticated);
    }
    // One failure is forgiven each second; a handful of requests takes far less.
    let mut blocked = 0;
    for _ in 0..5 {
        blocked += usize::from(who(wrong.clone()).await.unwrap_err().code() == Code::ResourceExhausted);
    }
    assert!(blocked >= 3, "{blocked} of 5");
}

#[tokio::test]
async fn the_same_user_needs_no_token_over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let mut served = Served::start(&format!("unix:{}/run/s.sock", dir.path().display()), None).await;
    let answer = who(served.channel(&Dial::default())).await.unwrap();
    assert!(answer.starts_with("uid:") && answer.ends_with(" local"), "{answer}");
    // A token is the stronger word: with it one can be less than local.
    assert_eq!(who(served.channel(&token(USER_TOKEN))).await.unwrap(), "user-1 user");
    assert!(matches!(Listener::bind(&served.address, None, false).await, Err(kiln_rpc::ListenError::InUse(_))));
    served.stop();
    served.task.await.unwrap();
    assert!(!served.address.unix_path().unwrap().exists(), "the socket's name is removed at the end");
}

#[tokio::test]
async fn a_unix_socket_needs_a_private_directory() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let address = Address::Unix(dir.path().join("s.sock"));
    assert!(matches!(Listener::bind(&address, None, false).await, Err(kiln_rpc::ListenError::OpenDirectory { mode: 0o755, .. })));
}

#[tokio::test]
async fn a_socket_left_over_by_a_killed_server_is_replaced_and_a_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let path = dir.path().join("s.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    Listener::bind(&Address::Unix(path), None, false).await.unwrap();
    let file = write(dir.path(), "file", "mine");
    assert!(matches!(Listener::bind(&Address::Unix(file.clone()), None, false).await, Err(kiln_rpc::ListenError::InUse(_))));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
}

#[tokio::test]
async fn others_reach_a_port_only_with_tls_unless_insecure_is_stated() {
    let address: Address = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(Listener::bind(&address, None, false).await, Err(kiln_rpc::ListenError::NoTls(_))));
    Listener::bind(&address, None, true).await.unwrap();
    let ca = Ca::new();
    let tls = ServerTls::from_files(&ca.files("node", None, &["localhost"])).unwrap();
    Listener::bind(&address, Some(Arc::new(tls)), false).await.unwrap();
}

#[tokio::test]
async fn a_token_never_leaves_the_machine_in_the_clear() {
    let far: Address = "192.0.2.1:1".parse().unwrap();
    let mut dial = token(USER_TOKEN);
    assert_eq!(kiln_rpc::connect(&far, &dial).unwrap_err(), kiln_rpc::DialError::TokenInClear(far.clone()));
    dial.insecure = true;
    kiln_rpc::connect(&far, &dial).unwrap();
}

#[tokio::test]
async fn certificates_made_here_carry_a_token_safely() {
    let ca = Ca::new();
    let served = Served::start("127.0.0.1:0", Some(&ca.files("node", None, &["localhost", "127.0.0.1"]))).await;
    let dial = Dial { token: Some(Token::new(USER_TOKEN).unwrap()), ..ca.client() };
    assert_eq!(who(served.channel(&dial)).await.unwrap(), "user-1 user");
    refused(who(served.channel(&ca.client())).await, Code::Unauthenticated);
    // Another CA's client does not believe this server, and a client without TLS gets nowhere.
    refused(who(served.channel(&Ca::new().client())).await, Code::Unavailable);
    refused(who(served.channel(&token(USER_TOKEN))).await, Code::Unavailable);
}

#[tokio::test]
async fn the_expected_name_can_differ_from_the_address() {
    let ca = Ca::new();
    let served = Served::start("127.0.0.1:0", Some(&ca.files("node", None, &["node.farm.example"]))).await;
    let mut dial = Dial { token: Some(Token::new(USER_TOKEN).unwrap()), ..ca.client() };
    refused(who(served.channel(&dial)).await, Code::Unavailable);
    dial.tls_name = Some("node.farm.example".to_owned());
    assert_eq!(who(served.channel(&dial)).await.unwrap(), "user-1 user");
    let pool = kiln_rpc::Pool::new(Dial { tls_name: None, ..dial });
    assert_eq!(who(pool.get(&served.address, "node.farm.example").unwrap()).await.unwrap(), "user-1 user");
}

#[tokio::test]
async fn a_client_certificate_is_a_credential_with_the_role_of_its_ou() {
    let ca = Ca::new();
    let served = Served::start("127.0.0.1:0", Some(&ca.files("node", None, &["127.0.0.1"]))).await;
    let dial = |files: &TlsFiles| Dial { tls: ClientTls::from_files(files).unwrap(), ..Dial::default() };
    for (name, role) in [("w1", Role::Worker), ("alice", Role::User), ("root", Role::Admin)] {
        let answer = who(served.channel(&dial(&ca.files(name, Some(role), &[])))).await.unwrap();
        assert_eq!(answer, format!("{name} {role}"));
    }
    // A certificate for a server alone, or of another CA, opens nothing.
    assert!(who(served.channel(&dial(&ca.files("bare", None, &["127.0.0.1"])))).await.is_err());
    let other = Ca::new();
    let mut stranger = other.files("w1", Some(Role::Worker), &[]);
    stranger.ca = ca.files("x", None, &[]).ca;
    assert!(who(served.channel(&dial(&stranger))).await.is_err());
}

#[tokio::test]
async fn a_key_that_everybody_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let ca = Ca::new();
    let files = ca.files("node", None, &["localhost"]);
    std::fs::set_permissions(files.key.as_ref().unwrap(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = ServerTls::from_files(&files).unwrap_err().to_string();
    assert!(error.contains("node.key") && error.contains("644"), "{error}");
}

/// Bytes that are none of what a port speaks.
fn garbage() -> Vec<Vec<u8>> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let with = |tail: &[u8]| [preface.as_slice(), tail].concat();
    vec![
        vec![0; 4096],
        b"\x16\x03\x01\xff\xff\x01\x00".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        b"PRI * HTTP/3.0\r\n\r\nXX\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\n\r\n".to_vec(),
        b"PRI".to_vec(),
        // After a good preface: a frame of 16 MB, data for a stream that is not there, a header block of noise, an unknown
        // setting of nonsense length.
        with(b"\xff\xff\xff\x04\x00\x00\x00\x00\x00"),
        with(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01x"),
        with(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff"),
        with(b"\x00\x00\x05\x04\x00\x00\x00\x00\x00aaaaa"),
        with(&[0xaa; 4096]),
    ]
}

async fn closes(mut stream: Box<dyn Raw>, bytes: &[u8]) {
    // The server may be gone before all is written.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut sink = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut sink)).await;
    assert!(end.is_ok(), "the connection stays open after {:?}", &bytes[..bytes.len().min(40)]);
}

#[tokio::test]
async fn garbage_closes_its_connection_and_nothing_else() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let files = ca.files("node", None, &["127.0.0.1"]);
    let unix = format!("unix:{}/run/s.sock", dir.path().display());
    for (address, tls) in [("127.0.0.1:0", None), ("127.0.0.1:0", Some(&files)), (unix.as_str(), None)] {
        let served = Served::start(address, tls).await;
        let mut dial = token(USER_TOKEN);
        if tls.is_some() {
            dial.tls = ca.client().tls;
        }
        let channel = served.channel(&dial);
        assert_eq!(who(channel.clone()).await.unwrap(), "user-1 user");
        for bytes in garbage() {
            closes(served.raw().await, &bytes).await;
        }
        assert_eq!(who(channel).await.unwrap(), "user-1 user", "the service goes on at {address}");
        let counted = format!("kiln_rpc_closed_total {}", garbage().len());
        let text = served.registry.text();
        assert!(text.contains(&counted), "each is counted once: {counted} in\n{text}");
    }
}

#[tokio::test]
async fn a_header_block_over_the_limit_is_refused_and_the_service_goes_on() {
    let served = Served::start("127.0.0.1:0", None).await;
    let channel = served.channel(&token(USER_TOKEN));
    let mut request = Request::new(reapi::GetCapabilitiesRequest::default());
    let big = "x".repeat(kiln_rpc::limits::HEADERS_MAX as usize * 2);
    request.metadata_mut().insert("kiln-test", big.parse().unwrap());
    assert!(CapabilitiesClient::new(channel.clone()).get_capabilities(request).await.is_err());
    assert_eq!(who(channel).await.unwrap(), "user-1 user");
}

#[tokio::test]
async fn a_peer_that_never_answers_is_noticed_within_three_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let _accepted = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
    });
    let begin = Instant::now();
    let channel = kiln_rpc::connect(&Address::tcp("127.0.0.1", port), &Dial::default()).unwrap();
    refused(who(channel).await, Code::Unavailable);
    let took = begin.elapsed();
    // 1 s + 2 s, and half a second for a machine that is busy.
    assert!(took < Duration::from_millis(3500), "{took:?}");
    // With TLS the handshake does not end.
    let begin = Instant::now();
    let channel = kiln_rpc::connect(&Address::tcp("127.0.0.1", port), &Ca::new().client()).unwrap();
    refused(who(channel).await, Code::Unavailable);
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(3500), "{took:?}");
}

#[tokio::test]
async fn a_channel_comes_back_by_itself() {
    let mut first = Served::start("127.0.0.1:0", None).await;
    let channel = first.channel(&token(USER_TOKEN));
    who(channel.clone()).await.unwrap();
    first.stop();
    let address = first.address.to_string();
    (&mut first.task).await.unwrap();
    refused(who(channel.clone()).await, Code::Unavailable);
    let _second = Served::start(&address, None).await;
    assert_eq!(who(channel).await.unwrap(), "user-1 user");
}

#[tokio::test]
async fn a_draining_server_answers_what_it_has_and_takes_nothing_new() {
    let mut served = Served::start("127.0.0.1:0", None).await;
    let channel = served.channel(&token(USER_TOKEN));
    let waiting = tokio::spawn(ask(channel, "wait"));
    served.service.entered.notified().await;
    served.stop();
    // Refused once the listener is closed; until then the kernel may still accept.
    let Address::Tcp { host, port } = served.address.clone() else { panic!("a TCP address") };
    while let Ok(mut stream) = TcpStream::connect((host.as_str(), port)).await {
        let mut byte = [0u8; 1];
        let _ = stream.read(&mut byte).await;
    }
    assert!(!served.task.is_finished());
    served.service.go.notify_one();
    assert_eq!(waiting.await.unwrap().unwrap(), "user-1 user");
    assert_eq!(served.task.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn a_drain_ends_in_time_whatever_the_requests_do() {
    let mut served = Served::with_drain("127.0.0.1:0", None, Duration::from_millis(50)).await;
    let waiting = tokio::spawn(ask(served.channel(&token(USER_TOKEN)), "wait"));
    served.service.entered.notified().await;
    served.stop();
    assert_eq!(served.task.await.unwrap(), Drained { cut: 1 });
    refused(waiting.await.unwrap(), Code::Unavailable);
}

async fn page(served: &Served, path: &str, token: Option<&str>) -> String {
    let mut stream = served.raw().await;
    let field = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{field}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn metrics_need_an_admin_and_health_is_open_nearby() {
    let served = Served::start("127.0.0.1:0", None).await;
    assert!(page(&served, "/healthz", None).await.starts_with("HTTP/1.1 200"));
    assert!(page(&served, "/metrics", None).await.starts_with("HTTP/1.1 401"));
    assert!(page(&served, "/metrics", Some(USER_TOKEN)).await.starts_with("HTTP/1.1 401"));
    let text = page(&served, "/metrics", Some(ADMIN_TOKEN)).await;
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("\nkiln_rpc_connections_total 4\n"), "{text}");
    assert!(page(&served, "/else", Some(ADMIN_TOKEN)).await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_certificate_without_a_role_is_no_credential_and_no_obstacle() {
    let ca = Ca::new();
    let served = Served::start("127.0.0.1:0", Some(&ca.files("node", None, &["127.0.0.1"]))).await;
    let tls = ClientTls::from_files(&ca.files("other-server", None, &["127.0.0.2"])).unwrap();
    let mut dial = Dial { tls, ..Dial::default() };
    refused(who(served.channel(&dial)).await, Code::Unauthenticated);
    dial.token = Some(Token::new(USER_TOKEN).unwrap());
    assert_eq!(who(served.channel(&dial)).await.unwrap(), "user-1 user");
}

#[tokio::test]
async fn requests_above_the_bound_are_turned_away_at_once() {
    let served = Served::with("127.0.0.1:0", None, |options| options.requests_max = 1).await;
    let channel = served.channel(&token(USER_TOKEN));
    let waiting = tokio::spawn(ask(channel.clone(), "wait"));
    served.service.entered.notified().await;
    refused(who(channel.clone()).await, Code::ResourceExhausted);
    assert!(served.registry.text().contains("\nkiln_rpc_overloaded_total 1\n"));
    served.service.go.notify_one();
    waiting.await.unwrap().unwrap();
    assert_eq!(who(channel).await.unwrap(), "user-1 user", "there is room again");
}

#[tokio::test]
async fn connections_above_the_bound_wait_for_one_to_end() {
    let served = Served::with("127.0.0.1:0", None, |options| options.connections_max = 1).await;
    let first = served.raw().await;
    // Taken by the kernel, not by the server.
    let mut second = tokio::spawn(ask(served.channel(&token(USER_TOKEN)), ""));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut second).await.is_err());
    drop(first);
    assert_eq!(second.await.unwrap().unwrap(), "user-1 user");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_in_time() {
    let served = Served::start("127.0.0.1:0", None).await;
    let mut silent = served.raw().await;
    let begin = Instant::now();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
    let took = begin.elapsed();
    assert!(took >= kiln_rpc::limits::HANDSHAKE_TIMEOUT - Duration::from_millis(100), "{took:?}");
    assert_eq!(who(served.channel(&token(USER_TOKEN))).await.unwrap(), "user-1 user");
}

#[tokio::test]
async fn a_pool_is_bounded_and_keeps_what_is_used() {
    let pool = kiln_rpc::Pool::with_capacity(Dial::default(), 2);
    assert!(pool.is_empty());
    for port in [1, 2, 1, 3, 4] {
        pool.get(&Address::tcp("127.0.0.1", port), "").unwrap();
        assert!(pool.len() <= 2);
    }
    pool.forget(&Address::tcp("127.0.0.1", 4));
    assert_eq!(pool.len(), 1);
    assert!(pool.get(&Address::tcp("127.0.0.1", 5), "a b").is_ok(), "without TLS no name is expected");
}
