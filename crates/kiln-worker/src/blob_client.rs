//! Blobs from and to another node over REAPI's CAS and ByteStream. Every blob is checked against its digest on arrival.

use kiln_cas::Digest;
use kiln_proto::bytestream::byte_stream_client::ByteStreamClient;
use kiln_proto::bytestream::{ReadRequest, WriteRequest};
use kiln_proto::convert::{digest_from_wire, digest_to_wire};
use kiln_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use kiln_proto::reapi::{self, BatchReadBlobsRequest, BatchUpdateBlobsRequest, FindMissingBlobsRequest, compressor};
use kiln_rpc::Channel;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use tonic::{Code, Request, Status};

/// Most bytes of blobs in one batch call: REAPI's usual 4 MiB message, less the framing of [`BATCH_BLOBS_MAX`] blobs.
pub const BATCH_BYTES_MAX: u64 = 3_500_000;

/// Most blobs in one batch call: 2,000 digests of 80 bytes are 160 KB.
pub const BATCH_BLOBS_MAX: usize = 2000;

/// Most digests in one FindMissingBlobs call: 80 bytes each, under 1 MiB.
const FIND_MAX: usize = 10_000;

/// Bytes of one ByteStream message.
const CHUNK_LEN: usize = 1 << 20;

/// Largest message taken from another node: inline outputs and their framing.
pub const MESSAGE_MAX: usize = 16 << 20;

/// Reads a file from its start, piece by piece, whatever else its descriptor is used for: what [`BlobClient::write`] asks for.
pub fn pieces(file: File) -> impl FnMut(usize) -> io::Result<Vec<u8>> + Send + 'static {
    let mut offset = 0;
    move |len| {
        let mut piece = vec![0; len];
        let count = file.read_at(&mut piece, offset)?;
        piece.truncate(count);
        offset += count as u64;
        Ok(piece)
    }
}

/// A blob to send.
pub struct Outgoing {
    /// Its name.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The blob services of one node.
#[derive(Clone)]
pub struct BlobClient {
    channel: Channel,
    instance: String,
    grant: Option<Vec<u8>>,
    plain: bool,
}

impl BlobClient {
    /// Talks to the node behind `channel`.
    pub fn new(channel: Channel, instance: &str) -> BlobClient {
        BlobClient { channel, instance: instance.to_owned(), grant: None, plain: false }
    }

    /// Shows `token` with each call.
    #[must_use]
    pub fn with_grant(mut self, token: Vec<u8>) -> BlobClient {
        self.grant = Some(token);
        self
    }

    /// Sends and takes blobs as they are: the node is on this machine, where compressing costs more than copying, or may not know
    /// compressed ones.
    #[must_use]
    pub fn uncompressed(mut self) -> BlobClient {
        self.plain = true;
        self
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.grant {
            request.metadata_mut().insert_bin(crate::GRANT_KEY, tonic::metadata::MetadataValue::from_bytes(token));
        }
        request
    }

    fn cas(&self) -> ContentAddressableStorageClient<Channel> {
        ContentAddressableStorageClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX)
    }

    /// Those of `digests` that the node does not have.
    ///
    /// # Errors
    /// The node's status.
    pub async fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, Status> {
        let mut missing = Vec::new();
        for part in digests.chunks(FIND_MAX) {
            let request = self.request(FindMissingBlobsRequest {
                instance_name: self.instance.clone(),
                blob_digests: part.iter().map(digest_to_wire).collect(),
                ..Default::default()
            });
            let answer = self.cas().find_missing_blobs(request).await?.into_inner();
            for digest in &answer.missing_blob_digests {
                missing.push(digest_from_wire(Some(digest)).map_err(|error| Status::internal(error.to_string()))?);
            }
        }
        Ok(missing)
    }

