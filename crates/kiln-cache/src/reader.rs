//! A blob read in pieces, compressed on the way if asked. Knows no resource name.

use crate::blobs::Content;
use crate::compress::Packer;
use crate::failure::blocking;
use crate::limits::CHUNK_BYTES;
use futures::stream::{Stream, try_unfold};
use kiln_cas::Digest;
use kiln_proto::bytestream::ReadResponse;
use std::os::unix::fs::FileExt as _;
use tonic::Status;

/// What is left of a blob to be sent.
pub(crate) struct Reader {
    pub(crate) content: Content,
    pub(crate) digest: Digest,
    pub(crate) offset: u64,
    pub(crate) end: u64,
    /// `Some` while there is something to compress.
    pub(crate) packer: Option<Packer>,
}

impl Reader {
    /// The next message's bytes; `None` after the last.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Status> {
        while self.offset < self.end {
            let piece = self.piece()?;
            let Some(packer) = &mut self.packer else { return Ok(Some(piece)) };
            let packed = packer.write(&piece).map_err(|error| internal(&error))?;
            if !packed.is_empty() {
                return Ok(Some(packed));
            }
        }
        let rest = self.packer.take().map(Packer::finish).transpose();
        Ok(rest.map_err(|error| internal(&error))?.filter(|rest| !rest.is_empty()))
    }

    fn piece(&mut self) -> Result<Vec<u8>, Status> {
        let len = (self.end - self.offset).min(CHUNK_BYTES as u64) as usize;
        let piece = match &self.content {
            Content::Bytes(bytes) => {
                let start = usize::try_from(self.offset).unwrap_or(usize::MAX);
                bytes.get(start..start.saturating_add(len)).map(<[u8]>::to_vec)
            }
            Content::File(file) => {
                let mut piece = vec![0; len];
                file.read_exact_at(&mut piece, self.offset).ok().map(|()| piece)
            }
        };
        self.offset += len as u64;
        // Its size and digest were right when it was opened.
        piece.ok_or_else(|| Status::data_loss(format!("{} became shorter", self.digest)))
    }

    fn is_quick(&self) -> bool {
        matches!(self.content, Content::Bytes(_)) && self.packer.is_none()
    }
}

fn internal(error: &std::io::Error) -> Status {
    tracing::error!("compression failed: {error}");
    Status::internal("compression failed")
}

/// The messages, each made when it is asked for; so a slow caller costs a descriptor and no thread.
pub(crate) fn message_stream(reader: Reader) -> impl Stream<Item = Result<ReadResponse, Status>> + Send {
    try_unfold(reader, |mut reader| async {
        let (data, reader) = match reader.is_quick() {
            true => (reader.next(), reader),
            false => blocking(move || (reader.next(), reader)).await?,
        };
        Ok(data?.map(|data| (ReadResponse { data }, reader)))
    })
}
