//! Deadlines in order. Those of the next moments stand in a heap, exactly sorted; the others in a wheel, from which they
//! come in time. So setting, moving and cancelling cost the same with a hundred timers and with a million.

mod heap;
mod wheel;

use heap::Heap;
use slab::Slab;
use std::sync::atomic::{AtomicU32, Ordering};
use wheel::Wheel;

/// The deadline of a timer that is kept, but is never due.
pub(crate) const NEVER: u64 = u64::MAX;

/// So many entries are moved without a new buffer.
const MOVING: usize = 1024;

/// A timer's name: an index that is used again, and a generation that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// One count for all, so that a handle of one finds nothing in another.
static NEXT_GENERATION: AtomicU32 = AtomicU32::new(0);

/// Timers with something to hand back when they are due. Times are any ascending count of nanoseconds. Equal deadlines come in
/// the order of their insertion.
#[derive(Debug)]
pub(crate) struct Timers<P> {
    near: Heap,
    far: Wheel,
    nodes: Slab<Node<P>>,
    sequence: u32,
    /// On their way from one bucket to others.
    moving: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    deadline: u64,
    sequence: u32,
    node: u32,
}

/// A cache line: a million of them are looked for in memory one by one.
#[derive(Debug)]
#[repr(align(64))]
struct Node<P> {
    /// Tells where its entry lies: before the wheel's time in the heap, else in the wheel; and for `NEVER` nowhere.
    deadline: u64,
    /// That of its entry: older ones that still lie in the wheel count no more.
    sequence: u32,
    generation: u32,
    /// Where in the heap, if it lies there.
    place: u32,
    payload: P,
}

