//! The cache: values by key, with the times that linked servers compare and that old entries are dropped by.

mod ahead;
mod changes;
mod entries;
mod entry;
mod index;
#[cfg(test)]
mod model;
mod remains;
mod value;

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

pub(super) use ahead::LOOK_AHEAD;
pub use changes::Change;
pub use entry::{Entry, Purged, Retention};
pub use value::KeptValue;

use ahead::Ahead;
use changes::Changes;
use entries::Entries;
use index::{Hash, Index};
use remains::Remains;

use super::number::{Number, Operand};
use super::protocol::KeySync;

/// The cache. Times are Unix times in seconds, with a fraction.
///
/// A key is found by hash (keyed, so that clients can't choose keys that collide) and stands in an
/// ordered index too, because lists, the exchange between servers and the file are in byte order. Only
/// a new key and a forgotten one touch the index.
#[derive(Debug, Default)]
pub struct Store {
    by_key: Index,
    order: BTreeMap<Arc<[u8]>, usize>,
    entries: Entries,
    tombstones: usize,
    bytes: usize,
    bytes_max: Option<usize>,
    dirty: bool,
    changes: Changes,
    ahead: Ahead,
    /// What was cleared and still takes memory, the oldest first.
    remains: VecDeque<Remains>,
}

/// The cache would become larger than its limit: nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// What became of an entry of another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// It is here now.
    Taken,
    /// It was here already.
    Same,
    /// What is here is newer.
    Older,
}

/// How far a [sweep](Store::sweep) is.
#[derive(Debug, Clone, Default)]
pub struct Sweep {
    after: Option<Arc<[u8]>>,
}

/// About what an entry costs beside its key and value: its places in the three tables.
const ENTRY_COST: usize = 264;

/// As many entries of a cleared cache are freed with each new one, so that clearing and filling again and again takes no more
/// memory than the largest of them.
const FREED_PER_ENTRY: usize = 4;

impl Store {
    /// An empty cache that refuses what would make it larger than so many bytes, its own overhead included.
    pub fn new(bytes_max: Option<usize>) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// Keeps the value.
    ///
    /// # Errors
    /// When the cache is full.
    pub fn store(&mut self, key: &[u8], value: &[u8], now: f64) -> Result<(), Full> {
        let slot = self.slot(key, value.len())?;
        self.put(slot, key, value, None, (now, now));
        Ok(())
    }

    /// The value, unless it is unknown or removed; it counts as asked for.
    pub fn retrieve(&mut self, key: &[u8], now: f64) -> Option<&[u8]> {
        let slot = self.find_next(key)?;
        let entry = self.entries.get_mut(slot)?;
        if entry.deleted {
            return None;
        }
        entry.access_time = now;
        self.dirty = true;
        Some(&entry.value)
    }

    /// Makes the entry a tombstone; an unknown key gets one too.
    ///
    /// # Errors
    /// When the key is unknown and the cache is full.
    pub fn remove(&mut self, key: &[u8], now: f64) -> Result<(), Full> {
        let slot = self.slot(key, 0)?;
        self.bury(slot, key, (now, now));
        Ok(())
    }

    /// Adds the step to the value: to 0 if it is unknown, removed or not a number.
    ///
    /// # Errors
    /// When the cache is full.
    pub fn increment(&mut self, key: &[u8], step: Operand, now: f64) -> Result<(), Full> {
        self.count(key, now, |value| Number::sum(value, step))
    }

    /// Subtracts the step from the value: from 0 if it is unknown, removed or not a number.
    ///
    /// # Errors
    /// When the cache is full.
    pub fn decrement(&mut self, key: &[u8], step: Operand, now: f64) -> Result<(), Full> {
        self.count(key, now, |value| Number::difference(value, step))
    }

