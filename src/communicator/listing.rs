//! What the loop can tell of its connections.

use super::key::Key;
use super::slot::{Phase, Slot};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// One connection, as [`Communicator::connections`](crate::Communicator::connections) lists it. Its text is one
/// line for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Which one.
    pub key: Key,
    /// What it was named; empty if it was not.
    pub name: Rc<str>,
    /// What it is: `tcp`, `unix`, `listener`, `signals` …
    pub kind: &'static str,
    /// 0 … 255, the lowest is called first.
    pub priority: u8,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Whether it is read.
    pub reading: bool,
    /// How far it is in its life.
    pub state: State,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Items received.
    pub items_in: u64,
    /// Input that makes no item yet, in bytes.
    pub unread: usize,
    /// Output that waits, in bytes.
    pub queued: usize,
    /// When something was sent last, by [`Communicator::time`](crate::Communicator::time); else when it was added.
    pub last_sent: Duration,
    /// Items that a permanent connection has never sent: too old, given way to newer ones, or not to be kept.
    pub dropped: u64,
    /// Since when output waits of which the other side takes not a byte.
    pub stalled_since: Option<Duration>,
}

/// How far a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A permanent connection that is away, between two attempts.
    Waiting {
        /// The number of the next attempt, counted from 1 since it was there last.
        attempt: u64,
        /// When that is made, by [`Communicator::time`](crate::Communicator::time).
        next: Duration,
    },
    /// Not established yet.
    Connecting,
    /// Established.
    Open,
    /// Closed; what is queued is still being written.
    Closing,
}

impl ConnectionInfo {
    pub(crate) fn of<D>(key: Key, slot: &Slot<D>) -> Self {
        Self {
            key,
            name: slot.rest.name.clone().unwrap_or_default(),
            kind: slot.rest.kind,
            priority: slot.priority,
            enabled: slot.enabled,
            reading: slot.reading,
            state: match slot.phase {
                Phase::Waiting => {
                    let permanent = slot.permanent.as_ref();
                    State::Waiting {
                        attempt: permanent.map_or(1, |permanent| permanent.tries.saturating_add(1)),
                        next: Duration::from_nanos(permanent.and_then(|of| of.retry_at).unwrap_or(0)),
                    }
                }
                Phase::Connecting => State::Connecting,
                Phase::Open => State::Open,
                Phase::Ending | Phase::Lingering => State::Closing,
            },
            bytes_in: slot.bytes_in,
            bytes_out: slot.rest.bytes_out,
            items_in: slot.items_in,
            unread: slot.rest.unread,
            queued: slot.rest.out.len(),
            dropped: slot.permanent.as_ref().map_or(0, |permanent| permanent.dropped),
            last_sent: Duration::from_nanos(slot.rest.told),
            stalled_since: (slot.stuck && !slot.rest.out.is_empty())
                .then(|| Duration::from_nanos(slot.rest.stalled_since)),
        }
    }
}

impl fmt::Display for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.key, self.kind)?;
        if !self.name.is_empty() {
            write!(f, " \"{}\"", self.name)?;
        }
        write!(f, ", priority {}, ", self.priority)?;
        match self.state {
            State::Waiting { attempt, next } => {
                write!(f, "waiting for attempt {attempt} at {:.3} s", next.as_secs_f64())?;
            }
            State::Connecting => f.write_str("connecting")?,
            State::Open => f.write_str("open")?,
            State::Closing => f.write_str("closing")?,
        }
        if !self.enabled {
            f.write_str(", disabled")?;
        }
        if !self.reading {
            f.write_str(", not read")?;
        }
        write!(f, ", in {}, out {}, queued {}", self.bytes_in, self.bytes_out, self.queued)?;
        if self.dropped > 0 {
            write!(f, ", dropped {}", self.dropped)?;
        }
        f.write_str(")")
    }
}
