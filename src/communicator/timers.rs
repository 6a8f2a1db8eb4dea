//! Deadlines in order. They stand in a wheel, roughly sorted. Those of the moment that has begun come out of it all together, are
//! sorted once, and are handed over one by one; what is set for that moment only now stands in a heap beside them. So setting, moving
//! and cancelling cost the same with a hundred timers and with a million.

mod heap;
mod wheel;

use heap::Heap;
use slab::Slab;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use wheel::{Opened, Wheel};

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

/// One count for all, so that a handle of one finds nothing in another. Each takes many at once.
static NEXT_GENERATIONS: AtomicU32 = AtomicU32::new(0);
const GENERATIONS: u32 = 1 << 10;

/// Timers with something to hand back when they are due. Times are any ascending count of nanoseconds. Equal deadlines come in
/// the order of their insertion.
#[derive(Debug)]
pub(crate) struct Timers<P> {
    /// Those that came out of the wheel last, in order; among them some that count no more.
    run: VecDeque<Entry>,
    /// Those that were set when the wheel was past their time already.
    near: Heap,
    far: Wheel,
    nodes: Slab<Node<P>>,
    sequence: u32,
    next_generation: u32,
    /// On their way from one bucket to others.
    moving: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    deadline: u64,
    sequence: u32,
    node: u32,
}

/// Not aligned to a cache line, which it nearly fills: the allocator can't enlarge what is aligned in place.
#[derive(Debug)]
struct Node<P> {
    /// Tells where its entry lies: before the wheel's time in the run or in the heap, else in the wheel; and for `NEVER` nowhere.
    deadline: u64,
    /// That of its entry: older ones that still lie somewhere count no more.
    sequence: u32,
    generation: u32,
    /// Where in the heap, from 1; 0 if it does not lie there.
    place: u32,
    payload: P,
}

/// Whether it is the entry of a timer that is set, and not of an earlier setting.
fn is_alive<P>(nodes: &Slab<Node<P>>, entry: &Entry) -> bool {
    nodes
        .get(entry.node as usize)
        .is_some_and(|node| node.sequence == entry.sequence && node.deadline == entry.deadline)
}

