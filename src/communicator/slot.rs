//! What the loop knows of one connection.

use super::error::Closed;
use super::key::Key;
use super::output::OutQueue;
use super::permanent::Permanent;
use super::rate::{Bucket, Rates};
use super::settings::{Budget, Limits, Timeout, Timeouts};
use super::timers::Handle;
use std::any::Any;
use std::io;
use std::rc::Rc;

/// Why a connection is to be called; many can be true at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ready(u16);

impl Ready {
    /// The source may have input, or a connection may have been established.
    pub(crate) const INPUT: Self = Self(1);
    /// The other side has ended its direction, or both, or has sent urgent data: behind a short read there may be more. No reason by itself: said beside the others, from then on.
    pub(crate) const HANGUP: Self = Self(1 << 1);
    /// It has just been added.
    pub(crate) const ADDED: Self = Self(1 << 2);
    /// The queue is down to the low-water mark after it was above the high one.
    pub(crate) const DRAINED: Self = Self(1 << 3);
    /// It was closed: `closed` is to be called.
    pub(crate) const ENDED: Self = Self(1 << 4);
    /// The time for lingering is over.
    pub(crate) const ABANDONED: Self = Self(1 << 5);
    /// Tagged timers are due.
    pub(crate) const TIMERS: Self = Self(1 << 6);
    pub(crate) const READ_TIMEOUT: Self = Self(1 << 7);
    pub(crate) const WRITE_TIMEOUT: Self = Self(1 << 8);
    pub(crate) const IDLE_TIMEOUT: Self = Self(1 << 9);
    pub(crate) const STALLED: Self = Self(1 << 10);
    pub(crate) const DEADLINE: Self = Self(1 << 11);
    /// A layer is to be put around its transport.
    pub(crate) const UPGRADE: Self = Self(1 << 12);
    /// The transport of a permanent connection has failed: `lost` or `failed` is to be called.
    pub(crate) const LOST: Self = Self(1 << 13);
    /// It is time for the next attempt of a permanent connection.
    pub(crate) const RETRY: Self = Self(1 << 14);
    /// The connector of a permanent connection has made a transport, or could not.
    pub(crate) const ARRIVED: Self = Self(1 << 15);
    pub(crate) const TIMEOUTS: Self = Self(
        Self::READ_TIMEOUT.0
            | Self::WRITE_TIMEOUT.0
            | Self::IDLE_TIMEOUT.0
            | Self::STALLED.0
            | Self::DEADLINE.0,
    );
    /// What one that is not established yet is called for; everything else waits.
    const ESTABLISHING: Self = Self(Self::INPUT.0 | Self::ADDED.0);
    /// … and a permanent one.
    const ESTABLISHING_OR_AWAY: Self = Self(Self::ESTABLISHING.0 | Self::ARRIVED.0 | Self::AWAY.0);
    /// What a permanent connection is called for though it has no transport.
    pub(crate) const AWAY: Self = Self(Self::TIMERS.0 | Self::DEADLINE.0 | Self::RETRY.0);
    /// What comes after the input in a call.
    pub(crate) const LATER: Self = Self(Self::TIMEOUTS.0 | Self::TIMERS.0 | Self::DRAINED.0);

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    pub(crate) fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The timeouts that are over, in a fixed order.
    pub(crate) fn timeouts(self) -> impl Iterator<Item = (Self, Timeout)> {
        [
            (Self::READ_TIMEOUT, Timeout::Read),
            (Self::WRITE_TIMEOUT, Timeout::Write),
            (Self::IDLE_TIMEOUT, Timeout::Idle),
            (Self::STALLED, Timeout::Stalled),
            (Self::DEADLINE, Timeout::Deadline),
        ]
        .into_iter()
        .filter(move |&(bit, _)| self.has(bit))
    }
}

/// How far a connection is in its life. The first three can be sent to and named; the last two only finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A permanent one between two transports; while `end` is there its handler has not been told of the loss yet.
    Waiting,
    /// Not established yet: nothing can be written.
    Connecting,
    Open,
    /// Closed; `closed` has not been called yet.
    Ending,
    /// `closed` has been called; what is queued is being written.
    Lingering,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) budget: Budget,
    pub(crate) timeouts: Timeouts,
    pub(crate) rates: Rates,
}

