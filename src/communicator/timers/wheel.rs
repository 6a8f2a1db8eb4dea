//! Entries that are not due for a while, roughly sorted: a wheel of wheels.
//!
//! Time is counted in ticks of about a millisecond. A tick has digits to the base 64, and there is a level for each digit. An
//! entry lies on the level of the first digit, from above, in which its tick differs from the *origin*, and there in the bucket
//! of that digit. So all of a level comes before all of the next one, and a level's buckets come in the order of their
//! digits. Putting in touches nothing but the end of a bucket, taking out nothing but a count. When the first bucket is reached it
//! becomes the origin, and its entries are put in again, on lower levels, or are handed out if it was one of the lowest.

use super::Entry;

/// 2²⁰ ns are a tick: entries of one tick are sorted exactly, later.
const TICK_BITS: u32 = 20;
const DIGIT_BITS: u32 = 6;
const BUCKETS: usize = 1 << DIGIT_BITS;
/// All digits of all times.
const LEVELS: usize = (u64::BITS - TICK_BITS).div_ceil(DIGIT_BITS) as usize;
/// A bucket with more entries is not looked through for its first one.
const FEW: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Wheel {
    /// No entry is of an earlier tick.
    origin: u64,
    /// Nor of this one: its entries were handed out.
    handed_out: bool,
    levels: [Option<Box<Level>>; LEVELS],
    /// What [`next`](Self::next) has found.
    next: Option<u64>,
}

#[derive(Debug)]
struct Level {
    /// A bit for each bucket with entries that count.
    occupied: u64,
    buckets: [Entries; BUCKETS],
}

/// What lies in a bucket. Who cancels a timer must not search for its entry: it stays, and counts no more.
#[derive(Debug, Default)]
struct Entries {
    all: Vec<Entry>,
    /// How many count no more.
    dead: usize,
}

/// What a bucket was that has been emptied.
#[derive(Debug, Clone, Copy)]
pub(super) enum Opened {
    /// All of one tick: they are handed out.
    Finest,
    /// Of several ticks: they belong into finer buckets now.
    Coarse,
}

/// Which bucket an entry lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket(u16);

impl Bucket {
    fn new(level: usize, digit: usize) -> Self {
        Self((level * BUCKETS + digit) as u16)
    }

    fn level(self) -> usize {
        usize::from(self.0) / BUCKETS
    }

    fn digit(self) -> usize {
        usize::from(self.0) % BUCKETS
    }
}

impl Wheel {
    /// Where an entry for `deadline` belongs. `None`: its time has been handed out already.
    pub(super) fn bucket(&self, deadline: u64) -> Option<Bucket> {
        let tick = deadline >> TICK_BITS;
        if tick < self.origin || (tick == self.origin && self.handed_out) {
            return None;
        }
        let level = ((tick ^ self.origin) | 1).ilog2() / DIGIT_BITS;
        let digit = (tick >> (level * DIGIT_BITS)) as usize % BUCKETS;
        Some(Bucket::new(level as usize, digit))
    }

    pub(super) fn insert(&mut self, bucket: Bucket, entry: Entry) {
        let level = self.levels[bucket.level()].get_or_insert_default();
        level.occupied |= 1 << bucket.digit();
        level.buckets[bucket.digit()].all.push(entry);
        self.next = self.next.map(|next| next.min(entry.deadline));
    }

    /// An entry of a bucket, for `deadline`, counts no more. Those that do are `alive`.
    pub(super) fn remove(&mut self, bucket: Bucket, deadline: u64, alive: impl Fn(&Entry) -> bool) {
        let Some(level) = self.levels[bucket.level()].as_mut() else { return };
        let entries = &mut level.buckets[bucket.digit()];
        entries.dead += 1;
        if entries.dead == entries.all.len() {
            level.occupied &= !(1 << bucket.digit());
            entries.all = Vec::new();
            entries.dead = 0;
        } else if entries.dead > FEW && entries.dead > entries.all.len() / 2 {
            entries.all.retain(alive);
            entries.all.shrink_to(2 * entries.all.len());
            entries.dead = 0;
        }
        if self.next == Some(deadline) {
            self.next = None;
        }
    }

