//! The state of the loop. It stores, it never calls: no I/O, no clock, nobody's code. What is the user's is
//! moved out of its slot while it runs, and moved back.

#[cfg(test)]
mod invariants;
#[cfg(test)]
pub(crate) use invariants::Outside;
#[cfg(test)]
mod tests;

use super::error::{Closed, SendError, UpgradeError};
use super::key::{Key, TimerId, next_generation};
use super::output::{OutQueue, Spares, Written};
use super::settings::Timeout;
use super::slot::{Limit, Phase, Ready, Settings, Slot, Upgrade, nanos};
use super::timers::{Handle, Timers};
use slab::Slab;
use std::any::Any;
use std::io;
use std::mem::take;
use std::rc::Rc;
use std::time::Duration;

/// A queue that is as long as this is written at once and not at the end of the turn.
const WRITE_AT_ONCE: usize = 128 << 10;
/// So long a closed connection waits at most for the other side to end too, where closing at once could destroy
/// what was just written.
const WAIT_FOR_PEER: Duration = Duration::from_secs(2);
/// A timer that has fired and waits for its call.
const NEVER: u64 = u64::MAX;

/// `D` is what a connection does (transport, codec, handler), `F` what a timer calls.
#[derive(Debug)]
pub(crate) struct Core<D, F> {
    slots: Slab<Slot<D>>,
    /// Slots that are not gone.
    live: usize,
    /// Who is to be called in the next turn, longest ready first. Each stands here once.
    ready: Vec<Who>,
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
    /// A connection's own timer.
    Tagged(Key, u64),
    Call(Call<F>),
}

#[derive(Debug)]
struct Call<F> {
    /// Away while it runs.
    call: Option<F>,
    /// Start and period, for a timer that repeats.
    grid: Option<(u64, u64)>,
    priority: u8,
}

/// What a connection is called with.
#[derive(Debug)]
pub(crate) struct Begun<D> {
    pub(crate) driver: D,
    pub(crate) ready: Ready,
    pub(crate) due: Vec<Handle>,
    pub(crate) phase: Phase,
    pub(crate) wants_write: bool,
    /// Everything was written and this side's direction was ended.
    pub(crate) finished: bool,
    pub(crate) settings: Rc<Settings>,
}