/// `driver` is away while it runs. `gone`: removed while it ran, so that its key is stale already. Times are nanoseconds of the
/// loop's clock.
///
/// Here stands what every call looks at, in two cache lines, so that the slots of ten thousand connections stay small; everything
/// else is in `rest`.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Slot<D> {
    pub(crate) generation: u32,
    pub(crate) priority: u8,
    pub(crate) phase: Phase,
    pub(crate) enabled: bool,
    pub(crate) reading: bool,
    pub(crate) gone: bool,
    /// Stands in the list of the ready ones.
    pub(crate) listed: bool,
    /// Stands in the list of those with something to write.
    pub(crate) dirty: bool,
    /// The other side took no more; the poll will say when it does.
    pub(crate) blocked: bool,
    /// The other side has hung up, or sent urgent data.
    pub(crate) hung_up: bool,
    /// … and has not taken a byte since.
    pub(crate) stuck: bool,
    /// The poll was asked to say when it can be written to.
    pub(crate) wants_write: bool,
    /// The queue was over the high-water mark, or refused something: `drained` is owed.
    pub(crate) pressed: bool,
    /// This side's direction ends when the queue is empty.
    pub(crate) finishing: bool,
    /// … and that has been done.
    pub(crate) finished: bool,
    pub(crate) ready: Ready,
    /// Its timeouts are for those that it accepts.
    pub(crate) listens: bool,
    /// Carries bytes that can be piped.
    pub(crate) is_stream: bool,
    /// Its input goes to another connection.
    pub(crate) is_piped: bool,
    /// It is not read for now: where its input goes has much queued.
    pub(crate) pipe_full: bool,
    /// The end of its input was passed on.
    pub(crate) pipe_done: bool,
    /// It is over, and that is not handed over yet.
    pub(crate) overdue: bool,
    pub(crate) driver: Option<D>,
    pub(crate) settings: Rc<Settings>,
    /// Comes before anything else is read or written.
    pub(crate) upgrade: Option<Box<Upgrade>>,
    /// It reconnects by itself.
    pub(crate) permanent: Option<Box<Permanent>>,
    /// Writing failed; what can still be read is delivered first.
    pub(crate) write_error: Option<io::Error>,
    pub(crate) last_read: u64,
    /// When anything was read last; unlike `last_read`, never moved by a timeout.
    pub(crate) heard: u64,
    pub(crate) bytes_in: u64,
    pub(crate) items_in: u64,
    pub(crate) rest: Box<Rest>,
}

const _: () = assert!(size_of::<Slot<[usize; 2]>>() == 128);

/// What one that is permanent no more still has to say, before its queue.
#[derive(Debug)]
pub(crate) struct LastWords {
    pub(crate) greeting: OutQueue,
    /// The queue was held, and does not leave, but for an item that has begun.
    pub(crate) alone: bool,
}

/// What not every call looks at. What is written with comes first.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) out: OutQueue,
    /// `out` was taken, to be written.
    pub(crate) is_out_taken: bool,
    /// It ceased to be permanent meanwhile, and this is what comes of that.
    pub(crate) last_words: Option<Box<LastWords>>,
    pub(crate) idle_since: u64,
    pub(crate) last_write: u64,
    /// When anything was written last; unlike `last_write`, never moved by a timeout.
    pub(crate) told: u64,
    pub(crate) bytes_out: u64,
    pub(crate) stalled_since: u64,
    /// The one timer for all timeouts, and when it will fire: maybe too early, never too late.
    pub(crate) guard: Option<(Handle, u64)>,
    /// Input that makes no item yet, or waits.
    pub(crate) unread: usize,
    /// Those of `timers` that are over and not handed over yet, in order.
    pub(crate) due: Vec<Handle>,
    pub(crate) timers: Vec<Handle>,
    /// Where its input goes, undecoded, and whose input it gets.
    pub(crate) pipe_to: Option<Key>,
    pub(crate) pipe_from: Option<Key>,
    /// What the transport tells of itself.
    pub(crate) about: Option<Rc<dyn Any>>,
    /// What was written, and accepted, lately.
    pub(crate) output_rate: Bucket,
    pub(crate) accept_rate: Bucket,
    /// Why it ended, until `closed` has been told; or, of one that waits, why it was lost.
    pub(crate) end: Option<Closed>,
    pub(crate) deadline: Option<u64>,
    /// Since when it is being established.
    pub(crate) added: u64,
    pub(crate) linger_until: u64,
    /// When what the transport holds back is tried again.
    pub(crate) flush_at: Option<u64>,
    pub(crate) kind: &'static str,
    pub(crate) name: Option<Rc<str>>,
    /// The listener that accepted it, and how many a listener has accepted that are still there.
    pub(crate) parent: Option<Key>,
    pub(crate) children: usize,
    /// At so many a listener waits.
    pub(crate) most_children: usize,
}

