//! Entries by slot.

use super::Entry;
use slab::Slab;
use std::iter::{FlatMap, Map};
use std::ops::{Index, IndexMut};

/// As many entries in one piece of memory: one piece for all could only be freed at once, which takes its time.
const CHUNK: usize = 512;

/// Entries, each in a slot, which is used again when its entry is removed.
#[derive(Debug, Default)]
pub(super) struct Entries {
    chunks: Vec<Slab<Entry>>,
    /// Chunks with room.
    open: Vec<usize>,
    len: usize,
}

type Dropped = fn((usize, Entry)) -> Entry;
/// What was in the slots; emptied chunks are freed on the way.
pub(super) type IntoEntries =
    FlatMap<std::vec::IntoIter<Slab<Entry>>, Map<slab::IntoIter<Entry>, Dropped>, IntoDropped>;
type IntoDropped = fn(Slab<Entry>) -> Map<slab::IntoIter<Entry>, Dropped>;

impl Entries {
    pub(super) fn insert(&mut self, entry: Entry) -> usize {
        let at = match self.open.last() {
            Some(at) => *at,
            None => {
                self.chunks.push(Slab::new());
                self.open.push(self.chunks.len() - 1);
                self.chunks.len() - 1
            }
        };
        let chunk = &mut self.chunks[at];
        let slot = at * CHUNK + chunk.insert(entry);
        if chunk.len() == CHUNK {
            self.open.pop();
        }
        self.len += 1;
        slot
    }

    /// # Panics
    /// When the slot is empty.
    pub(super) fn remove(&mut self, slot: usize) -> Entry {
        let chunk = &mut self.chunks[slot / CHUNK];
        let entry = chunk.remove(slot % CHUNK);
        if chunk.len() == CHUNK - 1 {
            self.open.push(slot / CHUNK);
        }
        self.len -= 1;
        entry
    }

    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<&Entry> {
        self.chunks.get(slot / CHUNK)?.get(slot % CHUNK)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut Entry> {
        self.chunks.get_mut(slot / CHUNK)?.get_mut(slot % CHUNK)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.chunks.iter().flatten().map(|(_, entry)| entry)
    }

    pub(super) fn into_entries(self) -> IntoEntries {
        let only: IntoDropped = |chunk| chunk.into_iter().map((|(_, entry)| entry) as Dropped);
        self.chunks.into_iter().flat_map(only)
    }
}

impl Index<usize> for Entries {
    type Output = Entry;

    #[inline]
    fn index(&self, slot: usize) -> &Entry {
        &self.chunks[slot / CHUNK][slot % CHUNK]
    }
}

impl IndexMut<usize> for Entries {
    #[inline]
    fn index_mut(&mut self, slot: usize) -> &mut Entry {
        &mut self.chunks[slot / CHUNK][slot % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_and_entries_stay_where_they_are() {
        let mut entries = Entries::default();
        let entry = |n: usize| Entry::new(n.to_string().into_bytes(), 0.0, 0.0);
        let slots: Vec<usize> = (0..3 * CHUNK).map(|n| entries.insert(entry(n))).collect();
        assert_eq!(slots, (0..3 * CHUNK).collect::<Vec<_>>());
        for slot in [5, CHUNK, CHUNK + 1, 3 * CHUNK - 1] {
            assert_eq!(entries.remove(slot), entry(slot));
            assert_eq!(entries.get(slot), None);
        }
        let mut again: Vec<usize> = (0..5).map(|n| entries.insert(entry(n))).collect();
        again.sort_unstable();
        assert_eq!(again, [5, CHUNK, CHUNK + 1, 3 * CHUNK - 1, 3 * CHUNK]);
        assert_eq!((entries.len(), entries.iter().count()), (3 * CHUNK + 1, 3 * CHUNK + 1));
        assert_eq!(entries[CHUNK + 2], entry(CHUNK + 2));
        entries[7].value.set(b"");
        assert_eq!(entries.get_mut(7).map(|entry| entry.value.len()), Some(0));
        assert_eq!(entries.get(100 * CHUNK), None);
        assert_eq!(entries.into_entries().count(), 3 * CHUNK + 1);
    }
}
