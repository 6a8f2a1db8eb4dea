//! The bytes of an entry.

use std::fmt;
use std::ops::Deref;

/// The smallest buffer of a value: what an allocator hands out anyway, and enough for any counter.
const MIN: usize = 24;
/// So many bytes of key and value stand in the entry itself, which is two cache lines with them.
const SHORT: usize = 93;

/// A value: a slice of bytes. In the cache its key stands before it, so that who looks for the key has the value at hand.
#[derive(Default)]
pub struct KeptValue(Bytes);

/// Key and value, one behind the other.
enum Bytes {
    Short { key_len: u8, len: u8, bytes: [u8; SHORT] },
    Long { key_len: usize, bytes: Vec<u8> },
}

impl Default for Bytes {
    fn default() -> Self {
        Self::Short { key_len: 0, len: 0, bytes: [0; SHORT] }
    }
}

impl Bytes {
    /// If they are short enough.
    #[inline]
    fn short(key: &[u8], value: &[u8]) -> Option<Self> {
        let mut bytes = [0; SHORT];
        let len = key.len() + value.len();
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        bytes.get_mut(key.len()..len)?.copy_from_slice(value);
        Some(Self::Short { key_len: key.len() as u8, len: len as u8, bytes })
    }
}

impl KeptValue {
    /// For a key, with room for a value of so many bytes.
    pub(super) fn with_capacity(key: &[u8], len: usize) -> Self {
        if let (true, Some(short)) = (key.len() + len <= SHORT, Bytes::short(key, b"")) {
            return Self(short);
        }
        let mut bytes = Vec::with_capacity(Self::memory_for(key.len(), len));
        bytes.extend_from_slice(key);
        Self(Bytes::Long { key_len: key.len(), bytes })
    }

    /// What [`memory`](Self::memory) is for a key and a value of so many bytes.
    pub(super) fn memory_for(key_len: usize, len: usize) -> usize {
        match (key_len + len, len) {
            (..=SHORT, _) => 0,
            (_, 0) => key_len,
            _ => key_len + len.max(MIN),
        }
    }

    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short { key_len, bytes, .. } => &bytes[..usize::from(*key_len)],
            Bytes::Long { key_len, bytes } => &bytes[..*key_len],
        }
    }

    /// What it takes beside the entry: for key and value.
    #[inline]
    pub(super) fn memory(&self) -> usize {
        match &self.0 {
            Bytes::Short { .. } => 0,
            Bytes::Long { bytes, .. } => bytes.capacity(),
        }
    }

    /// Whether a value of so many bytes can take the place of this one.
    #[inline]
    pub(super) fn has_room(&self, len: usize) -> bool {
        match &self.0 {
            Bytes::Short { key_len, .. } => usize::from(*key_len) + len <= SHORT,
            Bytes::Long { key_len, bytes } => key_len + len <= bytes.capacity(),
        }
    }

    /// Puts another value behind the same key.
    #[inline]
    pub(super) fn set(&mut self, value: &[u8]) {
        match &mut self.0 {
            Bytes::Short { key_len, len, bytes } => {
                let from = usize::from(*key_len);
                if let Some(place) = bytes.get_mut(from..from + value.len()) {
                    place.copy_from_slice(value);
                    *len = (from + value.len()) as u8;
                } else {
                    let mut long = Self::with_capacity(self.key(), value.len());
                    long.set(value);
                    *self = long;
                }
            }
            Bytes::Long { key_len, bytes } => {
                bytes.truncate(*key_len);
                bytes.extend_from_slice(value);
            }
        }
    }

    /// Only the key stays. A small buffer does, too: a million that are given back one by one make the allocator tidy up all of
    /// them in one go, later, which stalls everybody.
    pub(super) fn empty(mut self) -> Self {
        self.set(b"");
        if let Bytes::Long { key_len, bytes } = &mut self.0
            && bytes.capacity() > *key_len + 4 * MIN
        {
            self.shrink();
        }
        self
    }

    /// Gives back what is more than needed.
    pub(super) fn shrink(&mut self) {
        if let Bytes::Long { key_len, bytes } = &mut self.0 {
            match Bytes::short(&bytes[..*key_len], &bytes[*key_len..]) {
                Some(short) => self.0 = short,
                None => bytes.shrink_to(*key_len + MIN),
            }
        }
    }
}

impl Deref for KeptValue {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short { key_len, len, bytes } => &bytes[usize::from(*key_len)..usize::from(*len)],
            Bytes::Long { key_len, bytes } => &bytes[*key_len..],
        }
    }
}

impl From<Vec<u8>> for KeptValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::Long { key_len: 0, bytes })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_any_length_takes_the_place_of_any_other() {
        let lengths = [0, 1, MIN, SHORT - 8, SHORT - 7, SHORT - 6, SHORT, SHORT + 1, 5 * SHORT];
        for key_len in [1, 7, SHORT - 1, SHORT, SHORT + 1] {
            let key = vec![b'k'; key_len];
            for before in lengths {
                for after in lengths {
                    let of = |len: usize| vec![b'v'; len];
                    let mut kept = KeptValue::with_capacity(&key, before);
                    assert_eq!(kept.memory() == 0, key_len + before <= SHORT);
                    assert!(kept.has_room(before) && kept.is_empty());
                    kept.set(&of(before));
                    let (had_room, memory) = (kept.has_room(after), kept.memory());
                    kept.set(&of(after));
                    assert_eq!(
                        (kept.key(), &*kept),
                        (&key[..], &of(after)[..]),
                        "{key_len} {before} {after}"
                    );
                    assert!(!had_room || kept.memory() == memory, "{key_len} {before} {after}");
                    kept.shrink();
                    assert_eq!(
                        (kept.key(), &*kept),
                        (&key[..], &of(after)[..]),
                        "{key_len} {before} {after}"
                    );
                    assert!(
                        kept.memory() <= key_len + after.max(MIN)
                            && (kept.memory() == 0 || key_len + after > SHORT)
                    );
                    let kept = kept.empty();
                    assert_eq!((kept.key(), kept.is_empty()), (&key[..], true));
                    assert!(kept.memory() <= key_len + 4 * MIN);
                }
            }
        }
    }
}
