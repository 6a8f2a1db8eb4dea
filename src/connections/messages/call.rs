//! What an action is called with, besides its message.

use super::dispatcher::Dispatcher;
use super::peer::{Link, Peer};
use super::requests::{Request, RequestError};
use crate::codec::EncodeError;
use crate::communicator::{Communicator, HandlerResult, Id, Key, SendError};
use crate::dispatcher::{Builder, Captures, Message, MessageRef, Messages, too_long_answer};
use std::fmt;
use std::ops::Deref;

/// Whom an action answers, what its pattern has captured, and the dispatcher, which it may change; by `Deref`, the
/// communicator.
///
/// What is sent through it is counted in the [coverage](Dispatcher::coverage).
pub struct Call<'a, S> {
    dispatcher: &'a mut Dispatcher<S>,
    peer: &'a dyn Peer,
    captures: Captures<'a>,
}

impl<'a, S: 'static> Call<'a, S> {
    pub(super) fn new(dispatcher: &'a mut Dispatcher<S>, peer: &'a dyn Peer, captures: Captures<'a>) -> Self {
        Self { dispatcher, peer, captures }
    }

    /// The loop.
    pub fn communicator(&self) -> &'a Communicator {
        self.peer.communicator()
    }

    /// Who is being answered.
    pub fn peer(&self) -> &'a dyn Peer {
        self.peer
    }

    /// The connection through which the message came.
    pub fn key(&self) -> Key {
        self.peer.key()
    }

    /// What the pattern has captured from the command.
    pub fn captures(&self) -> &Captures<'a> {
        &self.captures
    }

    /// Entries may be added and removed: an entry that is added gets the next message first, one that is removed gets
    /// none, not even this one.
    pub fn dispatcher(&mut self) -> &mut Dispatcher<S> {
        self.dispatcher
    }

    /// Sends a message to the peer as it is.
    ///
    /// # Errors
    /// As [`Communicator::send`].
    pub fn reply(&mut self, message: MessageRef<'_>) -> Result<(), SendError> {
        self.dispatcher.send(self.peer, message)
    }

    /// Sends a message to the peer, and, on a [permanent](Communicator::permanent) connection, before everything that waits for
    /// it: see [`Communicator::greet`]. From [`Hooks::connected`](super::Hooks::connected), usually.
    ///
    /// # Errors
    /// As [`Communicator::greet`]; on other connections as [`reply`](Self::reply).
    pub fn greet(&mut self, message: MessageRef<'_>) -> Result<(), SendError> {
        self.dispatcher.send(&First(self.peer), message)
    }

    /// Answers `request`: the answer goes to its sender and has its serial, as
    /// [`Builder::answer_to`] says.
    ///
    /// # Errors
    /// When a name in the answer is illegal; else as [`reply`](Self::reply).
    pub fn answer(&mut self, request: MessageRef<'_>, answer: Builder) -> HandlerResult {
        let answer = answer.answer_to(request).finish()?;
        Ok(self.reply(answer.view())?)
    }

    /// Sends a message through another connection.
    ///
    /// # Errors
    /// As [`Communicator::send`].
    pub fn send(&mut self, id: Id<Messages>, message: MessageRef<'_>) -> Result<(), SendError> {
        let link = Link::new(self.peer.communicator(), id);
        self.dispatcher.send(&link, message)
    }

    /// Sends a message through many connections; gives back those that did not take it, with the reason.
    ///
    /// # Errors
    /// When the message has no text form.
    pub fn broadcast(
        &mut self,
        ids: impl IntoIterator<Item = Id<Messages>>,
        message: MessageRef<'_>,
    ) -> Result<Vec<(Id<Messages>, SendError)>, SendError> {
        self.dispatcher.broadcast(self.peer.communicator(), ids, message)
    }

    /// Sends a message to many peers of any kind: see [`Dispatcher::broadcast_to`].
    pub fn broadcast_to<P: Peer>(
        &mut self,
        peers: impl IntoIterator<Item = P>,
        message: MessageRef<'_>,
    ) -> Vec<(P, SendError)> {
        self.dispatcher.broadcast_to(peers, message)
    }

    /// Asks any peer, such as a [`DatagramLink`](super::DatagramLink): see [`Dispatcher::request`].
    ///
    /// # Errors
    /// When nothing was sent; the callback will not be called.
    pub fn request_to(&mut self, peer: &dyn Peer, request: Request<S>) -> Result<(), RequestError> {
        self.dispatcher.request(peer, request)
    }

    /// Asks the peer: see [`Dispatcher::request`].
    ///
    /// # Errors
    /// When nothing was sent; the callback will not be called.
    pub fn request(&mut self, request: Request<S>) -> Result<(), RequestError> {
        self.dispatcher.request(self.peer, request)
    }

    /// Asks through another connection: see [`Dispatcher::request`].
    ///
    /// # Errors
    /// When nothing was sent; the callback will not be called.
    pub fn request_through(&mut self, id: Id<Messages>, request: Request<S>) -> Result<(), RequestError> {
        self.dispatcher.request(&Link::new(self.peer.communicator(), id), request)
    }

    /// Tells a communicator daemon, at the other end of this connection, which service this is: `REGISTER`, with the
    /// [name](Dispatcher::set_name) of the service. It answers READY. What waits for a permanent connection goes
    /// [behind](Self::greet) that.
    ///
    /// # Errors
    /// When the service has no name, the connection is none to a daemon alone, or it takes nothing.
    pub fn register(&mut self) -> HandlerResult {
        let Some(id) = self.peer.stream() else { return Err(NOT_A_STREAM.into()) };
        let name = match self.dispatcher.name() {
            "" => return Err(NO_NAME.into()),
            name => name.to_owned(),
        };
        let mut message = Message::build("REGISTER").with("service", name).finish()?;
        self.greet(message.add_version().view())?;
        if !self.dispatcher.registered.contains(&id) {
            self.dispatcher.registered.push(id);
        }
        Ok(())
    }

    /// Leaves all communicator daemons with which this service is registered: sends `UNREGISTER`, and closes these
    /// connections when that is written.
    pub fn unregister(&mut self) {
        self.dispatcher.unregister(self.peer.communicator());
    }

    /// Ends the loop in order, as `STOP` does: leaves the communicator daemons, stops to accept, writes what is queued,
    /// closes all.
    pub fn end(&mut self) {
        self.unregister();
        self.peer.communicator().close_all();
    }
}

