//! Deadlines in order: a 4-ary heap whose entries know their place, so that a timer can be removed or moved.

use slab::Slab;
use std::sync::atomic::{AtomicU32, Ordering};

/// A timer's name: an index that is used again, and a generation that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// One count for all, so that a handle of one finds nothing in another.
static NEXT_GENERATION: AtomicU32 = AtomicU32::new(0);

/// Timers with something to hand back when they are due. Times are any ascending count;
/// the loop uses nanoseconds since it was made. Equal deadlines come in the order of their insertion.
#[derive(Debug)]
pub(crate) struct Timers<P> {
    heap: Vec<Entry>,
    nodes: Slab<Node<P>>,
    sequence: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    deadline: u64,
    sequence: u32,
    node: u32,
}

#[derive(Debug)]
struct Node<P> {
    generation: u32,
    place: u32,
    payload: P,
}

impl Entry {
    /// Wraps with the sequence: two timers with the same deadline that were set 2³¹ timers
    /// apart may come in the wrong order, which nobody can see.
    fn before(&self, other: &Self) -> bool {
        self.deadline < other.deadline
            || (self.deadline == other.deadline && (self.sequence.wrapping_sub(other.sequence) as i32) < 0)
    }
}

impl<P> Timers<P> {
    pub(crate) fn new() -> Self {
        Self { heap: Vec::new(), nodes: Slab::new(), sequence: 0 }
    }

    pub(crate) fn insert(&mut self, deadline: u64, payload: P) -> Handle {
        let generation = NEXT_GENERATION.fetch_add(1, Ordering::Relaxed);
        let place = self.heap.len() as u32;
        let node = self.nodes.insert(Node { generation, place, payload }) as u32;
        let sequence = self.next_sequence();
        self.heap.push(Entry { deadline, sequence, node });
        self.sift_up(place as usize);
        Handle { index: node, generation }
    }

    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut P> {
        self.node(handle).map(|node| &mut node.payload)
    }

    pub(crate) fn remove(&mut self, handle: Handle) -> Option<P> {
        let place = self.node(handle)?.place as usize;
        self.remove_at(place);
        Some(self.nodes.remove(handle.index as usize).payload)
    }

    /// Moves a timer to another deadline; as to the order of equal ones it counts as set anew.
    pub(crate) fn set(&mut self, handle: Handle, deadline: u64) -> bool {
        let Some(node) = self.node(handle) else { return false };
        let place = node.place as usize;
        let sequence = self.next_sequence();
        let old = self.heap[place];
        self.heap[place] = Entry { deadline, sequence, node: old.node };
        if deadline < old.deadline {
            self.sift_up(place);
        } else {
            self.sift_down(place);
        }
        true
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.deadline)
    }

    /// The first timer that is due at `now`, if any; it stays where it is.
    pub(crate) fn due(&self, now: u64) -> Option<Handle> {
        let first = self.heap.first().filter(|entry| entry.deadline <= now)?;
        Some(Handle { index: first.node, generation: self.nodes[first.node as usize].generation })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Handle, &mut P)> {
        self.nodes.iter_mut().map(|(index, node)| {
            (Handle { index: index as u32, generation: node.generation }, &mut node.payload)
        })
    }

    /// All of them, in no particular order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = P> {
        self.heap.clear();
        self.nodes.drain().map(|node| node.payload)
    }

    fn node(&mut self, handle: Handle) -> Option<&mut Node<P>> {
        self.nodes.get_mut(handle.index as usize).filter(|node| node.generation == handle.generation)
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn remove_at(&mut self, place: usize) {
        let last = self.heap.len() - 1;
        self.heap.swap(place, last);
        self.heap.pop();
        if place < last {
            self.nodes[self.heap[place].node as usize].place = place as u32;
            self.sift_down(place);
            self.sift_up(place);
        }
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.nodes[entry.node as usize].place = place as u32;
    }

    fn sift_up(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / 4;
            if !entry.before(&self.heap[parent]) {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
    }

    fn sift_down(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let first = 4 * place + 1;
            let Some(least) = (first..(first + 4).min(self.heap.len()))
                .reduce(|a, b| if self.heap[b].before(&self.heap[a]) { b } else { a })
            else {
                break;
            };
            if !self.heap[least].before(&entry) {
                break;
            }
            self.put(place, self.heap[least]);
            place = least;
        }
        self.put(place, entry);
    }

    /// A timer and its deadline.
    #[cfg(test)]
    pub(crate) fn get(&self, handle: Handle) -> Option<(u64, &P)> {
        let node =
            self.nodes.get(handle.index as usize).filter(|node| node.generation == handle.generation)?;
        Some((self.heap[node.place as usize].deadline, &node.payload))
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, &P)> {
        self.nodes
            .iter()
            .map(|(index, node)| (Handle { index: index as u32, generation: node.generation }, &node.payload))
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.heap.len(), self.nodes.len());
        for (place, entry) in self.heap.iter().enumerate() {
            assert_eq!(self.nodes[entry.node as usize].place as usize, place);
            if place > 0 {
                assert!(!entry.before(&self.heap[(place - 1) / 4]), "the heap is out of order at {place}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pop(timers: &mut Timers<u32>, now: u64) -> Option<u32> {
        let handle = timers.due(now)?;
        timers.remove(handle)
    }

    #[test]
    fn equal_deadlines_come_in_the_order_of_their_insertion() {
        let mut timers = Timers::new();
        for n in 0..100 {
            timers.insert(5, n);
        }
        assert_eq!(pop(&mut timers, 4), None);
        for n in 0..100 {
            assert_eq!(pop(&mut timers, 5), Some(n));
        }
    }

    #[test]
    fn a_handle_of_a_removed_timer_finds_nothing_though_its_index_is_used_again() {
        let mut timers = Timers::new();
        let old = timers.insert(1, 1);
        assert_eq!(timers.remove(old), Some(1));
        let new = timers.insert(2, 2);
        assert_eq!(old.index, new.index);
        assert_eq!(timers.remove(old), None);
        assert!(!timers.set(old, 9));
        assert_eq!(timers.get_mut(new), Some(&mut 2));
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_list(steps in prop::collection::vec((0u8..4, 0u64..50, any::<prop::sample::Index>()), 1..200)) {
            let mut timers = Timers::new();
            let mut model: Vec<(u64, u32, Handle, u32)> = vec![]; // deadline, order, handle, payload
            for (n, (what, time, which)) in steps.into_iter().enumerate() {
                let n = n as u32;
                match what {
                    0 | 1 => { let handle = timers.insert(time, n); model.push((time, n, handle, n)); }
                    2 if !model.is_empty() => {
                        let at = which.index(model.len());
                        let (_, _, handle, payload) = model.remove(at);
                        prop_assert_eq!(timers.remove(handle), Some(payload));
                    }
                    3 if !model.is_empty() => {
                        let at = which.index(model.len());
                        model[at].0 = time;
                        model[at].1 = n;
                        prop_assert!(timers.set(model[at].2, time));
                    }
                    _ => {}
                }
                timers.check_invariants();
                model.sort_by_key(|entry| (entry.0, entry.1));
                prop_assert_eq!(timers.next_deadline(), model.first().map(|entry| entry.0));
            }
            for entry in model {
                prop_assert_eq!(pop(&mut timers, u64::MAX), Some(entry.3));
            }
            prop_assert!(timers.heap.is_empty());
        }
    }
}
