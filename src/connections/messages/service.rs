//! A service: its state, its dispatcher, and the connections that share them.

use super::call::Call;
use super::dispatcher::{Dispatched, Dispatcher};
use super::hooks::Hooks;
use super::peer::Peer;
use crate::communicator::{Closed, Cx, Handler, HandlerResult, Timeout};
use crate::connections::Records;
use crate::dispatcher::{Captures, MessageRef, Messages, ParseError, read_message};
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// The state of a service and its [`Dispatcher`], as the handler of its connections.
///
/// Usually all connections of a service share one: give each a clone of one `Rc<RefCell<Service<S>>>`
/// ([`shared`](Self::shared)). A line that is no message is logged and counted, and the connection stays.
///
/// See the [module](super) for an example.
pub struct Service<S> {
    /// What the service knows.
    pub state: S,
    /// Which action is for which message.
    pub dispatcher: Dispatcher<S>,
}

impl<S: Hooks> Service<S> {
    /// A service of a state and a dispatcher.
    pub fn new(state: S, dispatcher: Dispatcher<S>) -> Self {
        Self { state, dispatcher }
    }

    /// As a handler for any number of connections.
    pub fn shared(self) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(self))
    }

    /// Does something outside of an action, such as in a timer: as an action for `peer`, usually a
    /// [`Link`](super::Link), would do it.
    pub fn call<R>(&mut self, peer: &dyn Peer, run: impl FnOnce(&mut S, &mut Call<'_, S>) -> R) -> R {
        run(&mut self.state, &mut Call::new(&mut self.dispatcher, peer, Captures::default()))
    }

    /// Takes a message that has come.
    ///
    /// # Errors
    /// What an action has failed with.
    pub fn dispatch(&mut self, message: MessageRef<'_>, peer: &dyn Peer) -> HandlerResult {
        self.dispatcher.dispatch(&mut self.state, message, peer).map(|_: Dispatched| ())
    }

    /// A time of a connection is over.
    pub(super) fn timed_out(&mut self, what: Timeout, peer: &dyn Peer) -> HandlerResult {
        if let Timeout::Timer(tag) = what
            && let Some(result) = self.dispatcher.timer(&mut self.state, tag, peer)
        {
            return result;
        }
        self.call(peer, |state, call| state.timeout(what, call))
    }

    /// A connection has ended.
    pub(super) fn ended(&mut self, why: &Closed, peer: &dyn Peer) {
        if let Err(error) = self.dispatcher.closed(&mut self.state, peer) {
            log::warn!("connection {}: at its end: {error}", peer.key());
        }
        self.call(peer, |state, call| state.closed(why, call));
    }
}

impl<S: Hooks> Handler<Messages> for Service<S> {
    fn connected(&mut self, cx: &Cx<'_, Messages>) -> HandlerResult {
        self.call(cx, |state, call| state.connected(call))
    }

    fn message(&mut self, item: Result<MessageRef<'_>, ParseError>, cx: &Cx<'_, Messages>) -> HandlerResult {
        match item {
            Ok(message) => self.dispatch(message, cx),
            Err(error) => {
                self.dispatcher.bad_line(&error, cx);
                Ok(())
            }
        }
    }

    fn drained(&mut self, cx: &Cx<'_, Messages>) -> HandlerResult {
        self.call(cx, |state, call| state.drained(call))
    }

    fn timeout(&mut self, what: Timeout, cx: &Cx<'_, Messages>) -> HandlerResult {
        self.timed_out(what, cx)
    }

    fn eof(&mut self, cx: &Cx<'_, Messages>) -> HandlerResult {
        self.call(cx, |state, call| state.eof(call))
    }

    fn failed(&mut self, why: &Closed, cx: &Cx<'_, Messages>) -> HandlerResult {
        self.call(cx, |state, call| state.failed(why, call))
    }

    fn lost(&mut self, why: &Closed, cx: &Cx<'_, Messages>) -> HandlerResult {
        self.dispatcher.closed(&mut self.state, cx)?;
        self.call(cx, |state, call| state.lost(why, call))
    }

    fn closed(&mut self, why: &Closed, cx: &Cx<'_, Messages>) {
        self.ended(why, cx);
    }
}

/// Each packet of a connection of packets is a message.
impl<S: Hooks> Handler<Records> for Service<S> {
    fn connected(&mut self, cx: &Cx<'_, Records>) -> HandlerResult {
        self.call(cx, |state, call| state.connected(call))
    }

    fn message(&mut self, bytes: &[u8], cx: &Cx<'_, Records>) -> HandlerResult {
        match read_message(bytes, &mut None) {
            Ok(message) => self.dispatch(message, cx),
            Err(error) => {
                self.dispatcher.bad_line(&error, cx);
                Ok(())
            }
        }
    }

    fn drained(&mut self, cx: &Cx<'_, Records>) -> HandlerResult {
        self.call(cx, |state, call| state.drained(call))
    }

    fn timeout(&mut self, what: Timeout, cx: &Cx<'_, Records>) -> HandlerResult {
        self.timed_out(what, cx)
    }

    fn eof(&mut self, cx: &Cx<'_, Records>) -> HandlerResult {
        self.call(cx, |state, call| state.eof(call))
    }

    fn failed(&mut self, why: &Closed, cx: &Cx<'_, Records>) -> HandlerResult {
        self.call(cx, |state, call| state.failed(why, call))
    }

    fn lost(&mut self, why: &Closed, cx: &Cx<'_, Records>) -> HandlerResult {
        self.dispatcher.closed(&mut self.state, cx)?;
        self.call(cx, |state, call| state.lost(why, call))
    }

    fn closed(&mut self, why: &Closed, cx: &Cx<'_, Records>) {
        self.ended(why, cx);
    }
}

impl<S: fmt::Debug> fmt::Debug for Service<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("state", &self.state).field("dispatcher", &self.dispatcher).finish()
    }
}