    /// The first bucket with entries, and its first tick.
    pub(super) fn first(&self) -> Option<(Bucket, u64)> {
        let (number, level) = self.levels.iter().enumerate().find_map(|(number, level)| {
            level.as_ref().filter(|level| level.occupied != 0).map(|level| (number, level))
        })?;
        let digit = level.occupied.trailing_zeros();
        let shift = number as u32 * DIGIT_BITS;
        let above = (self.origin >> shift) >> DIGIT_BITS; // in two steps: the highest digit is shorter
        let tick = ((above << DIGIT_BITS) | u64::from(digit)) << shift;
        Some((Bucket::new(number, digit as usize), tick))
    }

    /// When to look next: at the first deadline; or sooner, when very many lie in its bucket, to sort them finer.
    pub(super) fn next(&mut self, alive: impl Fn(&Entry) -> bool) -> Option<u64> {
        if self.next.is_none()
            && let Some((bucket, tick)) = self.first()
        {
            let entries = &self.levels[bucket.level()].as_ref()?.buckets[bucket.digit()].all;
            self.next = match entries.len() {
                ..=FEW => entries.iter().filter(|entry| alive(entry)).map(|entry| entry.deadline).min(),
                _ => Some(tick << TICK_BITS),
            };
        }
        self.next
    }

    /// Empties the first bucket, if it begins at `now` or before, into `into`. Its entries belong elsewhere now.
    pub(super) fn open(
        &mut self,
        now: u64,
        into: &mut Vec<Entry>,
        alive: impl Fn(&Entry) -> bool,
    ) -> Option<Opened> {
        let (bucket, tick) = self.first().filter(|&(_, tick)| tick <= now >> TICK_BITS)?;
        let level = self.levels[bucket.level()].as_mut()?;
        level.occupied &= !(1 << bucket.digit());
        let entries = &mut level.buckets[bucket.digit()];
        match entries.dead {
            0 => into.extend_from_slice(&entries.all),
            _ => into.extend(entries.all.iter().filter(|entry| alive(entry))),
        }
        entries.dead = 0;
        // The bucket may be used again soon, but not for as much.
        entries.all.clear();
        entries.all.shrink_to(FEW);
        let finest = bucket.level() == 0;
        (self.origin, self.handed_out, self.next) = (tick, finest, None);
        Some(if finest { Opened::Finest } else { Opened::Coarse })
    }

    /// Nothing is left that is due at `now`: what is put in from now on counts from there.
    pub(super) fn advance(&mut self, now: u64) {
        let tick = now >> TICK_BITS;
        if tick > self.origin {
            (self.origin, self.handed_out) = (tick, false);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many there are that count.
    #[cfg(test)]
    pub(super) fn check_invariants(&self, alive: impl Fn(&Entry) -> bool) -> usize {
        let mut count = 0;
        for (number, level) in
            self.levels.iter().enumerate().filter_map(|(n, level)| Some((n, level.as_ref()?)))
        {
            for (digit, entries) in level.buckets.iter().enumerate() {
                if entries.all.is_empty() {
                    assert!(level.occupied & (1 << digit) == 0 && entries.dead == 0);
                    continue;
                }
                let living = || entries.all.iter().filter(|entry| alive(entry));
                assert_eq!(level.occupied & (1 << digit) != 0, living().count() > 0);
                assert_eq!(entries.all.len(), entries.dead + living().count());
                for entry in living() {
                    assert_eq!(self.bucket(entry.deadline), Some(Bucket::new(number, digit)), "{entry:?}");
                    assert!(self.next.is_none_or(|next| next <= entry.deadline));
                }
                count += living().count();
            }
        }
        count
    }
}

impl Default for Level {
    fn default() -> Self {
        Self { occupied: 0, buckets: std::array::from_fn(|_| Entries::default()) }
    }
}
