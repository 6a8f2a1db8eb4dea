//! Keys by hash.

use std::collections::{HashMap, hash_map};
use std::iter::Flatten;
use std::sync::Arc;

/// A table that grows moves all that is in it, which with a million keys takes a fifth of a second. So there are many, each with
/// its share.
const TABLES: usize = 256;

/// Which slot a key's entry is in.
#[derive(Debug)]
pub(super) struct Index {
    tables: Vec<HashMap<Arc<[u8]>, usize>>,
    len: usize,
}

/// What was in an index, in no particular order; emptied tables are freed on the way.
pub(super) type IntoKeys = Flatten<std::vec::IntoIter<HashMap<Arc<[u8]>, usize>>>;

impl Default for Index {
    fn default() -> Self {
        Self { tables: std::iter::repeat_with(HashMap::new).take(TABLES).collect(), len: 0 }
    }
}

impl Index {
    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Option<usize> {
        self.tables[table(key)].get(key).copied()
    }

    /// Adds a key that is not there.
    pub(super) fn insert(&mut self, key: Arc<[u8]>, slot: usize) {
        if let hash_map::Entry::Vacant(place) = self.tables[table(&key)].entry(key) {
            place.insert(slot);
            self.len += 1;
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.len -= usize::from(self.tables[table(key)].remove(key).is_some());
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn into_keys(self) -> IntoKeys {
        self.tables.into_iter().flatten()
    }
}

/// The table of a key. Shares are between one and two times the smallest, so that tables grow one after the other and not all
/// at the same number of keys.
///
/// Who chooses keys that all have the same one finds the table slow to grow, and no worse: inside a
/// table keys are hashed with a secret.
#[inline]
fn table(key: &[u8]) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(ODD);
    let (words, rest) = key.as_chunks::<8>();
    let hash = words.iter().fold(key.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let hash = rest.iter().fold(hash, |hash, byte| mix(hash, (*byte).into()));
    // About 256 times the binary logarithm of 1 and this fraction.
    let part = hash >> 48;
    let curved = 88_244 - ((part * 22_708) >> 16);
    ((part * curved) >> 24) as usize % TABLES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_until_they_are_removed() {
        let mut index = Index::default();
        for n in 0..1000_usize {
            index.insert(n.to_string().into_bytes().into(), n);
        }
        index.insert(b"7"[..].into(), 8);
        assert_eq!((index.len(), index.get(b"7"), index.get(b"x")), (1000, Some(7), None));
        index.remove(b"7");
        index.remove(b"7");
        assert_eq!((index.len(), index.get(b"7"), index.get(b"8")), (999, None, Some(8)));
        assert_eq!(index.into_keys().count(), 999);
    }

    #[test]
    fn keys_that_look_alike_stand_in_different_tables() {
        assert_eq!(TABLES, 256, "what the shares are made for");
        for make in [
            |n: usize| n.to_string(),
            |n| format!("key{n:07}"),
            |n| format!("room/{n}/temperature"),
            |n| "x".repeat(n),
            |n| format!("{n:08}"),
        ] {
            let mut counts = vec![0_u32; TABLES];
            for n in 0..20 * TABLES {
                counts[table(make(n).as_bytes())] += 1;
            }
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(*least > 0 && *most < 60, "{least} to {most} instead of 13 to 27, with {:?}", make(7));
        }
    }
}
