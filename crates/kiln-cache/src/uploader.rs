//! A ByteStream upload: messages in order, into a blob. Knows no socket.

use crate::compress::Unpacker;
use crate::failure::{blocking, from_store};
use crate::resource::{Compressor, Resource};
use kiln_proto::bytestream::WriteRequest;
use kiln_store::{BlobWriter, DiskStore};
use tonic::Status;

enum Sink {
    Plain(Box<BlobWriter>),
    Zstd(Box<Unpacker>),
}

/// An upload under way; dropped, it leaves nothing.
pub(crate) struct Upload {
    name: String,
    sink: Sink,
    /// Bytes received, as they came: what `write_offset` counts.
    received: u64,
}

impl Upload {
    pub(crate) fn start(disk: &DiskStore, name: &str, resource: &Resource) -> Result<Upload, Status> {
        let writer = disk.writer(&resource.digest, false).map_err(|error| from_store(&error))?;
        let sink = match resource.compressor {
            Compressor::Identity => Sink::Plain(Box::new(writer)),
            Compressor::Zstd => Sink::Zstd(Box::new(Unpacker::new(writer).map_err(|_| Status::internal("no decompressor"))?)),
        };
        Ok(Upload { name: name.to_owned(), sink, received: 0 })
    }

    /// Takes the next message; true if it was the last.
    pub(crate) fn take(&mut self, message: &WriteRequest) -> Result<bool, Status> {
        if !message.resource_name.is_empty() && message.resource_name != self.name {
            return Err(Status::invalid_argument("resource_name changed within an upload"));
        }
        if u64::try_from(message.write_offset) != Ok(self.received) {
            let (offset, received) = (message.write_offset, self.received);
            return Err(Status::invalid_argument(format!("write_offset is {offset} after {received} bytes")));
        }
        match &mut self.sink {
            Sink::Plain(writer) => writer.write(&message.data).map_err(|error| from_store(&error))?,
            Sink::Zstd(unpacker) => {
                let written = unpacker.write(&message.data).map_err(|_| not_zstd())?;
                written.map_err(|error| from_store(&error))?;
            }
        }
        self.received += message.data.len() as u64;
        Ok(message.finish_write)
    }

    /// Publishes the blob; the bytes received.
    pub(crate) fn finish(self) -> Result<i64, Status> {
        let writer = match self.sink {
            Sink::Plain(writer) => *writer,
            Sink::Zstd(unpacker) => unpacker.finish().map_err(|_| not_zstd())?.map_err(|error| from_store(&error))?,
        };
        writer.finish().map_err(|error| from_store(&error))?;
        Ok(self.received as i64)
    }
}

fn not_zstd() -> Status {
    Status::invalid_argument("data is not zstd, or needs a window over 8 MiB")
}

/// Takes a message on a thread that may block; the upload comes back while it is not finished.
pub(crate) async fn take(mut upload: Upload, message: WriteRequest) -> Result<Result<i64, Upload>, Status> {
    let outcome = blocking(move || match upload.take(&message) {
        Ok(true) => upload.finish().map(Ok),
        Ok(false) => Ok(Err(upload)),
        Err(status) => Err(status),
    });
    outcome.await?
}
