//! A large blob streams through the service in bounded memory. Alone in its process, which it measures.

mod support;

use kiln_cas::Hasher;
use kiln_proto::bytestream::{ReadRequest, WriteRequest};
use support::{TestCache, UUID, content};

const PIECE: usize = 1 << 20;
const PIECES: u64 = 200;

/// What client and server together may need beyond what they had: windows of 2 MiB a stream and 16 MiB a connection at both
/// ends, and some messages of 1 MiB; a fifth of the blob.
const EXTRA_BYTES_MAX: u64 = 40 << 20;

/// Most memory this process ever had, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn piece(number: u64) -> Vec<u8> {
    content(number as u32 + 1, PIECE)
}

#[tokio::test]
async fn two_hundred_megabytes_stream_in_bounded_memory() {
    let cache = TestCache::start().await;
    cache.put(b"warm").await;
    let mut hasher = Hasher::new();
    (0..PIECES).for_each(|number| hasher.update(&piece(number)));
    let digest = hasher.finish();
    let before = peak_bytes();
    let mut client = cache.streams();
    let name = format!("main/uploads/{UUID}/blobs/{digest}");
    let messages = (0..PIECES).map(move |number| WriteRequest {
        resource_name: if number == 0 { name.clone() } else { String::new() },
        write_offset: (number * PIECE as u64) as i64,
        finish_write: number == PIECES - 1,
        data: piece(number),
    });
    let committed = client.write(tokio_stream::iter(messages)).await.unwrap().into_inner().committed_size;
    assert_eq!(committed as u64, digest.size);
    for compressed in ["blobs", "compressed-blobs/zstd"] {
        let request = ReadRequest { resource_name: format!("main/{compressed}/{digest}"), ..Default::default() };
        let mut stream = client.read(request).await.unwrap().into_inner();
        let mut decoder = zstd::stream::write::Decoder::new(HashSink(Hasher::new())).unwrap();
        while let Some(message) = stream.message().await.unwrap() {
            match compressed {
                "blobs" => decoder.get_mut().0.update(&message.data),
                _ => std::io::Write::write_all(&mut decoder, &message.data).unwrap(),
            }
        }
        std::io::Write::flush(&mut decoder).unwrap();
        assert_eq!(decoder.into_inner().0.finish(), digest);
    }
    let extra = peak_bytes() - before;
    assert!(extra < EXTRA_BYTES_MAX, "{extra} bytes more");
}

struct HashSink(Hasher);

impl std::io::Write for HashSink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
