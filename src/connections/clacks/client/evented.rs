//! A client on a communicator.

use super::super::line::{CLIENT_INPUT, ClacksLines, MAX_ANSWER};
use super::cache::{Local, LocalCopy};
use super::command::CommandLine;
use super::error::ClientError;
use super::event::{ClientInfo, Event};
use super::lasting::{Lasting, Subscription};
use super::login::Login;
use super::manners::{Manners, PING_INTERVAL};
use super::request::{MOST_REQUESTS, Request, Requests, Want};
use super::session::{PING, Session};
use crate::communicator::{Communicator, HandlerResult, Id, Keep, Limits, Reconnect, SendError, Timeouts};
use crate::connections::{Connect, Transport};
use mio::net::UnixStream;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// What to do with what a server tells. A closure `FnMut(&Event, &Client) -> HandlerResult` is one, too.
pub trait ClientHandler: 'static {
    /// Something happened.
    ///
    /// # Errors
    /// End the connection.
    fn event(&mut self, event: &Event, client: &Client) -> HandlerResult;

    /// A [lasting](Client::lasting) client has no connection any more; it reconnects in its time.
    ///
    /// # Errors
    /// End it for good.
    fn lost(&mut self, why: &ClientError, client: &Client) -> HandlerResult {
        let _ = (why, client);
        Ok(())
    }

    /// A [lasting](Client::lasting) client could not connect or log in; it tries again in its time.
    ///
    /// # Errors
    /// End it for good.
    fn failed(&mut self, why: &ClientError, client: &Client) -> HandlerResult {
        let _ = (why, client);
        Ok(())
    }

    /// The connection has ended for good, or was never established. The last call.
    fn disconnected(&mut self, why: ClientError, client: &Client) {
        let _ = (why, client);
    }
}

impl<F: FnMut(&Event, &Client) -> HandlerResult + 'static> ClientHandler for F {
    fn event(&mut self, event: &Event, client: &Client) -> HandlerResult {
        self(event, client)
    }
}

/// A connection to a clacks server, on a communicator. A cheap handle: clones are the same connection.
///
/// Commands that have no answer are just sent; what the server refuses of them comes as [`Event::Error`]. Requests call
/// back with their answer, or with the reason why there is none, after 30 seconds at the latest; a login that gets no
/// answer in that time ends the connection. It sends its sign of life by itself.
///
/// ```
/// # use eventdispatcher::connections::clacks::{Permissions, Server, ServerLimits, Settings, Store, Users};
/// # use eventdispatcher::UnixBind;
/// use eventdispatcher::Communicator;
/// use eventdispatcher::connections::clacks::client::{Client, Event, Login};
///
/// # let folder = tempfile::tempdir()?;
/// # let socket = folder.path().join("clacks.sock");
/// # let mut users = Users::default();
/// # users.add("admin", "secret", Permissions::ALL);
/// let communicator = Communicator::new()?;
/// # let server = Server::start(&communicator, Settings::default(), ServerLimits::default(), users, Store::new(None));
/// # server.listen_unix(&communicator, UnixBind::new(&socket))?;
/// Client::connect_unix(&communicator, &socket, &Login::new("admin", "secret"), |event: &Event, client: &Client| {
///     if let Event::Connected { .. } = event {
///         client.store(b"temperature", b"21.5")?;
///         client.retrieve(b"temperature", |answer, client| {
///             assert_eq!(answer.unwrap().as_deref(), Some(&b"21.5"[..]));
///             client.communicator().stop();
///         })?;
///     }
///     Ok(())
/// })?;
/// communicator.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    communicator: Communicator,
    id: Id<ClacksLines>,
    requests: Rc<RefCell<Requests>>,
}

