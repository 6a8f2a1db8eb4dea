//! Requests that wait for their answer.

use super::call::Call;
use super::dispatcher::Dispatcher;
use super::peer::Peer;
use crate::communicator::{Communicator, HandlerResult, Key, SendError, TimerId};
use crate::dispatcher::{Captures, Message, MessageRef, SERIAL};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Timers of connections with this bit in their tag are ours.
const TAG: u64 = 1 << 63;

/// So long a request waits unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// So many requests wait unless told otherwise.
const WAITING_MAX: usize = 10_000;

/// What is done with the answer.
type Callback<S> = Box<dyn FnOnce(&mut S, Answer<'_>, &mut Call<'_, S>) -> HandlerResult>;

/// What comes of a request.
pub type Answer<'a> = Result<MessageRef<'a>, NoAnswer>;

/// A message that is to be answered: see [`Dispatcher::request`](super::Dispatcher::request).
#[must_use]
pub struct Request<S> {
    pub(super) message: Message,
    pub(super) timeout: Duration,
    pub(super) expected: Option<Box<str>>,
    pub(super) callback: Callback<S>,
}

impl<S> Request<S> {
    /// `callback` gets the answer, or why there is none: exactly once, but never after the connection was
    /// [removed](crate::Communicator::remove), as no callback comes then.
    pub fn new(
        message: Message,
        callback: impl FnOnce(&mut S, Answer<'_>, &mut Call<'_, S>) -> HandlerResult + 'static,
    ) -> Self {
        Self { message, timeout: TIMEOUT, expected: None, callback: Box::new(callback) }
    }

    /// Waits so long; 10 s unless it is said.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The next message with this command that comes through the connection, and has no serial, is the answer too: for
    /// peers that do not repeat a serial, as services of the C++ library do not (but for ALIVE).
    pub fn answered_by(self, command: &str) -> Self {
        Self { expected: Some(command.into()), ..self }
    }
}

impl<S> fmt::Debug for Request<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({:?}, {:?})", self.message.view(), self.timeout)
    }
}

/// A request that was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// Too many wait for their answers.
    TooMany {
        /// The limit: [`Dispatcher::set_requests_max`](super::Dispatcher::set_requests_max).
        limit: usize,
    },
    /// The message could not be sent.
    Send(SendError),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { limit } => write!(f, "{limit} requests wait for their answers already"),
            Self::Send(error) => error.fmt(f),
        }
    }
}

impl Error for RequestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TooMany { .. } => None,
            Self::Send(error) => Some(error),
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoAnswer {
    /// None came in time.
    TimedOut,
    /// The connection has ended.
    Closed,
    /// The other side does not know the command.
    Unknown,
    /// The other side has found the request invalid, or this side the answer; says what is wrong with it.
    Invalid(String),
    /// The service to which it was addressed is not there: so says the communicator daemon.
    Unavailable,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Closed => f.write_str("the connection ended before the answer"),
            Self::Unknown => f.write_str("the other side does not know the command"),
            Self::Invalid(message) => write!(f, "the other side or its answer is not as defined: {message}"),
            Self::Unavailable => f.write_str("the service is not there"),
        }
    }
}

impl Error for NoAnswer {}

/// All requests of a dispatcher that wait.
pub(super) struct Requests<S> {
    /// By number, so in the order in which they were made.
    waiting: BTreeMap<u64, Waiting<S>>,
    next: u64,
    /// Before the number in each serial: the other side has requests of its own, and their serials come in on the
    /// same connection.
    prefix: String,
    /// How many of those that wait know the command of their answer.
    expecting: usize,
    pub(super) max: usize,
}

struct Waiting<S> {
    key: Key,
    command: Box<str>,
    service: Box<str>,
    /// The command of the answer, for a peer that does not repeat the serial.
    expected: Option<Box<str>>,
    timer: Option<TimerId>,
    callback: Callback<S>,
}

/// A request that has an end now.
pub(super) struct Ended<S> {
    timer: Option<TimerId>,
    callback: Callback<S>,
}

impl<S: 'static> Ended<S> {
    /// Says what has come of it.
    pub(super) fn call(
        self,
        dispatcher: &mut Dispatcher<S>,
        state: &mut S,
        answer: Answer<'_>,
        peer: &dyn Peer,
    ) -> HandlerResult {
        if let Some(timer) = self.timer {
            peer.communicator().cancel(timer);
        }
        (self.callback)(state, answer, &mut Call::new(dispatcher, peer, Captures::default()))
    }
}

/// What a message says about a request.
pub(super) enum Outcome {
    Answered,
    Refused(NoAnswer),
}

