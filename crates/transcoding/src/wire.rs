//! The protobuf wire format, as far as transcoding needs it: tags, varints and lengths.

use std::ops::Range;

/// The wire is not what its descriptor says; only a broken peer sends such a thing.
#[derive(Debug, thiserror::Error)]
#[error("the message is broken at byte {at} of {len}")]
pub(crate) struct Broken {
    at: usize,
    len: usize,
}

/// One field as it stands on the wire. Lengths are ranges of the buffer that was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Range<usize>),
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// Reads the fields of one message, in the order in which they stand.
pub(crate) struct Reader<'w> {
    wire: &'w [u8],
    /// Where the next field starts.
    pub(crate) at: usize,
    end: usize,
}

impl<'w> Reader<'w> {
    pub(crate) fn new(wire: &'w [u8]) -> Self {
        Self::within(wire, 0..wire.len())
    }

    /// Reads only the fields in `range`, which starts and ends between fields.
    pub(crate) fn within(wire: &'w [u8], range: Range<usize>) -> Self {
        Self {
            wire,
            at: range.start,
            end: range.end.min(wire.len()),
        }
    }

    pub(crate) fn at_end(&self) -> bool {
        self.at >= self.end
    }

    /// The next field's number and value, `None` at the end.
    pub(crate) fn field(&mut self) -> Result<Option<(u32, Value)>, Broken> {
        if self.at_end() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| self.broken())?;
        let value = match tag & 7 {
            VARINT => Value::Varint(self.varint()?),
            FIXED64 => Value::Fixed64(self.fixed64()?),
            FIXED32 => Value::Fixed32(self.fixed32()?),
            BYTES => {
                let len = usize::try_from(self.varint()?).map_err(|_| self.broken())?;
                let start = self.at;
                self.skip(len)?;
                Value::Bytes(start..self.at)
            }
            // Groups are proto2; none of ours has them.
            _ => return Err(self.broken()),
        };
        Ok(Some((number, value)))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Broken> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let start = self.at;
            self.skip(1)?;
            let byte = self.wire[start];
            value |= u64::from(byte & 0x7F).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.broken())
    }

    pub(crate) fn fixed64(&mut self) -> Result<u64, Broken> {
        let start = self.at;
        self.skip(8)?;
        let bytes = self.wire[start..self.at].try_into();
        Ok(u64::from_le_bytes(bytes.map_err(|_| self.broken())?))
    }

    pub(crate) fn fixed32(&mut self) -> Result<u32, Broken> {
        let start = self.at;
        self.skip(4)?;
        let bytes = self.wire[start..self.at].try_into();
        Ok(u32::from_le_bytes(bytes.map_err(|_| self.broken())?))
    }

    fn skip(&mut self, len: usize) -> Result<(), Broken> {
        match self.at.checked_add(len) {
            Some(next) if next <= self.end => {
                self.at = next;
                Ok(())
            }
            _ => Err(self.broken()),
        }
    }

    fn broken(&self) -> Broken {
        Broken {
            at: self.at,
            len: self.wire.len(),
        }
    }
}

/// The last value of the field that a path of numbers leads to.
pub(crate) fn find(wire: &[u8], path: &[u32]) -> Result<Option<Value>, Broken> {
    let mut range = 0..wire.len();
    let mut found = None;
    for (depth, wanted) in path.iter().enumerate() {
        found = None;
        let mut reader = Reader::within(wire, range.clone());
        while let Some((number, value)) = reader.field()? {
            if number == *wanted {
                found = Some(value);
            }
        }
        if depth + 1 < path.len() {
            match found.take() {
                Some(Value::Bytes(inner)) => range = inner,
                _ => return Ok(None),
            }
        }
    }
    Ok(found)
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u64) {
    put_varint(out, u64::from(number) << 3 | wire_type);
}

pub(crate) fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_tag(out, number, VARINT);
    put_varint(out, value);
}

pub(crate) fn put_fixed64(out: &mut Vec<u8>, number: u32, value: u64) {
    put_tag(out, number, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_fixed32(out: &mut Vec<u8>, number: u32, value: u32) {
    put_tag(out, number, FIXED32);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_bytes_head(out, number, value.len());
    out.extend_from_slice(value);
}

/// What stands before the bytes of a length-delimited field.
pub(crate) fn put_bytes_head(out: &mut Vec<u8>, number: u32, len: usize) {
    put_tag(out, number, BYTES);
    put_varint(out, len as u64);
}

/// Writes a length-delimited field whose content `write` appends.
pub(crate) fn put_nested<R>(
    out: &mut Vec<u8>,
    number: u32,
    write: impl FnOnce(&mut Vec<u8>) -> R,
) -> R {
    let mut inner = Vec::new();
    let result = write(&mut inner);
    put_bytes(out, number, &inner);
    result
}

/// Maps signed numbers so that small ones are short (sint32, sint64).
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_survive_and_cut_ones_are_refused() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(Reader::new(&out).varint().unwrap(), value);
            out.pop();
            assert!(Reader::new(&out).varint().is_err());
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn a_length_beyond_the_message_is_refused() {
        assert!(Reader::new(&[0x0A, 0x05, b'x']).field().is_err());
        assert!(Reader::new(&[0x0B]).field().is_err(), "groups");
    }
}
