//! Who is called, and when.

use super::{Begun, Core, Who};
use crate::communicator::DEFAULT_PRIORITY;
use crate::communicator::key::Key;
use crate::communicator::slot::{Phase, Ready, Slot};
use crate::communicator::timers::Handle;
use std::mem::take;

impl<D, F> Core<D, F> {
    pub(crate) fn make_ready(&mut self, key: Key, why: Ready) {
        let Some(slot) = self.any(key) else { return };
        if slot.becomes_ready(why) {
            self.enlist(Who::Connection(key));
        }
    }

    pub(super) fn enlist(&mut self, who: Who) {
        self.ready.push((DEFAULT_PRIORITY, who));
    }

    /// What the poll says of a connection.
    pub(crate) fn event(&mut self, key: Key, input: bool, output: bool, hangup: bool) {
        let Some(slot) = self.any(key).filter(|slot| slot.phase != Phase::Waiting) else { return };
        slot.hung_up |= hangup;
        let connecting = slot.phase == Phase::Connecting;
        if (input || hangup || (output && connecting)) && slot.becomes_ready(Ready::INPUT) {
            self.enlist(Who::Connection(key));
        }
        if output
            && !connecting
            && let Some(slot) = self.any(key)
        {
            slot.blocked = false;
            self.make_dirty(key);
        }
    }

    /// Who is to be called in this turn, in order: by priority, then by how long it has been ready. Also some who have gone meanwhile.
    pub(crate) fn take_ready(&mut self, turn: &mut Vec<(u8, Who)>) {
        turn.clear();
        std::mem::swap(&mut self.ready, turn);
        if !self.prioritized {
            return;
        }
        for (priority, who) in turn.iter_mut() {
            let now = match *who {
                Who::Connection(key) => self.any(key).map(|slot| slot.priority),
                Who::Timer(id) => self.call(id).map(|call| call.priority),
            };
            *priority = now.unwrap_or(DEFAULT_PRIORITY); // it is gone
        }
        turn.sort_by_key(|&(priority, _)| priority); // stable: the order of readiness stays
    }

    pub(crate) fn set_priority(&mut self, key: Key, priority: u8) -> bool {
        self.prioritized |= priority != DEFAULT_PRIORITY;
        self.open(key).map(|slot| slot.priority = priority).is_some()
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
        if let Some(permanent) = &mut slot.permanent {
            permanent.owes_drained |= ready.has(Ready::DRAINED);
        }
        let mut told = ready;
        if slot.hung_up {
            told.add(Ready::HANGUP);
        }
        let mut begun = Begun {
            driver,
            ready: told,
            due: if ready.has(Ready::TIMERS) { take(&mut slot.rest.due) } else { Vec::new() },
            phase: slot.phase,
            upgrade: slot.upgrade.is_some(),
            wants_write: slot.wants_write,
            reads: slot.may_read() && !slot.is_piped,
            finished: slot.finished,
            settings: slot.settings.clone(),
            attempt: None,
        };
        self.running = Some(key);
        self.interrupted = false;
        if ready.has(Ready::RETRY)
            && let Some(attempt) = self.begin_attempt(key)
        {
            (begun.phase, begun.attempt) = (Phase::Connecting, Some(attempt));
        }
        if ready.has(Ready::TIMEOUTS) {
            self.guard(key); // they run again
        }
        Some(begun)
    }

    /// As [`end`](Self::end), after a call that left nothing to be told, and nothing to ask the poll for. Else the driver comes back.
    #[must_use]
    pub(crate) fn end_as_usual(&mut self, key: Key, driver: D, wants_write: bool) -> Option<D> {
        let usual = |slot: &&mut Slot<D>| {
            matches!(slot.phase, Phase::Open | Phase::Connecting)
                && !slot.gone
                && slot.permanent.is_none()
                && slot.wants_write == (slot.blocked || wants_write)
        };
        let Some(slot) = self.slots.get_mut(key.slot as usize).filter(usual) else { return Some(driver) };
        slot.driver = Some(driver);
        self.running = None;
        None
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
        let mut set = due.to_vec();
        set.retain(|&timer| self.is_over(timer));
        let Some(slot) = self.open(key) else { return };
        slot.rest.due.splice(..0, set);
        let why = if slot.rest.due.is_empty() { why.without(Ready::TIMERS) } else { why };
        let why = if slot.phase == Phase::Waiting { why.only(Ready::AWAY) } else { why };
        self.make_ready(key, why);
    }

    /// Whether the running connection may have been closed, removed, disabled or stopped, or has much to write.
    pub(crate) fn interrupted(&mut self) -> bool {
        take(&mut self.interrupted)
    }

    /// Whether a connection that runs may be called once more.
    pub(crate) fn may_call(&mut self, key: Key) -> bool {
        self.open(key).is_some_and(|slot| slot.enabled && slot.rest.end.is_none())
    }

    /// Whether a connection that runs may go on reading.
    pub(crate) fn may_read(&mut self, key: Key) -> bool {
        self.open(key).is_some_and(|slot| slot.may_read())
    }

    pub(crate) fn set_enabled(&mut self, key: Key, enabled: bool) -> bool {
        let (running, now) = (self.running == Some(key), self.now);
        let Some(slot) = self.open(key) else { return false };
        if slot.phase == Phase::Connecting && enabled && !slot.enabled {
            slot.rest.added = slot.rest.added.max(now); // the time for connecting has waited
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

    /// Counts what came. Whether writing has failed meanwhile.
    pub(crate) fn received(&mut self, key: Key, bytes: usize, items: u64) -> bool {
        let now = self.now;
        let Some(slot) = self.any(key) else { return false };
        slot.bytes_in += bytes as u64;
        slot.items_in += items;
        if bytes > 0 {
            (slot.last_read, slot.heard) = (now, now);
        }
        slot.write_error.is_some()
    }

    pub(crate) fn set_unread(&mut self, key: Key, bytes: usize) {
        if let Some(slot) = self.any(key) {
            slot.rest.unread = bytes;
        }
    }
}
