//! Chance, and what is sent.

use std::sync::OnceLock;

/// What is sent comes out of so many bytes.
pub(super) const PATTERN: usize = 256 << 10;

pub(super) use crate::seeds::Random;

impl Random {
    /// Mostly short, sometimes long.
    pub(super) fn nanos(&self) -> u64 {
        let scale = self.below(7) as u32;
        self.next() % 10u64.pow(scale + 1)
    }
}

pub(super) fn pattern() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let random = Random::new(1);
        (0..PATTERN / 8).flat_map(|_| random.next().to_le_bytes()).collect()
    })
}
