//! The services as processes: checked, started, called, reloaded, told to end, fed with garbage.

mod support;

use std::net::Shutdown;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use kiln_proto::bytestream::WriteRequest;
use kiln_proto::bytestream::byte_stream_client::ByteStreamClient;
use kiln_proto::reapi::FindMissingBlobsRequest;
use kiln_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use kiln_rpc::Channel;
use kiln_rpc::ClientTls;
use kiln_rpc::Dial;
use kiln_rpc::Role;
use kiln_rpc::TlsFiles;
use kiln_rpc::Token;
use rustix::process::Signal;
use support::Home;
use support::PATIENCE;
use support::closes;
use tonic::Code;

const CACHE: [&str; 5] = ["cache", "--listen", "127.0.0.1:0", "--memory-max", "1M"];

fn token(text: &str) -> Dial {
    Dial { token: Some(Token::new(text).unwrap()), ..Dial::default() }
}

fn channel(address: &str, dial: &Dial) -> Channel {
    kiln_rpc::connect(&address.parse().unwrap(), dial).unwrap()
}

/// Asks a cache for nothing: whether the caller may ask at all.
async fn ask(channel: Channel) -> Result<(), Code> {
    let request = FindMissingBlobsRequest { instance_name: "main".into(), ..Default::default() };
    let answer = ContentAddressableStorageClient::new(channel).find_missing_blobs(request).await;
    answer.map(drop).map_err(|status| status.code())
}

