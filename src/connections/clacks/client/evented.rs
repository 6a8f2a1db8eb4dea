//! A client on a communicator.

use super::super::flags::Flags;
use super::super::line::{ClacksLines, Line};
use super::super::server_line::ServerLine;
use super::cache::{Local, LocalCopy};
use super::command::CommandLine;
use super::error::ClientError;
use super::event::{ClientInfo, Event, text};
use super::lasting::{Lasting, Subscription};
use super::login::Login;
use super::options::DEFAULT_TIMEOUT;
use crate::communicator::{
    Closed, Communicator, Cx, Handler, HandlerResult, Id, Keep, Reconnect, SendError, Timeout, Timeouts,
    TimerId,
};
use crate::connections::{Connect, Transport};
use mio::net::UnixStream;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::replace;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// How often a sign of life is sent: as the reference client does, and well below the server's limit of 180 s.
const PING_INTERVAL: Duration = Duration::from_secs(120);
/// The tag of the timer for it; requests have their own numbers, from 1.
const PING: u64 = 0;
/// The tag of the timer for the answer to the login.
const LOGIN: u64 = u64::MAX;
/// As many requests wait for their answers at most.
const MOST_REQUESTS: usize = 1 << 16;

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

/// What is called with the answer to a request, once.
pub type Reply<T> = Box<dyn FnOnce(Result<T, ClientError>, &Client)>;

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

struct Requests {
    /// How long each may take.
    timeout: Duration,
    waiting: VecDeque<Request>,
    serial: u64,
    /// Commands were sent since the last request, which may still be refused.
    unflushed: bool,
    /// It reconnects by itself.
    lasting: Option<Lasting>,
    /// What is at hand of the cache.
    local: Option<Rc<RefCell<Local>>>,
}

struct Request {
    serial: u64,
    want: Want,
    refusal: Option<ClientError>,
    timer: Option<TimerId>,
    /// The items that it is made of, if they are numbered.
    items: Range<u64>,
}

