//! A client for scripts and tools: one call at a time.

use super::super::flags::Flags;
use super::super::line::{CLIENT_INPUT, ClacksLines, Line, MAX_ANSWER};
use super::super::server_line::ServerLine;
use super::cache::{Local, LocalCopy};
use super::command::CommandLine;
use super::error::ClientError;
use super::event::{ClientInfo, Event, status_field, text};
use super::login::Login;
use super::manners::{GREETING_TIMEOUT, Manners, PING_INTERVAL};
use super::route::Route;
use super::unchanged::Unchanged;
use crate::connections::{Blocking, Transport};
use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Who wants to wait for longer waits as long as this: a point in time has bounds.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// As many events wait at most while requests are answered; more is a failure, not a growing heap.
const MOST_EVENTS: usize = 1 << 16;

/// A connection to a clacks server, one call at a time. Each command returns when the server has carried it out, with its
/// refusal if it refused.
///
/// It sends no `PING` by itself: a program that keeps a connection calls [`ping`](Self::ping) now and then, at least every two
/// minutes, or [`no_ping`](Self::no_ping) once.
pub struct BlockingClient {
    connection: Blocking<Box<dyn Transport>, ClacksLines>,
    manners: Manners,
    server: String,
    serial: u64,
    unchanged: Unchanged,
    /// The last sign of life; `None`: the server expects none.
    pinged: Option<Instant>,
    /// When a name was passed on last; or the login.
    remembered: Instant,
    events: VecDeque<Event>,
    local: Option<Local>,
    /// Times are counted from here.
    since: Instant,
}

impl fmt::Debug for BlockingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingClient").field("server", &self.server).finish_non_exhaustive()
    }
}

/// What a line was.
enum Came {
    Event,
    /// The request with this id is done.
    Done,
    Other,
}

impl BlockingClient {
    /// Connects to a server's socket file and logs in.
    ///
    /// # Errors
    /// When nobody answers there, in 30 seconds, or the login fails.
    pub fn connect_unix(path: impl AsRef<Path>, login: &Login) -> Result<Self, ClientError> {
        Self::begin(Route::socket(path.as_ref().into()).connect()?, login, Manners::default())
    }

    /// Logs in over any transport. `timeout` is for the login, and for each request after it.
    ///
    /// # Errors
    /// When there is no answer in time, or the login fails.
    pub fn over(transport: impl Transport, login: &Login, timeout: Duration) -> Result<Self, ClientError> {
        Self::begin(transport, login, Manners::with_timeout(timeout))
    }

    pub(super) fn begin(
        transport: impl Transport,
        login: &Login,
        mut manners: Manners,
    ) -> Result<Self, ClientError> {
        let transport: Box<dyn Transport> = Box::new(transport);
        let mut connection =
            Blocking::new(transport, ClacksLines::new().max(MAX_ANSWER)).map_err(ClientError::Connect)?;
        connection.set_input_max(CLIENT_INPUT);
        manners.timeout = manners.timeout.min(LONGEST);
        let now = Instant::now();
        let mut client = Self {
            connection,
            manners,
            server: String::new(),
            serial: 0,
            unchanged: Unchanged::default(),
            pinged: Some(now),
            remembered: now,
            events: VecDeque::new(),
            local: None,
            since: now,
        };
        client.log_in(login)?;
        Ok(client)
    }

