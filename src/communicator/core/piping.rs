//! The input of one connection is the output of another, as far as that takes it.

use super::{Core, Queued};
use crate::communicator::error::{Closed, PipeError};
use crate::communicator::key::Key;
use crate::communicator::slot::Ready;

impl<D, F> Core<D, F> {
    /// Whether the input of `from` can go to `to`.
    pub(crate) fn may_pipe(&mut self, from: Key, to: Key) -> Result<(), PipeError> {
        let target = self.open(to).ok_or(PipeError::Gone)?;
        if target.finishing || target.write_error.is_some() {
            return Err(PipeError::Gone);
        }
        let (takes, taken) = (target.is_stream, target.rest.pipe_from.is_some());
        let source = self.open(from).ok_or(PipeError::Gone)?;
        if !takes || !source.is_stream {
            Err(PipeError::NoStream)
        } else if taken || source.rest.pipe_to.is_some() {
            Err(PipeError::Busy)
        } else {
            Ok(())
        }
    }

    /// From now on the input of `from` goes to `to`.
    pub(crate) fn pipe_to(&mut self, from: Key, to: Key) -> Result<(), PipeError> {
        self.may_pipe(from, to)?;
        self.interrupted |= self.running == Some(from);
        if let Some(source) = self.open(from) {
            (source.rest.pipe_to, source.is_piped) = (Some(to), true);
        }
        if let Some(target) = self.open(to) {
            target.rest.pipe_from = Some(from);
        }
        self.press(to);
        self.make_ready(from, Ready::INPUT); // what it holds already, and an end that it was told of
        Ok(())
    }

    /// Whether its input goes to another connection.
    pub(crate) fn is_piped(&self, key: Key) -> bool {
        self.slot(key).is_some_and(|slot| slot.is_piped)
    }

    /// Whether something is piped to it.
    pub(crate) fn is_piped_to(&self, key: Key) -> bool {
        self.slot(key).is_some_and(|slot| slot.rest.pipe_from.is_some())
    }

    /// Queues what came at `from` where it goes: that key, and whether it is to be written now.
    pub(crate) fn pipe(&mut self, from: Key, bytes: &[u8]) -> Option<(Key, Queued)> {
        let to = self.slot(from)?.rest.pipe_to?;
        // A limit for single items means nothing here: reading stops long before it.
        let target = self.open(to)?;
        if target.write_error.is_some() {
            // What it has to say is still passed on, and then it ends.
            if let Some(source) = self.open(from) {
                source.pipe_full = true;
            }
            return None;
        }
        if target.finishing {
            let _ = self.close(from, Closed::Pipe);
            return None;
        }
        let first = target.rest.out.is_empty();
        let mut out = std::mem::take(&mut target.rest.out);
        out.push(bytes, &mut self.spares);
        if let Some(target) = self.open(to) {
            target.rest.out = out;
        }
        let queued = self.queued(to, first);
        self.press(to);
        Some((to, queued))
    }

    /// How much more may be read of what is piped somewhere, in one go.
    pub(crate) fn pipe_room(&self, from: Key) -> usize {
        let to = self.slot(from).and_then(|slot| self.slot(slot.rest.pipe_to?));
        to.map_or(usize::MAX, |to| {
            let limits = &to.settings.limits;
            limits.high_water.min(limits.output).max(1).saturating_sub(to.rest.out.len())
        })
    }

    /// All input of `from` was passed on, and there will be none: the other one's output ends, too.
    pub(crate) fn pipe_end(&mut self, from: Key) {
        let Some(source) = self.open(from) else { return };
        if source.rest.pipe_to.is_some()
            && !std::mem::replace(&mut source.pipe_done, true)
            && let Some(to) = source.rest.pipe_to
        {
            self.finish(to);
        }
    }

    /// Whether one that was piped somewhere has nothing more to do: all of its input was passed on, and its own output
    /// has ended.
    pub(crate) fn pipe_is_over(&self, key: Key) -> bool {
        self.slot(key).is_some_and(|slot| slot.pipe_done && slot.finished)
    }

    /// Stops reading what is piped to `to` when that has much queued.
    fn press(&mut self, to: Key) {
        let Some(target) = self.open(to) else { return };
        let limits = &target.settings.limits;
        if target.rest.out.len() < limits.high_water.min(limits.output).max(1) {
            return;
        }
        target.pressed = true;
        let from = target.rest.pipe_from;
        if let Some(source) = from.and_then(|from| self.open(from)) {
            source.pipe_full = true;
        }
        self.interrupted |= self.running.is_some() && self.running == from;
    }

    /// Reads on what is piped to `to` when that has little queued.
    pub(super) fn relieve(&mut self, to: Key) {
        let Some(target) = self.open(to) else { return };
        let Some(from) = target.rest.pipe_from else { return };
        if target.rest.out.len() > target.settings.limits.low_water || target.write_error.is_some() {
            return;
        }
        if let Some(source) = self.open(from)
            && std::mem::take(&mut source.pipe_full)
        {
            self.make_ready(from, Ready::default());
        }
    }

    /// One that ends takes those with it for whom it is too early: who is piped to it and has not ended, and the one that
    /// has not got everything. Whoever has got everything goes on by itself.
    pub(super) fn unpipe(&mut self, key: Key) {
        if self.any(key).is_none_or(|slot| slot.rest.pipe_to.is_none() && slot.rest.pipe_from.is_none()) {
            return;
        }
        let mut ended = vec![key];
        while let Some(key) = ended.pop() {
            let Some(slot) = self.any(key) else { continue };
            (slot.is_piped, slot.pipe_full) = (false, false);
            let (to, from, done) = (slot.rest.pipe_to.take(), slot.rest.pipe_from.take(), slot.pipe_done);
            if let Some(to) = to.filter(|&to| to != key)
                && let Some(target) = self.any(to)
            {
                target.rest.pipe_from = None;
                if !done && target.is_open() {
                    self.end_open(to, Closed::Pipe);
                    ended.push(to);
                }
            }
            if let Some(from) = from.filter(|&from| from != key)
                && let Some(source) = self.any(from)
            {
                (source.rest.pipe_to, source.is_piped, source.pipe_full) = (None, false, false);
                if !source.pipe_done && source.is_open() {
                    self.end_open(from, Closed::Pipe);
                    ended.push(from);
                } else {
                    self.make_ready(from, Ready::default()); // what had to wait
                }
            }
        }
    }
}
