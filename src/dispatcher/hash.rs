//! A hash for commands, which are short and looked for with every message.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Something for each of some commands.
pub(crate) type ByCommand<V> = HashMap<Box<str>, V, CommandHash>;

/// Makes hashers that agree with each other, and with no other's: a peer can't know which commands collide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommandHash {
    seed: u64,
}

/// Multiplies and folds, eight bytes at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommandHasher(u64);

impl Default for CommandHash {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(0_u64) }
    }
}

impl BuildHasher for CommandHash {
    type Hasher = CommandHasher;

    fn build_hasher(&self) -> CommandHasher {
        CommandHasher(self.seed)
    }
}

impl Hasher for CommandHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = rest.len() as u64;
        for &byte in rest {
            last = last << 8 | u64::from(byte);
        }
        self.mix(last);
    }

    /// What stands behind the bytes of a text.
    fn write_u8(&mut self, byte: u8) {
        self.0 ^= u64::from(byte);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl CommandHasher {
    fn mix(&mut self, word: u64) {
        /// Odd, with as many ones as zeros: the golden ratio.
        const FACTOR: u128 = 0x9E37_79B9_7F4A_7C15;
        let product = u128::from(self.0 ^ word) * FACTOR;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn similar_commands_fall_into_different_places() {
        let hash = CommandHash::default();
        let commands = (0..10_000).map(|number| format!("COMMAND_{number}"));
        let commands = commands.chain((0..40).map(|length| "A".repeat(length))).collect::<Vec<_>>();
        let hashes: HashSet<_> = commands.iter().map(|command| hash.hash_one(command)).collect();
        assert_eq!(hashes.len(), commands.len());
        // A map looks at the lowest bits for the place, and at the highest ones to compare.
        for shift in [0, 57] {
            let mut places = [0_usize; 128];
            commands.iter().for_each(|command| places[(hash.hash_one(command) >> shift & 127) as usize] += 1);
            let most = places.into_iter().max().unwrap();
            assert!(most < 3 * commands.len() / 128, "{most} of {} in one place", commands.len());
        }
    }

    #[test]
    fn another_seed_makes_another_hash() {
        assert_ne!(CommandHash::default().hash_one("STOP"), CommandHash::default().hash_one("STOP"));
    }
}
