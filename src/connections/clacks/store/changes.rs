//! What has changed, for a journal.

use super::{Entry, Store};

/// A change of the cache, as [`Store::take_changes`] tells it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change<'a> {
    /// Everything was dropped, before all that follows.
    Cleared,
    /// The entry is this now; it may be a tombstone.
    Put(&'a [u8], &'a Entry),
    /// There is no such entry any more.
    Forgotten(&'a [u8]),
}

/// The keys of what has changed since somebody looked. An entry that changes often stands here once.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Is there somebody who looks?
    on: bool,
    cleared: bool,
    /// A slot may belong to another key by now.
    forgotten: bool,
    /// Slot, and the end of the key in `keys`.
    slots: Vec<(usize, usize)>,
    keys: Vec<u8>,
}

/// A buffer for keys that has grown beyond this is not kept.
const KEPT: usize = 1 << 20;

impl Changes {
    /// The entry of that key has changed.
    #[inline]
    pub(super) fn put(&mut self, slot: usize, key: &[u8], entry: &mut Entry) {
        if self.on && !entry.is_noted {
            entry.is_noted = true;
            self.note(slot, key);
        }
    }

    pub(super) fn forget(&mut self, slot: usize, key: &[u8]) {
        if self.on {
            self.forgotten = true;
            self.note(slot, key);
        }
    }

    /// All is gone, and what was noted before does not matter any more.
    pub(super) fn clear(&mut self) {
        *self = Self { on: self.on, cleared: self.on, ..Self::default() };
    }

    fn note(&mut self, slot: usize, key: &[u8]) {
        self.keys.extend_from_slice(key);
        self.slots.push((slot, self.keys.len()));
    }
}

/// # Changes
impl Store {
    /// Starts or stops taking note of changes. What is [loaded](Self::load), and when a value was asked for, is no change.
    pub fn note_changes(&mut self, on: bool) {
        self.take_changes(|_| ());
        self.changes = Changes { on, ..Changes::default() };
    }

    /// Has anything changed since [`take_changes`](Self::take_changes)?
    #[inline]
    pub fn has_changes(&self) -> bool {
        self.changes.cleared || !self.changes.slots.is_empty()
    }

    /// Tells what has changed since it was asked last: of each entry its latest state, in no particular order but that
    /// [`Change::Cleared`] comes first.
    pub fn take_changes(&mut self, mut tell: impl FnMut(Change<'_>)) {
        let mut changes = std::mem::take(&mut self.changes);
        if changes.cleared {
            tell(Change::Cleared);
        }
        let mut begin = 0;
        for &(slot, end) in &changes.slots {
            let key = &changes.keys[begin..end];
            begin = end;
            let slot = if changes.forgotten { self.find(key) } else { Some(slot) };
            match slot.and_then(|slot| self.entries.get_mut(slot)) {
                // After an entry was forgotten, and made anew, its key stands here twice.
                Some(entry) => {
                    if std::mem::take(&mut entry.is_noted) {
                        tell(Change::Put(key, entry));
                    }
                }
                None => tell(Change::Forgotten(key)),
            }
        }
        changes.slots.clear();
        changes.keys.clear();
        changes.keys.shrink_to(KEPT);
        changes.slots.shrink_to(KEPT / 16);
        (changes.cleared, changes.forgotten) = (false, false);
        self.changes = changes;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Retention, Sweep};
    use super::*;
    use crate::connections::clacks::number::Operand;

    fn changes(store: &mut Store) -> Vec<String> {
        let mut all = vec![];
        store.take_changes(|change| {
            all.push(match change {
                Change::Cleared => "clear".to_owned(),
                Change::Put(key, entry) if entry.deleted => format!("remove {}", key.escape_ascii()),
                Change::Put(key, entry) => format!("{}={}", key.escape_ascii(), entry.value.escape_ascii()),
                Change::Forgotten(key) => format!("forget {}", key.escape_ascii()),
            });
        });
        assert!(!store.has_changes());
        store.check_invariants();
        all
    }

    #[test]
    fn of_each_entry_the_latest_state_is_told_once() {
        let mut store = Store::new(None);
        store.store(b"before", b"1", 1.0).unwrap();
        store.note_changes(true);
        assert_eq!(changes(&mut store), [""; 0]);
        for n in 0..5 {
            store.increment(b"n", Operand::ONE, f64::from(n)).unwrap();
            store.store(b"a", format!("{n}").as_bytes(), 1.0).unwrap();
        }
        store.remove(b"before", 2.0).unwrap();
        store.retrieve(b"a", 3.0);
        assert!(store.has_changes());
        assert_eq!(changes(&mut store), ["n=5", "a=4", "remove before"]);
        store.retrieve(b"a", 4.0);
        assert_eq!(changes(&mut store), [""; 0], "when it was asked for is no change");
        store.load(b"file", Entry::new(vec![], 1.0, 1.0));
        assert_eq!(changes(&mut store), [""; 0]);
        store.note_changes(false);
        store.store(b"a", b"off", 5.0).unwrap();
        assert_eq!(changes(&mut store), [""; 0]);
    }

    #[test]
    fn what_is_forgotten_and_made_again_in_between_is_there() {
        let mut store = Store::new(None);
        store.note_changes(true);
        let forget = |store: &mut Store, time: f64| {
            let retention = Retention { stale_before: time, deleted_before: time };
            store.sweep(&mut Sweep::default(), 100, &retention, |_, _| ());
        };
        store.store(b"a", b"1", 1.0).unwrap();
        store.store(b"b", b"1", 1.0).unwrap();
        forget(&mut store, 2.0);
        store.store(b"c", b"2", 3.0).unwrap(); // in the slot of one of them
        store.store(b"a", b"2", 3.0).unwrap();
        let mut told = changes(&mut store);
        told.sort();
        told.dedup();
        assert_eq!(told, ["a=2", "c=2", "forget b"]);
    }

    #[test]
    fn clearing_comes_before_what_follows_it() {
        let mut store = Store::new(None);
        store.note_changes(true);
        store.store(b"a", b"1", 1.0).unwrap();
        store.clear();
        store.store(b"b", b"1", 1.0).unwrap();
        assert_eq!(changes(&mut store), ["clear", "b=1"]);
        store.store(b"b", b"2", 1.0).unwrap();
        assert_eq!(changes(&mut store), ["b=2"]);
    }
}
