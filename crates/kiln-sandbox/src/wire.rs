//! Bytes between the worker and its helper: little-endian numbers and length-prefixed strings. Knows no socket.
//!
//! Both ends are the same program, but the reader is bounded and never trusts a length: a job must not gain anything by
//! what it can make its init say.

/// Largest job description: 2 MiB of arguments and environment are what `execve` takes; outputs and directories fit besides.
pub(crate) const SPEC_BYTES_MAX: usize = 8 << 20;

/// Largest message on a socket, below the kernel's default socket buffer (208 KiB) so that one always fits.
pub(crate) const MESSAGE_BYTES_MAX: usize = 96 << 10;

/// Most descriptors in one message; the kernel's `SCM_MAX_FD` is 253.
pub(crate) const MESSAGE_FDS_MAX: usize = 64;

/// A message that is cut off or holds what it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl From<Malformed> for std::io::Error {
    fn from(_: Malformed) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::InvalidData, "malformed message")
    }
}

/// Appends values.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn word(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn long(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn data(&mut self, value: &[u8]) {
        self.word(value.len() as u32);
        self.bytes.extend_from_slice(value);
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.data(value.as_bytes());
    }

    pub(crate) fn list<T>(&mut self, values: &[T], mut put: impl FnMut(&mut Writer, &T)) {
        self.word(values.len() as u32);
        for value in values {
            put(self, value);
        }
    }
}

/// Takes values off the front.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        if len > self.rest.len() {
            return Err(Malformed);
        }
        let (head, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn word(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?.try_into().map_err(|_| Malformed)?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(crate) fn long(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?.try_into().map_err(|_| Malformed)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn data(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.word()? as usize;
        self.take(len)
    }

    pub(crate) fn text(&mut self) -> Result<String, Malformed> {
        let bytes = self.data()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| Malformed)
    }

    /// Each element takes at least one byte, so a lying count cannot make this allocate more than the message is long.
    pub(crate) fn list<T>(&mut self, mut get: impl FnMut(&mut Reader<'a>) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
        let count = self.word()? as usize;
        if count > self.rest.len() {
            return Err(Malformed);
        }
        (0..count).map(|_| get(self)).collect()
    }

    pub(crate) fn texts(&mut self) -> Result<Vec<String>, Malformed> {
        self.list(Reader::text)
    }

    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip() {
        let mut out = Writer::default();
        out.byte(7);
        out.long(u64::MAX);
        out.list(&["a", ""], |out, text| out.text(text));
        let mut input = Reader::new(&out.bytes);
        assert_eq!(input.byte(), Ok(7));
        assert_eq!(input.long(), Ok(u64::MAX));
        assert_eq!(input.texts(), Ok(vec!["a".to_owned(), String::new()]));
        assert_eq!(input.end(), Ok(()));
    }

    #[test]
    fn lying_lengths_are_refused() {
        for bytes in [&[255, 255, 255, 255][..], &[1, 0, 0, 0], &[2, 0, 0, 0, 0xff, 0xfe], &[]] {
            assert_eq!(Reader::new(bytes).text(), Err(Malformed));
            assert_eq!(Reader::new(bytes).texts(), Err(Malformed));
        }
    }
}
