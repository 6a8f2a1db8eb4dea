//! Output: queued, and handed out to be written.

use super::{Core, Queued, Writing, Wrote};
use crate::communicator::error::SendError;
use crate::communicator::key::Key;
use crate::communicator::output::{Mark, OutQueue, Spares, Written};
use crate::communicator::permanent::Keep;
use crate::communicator::slot::{Phase, Ready, Slot, nanos};
use slab::Slab;
use std::io;
use std::mem::take;
use std::rc::Rc;

/// A queue that is as long as this is written at once and not at the end of the turn.
const WRITE_AT_ONCE: usize = 128 << 10;

impl<D> Slot<D> {
    /// Whether so many bytes may simply be put behind those that are queued already, for which everything else was decided.
    #[inline]
    fn takes_more(&self, bytes: usize) -> bool {
        let queued = self.rest.out.len();
        self.dirty
            && self.phase == Phase::Open
            && !self.gone
            && !self.finishing
            && self.permanent.is_none()
            && self.write_error.is_none()
            && queued > 0
            && queued + bytes < WRITE_AT_ONCE
            && queued < self.settings.limits.output
    }
}

impl<D, F> Core<D, F> {
    #[inline]
    pub(crate) fn queue(&mut self, key: Key, bytes: &[u8], keep: Option<Keep>) -> Result<Queued, SendError> {
        if self.joins(key, bytes) {
            return Ok(Queued::Later);
        }
        self.queue_with(key, bytes.len(), keep, |out, spares| out.push(bytes, spares))
    }

    /// Queues the same on many, up to the first whose queue is to be written at once, or does not take it.
    pub(crate) fn queue_on_all(
        &mut self,
        keys: &mut impl Iterator<Item = Key>,
        bytes: &[u8],
    ) -> Option<(Key, Result<Queued, SendError>)> {
        keys.find_map(|key| match self.queue(key, bytes, None) {
            Ok(Queued::Later) => None,
            other => Some((key, other)),
        })
    }

    /// Puts it behind what is queued, if that is all there is to it.
    #[inline]
    fn joins(&mut self, key: Key, bytes: &[u8]) -> bool {
        let Some(slot) = self.slots.get_mut(key.slot as usize) else { return false };
        let joins = slot.generation == key.generation && slot.takes_more(bytes.len());
        if joins {
            slot.rest.out.push(bytes, &mut self.spares);
            slot.pressed |= slot.rest.out.len() >= slot.settings.limits.high_water;
        }
        joins
    }

    pub(crate) fn queue_shared(
        &mut self,
        key: Key,
        bytes: &Rc<Vec<u8>>,
        keep: Option<Keep>,
    ) -> Result<Queued, SendError> {
        self.queue_with(key, bytes.len(), keep, |out, spares| out.push_shared(bytes, spares))
    }

    #[inline(never)]
    fn queue_with(
        &mut self,
        key: Key,
        len: usize,
        keep: Option<Keep>,
        push: impl FnOnce(&mut OutQueue, &mut Spares),
    ) -> Result<Queued, SendError> {
        let now = self.now;
        let mut slot = Self::writable(&mut self.slots, key)?;
        if slot.permanent.is_some() {
            self.room_while_away(key, len, keep)?;
            slot = Self::writable(&mut self.slots, key)?;
        }
        let first = slot.rest.out.is_empty();
        push(&mut slot.rest.out, &mut self.spares);
        if let Some(permanent) = &mut slot.permanent {
            let (kept, number) = (keep.unwrap_or(permanent.keep) == Keep::Yes, permanent.items);
            permanent.items += 1;
            slot.rest.out.mark(Mark { len, queued: now, kept, number });
        }
        Ok(self.queued(key, first))
    }

    pub(super) fn writable(slots: &mut Slab<Slot<D>>, key: Key) -> Result<&mut Slot<D>, SendError> {
        let slot = slots
            .get_mut(key.slot as usize)
            .filter(|slot| slot.generation == key.generation && slot.is_open())
            .ok_or(SendError::Gone)?;
        // What is sent to one that reconnects waits for the next transport.
        if slot.finishing || (slot.write_error.is_some() && slot.permanent.is_none()) {
            return Err(SendError::Gone);
        }
        let queued = slot.rest.out.len();
        if queued >= slot.settings.limits.output.max(1) {
            slot.pressed = true;
            return Err(SendError::Full { queued });
        }
        Ok(slot)
    }