    /// Takes an entry of another server, whose clock is `offset` seconds behind this one's, if there is none
    /// here or an older one. Says what became of it.
    ///
    /// Of two entries with the same time both servers must choose the same one, or they would never agree: a value
    /// wins over a tombstone, and of two values the one that is smaller in byte order.
    ///
    /// # Errors
    /// When the cache is full.
    pub fn merge(&mut self, theirs: &KeySync<'_>, offset: f64) -> Result<Merged, Full> {
        let cache_time = theirs.cache_time + offset;
        let access_time = if theirs.access_time == 0.0 { 0.0 } else { theirs.access_time + offset };
        let value = if theirs.deleted { b"" } else { theirs.value };
        let own = self.find_next(theirs.key);
        if let Some(entry) = own.map(|slot| &mut self.entries[slot]) {
            let (ours, theirs) = ((entry.deleted, &*entry.value), (theirs.deleted, value));
            let order = cache_time.total_cmp(&entry.cache_time).then(ours.cmp(&theirs));
            match order {
                Ordering::Less => return Ok(Merged::Older),
                Ordering::Equal => return Ok(Merged::Same),
                Ordering::Greater => {}
            }
        }
        let slot = self.slot_from(own, theirs.key, value.len())?;
        if theirs.deleted {
            self.bury(slot, theirs.key, (cache_time, access_time));
        } else {
            self.put(slot, theirs.key, value, None, (cache_time, access_time));
        }
        Ok(Merged::Taken)
    }

    /// Notes that the server of the exchange with this number, which is not 0, has the entry as it is now.
    pub(super) fn mark_shared(&mut self, key: &[u8], exchange: u32) {
        if let Some(slot) = self.find(key) {
            self.entries[slot].shared = exchange;
        }
    }

    /// Forgets every entry, tombstones too. That is done at once; what they took is freed by [`tidy`](Self::tidy).
    pub fn clear(&mut self) {
        let before = std::mem::take(self);
        let Self { by_key, order, entries, bytes_max, mut changes, mut remains, .. } = before;
        changes.clear();
        if entries.len() > 0 {
            remains.push_back(Remains::new(by_key, order, entries));
        }
        *self = Self { bytes_max, dirty: true, changes, remains, ..Self::default() };
    }

    /// Frees so many entries of what was [cleared](Self::clear); says whether there are more.
    pub fn tidy(&mut self, budget: usize) -> bool {
        if let Some(remains) = self.remains.front_mut()
            && !remains.free(budget)
        {
            self.remains.pop_front();
        }
        !self.remains.is_empty()
    }

    /// Puts in an entry as it was read from a file, whatever was there before. The limit does not apply, and
    /// the cache does not become dirty.
    pub fn load(&mut self, key: &[u8], entry: Entry) {
        let dirty = self.dirty;
        let limit = self.bytes_max.take();
        let changes = std::mem::take(&mut self.changes);
        if let Ok(slot) = self.slot(key, entry.value.len()) {
            let times = (entry.cache_time, entry.access_time);
            if entry.deleted {
                self.bury(slot, key, times);
            } else {
                self.put(slot, key, &entry.value, None, times);
            }
        }
        self.changes = changes;
        self.bytes_max = limit;
        self.dirty = dirty;
    }

    /// Takes an entry out again, as if it had never been loaded.
    pub fn unload(&mut self, key: &[u8]) {
        let dirty = self.dirty;
        let changes = std::mem::take(&mut self.changes);
        if let Some(slot) = self.find(key) {
            self.forget(key, slot);
        }
        self.changes = changes;
        self.dirty = dirty;
    }

