//! What the cache keeps for a key, and for how long.

use super::value::KeptValue;
use crate::connections::clacks::number::{Number, Operand};

const _: () = assert!(size_of::<Option<Entry>>() == 128, "an entry has become longer");

/// What is kept for a key. Two cache lines, which processors fetch together.
#[derive(Debug, Clone, Default)]
#[repr(align(128))]
pub struct Entry {
    /// The value; empty in a tombstone.
    pub value: KeptValue,
    /// When the value was set, or the tombstone: the newer one wins between servers.
    pub cache_time: f64,
    /// When the value was last asked for; 0 where that is not known.
    pub access_time: f64,
    /// Is this a tombstone?
    pub deleted: bool,
    /// What the value shows only 15 digits of, if arithmetic made it.
    pub(super) number: Option<Box<Number>>,
    /// Does it stand among the changes?
    pub(super) is_noted: bool,
    /// The last exchange of caches whose other server has this very entry; 0 if it was changed since. Fits into what is
    /// left beside `deleted`.
    pub(in crate::connections::clacks) shared: u32,
}

/// Who else has an entry is no part of it.
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        let of = |entry: &Self| (entry.cache_time, entry.access_time, entry.deleted, entry.number.clone());
        self.value == other.value && of(self) == of(other)
    }
}

impl Entry {
    /// An entry whose value is text.
    pub fn new(value: Vec<u8>, cache_time: f64, access_time: f64) -> Self {
        Self {
            value: value.into(),
            cache_time,
            access_time,
            deleted: false,
            number: None,
            is_noted: false,
            shared: 0,
        }
    }

    /// A removed entry.
    pub fn tombstone(cache_time: f64, access_time: f64) -> Self {
        Self {
            value: KeptValue::default(),
            cache_time,
            access_time,
            deleted: true,
            number: None,
            is_noted: false,
            shared: 0,
        }
    }

    /// What arithmetic starts from.
    pub(super) fn operand(&self) -> Operand {
        match &self.number {
            _ if self.deleted => Operand::ZERO,
            Some(number) => (**number).into(),
            None => Operand::stored(&self.value),
        }
    }

    /// Whether, and why, the entry is to be forgotten.
    pub(super) fn purge(&self, retention: &Retention) -> Option<Purged> {
        if self.deleted {
            (self.cache_time < retention.deleted_before).then_some(Purged::Deleted)
        } else {
            // A value that came from another server without an access time is as fresh as it is new.
            (self.access_time.max(self.cache_time) < retention.stale_before).then_some(Purged::Stale)
        }
    }
}

/// Why [`Store::sweep`](super::Store::sweep) forgot an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purged {
    /// Nobody asked for it for too long.
    Stale,
    /// It was a tombstone, and an old one.
    Deleted,
}

/// What [`Store::sweep`](super::Store::sweep) keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retention {
    /// Entries that were set or asked for at this Unix time or later are kept.
    pub stale_before: f64,
    /// Tombstones set at this Unix time or later are kept.
    pub deleted_before: f64,
}
