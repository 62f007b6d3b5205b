//! ByteStream Read, Write and QueryWriteStatus.

use crate::support::{TestCache, UUID, content, read, read_name, upload, write, write_name};
use kiln_cas::Digest;
use kiln_proto::bytestream::{QueryWriteStatusRequest, WriteRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

#[tokio::test]
async fn blobs_of_every_size_stream_both_ways() {
    let cache = TestCache::start().await;
    let mut client = cache.streams();
    for len in [0, 1, 255 << 10, (256 << 10) + 1, 3_000_000] {
        let bytes = content(len as u32, len);
        let digest = Digest::of(&bytes);
        let committed = write(&mut client, upload(&write_name(&digest), &bytes, 100_000)).await.unwrap();
        assert_eq!(committed, len as i64);
        assert_eq!(read(&mut client, &read_name(&digest), 0, 0).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn any_part_of_a_blob_can_be_read() {
    let cache = TestCache::start().await;
    let mut client = cache.streams();
    for len in [1000usize, 1_000_000] {
        let bytes = content(len as u32, len);
        let digest = Digest::of(&bytes);
        write(&mut client, upload(&write_name(&digest), &bytes, 1 << 20)).await.unwrap();
        let name = read_name(&digest);
        for (offset, limit) in [(0, 1), (1, 0), (len / 2, 300), (len - 1, 0), (len - 1, 5), (len, 0), (len, 7), (0, len * 2)] {
            let end = if limit == 0 { len } else { (offset + limit).min(len) };
            let part = read(&mut client, &name, offset as i64, limit as i64).await.unwrap();
            assert_eq!(part, bytes[offset..end], "{offset} {limit}");
        }
        for (offset, limit, code) in
            [(len as i64 + 1, 0, Code::OutOfRange), (-1, 0, Code::OutOfRange), (0, -1, Code::InvalidArgument)]
        {
            assert_eq!(read(&mut client, &name, offset, limit).await.unwrap_err().code(), code);
        }
    }
    let absent = read_name(&Digest::of(b"absent"));
    assert_eq!(read(&mut client, &absent, 0, 0).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn zstd_streams_both_ways() {
    let cache = TestCache::start().await;
    let mut client = cache.streams();
    let text = b"static int counter;\n".repeat(200_000);
    let digest = Digest::of(&text);
    let mut packed = zstd::bulk::compress(&text[..1_000_000], 3).unwrap();
    packed.extend(zstd::bulk::compress(&text[1_000_000..], 3).unwrap());
    let name = format!("main/uploads/{UUID}/compressed-blobs/zstd/{digest}");
    let committed = write(&mut client, upload(&name, &packed, 100)).await.unwrap();
    assert_eq!(committed, packed.len() as i64);
    assert_eq!(read(&mut client, &read_name(&digest), 0, 0).await.unwrap(), text);
    let name = format!("main/compressed-blobs/zstd/{digest}");
    for offset in [0, 1, 3_999_999, 4_000_000] {
        let packed = read(&mut client, &name, offset as i64, 0).await.unwrap();
        assert!(packed.len() < 10_000);
        assert_eq!(zstd::stream::decode_all(&packed[..]).unwrap(), text[offset..]);
    }
    assert_eq!(read(&mut client, &name, 0, 1).await.unwrap_err().code(), Code::InvalidArgument);
}

/// Who comes second need not send the blob again: the whole size for plain uploads, -1 for compressed ones.
#[tokio::test]
async fn an_upload_of_what_is_there_ends_at_once() {
    let cache = TestCache::start().await;
    let mut client = cache.streams();
    let bytes = content(1, 500_000);
    let digest = Digest::of(&bytes);
    write(&mut client, upload(&write_name(&digest), &bytes, 1 << 20)).await.unwrap();
    for (name, committed) in [(write_name(&digest), 500_000), (format!("main/uploads/{UUID}/compressed-blobs/zstd/{digest}"), -1)] {
        // The client's stream stays open: only the answer can end the call.
        let (sender, messages) = mpsc::channel(1);
        sender.send(WriteRequest { resource_name: name, data: bytes[..10].to_vec(), ..Default::default() }).await.unwrap();
        let response = client.write(ReceiverStream::new(messages)).await.unwrap();
        assert_eq!(response.into_inner().committed_size, committed);
        drop(sender);
    }
}

#[track_caller]
fn refused(outcome: Result<i64, tonic::Status>, code: Code) {
    assert_eq!(outcome.unwrap_err().code(), code);
}

#[tokio::test]
async fn uploads_that_are_not_what_they_say_are_refused() {
    let cache = TestCache::start().await;
    let mut client = cache.streams();
    let bytes = content(1, 100_000);
    let digest = Digest::of(&bytes);
    let name = write_name(&digest);
    let good = || upload(&name, &bytes, 30_000);
    let invalid = Code::InvalidArgument;
    refused(write(&mut client, upload(&name, &bytes[..99_999], 30_000)).await, invalid);
    refused(write(&mut client, upload(&name, &[&bytes[..], b"x"].concat(), 30_000)).await, invalid);
    refused(write(&mut client, upload(&name, &content(2, 100_000), 30_000)).await, invalid);
    let mut unfinished = good();
    unfinished.last_mut().unwrap().finish_write = false;
    refused(write(&mut client, unfinished).await, invalid);
    refused(write(&mut client, Vec::new()).await, invalid);
    let mut gap = good();
    gap.remove(1);
    refused(write(&mut client, gap).await, invalid);
    let mut negative = good();
    negative[0].write_offset = -1;
    refused(write(&mut client, negative).await, invalid);
    let mut renamed = good();
    renamed[1].resource_name = write_name(&Digest::of(b"other"));
    refused(write(&mut client, renamed).await, invalid);
    let huge = Digest { size: 2 << 30, ..digest };
    refused(write(&mut client, upload(&write_name(&huge), &bytes, 1 << 20)).await, invalid);
    for name in ["", "main/blobs/x/1", &read_name(&digest), &name.replace("main", "other"), &name.replace(UUID, "1")] {
        refused(write(&mut client, upload(name, &bytes, 1 << 20)).await, invalid);
    }
    let stats = cache.server.blobs().disk().stats();
    assert_eq!((stats.files, stats.bytes), (0, 0));
    let mut repeated = good();
    repeated.iter_mut().for_each(|message| message.resource_name.clone_from(&name));
    assert_eq!(write(&mut client, repeated).await.unwrap(), 100_000);
}

#[tokio::test]
async fn compressed_uploads_that_are_not_what_they_say_are_refused() {
    let cache = TestCache::start().await;
    let mut client = cache.streams();
    let bytes = b"int x;\n".repeat(10_000);
    let digest = Digest::of(&bytes);
    let name = format!("main/uploads/{UUID}/compressed-blobs/zstd/{digest}");
    let packed = zstd::bulk::compress(&bytes, 3).unwrap();
    let bomb = zstd::bulk::compress(&vec![0; 512 << 20], 19).unwrap();
    let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    wide.long_distance_matching(true).unwrap();
    wide.window_log(27).unwrap();
    std::io::Write::write_all(&mut wide, &bytes).unwrap();
    for bad in
        [&packed[..packed.len() - 10], &bytes, &bomb, &zstd::bulk::compress(&bytes[1..], 3).unwrap(), &wide.finish().unwrap()]
    {
        refused(write(&mut client, upload(&name, bad, 64 << 10)).await, Code::InvalidArgument);
    }
    assert_eq!(cache.server.blobs().disk().stats().files, 0);
    assert_eq!(write(&mut client, upload(&name, &packed, 7)).await.unwrap(), packed.len() as i64);
}

#[tokio::test]
async fn a_broken_upload_leaves_nothing_and_starts_again() {
    let cache = TestCache::start().await;
    let mut client = cache.streams();
    let bytes = content(1, 1_000_000);
    let digest = Digest::of(&bytes);
    let status = |name: String| QueryWriteStatusRequest { resource_name: name };
    let (sender, messages) = mpsc::channel(4);
    let mut pieces = upload(&write_name(&digest), &bytes, 100_000).into_iter();
    let call = tokio::spawn({
        let mut client = client.clone();
        async move { client.write(ReceiverStream::new(messages)).await }
    });
    for _ in 0..5 {
        sender.send(pieces.next().unwrap()).await.unwrap();
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    let before = client.query_write_status(status(write_name(&digest))).await.unwrap().into_inner();
    assert_eq!((before.committed_size, before.complete), (0, false));
    assert_eq!(write(&mut client, upload(&write_name(&digest), &bytes, 100_000)).await.unwrap(), 1_000_000);
    let after = client.query_write_status(status(write_name(&digest))).await.unwrap().into_inner();
    assert_eq!((after.committed_size, after.complete), (1_000_000, true));
    assert_eq!(client.query_write_status(status(read_name(&digest))).await.unwrap_err().code(), Code::InvalidArgument);
    // Stopping waits for every call, so what is left in the private directory then was leaked.
    drop(client);
    let dir = cache.stop().await;
    assert_eq!(std::fs::read_dir(dir.path().join("cache/blobs-v1/tmp")).map(Iterator::count).unwrap_or(0), 0);
}

#[tokio::test]
async fn many_writers_of_one_large_blob_agree() {
    let cache = TestCache::start().await;
    let bytes = content(5, 2_000_000);
    let digest = Digest::of(&bytes);
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..12 {
        let (mut client, bytes) = (cache.streams(), bytes.clone());
        tasks.spawn(async move {
            let committed = write(&mut client, upload(&write_name(&digest), &bytes, 50_000 + writer * 10_000)).await.unwrap();
            assert_eq!(committed, 2_000_000);
            assert_eq!(read(&mut client, &read_name(&digest), 0, 0).await.unwrap(), bytes);
        });
    }
    tasks.join_all().await;
    assert_eq!(cache.server.blobs().disk().stats().files, 1);
}

#[tokio::test]
async fn a_damaged_blob_is_a_miss_and_can_be_put_again() {
    use std::os::unix::fs::PermissionsExt;
    let cache = TestCache::start().await;
    let mut client = cache.streams();
    let bytes = content(1, 400_000);
    let digest = Digest::of(&bytes);
    write(&mut client, upload(&write_name(&digest), &bytes, 1 << 20)).await.unwrap();
    let name = format!("{}-{}", digest.hex(), digest.size);
    let path = cache.dir.path().join("cache/blobs-v1").join(&digest.hex()[..2]).join(name);
    let mut damaged = bytes.clone();
    damaged[200_000] ^= 1;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&path, damaged).unwrap();
    assert_eq!(read(&mut client, &read_name(&digest), 0, 0).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(cache.missing(&[digest]).await, [digest.hex()]);
    write(&mut client, upload(&write_name(&digest), &bytes, 1 << 20)).await.unwrap();
    assert_eq!(read(&mut client, &read_name(&digest), 0, 0).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_silent_upload_is_given_up() {
    let cache = TestCache::impatient(std::time::Duration::from_millis(50)).await;
    let bytes = content(1, 1000);
    let digest = Digest::of(&bytes);
    let (sender, messages) = mpsc::channel(1);
    let first = WriteRequest { resource_name: write_name(&digest), data: bytes[..10].to_vec(), ..Default::default() };
    sender.send(first).await.unwrap();
    let refused = cache.streams().write(ReceiverStream::new(messages)).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded);
    drop(sender);
}

/// More uploads than there are places, most of them never finished: every place is given back.
#[tokio::test]
async fn abandoned_uploads_give_their_places_back() {
    let cache = TestCache::start().await;
    let mut calls = tokio::task::JoinSet::new();
    let mut senders = Vec::new();
    for number in 0..kiln_cache::UPLOADS_MAX as u32 {
        let bytes = content(number, 20);
        let (sender, messages) = mpsc::channel(1);
        let name = write_name(&Digest::of(&bytes));
        sender.send(WriteRequest { resource_name: name, data: bytes[..1].to_vec(), ..Default::default() }).await.unwrap();
        senders.push(sender);
        let mut client = cache.streams();
        calls.spawn(async move { client.write(ReceiverStream::new(messages)).await.map(|_| ()) });
    }
    // A place is taken once the upload has its file; so this waits until all are.
    let tmp = cache.dir.path().join("cache/blobs-v1/tmp");
    let session = std::fs::read_dir(&tmp).unwrap().next().unwrap().unwrap().path();
    while std::fs::read_dir(&session).unwrap().count() < kiln_cache::UPLOADS_MAX {
        tokio::task::yield_now().await;
    }
    let bytes = content(9999, 100_000);
    let digest = Digest::of(&bytes);
    let mut client = cache.streams();
    let waiting = tokio::spawn(async move { write(&mut client, upload(&write_name(&digest), &bytes, 1 << 20)).await });
    assert_eq!(read(&mut cache.streams(), &read_name(&digest), 0, 0).await.unwrap_err().code(), Code::NotFound);
    calls.shutdown().await;
    assert_eq!(waiting.await.unwrap().unwrap(), 100_000);
    drop(senders);
}
