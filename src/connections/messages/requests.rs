//! Requests that wait for their answer.

use super::call::Call;
use super::datagrams::Recipient;
use super::dispatcher::Dispatcher;
use super::peer::Peer;
use crate::communicator::{Communicator, HandlerResult, Key, SendError, TimerId};
use crate::connections::datagram::UnixAddress;
use crate::dispatcher::{Captures, Message, MessageRef, SERIAL};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
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
    /// By connection and number, so those of one in the order in which they were made.
    waiting: BTreeMap<(Key, u64), Waiting<S>>,
    next: u64,
    /// Before the number in each serial: the other side has requests of its own, and their serials come in on the
    /// same connection.
    prefix: String,
    /// How many of those that wait know the command of their answer.
    expecting: usize,
    pub(super) max: usize,
}

struct Waiting<S> {
    /// Who was asked, if others answer through the same connection.
    asked: Option<Asked>,
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
            self.waiting.retain(|(key, _), _| communicator.is_alive(*key));
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
            asked: to.recipient().map(Asked::new),
            command: message.command().into(),
            service: message.service().into(),
            expected,
            timer,
            callback,
        };
        self.waiting.insert((to.key(), number), waiting);
    }

    /// The request that a message ends, and how.
    pub(super) fn find(&self, from: &dyn Peer, message: MessageRef<'_>) -> Option<(u64, Outcome)> {
        if self.waiting.is_empty() {
            return None;
        }
        let number = match message.get(SERIAL) {
            Some(serial) => {
                self.number(&serial).filter(|number| self.waiting.contains_key(&(from.key(), *number)))?
            }
            None => self.by_command(from, message)?,
        };
        Some((number, outcome(message)))
    }

    /// Whether a message has the serial of a request that was made here: then it is an answer, if a late one.
    pub(super) fn is_answer(&self, message: MessageRef<'_>) -> bool {
        message.get(SERIAL).is_some_and(|serial| self.number(&serial).is_some())
    }

    /// Takes a request of a connection out.
    pub(super) fn take(&mut self, key: Key, number: u64) -> Option<Ended<S>> {
        let Waiting { timer, callback, expected, .. } = self.waiting.remove(&(key, number))?;
        self.expecting -= usize::from(expected.is_some());
        Some(Ended { timer, callback })
    }

    /// Takes out all requests of a connection.
    pub(super) fn take_all(&mut self, key: Key) -> Vec<Ended<S>> {
        let numbers: Vec<_> = self.of(key).map(|(number, _)| number).collect();
        numbers.into_iter().filter_map(|number| self.take(key, number)).collect()
    }

    /// The requests of a connection, the oldest first.
    fn of(&self, key: Key) -> impl Iterator<Item = (u64, &Waiting<S>)> {
        self.waiting.range((key, 0)..=(key, u64::MAX)).map(|((_, number), waiting)| (*number, waiting))
    }

    /// The number of the request with a serial, whether it still waits or not.
    fn number(&self, serial: &[u8]) -> Option<u64> {
        let number = serial.strip_prefix(self.prefix.as_bytes())?;
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        (1..=self.next).contains(&number).then_some(number)
    }

    /// The request that is ended by a message without a serial: the oldest of those that were made to its sender.
    fn by_command(&self, from: &dyn Peer, message: MessageRef<'_>) -> Option<u64> {
        let is_refusal = refused(message).is_some();
        if !is_refusal && self.expecting == 0 {
            return None;
        }
        let ends = |waiting: &Waiting<S>| match is_refusal {
            true => refuses(message, &waiting.command, &waiting.service),
            false => waiting.expected.as_deref() == Some(message.command()),
        };
        let sender = from.recipient();
        let nearness = |waiting: &Waiting<S>| match (&waiting.asked, sender) {
            (Some(asked), Some(sender)) => asked.nearness(sender),
            _ => Some(Nearness::Same),
        };
        let mut nearest = None;
        for (number, waiting) in self.of(from.key()).filter(|(_, waiting)| ends(waiting)) {
            match nearness(waiting) {
                Some(Nearness::Same) => return Some(number),
                Some(near) if nearest.is_none_or(|(nearest, _)| near < nearest) => {
                    nearest = Some((near, number))
                }
                _ => {}
            }
        }
        nearest.map(|(_, number)| number)
    }
}

/// Who was asked in a datagram.
enum Asked {
    Udp(SocketAddr),
    Unix(UnixAddress),
}