    /// `first`: nothing was queued before.
    pub(super) fn queued(&mut self, key: Key, first: bool) -> Queued {
        let running = self.running == Some(key);
        let slot = &mut self.slots[key.slot as usize];
        let len = slot.rest.out.len();
        slot.pressed |= len >= slot.settings.limits.high_water;
        if first && slot.stuck {
            // A layer below holds bytes back. From now on something waits that the loop knows of.
            slot.rest.stalled_since = self.now;
            self.guard(key);
        }
        let slot = &mut self.slots[key.slot as usize];
        let paused = slot.rest.output_rate.until.is_some();
        if slot.is_away() || slot.is_held() || slot.blocked || paused {
            slot.rest.out.rest(&mut self.spares); // it may stay for long
            return Queued::Later;
        }
        let at_once = slot.rest.out.untaken() >= WRITE_AT_ONCE;
        self.make_dirty(key);
        if !at_once {
            return Queued::Later;
        }
        // Itself it can't be written now; it does so before it goes on.
        self.interrupted |= running;
        if running || self.holds_writes { Queued::Later } else { Queued::Now }
    }

    /// Whether the running connection has much to write, which has to wait for the end of the turn.
    pub(crate) fn is_held_up(&mut self, key: Key) -> bool {
        let is_long = |slot: &mut Slot<D>| slot.rest.out.len() >= WRITE_AT_ONCE && !slot.blocked;
        self.holds_writes && self.open(key).is_some_and(is_long)
    }

