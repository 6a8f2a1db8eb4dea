//! Keys by hash.

use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A table that grows moves all that is in it, which with a million keys takes a fifth of a second. So there are many, each with
/// its share.
const TABLES: usize = 256;

/// Which slot a key's entry is in. The keys stand in the entries: here is only what leads there, so that it stays in the processor's
/// caches.
#[derive(Debug)]
pub(super) struct Index {
    tables: Vec<HashTable<Place>>,
    /// With a secret, so that nobody can choose keys that collide.
    hasher: RandomState,
    len: usize,
}

#[derive(Debug)]
struct Place {
    /// All of the hash that its table uses.
    hash: u32,
    slot: u32,
}

/// The hash of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Hash(u64);

/// The tables of an index, to be freed one by one.
pub(super) struct Tables(std::vec::IntoIter<HashTable<Place>>);

impl Tables {
    pub(super) fn free_one(&mut self) {
        self.0.next();
    }
}

impl Default for Index {
    fn default() -> Self {
        let tables = std::iter::repeat_with(HashTable::new).take(TABLES).collect();
        Self { tables, hasher: RandomState::new(), len: 0 }
    }
}

impl Hash {
    /// Which table it belongs into. Shares are between one and two times the smallest, so that tables grow one after the other and
    /// not all at the same number of keys.
    #[inline]
    fn table(self) -> usize {
        // About 256 times the binary logarithm of 1 and this fraction.
        let part = self.0 >> 48;
        let curved = 88_244 - ((part * 22_708) >> 16);
        ((part * curved) >> 24) as usize % TABLES
    }
}

/// What a table finds a place by: its highest bits and its lowest ones.
#[inline]
fn spread(hash: u32) -> u64 {
    (u64::from(hash) << 32) | u64::from(hash)
}

impl Index {
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> Hash {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        Hash(hasher.finish())
    }

    /// The slot for which `is_it` holds, among those with that hash.
    #[inline]
    pub(super) fn find(&self, hash: Hash, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let low = hash.0 as u32;
        let found = self.tables[hash.table()]
            .find(spread(low), |place| place.hash == low && is_it(place.slot as usize));
        found.map(|place| place.slot as usize)
    }

    /// The first slot with that hash: most often the only one.
    #[inline]
    pub(super) fn first(&self, hash: Hash) -> Option<u32> {
        let low = hash.0 as u32;
        self.tables[hash.table()].find(spread(low), |place| place.hash == low).map(|place| place.slot)
    }

    /// Adds a slot that is not there.
    pub(super) fn insert(&mut self, hash: Hash, slot: usize) {
        let slot = u32::try_from(slot).expect("entries take more memory than there is, long before");
        let place = Place { hash: hash.0 as u32, slot };
        self.tables[hash.table()].insert_unique(spread(place.hash), place, |place| spread(place.hash));
        self.len += 1;
    }

    pub(super) fn remove(&mut self, hash: Hash, slot: usize) {
        let found =
            self.tables[hash.table()].find_entry(spread(hash.0 as u32), |place| place.slot as usize == slot);
        if let Ok(found) = found {
            found.remove();
            self.len -= 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn into_tables(self) -> Tables {
        Tables(self.tables.into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_until_they_are_removed() {
        let mut index = Index::default();
        let keys: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        for (slot, key) in keys.iter().enumerate() {
            index.insert(index.hash(key.as_bytes()), slot);
        }
        let find =
            |index: &Index, key: &str| index.find(index.hash(key.as_bytes()), |slot| keys[slot] == key);
        assert_eq!((index.len(), find(&index, "7"), find(&index, "x")), (1000, Some(7), None));
        for _ in 0..2 {
            index.remove(index.hash(b"7"), 7);
            assert_eq!((index.len(), find(&index, "7"), find(&index, "8")), (999, None, Some(8)));
        }
        let mut tables = index.into_tables();
        tables.free_one();
        assert_eq!(tables.0.len(), TABLES - 1);
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let mut index = Index::default();
        let hash = index.hash(b"same");
        for slot in 0..50 {
            index.insert(hash, slot);
        }
        assert!((0..50).all(|slot| index.find(hash, |other| other == slot) == Some(slot)));
        index.remove(hash, 7);
        assert_eq!((index.find(hash, |other| other == 7), index.len()), (None, 49));
    }

    #[test]
    fn each_table_has_its_share() {
        assert_eq!(TABLES, 256, "what the shares are made for");
        let index = Index::default();
        let mut counts = vec![0_u32; TABLES];
        for n in 0..50 * TABLES {
            counts[index.hash(n.to_string().as_bytes()).table()] += 1;
        }
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*least > 5 && *most < 150, "{least} to {most} instead of 34 to 68");
    }
}
