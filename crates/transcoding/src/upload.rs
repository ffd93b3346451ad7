//! Request bodies that stream into a field, piece by piece.

use bytes::Bytes;

use crate::wire::put_bytes_head;

/// Largest piece of a body in one message, in bytes.
pub const PIECE_MAX: usize = 64 * 1024;

/// The field that takes the pieces of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawBody {
    number: u32,
}

impl RawBody {
    pub(crate) fn new(number: u32) -> Self {
        Self { number }
    }

    /// What stands before a piece of that many bytes in its message, which ends with the piece.
    #[must_use]
    pub fn head(self, len: usize) -> Bytes {
        let mut head = Vec::with_capacity(16);
        put_bytes_head(&mut head, self.number, len);
        head.into()
    }
}