/// # For the built-in commands
impl<S: 'static> Call<'_, S> {
    /// Answers `request`; if the answer is too long for the transport, that is the answer.
    pub(super) fn try_reply(&mut self, request: MessageRef<'_>, answer: &Message) {
        let shorter = match self.dispatcher.send(self.peer, answer.view()) {
            Ok(()) => return,
            Err(SendError::Encode(EncodeError::TooLong { limit })) => too_long_answer(request, limit),
            Err(error) => return self.complain(|| format!("{} not sent: {error}", answer.command())),
        };
        if let Some(shorter) = shorter {
            self.dispatcher.try_send(self.peer, shorter.view());
        }
    }

    pub(super) fn complain(&mut self, what: impl FnOnce() -> String) {
        self.dispatcher.complain(self.peer, what);
    }

    pub(super) fn say(&mut self, level: log::Level, what: impl FnOnce() -> String) {
        self.dispatcher.say(level, self.peer, what);
    }
}

/// A peer that is sent something before what waits for it.
struct First<'a>(&'a dyn Peer);

impl Peer for First<'_> {
    fn communicator(&self) -> &Communicator {
        self.0.communicator()
    }
    fn key(&self) -> Key {
        self.0.key()
    }
    fn send(&self, message: MessageRef<'_>) -> Result<(), SendError> {
        match self.0.stream().map(|id| self.0.communicator().greet(id, message)) {
            None | Some(Err(SendError::NotPermanent)) => self.0.send(message),
            Some(sent) => sent,
        }
    }
}

const NOT_A_STREAM: &str = "a service registers through a stream";
const NO_NAME: &str = "a service that registers must have a name";

impl<S> Deref for Call<'_, S> {
    type Target = Communicator;
    fn deref(&self) -> &Communicator {
        self.peer.communicator()
    }
}

impl<S> fmt::Debug for Call<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({}, {:?})", self.peer.key(), self.captures)
    }
}
