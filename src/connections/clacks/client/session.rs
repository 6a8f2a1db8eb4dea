//! A client's end of one connection: what the server sends, and what is due.

use super::super::flags::Flags;
use super::super::line::{ClacksLines, Line};
use super::super::server_line::ServerLine;
use super::error::{ClientError, same_error};
use super::event::{Event, text};
use super::evented::{Client, ClientHandler};
use super::lasting::Lasting;
use super::manners::{GREETING_TIMEOUT, PING_INTERVAL};
use super::request::{Request, Requests};
use crate::communicator::{Closed, Cx, Handler, HandlerResult, Timeout, TimerId};
use std::cell::RefCell;
use std::mem::{replace, take};
use std::rc::Rc;

/// The tag of the timer for the next sign of life; requests have their own numbers, from 1.
pub(super) const PING: u64 = 0;
/// The tag of the timer for the answer to the login.
const LOGIN: u64 = u64::MAX;
/// The tag of the timer for the name that goes round.
const REMEMBER: u64 = u64::MAX - 1;

/// The handler of a client's connection.
pub(super) struct Session<H> {
    requests: Rc<RefCell<Requests>>,
    handler: H,
    server: String,
    /// Set while the login has no answer.
    login: Option<TimerId>,
    /// For the next time that a name goes round.
    remember: Option<TimerId>,
    /// The login has succeeded.
    inside: bool,
    /// What the server said before it ended the connection.
    end: Option<ClientError>,
}

/// What waits for answers holds clients, often, and they what waits: none of it would ever go.
impl<H> Drop for Session<H> {
    fn drop(&mut self) {
        let waiting = take(&mut self.requests.borrow_mut().waiting);
        drop(waiting); // they are somebody's code
    }
}

impl<H: ClientHandler> Session<H> {
    pub(super) fn new(requests: Rc<RefCell<Requests>>, handler: H) -> Self {
        let server = String::new();
        Self { requests, handler, server, login: None, remember: None, inside: false, end: None }
    }

    /// Gives the connection up.
    fn give_up(&mut self, why: ClientError, cx: &Cx<'_, ClacksLines>) {
        self.end = Some(why);
        // Only one that lasts can be made anew.
        if !cx.reconnect(cx.id()) {
            cx.close();
        }
    }

    /// The login has succeeded.
    fn enter(&mut self, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        if let Some(timer) = self.login.take() {
            cx.cancel(timer);
        }
        self.inside = true;
        cx.hold(cx.id(), false);
        self.remember_later(cx);
        self.requests.borrow_mut().unchanged.forget_all();
        let server = self.server.clone();
        let again = self.requests.borrow_mut().lasting.as_mut().and_then(Lasting::enter);
        let event = match again {
            Some(listening) => Event::Reconnected { server, listening },
            None => Event::Connected { server },
        };
        self.handler.event(&event, &self.client(cx))
    }

    /// Requests of which something is not in the queue any more, and will have no answer, have failed.
    fn fail_unqueued(&self, why: &ClientError, cx: &Cx<'_, ClacksLines>) {
        let start = cx.queued_items(cx.id()).map_or(u64::MAX, |items| items.start);
        let failed: Vec<Request> = {
            let waiting = &mut self.requests.borrow_mut().waiting;
            let failed = waiting.iter_mut().filter(|request| request.items.start < start);
            let failed = failed.map(Request::leave).collect();
            waiting.retain(|request| request.items.end > start);
            failed
        };
        let client = self.client(cx);
        for request in failed {
            request.finish(Some(why.same()), &client);
        }
    }

    /// The next time that a name is passed on.
    fn remember_later(&mut self, cx: &Cx<'_, ClacksLines>) {
        let every = self.requests.borrow().manners.remember.as_ref().map(|remember| remember.every);
        if let Some(timer) = self.remember.take() {
            cx.cancel(timer);
        }
        self.remember = every.and_then(|every| cx.after(every, REMEMBER));
    }

    fn client(&self, cx: &Cx<'_, ClacksLines>) -> Client {
        Client::of(cx, cx.id(), self.requests.clone())
    }

    fn line(&mut self, line: &[u8], cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        let client = self.client(cx);
        match ServerLine::parse(line) {
            ServerLine::Clacks(name) => {
                self.server = text(name);
                if let Some(timer) = self.login.take() {
                    cx.cancel(timer);
                    self.login = cx.after(self.requests.borrow().manners.timeout, LOGIN);
                }
                return Ok(());
            }
            ServerLine::Overhead(overhead) if overhead.flags.contains(Flags::AUTH_OK) => {
                return self.enter(cx);
            }
            ServerLine::Overhead(overhead) if overhead.flags.contains(Flags::AUTH_FAILED) => {
                self.give_up(ClientError::LoginFailed, cx);
                return Ok(());
            }
            ServerLine::Quit => {
                self.end = Some(ClientError::Quit);
                return Ok(());
            }
            ServerLine::Timeout => {
                self.end = Some(ClientError::TimedOutByServer);
                return Ok(());
            }
            ServerLine::Flushed(id) => {
                if let Some(serial) = serial(id) {
                    self.done(serial, &client);
                }
                return Ok(());
            }
            _ => {}
        }
        match Event::of(line) {
            Some(Event::Error { message }) if self.refused(&message) => Ok(()),
            // A greeting says such things to everybody.
            Some(Event::Informal { .. }) if !self.inside => Ok(()),
            Some(event) => {
                self.requests.borrow_mut().unchanged.hears(&event);
                if self.is_for_copy(&event, cx) { Ok(()) } else { self.handler.event(&event, &client) }
            }
            None => {
                if let Some(request) = self.requests.borrow_mut().waiting.front_mut() {
                    request.look(line);
                }
                Ok(())
            }
        }
    }

