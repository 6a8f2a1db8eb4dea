//! Entries that are dropped and not freed yet: to free a million takes longer than anybody should wait.

use super::entries::{Entries, IntoEntries};
use super::index::{Index, Tables};
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::sync::Arc;

/// The three tables of a cache that was cleared. Nothing finds anything in them any more.
pub(super) struct Remains {
    index: Tables,
    order: btree_map::IntoIter<Arc<[u8]>, usize>,
    entries: IntoEntries,
}

impl Remains {
    pub(super) fn new(index: Index, order: BTreeMap<Arc<[u8]>, usize>, entries: Entries) -> Self {
        Self { index: index.into_tables(), order: order.into_iter(), entries: entries.into_entries() }
    }

    /// Frees so many entries; says whether there are more.
    pub(super) fn free(&mut self, budget: usize) -> bool {
        // With so few entries that tables are left at the end, those are small.
        self.index.free_one();
        // Both have the same number.
        self.order.by_ref().take(budget).for_each(drop);
        self.entries.by_ref().take(budget).for_each(drop);
        self.order.len() > 0
    }
}

impl fmt::Debug for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remains({})", self.order.len())
    }
}