/// Whether it is the entry of a timer that is set, and not of an earlier setting.
fn is_alive<P>(nodes: &Slab<Node<P>>, entry: &Entry) -> bool {
    nodes
        .get(entry.node as usize)
        .is_some_and(|node| node.sequence == entry.sequence && node.deadline == entry.deadline)
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
        Self {
            near: Heap::default(),
            far: Wheel::default(),
            nodes: Slab::new(),
            sequence: 0,
            moving: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, deadline: u64, payload: P) -> Handle {
        let generation = NEXT_GENERATION.fetch_add(1, Ordering::Relaxed);
        let node = Node { deadline: NEVER, sequence: 0, generation, place: 0, payload };
        let index = self.nodes.insert(node) as u32;
        self.enter(deadline, index);
        Handle { index, generation }
    }

    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut P> {
        self.node(handle).map(|node| &mut node.payload)
    }

    pub(crate) fn remove(&mut self, handle: Handle) -> Option<P> {
        self.leave(handle)?;
        Some(self.nodes.remove(handle.index as usize).payload)
    }

    /// Moves a timer to another deadline; as to the order of equal ones it counts as set anew.
    pub(crate) fn set(&mut self, handle: Handle, deadline: u64) -> bool {
        if self.leave(handle).is_none() {
            return false;
        }
        self.enter(deadline, handle.index);
        true
    }

    /// When to ask for those that are [due](Self::due) again: at the next deadline; or sooner, if that is one of very many that are not
    /// sorted yet.
    pub(crate) fn next_deadline(&mut self) -> Option<u64> {
        match self.near.first() {
            Some(entry) => Some(entry.deadline),
            None => self.far.next(|entry| is_alive(&self.nodes, entry)),
        }
    }

    /// The first timer that is due at `now`, if any, and its deadline; it stays where it is.
    pub(crate) fn due(&mut self, now: u64) -> Option<(Handle, u64)> {
        while self.near.first().is_none() {
            let mut moving = std::mem::take(&mut self.moving);
            let opened = self.far.open(now, &mut moving, |entry| is_alive(&self.nodes, entry));
            for entry in moving.drain(..) {
                self.place(entry);
            }
            moving.shrink_to(MOVING);
            self.moving = moving;
            if !opened {
                break;
            }
        }
        match self.near.first() {
            Some(first) if first.deadline <= now => {
                let generation = self.nodes[first.node as usize].generation;
                Some((Handle { index: first.node, generation }, first.deadline))
            }
            _ => {
                self.far.advance(now);
                None
            }
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Handle, &mut P)> {
        self.nodes.iter_mut().map(|(index, node)| {
            (Handle { index: index as u32, generation: node.generation }, &mut node.payload)
        })
    }

    /// All of them, in no particular order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = P> {
        self.near.clear();
        self.far.clear();
        self.nodes.drain().map(|node| node.payload)
    }

    fn node(&mut self, handle: Handle) -> Option<&mut Node<P>> {
        self.nodes.get_mut(handle.index as usize).filter(|node| node.generation == handle.generation)
    }

    /// A timer that lies nowhere gets a deadline.
    fn enter(&mut self, deadline: u64, index: u32) {
        self.sequence = self.sequence.wrapping_add(1);
        let node = &mut self.nodes[index as usize];
        (node.deadline, node.sequence) = (deadline, self.sequence);
        if deadline != NEVER {
            self.place(Entry { deadline, sequence: self.sequence, node: index });
        }
    }

    fn place(&mut self, entry: Entry) {
        let Self { near, far, nodes, .. } = self;
        match far.bucket(entry.deadline) {
            Some(bucket) => far.insert(bucket, entry),
            None => near.insert(entry, &mut |entry, place| nodes[entry.node as usize].place = place as u32),
        }
    }

    /// A timer lies nowhere from now on.
    fn leave(&mut self, handle: Handle) -> Option<()> {
        let node = self.node(handle)?;
        let (deadline, place) = (std::mem::replace(&mut node.deadline, NEVER), node.place as usize);
        let Self { near, far, nodes, .. } = self;
        if deadline == NEVER {
            return Some(());
        }
        match far.bucket(deadline) {
            Some(bucket) => far.remove(bucket, deadline, |entry| is_alive(nodes, entry)),
            None => near.remove(place, &mut |entry, place| nodes[entry.node as usize].place = place as u32),
        }
        Some(())
    }

    /// A timer and its deadline.
    #[cfg(test)]
    pub(crate) fn get(&self, handle: Handle) -> Option<(u64, &P)> {
        let node =
            self.nodes.get(handle.index as usize).filter(|node| node.generation == handle.generation)?;
        Some((node.deadline, &node.payload))
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, &P)> {
        self.nodes
            .iter()
            .map(|(index, node)| (Handle { index: index as u32, generation: node.generation }, &node.payload))
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        self.near.check_invariants();
        let lie = self.near.entries().len() + self.far.check_invariants(|entry| is_alive(&self.nodes, entry));
        assert_eq!(lie, self.nodes.iter().filter(|(_, node)| node.deadline != NEVER).count());
        for (place, entry) in self.near.entries().iter().enumerate() {
            assert!(is_alive(&self.nodes, entry), "{entry:?}");
            assert_eq!(self.nodes[entry.node as usize].place as usize, place);
            assert_eq!(self.far.bucket(entry.deadline), None, "{entry:?} belongs into the wheel");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pop(timers: &mut Timers<u32>, now: u64) -> Option<u32> {
        let (handle, _) = timers.due(now)?;
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

    #[test]
    fn a_timer_that_is_never_due_is_kept() {
        let mut timers = Timers::new();
        let handle = timers.insert(NEVER, 1);
        assert_eq!((timers.next_deadline(), timers.due(NEVER)), (None, None));
        assert!(timers.set(handle, 7));
        assert_eq!((timers.next_deadline(), timers.due(7)), (Some(7), Some((handle, 7))));
        assert!(timers.set(handle, NEVER));
        assert_eq!((timers.due(NEVER), timers.remove(handle)), (None, Some(1)));
    }

    #[test]
    fn a_few_timers_are_waited_for_without_waking_in_between() {
        let hour = 3_600_000_000_000;
        let mut timers = Timers::new();
        for n in 0..60 {
            timers.insert(u64::from(n) * hour + 17, n);
        }
        let (mut now, mut asked) = (0, 0);
        for n in 0..60 {
            asked += 1;
            now = timers.next_deadline().unwrap().max(now);
            assert_eq!(pop(&mut timers, now), Some(n));
            assert_eq!(pop(&mut timers, now), None);
        }
        assert_eq!((asked, timers.next_deadline()), (60, None));
    }

    #[test]
    fn very_many_timers_are_waited_for_in_a_few_steps() {
        let mut timers = Timers::new();
        let at = 3_600_000_000_000;
        for n in 0..10_000 {
            timers.insert(at + u64::from(n), n);
        }
        let mut steps = 0;
        let first = loop {
            let now = timers.next_deadline().unwrap();
            assert!(now <= at);
            steps += 1;
            if let Some(first) = pop(&mut timers, now) {
                break first;
            }
        };
        assert_eq!(first, 0);
        assert!(steps <= 10, "{steps}");
    }

    /// Times of all sizes, and equal ones.
    fn time() -> impl Strategy<Value = u64> {
        prop_oneof![0_u64..50, 0_u64..5_000_000, 0_u64..10_000_000_000, 0_u64..1 << 45, any::<u64>()]
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_list(steps in prop::collection::vec((0_u8..6, time(), any::<prop::sample::Index>()), 1..300)) {
            let mut timers = Timers::new();
            let mut model: Vec<(u64, u32, Handle, u32)> = vec![]; // deadline, order, handle, payload
            let mut now = 0_u64;
            for (n, (what, time, which)) in steps.into_iter().enumerate() {
                let n = n as u32;
                match what {
                    0..=2 => { let handle = timers.insert(time, n); model.push((time, n, handle, n)); }
                    3 if !model.is_empty() => {
                        let at = which.index(model.len());
                        let (_, _, handle, payload) = model.remove(at);
                        prop_assert_eq!(timers.remove(handle), Some(payload));
                    }
                    4 if !model.is_empty() => {
                        let at = which.index(model.len());
                        model[at].0 = time;
                        model[at].1 = n;
                        prop_assert!(timers.set(model[at].2, time));
                    }
                    5 => {
                        // The wall clock may go back, too.
                        now = if time % 8 == 0 { time / 2 } else { now.saturating_add(time / 1000) };
                        model.sort_by_key(|entry| (entry.0, entry.1));
                        while model.first().is_some_and(|entry| entry.0 <= now) {
                            prop_assert_eq!(pop(&mut timers, now), Some(model.remove(0).3));
                        }
                        prop_assert_eq!(pop(&mut timers, now), None);
                    }
                    _ => {}
                }
                timers.check_invariants();
                let first = model.iter().map(|entry| entry.0).filter(|&at| at != NEVER).min();
                let next = timers.next_deadline();
                prop_assert_eq!(next.is_some(), first.is_some());
                prop_assert!(next <= first);
                // A few are waited for exactly.
                prop_assert!(model.len() > 60 || next == first);
            }
            model.sort_by_key(|entry| (entry.0, entry.1));
            for entry in model.into_iter().filter(|entry| entry.0 != NEVER) {
                prop_assert_eq!(pop(&mut timers, NEVER - 1), Some(entry.3));
            }
            prop_assert_eq!(timers.next_deadline(), None);
        }
    }
}