    fn log_in(&mut self, login: &Login) -> Result<(), ClientError> {
        for line in login.lines() {
            self.connection.queue(&[line.as_bytes()])?;
        }
        let begin = Instant::now();
        let mut server = None;
        loop {
            let most = match server {
                Some(_) => self.manners.timeout,
                None => self.manners.timeout.min(GREETING_TIMEOUT),
            };
            let left = (begin + most).saturating_duration_since(Instant::now());
            let step = self.connection.receive(left, |line| match line {
                Line::Over(_) | Line::TooLong => Err(ClientError::NotClacks("a line without end".into())),
                Line::Line(line) => match ServerLine::parse(line) {
                    ServerLine::Clacks(name) => Ok(Some(text(name))),
                    ServerLine::Overhead(overhead) if overhead.flags.contains(Flags::AUTH_OK) => Ok(None),
                    ServerLine::Overhead(overhead) if overhead.flags.contains(Flags::AUTH_FAILED) => {
                        Err(ClientError::LoginFailed)
                    }
                    ServerLine::Overhead(overhead) if overhead.flags.contains(Flags::ERROR) => {
                        Err(ClientError::Refused(text(overhead.value)))
                    }
                    ServerLine::Overhead(_) | ServerLine::Nop => Ok(Some(String::new())),
                    ServerLine::Quit => Err(ClientError::Quit),
                    _ => Err(ClientError::NotClacks(text(line))),
                },
            })??;
            match step {
                Some(name) if name.is_empty() => {}
                Some(name) => server = Some(name),
                None => {
                    self.server = server.unwrap_or_default();
                    return Ok(());
                }
            }
        }
    }