    /// Sends a batch, which must fit [`BATCH_BYTES_MAX`] and [`BATCH_BLOBS_MAX`]; answers the bytes that went over the wire.
    /// Blobs are compressed where that helps.
    ///
    /// # Errors
    /// The node's status, or that of the first blob it did not take.
    pub async fn update(&self, blobs: Vec<Outgoing>) -> Result<u64, Status> {
        let mut sent = 0;
        let requests = blobs
            .into_iter()
            .map(|blob| {
                let (data, compressor) = if self.plain { (blob.bytes, 0) } else { squeeze(blob.bytes) };
                sent += data.len() as u64;
                reapi::batch_update_blobs_request::Request { digest: Some(digest_to_wire(&blob.digest)), data, compressor }
            })
            .collect();
        let message = BatchUpdateBlobsRequest { instance_name: self.instance.clone(), requests, ..Default::default() };
        let answer = self.cas().batch_update_blobs(self.request(message)).await?.into_inner();
        for response in answer.responses {
            if let Some(status) = response.status.filter(|status| status.code != Code::Ok as i32) {
                return Err(Status::new(Code::from_i32(status.code), status.message));
            }
        }
        Ok(sent)
    }

    /// Fetches a batch; blobs that the node does not have are absent from the answer.
    ///
    /// # Errors
    /// The node's status; `DATA_LOSS` when a blob is not what its digest says.
    pub async fn read(&self, digests: &[Digest]) -> Result<Vec<(Digest, Vec<u8>)>, Status> {
        let message = BatchReadBlobsRequest {
            instance_name: self.instance.clone(),
            digests: digests.iter().map(digest_to_wire).collect(),
            acceptable_compressors: if self.plain { Vec::new() } else { vec![compressor::Value::Zstd as i32] },
            ..Default::default()
        };
        let answer = self.cas().batch_read_blobs(self.request(message)).await?.into_inner();
        let mut blobs = Vec::with_capacity(answer.responses.len());
        for response in answer.responses {
            if response.status.as_ref().is_some_and(|status| status.code != Code::Ok as i32) {
                continue;
            }
            let digest = digest_from_wire(response.digest.as_ref()).map_err(|error| Status::data_loss(error.to_string()))?;
            let bytes = match response.compressor {
                0 => response.data,
                value if value == compressor::Value::Zstd as i32 => expand(&response.data, digest.size)?,
                other => return Err(Status::data_loss(format!("{digest} came with unknown compressor {other}"))),
            };
            if !digest.matches(&bytes) {
                return Err(Status::data_loss(format!("{digest} came with other content")));
            }
            blobs.push((digest, bytes));
        }
        Ok(blobs)
    }

    /// Fetches one blob of any size into `sink`, piece by piece; the caller's sink verifies.
    ///
    /// # Errors
    /// The node's status, or the sink's.
    pub async fn stream(&self, digest: &Digest, mut sink: impl FnMut(&[u8]) -> Result<(), Status>) -> Result<(), Status> {
        let resource_name = self.resource(&format!("blobs/{digest}"));
        let request = self.request(ReadRequest { resource_name, read_offset: 0, read_limit: 0 });
        let client = ByteStreamClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX);
        let mut stream = { client }.read(request).await?.into_inner();
        let mut seen = 0;
        while let Some(part) = stream.message().await? {
            seen += part.data.len() as u64;
            if seen > digest.size {
                return Err(Status::data_loss(format!("{digest} came with more bytes than it has")));
            }
            sink(&part.data)?;
        }
        match seen == digest.size {
            true => Ok(()),
            false => Err(Status::data_loss(format!("{digest} came cut off"))),
        }
    }

    /// Sends one blob of any size, read piece by piece by `next` (empty at the end), compressed on the way if blobs are; answers the bytes
    /// that went over the wire.
    ///
    /// # Errors
    /// The node's status.
    pub async fn write(
        &self,
        digest: &Digest,
        mut next: impl FnMut(usize) -> std::io::Result<Vec<u8>> + Send + 'static,
    ) -> Result<u64, Status> {
        let kind = if self.plain { "blobs" } else { "compressed-blobs/zstd" };
        let resource = self.resource(&format!("uploads/{}/{kind}/{digest}", random_uuid()));
        let plain = self.plain;
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        let packing = tokio::task::spawn_blocking(move || -> std::io::Result<u64> {
            let mut packer = Packer::new(plain)?;
            let (mut finish_write, mut offset, mut name) = (false, 0i64, resource);
            while !finish_write {
                let piece = next(CHUNK_LEN)?;
                finish_write = piece.is_empty();
                let data = packer.pack(piece)?;
                if data.is_empty() && !finish_write {
                    continue;
                }
                let length = data.len() as i64;
                let message = WriteRequest { resource_name: std::mem::take(&mut name), write_offset: offset, finish_write, data };
                offset += length;
                // The other end may have the blob by now and stop listening: its answer says so.
                if sender.blocking_send(message).is_err() {
                    break;
                }
            }
            Ok(offset as u64)
        });
        let request = self.request(tokio_stream::wrappers::ReceiverStream::new(receiver));
        let answer = ByteStreamClient::new(self.channel.clone()).write(request).await?.into_inner();
        let sent = packing.await.map_err(|error| Status::internal(error.to_string()))??;
        // -1: somebody else brought it meanwhile.
        match answer.committed_size == sent as i64 || answer.committed_size == -1 {
            true => Ok(sent),
            false => Err(Status::data_loss(format!("{digest}: only {} bytes were taken", answer.committed_size))),
        }
    }

    fn resource(&self, tail: &str) -> String {
        match self.instance.is_empty() {
            true => tail.to_owned(),
            false => format!("{}/{tail}", self.instance),
        }
    }
}

