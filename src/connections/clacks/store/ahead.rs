//! Entries that the next commands ask for.

use super::Store;
use super::index::Hash;
use std::hint::black_box;

/// For so many commands entries are looked up at once: enough to wait for memory only once, and few enough that what was found is
/// still in the processor's nearest cache when its command comes.
pub(in crate::connections::clacks) const LOOK_AHEAD: usize = 32;

const NOWHERE: u32 = u32::MAX;

/// The slots of the keys that are asked for next, in order. They are only a hint: who uses one looks whether the key is there.
#[derive(Debug)]
pub(super) struct Ahead {
    slots: [u32; LOOK_AHEAD],
    next: usize,
    len: usize,
}

impl Default for Ahead {
    fn default() -> Self {
        Self { slots: [NOWHERE; LOOK_AHEAD], next: 0, len: 0 }
    }
}

impl Ahead {
    #[inline]
    fn take(&mut self) -> Option<usize> {
        let slot = *self.slots.get(..self.len)?.get(self.next)?;
        self.next += 1;
        Some(slot as usize)
    }
}

/// # What comes next
impl Store {
    /// Says for which keys it will be asked next, in this order: at most [`LOOK_AHEAD`] of them. Nothing comes of it but that it will
    /// be fast.
    ///
    /// A cache that is larger than the processor's makes each command wait for memory several times: for the index, and
    /// for the entry. Here many of them are waited for at the same time.
    pub(in crate::connections::clacks) fn look_ahead(&mut self, keys: &[&[u8]]) {
        let mut hashes = [Hash::default(); LOOK_AHEAD];
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.by_key.hash(key);
        }
        let len = keys.len().min(LOOK_AHEAD);
        for (slot, hash) in self.ahead.slots.iter_mut().zip(&hashes[..len]) {
            *slot = self.by_key.first(*hash).unwrap_or(NOWHERE);
        }
        (self.ahead.next, self.ahead.len) = (0, len);
        // To look at an entry is what fetches it.
        let entries = self.ahead.slots[..len].iter().filter_map(|slot| self.entries.get(*slot as usize));
        black_box(entries.filter(|entry| entry.deleted).count());
    }

    /// As [`find`](Self::find), for a key that may have been looked up before.
    #[inline]
    pub(super) fn find_next(&mut self, key: &[u8]) -> Option<usize> {
        match self.ahead.take() {
            Some(slot) if self.is_at(slot, key) => Some(slot),
            _ => self.find(key),
        }
    }

    #[inline]
    fn is_at(&self, slot: usize, key: &[u8]) -> bool {
        self.entries.get(slot).is_some_and(|entry| entry.value.key() == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_announced_is_found_and_so_is_what_was_not() {
        let keys: Vec<String> = (0..3 * LOOK_AHEAD).map(|n| format!("key{n}")).collect();
        let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
        let mut store = Store::default();
        for key in &keys {
            store.store(key, key, 1.0).unwrap();
        }
        store.remove(keys[1], 2.0).unwrap();
        store.look_ahead(&[&[b"unknown", keys[5], keys[6], keys[1], keys[7]], &keys[..]].concat());
        assert_eq!(store.ahead.len, LOOK_AHEAD);
        assert_eq!(store.retrieve(b"unknown", 3.0), None);
        assert_eq!(store.ahead.slots[1], 5);
        assert_eq!(store.retrieve(keys[5], 3.0), Some(keys[5]));
        // Out of step, in step again, removed, never announced.
        assert_eq!(store.retrieve(keys[9], 3.0), Some(keys[9]));
        assert_eq!(store.retrieve(keys[1], 3.0), None);
        assert_eq!(store.retrieve(keys[7], 3.0), Some(keys[7]));
        for key in keys.iter().rev().filter(|key| **key != keys[1]) {
            assert_eq!(store.retrieve(key, 3.0), Some(*key));
        }
        assert_eq!(store.ahead.take(), None);
    }

    #[test]
    fn what_has_gone_meanwhile_is_not_found() {
        let mut store = Store::default();
        for key in [b"a", b"b"] {
            store.store(key, key, 1.0).unwrap();
        }
        store.look_ahead(&[b"a", b"b", b"b"]);
        store.unload(b"a");
        assert_eq!(store.retrieve(b"a", 2.0), None);
        store.unload(b"b");
        store.store(b"c", b"in its place", 2.0).unwrap();
        assert_eq!(store.retrieve(b"b", 2.0), None);
        store.look_ahead(&[b"c"]);
        store.clear();
        assert_eq!(store.retrieve(b"c", 2.0), None);
    }
}
