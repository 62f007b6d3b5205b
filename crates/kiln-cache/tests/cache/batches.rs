//! FindMissingBlobs, BatchUpdateBlobs, BatchReadBlobs.

use crate::support::{TestCache, content, update};
use kiln_cas::Digest;
use kiln_proto::convert::digest_to_wire;
use kiln_proto::reapi;
use reapi::batch_read_blobs_response::Response;
use tonic::Code;

const ZSTD: i32 = reapi::compressor::Value::Zstd as i32;

fn read(digests: &[Digest], compressors: &[i32]) -> reapi::BatchReadBlobsRequest {
    reapi::BatchReadBlobsRequest {
        instance_name: "main".into(),
        digests: digests.iter().map(digest_to_wire).collect(),
        acceptable_compressors: compressors.to_vec(),
        digest_function: 1,
    }
}

async fn read_all(cache: &TestCache, digests: &[Digest], compressors: &[i32]) -> Vec<Response> {
    cache.cas().batch_read_blobs(read(digests, compressors)).await.unwrap().into_inner().responses
}

fn code(status: &Option<kiln_proto::rpc::Status>) -> Code {
    Code::from(status.as_ref().unwrap().code)
}

#[tokio::test]
async fn what_is_put_is_found_and_read() {
    let cache = TestCache::start().await;
    let blobs: Vec<Vec<u8>> = (0..50).map(|seed| content(seed, seed as usize * 997)).collect();
    let digests: Vec<Digest> = blobs.iter().map(|bytes| Digest::of(bytes)).collect();
    let missing = cache.missing(&digests).await;
    assert_eq!(missing, digests[1..].iter().map(Digest::hex).collect::<Vec<_>>(), "the empty blob is always there");
    let pairs: Vec<(Digest, &[u8])> = digests.iter().copied().zip(blobs.iter().map(Vec::as_slice)).collect();
    let response = cache.cas().batch_update_blobs(update(&pairs)).await.unwrap().into_inner();
    assert!(response.responses.iter().all(|one| code(&one.status) == Code::Ok));
    assert_eq!(cache.missing(&digests).await, Vec::<String>::new());
    for round in 0..2 {
        for (one, bytes) in read_all(&cache, &digests, &[]).await.iter().zip(&blobs) {
            assert_eq!((code(&one.status), &one.data), (Code::Ok, bytes), "round {round}");
        }
    }
}

#[tokio::test]
async fn each_blob_of_a_batch_has_its_own_fate() {
    let cache = TestCache::start().await;
    let good = Digest::of(b"good");
    let mut request = update(&[(good, b"good"), (Digest::of(b"lie"), b"lie!"), (Digest { size: 3, ..good }, b"goo")]);
    request.requests.push(Default::default());
    let bad_hash = reapi::Digest { hash: "X".repeat(64), size_bytes: 1 };
    request.requests.push(reapi::batch_update_blobs_request::Request { digest: Some(bad_hash), ..Default::default() });
    let negative = reapi::Digest { hash: good.hex(), size_bytes: -1 };
    request.requests.push(reapi::batch_update_blobs_request::Request { digest: Some(negative), ..Default::default() });
    let brotli = reapi::batch_update_blobs_request::Request {
        digest: Some(digest_to_wire(&good)),
        data: b"good".to_vec(),
        compressor: reapi::compressor::Value::Brotli as i32,
    };
    request.requests.push(brotli);
    let response = cache.cas().batch_update_blobs(request).await.unwrap().into_inner();
    let codes: Vec<Code> = response.responses.iter().map(|one| code(&one.status)).collect();
    assert_eq!(codes[0], Code::Ok);
    assert_eq!(codes[1..], [Code::InvalidArgument; 6]);
    let absent = Digest::of(b"absent");
    let wrong_size = Digest { size: 5, ..good };
    let codes: Vec<Code> = read_all(&cache, &[absent, good, wrong_size], &[]).await.iter().map(|one| code(&one.status)).collect();
    assert_eq!(codes, [Code::NotFound, Code::Ok, Code::NotFound]);
}

#[tokio::test]
async fn zstd_goes_both_ways() {
    let cache = TestCache::start().await;
    let text = b"#include <stdio.h>\n".repeat(5000);
    let noise = content(1, 50_000);
    let mut request = update(&[]);
    for bytes in [&text, &noise] {
        request.requests.push(reapi::batch_update_blobs_request::Request {
            digest: Some(digest_to_wire(&Digest::of(bytes))),
            data: zstd::bulk::compress(bytes, 3).unwrap(),
            compressor: ZSTD,
        });
    }
    let response = cache.cas().batch_update_blobs(request).await.unwrap().into_inner();
    assert!(response.responses.iter().all(|one| code(&one.status) == Code::Ok));
    let digests = [Digest::of(&text), Digest::of(&noise), Digest::EMPTY];
    let read = read_all(&cache, &digests, &[ZSTD]).await;
    assert_eq!(read[0].compressor, ZSTD);
    assert!(read[0].data.len() < text.len() / 10);
    assert_eq!(zstd::bulk::decompress(&read[0].data, text.len()).unwrap(), text);
    assert_eq!((read[1].compressor, &read[1].data), (0, &noise), "what does not shrink is sent as it is");
    assert_eq!((read[2].compressor, read[2].data.len()), (0, 0));
    assert_eq!(read_all(&cache, &digests, &[]).await[0].data, text);
}