#[test]
fn a_configuration_is_checked_without_starting_anything() {
    let home = Home::new();
    let output = home.output(&["worker", "--check"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "kiln: the configuration of worker is good\n");
    assert!(!home.at("state").exists());
    let file = home.write("kiln.toml", "[worker]\nslot = 3\n");
    let file = file.to_str().unwrap();
    let (code, said) = home.ended(&["worker", "--check", "--config", file]);
    assert_eq!((code, said), (Some(1), format!("kiln: {file}:2: [worker] unknown key `slot`; did you mean `slots`?\n")));
}

#[test]
fn what_would_be_open_to_strangers_does_not_start() {
    let home = Home::new();
    let (code, said) = home.ended(&["cache", "--listen", "0.0.0.0:0"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("has no TLS"), "{said}");
    let (code, said) = home.ended(&["cache", "--listen", "0.0.0.0:0", "--tls-insecure", "true"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("nobody could call"), "{said}");
    let file = home.write("tokens", "user a token-of-a-0123456789\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = home.ended(&["cache", "--check", "--auth-credentials", file.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("chmod 600") && !said.contains("0123456789"), "{said}");
}

#[tokio::test]
async fn a_loopback_service_makes_its_own_credential() {
    let home = Home::new();
    let mut cache = home.start(&CACHE);
    let address = cache.hear("cache listens at ");
    assert_eq!(ask(channel(&address, &Dial::default())).await, Err(Code::Unauthenticated));
    let made = home.at("state/loopback-credentials");
    let dial = Dial { token: Some(Token::from_file(&made, Role::User).unwrap()), ..Dial::default() };
    assert_eq!(ask(channel(&address, &dial)).await, Ok(()));
    cache.signal(Signal::TERM);
    assert_eq!(cache.wait().code(), Some(0));
    let secret = dial.token.unwrap();
    let said = cache.rest();
    assert!(said.iter().any(|line| line.contains("cache has ended")), "{said:#?}");
    assert!(said.iter().all(|line| !line.contains(secret.expose())), "no line shows a token");
}

#[tokio::test]
async fn a_second_signal_ends_what_still_drains() {
    let home = Home::new();
    let file = home.write("tokens", "user a token-of-a-0123456789\n");
    let args = [&CACHE[..], &["--auth-credentials", file.to_str().unwrap()]].concat();
    let mut cache = home.start(&args);
    let address = cache.hear("cache listens at ");
    let channel = channel(&address, &token("token-of-a-0123456789"));
    ask(channel.clone()).await.unwrap();
    // An upload that never ends.
    let (feed, fed) = tokio::sync::mpsc::channel(1);
    let digest = "0".repeat(64);
    let first =
        WriteRequest { resource_name: format!("main/uploads/u/blobs/{digest}/100"), data: b"x".to_vec(), ..Default::default() };
    feed.send(first).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(fed);
    let upload = tokio::spawn(async move { ByteStreamClient::new(channel).write(stream).await.map(drop) });
    // Once there is room again, the first message is on its way.
    let _room = feed.reserve().await.unwrap();
    cache.signal(Signal::TERM);
    cache.hear("draining");
    let port = address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {}
    assert!(cache.is_running(), "an upload is under way");
    cache.signal(Signal::TERM);
    assert_eq!(cache.wait().code(), Some(1));
    assert!(upload.await.unwrap().is_err());
}

#[tokio::test]
async fn credentials_are_read_again_on_a_signal() {
    let home = Home::new();
    let file = home.write("tokens", "user a token-of-a-0123456789\n");
    let args = [&CACHE[..], &["--auth-credentials", file.to_str().unwrap()]].concat();
    let mut cache = home.start(&args);
    let address = cache.hear("cache listens at ");
    let (old, new) = (channel(&address, &token("token-of-a-0123456789")), channel(&address, &token("token-of-b-0123456789")));
    assert_eq!(ask(old.clone()).await, Ok(()));
    assert_eq!(ask(new.clone()).await, Err(Code::Unauthenticated));
    home.write("tokens", "user b token-of-b-0123456789\n");
    cache.signal(Signal::HUP);
    cache.hear("credentials re-read");
    assert_eq!(ask(new).await, Ok(()));
    assert_eq!(ask(old).await, Err(Code::Unauthenticated), "an open connection does not keep a token alive");
}

#[test]
fn two_services_of_a_role_do_not_share_a_directory() {
    let home = Home::new();
    let mut cache = home.start(&CACHE);
    cache.hear("cache listens at ");
    let (code, said) = home.ended(&CACHE);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("another kilnd cache (pid {})", cache.pid())), "{said}");
}

#[tokio::test]
async fn a_farm_of_certificates_and_tokens_made_here_works() {
    let home = Home::new();
    let dir = home.at("certs");
    std::fs::create_dir(&dir).unwrap();
    let in_dir = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    for args in [
        ["cert", "ca", "--dir", &in_dir("")].as_slice(),
        &["cert", "node", "cache1", "--host", "127.0.0.1", "--dir", &in_dir("")],
        &["cert", "node", "alice", "--role", "user", "--dir", &in_dir("")],
        &["token", "new", "--role", "user", "--name", "bob", "--file", &in_dir("tokens")],
    ] {
        let (code, said) = home.ended(args);
        assert_eq!(code, Some(0), "{args:?}: {said}");
    }
    let (code, said) = home.ended(&["cert", "ca", "--dir", &in_dir("")]);
    assert!(code == Some(1) && said.contains("ca.key"), "a CA in use is not lost: {said}");
    for secret in ["ca.key", "cache1.key", "alice.key", "tokens"] {
        let mode = std::fs::metadata(dir.join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let (ca, cert, key, tokens) = (in_dir("ca.pem"), in_dir("cache1.pem"), in_dir("cache1.key"), in_dir("tokens"));
    let tls = ["--tls-ca", &ca, "--tls-cert", &cert, "--tls-key", &key, "--auth-credentials", &tokens];
    let mut cache = home.start(&[&CACHE[..], &tls].concat());
    let address = cache.hear("cache listens at ");
    let files = |name: &str| TlsFiles {
        ca: Some(ca.clone().into()),
        cert: Some(in_dir(&format!("{name}.pem")).into()),
        key: Some(in_dir(&format!("{name}.key")).into()),
    };
    let alice = Dial { tls: ClientTls::from_files(&files("alice")).unwrap(), ..Dial::default() };
    assert_eq!(ask(channel(&address, &alice)).await, Ok(()));
    let server_only = TlsFiles { ca: Some(ca.clone().into()), ..TlsFiles::default() };
    let nobody = Dial { tls: ClientTls::from_files(&server_only).unwrap(), ..Dial::default() };
    assert_eq!(ask(channel(&address, &nobody)).await, Err(Code::Unauthenticated));
    let bob = Dial { token: Some(Token::from_file(std::path::Path::new(&tokens), Role::User).unwrap()), ..nobody };
    assert_eq!(ask(channel(&address, &bob)).await, Ok(()));
}

/// Bytes that no port speaks.
fn garbage() -> [Vec<u8>; 4] {
    [
        vec![0; 4096],
        b"GET \x00\x01\x02\r\n\r\n".to_vec(),
        vec![0xff; 64],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00\x00\x00\x00\x00".to_vec(),
    ]
}

#[test]
fn garbage_on_every_port_is_a_line_in_the_log_and_nothing_more() {
    let home = Home::new();
    for (role, args) in [("cache", &CACHE[..3]), ("worker", &["worker", "--listen", "127.0.0.1:0", "--slots", "1"])] {
        let mut service = home.start(args);
        let address = service.hear(&format!("{role} listens at "));
        for bytes in garbage() {
            let stream = TcpStream::connect(&address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            closes(&stream, || drop(stream.shutdown(Shutdown::Write)), &bytes);
            service.hear("closed connection from 127.0.0.1");
        }
        service.signal(Signal::TERM);
        assert_eq!(service.wait().code(), Some(0), "{role} is unharmed");
    }
}

#[test]
fn garbage_on_the_daemons_socket_harms_nobody() {
    let home = Home::new();
    let mut daemon = home.start(&["daemon"]);
    let socket = daemon.hear("daemon listens at ");
    for bytes in garbage() {
        let stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        closes(&stream, || drop(stream.shutdown(Shutdown::Write)), &bytes);
    }
    let stats = home.output(&["cli", "stats", "--json"]);
    assert_eq!(stats.status.code(), Some(0), "{}", String::from_utf8_lossy(&stats.stderr));
    let stats: serde_json::Value = serde_json::from_slice(&stats.stdout).unwrap();
    assert_eq!(stats["requests"], 0);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
}

/// A port that was free a moment ago.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn a_cache_finds_its_scheduler_again() {
    let home = Home::new();
    let address = free_address();
    let scheduler = ["scheduler", "--listen", &address];
    let mut first = home.start(&scheduler);
    first.hear("scheduler listens at ");
    let mut cache = home.start(&[&CACHE[..], &["--farm-schedulers", &address, "--name", "c1"]].concat());
    first.hear("registered cache server c1");
    cache.hear("registered with");
    first.signal(Signal::KILL);
    first.wait();
    cache.hear(&format!("scheduler {address}: "));
    let mut second = home.start(&scheduler);
    second.hear("registered cache server c1");
    cache.hear("registered with");
}

#[test]
fn a_farm_in_one_process_comes_up_and_goes() {
    let home = Home::new();
    let mut all = home.start(&["all", "--worker-name", "w1", "--worker-slots", "1", "--cache-name", "c1"]);
    let mut waiting = vec!["registered worker w1", "registered cache server c1", "daemon listens at"];
    while !waiting.is_empty() {
        let line = all.hear("");
        waiting.retain(|part| !line.contains(part));
    }
    let sockets = ["scheduler", "cache", "worker"].map(|role| home.at(&format!("state/all/{role}.sock")));
    assert!(sockets.iter().all(|socket| socket.exists()));
    let status = home.output(&["cli", "status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let names: Vec<&str> =
        status["farm"]["workers"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"w1") && names.contains(&"c1"), "{status:#}");
    let said = |mut status: std::process::Command| String::from_utf8(status.output().unwrap().stdout).unwrap();
    assert!(!said(home.kilnd(&["cli", "status"])).contains("settings"));
    let mut later = home.kilnd(&["cli", "status"]);
    later.env("KILN_DAEMON_SLOTS", "3");
    let line = "settings: daemon.slots is not what the daemon was started with; kiln daemon restart takes what holds now\n";
    assert!(said(later).ends_with(line));
    all.signal(Signal::TERM);
    assert_eq!(all.wait().code(), Some(0), "{:#?}", all.rest());
    assert!(sockets.iter().all(|socket| !socket.exists()));
}
