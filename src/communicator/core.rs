//! The state of the loop. It stores, it never calls: no I/O, no clock, nobody's code. What is the user's is
//! moved out of its slot while it runs, and moved back.

mod connections;
#[cfg(test)]
mod invariants;
#[cfg(test)]
pub(crate) use invariants::Outside;
mod permanent;
mod piping;
mod rates;
mod readiness;
#[cfg(test)]
mod tests;
mod time;
mod writing;

use super::key::{Key, TimerId};
use super::output::{OutQueue, Spares, Written};
use super::slot::{Phase, Ready, Settings, Slot};
use super::timers::{Handle, Timers};
use slab::Slab;
use std::any::Any;
use std::io;
use std::num::NonZeroU64;
use std::rc::Rc;

/// `D` is what a connection does (transport, codec, handler), `F` what a timer calls.
#[derive(Debug)]
pub(crate) struct Core<D, F> {
    slots: Slab<Slot<D>>,
    /// Slots that are not gone.
    live: usize,
    /// Who is to be called in the next turn, longest ready first. Each stands here once; its priority is looked up when the turn begins.
    ready: Vec<(u8, Who)>,
    /// Somebody has another priority than the default one, or had.
    prioritized: bool,
    dirty: Vec<Key>,
    /// By the loop's clock, in nanoseconds.
    timers: Timers<Due<F>>,
    /// By the wall clock, in nanoseconds since 1970.
    dates: Timers<Due<F>>,
    /// Timers that keep the loop running: all but those that belong to a connection.
    calls: usize,
    running: Option<Key>,
    /// Something happened to the running connection that it must know before it goes on.
    interrupted: bool,
    defaults: Rc<Settings>,
    spares: Spares,
    /// What is the user's and is not needed any more: to be dropped outside.
    pub(crate) waste: Vec<Box<dyn Any>>,
    pub(crate) stop: bool,
    /// Nothing is written before the end of a turn.
    pub(crate) holds_writes: bool,
    /// Nanoseconds of the loop's clock, set once a turn.
    pub(crate) now: u64,
    /// Turns until now.
    pub(crate) turns: u64,
}

/// Who is to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Connection(Key),
    Timer(TimerId),
}

#[derive(Debug)]
enum Due<F> {
    /// A connection's timeouts are to be looked at.
    Guard(Key),
    Own(Own),
    Call(Call<F>),
}

/// A connection's own timer.
#[derive(Debug, Clone, Copy)]
struct Own {
    key: Key,
    tag: u64,
    /// Where it stands among the connection's timers.
    place: u32,
    /// It is over, and not handed over yet.
    over: bool,
}

#[derive(Debug)]
struct Call<F> {
    /// Away while it runs.
    call: Option<F>,
    /// For a timer that repeats.
    period: Option<NonZeroU64>,
    priority: u8,
    /// It is over, and not called yet.
    over: bool,
}

/// What a connection is called with.
#[derive(Debug)]
pub(crate) struct Begun<D> {
    pub(crate) driver: D,
    pub(crate) ready: Ready,
    pub(crate) due: Vec<Handle>,
    pub(crate) phase: Phase,
    /// A layer is to be put around it.
    pub(crate) upgrade: bool,
    pub(crate) wants_write: bool,
    /// It may be read, by its handler.
    pub(crate) reads: bool,
    /// Everything was written and this side's direction was ended.
    pub(crate) finished: bool,
    pub(crate) settings: Rc<Settings>,
    /// A permanent connection begins an attempt.
    pub(crate) attempt: Option<(u64, u64)>,
}

/// What is needed to write for a connection.
#[derive(Debug)]
pub(crate) struct Writing<D> {
    pub(crate) driver: D,
    pub(crate) out: OutQueue,
    /// `out` is what stands before the queue.
    pub(crate) greeting: bool,
    pub(crate) phase: Phase,
    pub(crate) wants_write: bool,
    /// This side's direction is to be ended when everything is written.
    pub(crate) finish: bool,
    /// As many bytes may be written.
    pub(crate) most: usize,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Wrote {
    pub(crate) result: io::Result<Written>,
    pub(crate) greeting: bool,
    pub(crate) finished: bool,
    pub(crate) wants_write: bool,
}

/// What happened to something that was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queued {
    /// It is written at the end of the turn.
    Later,
    /// There is so much that it should be written now.
    Now,
}

impl<D, F> Core<D, F> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Slab::new(),
            live: 0,
            ready: Vec::new(),
            prioritized: false,
            dirty: Vec::new(),
            timers: Timers::new(),
            dates: Timers::new(),
            calls: 0,
            running: None,
            interrupted: false,
            defaults: Rc::default(),
            spares: Spares::default(),
            waste: Vec::new(),
            stop: false,
            holds_writes: false,
            now: 0,
            turns: 0,
        }
    }

    /// Connections, those that linger too.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Timers that keep the loop running.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.slots
            .iter()
            .filter(|(_, slot)| !slot.gone)
            .map(|(index, slot)| Key { slot: index as u32, generation: slot.generation })
            .collect()
    }

    /// Everything that is somebody's code, to be dropped: connections, timers, and what else there is.
    pub(crate) fn take_all(&mut self) -> (Vec<D>, Vec<F>, Vec<Box<dyn Any>>) {
        let keys = self.keys();
        let drivers = keys.into_iter().filter_map(|key| self.remove(key)).collect();
        let calls = self.timers.drain().chain(self.dates.drain()).filter_map(|due| match due {
            Due::Call(call) => call.call,
            Due::Guard(_) | Due::Own(_) => None,
        });
        (drivers, calls.collect(), std::mem::take(&mut self.waste))
    }

    pub(crate) fn slot(&self, key: Key) -> Option<&Slot<D>> {
        self.slots.get(key.slot as usize).filter(|slot| slot.generation == key.generation && !slot.gone)
    }

    pub(crate) fn timer_ids(&mut self) -> Vec<TimerId> {
        let Core { timers, dates, .. } = self;
        [(false, timers), (true, dates)]
            .into_iter()
            .flat_map(|(wall, timers)| {
                timers.iter_mut().filter(|(_, due)| matches!(due, Due::Call(_))).map(move |(handle, _)| {
                    TimerId { index: handle.index, generation: handle.generation, wall }
                })
            })
            .collect()
    }
}
