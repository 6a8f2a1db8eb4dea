//! Why something was not sent, and why a connection ended.

use super::settings::Timeout;
use crate::codec::{DecodeError, EncodeError};
use std::error::Error;
use std::fmt;
use std::io;

/// What a handler may fail with. Any error converts with `?`.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// What a callback gives back. An error ends the connection that was called, no other.
pub type HandlerResult = Result<(), HandlerError>;

/// Why an item was not queued.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is no more, or is closing, or can't be written to.
    Gone,
    /// The connection has as much output queued as [`Limits::output`](crate::Limits::output) allows:
    /// wait for [`Handler::drained`](crate::Handler::drained).
    Full {
        /// What is queued, in bytes.
        queued: usize,
    },
    /// The permanent connection is away, and the item is one that does not wait for it
    /// ([`Keep::No`](crate::Keep::No)).
    Away,
    /// Only a [permanent](crate::Communicator::permanent) connection can do this.
    NotPermanent,
    /// The codec can't express the item.
    Encode(EncodeError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the connection is gone"),
            Self::Full { queued } => write!(f, "the output queue is full: {queued} bytes wait"),
            Self::Away => f.write_str("the connection is away"),
            Self::NotPermanent => f.write_str("the connection is not permanent"),
            Self::Encode(error) => write!(f, "the item can't be encoded: {error}"),
        }
    }
}

impl Error for SendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Encode(error) => Some(error),
            _ => None,
        }
    }
}

/// Why no layer was put around the transport of a connection. Nothing has happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The connection is no more, or is closing, or can't be written to.
    Gone,
    /// It is not established, or is being upgraded already.
    Busy,
    /// It reconnects by itself: what is kept for the next transport would leave that without the layer. A connector
    /// makes transports with their layers, also those that begin in mid-stream.
    Permanent,
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "the connection is gone",
            Self::Busy => "the connection is being established or upgraded",
            Self::Permanent => "a permanent connection gets its layers from its connector",
        })
    }
}

impl Error for UpgradeError {}

impl From<UpgradeError> for io::Error {
    fn from(error: UpgradeError) -> Self {
        let kind = match error {
            UpgradeError::Gone => io::ErrorKind::NotConnected,
            UpgradeError::Busy => io::ErrorKind::ResourceBusy,
            UpgradeError::Permanent => io::ErrorKind::Unsupported,
        };
        io::Error::new(kind, error)
    }
}

/// Why the input of one connection was not piped to another. Nothing has happened to either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PipeError {
    /// One of them is no more, or is closing, or can't be written to.
    Gone,
    /// The one is piped somewhere already, or something is piped to the other.
    Busy,
    /// One of them is no stream of bytes.
    NoStream,
}

impl fmt::Display for PipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "the connection is gone",
            Self::Busy => "the connection is piped already",
            Self::NoStream => "the connection is no stream of bytes",
        })
    }
}

impl Error for PipeError {}

/// Why a connection ended; what [`Handler::closed`](crate::Handler::closed) gets.
#[derive(Debug)]
#[non_exhaustive]
pub enum Closed {
    /// The program closed it.
    Local,
    /// The other side ended the stream in order.
    Eof,
    /// It was never established.
    Connect(io::Error),
    /// Reading or writing failed.
    Io(io::Error),
    /// What came can't be decoded.
    Decode(DecodeError),
    /// The handler gave back an error.
    Handler(HandlerError),
    /// A time was over and the handler did not object.
    TimedOut(Timeout),
    /// The connection that it is [piped](crate::Communicator::pipe_to) with has ended before it.
    Pipe,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("closed by this program"),
            Self::Eof => f.write_str("ended by the other side"),
            Self::Connect(error) => write!(f, "could not connect: {error}"),
            Self::Io(error) => write!(f, "failed: {error}"),
            Self::Decode(error) => write!(f, "bad input: {error}"),
            Self::Handler(error) => write!(f, "its handler failed: {error}"),
            Self::TimedOut(what) => write!(f, "timed out: {what}"),
            Self::Pipe => f.write_str("the other end of its pipe has ended"),
        }
    }
}

impl Error for Closed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Local | Self::Eof | Self::Pipe => None,
            Self::Connect(error) | Self::Io(error) => Some(error),
            Self::Decode(error) => Some(error),
            Self::Handler(error) => Some(&**error),
            Self::TimedOut(what) => Some(what),
        }
    }
}

impl Closed {
    /// Whether it ended as connections should: by either side's wish.
    pub fn is_orderly(&self) -> bool {
        matches!(self, Self::Local | Self::Eof)
    }
}
