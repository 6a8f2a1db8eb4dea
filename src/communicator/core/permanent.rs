//! Connections that reconnect by themselves: lost, waiting, and being made anew.

use super::Core;
use crate::communicator::error::{Closed, SendError};
use crate::communicator::key::Key;
use crate::communicator::output::OutQueue;
use crate::communicator::permanent::{Keep, Lost, Permanent, Reconnect};
use crate::communicator::slot::{LastWords, Phase, Ready};
use std::any::Any;
use std::io;
use std::mem::take;
use std::ops::Range;

impl<D, F> Core<D, F> {
    /// A slot that makes its first attempt when its pauses say so.
    pub(crate) fn insert_permanent(
        &mut self,
        kind: &'static str,
        reconnect: Reconnect,
        random: u64,
        now: u64,
    ) -> Key {
        let key = self.insert(kind, Phase::Waiting, now);
        if let Some(slot) = self.any(key) {
            slot.rest.out = OutQueue::of_items();
            slot.permanent = Some(Box::new(Permanent::new(reconnect, random, now)));
        }
        key
    }

    /// The transport of a permanent connection has failed. Gives `why` back if it has none.
    pub(super) fn lose(&mut self, key: Key, why: Closed) -> Result<(), Closed> {
        let running = self.running == Some(key);
        let Some(slot) = self.open(key).filter(|slot| slot.phase != Phase::Waiting) else { return Err(why) };
        let Some(permanent) = &mut slot.permanent else { return Err(why) };
        permanent.was_open = slot.phase == Phase::Open;
        slot.phase = Phase::Waiting;
        slot.rest.end = Some(why);
        permanent.owes_drained |= slot.ready.has(Ready::DRAINED);
        slot.ready = slot.ready.only(Ready::AWAY);
        self.interrupted |= running;
        self.make_ready(key, Ready::LOST);
        Ok(())
    }

    /// What was lost, once: from then on the connection waits for its next attempt. Its queue begins with a whole item.
    pub(crate) fn take_lost(&mut self, key: Key) -> Option<Lost> {
        let now = self.now;
        let Core { slots, spares, waste, .. } = self;
        let slot = slots
            .get_mut(key.slot as usize)
            .filter(|slot| slot.generation == key.generation && !slot.gone)?;
        if slot.phase != Phase::Waiting || !slot.enabled {
            return None;
        }
        let (why, permanent) = (slot.rest.end.take()?, slot.permanent.as_mut()?);
        slot.ready = slot.ready.only(Ready::AWAY);
        (slot.blocked, slot.stuck, slot.hung_up, slot.finished) = (false, false, false, false);
        slot.rest.unread = 0;
        // What the transport has held back is gone with it.
        slot.rest.flush_at = None;
        slot.rest.out.set_held(0);
        slot.pressed |= take(&mut permanent.owes_drained);
        if slot.overdue {
            slot.ready.add(Ready::DEADLINE); // it was lost before it could be told
        }
        waste.extend(slot.write_error.take().map(|error| Box::new(error) as Box<dyn Any>));
        waste.extend(permanent.arrived.take());
        permanent.greeting.clear(spares);
        if slot.rest.out.is_half() && !permanent.resend_half {
            slot.rest.out.drop_first();
            permanent.dropped += 1;
        }
        slot.rest.out.rewind();
        permanent.dropped += slot.rest.out.drop_unkept(spares) as u64;
        slot.rest.out.rest(spares);
        permanent.retry_at = permanent.backoff.ended(now).filter(|_| !permanent.last);
        let lost = Lost { why, established: permanent.was_open, last: permanent.retry_at.is_none() };
        // The limit for connecting must not wake a loop that waits.
        self.unguard(key);
        self.guard(key);
        self.make_ready(key, Ready::default()); // its own timers
        Some(lost)
    }

    /// The handler is about to hear that the queue is low.
    pub(crate) fn tells_drained(&mut self, key: Key) {
        if let Some(permanent) = self.any(key).and_then(|slot| slot.permanent.as_mut()) {
            permanent.owes_drained = false;
        }
    }

    /// It is time for an attempt: how many have failed since it was established last, and the attempt's name.
    pub(super) fn begin_attempt(&mut self, key: Key) -> Option<(u64, u64)> {
        let now = self.now;
        let slot = self.open(key).filter(|slot| slot.phase == Phase::Waiting && slot.rest.end.is_none())?;
        let permanent = slot.permanent.as_mut()?;
        permanent.retry_at = None;
        permanent.attempt += 1;
        permanent.tries += 1;
        permanent.backoff.started(now);
        permanent.drop_aged(&mut slot.rest.out, now);
        let begun = (permanent.tries - 1, permanent.attempt);
        slot.phase = Phase::Connecting;
        slot.rest.added = now;
        let about = slot.rest.about.take();
        self.waste.extend(about.map(|about| Box::new(about) as Box<dyn Any>));
        self.guard(key);
        Some(begun)
    }

    /// Whether an attempt still goes on and has no transport yet.
    pub(crate) fn is_attempting(&self, key: Key, attempt: u64) -> bool {
        self.slot(key).filter(|slot| slot.phase == Phase::Connecting).is_some_and(|slot| {
            slot.permanent
                .as_ref()
                .is_some_and(|permanent| permanent.attempt == attempt && permanent.arrived.is_none())
        })
    }

    /// What came of an attempt. Gives it back if nobody waits for it.
    pub(crate) fn arrive(&mut self, key: Key, attempt: u64, what: Box<dyn Any>) -> Result<(), Box<dyn Any>> {
        if !self.is_attempting(key, attempt) {
            return Err(what);
        }
        if let Some(permanent) = self.open(key).and_then(|slot| slot.permanent.as_mut()) {
            permanent.arrived = Some(what);
        }
        self.make_ready(key, Ready::ARRIVED);
        Ok(())
    }

