//! The cache: values by key, with the times that linked servers compare and that old entries are dropped by.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use slab::Slab;

use super::number::{Number, Operand};
use super::protocol::KeySync;

/// The cache. Times are Unix times in seconds, with a fraction.
///
/// A key is found by hash (keyed, so that clients can't choose keys that collide) and stands in an
/// ordered index too, because lists, the exchange between servers and the file are in byte order. Only
/// a new key and a forgotten one touch the index.
#[derive(Debug, Default)]
pub struct Store {
    by_key: HashMap<Arc<[u8]>, usize>,
    order: BTreeMap<Arc<[u8]>, usize>,
    entries: Slab<Entry>,
    tombstones: usize,
    bytes: usize,
    bytes_max: Option<usize>,
    dirty: bool,
}

/// What is kept for a key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    /// The value; empty in a tombstone.
    pub value: Vec<u8>,
    /// When the value was set, or the tombstone: the newer one wins between servers.
    pub cache_time: f64,
    /// When the value was last asked for; 0 where that is not known.
    pub access_time: f64,
    /// Is this a tombstone?
    pub deleted: bool,
    /// What the value shows only 15 digits of, if arithmetic made it.
    number: Option<Number>,
}

/// The cache would become larger than its limit: nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Why [`Store::sweep`] forgot an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purged {
    /// Nobody asked for it for too long.
    Stale,
    /// It was a tombstone, and an old one.
    Deleted,
}

/// What [`Store::sweep`] keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retention {
    /// Entries that were set or asked for at this Unix time or later are kept.
    pub stale_before: f64,
    /// Tombstones set at this Unix time or later are kept.
    pub deleted_before: f64,
}

/// How far a [sweep](Store::sweep) is.
#[derive(Debug, Clone, Default)]
pub struct Sweep {
    after: Option<Arc<[u8]>>,
}

/// About what an entry costs beside its key and value: its places in the three tables.
const ENTRY_COST: usize = 200;

/// The smallest buffer of a value: what an allocator hands out anyway, and enough for any counter.
const VALUE_MIN: usize = 24;

impl Entry {
    /// An entry whose value is text.
    pub fn new(value: Vec<u8>, cache_time: f64, access_time: f64) -> Self {
        Self { value, cache_time, access_time, deleted: false, number: None }
    }

    /// A removed entry.
    pub fn tombstone(cache_time: f64, access_time: f64) -> Self {
        Self { value: Vec::new(), cache_time, access_time, deleted: true, number: None }
    }

    fn operand(&self) -> Operand {
        match self.number {
            _ if self.deleted => Operand::ZERO,
            Some(number) => number.into(),
            None => Operand::stored(&self.value),
        }
    }

