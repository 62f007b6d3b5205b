//! Capabilities, and who may do what.

use crate::support::{TestCache, cas, update};
use kiln_cas::Digest;
use kiln_proto::bytestream::ReadRequest;
use kiln_proto::bytestream::byte_stream_client::ByteStreamClient;
use kiln_proto::reapi;
use kiln_rpc::Role;
use reapi::{compressor, digest_function};
use tonic::Code;

#[tokio::test]
async fn capabilities_say_what_is_served_and_to_whom() {
    let cache = TestCache::start().await;
    for (role, instance, may_update) in [
        (Role::User, "main", false),
        (Role::Worker, "main", true),
        (Role::Admin, "main", false),
        (Role::User, "bazel/any", true),
        (Role::User, "", true),
    ] {
        let request = reapi::GetCapabilitiesRequest { instance_name: instance.into() };
        let answer = cache.capabilities(role).get_capabilities(request).await.unwrap().into_inner();
        let (low, high) = (answer.low_api_version.unwrap(), answer.high_api_version.unwrap());
        assert_eq!((low.major, low.minor, high.major, high.minor), (2, 0, 2, 11));
        assert!(answer.execution_capabilities.is_none());
        let served = answer.cache_capabilities.unwrap();
        assert_eq!(served.digest_functions, [digest_function::Value::Sha256 as i32]);
        assert_eq!(served.supported_compressors, [compressor::Value::Zstd as i32]);
        assert_eq!(served.supported_batch_update_compressors, [compressor::Value::Zstd as i32]);
        assert_eq!(served.max_batch_total_size_bytes, kiln_cache::BATCH_ANNOUNCED_BYTES as i64);
        assert_eq!(served.max_cas_blob_size_bytes, 1 << 30);
        assert_eq!(served.action_cache_update_capabilities.unwrap().update_enabled, may_update, "{role} {instance}");
    }
    let request = reapi::GetCapabilitiesRequest { instance_name: "other".into() };
    assert_eq!(cache.capabilities(Role::User).get_capabilities(request).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn roles_reach_what_they_may() {
    let cache = TestCache::start().await;
    let digest = cache.put(b"blob").await;
    for (role, may_write) in [(Role::User, true), (Role::Worker, true), (Role::Admin, false)] {
        let mut client = cas(cache.with_role(role));
        let find = reapi::FindMissingBlobsRequest { instance_name: "main".into(), ..Default::default() };
        client.find_missing_blobs(find).await.unwrap();
        let written = client.batch_update_blobs(update(&[(digest, b"blob")])).await;
        assert_eq!(written.is_ok(), may_write, "{role}");
        assert!(written.is_ok() || written.unwrap_err().code() == Code::PermissionDenied);
    }
    let stranger = kiln_rpc::Token::new("nobody-token-0123456789").unwrap();
    let dial = kiln_rpc::Dial { token: Some(stranger), ..Default::default() };
    let mut client = ByteStreamClient::new(kiln_rpc::connect(cache.tcp_address(), &dial).unwrap());
    let request = ReadRequest { resource_name: format!("main/blobs/{digest}"), ..Default::default() };
    assert_eq!(client.read(request).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn unknown_instances_and_digest_functions_are_refused() {
    let cache = TestCache::start().await;
    let digest = cache.put(b"blob").await;
    for (instance, function) in [("other", 0), ("main/", 0), ("main", digest_function::Value::Blake3 as i32), ("main", 99)] {
        let find = reapi::FindMissingBlobsRequest {
            instance_name: instance.into(),
            blob_digests: vec![kiln_proto::convert::digest_to_wire(&Digest::EMPTY)],
            digest_function: function,
        };
        assert_eq!(cache.cas().find_missing_blobs(find).await.unwrap_err().code(), Code::InvalidArgument);
        let mut request = update(&[(digest, b"blob")]);
        (request.instance_name, request.digest_function) = (instance.into(), function);
        assert_eq!(cache.cas().batch_update_blobs(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let bad = reapi::Digest { hash: "short".into(), size_bytes: 1 };
    let find = reapi::FindMissingBlobsRequest { instance_name: "main".into(), blob_digests: vec![bad], ..Default::default() };
    assert_eq!(cache.cas().find_missing_blobs(find).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn counts_are_shown() {
    let cache = TestCache::start().await;
    cache.put(b"blob").await;
    let registry = kiln_rpc::metrics::Registry::default();
    cache.server.register(&registry);
    let text = registry.text();
    assert!(text.contains("kiln_store_puts_total{store=\"blobs\"} 1"), "{text}");
    assert!(text.contains("kiln_store_files{store=\"results\"} 0"), "{text}");
}
