//! Connections come and go, and what is set for them.

use super::Core;
use crate::communicator::error::{Closed, UpgradeError};
use crate::communicator::key::{Key, next_generation};
use crate::communicator::slot::{Phase, Ready, Slot, Upgrade, nanos};
use std::any::Any;
use std::mem::take;
use std::rc::Rc;
use std::time::Duration;

/// So long a closed connection waits at most for the other side to end too, where closing at once could destroy
/// what was just written.
const WAIT_FOR_PEER: Duration = Duration::from_secs(2);

impl<D, F> Core<D, F> {
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
        self.unpipe(key);
        let slot = self.any(key)?;
        slot.gone = true;
        let upgrade = slot.upgrade.take();
        let arrived = slot.permanent.as_mut().and_then(|permanent| permanent.arrived.take());
        let driver = slot.driver.take();
        let (end, error, about) = (slot.rest.end.take(), slot.write_error.take(), slot.rest.about.take());
        let (guard, timers, parent) = (slot.rest.guard.take(), take(&mut slot.rest.timers), slot.rest.parent);
        for handle in guard.map(|guard| guard.0).into_iter().chain(timers) {
            self.remove_timer(handle);
        }
        self.waste.extend(upgrade.map(|upgrade| upgrade.layer).into_iter().chain(arrived));
        self.throw_away(end);
        self.throw_away(error);
        self.throw_away(about);
        self.live -= 1;
        if let Some(parent) = parent
            && let Some(listener) = self.any(parent)
        {
            listener.rest.children -= 1;
            if listener.rest.children + 1 == listener.rest.most_children {
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

    /// What may be somebody's (an error, what a transport tells of itself) is dropped outside: its destructor may come back here.
    pub(crate) fn throw_away<T: 'static>(&mut self, what: Option<T>) {
        self.waste.extend(what.map(|what| Box::new(what) as Box<dyn Any>));
    }

    pub(super) fn discard_slot(&mut self, key: Key) {
        let mut slot = self.slots.remove(key.slot as usize);
        slot.rest.out.clear(&mut self.spares);
    }

    /// No more callbacks but `closed`, and no more input; output lingers. Gives `why` back, which may hold somebody's error, if
    /// there is nothing to close. What reconnects by itself is only lost, unless the program closes it, or it has done all that it
    /// had to.
    pub(crate) fn close(&mut self, key: Key, why: Closed) -> Result<(), Closed> {
        let Some(slot) = self.open(key) else { return Err(why) };
        if slot.permanent.is_some() {
            if !matches!(why, Closed::Local) && !slot.finished {
                return self.lose(key, why);
            }
            self.make_usual(key);
        }
        self.end_open(key, why);
        self.unpipe(key);
        Ok(())
    }

    /// Ends one connection that is open.
    pub(super) fn end_open(&mut self, key: Key, why: Closed) {
        let Some(slot) = self.open(key) else { return };
        slot.phase = Phase::Ending;
        slot.rest.end = Some(why);
        if let Some(upgrade) = slot.upgrade.take() {
            // Never without the layer what was meant for it.
            let mut inside = std::mem::replace(&mut slot.rest.out, upgrade.before);
            inside.clear(&mut self.spares);
            self.waste.push(upgrade.layer);
        }
        if self.running == Some(key) {
            self.interrupted = true;
        }
        self.make_ready(key, Ready::ENDED);
    }

    /// The reason to hand to `closed`, once; from then on the connection lingers.
    pub(crate) fn take_end(&mut self, key: Key) -> Option<Closed> {
        let now = self.now;
        let slot = self.any(key).filter(|slot| slot.phase == Phase::Ending)?;
        slot.phase = Phase::Lingering;
        slot.rest.linger_until = now.saturating_add(nanos(slot.settings.timeouts.linger));
        slot.ready = slot.ready.without(Ready::ENDED);
        slot.finishing = true;
        let blocked = slot.blocked;
        let (end, timers) = (slot.rest.end.take(), take(&mut slot.rest.timers));
        slot.rest.due.clear();
        slot.ready = slot.ready.without(Ready::LATER);
        for handle in timers {
            self.remove_timer(handle);
        }
        if blocked {
            // The other side may wait until it has got rid of what nobody has read.
            self.make_ready(key, Ready::INPUT);
        }
        self.guard(key);
        end
    }

    /// It accepts others, for which its timeouts are.
    pub(crate) fn set_listens(&mut self, key: Key) {
        if let Some(slot) = self.any(key) {
            slot.listens = true;
        }
    }

    /// It carries bytes.
    pub(crate) fn set_stream(&mut self, key: Key) {
        if let Some(slot) = self.any(key) {
            slot.is_stream = true;
        }
    }

    /// What the transport is and tells, now that it is established.
    pub(crate) fn describe(&mut self, key: Key, kind: &'static str, about: Option<Rc<dyn Any>>) {
        let Some(slot) = self.open(key) else { return self.throw_away(about) };
        slot.rest.kind = kind;
        let before = std::mem::replace(&mut slot.rest.about, about);
        self.throw_away(before);
    }

    /// `false`: it was closed or lost meanwhile, in code of its transport.
    pub(crate) fn established(&mut self, key: Key) -> bool {
        let now = self.now;
        if self.open(key).is_none_or(|slot| slot.phase != Phase::Connecting) {
            return false;
        }
        self.reconnected(key);
        if let Some(slot) = self.open(key) {
            slot.phase = Phase::Open;
            slot.blocked = false;
            (slot.last_read, slot.rest.last_write, slot.rest.idle_since) = (now, now, now);
            if !slot.rest.out.is_empty() || slot.finishing || slot.pressed {
                self.make_dirty(key);
            }
            // The limit for connecting must not wake an idle loop.
            self.unguard(key);
            self.guard(key);
            self.make_ready(key, Ready::default()); // what had to wait for this
        }
        true
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
        if slot.permanent.is_some() {
            return Err((UpgradeError::Permanent, layer));
        }
        if slot.phase == Phase::Connecting || slot.upgrade.is_some() {
            return Err((UpgradeError::Busy, layer));
        }
        slot.upgrade = Some(Box::new(Upgrade { layer, before: take(&mut slot.rest.out) }));
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
        slot.rest.added = now;
        slot.rest.bytes_out += upgrade.before.len() as u64;
        self.count_written(key, upgrade.before.len());
        self.guard(key);
        self.make_ready(key, Ready::default()); // input that was not read may be of the handshake
        Some(*upgrade)
    }

    pub(crate) fn discard_output(&mut self, key: Key) {
        let Some(slot) = self.any(key) else { return };
        let mut out = take(&mut slot.rest.out);
        out.clear(&mut self.spares);
    }

    /// Counts an accepted connection for its listener, from which it has its settings.
    pub(crate) fn set_parent(&mut self, key: Key, parent: Key) {
        let Some(settings) = self.open(parent).map(|listener| listener.settings.clone()) else { return };
        let Some(slot) = self.any(key) else { return };
        slot.rest.parent = Some(parent);
        slot.settings = settings;
        if let Some(listener) = self.open(parent) {
            listener.rest.children += 1;
        }
        self.guard(key);
    }

    /// Whether one that counts others may get one more.
    pub(crate) fn has_room(&mut self, key: Key) -> bool {
        self.open(key).is_some_and(|slot| slot.rest.children < slot.rest.most_children)
    }

    /// All is written; it only waits for the other side to end, and not for long.
    pub(crate) fn wait_for_peer(&mut self, key: Key) {
        let until = self.now.saturating_add(nanos(WAIT_FOR_PEER));
        if let Some(slot) = self.any(key) {
            slot.rest.linger_until = slot.rest.linger_until.min(until);
        }
        self.guard(key);
    }
}