    fn purge(&self, retention: &Retention) -> Option<Purged> {
        if self.deleted {
            (self.cache_time < retention.deleted_before).then_some(Purged::Deleted)
        } else {
            // A value that came from another server without an access time is as fresh as it is new.
            (self.access_time.max(self.cache_time) < retention.stale_before).then_some(Purged::Stale)
        }
    }
}

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
        self.put(slot, value, None, now, now);
        Ok(())
    }

    /// The value, unless it is unknown or removed; it counts as asked for.
    pub fn retrieve(&mut self, key: &[u8], now: f64) -> Option<&[u8]> {
        let entry = self.entries.get_mut(*self.by_key.get(key)?)?;
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
        self.bury(slot, now, now);
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
    /// here or an older one. Says whether it was taken.
    ///
    /// # Errors
    /// When the cache is full.
    pub fn merge(&mut self, theirs: &KeySync<'_>, offset: f64) -> Result<bool, Full> {
        let cache_time = theirs.cache_time + offset;
        let access_time = if theirs.access_time == 0.0 { 0.0 } else { theirs.access_time + offset };
        if self.get(theirs.key).is_some_and(|own| own.cache_time >= cache_time) {
            return Ok(false);
        }
        if theirs.deleted {
            let slot = self.slot(theirs.key, 0)?;
            self.bury(slot, cache_time, access_time);
        } else {
            let slot = self.slot(theirs.key, theirs.value.len())?;
            self.put(slot, theirs.value, None, cache_time, access_time);
        }
        Ok(true)
    }

    /// Forgets every entry, tombstones too.
    pub fn clear(&mut self) {
        *self = Self { bytes_max: self.bytes_max, dirty: true, ..Self::default() };
    }

    /// Puts in an entry as it was read from a file, whatever was there before. The limit does not apply, and
    /// the cache does not become dirty.
    pub fn load(&mut self, key: &[u8], entry: Entry) {
        let dirty = self.dirty;
        let limit = self.bytes_max.take();
        if let Ok(slot) = self.slot(key, entry.value.len()) {
            if entry.deleted {
                self.bury(slot, entry.cache_time, entry.access_time);
            } else {
                self.put(slot, &entry.value, None, entry.cache_time, entry.access_time);
            }
        }
        self.bytes_max = limit;
        self.dirty = dirty;
    }

    /// The entry, a tombstone too.
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(*self.by_key.get(key)?)
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

    /// Looks at the next `budget` entries, in byte order, and forgets those that `retention` does not keep:
    /// `visit` is told of each. Says whether the end was reached; the sweep then stands at the start again.
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
        for (key, &slot) in range.by_ref().take(budget) {
            last = Some(key);
            match self.entries[slot].purge(retention) {
                Some(why) => doomed.push((key.clone(), slot, why)),
                None => {
                    let value = &mut self.entries[slot].value;
                    self.bytes -= value.capacity();
                    value.shrink_to(VALUE_MIN);
                    self.bytes += value.capacity();
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

    /// The key's slot, a new one if need be, with room for a value of so many bytes.
    fn slot(&mut self, key: &[u8], value_len: usize) -> Result<usize, Full> {
        let limit = self.bytes_max.unwrap_or(usize::MAX);
        if let Some(&slot) = self.by_key.get(key) {
            let value = &mut self.entries[slot].value;
            let old = value.capacity();
            if value_len > old {
                let new = value_len.max(VALUE_MIN);
                if self.bytes - old + new > limit {
                    return Err(Full);
                }
                *value = Vec::with_capacity(new);
                self.bytes = self.bytes - old + value.capacity();
            }
            return Ok(slot);
        }
        let value = Vec::with_capacity(if value_len == 0 { 0 } else { value_len.max(VALUE_MIN) });
        let bytes = self.bytes + ENTRY_COST + key.len() + value.capacity();
        if bytes > limit {
            return Err(Full);
        }
        self.bytes = bytes;
        let slot = self.entries.insert(Entry { value, ..Entry::default() });
        let key: Arc<[u8]> = key.into();
        self.by_key.insert(key.clone(), slot);
        self.order.insert(key, slot);
        Ok(slot)
    }

    fn put(&mut self, slot: usize, value: &[u8], number: Option<Number>, cache_time: f64, access_time: f64) {
        let entry = &mut self.entries[slot];
        self.tombstones -= usize::from(entry.deleted);
        self.bytes -= entry.value.capacity();
        entry.value.clear();
        entry.value.extend_from_slice(value);
        self.bytes += entry.value.capacity();
        entry.cache_time = cache_time;
        entry.access_time = access_time;
        entry.deleted = false;
        entry.number = number;
        self.dirty = true;
    }

    fn bury(&mut self, slot: usize, cache_time: f64, access_time: f64) {
        let entry = &mut self.entries[slot];
        self.tombstones += usize::from(!entry.deleted);
        self.bytes -= entry.value.capacity();
        *entry = Entry::tombstone(cache_time, access_time);
        self.dirty = true;
    }

    fn count(&mut self, key: &[u8], now: f64, result: impl FnOnce(Operand) -> Number) -> Result<(), Full> {
        let value = self.get(key).map_or(Operand::ZERO, Entry::operand);
        let number = result(value);
        let text = number.text();
        let slot = self.slot(key, text.len())?;
        self.put(slot, &text, Some(number), now, now);
        Ok(())
    }

    fn forget(&mut self, key: &[u8], slot: usize) {
        let entry = self.entries.remove(slot);
        self.by_key.remove(key);
        self.order.remove(key);
        self.tombstones -= usize::from(entry.deleted);
        self.bytes -= ENTRY_COST + key.len() + entry.value.capacity();
        self.dirty = true;
    }
}