/// What is needed to write for a connection.
#[derive(Debug)]
pub(crate) struct Writing<D> {
    pub(crate) driver: D,
    pub(crate) out: OutQueue,
    pub(crate) phase: Phase,
    pub(crate) wants_write: bool,
    /// This side's direction is to be ended when everything is written.
    pub(crate) finish: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Wrote {
    pub(crate) result: io::Result<Written>,
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
            now: 0,
            turns: 0,
        }
    }

    // ---- connections come and go ---------------------------------------------------------------

    /// Makes a slot; what goes into it comes with [`place`](Self::place), once it is registered with the poll.
    pub(crate) fn insert(&mut self, kind: &'static str, phase: Phase, now: u64) -> Key {
        let generation = next_generation();
        self.live += 1;
        let slot = Slot::new(generation, phase, kind, self.defaults.clone(), now);
        Key { slot: self.slots.insert(slot) as u32, generation }
    }

    /// Gives the driver back if the slot was removed meanwhile.
    #[must_use]
    pub(crate) fn place(&mut self, key: Key, driver: D, wants_write: bool) -> Option<D> {
        let Some(slot) = self.any(key) else { return Some(driver) };
        slot.driver = Some(driver);
        slot.wants_write = wants_write;
        if slot.phase == Phase::Connecting {
            self.make_ready(key, Ready::ADDED);
        }
        self.guard(key);
        None
    }

    /// A slot, whatever its phase, unless it was removed.
    pub(crate) fn any(&mut self, key: Key) -> Option<&mut Slot<D>> {
        self.slots.get_mut(key.slot as usize).filter(|slot| slot.generation == key.generation && !slot.gone)
    }

    /// A slot that can be named: neither closed nor removed.
    pub(crate) fn open(&mut self, key: Key) -> Option<&mut Slot<D>> {
        self.any(key).filter(|slot| slot.is_open())
    }

    /// Takes a connection out of the loop. Gives back what is to be dropped, now or, if it runs, by
    /// [`end`](Self::end).
    #[must_use]
    pub(crate) fn remove(&mut self, key: Key) -> Option<D> {
        let slot = self.any(key)?;
        slot.gone = true;
        let upgrade = slot.upgrade.take();
        let driver = slot.driver.take();
        let (guard, timers, parent) = (slot.guard.take(), take(&mut slot.timers), slot.parent);
        for handle in guard.map(|guard| guard.0).into_iter().chain(timers) {
            self.timers.remove(handle);
        }
        self.waste.extend(upgrade.map(|upgrade| upgrade.layer));
        self.live -= 1;
        if let Some(parent) = parent
            && let Some(listener) = self.any(parent)
        {
            listener.children -= 1;
            if listener.children + 1 == listener.most_children {
                self.make_ready(parent, Ready::INPUT);
            }
        }
        if self.running == Some(key) {
            self.interrupted = true;
        } else {
            self.discard_slot(key);
        }
        driver
    }

    fn discard_slot(&mut self, key: Key) {
        let mut slot = self.slots.remove(key.slot as usize);
        slot.out.clear(&mut self.spares);
    }

    /// No more callbacks but `closed`, and no more input; output lingers. Gives `why` back, which may hold somebody's error, if
    /// there is nothing to close.
    pub(crate) fn close(&mut self, key: Key, why: Closed) -> Result<(), Closed> {
        let Some(slot) = self.open(key) else { return Err(why) };
        slot.phase = Phase::Ending;
        slot.end = Some(why);
        if let Some(upgrade) = slot.upgrade.take() {
            // Never without the layer what was meant for it.
            let mut inside = std::mem::replace(&mut slot.out, upgrade.before);
            inside.clear(&mut self.spares);
            self.waste.push(upgrade.layer);
        }
        if self.running == Some(key) {
            self.interrupted = true;
        }
        self.make_ready(key, Ready::ENDED);
        Ok(())
    }

    /// The reason to hand to `closed`, once; from then on the connection lingers.
    pub(crate) fn take_end(&mut self, key: Key) -> Option<Closed> {
        let now = self.now;
        let slot = self.any(key).filter(|slot| slot.phase == Phase::Ending)?;
        slot.phase = Phase::Lingering;
        slot.linger_until = now.saturating_add(nanos(slot.settings.timeouts.linger));
        slot.ready = slot.ready.without(Ready::ENDED);
        slot.finishing = true;
        let blocked = slot.blocked;
        let (end, timers) = (slot.end.take(), take(&mut slot.timers));
        slot.due.clear();
        slot.ready = slot.ready.without(Ready::LATER);
        for handle in timers {
            self.timers.remove(handle);
        }
        if blocked {
            // The other side may wait until it has got rid of what nobody has read.
            self.make_ready(key, Ready::INPUT);
        }
        self.guard(key);
        end
    }

    // ---- who is called, and when ------------------------------------------------------------------

    pub(crate) fn make_ready(&mut self, key: Key, why: Ready) {
        let Some(slot) = self.any(key) else { return };
        slot.ready.add(why);
        if !slot.listed && !slot.callable().is_empty() {
            slot.listed = true;
            self.ready.push(Who::Connection(key));
        }
    }

    /// What the poll says of a connection.
    pub(crate) fn event(&mut self, key: Key, input: bool, output: bool, hangup: bool) {
        let Some(slot) = self.any(key) else { return };
        slot.hung_up |= hangup;
        let mut why = Ready::default();
        if input || hangup {
            why.add(Ready::INPUT);
        }
        if output {
            if slot.phase == Phase::Connecting {
                why.add(Ready::INPUT);
            } else {
                slot.blocked = false;
                self.make_dirty(key);
            }
        }
        if !why.is_empty() {
            self.make_ready(key, why);
        }
    }

    /// Who is to be called in this turn, in order: by priority, then by how long it has been ready.
    pub(crate) fn take_ready(&mut self, turn: &mut Vec<(u8, Who)>) {
        turn.clear();
        let mut ready = take(&mut self.ready);
        for who in ready.drain(..) {
            let priority = match who {
                Who::Connection(key) => self.any(key).map(|slot| slot.priority),
                Who::Timer(id) => self.call(id).map(|call| call.priority),
            };
            turn.extend(priority.map(|priority| (priority, who)));
        }
        self.ready = ready;
        turn.sort_by_key(|&(priority, _)| priority); // stable: the order of readiness stays
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.dirty.is_empty()
    }

    /// Takes a connection out of its slot for its call, if it may be called.
    pub(crate) fn begin(&mut self, key: Key) -> Option<Begun<D>> {
        let slot = self.any(key)?;
        slot.listed = false;
        let ready = slot.callable();
        if ready.is_empty() {
            return None;
        }
        let driver = slot.driver.take()?;
        slot.ready = slot.ready.without(ready);
        let mut told = ready;
        if slot.hung_up {
            told.add(Ready::HANGUP);
        }
        let begun = Begun {
            driver,
            ready: told,
            due: if ready.has(Ready::TIMERS) { take(&mut slot.due) } else { Vec::new() },
            phase: slot.phase,
            wants_write: slot.wants_write,
            finished: slot.finished,
            settings: slot.settings.clone(),
        };
        self.running = Some(key);
        self.interrupted = false;
        if ready.has(Ready::TIMEOUTS) {
            self.guard(key); // they run again
        }
        Some(begun)
    }

    /// Puts a connection back after its call. Gives it back if it was removed meanwhile.
    #[must_use]
    pub(crate) fn end(&mut self, key: Key, driver: D, wants_write: bool) -> Option<D> {
        self.running = None;
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.gone {
            self.discard_slot(key);
            return Some(driver);
        }
        slot.driver = Some(driver);
        slot.wants_write = wants_write;
        None
    }

    /// What a call did not hand over, because the connection was switched off during it, comes again when it is on.
    pub(crate) fn put_back(&mut self, key: Key, why: Ready, due: &[Handle]) {
        let Some(slot) = self.open(key) else { return };
        let set = due.iter().filter(|timer| slot.timers.contains(timer));
        slot.due.splice(..0, set.copied());
        let why = if slot.due.is_empty() { why.without(Ready::TIMERS) } else { why };
        self.make_ready(key, why);
    }

    /// Whether the running connection may have been closed, removed, disabled or stopped, or has much to write.
    pub(crate) fn interrupted(&mut self) -> bool {
        take(&mut self.interrupted)
    }

    /// Whether a connection that runs may be called once more.
    pub(crate) fn may_call(&mut self, key: Key) -> bool {
        self.open(key).is_some_and(|slot| slot.enabled)
    }

    /// Whether a connection that runs may go on reading.
    pub(crate) fn may_read(&mut self, key: Key) -> bool {
        self.open(key).is_some_and(|slot| slot.enabled && slot.reading && slot.upgrade.is_none())
    }

    /// What the transport is and tells, now that it is established.
    pub(crate) fn describe(&mut self, key: Key, kind: &'static str, about: Option<Rc<dyn Any>>) {
        if let Some(slot) = self.open(key) {
            (slot.kind, slot.about) = (kind, about);
        }
    }

    pub(crate) fn established(&mut self, key: Key) {
        let now = self.now;
        if let Some(slot) = self.open(key) {
            slot.phase = Phase::Open;
            slot.blocked = false;
            (slot.last_read, slot.last_write, slot.idle_since) = (now, now, now);
            if !slot.out.is_empty() || slot.finishing || slot.pressed {
                self.make_dirty(key);
            }
            // The limit for connecting must not wake an idle loop.
            self.unguard(key);
            self.guard(key);
            self.make_ready(key, Ready::default()); // what had to wait for this
        }
    }

    /// Before anything else is read or written the connection puts a layer around its transport, and is
    /// established anew. A layer that is refused comes back.
    pub(crate) fn upgrade(
        &mut self,
        key: Key,
        layer: Box<dyn Any>,
    ) -> Result<(), (UpgradeError, Box<dyn Any>)> {
        let running = self.running == Some(key);
        let Some(slot) = self.open(key).filter(|slot| !slot.finishing && slot.write_error.is_none()) else {
            return Err((UpgradeError::Gone, layer));
        };
        if slot.phase == Phase::Connecting || slot.upgrade.is_some() {
            return Err((UpgradeError::Busy, layer));
        }
        slot.upgrade = Some(Box::new(Upgrade { layer, before: take(&mut slot.out) }));
        self.interrupted |= running;
        self.make_ready(key, Ready::UPGRADE);
        Ok(())
    }

    /// The layer that the connection has to put around its transport now.
    pub(crate) fn take_upgrade(&mut self, key: Key) -> Option<Upgrade> {
        let now = self.now;
        let slot = self.open(key)?;
        let upgrade = slot.upgrade.take()?;
        slot.phase = Phase::Connecting;
        slot.added = now;
        slot.bytes_out += upgrade.before.len() as u64;
        self.guard(key);
        self.make_ready(key, Ready::default()); // input that was not read may be of the handshake
        Some(*upgrade)
    }

    pub(crate) fn discard_output(&mut self, key: Key) {
        let Some(slot) = self.any(key) else { return };
        let mut out = take(&mut slot.out);
        out.clear(&mut self.spares);
    }

    pub(crate) fn set_enabled(&mut self, key: Key, enabled: bool) -> bool {
        let (running, now) = (self.running == Some(key), self.now);
        let Some(slot) = self.open(key) else { return false };
        if slot.phase == Phase::Connecting && enabled && !slot.enabled {
            slot.added = slot.added.max(now); // the time for connecting has waited
        }
        slot.enabled = enabled;
        self.interrupted |= running;
        self.guard(key);
        self.make_ready(key, Ready::default());
        true
    }

    pub(crate) fn set_reading(&mut self, key: Key, reading: bool) -> bool {
        let running = self.running == Some(key);
        let Some(slot) = self.open(key) else { return false };
        slot.reading = reading;
        self.interrupted |= running;
        self.make_ready(key, Ready::default());
        true
    }

    pub(crate) fn received(&mut self, key: Key, bytes: usize, items: u64) {
        let now = self.now;
        if let Some(slot) = self.any(key) {
            slot.bytes_in += bytes as u64;
            slot.items_in += items;
            if bytes > 0 {
                (slot.last_read, slot.heard) = (now, now);
            }
        }
    }

    pub(crate) fn set_unread(&mut self, key: Key, bytes: usize) {
        if let Some(slot) = self.any(key) {
            slot.unread = bytes;
        }
    }

    /// Counts an accepted connection for its listener, from which it has its settings.
    pub(crate) fn set_parent(&mut self, key: Key, parent: Key) {
        let Some(settings) = self.open(parent).map(|listener| listener.settings.clone()) else { return };
        let Some(slot) = self.any(key) else { return };
        slot.parent = Some(parent);
        slot.settings = settings;
        if let Some(listener) = self.open(parent) {
            listener.children += 1;
        }
        self.guard(key);
    }

    /// Whether a listener may accept one more.
    pub(crate) fn has_room(&mut self, key: Key) -> bool {
        self.open(key).is_some_and(|slot| slot.children < slot.most_children)
    }

    /// All is written; it only waits for the other side to end, and not for long.
    pub(crate) fn wait_for_peer(&mut self, key: Key) {
        let until = self.now.saturating_add(nanos(WAIT_FOR_PEER));
        if let Some(slot) = self.any(key) {
            slot.linger_until = slot.linger_until.min(until);
        }
        self.guard(key);
    }

    // ---- output -----------------------------------------------------------------------------------

    pub(crate) fn queue(&mut self, key: Key, bytes: &[u8]) -> Result<Queued, SendError> {
        let slot = Self::writable(&mut self.slots, key)?;
        let first = slot.out.is_empty();
        slot.out.push(bytes, &mut self.spares);
        Ok(self.queued(key, first))
    }

    pub(crate) fn queue_shared(&mut self, key: Key, bytes: &Rc<Vec<u8>>) -> Result<Queued, SendError> {
        let slot = Self::writable(&mut self.slots, key)?;
        let first = slot.out.is_empty();
        slot.out.push_shared(bytes, &mut self.spares);
        Ok(self.queued(key, first))
    }

    fn writable(slots: &mut Slab<Slot<D>>, key: Key) -> Result<&mut Slot<D>, SendError> {
        let slot = slots
            .get_mut(key.slot as usize)
            .filter(|slot| slot.generation == key.generation && slot.is_open())
            .ok_or(SendError::Gone)?;
        if slot.finishing || slot.write_error.is_some() {
            return Err(SendError::Gone);
        }
        let queued = slot.out.len();
        if queued >= slot.settings.limits.output {
            slot.pressed = true;
            return Err(SendError::Full { queued });
        }
        Ok(slot)
    }

    /// `first`: nothing was queued before.
    fn queued(&mut self, key: Key, first: bool) -> Queued {
        let running = self.running == Some(key);
        let slot = &mut self.slots[key.slot as usize];
        let len = slot.out.len();
        slot.pressed |= len >= slot.settings.limits.high_water;
        if first && slot.stuck {
            // A layer below holds bytes back. From now on something waits that the loop knows of.
            slot.stalled_since = self.now;
            self.guard(key);
        }
        let slot = &mut self.slots[key.slot as usize];
        if slot.phase == Phase::Connecting || slot.blocked {
            return Queued::Later;
        }
        let at_once = len >= WRITE_AT_ONCE;
        self.make_dirty(key);
        if !at_once {
            return Queued::Later;
        }
        // Itself it can't be written now; it does so before it goes on.
        self.interrupted |= running;
        if running { Queued::Later } else { Queued::Now }
    }

    /// This side's direction ends as soon as the queue is empty.
    pub(crate) fn finish(&mut self, key: Key) -> bool {
        let Some(slot) = self.open(key) else { return false };
        slot.finishing = true;
        if slot.phase != Phase::Connecting {
            self.make_dirty(key);
        }
        true
    }

    pub(crate) fn make_dirty(&mut self, key: Key) {
        let Some(slot) = self.any(key) else { return };
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.push(key);
        }
    }

    /// Those with something to write, in the order in which they got it.
    pub(crate) fn take_dirty(&mut self, into: &mut Vec<Key>) {
        into.clear();
        std::mem::swap(into, &mut self.dirty);
        for &key in &*into {
            if let Some(slot) = self.any(key) {
                slot.dirty = false;
            }
        }
    }

    /// The queue and the driver, for writing outside. `None`: it runs, or can't be written now.
    pub(crate) fn begin_write(&mut self, key: Key) -> Option<Writing<D>> {
        let slot = self.any(key)?;
        let waits = slot.phase == Phase::Connecting || slot.upgrade.is_some();
        if waits || slot.blocked || slot.write_error.is_some() {
            return None;
        }
        Some(Writing {
            driver: slot.driver.take()?,
            out: take(&mut slot.out),
            phase: slot.phase,
            wants_write: slot.wants_write,
            finish: slot.finishing && !slot.finished,
        })
    }

    /// The queue of the running connection, for it to write itself, if it is long.
    pub(crate) fn begin_own_write(&mut self, key: Key) -> Option<OutQueue> {
        let slot = self.open(key)?;
        let waits = slot.blocked || slot.upgrade.is_some() || slot.write_error.is_some();
        if waits || slot.out.len() < WRITE_AT_ONCE {
            return None;
        }
        Some(take(&mut slot.out))
    }

    pub(crate) fn end_own_write(&mut self, key: Key, out: OutQueue, result: io::Result<Written>) {
        self.wrote(key, out, result);
    }

    /// What [`begin_write`](Self::begin_write) took goes back, with what came of it. Gives the driver back if the
    /// connection was removed meanwhile.
    #[must_use]
    pub(crate) fn end_write(&mut self, key: Key, driver: D, out: OutQueue, wrote: Wrote) -> Option<D> {
        let Some(slot) = self.any(key) else { return Some(driver) };
        slot.driver = Some(driver);
        slot.finished |= wrote.finished;
        slot.wants_write = wrote.wants_write;
        self.wrote(key, out, wrote.result);
        None
    }

    fn wrote(&mut self, key: Key, mut out: OutQueue, result: io::Result<Written>) {
        let now = self.now;
        let Core { slots, spares, .. } = self;
        let Some(slot) =
            slots.get_mut(key.slot as usize).filter(|slot| slot.generation == key.generation && !slot.gone)
        else {
            return;
        };
        // What is left is older than a layer that was asked for while it was written.
        let queue = slot.upgrade.as_mut().map_or(&mut slot.out, |upgrade| &mut upgrade.before);
        let added = take(queue);
        if !added.is_empty() {
            out.append(added, spares);
        }
        out.rest(spares);
        *queue = out;
        let written = match result {
            Ok(written) => written,
            Err(error) => {
                slot.out.clear(spares);
                if let Some(upgrade) = &mut slot.upgrade {
                    upgrade.before.clear(spares);
                }
                slot.write_error = Some(error);
                // Who stopped reading until there is room again would else wait for ever.
                let drained = take(&mut slot.pressed) && slot.phase == Phase::Open;
                // What can still be read comes first; then it ends.
                self.make_ready(key, Ready::INPUT);
                if drained {
                    self.make_ready(key, Ready::DRAINED);
                }
                return;
            }
        };
        slot.bytes_out += written.bytes as u64;
        if written.bytes > 0 {
            (slot.last_write, slot.told) = (now, now);
        }
        if written.bytes > 0 || !slot.stuck {
            slot.stalled_since = now;
        }
        (slot.blocked, slot.stuck) = (written.blocked, written.blocked);
        let more = !slot.blocked && !slot.out.is_empty();
        let drained =
            slot.pressed && slot.phase == Phase::Open && slot.out.len() <= slot.settings.limits.low_water;
        if drained {
            slot.pressed = false;
        }
        if written.blocked {
            self.guard(key);
        }
        if more {
            self.make_dirty(key);
        }
        if drained {
            self.make_ready(key, Ready::DRAINED);
        }
    }

    pub(crate) fn take_write_error(&mut self, key: Key) -> Option<io::Error> {
        self.any(key)?.write_error.take()
    }

    pub(crate) fn take_spare(&mut self) -> Vec<u8> {
        self.spares.take()
    }

    pub(crate) fn give_spare(&mut self, buffer: Vec<u8>) {
        self.spares.give(buffer);
    }

    // ---- time ---------------------------------------------------------------------------------------

    /// Sees to it that the connection's timer fires no later than the first of its time limits.
    pub(crate) fn guard(&mut self, key: Key) {
        let Some(slot) = self.any(key) else { return };
        let Some(first) = slot.limits_in_time().map(|(_, at)| at).min() else { return };
        match slot.guard {
            Some((_, at)) if at <= first => {}
            Some((handle, _)) => {
                slot.guard = Some((handle, first));
                self.timers.set(handle, first);
            }
            None => {
                let handle = self.timers.insert(first, Due::Guard(key));
                if let Some(slot) = self.any(key) {
                    slot.guard = Some((handle, first));
                }
            }
        }
    }

    fn unguard(&mut self, key: Key) {
        if let Some((handle, _)) = self.any(key).and_then(|slot| slot.guard.take()) {
            self.timers.remove(handle);
        }
    }

    /// Looks at a connection's time limits when its guard has fired; those that are over make it ready.
    fn look(&mut self, key: Key) {
        let now = self.now;
        let Some(slot) = self.any(key) else { return };
        let fired = slot.guard.take().map_or(now, |(_, at)| at);
        // The guard is usually early. What is over by now but was not at its time gets its own place among the others.
        let over: Vec<Limit> =
            slot.limits_in_time().filter(|&(_, at)| at <= fired).map(|(what, _)| what).collect();
        for what in over {
            match what {
                Limit::Timeout(bit) => {
                    let Some(slot) = self.any(key) else { return };
                    slot.restart(bit, now);
                    if slot.phase == Phase::Connecting && slot.enabled {
                        // Nobody can be asked yet.
                        let _ = self.close(key, Closed::TimedOut(Timeout::Deadline));
                    } else {
                        self.make_ready(key, bit);
                    }
                }
                Limit::Connect => {
                    let _ = self.close(key, Closed::TimedOut(Timeout::Connect));
                }
                Limit::Linger => {
                    if let Some(slot) = self.any(key) {
                        slot.linger_until = NEVER; // it is over: this must not fire again
                    }
                    self.make_ready(key, Ready::ABANDONED);
                }
            }
        }
        self.guard(key);
    }

    pub(crate) fn set_deadline(&mut self, key: Key, at: Option<u64>) -> bool {
        let Some(slot) = self.open(key) else { return false };
        (slot.deadline, slot.overdue) = (at, false);
        slot.ready = slot.ready.without(Ready::DEADLINE);
        self.guard(key);
        true
    }

    /// Whether a timeout that the running connection is to be told of still counts: what was called before it
    /// in this turn may have lifted it, and what came in this turn is in time.
    pub(crate) fn still_over(&mut self, key: Key, what: Timeout) -> bool {
        let now = self.now;
        let Some(slot) = self.open(key) else { return false };
        let timeouts = &slot.settings.timeouts;
        match what {
            Timeout::Read => timeouts.read.is_some() && slot.heard != now,
            Timeout::Write => timeouts.write.is_some(),
            Timeout::Idle => timeouts.idle.is_some() && slot.heard != now,
            Timeout::Stalled => timeouts.stalled.is_some(),
            Timeout::Deadline => take(&mut slot.overdue),
            Timeout::Connect | Timeout::Timer(_) => false,
        }
    }

    /// The tag of a connection's own timer that is over, unless it was cancelled.
    pub(crate) fn take_timer(&mut self, key: Key, timer: Handle) -> Option<u64> {
        let &mut Due::Tagged(of, tag) = self.timers.get_mut(timer)? else { return None };
        if of != key {
            return None;
        }
        self.timers.remove(timer);
        if let Some(slot) = self.any(key) {
            slot.timers.retain(|other| *other != timer);
        }
        Some(tag)
    }

    /// Lets go of those that a call neither took nor put back.
    pub(crate) fn forget_timers(&mut self, key: Key, due: &[Handle]) {
        for &timer in due {
            if !self.any(key).is_some_and(|slot| slot.due.contains(&timer)) {
                let _ = self.take_timer(key, timer);
            }
        }
    }

    /// Everything that is due by the loop's clock becomes ready.
    pub(crate) fn expire(&mut self, now: u64) {
        self.now = now;
        self.turns += 1;
        while let Some(handle) = self.timers.due(now) {
            match self.timers.get_mut(handle) {
                Some(&mut Due::Guard(key)) => {
                    self.timers.remove(handle);
                    self.look(key);
                }
                Some(&mut Due::Tagged(key, _)) => {
                    self.timers.set(handle, NEVER); // it can be cancelled until it is handed over
                    if let Some(slot) = self.open(key) {
                        slot.due.push(handle);
                        self.make_ready(key, Ready::TIMERS);
                    }
                }
                Some(Due::Call(call)) => {
                    let next = call.grid.map_or(NEVER, |(start, period)| next_on_grid(start, period, now));
                    self.timers.set(handle, next);
                    self.ready.push(Who::Timer(TimerId {
                        index: handle.index,
                        generation: handle.generation,
                        wall: false,
                    }));
                }
                None => break,
            }
        }
    }

    /// Everything that is due by the wall clock becomes ready. The clock may have jumped either way.
    pub(crate) fn expire_dates(&mut self, wall: u64) {
        while let Some(handle) = self.dates.due(wall.min(NEVER - 1)) {
            self.dates.set(handle, NEVER);
            self.ready.push(Who::Timer(TimerId {
                index: handle.index,
                generation: handle.generation,
                wall: true,
            }));
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.timers.next_deadline().filter(|&at| at != NEVER)
    }

    pub(crate) fn next_date(&self) -> Option<u64> {
        self.dates.next_deadline().filter(|&at| at != NEVER)
    }

    /// A timer that calls `call` at `at`, and then each `period` on the same grid.
    pub(crate) fn add_timer(&mut self, at: u64, period: Option<u64>, call: F) -> TimerId {
        self.calls += 1;
        let grid = period.map(|period| (at, period.max(1)));
        let call = Call { call: Some(call), grid, priority: super::DEFAULT_PRIORITY };
        let handle = self.timers.insert(at.min(NEVER - 1), Due::Call(call));
        TimerId { index: handle.index, generation: handle.generation, wall: false }
    }

    pub(crate) fn add_date(&mut self, wall: u64, call: F) -> TimerId {
        self.calls += 1;
        let call = Call { call: Some(call), grid: None, priority: super::DEFAULT_PRIORITY };
        let handle = self.dates.insert(wall.min(NEVER - 1), Due::Call(call));
        TimerId { index: handle.index, generation: handle.generation, wall: true }
    }

    /// A timer of a connection: its handler gets the tag.
    pub(crate) fn add_tagged(&mut self, key: Key, at: u64, tag: u64) -> Option<TimerId> {
        self.open(key)?;
        let handle = self.timers.insert(at.min(NEVER - 1), Due::Tagged(key, tag));
        if let Some(slot) = self.open(key) {
            slot.timers.push(handle);
        }
        Some(TimerId { index: handle.index, generation: handle.generation, wall: false })
    }

    fn call(&mut self, id: TimerId) -> Option<&mut Call<F>> {
        let handle = Handle { index: id.index, generation: id.generation };
        let timers = if id.wall { &mut self.dates } else { &mut self.timers };
        match timers.get_mut(handle) {
            Some(Due::Call(call)) => Some(call),
            _ => None,
        }
    }

    /// Takes a timer's closure for its call.
    pub(crate) fn begin_timer(&mut self, id: TimerId) -> Option<F> {
        self.call(id)?.call.take()
    }

    /// The closure of a timer that repeats goes back. What is given back is to be dropped.
    #[must_use]
    pub(crate) fn end_timer(&mut self, id: TimerId, call: F) -> Option<F> {
        match self.call(id) {
            Some(timer) if timer.grid.is_some() => {
                timer.call = Some(call);
                None
            }
            Some(_) => {
                let _ = self.cancel(id);
                Some(call)
            }
            None => Some(call),
        }
    }

    /// Removes a timer. `None`: there is none of that name. The closure inside is to be dropped.
    #[must_use]
    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<Option<F>> {
        let handle = Handle { index: id.index, generation: id.generation };
        let timers = if id.wall { &mut self.dates } else { &mut self.timers };
        match timers.get_mut(handle)? {
            Due::Guard(_) => None,
            &mut Due::Tagged(key, _) => {
                self.timers.remove(handle);
                if let Some(slot) = self.any(key) {
                    slot.timers.retain(|other| *other != handle);
                    slot.due.retain(|other| *other != handle);
                    if slot.due.is_empty() {
                        slot.ready = slot.ready.without(Ready::TIMERS);
                    }
                }
                Some(None)
            }
            Due::Call(_) => {
                self.calls -= 1;
                match timers.remove(handle) {
                    Some(Due::Call(call)) => Some(call.call),
                    _ => None,
                }
            }
        }
    }

    pub(crate) fn set_timer_priority(&mut self, id: TimerId, priority: u8) -> bool {
        self.call(id).map(|call| call.priority = priority).is_some()
    }

    pub(crate) fn timer_is_set(&mut self, id: TimerId) -> bool {
        let handle = Handle { index: id.index, generation: id.generation };
        let timers = if id.wall { &mut self.dates } else { &mut self.timers };
        timers.get_mut(handle).is_some_and(|due| !matches!(due, Due::Guard(_)))
    }

    // ---- the whole ------------------------------------------------------------------------------------

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

    /// Everything that is somebody's code, to be dropped.
    pub(crate) fn take_all(&mut self) -> (Vec<D>, Vec<F>) {
        let drivers = self.slots.drain().filter_map(|slot| slot.driver).collect();
        let calls = self.timers.drain().chain(self.dates.drain()).filter_map(|due| match due {
            Due::Call(call) => call.call,
            Due::Guard(_) | Due::Tagged(..) => None,
        });
        (drivers, calls.collect())
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

/// The first point after `now` on the grid through `start`: what was missed is skipped.
fn next_on_grid(start: u64, period: u64, now: u64) -> u64 {
    let steps = now.saturating_sub(start) / period + 1;
    steps.checked_mul(period).and_then(|ahead| start.checked_add(ahead)).unwrap_or(NEVER)
}
