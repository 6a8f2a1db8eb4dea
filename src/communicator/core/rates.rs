//! How fast connections may be.

use super::Core;
use crate::communicator::key::Key;
use crate::communicator::rate::Rates;
use crate::communicator::slot::Ready;
use std::rc::Rc;

/// Output that has to wait leaves in so many pieces of an amount.
const PIECES: u64 = 16;

impl<D, F> Core<D, F> {
    pub(crate) fn set_rates(&mut self, key: Key, rates: Rates) -> bool {
        let now = self.now;
        let Some(slot) = self.open(key) else { return false };
        let writes = slot.rest.output_rate.reset(rates.output, now);
        let accepts = slot.rest.accept_rate.reset(rates.accept, now);
        Rc::make_mut(&mut slot.settings).rates = rates;
        if writes {
            self.make_dirty(key);
        }
        if accepts {
            self.make_ready(key, Ready::INPUT);
        }
        true
    }

    /// How many bytes may be written for it now. 0: it waits until it may write more.
    pub(super) fn may_write(&mut self, key: Key) -> usize {
        let now = self.now;
        let Some(slot) = self.any(key) else { return 0 };
        if slot.rest.output_rate.until.is_some() {
            return 0;
        }
        let Some(rate) = slot.settings.rates.output.filter(|_| !slot.rest.out.is_empty()) else {
            return usize::MAX;
        };
        let piece = (rate.amount / PIECES).max(1).min(slot.rest.out.len() as u64);
        if slot.rest.output_rate.may(rate, now, piece) {
            return usize::try_from(slot.rest.output_rate.available(rate, now)).unwrap_or(usize::MAX);
        }
        self.guard(key);
        0
    }

    pub(super) fn count_written(&mut self, key: Key, bytes: usize) {
        let now = self.now;
        if let Some(slot) = self.any(key)
            && let Some(rate) = slot.settings.rates.output
        {
            slot.rest.output_rate.take(rate, now, bytes as u64);
        }
    }

    /// Whether a listener may accept one more. If not, it is called again when it may.
    pub(crate) fn may_accept(&mut self, key: Key) -> bool {
        let now = self.now;
        if !self.has_room(key) {
            return false;
        }
        let Some(slot) = self.open(key) else { return false };
        let Some(rate) = slot.settings.rates.accept else { return true };
        let may = slot.rest.accept_rate.until.is_none() && slot.rest.accept_rate.may(rate, now, 1);
        if !may {
            self.guard(key);
        }
        may
    }

    /// A listener has accepted one.
    pub(crate) fn accepted(&mut self, key: Key) {
        let now = self.now;
        if let Some(slot) = self.open(key)
            && let Some(rate) = slot.settings.rates.accept
        {
            slot.rest.accept_rate.take(rate, now, 1);
        }
    }
}