enum Want {
    /// What comes before its answer belongs to no request.
    Nothing,
    Done(Reply<()>),
    Value {
        key: Vec<u8>,
        value: Option<Vec<u8>>,
        reply: Reply<Option<Vec<u8>>>,
    },
    Values {
        keys: Vec<Vec<u8>>,
        /// Of the first ones: there is an answer to each, in order.
        values: Vec<Option<Vec<u8>>>,
        reply: Reply<Vec<Option<Vec<u8>>>>,
    },
    Keys(Vec<Vec<u8>>, Reply<Vec<Vec<u8>>>),
    Clients(Vec<ClientInfo>, Reply<Vec<ClientInfo>>),
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
        Self::start(communicator, stream, &name, login, DEFAULT_TIMEOUT, handler)
    }

    /// Logs in over any transport, which may still be connecting. `name` is for logs and listings.
    pub(in super::super) fn start(
        communicator: &Communicator,
        transport: impl Transport,
        name: &str,
        login: &Login,
        timeout: Duration,
        handler: impl ClientHandler,
    ) -> io::Result<Self> {
        let requests = Requests::new(timeout, None);
        let session = Session::new(requests.clone(), handler);
        let id = communicator.stream(transport, ClacksLines::new(), session)?;
        communicator.set_name(id, name);
        communicator.set_timeouts(id, Timeouts { connect: Some(timeout), ..Timeouts::default() });
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
        Self::start_lasting(communicator, connect, login, reconnect, DEFAULT_TIMEOUT, handler)
    }

    pub(super) fn start_lasting(
        communicator: &Communicator,
        connect: impl Connect,
        login: &Login,
        reconnect: Reconnect,
        timeout: Duration,
        handler: impl ClientHandler,
    ) -> Self {
        let requests = Requests::new(timeout, Some(Lasting::new(login)));
        let session = Session::new(requests.clone(), handler);
        let id = communicator.permanent(connect, reconnect, ClacksLines::new, session);
        communicator.hold(id, true);
        communicator.set_timeouts(id, Timeouts { connect: Some(timeout), ..Timeouts::default() });
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

    /// Sends a signal with a value to everybody else who listens to `name`.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn set(&self, name: &[u8], value: &[u8]) -> Result<(), ClientError> {
        self.command(&CommandLine::pair("SET", name, value)?)
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
        self.command(&CommandLine::pair("SETANDSTORE", key, value)?)
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

    /// Sends a line as it is.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn raw(&self, line: &[u8]) -> Result<(), ClientError> {
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
        let timer = match want {
            Want::Nothing => None,
            _ => self.communicator.timer(self.id, requests.timeout, serial),
        };
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

impl Requests {
    fn new(timeout: Duration, lasting: Option<Lasting>) -> Rc<RefCell<Self>> {
        let waiting = VecDeque::new();
        Rc::new(RefCell::new(Self { timeout, waiting, serial: 0, unflushed: false, lasting, local: None }))
    }
}

impl Request {
    /// What is left of one that nobody waits for any more: its answer may still come, and is nobody else's.
    fn leave(&mut self) -> Self {
        let (want, refusal) = (replace(&mut self.want, Want::Nothing), self.refusal.take());
        Self { serial: self.serial, want, refusal, timer: self.timer.take(), items: self.items.clone() }
    }

    fn look(&mut self, line: &[u8]) {
        match &mut self.want {
            Want::Nothing | Want::Done(_) => {}
            Want::Value { key, value, .. } => {
                if let Some(found) = retrieved(line, key) {
                    *value = Some(found.to_vec());
                }
            }
            Want::Values { keys, values, .. } => {
                let Some(key) = keys.get(values.len()) else { return };
                if let Some(found) = retrieved(line, key) {
                    values.push(Some(found.to_vec()));
                } else if line.strip_prefix(b"NOTRETRIEVED ") == Some(key) {
                    values.push(None);
                }
            }
            Want::Keys(keys, _) => keys.extend(line.strip_prefix(b"KEY ").map(<[u8]>::to_vec)),
            Want::Clients(clients, _) => {
                clients.extend(line.strip_prefix(b"CLIENT ").map(ClientInfo::of));
            }
        }
    }

    /// Calls back, with `failure` or with what came.
    fn finish(self, failure: Option<ClientError>, client: &Client) {
        if let Some(timer) = self.timer {
            client.communicator.cancel(timer);
        }
        let failed = failure.or(self.refusal);
        fn answer<T>(failed: Option<ClientError>, value: T) -> Result<T, ClientError> {
            failed.map_or(Ok(value), Err)
        }
        match self.want {
            Want::Nothing => {}
            Want::Done(reply) => reply(answer(failed, ()), client),
            Want::Value { value, reply, .. } => reply(answer(failed, value), client),
            Want::Values { keys, mut values, reply } => {
                values.resize(keys.len(), None);
                reply(answer(failed, values), client);
            }
            Want::Keys(keys, reply) => reply(answer(failed, keys), client),
            Want::Clients(clients, reply) => reply(answer(failed, clients), client),
        }
    }
}

struct Session<H> {
    requests: Rc<RefCell<Requests>>,
    handler: H,
    server: String,
    /// Set while the login has no answer.
    login: Option<TimerId>,
    ping: Option<TimerId>,
    /// The login has succeeded.
    inside: bool,
    /// What the server said before it ended the connection.
    end: Option<ClientError>,
}

/// What waits for answers holds clients, often, and they what waits: none of it would ever go.
impl<H> Drop for Session<H> {
    fn drop(&mut self) {
        let waiting = std::mem::take(&mut self.requests.borrow_mut().waiting);
        drop(waiting); // they are somebody's code
    }
}

impl<H: ClientHandler> Session<H> {
    fn new(requests: Rc<RefCell<Requests>>, handler: H) -> Self {
        Self { requests, handler, server: String::new(), login: None, ping: None, inside: false, end: None }
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

    fn client(&self, cx: &Cx<'_, ClacksLines>) -> Client {
        Client { communicator: Communicator::clone(cx), id: cx.id(), requests: self.requests.clone() }
    }

    fn line(&mut self, line: &[u8], cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        let client = self.client(cx);
        match ServerLine::parse(line) {
            ServerLine::Clacks(name) => {
                self.server = text(name);
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
            Some(event) if self.is_for_copy(&event, cx) => Ok(()),
            Some(event) => self.handler.event(&event, &client),
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
    fn refused(&mut self, message: &str) -> bool {
        let requests = &mut *self.requests.borrow_mut();
        let Some(request) = requests.waiting.front_mut() else { return false };
        if matches!(request.want, Want::Nothing) {
            return false;
        }
        request.refusal = Some(match message {
            "permission_denied" => ClientError::PermissionDenied,
            words => ClientError::Refused(words.to_owned()),
        });
        true
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

/// The value that this key was found with.
fn retrieved<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(b"RETRIEVED ")?.strip_prefix(key)?.strip_prefix(b"=")
}

/// The number of a request, out of the id of its `FLUSH`.
fn serial(id: &[u8]) -> Option<u64> {
    std::str::from_utf8(id.strip_prefix(b"r")?).ok()?.parse().ok()
}

fn reason(why: &Closed) -> ClientError {
    match why {
        Closed::Connect(error) => ClientError::Connect(io::Error::new(error.kind(), why.to_string())),
        why => ClientError::Disconnected(why.to_string()),
    }
}

impl<H: ClientHandler> Handler<ClacksLines> for Session<H> {
    fn connected(&mut self, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        self.ping = cx.after(PING_INTERVAL, PING);
        let timeout = self.requests.borrow().timeout;
        self.login = cx.after(timeout, LOGIN);
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
            Line::TooLong => Err("the server sent a line without end".into()),
        }
    }

    fn timeout(&mut self, what: Timeout, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        match what {
            Timeout::Timer(PING) => {
                cx.send_kept(cx.id(), &[b"PING"], Keep::No)?;
                self.ping = cx.after(PING_INTERVAL, PING);
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
            what => return Err(what.into()),
        }
        Ok(())
    }

    fn failed(&mut self, why: &Closed, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        self.handler.failed(&reason(why), &self.client(cx))
    }

    fn lost(&mut self, why: &Closed, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        for timer in self.login.take().into_iter().chain(self.ping.take()) {
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
        let waiting = std::mem::take(&mut self.requests.borrow_mut().waiting);
        for request in waiting {
            request.finish(Some(why.same()), &client);
        }
        self.handler.disconnected(why, &client);
    }
}