/// Where the first one lies.
#[derive(Debug, Clone, Copy)]
enum Place {
    Run,
    Near,
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
            run: VecDeque::new(),
            near: Heap::default(),
            far: Wheel::default(),
            nodes: Slab::new(),
            sequence: 0,
            next_generation: 0,
            moving: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, deadline: u64, payload: P) -> Handle {
        let generation = self.generation();
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
        match self.first() {
            Some((entry, _)) => Some(entry.deadline),
            None => self.far.next(|entry| is_alive(&self.nodes, entry)),
        }
    }

    /// Takes the first timer that is due at `now`, if any, and its deadline. From then on it is never due, until it is
    /// [set](Self::set) again.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<(Handle, u64)> {
        while self.first().is_none() && self.open(now) {}
        let Some((Entry { deadline, node: index, .. }, place)) =
            self.first().filter(|(first, _)| first.deadline <= now)
        else {
            self.far.advance(now);
            return None;
        };
        match place {
            Place::Run => {
                self.run.pop_front();
                if self.run.is_empty() {
                    self.run.shrink_to(MOVING);
                }
            }
            Place::Near => {
                let Self { near, nodes, .. } = self;
                near.remove(0, &mut |entry, place| nodes[entry.node as usize].place = place as u32 + 1);
            }
        }
        let node = self.nodes.get_mut(index as usize)?;
        node.deadline = NEVER;
        Some((Handle { index, generation: node.generation }, deadline))
    }

    /// The first one of those that are out of the wheel.
    fn first(&mut self) -> Option<(Entry, Place)> {
        while self.run.front().is_some_and(|entry| !is_alive(&self.nodes, entry)) {
            self.run.pop_front();
        }
        match (self.run.front(), self.near.first()) {
            // What came out of the wheel was set earlier.
            (Some(run), Some(near)) if near.deadline < run.deadline => Some((*near, Place::Near)),
            (Some(run), _) => Some((*run, Place::Run)),
            (None, near) => near.map(|near| (*near, Place::Near)),
        }
    }

    /// Opens the first bucket of the wheel, if it begins at `now` or before: its entries go into finer ones; or into the run, if it is
    /// one of the finest.
    fn open(&mut self, now: u64) -> bool {
        let mut moving = std::mem::take(&mut self.moving);
        let opened = self.far.open(now, &mut moving, |entry| is_alive(&self.nodes, entry));
        match opened {
            Some(Opened::Finest) => {
                self.run.extend(moving.drain(..));
                // A bucket has those of one deadline in the order in which they were set, and that stays.
                self.run.make_contiguous().sort_by_key(|entry| entry.deadline);
            }
            Some(Opened::Coarse) | None => moving.drain(..).for_each(|entry| self.place(entry)),
        }
        moving.shrink_to(MOVING);
        self.moving = moving;
        opened.is_some()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Handle, &mut P)> {
        self.nodes.iter_mut().map(|(index, node)| {
            (Handle { index: index as u32, generation: node.generation }, &mut node.payload)
        })
    }

    /// All of them, in no particular order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = P> {
        self.run.clear();
        self.near.clear();
        self.far.clear();
        self.nodes.drain().map(|node| node.payload)
    }

    fn generation(&mut self) -> u32 {
        if self.next_generation.is_multiple_of(GENERATIONS) {
            self.next_generation = NEXT_GENERATIONS.fetch_add(GENERATIONS, Ordering::Relaxed);
        }
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        generation
    }

    fn node(&mut self, handle: Handle) -> Option<&mut Node<P>> {
        self.nodes.get_mut(handle.index as usize).filter(|node| node.generation == handle.generation)
    }

    /// A timer that lies nowhere gets a deadline.
    fn enter(&mut self, deadline: u64, index: u32) {
        self.sequence = self.sequence.wrapping_add(1);
        let node = &mut self.nodes[index as usize];
        (node.deadline, node.sequence, node.place) = (deadline, self.sequence, 0);
        if deadline != NEVER {
            self.place(Entry { deadline, sequence: self.sequence, node: index });
        }
    }

    fn place(&mut self, entry: Entry) {
        let Self { near, far, nodes, .. } = self;
        match far.bucket(entry.deadline) {
            Some(bucket) => far.insert(bucket, entry),
            None => {
                near.insert(entry, &mut |entry, place| nodes[entry.node as usize].place = place as u32 + 1)
            }
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
        match (far.bucket(deadline), place) {
            (Some(bucket), _) => far.remove(bucket, deadline, |entry| is_alive(nodes, entry)),
            (None, 0) => {} // it stays in the run, and counts no more
            (None, place) => {
                near.remove(place - 1, &mut |entry, place| {
                    nodes[entry.node as usize].place = place as u32 + 1
                });
            }
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
        let run = self.run.iter().filter(|entry| is_alive(&self.nodes, entry));
        let far = self.far.check_invariants(|entry| is_alive(&self.nodes, entry));
        let lie = self.near.entries().len() + run.clone().count() + far;
        assert_eq!(lie, self.nodes.iter().filter(|(_, node)| node.deadline != NEVER).count());
        for (place, entry) in self.near.entries().iter().enumerate() {
            assert!(is_alive(&self.nodes, entry), "{entry:?}");
            assert_eq!(self.nodes[entry.node as usize].place as usize, place + 1);
            assert_eq!(self.far.bucket(entry.deadline), None, "{entry:?} belongs into the wheel");
        }
        assert!(self.run.iter().is_sorted_by_key(|entry| entry.deadline));
        for entry in run {
            assert_eq!(self.nodes[entry.node as usize].place, 0, "{entry:?} is in the run");
            assert_eq!(self.far.bucket(entry.deadline), None, "{entry:?} belongs into the wheel");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pop(timers: &mut Timers<u32>, now: u64) -> Option<u32> {
        let (handle, _) = timers.take_due(now)?;
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
        assert_eq!((timers.next_deadline(), timers.take_due(NEVER)), (None, None));
        assert!(timers.set(handle, 7));
        assert_eq!((timers.next_deadline(), timers.take_due(7)), (Some(7), Some((handle, 7))));
        assert_eq!((timers.next_deadline(), timers.take_due(NEVER)), (None, None));
        assert_eq!(timers.remove(handle), Some(1));
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