#[tokio::test]
async fn compressed_lies_and_bombs_are_refused() {
    let cache = TestCache::start().await;
    let bomb = zstd::bulk::compress(&vec![0; 256 << 20], 19).unwrap();
    let truncated = &zstd::bulk::compress(b"whole", 3).unwrap()[..8];
    for (digest, data) in [
        (Digest { size: 1000, ..Digest::of(b"x") }, &bomb[..]),
        (Digest::of(b"whole"), truncated),
        (Digest::of(b"whole"), b"whole"),
        (Digest::of(b"whole"), &zstd::bulk::compress(b"WHOLE", 3).unwrap()),
        (Digest::of(b"whole"), &zstd::bulk::compress(b"whole and more", 3).unwrap()),
    ] {
        let mut request = update(&[(digest, data)]);
        request.requests[0].compressor = ZSTD;
        let response = cache.cas().batch_update_blobs(request).await.unwrap().into_inner();
        assert_eq!(code(&response.responses[0].status), Code::InvalidArgument);
    }
    let mut request = update(&[(Digest { size: 256 << 20, ..Digest::of(b"x") }, &bomb)]);
    request.requests[0].compressor = ZSTD;
    assert_eq!(cache.cas().batch_update_blobs(request).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(cache.server.blobs().disk().stats().files, 0);
}

#[tokio::test]
async fn a_batch_over_the_bound_is_refused_whole() {
    let cache = TestCache::start().await;
    let half = content(1, 2 << 20);
    let rest = content(2, (2 << 20) + 1);
    let (one, two) = (Digest::of(&half), Digest::of(&rest));
    let refused = cache.cas().batch_update_blobs(update(&[(one, &half), (two, &rest)])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(cache.missing(&[one, two]).await.len(), 2);
    cache.put(&half).await;
    cache.put(&rest).await;
    let refused = cache.cas().batch_read_blobs(read(&[one, two], &[])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(read_all(&cache, &[one], &[]).await[0].data, half);
    let many = vec![Digest::EMPTY; kiln_cache::BATCH_COUNT_MAX + 1];
    assert_eq!(cache.cas().batch_read_blobs(read(&many, &[])).await.unwrap_err().code(), Code::InvalidArgument);
    let whole = content(3, kiln_cache::BATCH_ANNOUNCED_BYTES);
    let digest = cache.put(&whole).await;
    assert_eq!(read_all(&cache, &[digest], &[]).await[0].data, whole);
}

#[tokio::test]
async fn a_full_cache_evicts_and_a_blob_over_its_size_is_refused() {
    let cache = TestCache::with_bytes(1 << 20).await;
    for seed in 0..20 {
        let bytes = content(seed, 100_000);
        let digest = cache.put(&bytes).await;
        assert_eq!(read_all(&cache, &[digest], &[]).await[0].data, bytes);
    }
    let stats = cache.server.blobs().disk().stats();
    assert!(stats.bytes <= 1 << 20 && stats.evictions > 0);
    let large = content(99, (1 << 20) + 1);
    let response = cache.cas().batch_update_blobs(update(&[(Digest::of(&large), &large)])).await.unwrap().into_inner();
    assert_eq!(code(&response.responses[0].status), Code::InvalidArgument);
    let tight = content(98, (1 << 20) - 1);
    let response = cache.cas().batch_update_blobs(update(&[(Digest::of(&tight), &tight)])).await.unwrap().into_inner();
    assert_eq!(code(&response.responses[0].status), Code::ResourceExhausted);
}

#[tokio::test]
async fn many_writers_of_the_same_blobs_agree() {
    let cache = TestCache::start().await;
    let blobs: Vec<Vec<u8>> = (0..8).map(|seed| content(seed, 30_000)).collect();
    let digests: Vec<Digest> = blobs.iter().map(|bytes| Digest::of(bytes)).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (mut client, blobs, digests) = (cache.cas(), blobs.clone(), digests.clone());
        tasks.spawn(async move {
            let pairs: Vec<(Digest, &[u8])> = digests.iter().copied().zip(blobs.iter().map(Vec::as_slice)).collect();
            let response = client.batch_update_blobs(update(&pairs)).await.unwrap().into_inner();
            assert!(response.responses.iter().all(|one| code(&one.status) == Code::Ok));
            let response = client.batch_read_blobs(read(&digests, &[])).await.unwrap().into_inner();
            assert!(response.responses.iter().zip(&blobs).all(|(one, bytes)| one.data == *bytes));
        });
    }
    tasks.join_all().await;
    assert_eq!(cache.server.blobs().disk().stats().files, 8);
}
