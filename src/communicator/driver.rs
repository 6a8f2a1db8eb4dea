//! What the loop needs of a connection, whatever its kind.

use super::error::{Closed, HandlerResult};
use super::handle::Communicator;
use super::key::Key;
use super::output::{OutQueue, Written};
use super::slot::{Ready, Settings, Upgrade};
use super::timers::Handle;
use mio::event::Source;
use std::io;
use std::rc::Rc;
use std::time::Instant;

/// One connection: its source, and the user's code behind it. Out of its slot while it runs.
pub(crate) trait Driver {
    /// What the poll watches; none for a connection that is only called by timers.
    fn source(&mut self) -> Option<&mut dyn Source>;

    /// Whether the poll should say when it can be written to, though no output is queued: while it
    /// is being established, or when a layer below holds bytes back.
    fn wants_write(&self) -> bool {
        false
    }

    /// Called in its turn, before [`ready`](Self::ready).
    fn upgrade(&mut self, _: Upgrade) -> Result<(), Closed> {
        Err(Closed::Io(io::Error::new(io::ErrorKind::Unsupported, "it has no transport for a layer")))
    }

    /// Called in its turn.
    fn ready(&mut self, turn: &Turn<'_>) -> Outcome;

    /// Writes what is queued.
    fn write(&mut self, out: &mut OutQueue, budget: usize) -> io::Result<Written>;

    /// Ends this side's direction.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// A permanent connection has lost its transport, which is let go of already, or could not get one.
    fn lost(&mut self, why: &Closed, established: bool, turn: &Turn<'_>) -> HandlerResult {
        let _ = (why, established, turn);
        Ok(())
    }

    /// The last call to the user's code, which is then let go of.
    fn closed(&mut self, why: Closed, turn: &Turn<'_>);

    /// Called while it lingers: throws input away. `written`: all output is gone.
    fn linger(&mut self, written: bool) -> Linger {
        if written { Linger::Over } else { Linger::Wait }
    }

    /// Closes the descriptor.
    fn release(&mut self);
}

/// What a connection is called with in its turn.
pub(crate) struct Turn<'a> {
    pub(crate) communicator: &'a Communicator,
    pub(crate) key: Key,
    pub(crate) ready: Ready,
    /// It may be read, by its handler, unless something that is called in this turn changes that.
    pub(crate) reads: bool,
    /// Its own timers that are over; each can still be cancelled until it is taken.
    pub(crate) due: &'a [Handle],
    pub(crate) settings: Rc<Settings>,
    /// A permanent connection begins an attempt: how many have failed since it was there last, and the name of this one.
    pub(crate) attempt: Option<(u64, u64)>,
}

/// What becomes of a connection after its call.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It waits for the poll or for time.
    Wait,
    /// Its budget is used up, and there is more.
    Again,
    /// It has ended.
    End(Closed),
}

/// What keeps a connection that lingers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linger {
    /// Its output, or the other side.
    Wait,
    /// There is more input to throw away.
    Again,
    /// Nothing.
    Over,
}

/// How much of its budget a connection has used in this turn.
pub(crate) struct Spent<'a> {
    settings: &'a Settings,
    callbacks: usize,
    bytes: usize,
    since: Option<Instant>,
}

impl<'a> Spent<'a> {
    pub(crate) fn nothing(settings: &'a Settings) -> Self {
        Self { settings, callbacks: 0, bytes: 0, since: None }
    }

    pub(crate) fn bytes(&mut self, count: usize) {
        self.bytes += count;
    }

    /// One more callback was made.
    pub(crate) fn callback(&mut self) {
        self.callbacks += 1;
    }

    pub(crate) fn callbacks(&self) -> usize {
        self.callbacks
    }

    /// Whether the turn of this connection is over, asked after a callback.
    pub(crate) fn all(&mut self) -> bool {
        // A look at the clock costs about as much as a short callback.
        self.is_much() || (self.since.is_none() || self.callbacks.is_multiple_of(64)) && self.is_late()
    }

    /// Whether the turn of this connection is over, asked before it reads once more.
    pub(crate) fn all_before_read(&mut self) -> bool {
        self.is_much() || self.is_late()
    }

    fn is_much(&self) -> bool {
        let budget = &self.settings.budget;
        self.bytes >= budget.bytes || self.callbacks >= budget.callbacks
    }

    /// Time is taken from the first question on.
    fn is_late(&mut self) -> bool {
        match self.since {
            Some(since) => since.elapsed() >= self.settings.budget.time,
            None => {
                self.since = Some(Instant::now());
                false
            }
        }
    }
}
