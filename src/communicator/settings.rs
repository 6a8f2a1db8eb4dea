//! What every connection has a limit for. All are on by default; each can be set at any time.

use std::fmt;
use std::time::Duration;

/// How many bytes may wait, coming in and going out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Input that is buffered without making an item, in bytes; more ends the connection. Codecs have a limit
    /// for the length of an item that is usually lower. Default: 16 MiB.
    pub input: usize,
    /// Output that is queued, in bytes. A queue that is at or over it takes nothing more: the sender
    /// gets [`SendError::Full`](crate::SendError::Full). It may be exceeded by the one item that reaches it.
    /// 0 counts as 1: one item at a time. Default: 64 MiB.
    pub output: usize,
    /// A queue that has been at or over this, or was full, is worth a call of
    /// [`Handler::drained`](crate::Handler::drained) once it is down to `low_water`. In bytes. Default: 1 MiB.
    pub high_water: usize,
    /// See `high_water`. In bytes. Default: 64 KiB.
    pub low_water: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { input: 16 << 20, output: 64 << 20, high_water: 1 << 20, low_water: 64 << 10 }
    }
}

/// How much one connection may do in one turn of the loop before the others get theirs.
///
/// What is left is queued for the next turn. Each is checked after an item, so each
/// may be exceeded by one item or one read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Bytes read. Default: 256 KiB.
    pub bytes: usize,
    /// Items handed to the handler, connections accepted, datagrams. Default: 8192.
    pub callbacks: usize,
    /// Time, looked at once every 64 callbacks. Default: 10 ms.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: 256 << 10, callbacks: 8192, time: Duration::from_millis(10) }
    }
}

/// When a connection is told that nothing happens; [`Handler::timeout`](crate::Handler::timeout) ends it unless
/// the handler decides otherwise. `None` is never; the first four repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// So long without a byte read. Default: `None`.
    pub read: Option<Duration>,
    /// So long without a byte written. Default: `None`.
    pub write: Option<Duration>,
    /// So long without a byte either way. Default: `None`.
    pub idle: Option<Duration>,
    /// So long with output waiting and not a byte of it taken by the other side. Default: `None`.
    pub stalled: Option<Duration>,
    /// From the addition, or an [upgrade](crate::Communicator::upgrade), until the connection is established (a handshake
    /// included); over it the connection ends. Default: 60 s.
    pub connect: Option<Duration>,
    /// From [`Communicator::close`](crate::Communicator::close), or the end of the input, until all queued output is
    /// written; over it the rest is dropped. Default: 10 s.
    pub linger: Duration,
    /// So long of that without a byte of it taken by the other side; over it the rest is dropped, too. With this `linger` can be
    /// long for those who read slowly, and short for those who don't. What waits for a [rate](crate::Rates) does not count.
    /// Default: `None`.
    pub linger_stalled: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            read: None,
            write: None,
            idle: None,
            stalled: None,
            connect: Some(Duration::from_secs(60)),
            linger: Duration::from_secs(10),
            linger_stalled: None,
        }
    }
}

/// Which time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timeout {
    /// [`Timeouts::read`]
    Read,
    /// [`Timeouts::write`]
    Write,
    /// [`Timeouts::idle`]
    Idle,
    /// [`Timeouts::stalled`]
    Stalled,
    /// [`Timeouts::connect`]
    Connect,
    /// [`Communicator::set_deadline`](crate::Communicator::set_deadline)
    Deadline,
    /// A timer of this connection, [`Communicator::timer`](crate::Communicator::timer), with its tag.
    Timer(u64),
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("nothing was received for too long"),
            Self::Write => f.write_str("nothing was sent for too long"),
            Self::Idle => f.write_str("idle for too long"),
            Self::Stalled => f.write_str("the other side takes no output"),
            Self::Connect => f.write_str("not connected in time"),
            Self::Deadline => f.write_str("the deadline is over"),
            Self::Timer(tag) => write!(f, "timer {tag}"),
        }
    }
}

impl std::error::Error for Timeout {}
