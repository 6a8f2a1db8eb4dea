//! Connections that get the same lines.

/// Members in no order, side by side, so that a line for all of them is one walk.
#[derive(Debug)]
pub(super) struct Group<K> {
    keys: Vec<K>,
    /// The session's slot of each key.
    slots: Vec<usize>,
}

impl<K> Default for Group<K> {
    fn default() -> Self {
        Self { keys: Vec::new(), slots: Vec::new() }
    }
}

impl<K> Group<K> {
    /// Adds a member at the end, and says where that is.
    pub(super) fn push(&mut self, key: K, slot: usize) -> usize {
        self.keys.push(key);
        self.slots.push(slot);
        self.keys.len() - 1
    }

    /// Takes out the member there. The last one moves into its place: its slot is returned.
    #[must_use]
    pub(super) fn remove(&mut self, position: usize) -> Option<usize> {
        self.keys.swap_remove(position);
        self.slots.swap_remove(position);
        self.slots.get(position).copied()
    }

    pub(super) fn keys(&self) -> &[K] {
        &self.keys
    }

    pub(super) fn slots(&self) -> &[usize] {
        &self.slots
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether each member's place, as `place` tells it, is where it is.
    ///
    /// # Panics
    /// When it is not.
    pub(super) fn check_invariants(&self, place: impl Fn(usize) -> Option<(K, usize)>)
    where
        K: Copy + Eq,
    {
        assert_eq!(self.keys.len(), self.slots.len());
        for (position, (&key, &slot)) in self.keys.iter().zip(&self.slots).enumerate() {
            assert!(place(slot) == Some((key, position)), "the member at {position} is another one");
        }
    }
}
