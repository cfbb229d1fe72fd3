//! A position in a file's bytes that never reads beyond their end.

/// Reads little-endian numbers and strings one after the other. Errors are sentences without the file's name.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], position: usize) -> Self {
        Self { bytes, position }
    }

    /// Returns the position in the file, in bytes.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Returns how many bytes are left.
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.position)
    }

    /// Takes `length` bytes; `what` names them in the error.
    pub(super) fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8], String> {
        if length > self.remaining() {
            return Err(format!(
                "ends at byte {} within {what}, which takes {length} bytes from byte {} on; download or copy it again",
                self.bytes.len(),
                self.position
            ));
        }
        let taken = &self.bytes[self.position..][..length];
        self.position += length;
        Ok(taken)
    }

    /// Takes the bytes of one number.
    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let bytes = self.take(N, what)?;
        Ok(std::array::from_fn(|index| bytes[index]))
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Takes a 64-bit length or count that must fit this machine's addresses.
    pub(super) fn size(&mut self, what: &str) -> Result<usize, String> {
        let size = u64::from_le_bytes(self.array(what)?);
        usize::try_from(size).map_err(|_| format!("{what} is {size}, more than this machine can address"))
    }

    /// Takes a string: its length, then its bytes. At most `limit` bytes long.
    pub(super) fn string(&mut self, limit: usize, what: &str) -> Result<&'a [u8], String> {
        let length = self.size(what)?;
        if length > limit {
            return Err(format!("{what} is {length} bytes long; the limit is {limit}"));
        }
        self.take(length, what)
    }
}