impl Client {
    /// Connects to a server's socket file and logs in. [`Event::Connected`] or
    /// [`ClientHandler::disconnected`] tells what came of it; commands may be sent right away.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect_unix(
        communicator: &Communicator,
        path: impl AsRef<Path>,
        login: &Login,
        handler: impl ClientHandler,
    ) -> io::Result<Self> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path).map_err(|error| {
            io::Error::new(error.kind(), format!("can't connect to {}: {error}", path.display()))
        })?;
        let name = path.to_string_lossy();
        Self::start(communicator, stream, &name, login, Manners::default(), handler)
    }

    /// Logs in over any transport, which may still be connecting. `name` is for logs and listings.
    pub(in super::super) fn start(
        communicator: &Communicator,
        transport: impl Transport,
        name: &str,
        login: &Login,
        manners: Manners,
        handler: impl ClientHandler,
    ) -> io::Result<Self> {
        let timeouts = timeouts(&manners);
        let requests = Requests::new(manners, None);
        let session = Session::new(requests.clone(), handler);
        let id = communicator.stream(transport, lines(), session)?;
        communicator.set_name(id, name);
        communicator.set_timeouts(id, timeouts);
        communicator.set_limits(id, limits());
        let client = Self { communicator: communicator.clone(), id, requests };
        // Before anything that the program sends.
        for line in login.lines() {
            communicator.send(id, &[line.as_bytes()]).map_err(io::Error::other)?;
        }
        Ok(client)
    }

    /// A client that connects, logs in, and does so again whenever it is lost, over what `connect` makes: a
    /// [`Route`](super::Route), a [`ToUnix`](crate::ToUnix). [`Event::Connected`] comes at the first login,
    /// [`Event::Reconnected`] at each later one, when it listens again to what it listened to before.
    ///
    /// While it is away, and until the server has answered the login, commands and requests wait in the order in which they were
    /// given, within the bounds of [`Away`](crate::Away), or are refused ([`ClientError::Away`]) if
    /// [`Keep::No`](crate::Keep::No) says so; `listen`, `unlisten` and `monitor` are only noted. A request's time runs all the same. What was
    /// written when the connection was lost is never sent again: requests fail then, and whether the last commands
    /// have taken effect nobody knows.
    ///
    /// ```
    /// # use eventdispatcher::connections::clacks::{Permissions, Server, ServerLimits, Settings, Store, Users};
    /// # use eventdispatcher::UnixBind;
    /// use eventdispatcher::connections::clacks::client::{Client, Event, Login};
    /// use eventdispatcher::{Communicator, Reconnect, ToUnix};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let socket = folder.path().join("clacks.sock");
    /// let communicator = Communicator::new()?;
    /// let (login, reconnect) = (Login::new("admin", "secret"), Reconnect::default());
    /// let client = Client::lasting(&communicator, ToUnix::new(&socket), &login, reconnect, |event: &Event, client: &Client| {
    ///     if let Event::Set { name, value } = event {
    ///         assert_eq!((&name[..], &value[..]), (&b"temperature"[..], &b"21.5"[..]));
    ///         client.communicator().close_all();
    ///     }
    ///     Ok(())
    /// });
    /// client.listen(b"temperature")?; // there need not be a server yet
    /// # let mut users = Users::default();
    /// # users.add("admin", "secret", Permissions::ALL);
    /// # let server = Server::start(&communicator, Settings::default(), ServerLimits::default(), users, Store::new(None));
    /// # server.listen_unix(&communicator, UnixBind::new(&socket))?;
    /// # let other = Client::connect_unix(&communicator, &socket, &login, |_: &Event, _: &Client| Ok(()))?;
    /// # client.flush(move |_, _| other.set(b"temperature", b"21.5").unwrap())?;
    /// communicator.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lasting(
        communicator: &Communicator,
        connect: impl Connect,
        login: &Login,
        reconnect: Reconnect,
        handler: impl ClientHandler,
    ) -> Self {
        Self::start_lasting(communicator, connect, login, reconnect, Manners::default(), handler)
    }

    pub(super) fn start_lasting(
        communicator: &Communicator,
        connect: impl Connect,
        login: &Login,
        reconnect: Reconnect,
        manners: Manners,
        handler: impl ClientHandler,
    ) -> Self {
        let timeouts = timeouts(&manners);
        let requests = Requests::new(manners, Some(Lasting::new(login)));
        let session = Session::new(requests.clone(), handler);
        let id = communicator.permanent(connect, reconnect, lines, session);
        communicator.hold(id, true);
        communicator.set_timeouts(id, timeouts);
        communicator.set_limits(id, limits());
        Self { communicator: communicator.clone(), id, requests }
    }

    /// The handle of a connection that is there.
    pub(super) fn of(
        communicator: &Communicator,
        id: Id<ClacksLines>,
        requests: Rc<RefCell<Requests>>,
    ) -> Self {
        Self { communicator: communicator.clone(), id, requests }
    }

    /// The communicator that it is on.
    pub fn communicator(&self) -> &Communicator {
        &self.communicator
    }

    /// The connection.
    pub fn id(&self) -> Id<ClacksLines> {
        self.id
    }

    // ---- commands ---------------------------------------------------------------------------------

    /// Sends a signal without a value to everybody else who listens to `name`.
    ///
    /// # Errors
    /// When the name can't be sent, the queue is full or the connection gone. So for all commands below.
    pub fn notify(&self, name: &[u8]) -> Result<(), ClientError> {
        self.command(&CommandLine::named("NOTIFY", name)?)
    }

    /// Sends a signal with a value to everybody else who listens to `name`; or nothing, if
    /// [unchanged values are left out](Self::leave_out_unchanged) and this is one.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn set(&self, name: &[u8], value: &[u8]) -> Result<(), ClientError> {
        if self.requests.borrow().unchanged.is(name, value) {
            return Ok(());
        }
        self.set_always(name, value)
    }

    /// As [`set`](Self::set), also while unchanged values are left out.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn set_always(&self, name: &[u8], value: &[u8]) -> Result<(), ClientError> {
        self.command(&CommandLine::pair("SET", name, value)?)?;
        self.requests.borrow_mut().unchanged.sent(name, value);
        Ok(())
    }

    /// From now on [`set`](Self::set) sends nothing if this client has sent the very value of the name last, on this connection,
    /// and has not heard another one since. Who begins to listen later hears only of changes. Off unless switched on.
    ///
    /// What is remembered has bounds, 65,536 names and 16 MiB; beyond them it begins anew.
    pub fn leave_out_unchanged(&self, on: bool) {
        self.requests.borrow_mut().unchanged.turn(on);
    }

    /// Listens to a name.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn listen(&self, name: &[u8]) -> Result<(), ClientError> {
        let command = CommandLine::named("LISTEN", name)?;
        self.program_listens(name, true);
        self.subscribe(&command, Subscription::Listen(name))
    }

    /// Listens to a name no more.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn unlisten(&self, name: &[u8]) -> Result<(), ClientError> {
        let command = CommandLine::named("UNLISTEN", name)?;
        if !self.program_listens(name, false) {
            return Ok(());
        }
        self.subscribe(&command, Subscription::Unlisten(name))
    }

    /// Keeps a value.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn store(&self, key: &[u8], value: &[u8]) -> Result<(), ClientError> {
        self.command(&CommandLine::pair("STORE", key, value)?)
    }

    /// Keeps a value and signals it to everybody else who listens.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn set_and_store(&self, key: &[u8], value: &[u8]) -> Result<(), ClientError> {
        self.command(&CommandLine::pair("SETANDSTORE", key, value)?)?;
        self.requests.borrow_mut().unchanged.sent(key, value);
        Ok(())
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn remove(&self, key: &[u8]) -> Result<(), ClientError> {
        self.command(&CommandLine::named("REMOVE", key)?)
    }

    /// Adds `step`, 1 if `None`, to a number that is kept.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn increment(&self, key: &[u8], step: Option<&str>) -> Result<(), ClientError> {
        self.command(&CommandLine::step("INCREMENT", key, step)?)
    }

    /// Subtracts `step`, 1 if `None`.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn decrement(&self, key: &[u8], step: Option<&str>) -> Result<(), ClientError> {
        self.command(&CommandLine::step("DECREMENT", key, step)?)
    }

    /// Drops all keys.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn clear_cache(&self) -> Result<(), ClientError> {
        self.command(&CommandLine::word("CLEARCACHE"))
    }

    /// Sees, as [`Event::Debug`], what all clients send, or does so no more.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn monitor(&self, on: bool) -> Result<(), ClientError> {
        let command = CommandLine::word(if on { "MONITOR" } else { "UNMONITOR" });
        self.subscribe(&command, Subscription::Monitor(on))
    }

    /// Disconnects another client.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn disconnect(&self, cid: &[u8]) -> Result<(), ClientError> {
        self.command(&CommandLine::named("CLIENTDISCONNECT", cid)?)
    }

    /// Tells the server that this client is alive, unless it did so in the last two minutes; to connect is such a sign, too.
    /// There is no need to call it: a client does so by itself, as long as it was not told [not to](Self::no_ping). From now on it
    /// does again.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn ping(&self) -> Result<(), ClientError> {
        let is_due = {
            let requests = &mut *self.requests.borrow_mut();
            let last = requests.pings.last;
            let is_recent =
                last.is_some_and(|last| self.communicator.time().saturating_sub(last) < PING_INTERVAL);
            if let Some(lasting) = &mut requests.lasting {
                lasting.note(Subscription::Pings(true))?;
            }
            std::mem::take(&mut requests.pings.are_off) || !is_recent
        };
        if is_due { self.ping_now() } else { Ok(()) }
    }

    /// Sends a sign of life, if there is a server, and sees to the next one.
    pub(super) fn ping_now(&self) -> Result<(), ClientError> {
        match self.communicator.send_kept(self.id, &[b"PING"], Keep::No) {
            Err(SendError::Away) => return Ok(()),
            sent => sent?,
        }
        let pings = &mut self.requests.borrow_mut().pings;
        pings.last = Some(self.communicator.time());
        let next = self.communicator.timer(self.id, PING_INTERVAL, PING);
        if let Some(before) = std::mem::replace(&mut pings.timer, next) {
            self.communicator.cancel(before);
        }
        Ok(())
    }

    /// Asks the server not to expect signs of life, and sends none, until the next [`ping`](Self::ping); also on later
    /// connections of a client that [lasts](Self::lasting).
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn no_ping(&self) -> Result<(), ClientError> {
        self.subscribe(&CommandLine::word("NOPING"), Subscription::Pings(false))?;
        let pings = &mut self.requests.borrow_mut().pings;
        pings.are_off = true;
        if let Some(timer) = pings.timer.take() {
            self.communicator.cancel(timer);
        }
        Ok(())
    }

    /// Stops the server in so many seconds, at least 1.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn shut_down(&self, seconds: u32) -> Result<(), ClientError> {
        self.command(&CommandLine::shutdown(seconds))
    }

    /// Passes a name on, if that may be done. Nobody has asked for it: a refusal is no one's.
    pub(super) fn remember(&self) -> Result<(), ClientError> {
        let requests = &mut *self.requests.borrow_mut();
        let Some(line) = requests.manners.remember.as_ref().map(|remember| remember.line()) else {
            return Ok(());
        };
        if requests.waiting.len() >= MOST_REQUESTS {
            return Ok(());
        }
        if requests.unflushed {
            self.flush_with(requests, Want::Nothing)?;
        }
        self.send(line.as_bytes())?;
        self.flush_with(requests, Want::NoMatter)
    }

    /// Sends a line as it is.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn raw(&self, line: &[u8]) -> Result<(), ClientError> {
        self.requests.borrow_mut().unchanged.forget_all();
        self.command(&CommandLine::raw(line)?)
    }

    /// Says goodbye and closes; what was sent before still takes effect.
    pub fn close(&self) {
        // If that can't be sent, closing says it as well.
        let _ = self.send(b"QUIT");
        self.communicator.close(self.id);
    }

    // ---- requests ---------------------------------------------------------------------------------

    /// Asks for the value of a key.
    ///
    /// # Errors
    /// As [`notify`](Self::notify); `reply` is not called then.
    pub fn retrieve(
        &self,
        key: &[u8],
        reply: impl FnOnce(Result<Option<Vec<u8>>, ClientError>, &Client) + 'static,
    ) -> Result<(), ClientError> {
        let command = CommandLine::named("RETRIEVE", key)?;
        self.request(&command, Want::Value { key: key.to_vec(), value: None, reply: Box::new(reply) })
    }

    /// Asks for the values of many keys, all at once: they come in the order of the keys, `None` for one that has none.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub fn retrieve_many<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        reply: impl FnOnce(Result<Vec<Option<Vec<u8>>>, ClientError>, &Client) + 'static,
    ) -> Result<(), ClientError> {
        let command = |key: &K| CommandLine::named("RETRIEVE", key.as_ref());
        let commands = keys.iter().map(command).collect::<Result<Vec<_>, _>>()?;
        let keys = keys.iter().map(|key| key.as_ref().to_vec()).collect();
        self.request_all(&commands, Want::Values { keys, values: Vec::new(), reply: Box::new(reply) })
    }

    /// Asks for all keys, in byte order.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub fn key_list(
        &self,
        reply: impl FnOnce(Result<Vec<Vec<u8>>, ClientError>, &Client) + 'static,
    ) -> Result<(), ClientError> {
        self.request(&CommandLine::word("KEYLIST"), Want::Keys(Vec::new(), Box::new(reply)))
    }

    /// Asks for all clients, by CID.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub fn client_list(
        &self,
        reply: impl FnOnce(Result<Vec<ClientInfo>, ClientError>, &Client) + 'static,
    ) -> Result<(), ClientError> {
        self.request(&CommandLine::word("CLIENTLIST"), Want::Clients(Vec::new(), Box::new(reply)))
    }

    /// Asks how the server is: names and values, as it tells them. The reference server does not.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub fn status(
        &self,
        reply: impl FnOnce(Result<Vec<(String, String)>, ClientError>, &Client) + 'static,
    ) -> Result<(), ClientError> {
        self.request(&CommandLine::word("STATUS"), Want::Status(Vec::new(), Box::new(reply)))
    }

    /// Calls back when everything that was sent before has taken effect.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub fn flush(
        &self,
        reply: impl FnOnce(Result<(), ClientError>, &Client) + 'static,
    ) -> Result<(), ClientError> {
        self.flush_with(&mut self.requests.borrow_mut(), Want::Done(Box::new(reply)))
    }

    fn command(&self, command: &CommandLine) -> Result<(), ClientError> {
        self.send(command.bytes())?;
        self.requests.borrow_mut().unflushed = true;
        Ok(())
    }

    /// A command that is said again to each new connection.
    fn subscribe(&self, command: &CommandLine, subscription: Subscription<'_>) -> Result<(), ClientError> {
        let requests = &mut *self.requests.borrow_mut();
        match &mut requests.lasting {
            Some(lasting) => {
                lasting.note(subscription)?;
                match self.communicator.send_kept(self.id, &[command.bytes()], Keep::No) {
                    Err(SendError::Away) => return Ok(()),
                    sent => sent?,
                }
            }
            None => self.send(command.bytes())?,
        }
        requests.unflushed = true;
        Ok(())
    }

    fn request(&self, command: &CommandLine, want: Want) -> Result<(), ClientError> {
        self.request_all(std::slice::from_ref(command), want)
    }

    fn request_all(&self, commands: &[CommandLine], want: Want) -> Result<(), ClientError> {
        let requests = &mut *self.requests.borrow_mut();
        if requests.waiting.len() >= MOST_REQUESTS {
            return Err(ClientError::Full);
        }
        if requests.unflushed {
            self.flush_with(requests, Want::Nothing)?;
        }
        let first = self.next_item();
        for command in commands {
            self.send(command.bytes())?;
            // If the rest can't be sent, what this brings must not be taken for another's.
            requests.unflushed = true;
        }
        self.flush_with(requests, want)?;
        if let Some(request) = requests.waiting.back_mut() {
            request.items.start = first;
        }
        Ok(())
    }

    /// The number of the item that is sent next, if they are numbered.
    fn next_item(&self) -> u64 {
        self.communicator.queued_items(self.id).map_or(0, |items| items.end)
    }

    fn flush_with(&self, requests: &mut Requests, want: Want) -> Result<(), ClientError> {
        requests.serial += 1;
        let serial = requests.serial;
        let first = self.next_item();
        self.send(format!("FLUSH r{serial}").as_bytes())?;
        requests.unflushed = false;
        let timeout = requests.manners.timeout;
        let timer = if want.is_awaited() { self.communicator.timer(self.id, timeout, serial) } else { None };
        let items = first..first + 1;
        requests.waiting.push_back(Request { serial, want, refusal: None, timer, items });
        Ok(())
    }

    // ---- a copy at hand ---------------------------------------------------------------------------

    /// What is at hand of the cache, made if there is nothing yet.
    pub(super) fn local_copy(&self, limits: LocalCopy) -> Rc<RefCell<Local>> {
        let local = &mut self.requests.borrow_mut().local;
        local.get_or_insert_with(|| Rc::new(RefCell::new(Local::new(limits)))).clone()
    }

    pub(super) fn listen_for_copy(&self, key: &[u8], on: bool) -> Result<(), ClientError> {
        if on {
            self.subscribe(&CommandLine::named("LISTEN", key)?, Subscription::Listen(key))
        } else {
            self.subscribe(&CommandLine::named("UNLISTEN", key)?, Subscription::Unlisten(key))
        }
    }

    /// Says whether the server is to be told.
    fn program_listens(&self, name: &[u8], on: bool) -> bool {
        let local = &self.requests.borrow().local;
        local.as_ref().is_none_or(|local| local.borrow_mut().program_listens(name, on))
    }

    fn send(&self, line: &[u8]) -> Result<(), ClientError> {
        Ok(self.communicator.send(self.id, &[line])?)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.id)
    }
}

/// What a server has taken as a line comes back with more before it.
fn lines() -> ClacksLines {
    ClacksLines::new().max(MAX_ANSWER)
}

fn limits() -> Limits {
    Limits { input: CLIENT_INPUT, ..Limits::default() }
}

/// A server that takes no output for so long as an answer may take is left, as one that can't be reached in that time.
fn timeouts(manners: &Manners) -> Timeouts {
    let timeout = Some(manners.timeout);
    Timeouts { connect: timeout, stalled: timeout, ..Timeouts::default() }
}
