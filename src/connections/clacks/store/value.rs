//! The bytes of an entry.

use std::fmt;
use std::ops::Deref;

/// The smallest buffer of a value: what an allocator hands out anyway, and enough for any counter.
const MIN: usize = 24;

/// A value: a slice of bytes. In the cache its key stands before it in the same buffer, so that who looks for the key has the value
/// at hand.
#[derive(Default)]
pub struct KeptValue {
    /// Key and value.
    bytes: Vec<u8>,
    key_len: usize,
}

impl KeptValue {
    /// For a key, with room for a value of so many bytes.
    pub(super) fn with_capacity(key: &[u8], len: usize) -> Self {
        let mut bytes = Vec::with_capacity(Self::capacity_for(key.len(), len));
        bytes.extend_from_slice(key);
        Self { bytes, key_len: key.len() }
    }

    /// How large the buffer is for a key and a value of so many bytes.
    pub(super) fn capacity_for(key_len: usize, len: usize) -> usize {
        key_len + if len == 0 { 0 } else { len.max(MIN) }
    }

    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len]
    }

    /// Of the buffer: for key and value.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Puts another value behind the same key.
    #[inline]
    pub(super) fn set(&mut self, value: &[u8]) {
        self.bytes.truncate(self.key_len);
        self.bytes.extend_from_slice(value);
    }

    /// Only the key stays. A small buffer does, too: a million that are given back one by one make the allocator tidy up all of
    /// them in one go, later, which stalls everybody.
    pub(super) fn empty(mut self) -> Self {
        self.bytes.truncate(self.key_len);
        if self.bytes.capacity() > self.key_len + 4 * MIN {
            self.bytes.shrink_to_fit();
        }
        self
    }

    /// Gives back what is more than needed.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to(self.key_len + MIN);
    }
}

impl Deref for KeptValue {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[self.key_len..]
    }
}

impl From<Vec<u8>> for KeptValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, key_len: 0 }
    }
}

/// Only the value.
impl Clone for KeptValue {
    fn clone(&self) -> Self {
        self.to_vec().into()
    }
}

impl PartialEq for KeptValue {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for KeptValue {}

impl PartialEq<[u8]> for KeptValue {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl fmt::Debug for KeptValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}
