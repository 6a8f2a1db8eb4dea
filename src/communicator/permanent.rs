//! What a connection that reconnects by itself does with time and with what it is given to send.

use super::error::Closed;
use super::output::OutQueue;
use super::pauses::{Backoff, Pauses};
use std::any::Any;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// What becomes of an item that a permanent connection can't send at once, or could not send whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// It waits while the connection is away, and stays over losses, within the bounds of [`Away`].
    #[default]
    Yes,
    /// It is refused while the connection is away ([`SendError::Away`](crate::SendError::Away)), and dropped when the
    /// connection is lost before it was written.
    No,
}

/// How much may wait for a permanent connection while it is away: not established, for the first time or again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    /// Items. Default: 10 000.
    pub items: usize,
    /// Bytes. Never exceeded, unlike [`Limits::output`](crate::Limits::output), which counts as well. Default: 16 MiB.
    pub bytes: usize,
    /// An item that has waited for longer is dropped. Looked at when something is sent while the connection is away, at each
    /// attempt, and before anything is written on a new connection. Default: `None`, for ever.
    pub age: Option<Duration>,
    /// What gives way where there is no room: the new item, which is refused with [`SendError::Full`](crate::SendError::Full), or, if
    /// `true`, the oldest ones. Default: `false`.
    pub drop_oldest: bool,
}

impl Default for Away {
    fn default() -> Self {
        Self { items: 10_000, bytes: 16 << 20, age: None, drop_oldest: false }
    }
}

/// How a permanent connection behaves: see [`Communicator::permanent`](crate::Communicator::permanent).
///
/// ```
/// use eventdispatcher::{Away, Keep, Reconnect};
/// use std::time::Duration;
///
/// let reconnect = Reconnect::new("-10,1,2,4,60".parse()?)
///     .away(Away { items: 100, age: Some(Duration::from_secs(60)), ..Away::default() })
///     .resend_half(false);
/// # let _ = reconnect.keep(Keep::No);
/// # Ok::<(), eventdispatcher::PausesError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Reconnect {
    pub(crate) pauses: Pauses,
    pub(crate) away: Away,
    pub(crate) keep: Keep,
    pub(crate) resend_half: bool,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self::new(Pauses::default())
    }
}

impl Reconnect {
    /// With these pauses; what is sent is kept, and half-sent items are sent again, unless told otherwise.
    pub fn new(pauses: Pauses) -> Self {
        Self { pauses, away: Away::default(), keep: Keep::Yes, resend_half: true }
    }

    /// Sets how much may wait while the connection is away.
    #[must_use]
    pub fn away(mut self, away: Away) -> Self {
        self.away = away;
        self
    }

    /// Sets what becomes of items for which [`send`](crate::Communicator::send) says nothing.
    #[must_use]
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// Sets what becomes of the one item that was written in part when the connection was lost: it is sent whole on
    /// the new one, or, if `false`, dropped.
    #[must_use]
    pub fn resend_half(mut self, resend: bool) -> Self {
        self.resend_half = resend;
        self
    }
}

/// What the loop knows of a permanent connection beside its slot.
#[derive(Debug)]
pub(crate) struct Permanent {
    pub(crate) backoff: Backoff,
    pub(crate) away: Away,
    pub(crate) keep: Keep,
    pub(crate) resend_half: bool,
    /// When the next attempt is made; only while it waits.
    pub(crate) retry_at: Option<u64>,
    /// Attempts until now: the name of the running one.
    pub(crate) attempt: u64,
    /// … since it was established last.
    pub(crate) tries: u64,
    /// What was lost was established.
    pub(crate) was_open: bool,
    /// No more attempts are made.
    pub(crate) last: bool,
    /// What the connector has made, until the connection takes it.
    pub(crate) arrived: Option<Box<dyn Any>>,
    /// Leaves before everything else, and goes with the transport.
    pub(crate) greeting: OutQueue,
    /// Nothing but the greeting leaves.
    pub(crate) holding: bool,
    /// It was called for that its queue is low, and the handler does not know it yet.
    pub(crate) owes_drained: bool,
    /// Items that were queued until now: the name of the next one.
    pub(crate) items: u64,
    /// Items that were never sent.
    pub(crate) dropped: u64,
}

impl Permanent {
    pub(crate) fn new(reconnect: Reconnect, random: u64, now: u64) -> Self {
        let Reconnect { pauses, away, keep, resend_half } = reconnect;
        let backoff = Backoff::new(pauses, random);
        let retry_at = Some(now.saturating_add(backoff.before()));
        Self {
            backoff,
            away,
            keep,
            resend_half,
            retry_at,
            attempt: 0,
            tries: 0,
            was_open: false,
            last: false,
            arrived: None,
            greeting: OutQueue::default(),
            holding: false,
            owes_drained: false,
            items: 0,
            dropped: 0,
        }
    }

    /// Drops what is too old.
    pub(crate) fn drop_aged(&mut self, out: &mut OutQueue, now: u64) {
        let Some(age) = self.away.age else { return };
        let age = super::slot::nanos(age);
        while !out.is_half() && out.first_item().is_some_and(|first| now.saturating_sub(first.queued) > age) {
            out.drop_first();
            self.dropped += 1;
        }
    }

    /// Whether one more item of `len` bytes may wait; the oldest ones give way to it if they are to.
    pub(crate) fn make_room(&mut self, out: &mut OutQueue, len: usize, now: u64) -> bool {
        self.drop_aged(out, now);
        let Away { items, bytes, drop_oldest, .. } = self.away;
        let fits = |out: &OutQueue| out.item_count() < items && out.len().saturating_add(len) <= bytes;
        if drop_oldest && items > 0 && len <= bytes && !out.is_half() {
            while !fits(out) && out.drop_first().is_some() {
                self.dropped += 1;
            }
        }
        fits(out)
    }
}

/// What was lost.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) why: Closed,
    /// It was established.
    pub(crate) established: bool,
    /// No more attempts are made.
    pub(crate) last: bool,
}

/// What makes the chance of one connection.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().hash_one(0)
}