    /// Sets how long each request may take; 30 s unless set.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.manners.timeout = timeout.min(LONGEST);
    }

    /// The server's name and version, from its greeting.
    pub fn server(&self) -> &str {
        &self.server
    }

    // ---- signals --------------------------------------------------------------------------------

    /// Sends a signal without a value to everybody else who listens to `name`.
    ///
    /// # Errors
    /// When the server refuses it or does not answer. So for all commands below.
    pub fn notify(&mut self, name: &[u8]) -> Result<(), ClientError> {
        self.command(CommandLine::named("NOTIFY", name)?)
    }

    /// Sends a signal with a value to everybody else who listens to `name`; or nothing, if
    /// [unchanged values are left out](Self::leave_out_unchanged) and this is one.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), ClientError> {
        if self.unchanged.is(name, value) {
            return Ok(());
        }
        self.set_always(name, value)
    }

    /// As [`set`](Self::set), also while unchanged values are left out.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn set_always(&mut self, name: &[u8], value: &[u8]) -> Result<(), ClientError> {
        self.signal("SET", name, value)
    }

    fn signal(&mut self, word: &str, name: &[u8], value: &[u8]) -> Result<(), ClientError> {
        self.unchanged.forget(name);
        self.command(CommandLine::pair(word, name, value)?)?;
        self.unchanged.sent(name, value);
        Ok(())
    }

    /// From now on [`set`](Self::set) sends nothing if this client has sent the very value of the name last, and has not heard
    /// another one since: as [`Client::leave_out_unchanged`](super::Client::leave_out_unchanged).
    pub fn leave_out_unchanged(&mut self, on: bool) {
        self.unchanged.turn(on);
    }

    /// Listens to a name: its signals come as [events](Self::next_event).
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn listen(&mut self, name: &[u8]) -> Result<(), ClientError> {
        let command = CommandLine::named("LISTEN", name)?;
        if let Some(local) = &mut self.local {
            local.program_listens(name, true);
        }
        self.command(command)
    }

    /// Listens to a name no more.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn unlisten(&mut self, name: &[u8]) -> Result<(), ClientError> {
        let command = CommandLine::named("UNLISTEN", name)?;
        if self.local.as_mut().is_some_and(|local| !local.program_listens(name, false)) {
            return Ok(());
        }
        self.command(command)
    }

    // ---- the cache ------------------------------------------------------------------------------

    /// Keeps a value.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn store(&mut self, key: &[u8], value: &[u8]) -> Result<(), ClientError> {
        self.command(CommandLine::pair("STORE", key, value)?)
    }

    /// Keeps a value and signals it to everybody else who listens.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn set_and_store(&mut self, key: &[u8], value: &[u8]) -> Result<(), ClientError> {
        self.signal("SETANDSTORE", key, value)
    }

    /// The value of a key; `None` if there is none.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn retrieve(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ClientError> {
        let command = CommandLine::named("RETRIEVE", key)?;
        let mut value = None;
        self.request(command, |line| {
            let found = line.strip_prefix(b"RETRIEVED ").and_then(|rest| rest.strip_prefix(key));
            if let Some(found) = found.and_then(|rest| rest.strip_prefix(b"=")) {
                value = Some(found.to_vec());
            }
        })?;
        Ok(value)
    }

    /// Calls with each of the keys that has a value, and the value, in order. All are asked for at once, so that it takes one round trip:
    /// give it some thousand at a time.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn retrieve_many<K: AsRef<[u8]>>(
        &mut self,
        keys: &[K],
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), ClientError> {
        for key in keys {
            self.connection.queue(&[CommandLine::named("RETRIEVE", key.as_ref())?.bytes()])?;
        }
        // There is a reply to each, in order.
        let mut waiting = keys.iter().map(AsRef::as_ref);
        self.request_none(|line| {
            if let Some(found) = line.strip_prefix(b"RETRIEVED ") {
                let value = |key: &[u8]| found.strip_prefix(key).and_then(|rest| rest.strip_prefix(b"="));
                if let Some((key, value)) = waiting.next().and_then(|key| Some((key, value(key)?))) {
                    each(key, value);
                }
            } else if line.starts_with(b"NOTRETRIEVED ") {
                waiting.next();
            }
        })
    }

    /// The values of all of these keys, in order.
    pub(super) fn retrieve_all<K: AsRef<[u8]>>(
        &mut self,
        keys: &[K],
    ) -> Result<Vec<Option<Vec<u8>>>, ClientError> {
        let mut values = vec![None; keys.len()];
        let mut at = 0;
        self.retrieve_many(keys, |key, value| {
            // Keys without a value are left out.
            while let (Some(asked), Some(place)) = (keys.get(at), values.get_mut(at)) {
                at += 1;
                if asked.as_ref() == key {
                    *place = Some(value.to_vec());
                    break;
                }
            }
        })?;
        Ok(values)
    }

    /// Keeps many values, all sent at once.
    ///
    /// # Errors
    /// As [`notify`](Self::notify); some may have been kept then.
    pub fn store_many<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), ClientError> {
        for (key, value) in entries {
            self.connection.queue(&[CommandLine::pair("STORE", key.as_ref(), value.as_ref())?.bytes()])?;
        }
        self.request_none(|_| ())
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn remove(&mut self, key: &[u8]) -> Result<(), ClientError> {
        self.command(CommandLine::named("REMOVE", key)?)
    }

    /// Adds `step`, 1 if `None`, to a number that is kept; what is none counts as 0.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn increment(&mut self, key: &[u8], step: Option<&str>) -> Result<(), ClientError> {
        self.command(CommandLine::step("INCREMENT", key, step)?)
    }

    /// Subtracts `step`, 1 if `None`.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn decrement(&mut self, key: &[u8], step: Option<&str>) -> Result<(), ClientError> {
        self.command(CommandLine::step("DECREMENT", key, step)?)
    }

    /// All keys, in byte order.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn key_list(&mut self) -> Result<Vec<Vec<u8>>, ClientError> {
        let mut keys = Vec::new();
        self.request(CommandLine::word("KEYLIST"), |line| {
            keys.extend(line.strip_prefix(b"KEY ").map(<[u8]>::to_vec));
        })?;
        Ok(keys)
    }

    /// Drops all keys.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn clear_cache(&mut self) -> Result<(), ClientError> {
        self.command(CommandLine::word("CLEARCACHE"))
    }

    // ---- the server -----------------------------------------------------------------------------

    /// Returns when everything that was sent before has taken effect.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.request_none(|_| ())
    }

    /// Tells the server that this client is alive, unless it did so in the last two minutes; to connect is such a sign, too.
    /// [`flush`](Self::flush) is for those who want to know whether the server is.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn ping(&mut self) -> Result<(), ClientError> {
        if self.pinged.is_some_and(|last| last.elapsed() < PING_INTERVAL) {
            return Ok(());
        }
        self.command(CommandLine::word("PING"))?;
        self.pinged = Some(Instant::now());
        Ok(())
    }

    /// Asks the server not to expect a [`ping`](Self::ping), until the next one.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn no_ping(&mut self) -> Result<(), ClientError> {
        self.command(CommandLine::word("NOPING"))?;
        self.pinged = None;
        Ok(())
    }

    /// Sees, as [events](Self::next_event), what all clients send, or does so no more.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn monitor(&mut self, on: bool) -> Result<(), ClientError> {
        self.command(CommandLine::word(if on { "MONITOR" } else { "UNMONITOR" }))
    }

    /// All clients, by CID.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn client_list(&mut self) -> Result<Vec<ClientInfo>, ClientError> {
        let mut clients = Vec::new();
        self.request(CommandLine::word("CLIENTLIST"), |line| {
            clients.extend(line.strip_prefix(b"CLIENT ").map(ClientInfo::of));
        })?;
        Ok(clients)
    }

    /// How the server is: names and values, as it tells them. The reference server does not.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn status(&mut self) -> Result<Vec<(String, String)>, ClientError> {
        let mut status = Vec::new();
        self.request(CommandLine::word("STATUS"), |line| status.extend(status_field(line)))?;
        Ok(status)
    }

    /// Disconnects a client.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn disconnect(&mut self, cid: &[u8]) -> Result<(), ClientError> {
        self.command(CommandLine::named("CLIENTDISCONNECT", cid)?)
    }

    /// Stops the server in so many seconds, at least 1.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn shut_down(&mut self, seconds: u32) -> Result<(), ClientError> {
        self.command(CommandLine::shutdown(seconds))
    }

    /// Sends a line as it is, and does not wait for anything.
    ///
    /// # Errors
    /// When it holds a line end, or can't be sent.
    pub fn send_raw(&mut self, line: &[u8]) -> Result<(), ClientError> {
        let command = CommandLine::raw(line)?;
        self.unchanged.forget_all();
        Ok(self.connection.send(&[command.bytes()], self.manners.timeout)?)
    }

    /// The next line that comes, as it is; `None` if none came in `timeout`.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn receive_raw(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, ClientError> {
        let received = self.connection.receive(timeout, |line| match line {
            Line::Line(line) => Ok(line.to_vec()),
            Line::Over(_) | Line::TooLong => Err(ClientError::Refused("a line without end".into())),
        });
        match received {
            Ok(line) => line.map(Some),
            Err(crate::connections::BlockingError::TimedOut) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The next event; `None` if none came in `timeout`.
    ///
    /// # Errors
    /// When the server has ended the connection, or it is gone.
    pub fn next_event(&mut self, timeout: Duration) -> Result<Option<Event>, ClientError> {
        let end = Instant::now() + timeout.min(LONGEST);
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.receive(end.saturating_duration_since(Instant::now()), b"", |_| ()) {
                Ok(_) => {}
                Err(ClientError::TimedOut) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Says goodbye, after everything that was sent has taken effect.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn close(mut self) -> Result<(), ClientError> {
        self.flush()?;
        Ok(self.connection.send(&[b"QUIT"], self.manners.timeout)?)
    }

    // ---- a copy at hand ---------------------------------------------------------------------------

    pub(super) fn set_local_copy(&mut self, limits: LocalCopy) {
        self.local = Some(Local::new(limits));
    }

    pub(super) fn local(&mut self) -> Option<&mut Local> {
        self.local.as_mut()
    }

    pub(super) fn now(&self) -> Duration {
        self.since.elapsed()
    }

    pub(super) fn listen_for_copy(&mut self, key: &[u8], on: bool) -> Result<(), ClientError> {
        let command = CommandLine::named(if on { "LISTEN" } else { "UNLISTEN" }, key)?;
        // The request that follows waits for both.
        Ok(self.connection.queue(&[command.bytes()])?)
    }

    /// Looks at what has come, if there is a copy that it is for.
    pub(super) fn take_in(&mut self) -> Result<(), ClientError> {
        while self.local.is_some() {
            match self.receive(Duration::ZERO, b"", |_| ()) {
                Ok(_) => {}
                Err(ClientError::TimedOut) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    // ---- requests ---------------------------------------------------------------------------------

    fn command(&mut self, command: CommandLine) -> Result<(), ClientError> {
        self.request(command, |_| ())
    }

    fn request(&mut self, command: CommandLine, look: impl FnMut(&[u8])) -> Result<(), ClientError> {
        self.connection.queue(&[command.bytes()])?;
        self.request_none(look)
    }

    /// Sends a `FLUSH`; everything until its answer belongs to the request.
    fn request_none(&mut self, look: impl FnMut(&[u8])) -> Result<(), ClientError> {
        self.answer(look)?;
        self.remember();
        Ok(())
    }

    /// Passes a name on, if it is time to. Nobody has asked for it, and nobody waits for what comes of it.
    fn remember(&mut self) {
        let Some(remember) = &self.manners.remember else { return };
        if self.remembered.elapsed() >= remember.every {
            self.remembered = Instant::now();
            if self.connection.queue(&[remember.line().as_bytes()]).is_ok() {
                let _ = self.answer(|_| ());
            }
        }
    }

    /// Sends a `FLUSH`, and reads until its answer.
    fn answer(&mut self, mut look: impl FnMut(&[u8])) -> Result<(), ClientError> {
        self.serial += 1;
        let id = format!("r{}", self.serial);
        self.connection.queue(&[b"FLUSH ", id.as_bytes()])?;
        let end = Instant::now() + self.manners.timeout;
        // Errors that came before this request have been told already, or are events.
        let before = self.events.len();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if matches!(self.receive(left, id.as_bytes(), &mut look)?, Came::Done) {
                break;
            }
        }
        let refusal = (before..self.events.len())
            .find(|&at| matches!(self.events.get(at), Some(Event::Error { .. })))
            .and_then(|at| self.events.remove(at));
        match refusal {
            Some(Event::Error { message }) => Err(ClientError::refusal(&message)),
            _ => Ok(()),
        }
    }

    /// One line. Events are kept; `look` sees everything else.
    fn receive(
        &mut self,
        timeout: Duration,
        id: &[u8],
        mut look: impl FnMut(&[u8]),
    ) -> Result<Came, ClientError> {
        let (events, now) = (&mut self.events, self.since.elapsed());
        let (local, unchanged) = (&mut self.local, &mut self.unchanged);
        let mut hears = |event: &Event| {
            unchanged.hears(event);
            local.as_mut().is_some_and(|local| local.hears(event, now))
        };
        self.connection.receive(timeout, |line| {
            let Line::Line(line) = line else {
                return Err(ClientError::Refused("a line without end".into()));
            };
            match ServerLine::parse(line) {
                ServerLine::Quit => return Err(ClientError::Quit),
                ServerLine::Timeout => return Err(ClientError::TimedOutByServer),
                ServerLine::Flushed(flushed) if flushed == id => return Ok(Came::Done),
                _ => {}
            }
            match Event::of(line) {
                Some(event) if hears(&event) => Ok(Came::Event),
                Some(_) if events.len() >= MOST_EVENTS => {
                    Err(ClientError::Refused(format!("more than {MOST_EVENTS} events wait")))
                }
                Some(event) => {
                    events.push_back(event);
                    Ok(Came::Event)
                }
                None => {
                    look(line);
                    Ok(Came::Other)
                }
            }
        })?
    }
}
