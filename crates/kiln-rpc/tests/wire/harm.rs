//! What must not harm a service: garbage, silence, overload, its own end.

use crate::support::*;
use kiln_proto::reapi;
use kiln_proto::reapi::capabilities_client::CapabilitiesClient;
use kiln_rpc::Address;
use kiln_rpc::Dial;
use kiln_rpc::Drained;
use std::time::Duration;
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::Request;

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
