//! Chance, and what is sent.

use std::sync::OnceLock;

/// What is sent comes out of so many bytes.
pub(super) const PATTERN: usize = 256 << 10;

/// splitmix64
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// Mostly short, sometimes long.
    pub(super) fn nanos(&mut self) -> u64 {
        let scale = self.below(7) as u32;
        self.next() % 10u64.pow(scale + 1)
    }
}

pub(super) fn pattern() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut random = Random(1);
        (0..PATTERN / 8).flat_map(|_| random.next().to_le_bytes()).collect()
    })
}