/// A layer that is to be put around the transport of an open connection.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// What only the connection itself understands.
    pub(crate) layer: Box<dyn Any>,
    /// What was queued before: it goes out without the layer.
    pub(crate) before: OutQueue,
}

pub(super) fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl<D> Slot<D> {
    pub(crate) fn new(
        generation: u32,
        phase: Phase,
        kind: &'static str,
        settings: Rc<Settings>,
        now: u64,
    ) -> Self {
        let rest = Rest {
            out: OutQueue::default(),
            is_out_taken: false,
            last_words: None,
            idle_since: now,
            last_write: now,
            told: now,
            bytes_out: 0,
            stalled_since: now,
            guard: None,
            unread: 0,
            due: Vec::new(),
            timers: Vec::new(),
            pipe_to: None,
            pipe_from: None,
            about: None,
            output_rate: Bucket::default(),
            accept_rate: Bucket::default(),
            end: None,
            deadline: None,
            added: now,
            linger_until: 0,
            flush_at: None,
            kind,
            name: None,
            parent: None,
            children: 0,
            most_children: usize::MAX,
        };
        Self {
            generation,
            priority: super::DEFAULT_PRIORITY,
            phase,
            enabled: true,
            reading: true,
            gone: false,
            listed: false,
            dirty: false,
            blocked: false,
            hung_up: false,
            stuck: false,
            wants_write: false,
            pressed: false,
            finishing: false,
            finished: false,
            ready: Ready::default(),
            listens: false,
            is_stream: false,
            is_piped: false,
            pipe_full: false,
            pipe_done: false,
            overdue: false,
            driver: None,
            settings,
            upgrade: None,
            permanent: None,
            write_error: None,
            last_read: now,
            heard: 0,
            bytes_in: 0,
            items_in: 0,
            rest: Box::new(rest),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.gone && matches!(self.phase, Phase::Waiting | Phase::Connecting | Phase::Open)
    }

    /// It has no established transport: what is sent waits.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self.phase, Phase::Waiting | Phase::Connecting)
    }

    /// What is queued waits for the handler to say that it may leave. An item that has begun does not: nothing could follow it.
    pub(crate) fn is_held(&self) -> bool {
        self.permanent.as_ref().is_some_and(|permanent| permanent.holding) && !self.rest.out.is_half()
    }

    /// Something stands before what is queued, but for the rest of an item that has begun.
    pub(crate) fn greets(&self) -> bool {
        self.permanent.as_ref().is_some_and(|permanent| !permanent.greeting.is_empty())
            && !self.rest.out.is_half()
    }

    /// So many bytes of the queue may leave, as far as greetings and what is held have a say.
    pub(crate) fn may_leave(&self) -> usize {
        match &self.permanent {
            Some(permanent) if permanent.holding || !permanent.greeting.is_empty() => {
                self.rest.out.half().len()
            }
            _ => usize::MAX,
        }
    }

    /// There is a reason to call it. Whether it is to be put into the list of the ready ones.
    pub(crate) fn becomes_ready(&mut self, why: Ready) -> bool {
        self.ready.add(why);
        let enters = !self.listed && !self.callable().is_empty();
        self.listed |= enters;
        enters
    }

    /// Whether its input may be read, while it is open.
    pub(crate) fn may_read(&self) -> bool {
        self.enabled
            && self.reading
            && !self.pipe_full
            && self.upgrade.is_none()
            && self.phase != Phase::Waiting
    }

    /// What of its readiness it may be called for now.
    pub(crate) fn callable(&self) -> Ready {
        match self.phase {
            Phase::Open if self.enabled && self.reading && !self.pipe_full => self.ready,
            Phase::Ending | Phase::Lingering => self.ready,
            _ if !self.enabled => Ready::default(),
            Phase::Waiting if self.rest.end.is_some() => self.ready.only(Ready::LOST),
            Phase::Waiting => self.ready.only(Ready::AWAY),
            Phase::Connecting if self.permanent.is_some() => {
                self.ready.without(Ready::RETRY).only(Ready::ESTABLISHING_OR_AWAY)
            }
            Phase::Connecting => self.ready.only(Ready::ESTABLISHING),
            Phase::Open if !self.reading || self.pipe_full => self.ready.without(Ready::INPUT),
            _ => self.ready,
        }
    }

    /// Every time limit that runs for it: what is over, and when.
    pub(crate) fn limits_in_time(&self) -> impl Iterator<Item = (Limit, u64)> {
        let timeouts = &self.settings.timeouts;
        let from = |since: u64, after: Option<std::time::Duration>| {
            after.map(|after| since.saturating_add(nanos(after)))
        };
        let open = self.phase == Phase::Open && !self.listens;
        let connecting = self.phase == Phase::Connecting && self.enabled;
        let stalled = (open && self.stuck && !self.rest.out.is_empty()).then_some(timeouts.stalled).flatten();
        let idle_since = self.rest.idle_since.max(self.heard).max(self.rest.told);
        let lingering = self.phase == Phase::Lingering;
        // What waits for a rate does not wait for the other side.
        let waits = self.stuck && self.rest.output_rate.until.is_none();
        let linger_stalled = timeouts.linger_stalled.filter(|_| waits);
        let linger =
            from(self.rest.stalled_since, linger_stalled).unwrap_or(u64::MAX).min(self.rest.linger_until);
        [
            (Limit::Timeout(Ready::READ_TIMEOUT), from(self.last_read, timeouts.read.filter(|_| open))),
            (
                Limit::Timeout(Ready::WRITE_TIMEOUT),
                from(self.rest.last_write, timeouts.write.filter(|_| open)),
            ),
            (Limit::Timeout(Ready::IDLE_TIMEOUT), from(idle_since, timeouts.idle.filter(|_| open))),
            (Limit::Timeout(Ready::STALLED), from(self.rest.stalled_since, stalled)),
            (Limit::Timeout(Ready::DEADLINE), self.rest.deadline.filter(|_| self.is_open())),
            (Limit::Connect, from(self.rest.added, timeouts.connect.filter(|_| connecting))),
            (Limit::Retry, self.retry_at()),
            (Limit::Output, self.rest.output_rate.until),
            (Limit::Accept, self.rest.accept_rate.until),
            (Limit::Linger, Some(linger).filter(|_| lingering)),
            (Limit::Flush, self.rest.flush_at),
        ]
        .into_iter()
        .filter_map(|(what, at)| at.map(|at| (what, at)))
        // One that the handler was not asked about yet (the connection is disabled) does not run again.
        .filter(|(what, _)| !matches!(*what, Limit::Timeout(bit) if self.ready.has(bit)))
    }

    /// When the next attempt of a permanent connection is made.
    fn retry_at(&self) -> Option<u64> {
        let permanent = self.permanent.as_ref().filter(|_| self.phase == Phase::Waiting)?;
        permanent.retry_at.filter(|_| self.rest.end.is_none() && !self.ready.has(Ready::RETRY))
    }

    /// Starts a timeout that is over anew, so that it repeats.
    pub(crate) fn restart(&mut self, what: Ready, now: u64) {
        match what {
            Ready::READ_TIMEOUT => self.last_read = now,
            Ready::WRITE_TIMEOUT => self.rest.last_write = now,
            Ready::IDLE_TIMEOUT => self.rest.idle_since = now,
            Ready::STALLED => self.rest.stalled_since = now,
            _ => (self.rest.deadline, self.overdue) = (None, true),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// The handler is asked.
    Timeout(Ready),
    Connect,
    /// A permanent connection tries again.
    Retry,
    Linger,
    /// More may be written.
    Output,
    /// More may be accepted.
    Accept,
    /// What the transport holds back is tried again.
    Flush,
}