    /// This side's direction ends as soon as the queue is empty.
    pub(crate) fn finish(&mut self, key: Key) -> bool {
        let Some(slot) = self.open(key) else { return false };
        slot.finishing = true;
        if !slot.is_away() {
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
        let writing = self.take_to_write(key);
        if writing.is_none()
            && let Some(slot) = self.slots.get_mut(key.slot as usize)
        {
            slot.rest.out.rest(&mut self.spares); // it may stay for long
        }
        writing
    }

    fn take_to_write(&mut self, key: Key) -> Option<Writing<D>> {
        let slot = self.any(key)?;
        let waits = slot.is_away() || slot.upgrade.is_some();
        if waits || slot.blocked || slot.write_error.is_some() {
            return None;
        }
        let greets = slot.greets();
        if slot.is_held() && !greets {
            return None;
        }
        let most = self.may_write(key);
        let slot = self.any(key).filter(|_| most > 0)?;
        let driver = slot.driver.take()?;
        let most = if greets { most } else { most.min(slot.may_leave()) };
        let comes = slot.permanent.as_ref().is_some_and(|permanent| !permanent.greeting.is_empty());
        // Whatever is written now is followed by nothing.
        let last = if greets { slot.rest.out.is_empty() } else { !comes };
        let out = match &mut slot.permanent {
            Some(permanent) if greets => permanent.greeting.take(),
            _ => {
                slot.rest.is_out_taken = true;
                slot.rest.out.take()
            }
        };
        Some(Writing {
            driver,
            out,
            greeting: greets,
            phase: slot.phase,
            wants_write: slot.wants_write,
            finish: slot.finishing && !slot.finished && last,
            most,
        })
    }

    /// The queue of the running connection, for it to write itself, if it is long, and how much of it may be written.
    pub(crate) fn begin_own_write(&mut self, key: Key) -> Option<(OutQueue, usize)> {
        if self.holds_writes {
            return None;
        }
        let slot = self.open(key)?;
        let behind = slot.is_away() || slot.is_held() || slot.greets();
        let waits = behind || slot.blocked || slot.upgrade.is_some() || slot.write_error.is_some();
        if waits || slot.rest.out.untaken() < WRITE_AT_ONCE {
            return None;
        }
        let most = self.may_write(key);
        let slot = self.any(key).filter(|_| most > 0)?;
        let most = most.min(slot.may_leave());
        slot.rest.is_out_taken = true;
        Some((slot.rest.out.take(), most))
    }

    pub(crate) fn end_own_write(&mut self, key: Key, out: OutQueue, result: io::Result<Written>) {
        self.wrote(key, out, false, result);
    }

    /// What [`begin_write`](Self::begin_write) took goes back, with what came of it. Gives the driver back if the
    /// connection was removed meanwhile.
    #[must_use]
    pub(crate) fn end_write(&mut self, key: Key, driver: D, out: OutQueue, wrote: Wrote) -> Option<D> {
        let Some(slot) = self.any(key) else {
            self.throw_away(wrote.result.err());
            return Some(driver);
        };
        slot.driver = Some(driver);
        slot.finished |= wrote.finished;
        slot.wants_write = wrote.wants_write;
        self.wrote(key, out, wrote.greeting, wrote.result);
        None
    }

    /// `greeting`: that was what was written, unless the connection has ceased to be permanent meanwhile.
    fn wrote(&mut self, key: Key, mut out: OutQueue, greeting: bool, result: io::Result<Written>) {
        let now = self.now;
        let Core { slots, spares, .. } = self;
        let Some(slot) =
            slots.get_mut(key.slot as usize).filter(|slot| slot.generation == key.generation && !slot.gone)
        else {
            return self.throw_away(result.err());
        };
        slot.rest.is_out_taken = false;
        if let Some(words) = slot.rest.last_words.take() {
            out = out.into_last(words.greeting, words.alone, spares);
        } else if slot.permanent.is_none() {
            out.forget_items(); // it may have been permanent when this was taken
        }
        // What is left is older than a layer that was asked for while it was written.
        let queue = match (&mut slot.upgrade, &mut slot.permanent) {
            (Some(upgrade), _) => &mut upgrade.before,
            (None, Some(permanent)) if greeting => &mut permanent.greeting,
            _ => &mut slot.rest.out,
        };
        let added = queue.take();
        if !added.is_empty() {
            out.append(added, spares);
        }
        out.rest(spares);
        *queue = out;
        let written = match result {
            Ok(written) => written,
            Err(error) if slot.permanent.is_some() => {
                slot.write_error = Some(error);
                self.make_ready(key, Ready::INPUT);
                return;
            }
            Err(error) => {
                slot.rest.out.clear(spares);
                if let Some(upgrade) = &mut slot.upgrade {
                    upgrade.before.clear(spares);
                }
                slot.write_error = Some(error);
                slot.rest.flush_at = None;
                // Who stopped reading until there is room again would else wait for ever.
                let drained = take(&mut slot.pressed) && slot.phase == Phase::Open;
                // What can still be read comes first; then it ends. Nothing that is piped to it is of use any more.
                self.make_ready(key, Ready::INPUT);
                if drained {
                    self.make_ready(key, Ready::DRAINED);
                }
                return;
            }
        };
        slot.rest.bytes_out += written.bytes as u64;
        if written.bytes > 0 {
            (slot.rest.last_write, slot.rest.told) = (now, now);
        }
        if written.bytes > 0 || !slot.stuck {
            slot.rest.stalled_since = now;
        }
        (slot.blocked, slot.stuck) = (written.blocked, written.blocked || written.retry.is_some());
        slot.rest.flush_at = written.retry.map(|after| now.saturating_add(nanos(after)));
        let more = !slot.blocked && (slot.greets() || (!slot.is_held() && slot.rest.out.untaken() > 0));
        let more = more || (slot.finishing && greeting && !slot.blocked);
        let drained = slot.pressed
            && slot.phase == Phase::Open
            && slot.rest.out.len() <= slot.settings.limits.low_water;
        if drained {
            slot.pressed = false;
        }
        if written.blocked || written.retry.is_some() {
            self.guard(key);
        }
        if written.input {
            self.make_ready(key, Ready::INPUT);
        }
        self.count_written(key, written.bytes);
        if more && self.may_write(key) > 0 {
            self.make_dirty(key);
        }
        self.relieve(key);
        if drained {
            self.make_ready(key, Ready::DRAINED);
        }
    }

    pub(crate) fn take_write_error(&mut self, key: Key) -> Option<io::Error> {
        self.any(key)?.write_error.take()
    }

    /// Whether writing has failed, which nobody is to be told of any more.
    pub(crate) fn forget_write_error(&mut self, key: Key) -> bool {
        let error = self.take_write_error(key);
        let failed = error.is_some();
        self.throw_away(error);
        failed
    }

    pub(crate) fn take_spare(&mut self) -> Vec<u8> {
        self.spares.take()
    }

    /// As [`Spares::copy`].
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.spares.copy(bytes)
    }

    /// As [`Spares::fit`].
    pub(crate) fn fit(&mut self, buffer: &mut Vec<u8>) {
        self.spares.fit(buffer);
    }

    pub(crate) fn give_spare(&mut self, buffer: Vec<u8>) {
        self.spares.give(buffer);
    }
}