/// Makes of a blob's pieces those that go over the wire.
enum Packer {
    Plain,
    Zstd(Option<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Packer {
    fn new(plain: bool) -> std::io::Result<Packer> {
        let encoder = || zstd::stream::write::Encoder::new(Vec::with_capacity(CHUNK_LEN), SQUEEZE_LEVEL);
        Ok(if plain { Packer::Plain } else { Packer::Zstd(Some(encoder()?)) })
    }

    /// What is to be sent after a piece; an empty one is the end.
    fn pack(&mut self, piece: Vec<u8>) -> std::io::Result<Vec<u8>> {
        match self {
            Packer::Plain => Ok(piece),
            Packer::Zstd(encoder) if piece.is_empty() => {
                encoder.take().map_or(Ok(Vec::new()), zstd::stream::write::Encoder::finish)
            }
            Packer::Zstd(encoder) => match encoder {
                None => Ok(Vec::new()),
                Some(encoder) => {
                    std::io::Write::write_all(encoder, &piece)?;
                    Ok(std::mem::take(encoder.get_mut()))
                }
            },
        }
    }
}

/// Blobs smaller than this are sent as they are: a frame's header and the call cost more than is saved.
const SQUEEZE_MIN: usize = 512;

/// zstd level for blobs on the wire: 1 does 400 MB/s on one core, faster than a 1 Gbit/s link.
const SQUEEZE_LEVEL: i32 = 1;

fn squeeze(bytes: Vec<u8>) -> (Vec<u8>, i32) {
    if bytes.len() >= SQUEEZE_MIN
        && let Ok(packed) = zstd::bulk::compress(&bytes, SQUEEZE_LEVEL)
        && packed.len() < bytes.len()
    {
        return (packed, compressor::Value::Zstd as i32);
    }
    (bytes, compressor::Value::Identity as i32)
}

fn expand(packed: &[u8], size: u64) -> Result<Vec<u8>, Status> {
    let size = usize::try_from(size).ok().filter(|&size| size <= MESSAGE_MAX);
    let size = size.ok_or_else(|| Status::data_loss("a blob in a batch is larger than a batch"))?;
    zstd::bulk::decompress(packed, size).map_err(|error| Status::data_loss(format!("bad zstd data: {error}")))
}

/// A version 4 UUID (RFC 9562, section 5.4).
fn random_uuid() -> String {
    let mut bytes = [0u8; 16];
    // Without randomness the name is merely guessable; it need only be unique among this node's own uploads.
    let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_squeezed_expands() {
        let text = b"int main(void) { return 0; }\n".repeat(100);
        let (packed, compressor) = squeeze(text.clone());
        assert_eq!(compressor, compressor::Value::Zstd as i32);
        assert_eq!(expand(&packed, text.len() as u64).unwrap(), text);
        assert!(expand(&packed, 10).is_err());
        assert!(expand(b"nonsense", 10).is_err());
        assert_eq!(squeeze(b"short".to_vec()).1, 0);
    }

    #[test]
    fn uuids_look_like_uuids() {
        let uuid = random_uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert_ne!(uuid, random_uuid());
    }
}
