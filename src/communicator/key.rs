//! How connections and timers are named: by a slot and a generation, so that a stale name finds nothing.

use super::timers::Handle;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};

/// Names one connection of one communicator.
///
/// A key outlives its connection without harm: the calls that take one say that nothing was found. Keys are
/// not used again within 2³² additions in a process, in whichever communicator they were made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl Key {
    /// What the poll hands back with an event.
    pub(crate) fn token(self) -> mio::Token {
        const { assert!(usize::BITS >= 64, "a token holds a slot and a generation") };
        mio::Token(((self.generation as usize) << 32) | self.slot as usize)
    }

    pub(crate) fn from_token(token: mio::Token) -> Self {
        Self { slot: token.0 as u32, generation: (token.0 >> 32) as u32 }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// As in the logs: slot, dot, generation.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// One count for all communicators, so that a key of one finds nothing in another. Never the largest
/// value: tokens with that generation are the loop's own.
pub(crate) fn next_generation() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    loop {
        let generation = NEXT.fetch_add(1, Ordering::Relaxed);
        if generation != u32::MAX {
            return generation;
        }
    }
}

/// A [`Key`] that knows which codec its connection speaks, so that the compiler checks what is sent to it.
pub struct Id<C> {
    key: Key,
    codec: PhantomData<fn() -> C>,
}

impl<C> Id<C> {
    pub(crate) fn new(key: Key) -> Self {
        Self { key, codec: PhantomData }
    }

    /// The key without the codec.
    pub fn key(self) -> Key {
        self.key
    }
}

impl<C> Clone for Id<C> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<C> Copy for Id<C> {}
impl<C> PartialEq for Id<C> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl<C> Eq for Id<C> {}
impl<C> PartialOrd for Id<C> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<C> Ord for Id<C> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}
impl<C> Hash for Id<C> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}
impl<C> fmt::Debug for Id<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)
    }
}
impl<C> fmt::Display for Id<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)
    }
}
impl<C> From<Id<C>> for Key {
    fn from(id: Id<C>) -> Key {
        id.key
    }
}

/// Names one timer of one communicator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
    pub(crate) wall: bool,
}

impl TimerId {
    /// Whether it is that one of those that follow the loop's clock.
    pub(crate) fn is(self, handle: Handle) -> bool {
        !self.wall && (self.index, self.generation) == (handle.index, handle.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_its_key_back() {
        for key in [
            Key { slot: 0, generation: 1 },
            Key { slot: 7, generation: u32::MAX - 1 },
            Key { slot: u32::MAX, generation: 3 },
        ] {
            assert_eq!(Key::from_token(key.token()), key);
        }
    }
}