    /// The entry, a tombstone too.
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(self.find(key)?)
    }

    /// The live keys in byte order, all of them or those behind `after`.
    pub fn keys_from(&self, after: Option<&[u8]>) -> impl Iterator<Item = &[u8]> {
        self.entries_from(after).filter(|(_, entry)| !entry.deleted).map(|(key, _)| key)
    }

    /// Every key with its entry, tombstones too, in byte order, all of them or those behind `after`.
    pub fn entries_from(&self, after: Option<&[u8]>) -> impl Iterator<Item = (&[u8], &Entry)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.order.range::<[u8], _>((start, Bound::Unbounded));
        range.map(|(key, &slot)| (&**key, &self.entries[slot]))
    }

    /// Looks at the next `budget` entries (one at least), in byte order, and forgets those that `retention`
    /// does not keep: `visit` is told of each. Says whether the end was reached; the sweep then stands at the
    /// start again.
    pub fn sweep(
        &mut self,
        sweep: &mut Sweep,
        budget: usize,
        retention: &Retention,
        mut visit: impl FnMut(&[u8], Purged),
    ) -> bool {
        let mut doomed = Vec::new();
        let start = sweep.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut range = self.order.range::<[u8], _>((start, Bound::Unbounded));
        let mut last = None;
        for (key, &slot) in range.by_ref().take(budget.max(1)) {
            last = Some(key);
            match self.entries[slot].purge(retention) {
                Some(why) => doomed.push((key.clone(), slot, why)),
                None => {
                    let value = &mut self.entries[slot].value;
                    self.bytes -= value.memory();
                    value.shrink();
                    self.bytes += value.memory();
                }
            }
        }
        let more = range.next().is_some();
        sweep.after = last.cloned().filter(|_| more);
        for (key, slot, why) in doomed {
            visit(&key, why);
            self.forget(&key, slot);
        }
        !more
    }

    /// How many keys have a value.
    pub fn live(&self) -> usize {
        self.entries.len() - self.tombstones
    }

    /// How many keys have a tombstone.
    pub fn tombstones(&self) -> usize {
        self.tombstones
    }

    /// About how much memory the entries take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Was something changed since [`mark_clean`](Self::mark_clean)? Access times count.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// What is here was saved.
    pub fn mark_clean(&mut self) {
        self.dirty = false;
    }

    /// What is here must be saved.
    pub fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// Whether the tables and counts agree with each other.
    ///
    /// # Panics
    /// When they do not: for tests.
    pub fn check_invariants(&self) {
        assert_eq!(self.by_key.len(), self.entries.len());
        assert_eq!(self.order.len(), self.entries.len());
        for (key, slot) in &self.order {
            assert_eq!(self.find(key), Some(*slot), "{key:?}");
            let entry = &self.entries[*slot];
            assert_eq!(entry.value.key(), &**key);
            assert!(!entry.deleted || entry.value.is_empty() && entry.number.is_none(), "{key:?}: {entry:?}");
        }
        let tombstones = self.entries.iter().filter(|entry| entry.deleted).count();
        assert_eq!(self.tombstones, tombstones);
        let values: usize = self.entries.iter().map(|entry| entry.value.memory()).sum();
        let keys: usize = self.order.keys().map(|key| key.len()).sum();
        assert_eq!(self.bytes, keys + values + ENTRY_COST * self.entries.len());
    }

    #[inline]
    fn find(&self, key: &[u8]) -> Option<usize> {
        self.find_hashed(self.by_key.hash(key), key)
    }

    #[inline]
    fn find_hashed(&self, hash: Hash, key: &[u8]) -> Option<usize> {
        self.by_key.find(hash, |slot| self.entries[slot].value.key() == key)
    }

    /// The key's slot, a new one if need be, with room for a value of so many bytes.
    #[inline]
    fn slot(&mut self, key: &[u8], value_len: usize) -> Result<usize, Full> {
        let found = self.find_next(key);
        self.slot_from(found, key, value_len)
    }

    /// As [`slot`](Self::slot), where the key was looked for already.
    #[inline]
    fn slot_from(&mut self, found: Option<usize>, key: &[u8], value_len: usize) -> Result<usize, Full> {
        match found {
            Some(slot) => self.make_room(slot, value_len).map(|()| slot),
            None => self.insert(key, value_len),
        }
    }

    #[inline]
    fn make_room(&mut self, slot: usize, value_len: usize) -> Result<(), Full> {
        if self.entries[slot].value.has_room(value_len) { Ok(()) } else { self.enlarge(slot, value_len) }
    }

    #[cold]
    fn enlarge(&mut self, slot: usize, value_len: usize) -> Result<(), Full> {
        let value = &mut self.entries[slot].value;
        let (old, new) = (value.memory(), KeptValue::memory_for(value.key().len(), value_len));
        if self.bytes - old + new > self.bytes_max.unwrap_or(usize::MAX) {
            return Err(Full);
        }
        *value = KeptValue::with_capacity(value.key(), value_len);
        self.bytes = self.bytes - old + value.memory();
        Ok(())
    }

    #[inline(never)]
    fn insert(&mut self, key: &[u8], value_len: usize) -> Result<usize, Full> {
        let cost = ENTRY_COST + key.len();
        let more = cost + KeptValue::memory_for(key.len(), value_len);
        if self.bytes + more > self.bytes_max.unwrap_or(usize::MAX) {
            return Err(Full);
        }
        let value = KeptValue::with_capacity(key, value_len);
        self.bytes += cost + value.memory();
        self.tidy(FREED_PER_ENTRY);
        let slot = self.entries.insert(Entry { value, ..Entry::default() });
        let key: Arc<[u8]> = key.into();
        self.by_key.insert(self.by_key.hash(&key), slot);
        self.order.insert(key, slot);
        Ok(slot)
    }

    /// Puts the value into the [slot](Self::slot) that was got for it. `times`: when it was set, when it was asked for.
    #[inline]
    fn put(&mut self, slot: usize, key: &[u8], value: &[u8], number: Option<Number>, times: (f64, f64)) {
        let entry = &mut self.entries[slot];
        self.tombstones -= usize::from(entry.deleted);
        // There is room for it, which was made with the slot, so that what it takes does not change.
        entry.value.set(value);
        (entry.cache_time, entry.access_time) = times;
        entry.deleted = false;
        entry.shared = 0;
        match (number, &mut entry.number) {
            (Some(number), Some(place)) => **place = number,
            (number, place) => *place = number.map(Box::new),
        }
        self.dirty = true;
        self.changes.put(slot, key, entry);
    }

    fn bury(&mut self, slot: usize, key: &[u8], times: (f64, f64)) {
        let entry = &mut self.entries[slot];
        self.tombstones += usize::from(!entry.deleted);
        self.bytes -= entry.value.memory();
        let value = std::mem::take(&mut entry.value).empty();
        self.bytes += value.memory();
        *entry = Entry { value, is_noted: entry.is_noted, ..Entry::tombstone(times.0, times.1) };
        self.dirty = true;
        self.changes.put(slot, key, entry);
    }

    fn count(&mut self, key: &[u8], now: f64, result: impl FnOnce(Operand) -> Number) -> Result<(), Full> {
        let found = self.find_next(key);
        let number = result(found.map_or(Operand::ZERO, |slot| self.entries[slot].operand()));
        let text = number.text();
        let slot = self.slot_from(found, key, text.len())?;
        self.put(slot, key, &text, Some(number), (now, now));
        Ok(())
    }

    fn forget(&mut self, key: &[u8], slot: usize) {
        let entry = self.entries.remove(slot);
        self.by_key.remove(self.by_key.hash(key), slot);
        self.order.remove(key);
        self.tombstones -= usize::from(entry.deleted);
        self.bytes -= ENTRY_COST + key.len() + entry.value.memory();
        self.dirty = true;
        self.changes.forget(slot, key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(store: &'a Store, key: &str) -> Option<&'a [u8]> {
        store.get(key.as_bytes()).filter(|entry| !entry.deleted).map(|entry| &*entry.value)
    }

    fn keys(store: &Store) -> Vec<String> {
        store.keys_from(None).map(|key| String::from_utf8_lossy(key).into_owned()).collect()
    }

    fn filled(keys: &[&str], time: f64) -> Store {
        let mut store = Store::default();
        for key in keys {
            store.store(key.as_bytes(), b"v", time).unwrap();
        }
        store
    }

    #[test]
    fn what_was_cleared_is_gone_at_once_and_freed_bit_by_bit() {
        let mut store = Store::default();
        let fill = |store: &mut Store, count: u32| {
            for n in 0..count {
                store.store(format!("k{n}").as_bytes(), b"v", 1.0).unwrap();
            }
        };
        fill(&mut store, 10);
        store.clear();
        assert_eq!((store.live(), store.bytes(), store.keys_from(None).count()), (0, 0, 0));
        assert_eq!(store.retrieve(b"k1", 2.0), None);
        fill(&mut store, 1);
        store.clear();
        store.check_invariants();
        // Four of the ten went with the new entry.
        assert!(store.tidy(5));
        assert!(store.tidy(2), "the second one");
        assert!(!store.tidy(1));
        assert!(!store.tidy(1));
        // Filling it again frees as well.
        fill(&mut store, 40);
        store.clear();
        fill(&mut store, 9);
        assert!(!store.remains.is_empty());
        fill(&mut store, 10);
        assert!(store.remains.is_empty());
        store.check_invariants();
    }

    #[test]
    fn keys_are_listed_in_byte_order_and_from_any_place() {
        let mut store = filled(&["b", "a", "B", "10", "9", "a::b", "\u{e4}", "a b", "gone"], 1.0);
        store.remove(b"gone", 2.0).unwrap();
        assert_eq!(keys(&store), ["10", "9", "B", "a", "a b", "a::b", "b", "\u{e4}"]);
        let from = |after: &[u8]| store.keys_from(Some(after)).next().map(<[u8]>::to_vec);
        assert_eq!(from(b"a"), Some(b"a b".to_vec()));
        assert_eq!(from(b"a c"), Some(b"a::b".to_vec()), "also behind a key that is not there");
        assert_eq!(from("\u{e4}".as_bytes()), None);
    }

    #[test]
    fn a_removed_key_is_a_tombstone_until_it_is_stored_again() {
        let mut store = filled(&["k"], 1.0);
        store.remove(b"k", 2.0).unwrap();
        store.remove(b"new", 2.0).unwrap();
        assert_eq!(store.retrieve(b"k", 3.0), None);
        assert_eq!(store.get(b"k"), Some(&Entry::tombstone(2.0, 2.0)));
        assert_eq!((store.live(), store.tombstones()), (0, 2));
        store.increment(b"k", Operand::ONE, 4.0).unwrap();
        assert_eq!(store.retrieve(b"k", 5.0), Some(&b"1"[..]));
        assert_eq!((store.live(), store.tombstones()), (1, 1));
        store.check_invariants();
    }

    #[test]
    fn retrieving_refreshes_the_access_time_only() {
        let mut store = filled(&["k"], 1.0);
        assert_eq!(store.retrieve(b"k", 5.0), Some(&b"v"[..]));
        assert_eq!(store.retrieve(b"other", 5.0), None);
        let entry = store.get(b"k").unwrap();
        assert_eq!((entry.cache_time, entry.access_time), (1.0, 5.0));
    }

    #[test]
    fn a_counter_is_exact_until_its_text_is_stored() {
        let mut store = Store::default();
        for _ in 0..10 {
            store.increment(b"n", Operand::step(b"0.1"), 1.0).unwrap();
        }
        assert_eq!(value(&store, "n"), Some(&b"1"[..]));
        store.decrement(b"n", Operand::ONE, 1.0).unwrap();
        assert_eq!(value(&store, "n"), Some(&b"-1.11022302462516e-16"[..]));
        store.store(b"n", b"1", 1.0).unwrap();
        store.decrement(b"n", Operand::ONE, 1.0).unwrap();
        assert_eq!(value(&store, "n"), Some(&b"0"[..]));
    }

    #[test]
    fn an_update_that_fits_keeps_the_buffer() {
        let mut store = Store::default();
        store.store(b"k", &[b'x'; 1000], 1.0).unwrap();
        let buffer = store.get(b"k").unwrap().value.as_ptr();
        for len in [1, 1000, 0, 500] {
            store.store(b"k", &vec![b'y'; len], 1.0).unwrap();
            let entry = store.get(b"k").unwrap();
            assert_eq!((entry.value.len(), entry.value.as_ptr()), (len, buffer));
        }
    }

    /// Which of two entries of one key, by their times and modes, is there after a merge.
    fn check_merge(own: Option<(f64, bool)>, theirs: (f64, bool), offset: f64, merged: Merged) {
        let mut store = Store::default();
        if let Some((time, deleted)) = own {
            let own =
                if deleted { Entry::tombstone(time, 0.0) } else { Entry::new(b"own".to_vec(), time, 1.0) };
            store.load(b"k", own);
        }
        let (cache_time, deleted) = theirs;
        let entry = KeySync { cache_time, access_time: 7.0, deleted, key: b"k", value: b"theirs" };
        assert_eq!(store.merge(&entry, offset), Ok(merged), "{own:?} {theirs:?} {offset}");
        let taken = merged == Merged::Taken;
        assert_eq!(store.is_dirty(), taken);
        let own = store.get(b"k").unwrap();
        let expected = if deleted {
            Entry::tombstone(cache_time + offset, 7.0 + offset)
        } else {
            Entry::new(b"theirs".to_vec(), cache_time + offset, 7.0 + offset)
        };
        assert_eq!(*own == expected, taken, "{own:?}");
        store.check_invariants();
    }

    #[test]
    fn of_two_entries_the_newer_one_wins() {
        use Merged::{Older, Taken};
        check_merge(None, (5.0, false), 0.0, Taken);
        check_merge(None, (5.0, true), 0.0, Taken);
        check_merge(Some((4.0, false)), (5.0, false), 0.0, Taken);
        check_merge(Some((5.0, false)), (5.0, false), 0.0, Older);
        check_merge(Some((5.5, false)), (5.0, false), 0.0, Older);
        check_merge(Some((4.0, false)), (5.0, true), 0.0, Taken);
        check_merge(Some((5.0, false)), (5.0, true), 0.0, Older);
        check_merge(Some((4.0, true)), (5.0, false), 0.0, Taken);
        check_merge(Some((6.0, true)), (5.0, false), 0.0, Older);
        check_merge(Some((6.0, true)), (5.0, false), 1.5, Taken);
        check_merge(Some((4.0, false)), (5.0, false), -1.5, Older);
    }

    #[test]
    fn of_two_entries_of_one_time_all_servers_choose_the_same() {
        let check = |winner: &KeySync<'_>, loser: &KeySync<'_>| {
            for (first, second, merged) in [(winner, loser, Merged::Older), (loser, winner, Merged::Taken)] {
                let mut store = Store::default();
                assert_eq!(store.merge(first, 0.0), Ok(Merged::Taken));
                assert_eq!(store.merge(second, 0.0), Ok(merged), "{first:?}, {second:?}");
                assert_eq!(store.merge(winner, 0.0), Ok(Merged::Same));
                let entry = store.get(b"k").unwrap();
                assert_eq!((&*entry.value, entry.deleted), (winner.value, winner.deleted));
            }
        };
        let of = |value, deleted| KeySync { cache_time: 5.0, access_time: 5.0, deleted, key: b"k", value };
        check(&of(b"a", false), &of(b"b", false));
        check(&of(b"", false), &of(b"a", false));
        check(&of(b"9", false), &of(b"99", false));
        check(&of(b"", false), &of(b"", true));
        check(&of(b"zz", false), &of(b"", true));
    }

    #[test]
    fn an_access_time_of_0_has_no_offset() {
        let mut store = Store::default();
        let entry = KeySync { cache_time: 5.0, access_time: 0.0, deleted: false, key: b"k", value: b"v" };
        assert_eq!(store.merge(&entry, 100.0), Ok(Merged::Taken));
        assert_eq!(store.get(b"k"), Some(&Entry::new(b"v".to_vec(), 105.0, 0.0)));
    }

    #[test]
    fn a_sweep_goes_in_key_order_and_in_pieces() {
        let mut store = filled(&["d", "b", "a", "e", "c"], 10.0);
        store.remove(b"b", 10.0).unwrap();
        store.remove(b"d", 20.0).unwrap();
        store.retrieve(b"a", 20.0).unwrap();
        store.mark_clean();
        let retention = Retention { stale_before: 15.0, deleted_before: 15.0 };
        let mut sweep = Sweep::default();
        let mut purged = Vec::new();
        let mut pieces = 0;
        loop {
            pieces += 1;
            let visit = |key: &[u8], why| purged.push((String::from_utf8_lossy(key).into_owned(), why));
            if store.sweep(&mut sweep, 2, &retention, visit) {
                break;
            }
        }
        let of = |key: &str, why| (key.to_owned(), why);
        assert_eq!(purged, [of("b", Purged::Deleted), of("c", Purged::Stale), of("e", Purged::Stale)]);
        assert_eq!(pieces, 3);
        assert!(store.is_dirty());
        assert_eq!(keys(&store), ["a"]);
        assert_eq!(store.tombstones(), 1);
        store.check_invariants();
    }

    #[test]
    fn a_sweep_gives_back_memory_that_a_value_no_longer_needs() {
        let mut store = Store::default();
        store.store(b"k", &[b'x'; 100_000], 1.0).unwrap();
        store.store(b"k", b"x", 1.0).unwrap();
        assert!(store.bytes() > 100_000);
        store.mark_clean();
        let retention = Retention { stale_before: 0.0, deleted_before: 0.0 };
        assert!(store.sweep(&mut Sweep::default(), 10, &retention, |_, _| {}));
        assert!(store.bytes() < 1000);
        assert!(!store.is_dirty());
        store.check_invariants();
    }

    #[test]
    fn a_full_cache_refuses_what_would_make_it_larger() {
        let mut store = Store::new(Some(2 * (ENTRY_COST + 100)));
        store.store(b"a", b"1", 1.0).unwrap();
        store.store(b"b", b"1", 1.0).unwrap();
        let before = store.bytes();
        assert_eq!(store.store(b"c", b"1", 2.0), Err(Full));
        assert_eq!(store.remove(b"c", 2.0), Err(Full));
        assert_eq!(store.increment(b"c", Operand::ONE, 2.0), Err(Full));
        assert_eq!(store.store(b"a", &[b'x'; 500], 2.0), Err(Full));
        assert_eq!((store.bytes(), value(&store, "a")), (before, Some(&b"1"[..])));
        assert_eq!(store.store(b"a", &[b'x'; 50], 2.0), Ok(()));
        assert_eq!(store.increment(b"b", Operand::ONE, 2.0), Ok(()));
        store.check_invariants();
        store.clear();
        assert_eq!(store.store(b"c", b"1", 2.0), Ok(()), "an emptied one takes again");
        assert_eq!(store.bytes_max, Some(2 * (ENTRY_COST + 100)));
    }

    #[test]
    fn what_changes_an_entry_makes_the_cache_dirty() {
        let check = |what: &str, dirty: bool, change: &dyn Fn(&mut Store)| {
            let mut store = filled(&["k"], 1.0);
            store.mark_clean();
            change(&mut store);
            assert_eq!(store.is_dirty(), dirty, "{what}");
        };
        check("store", true, &|s| s.store(b"k", b"w", 2.0).unwrap());
        check("retrieve", true, &|s| drop(s.retrieve(b"k", 2.0).map(<[u8]>::to_vec)));
        check("retrieve nothing", false, &|s| drop(s.retrieve(b"x", 2.0).map(<[u8]>::to_vec)));
        check("remove", true, &|s| s.remove(b"x", 2.0).unwrap());
        check("increment", true, &|s| s.increment(b"k", Operand::ONE, 2.0).unwrap());
        check("clear", true, &Store::clear);
        check("load", false, &|s| s.load(b"l", Entry::new(b"v".to_vec(), 1.0, 1.0)));
    }
}
