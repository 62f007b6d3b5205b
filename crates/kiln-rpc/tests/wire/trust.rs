//! Who is let in: tokens, certificates, the same user, private directories.

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::support::*;
use kiln_rpc::Address;
use kiln_rpc::ClientTls;
use kiln_rpc::Dial;
use kiln_rpc::Listener;
use kiln_rpc::Role;
use kiln_rpc::ServerTls;
use kiln_rpc::TlsFiles;
use kiln_rpc::Token;
use std::sync::Arc;
use tonic::Code;

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
