//! Messages to and from a thread.

use super::hooks::Hooks;
use super::peer::Peer;
use super::service::Service;
use crate::communicator::{Closed, Communicator, HandlerResult, Key, SendError, Timeout};
use crate::connections::thread::Receives;
use crate::connections::{FromThread, ThreadEnd, ToThread, ToThreadError};
use crate::dispatcher::{Message, MessageRef};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

/// # Threads
impl Communicator {
    /// Makes a two-way [channel](Self::channel) of messages between a service and a thread, for `bound` of them each way. What
    /// the thread sends goes to the service, which answers it as it answers any other peer; what it answers, or sends through a
    /// [`ThreadLink`], the thread receives. The messages themselves travel, not their text: nothing is written or parsed.
    ///
    /// The hooks of the service are called as for any connection: [`connected`](Hooks::connected) at first,
    /// [`drained`](Hooks::drained) when there is room again after something was refused, [`closed`](Hooks::closed) behind the
    /// last message when the thread has dropped its end, or when the channel was closed.
    ///
    /// A thread that has a communicator of its own is better served with a stream of [`Messages`](crate::dispatcher::Messages)
    /// over a [`unix_pair`](crate::unix_pair).
    ///
    /// # Errors
    /// When no descriptor is left.
    ///
    /// ```
    /// use eventdispatcher::connections::messages::{Dispatcher, Hooks, Service};
    /// use eventdispatcher::{Communicator, dispatcher::Message};
    ///
    /// struct Quiet;
    /// impl Hooks for Quiet {}
    ///
    /// let communicator = Communicator::new()?;
    /// let service = Service::new(Quiet, Dispatcher::with_built_in()).shared();
    /// let (_, end) = communicator.message_channel(16, service)?;
    /// let thread = std::thread::spawn(move || -> Option<Message> {
    ///     end.send(Message::new("ALIVE").ok()?).ok()?;
    ///     let answer = end.receive()?;
    ///     end.send(Message::new("STOP").ok()?).ok()?;
    ///     Some(answer)
    /// });
    /// communicator.run()?; // until STOP
    /// let answer = thread.join().unwrap().ok_or("no answer")?;
    /// assert_eq!(answer.command(), "ABSOLUTELY");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn message_channel<S: Hooks>(
        &self,
        bound: usize,
        service: Rc<RefCell<Service<S>>>,
    ) -> io::Result<(ToThread<Message>, ThreadEnd<Message, Message>)> {
        self.add_channel(bound, Serves(service))
    }
}

/// The thread at the other end of a [channel of messages](Communicator::message_channel), as somebody to send to, and to
/// [ask](super::Dispatcher::request).
///
/// A channel that holds as many as it may is [full](SendError::Full): what is said to be queued are messages then, not bytes.
#[derive(Debug, Clone, Copy)]
pub struct ThreadLink<'a> {
    communicator: &'a Communicator,
    to: &'a ToThread<Message>,
}

impl<'a> ThreadLink<'a> {
    /// The other end of a channel. It need not be there any more: sending says so.
    pub fn new(communicator: &'a Communicator, to: &'a ToThread<Message>) -> Self {
        Self { communicator, to }
    }
}

impl Peer for ThreadLink<'_> {
    fn communicator(&self) -> &Communicator {
        self.communicator
    }
    fn key(&self) -> Key {
        self.to.key()
    }
    fn send(&self, message: MessageRef<'_>) -> Result<(), SendError> {
        self.to.send(message.to_message()).map_err(|refused| match refused {
            ToThreadError::Full(_) => SendError::Full { queued: self.to.bound() },
            ToThreadError::Gone(_) => SendError::Gone,
        })
    }
}

/// A service at the loop's end of a channel.
struct Serves<S>(Rc<RefCell<Service<S>>>);

impl<S: Hooks> Receives<Message, Message> for Serves<S> {
    fn connected(&mut self, to: &ToThread<Message>, communicator: &Communicator) -> HandlerResult {
        let peer = ThreadLink::new(communicator, to);
        self.0.borrow_mut().call(&peer, |state, call| state.connected(call))
    }

    fn event(
        &mut self,
        event: FromThread<Message>,
        to: &ToThread<Message>,
        communicator: &Communicator,
    ) -> HandlerResult {
        let (service, peer) = (&mut *self.0.borrow_mut(), ThreadLink::new(communicator, to));
        match event {
            FromThread::Message(message) => service.dispatch(message.view(), &peer),
            FromThread::Room => service.call(&peer, |state, call| state.drained(call)),
            FromThread::Ended => Ok(()), // that it is closed says the same
        }
    }

    fn timeout(
        &mut self,
        what: Timeout,
        to: &ToThread<Message>,
        communicator: &Communicator,
    ) -> HandlerResult {
        self.0.borrow_mut().timed_out(what, &ThreadLink::new(communicator, to))
    }

    fn closed(&mut self, why: &Closed, to: &ToThread<Message>, communicator: &Communicator) {
        self.0.borrow_mut().ended(why, &ThreadLink::new(communicator, to));
    }
}
