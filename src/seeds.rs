//! What all simulations share: chance that comes again, and who takes the blame.

use std::cell::Cell;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs `run` with the seeds 0 … `count`, or as many as `ED_SEEDS` says, or only with that of `ED_SEED`; gives back what came of each.
/// A seed that fails is named.
pub(crate) fn each<T>(count: u64, mut run: impl FnMut(u64) -> T) -> Vec<T> {
    let seeds = match replayed() {
        Some(seed) => seed..seed + 1,
        None => 0..number("ED_SEEDS").unwrap_or(count),
    };
    let one = |seed| {
        catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|panic| {
            eprintln!("seed {seed} fails; ED_SEED={seed} replays it");
            resume_unwind(panic)
        })
    };
    seeds.map(one).collect()
}

/// The only seed that is to be run.
pub(crate) fn replayed() -> Option<u64> {
    number("ED_SEED")
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// splitmix64: the same numbers for the same seed.
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.0.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn percent(&self, chance: usize) -> bool {
        self.below(100) < chance
    }
}