    /// What an attempt has brought, unless that was given up since.
    pub(crate) fn take_arrived(&mut self, key: Key) -> Option<Box<dyn Any>> {
        let slot = self.open(key).filter(|slot| slot.phase == Phase::Connecting)?;
        slot.ready = slot.ready.without(Ready::ARRIVED);
        slot.permanent.as_mut()?.arrived.take()
    }

    /// It is established.
    pub(super) fn reconnected(&mut self, key: Key) {
        let now = self.now;
        let Some(slot) = self.open(key) else { return };
        let Some(permanent) = &mut slot.permanent else { return };
        permanent.backoff.connected(now);
        permanent.tries = 0;
        permanent.drop_aged(&mut slot.rest.out, now);
    }

    /// What connects it is given up, or made at once if it waits. `false`: there is no such permanent connection.
    pub(crate) fn reconnect(&mut self, key: Key) -> bool {
        let now = self.now;
        let Some(slot) = self.open(key) else { return false };
        let waits = slot.phase == Phase::Waiting;
        let Some(permanent) = &mut slot.permanent else { return false };
        if !waits {
            return self.lose(key, Closed::Local).is_ok();
        }
        if let Some(at) = &mut permanent.retry_at {
            *at = now.min(*at);
            self.guard(key);
        }
        true
    }

    /// No more attempts are made. `true` beside it: it waits for one.
    pub(crate) fn make_last(&mut self, key: Key) -> Option<bool> {
        let slot = self.open(key)?;
        let waits = slot.phase == Phase::Waiting && slot.rest.end.is_none();
        slot.permanent.as_mut()?.last = true;
        Some(waits)
    }

    /// A permanent connection ends for good, as another one does by [`close`](Self::close).
    pub(crate) fn close_for_good(&mut self, key: Key, why: Closed) -> Result<(), Closed> {
        if self.open(key).is_none() {
            return Err(why);
        }
        self.make_usual(key);
        self.close(key, why)
    }

    /// It reconnects no more. What is not to leave is dropped.
    pub(super) fn make_usual(&mut self, key: Key) {
        let Core { slots, spares, waste, .. } = self;
        let Some(slot) = slots.get_mut(key.slot as usize) else { return };
        let Some(mut permanent) = slot.permanent.take() else { return };
        let lost = slot.phase == Phase::Waiting || slot.write_error.is_some();
        if lost {
            permanent.greeting.clear(spares);
        }
        if lost {
            slot.rest.out.clear(spares);
            // What it has lost may still be there, if it was switched off since: nobody waits for that.
            slot.write_error.get_or_insert_with(|| io::ErrorKind::NotConnected.into());
        } else if permanent.holding || !permanent.greeting.is_empty() {
            let words = LastWords { greeting: take(&mut permanent.greeting), alone: permanent.holding };
            if slot.rest.is_out_taken {
                slot.rest.last_words = Some(Box::new(words));
            } else {
                let out = take(&mut slot.rest.out);
                slot.rest.out = out.into_last(words.greeting, words.alone, spares);
            }
        }
        waste.extend(permanent.arrived);
        waste.extend(slot.rest.end.take().map(|end| Box::new(end) as Box<dyn Any>));
    }

    /// Whether an item may be queued on a permanent connection, as far as it is away.
    pub(super) fn room_while_away(
        &mut self,
        key: Key,
        len: usize,
        keep: Option<Keep>,
    ) -> Result<(), SendError> {
        let now = self.now;
        let Some(slot) = self.open(key) else { return Ok(()) };
        let away = matches!(slot.phase, Phase::Waiting | Phase::Connecting);
        let Some(permanent) = slot.permanent.as_mut().filter(|_| away) else { return Ok(()) };
        if keep.unwrap_or(permanent.keep) == Keep::No {
            return Err(SendError::Away);
        }
        if permanent.make_room(&mut slot.rest.out, len, now) {
            return Ok(());
        }
        slot.pressed = true;
        Err(SendError::Full { queued: slot.rest.out.len() })
    }

    /// Queues what leaves before everything else on the transport that there is.
    pub(crate) fn greet(&mut self, key: Key, bytes: &[u8]) -> Result<(), SendError> {
        let Core { slots, spares, .. } = self;
        let slot = slots
            .get_mut(key.slot as usize)
            .filter(|slot| slot.generation == key.generation && slot.is_open() && !slot.finishing)
            .ok_or(SendError::Gone)?;
        let open = slot.phase == Phase::Open && slot.write_error.is_none();
        let permanent = slot.permanent.as_mut().ok_or(SendError::NotPermanent)?;
        if !open {
            return Err(SendError::Away);
        }
        let queued = permanent.greeting.len();
        if queued >= slot.settings.limits.output.max(1) {
            return Err(SendError::Full { queued });
        }
        permanent.greeting.push(bytes, spares);
        if !slot.blocked {
            self.make_dirty(key);
        }
        Ok(())
    }

    /// The name of the first item that waits, and of the next one that is queued.
    pub(crate) fn items(&self, key: Key) -> Option<Range<u64>> {
        let slot = self.slot(key)?;
        let next = slot.permanent.as_ref()?.items;
        Some(slot.rest.out.first_item().map_or(next, |first| first.number)..next)
    }

    /// Sets whether only the greeting leaves. `false`: there is no such permanent connection.
    pub(crate) fn hold(&mut self, key: Key, on: bool) -> bool {
        let Some(slot) = self.open(key) else { return false };
        let Some(permanent) = &mut slot.permanent else { return false };
        permanent.holding = on;
        if slot.phase == Phase::Open && !slot.blocked {
            self.make_dirty(key);
        }
        true
    }
}