/// How sure it is that the sender of a datagram is who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Same,
    /// It may have a socket of its own for answers, as services of the C++ library have.
    SameHost,
    /// It may be anybody.
    Possible,
}

impl Asked {
    fn new(asked: Recipient<'_>) -> Self {
        match asked {
            Recipient::Udp(address) => Self::Udp(address),
            Recipient::Unix(address) => Self::Unix(address.clone()),
        }
    }

    /// Nothing if the sender is another one.
    fn nearness(&self, sender: Recipient<'_>) -> Option<Nearness> {
        match (self, sender) {
            (Self::Udp(asked), Recipient::Udp(sender)) => {
                let (host, of_sender) = (asked.ip().to_canonical(), sender.ip().to_canonical());
                match host == of_sender {
                    true if asked.port() == sender.port() => Some(Nearness::Same),
                    true => Some(Nearness::SameHost),
                    false => is_for_many(host).then_some(Nearness::Possible),
                }
            }
            (Self::Unix(asked), Recipient::Unix(sender)) if asked == sender => Some(Nearness::Same),
            (Self::Unix(_), Recipient::Unix(sender)) => sender.is_unnamed().then_some(Nearness::Possible),
            _ => None,
        }
    }
}

/// Whether more than one computer may be meant. Which addresses of a net are for all of it, the net knows; they end so.
fn is_for_many(host: IpAddr) -> bool {
    host.is_multicast() || matches!(host, IpAddr::V4(host) if host.octets()[3] == 255)
}

/// The command that a message says can't be carried out.
fn refused(message: MessageRef<'_>) -> Option<Cow<'_, [u8]>> {
    match message.command() {
        "UNKNOWN" | "INVALID" => message.get("command"),
        "SERVICE_UNAVAILABLE" => message.get("unsent_command"),
        _ => None,
    }
}

/// Whether a message refuses a request, as far as its command and the service tell.
pub(super) fn refuses(message: MessageRef<'_>, command: &str, service: &str) -> bool {
    let is_same =
        |said: Option<Cow<'_, [u8]>>, ours: &str| said.is_some_and(|said| *said == *ours.as_bytes());
    let destination = || match message.command() {
        "SERVICE_UNAVAILABLE" => message.get("destination_service"),
        _ => None,
    };
    is_same(refused(message), command) && destination().is_none_or(|said| *said == *service.as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_answer_by_udp_is_whoever_was_asked_or_may_have_been() {
        let check = |asked: &str, sender: &str, expected| {
            let asked = Asked::new(Recipient::Udp(asked.parse().unwrap()));
            let nearness = asked.nearness(Recipient::Udp(sender.parse().unwrap()));
            assert_eq!(nearness, expected, "{sender}");
        };
        check("192.0.2.1:7", "192.0.2.1:7", Some(Nearness::Same));
        check("192.0.2.1:7", "192.0.2.1:8", Some(Nearness::SameHost));
        check("192.0.2.1:7", "[::ffff:192.0.2.1]:7", Some(Nearness::Same));
        check("192.0.2.1:7", "192.0.2.2:7", None);
        check("[2001:db8::1]:7", "[2001:db8::2]:7", None);
        // Many were asked.
        check("192.0.2.255:7", "192.0.2.1:7", Some(Nearness::Possible));
        check("255.255.255.255:7", "192.0.2.1:7", Some(Nearness::Possible));
        check("224.0.0.1:7", "192.0.2.1:7", Some(Nearness::Possible));
        check("[ff02::1]:7", "[fe80::1]:7", Some(Nearness::Possible));
        check("192.0.2.255:7", "192.0.2.255:8", Some(Nearness::SameHost));
    }

    #[test]
    fn who_may_answer_through_a_unix_socket_has_the_same_name_or_none() {
        let name = |name: &str| UnixAddress::abstract_name(name).unwrap();
        let asked = Asked::new(Recipient::Unix(&name("a")));
        assert_eq!(asked.nearness(Recipient::Unix(&name("a"))), Some(Nearness::Same));
        assert_eq!(asked.nearness(Recipient::Unix(&name("b"))), None);
        assert_eq!(asked.nearness(Recipient::Unix(&UnixAddress::unnamed())), Some(Nearness::Possible));
        assert_eq!(asked.nearness(Recipient::Udp("192.0.2.1:7".parse().unwrap())), None);
    }
}