impl<S> Requests<S> {
    pub(super) fn new() -> Self {
        // Randomness that needs no dependency.
        let random = RandomState::new().hash_one(std::process::id());
        Self {
            waiting: BTreeMap::new(),
            next: 0,
            prefix: format!("{random:016x}-"),
            expecting: 0,
            max: WAITING_MAX,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The number of the next request.
    pub(super) fn reserve(&mut self, communicator: &Communicator) -> Result<u64, RequestError> {
        if self.waiting.len() >= self.max {
            self.waiting.retain(|_, waiting| communicator.is_alive(waiting.key));
            self.expecting = self.waiting.values().filter(|waiting| waiting.expected.is_some()).count();
        }
        if self.waiting.len() >= self.max {
            return Err(RequestError::TooMany { limit: self.max });
        }
        self.next += 1;
        Ok(self.next)
    }

    pub(super) fn serial(&self, number: u64) -> String {
        format!("{}{number}", self.prefix)
    }

    /// The tag of the timer of a request.
    pub(super) fn tag(number: u64) -> u64 {
        TAG | number
    }

    /// The number of the request whose timer has this tag.
    pub(super) fn of_tag(tag: u64) -> Option<u64> {
        (tag & TAG != 0).then_some(tag & !TAG)
    }

    pub(super) fn insert(&mut self, number: u64, to: &dyn Peer, request: Request<S>, timer: Option<TimerId>) {
        let Request { message, expected, callback, .. } = request;
        self.expecting += usize::from(expected.is_some());
        let waiting = Waiting {
            key: to.key(),
            command: message.command().into(),
            service: message.service().into(),
            expected,
            timer,
            callback,
        };
        self.waiting.insert(number, waiting);
    }

    /// The request that a message of a connection ends, and how.
    pub(super) fn find(&self, key: Key, message: MessageRef<'_>) -> Option<(u64, Outcome)> {
        if self.waiting.is_empty() {
            return None;
        }
        let number = match message.get(SERIAL) {
            Some(serial) => self.by_serial(key, &serial)?,
            None => self.by_command(key, message)?,
        };
        Some((number, outcome(message)))
    }

    /// Takes a request out.
    pub(super) fn take(&mut self, number: u64) -> Option<Ended<S>> {
        let Waiting { timer, callback, expected, .. } = self.waiting.remove(&number)?;
        self.expecting -= usize::from(expected.is_some());
        Some(Ended { timer, callback })
    }

    /// Takes out all requests of a connection.
    pub(super) fn take_all(&mut self, key: Key) -> Vec<Ended<S>> {
        let of_key = self.waiting.iter().filter(|(_, waiting)| waiting.key == key);
        let numbers: Vec<_> = of_key.map(|(number, _)| *number).collect();
        numbers.into_iter().filter_map(|number| self.take(number)).collect()
    }

    fn by_serial(&self, key: Key, serial: &[u8]) -> Option<u64> {
        let number = serial.strip_prefix(self.prefix.as_bytes())?;
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        self.waiting.get(&number).filter(|waiting| waiting.key == key)?;
        Some(number)
    }

    /// The oldest request that is ended by a message without a serial.
    fn by_command(&self, key: Key, message: MessageRef<'_>) -> Option<u64> {
        let about = match message.command() {
            "UNKNOWN" | "INVALID" => message.get("command"),
            "SERVICE_UNAVAILABLE" => message.get("unsent_command"),
            _ if self.expecting == 0 => return None,
            _ => None,
        };
        let destination = match message.command() {
            "SERVICE_UNAVAILABLE" => message.get("destination_service"),
            _ => None,
        };
        let ends = |waiting: &Waiting<S>| match &about {
            Some(command) => {
                waiting.command.as_bytes() == &**command
                    && destination.as_ref().is_none_or(|service| waiting.service.as_bytes() == &**service)
            }
            None => waiting.expected.as_deref() == Some(message.command()),
        };
        let mut ended = self.waiting.iter().filter(|(_, waiting)| waiting.key == key && ends(waiting));
        ended.next().map(|(number, _)| *number)
    }
}

fn outcome(message: MessageRef<'_>) -> Outcome {
    match message.command() {
        "UNKNOWN" => Outcome::Refused(NoAnswer::Unknown),
        "SERVICE_UNAVAILABLE" => Outcome::Refused(NoAnswer::Unavailable),
        "INVALID" => {
            let said = message.get("message").unwrap_or_default();
            Outcome::Refused(NoAnswer::Invalid(String::from_utf8_lossy(&said).into_owned()))
        }
        _ => Outcome::Answered,
    }
}
