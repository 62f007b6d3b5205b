//! The little of the protocol buffers wire format that canonical messages need. Knows no message.

use crate::{DecodeError, Digest, MESSAGE_SIZE_MAX};

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

pub(crate) fn put_tag(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    put_varint(out, u64::from(field << 3 | wire_type));
}

/// A string or bytes field; nothing when empty, as proto3 has it.
pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_element(out, field, bytes);
    }
}

/// An element of a repeated field, or a message that is present though empty.
pub(crate) fn put_element(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_tag(out, field, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_bool(out: &mut Vec<u8>, field: u32, value: bool) {
    if value {
        put_tag(out, field, 0);
        out.push(1);
    }
}

pub(crate) fn put_int(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        put_tag(out, field, 0);
        put_varint(out, value);
    }
}

/// A Digest message field.
pub(crate) fn put_digest(out: &mut Vec<u8>, field: u32, digest: &Digest) {
    let size_len = if digest.size == 0 { 0 } else { 1 + varint_len(digest.size) };
    put_tag(out, field, 2);
    put_varint(out, (2 + 64 + size_len) as u64);
    out.extend_from_slice(&[0x0a, 64]);
    for byte in digest.hash {
        out.push(b"0123456789abcdef"[usize::from(byte >> 4)]);
        out.push(b"0123456789abcdef"[usize::from(byte & 15)]);
    }
    put_int(out, 2, digest.size);
}

/// A field's value as it stands in the message.
pub(crate) enum Value<'a> {
    Int(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8], DecodeError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Int(_) => Err(DecodeError::Malformed("a number stands where a message or string belongs")),
        }
    }

    pub(crate) fn string(self) -> Result<String, DecodeError> {
        let bytes = self.bytes()?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(DecodeError::Malformed("a string is not UTF-8")),
        }
    }

    pub(crate) fn int(self) -> Result<u64, DecodeError> {
        match self {
            Value::Int(value) => Ok(value),
            Value::Bytes(_) => Err(DecodeError::Malformed("a message stands where a number belongs")),
        }
    }

    pub(crate) fn digest(self) -> Result<Digest, DecodeError> {
        let mut hash = String::new();
        let mut size = 0;
        for field in Fields::new(self.bytes()?)? {
            match field? {
                (1, value) => hash = value.string()?,
                (2, value) => size = value.int()? as i64,
                _ => {}
            }
        }
        Ok(Digest::from_wire(&hash, size)?)
    }
}

/// Iterates over the fields of one message; bounded by the message's own length.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Fields<'a>, DecodeError> {
        if bytes.len() > MESSAGE_SIZE_MAX {
            return Err(DecodeError::TooLarge(bytes.len()));
        }
        Ok(Fields { rest: bytes })
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(DecodeError::Malformed("a number is cut off"))?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Malformed("a number has more than 64 bits"))
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(len).ok().filter(|&len| len <= self.rest.len());
        let (head, rest) = self.rest.split_at(len.ok_or(DecodeError::Malformed("a field is cut off"))?);
        self.rest = rest;
        Ok(head)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), DecodeError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| DecodeError::Malformed("a field number is out of range"))?;
        let value = match tag & 7 {
            0 => Value::Int(self.varint()?),
            1 => Value::Bytes(self.take(8)?),
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Bytes(self.take(4)?),
            _ => return Err(DecodeError::Malformed("an unknown wire type")),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}