    fn is_for_copy(&self, event: &Event, cx: &Cx<'_, ClacksLines>) -> bool {
        let local = &self.requests.borrow().local;
        local.as_ref().is_some_and(|local| local.borrow_mut().hears(event, cx.time()))
    }

    /// Nothing is known any more.
    fn lose_copy(&self) {
        if let Some(local) = &self.requests.borrow().local {
            local.borrow_mut().lost();
        }
    }

    /// Whether an error belongs to the request that is answered now.
    fn refused(&self, message: &str) -> bool {
        let requests = &mut *self.requests.borrow_mut();
        // It may have been a signal that was refused.
        requests.unchanged.forget_all();
        requests.refused(message)
    }

    /// A request is answered. Those before it, if there are, never will be.
    fn done(&mut self, serial: u64, client: &Client) {
        loop {
            let request = {
                let waiting = &mut self.requests.borrow_mut().waiting;
                match waiting.front() {
                    Some(request) if request.serial <= serial => waiting.pop_front(),
                    _ => None,
                }
            };
            let Some(request) = request else { return };
            let skipped = (request.serial < serial).then_some(ClientError::TimedOut);
            request.finish(skipped, client);
        }
    }
}

/// The number of a request, out of the id of its `FLUSH`.
fn serial(id: &[u8]) -> Option<u64> {
    std::str::from_utf8(id.strip_prefix(b"r")?).ok()?.parse().ok()
}

fn reason(why: &Closed) -> ClientError {
    match why {
        Closed::Connect(error) => ClientError::Connect(same_error(error)),
        why => ClientError::Disconnected(why.to_string()),
    }
}

impl<H: ClientHandler> Handler<ClacksLines> for Session<H> {
    fn connected(&mut self, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        let timeout = {
            let requests = &mut *self.requests.borrow_mut();
            requests.pings.last = Some(cx.time());
            if !requests.pings.are_off {
                requests.pings.timer = cx.after(PING_INTERVAL, PING);
            }
            requests.manners.timeout
        };
        self.login = cx.after(timeout.min(GREETING_TIMEOUT), LOGIN);
        if let Some(lasting) = &self.requests.borrow().lasting {
            lasting.greet(cx)?;
        }
        if cx.queued_items(cx.id()).is_some() {
            self.fail_unqueued(&ClientError::Away, cx); // what has waited for too long
        }
        Ok(())
    }

    fn message(&mut self, line: Line<'_>, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        match line {
            Line::Line(line) => self.line(line, cx),
            Line::Over(_) | Line::TooLong => Err("the server sent a line without end".into()),
        }
    }

    fn timeout(&mut self, what: Timeout, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        match what {
            Timeout::Timer(PING) => {
                self.requests.borrow_mut().pings.timer = None;
                self.client(cx).ping_now()?;
            }
            Timeout::Timer(REMEMBER) => {
                self.client(cx).remember()?;
                self.remember_later(cx);
            }
            Timeout::Timer(LOGIN) => {
                self.give_up(ClientError::TimedOut, cx);
            }
            Timeout::Timer(serial) => {
                let late = {
                    let waiting = &mut self.requests.borrow_mut().waiting;
                    waiting.iter_mut().find(|request| request.serial == serial).map(Request::leave)
                };
                if let Some(late) = late {
                    late.finish(Some(ClientError::TimedOut), &self.client(cx));
                }
            }
            Timeout::Stalled => {
                self.give_up(ClientError::Disconnected("the server takes no output".to_owned()), cx);
            }
            what => return Err(what.into()),
        }
        Ok(())
    }

    fn failed(&mut self, why: &Closed, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        self.handler.failed(&reason(why), &self.client(cx))
    }

    fn lost(&mut self, why: &Closed, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        let ping = {
            let requests = &mut *self.requests.borrow_mut();
            requests.unchanged.forget_all();
            requests.pings.timer.take()
        };
        for timer in [self.login.take(), self.remember.take(), ping].into_iter().flatten() {
            cx.cancel(timer);
        }
        cx.hold(cx.id(), true);
        let why = self.end.take().unwrap_or_else(|| reason(why));
        self.lose_copy();
        self.fail_unqueued(&why, cx);
        self.server.clear();
        match replace(&mut self.inside, false) {
            true => self.handler.lost(&why, &self.client(cx)),
            false => self.handler.failed(&why, &self.client(cx)),
        }
    }

    fn closed(&mut self, why: &Closed, cx: &Cx<'_, ClacksLines>) {
        let client = self.client(cx);
        self.lose_copy();
        let why = self.end.take().unwrap_or_else(|| reason(why));
        let waiting = take(&mut self.requests.borrow_mut().waiting);
        for request in waiting {
            request.finish(Some(why.same()), &client);
        }
        self.handler.disconnected(why, &client);
    }
}
