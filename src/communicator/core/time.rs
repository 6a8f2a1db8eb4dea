//! Timeouts of connections, timers and dates.

use super::{Call, Core, Due, Own, Who};
use crate::communicator::DEFAULT_PRIORITY;
use crate::communicator::error::Closed;
use crate::communicator::key::{Key, TimerId};
use crate::communicator::settings::Timeout;
use crate::communicator::slot::{Limit, Phase, Ready};
use crate::communicator::timers::{Handle, NEVER};
use std::mem::take;
use std::num::NonZeroU64;

impl<D, F> Core<D, F> {
    /// Sees to it that the connection's timer fires no later than the first of its time limits.
    pub(crate) fn guard(&mut self, key: Key) {
        let Some(slot) = self.any(key) else { return };
        let Some(first) = slot.limits_in_time().map(|(_, at)| at).min() else { return };
        match slot.rest.guard {
            Some((_, at)) if at <= first => {}
            Some((handle, _)) => {
                slot.rest.guard = Some((handle, first));
                self.timers.set(handle, first);
            }
            None => {
                let handle = self.timers.insert(first, Due::Guard(key));
                if let Some(slot) = self.any(key) {
                    slot.rest.guard = Some((handle, first));
                }
            }
        }
    }

    pub(super) fn unguard(&mut self, key: Key) {
        if let Some((handle, _)) = self.any(key).and_then(|slot| slot.rest.guard.take()) {
            self.timers.remove(handle);
        }
    }

    /// Looks at a connection's time limits when its guard has fired; those that are over make it ready.
    pub(super) fn look(&mut self, key: Key) {
        let now = self.now;
        let Some(slot) = self.any(key) else { return };
        let fired = slot.rest.guard.take().map_or(now, |(_, at)| at);
        // The guard is usually early. What is over by now but was not at its time gets its own place among the others.
        let over: Vec<Limit> =
            slot.limits_in_time().filter(|&(_, at)| at <= fired).map(|(what, _)| what).collect();
        for what in over {
            match what {
                Limit::Timeout(bit) => {
                    let Some(slot) = self.any(key) else { return };
                    slot.restart(bit, now);
                    if slot.phase == Phase::Connecting && slot.enabled && slot.permanent.is_none() {
                        // Nobody can be asked yet.
                        let _ = self.close(key, Closed::TimedOut(Timeout::Deadline));
                    } else {
                        self.make_ready(key, bit);
                    }
                }
                Limit::Connect => {
                    let _ = self.close(key, Closed::TimedOut(Timeout::Connect));
                }
                Limit::Retry => self.make_ready(key, Ready::RETRY),
                Limit::Output => {
                    if let Some(slot) = self.any(key) {
                        slot.rest.output_rate.until = None;
                        if slot.phase == Phase::Lingering {
                            // Now it is the other side's turn.
                            slot.rest.stalled_since = now;
                        }
                    }
                    self.make_dirty(key);
                }
                Limit::Accept => {
                    if let Some(slot) = self.any(key) {
                        slot.rest.accept_rate.until = None;
                    }
                    self.make_ready(key, Ready::INPUT);
                }
                Limit::Linger => {
                    if let Some(slot) = self.any(key) {
                        // It is over: this must not fire again.
                        (slot.rest.linger_until, slot.rest.stalled_since) = (NEVER, NEVER);
                    }
                    self.make_ready(key, Ready::ABANDONED);
                }
                Limit::Flush => {
                    if let Some(slot) = self.any(key) {
                        slot.rest.flush_at = None;
                    }
                    self.make_dirty(key);
                }
            }
        }
        self.guard(key);
    }

    /// One that lingers already has no more time than this from now on.
    pub(crate) fn shorten_linger(&mut self, key: Key, linger: u64) -> bool {
        let until = self.now.saturating_add(linger);
        let Some(slot) = self.any(key).filter(|slot| slot.phase == Phase::Lingering) else { return false };
        slot.rest.linger_until = slot.rest.linger_until.min(until);
        self.guard(key);
        true
    }

    pub(crate) fn set_deadline(&mut self, key: Key, at: Option<u64>) -> bool {
        let Some(slot) = self.open(key) else { return false };
        (slot.rest.deadline, slot.overdue) = (at, false);
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

    /// The tag of a connection's own timer that is over, unless it was cancelled or set anew.
    pub(crate) fn take_timer(&mut self, key: Key, timer: Handle) -> Option<u64> {
        let own = *self.own(timer).filter(|own| own.key == key && own.over)?;
        self.remove_timer(timer);
        self.disown(own);
        Some(own.tag)
    }

    fn own(&mut self, timer: Handle) -> Option<&mut Own> {
        match self.timers.get_mut(timer).or_else(|| self.dates.get_mut(timer))? {
            Due::Own(own) => Some(own),
            _ => None,
        }
    }

    /// Whether a connection's own timer is over and still to be handed over.
    pub(super) fn is_over(&mut self, timer: Handle) -> bool {
        self.own(timer).is_some_and(|own| own.over)
    }

    /// A timer that is no more leaves its connection; the last one takes its place.
    fn disown(&mut self, own: Own) {
        let Some(slot) = self.any(own.key) else { return };
        let place = own.place as usize;
        if place < slot.rest.timers.len() {
            slot.rest.timers.swap_remove(place);
        }
        let moved = slot.rest.timers.get(place).copied();
        if let Some(moved) = moved.and_then(|moved| self.own(moved)) {
            moved.place = own.place;
        }
    }

    /// A connection's own timer that was over is cancelled or set anew before it was handed over.
    fn not_over(&mut self, key: Key, timer: Handle) {
        if let Some(slot) = self.any(key) {
            slot.rest.due.retain(|other| *other != timer);
            if slot.rest.due.is_empty() {
                slot.ready = slot.ready.without(Ready::TIMERS);
            }
        }
    }

    /// A deadline that a call was to tell of and did not, because it has lost a permanent connection, comes in the next one.
    pub(crate) fn keep_deadline(&mut self, key: Key, ready: Ready) {
        if ready.has(Ready::DEADLINE) && self.open(key).is_some_and(|slot| slot.overdue) {
            self.make_ready(key, Ready::DEADLINE);
        }
    }

    /// Lets go of those that a call neither took nor put back. A connection that was only lost in that call is called for
    /// them again.
    pub(crate) fn forget_timers(&mut self, key: Key, due: &[Handle]) {
        if self.open(key).is_some_and(|slot| slot.permanent.is_some()) {
            let mut untold = due.to_vec();
            untold.retain(|timer| !self.any(key).is_some_and(|slot| slot.rest.due.contains(timer)));
            return self.put_back(key, Ready::TIMERS, &untold);
        }
        for &timer in due {
            if !self.any(key).is_some_and(|slot| slot.rest.due.contains(&timer)) {
                let _ = self.take_timer(key, timer);
            }
        }
    }

    /// Everything that is due by the loop's clock becomes ready.
    pub(crate) fn expire(&mut self, now: u64) {
        self.now = now;
        self.turns += 1;
        while let Some((handle, at)) = self.timers.take_due(now) {
            match self.timers.get_mut(handle) {
                Some(&mut Due::Guard(key)) => {
                    self.timers.remove(handle);
                    self.look(key);
                }
                Some(Due::Own(own)) => {
                    own.over = true;
                    let key = own.key;
                    self.make_due(key, handle); // it can be cancelled until it is handed over
                }
                Some(Due::Call(call)) => {
                    call.over = true;
                    if let Some(period) = call.period {
                        let next = next_on_grid(at, period.get(), now);
                        self.timers.set(handle, next);
                    }
                    self.enlist(Who::Timer(TimerId {
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
        while let Some((handle, _)) = self.dates.take_due(wall.min(NEVER - 1)) {
            match self.dates.get_mut(handle) {
                Some(Due::Own(own)) => {
                    own.over = true;
                    let key = own.key;
                    self.make_due(key, handle);
                }
                Some(Due::Call(call)) => {
                    call.over = true;
                    self.enlist(Who::Timer(TimerId {
                        index: handle.index,
                        generation: handle.generation,
                        wall: true,
                    }));
                }
                Some(Due::Guard(_)) | None => {}
            }
        }
    }

    /// A connection's own timer is over.
    fn make_due(&mut self, key: Key, timer: Handle) {
        if let Some(slot) = self.open(key) {
            slot.rest.due.push(timer);
            self.make_ready(key, Ready::TIMERS);
        }
    }

    /// Removes a timer of either clock that calls nothing by itself.
    pub(super) fn remove_timer(&mut self, timer: Handle) {
        if self.timers.remove(timer).is_none() {
            self.dates.remove(timer);
        }
    }

    pub(crate) fn next_deadline(&mut self) -> Option<u64> {
        self.timers.next_deadline()
    }

    pub(crate) fn next_date(&mut self) -> Option<u64> {
        self.dates.next_deadline()
    }

    /// A timer that calls `call` at `at`, and then each `period` on the same grid.
    pub(crate) fn add_timer(&mut self, at: u64, period: Option<u64>, call: F) -> TimerId {
        self.calls += 1;
        let period = period.map(|period| NonZeroU64::new(period).unwrap_or(NonZeroU64::MIN));
        let call = Call { call: Some(call), period, priority: DEFAULT_PRIORITY, over: false };
        let handle = self.timers.insert(at.min(NEVER - 1), Due::Call(call));
        TimerId { index: handle.index, generation: handle.generation, wall: false }
    }

    pub(crate) fn add_date(&mut self, wall: u64, call: F) -> TimerId {
        self.calls += 1;
        let call = Call { call: Some(call), period: None, priority: DEFAULT_PRIORITY, over: false };
        let handle = self.dates.insert(wall.min(NEVER - 1), Due::Call(call));
        TimerId { index: handle.index, generation: handle.generation, wall: true }
    }

    /// A timer of a connection: its handler gets the tag.
    pub(crate) fn add_tagged(&mut self, key: Key, at: u64, tag: u64) -> Option<TimerId> {
        self.add_own(key, at, tag, false)
    }

    /// A timer of a connection on the grid through `start`: at its first point that is not over yet.
    pub(crate) fn add_on_grid(&mut self, key: Key, start: u64, period: u64, tag: u64) -> Option<TimerId> {
        let at = next_on_grid(start, period.max(1), self.now);
        self.add_own(key, at, tag, false)
    }

    /// A timer of a connection by the wall clock.
    pub(crate) fn add_tagged_date(&mut self, key: Key, wall: u64, tag: u64) -> Option<TimerId> {
        self.add_own(key, wall, tag, true)
    }

    fn add_own(&mut self, key: Key, at: u64, tag: u64, wall: bool) -> Option<TimerId> {
        let place = u32::try_from(self.open(key)?.rest.timers.len()).ok()?;
        let timers = if wall { &mut self.dates } else { &mut self.timers };
        let handle = timers.insert(at.min(NEVER - 1), Due::Own(Own { key, tag, place, over: false }));
        if let Some(slot) = self.open(key) {
            slot.rest.timers.push(handle);
        }
        Some(TimerId { index: handle.index, generation: handle.generation, wall })
    }

    pub(super) fn call(&mut self, id: TimerId) -> Option<&mut Call<F>> {
        let handle = Handle { index: id.index, generation: id.generation };
        let timers = if id.wall { &mut self.dates } else { &mut self.timers };
        match timers.get_mut(handle) {
            Some(Due::Call(call)) => Some(call),
            _ => None,
        }
    }

    /// Takes a timer's closure for its call.
    pub(crate) fn begin_timer(&mut self, id: TimerId) -> Option<F> {
        let call = self.call(id)?;
        if !take(&mut call.over) {
            return None; // it was set anew
        }
        call.call.take()
    }

    /// The closure of a timer that repeats goes back. What is given back is to be dropped.
    #[must_use]
    pub(crate) fn end_timer(&mut self, id: TimerId, call: F) -> Option<F> {
        match self.call(id) {
            Some(timer) if timer.period.is_some() => {
                timer.call = Some(call);
                None
            }
            Some(_) => {
                self.calls -= 1;
                let timers = if id.wall { &mut self.dates } else { &mut self.timers };
                timers.remove(Handle { index: id.index, generation: id.generation });
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
            &mut Due::Own(own) => {
                timers.remove(handle);
                self.disown(own);
                if own.over {
                    self.not_over(own.key, handle);
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

    /// Moves a timer of the loop's clock to `at`; one that repeats has its grid begin there. If it is over, and not called yet,
    /// it is not called for that. `false`: there is none, or it runs for the last time.
    pub(crate) fn rearm(&mut self, id: TimerId, at: u64) -> bool {
        let handle = Handle { index: id.index, generation: id.generation };
        if id.wall {
            return false;
        }
        match self.timers.get_mut(handle) {
            Some(Due::Own(own)) => {
                let key = own.key;
                if take(&mut own.over) {
                    self.not_over(key, handle);
                }
            }
            Some(Due::Call(call)) if call.call.is_some() || call.period.is_some() => call.over = false,
            _ => return false,
        }
        self.timers.set(handle, at.min(NEVER - 1))
    }

    pub(crate) fn set_timer_priority(&mut self, id: TimerId, priority: u8) -> bool {
        self.prioritized |= priority != DEFAULT_PRIORITY;
        self.call(id).map(|call| call.priority = priority).is_some()
    }

    pub(crate) fn timer_is_set(&mut self, id: TimerId) -> bool {
        let handle = Handle { index: id.index, generation: id.generation };
        let timers = if id.wall { &mut self.dates } else { &mut self.timers };
        timers.get_mut(handle).is_some_and(|due| !matches!(due, Due::Guard(_)))
    }
}

/// The first point after `now` on the grid of `period` through `start`: what was missed is skipped.
fn next_on_grid(start: u64, period: u64, now: u64) -> u64 {
    let steps = now.saturating_sub(start) / period + 1;
    steps.checked_mul(period).and_then(|ahead| start.checked_add(ahead)).unwrap_or(NEVER)
}
