//! The server's state: what each line of a client does.

mod check;
mod group;
mod links;
mod list;
mod output;
mod overhead;
mod sessions;
mod settings;
mod topics;
mod users;

use std::time::Duration;

pub use output::{Closing, Event, Output, Traffic};
pub use sessions::{ClientIndex, Peer};
pub use settings::Settings;
pub use users::{Permissions, Users, token};

use self::sessions::{List, Ping, Role, Sessions};
use self::topics::Topics;
use super::flags::Flags;
use super::number::Operand;
use super::protocol::{Command, Overhead, Step};
use super::store::{Full, Purged, Retention, Store, Sweep};

/// The time at which something happens.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Now {
    /// Seconds of Unix time, with a fraction: what is shown, stored and compared between servers.
    pub unix: f64,
    /// Time on a clock that never jumps, from whatever start: what time limits are measured by.
    pub monotonic: Duration,
}

impl Now {
    /// The Unix time of another moment, if no clock was set in between.
    fn unix_at(&self, monotonic: Duration) -> f64 {
        self.unix + monotonic.as_secs_f64() - self.monotonic.as_secs_f64()
    }
}

/// Whether the connection's next line may be given to [`State::line`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It may.
    Open,
    /// Not before [`State::resume`] has said [`Flow::Open`]: a long list waits for room in the client's queue.
    Paused,
    /// No more: the client is closed. What else it has sent must not have any effect.
    Closed,
}

/// The longest client name that is kept, in bytes: the rest is cut off.
const CLIENT_NAME_MAX: usize = 1024;

/// Everything that a clacks server knows, and what it does for each line that it gets. Without sockets, without a
/// clock: connections and time come with each call.
///
/// For each connection: [`connected`](Self::connected) once, [`line`](Self::line) for each line as long as that
/// says [`Flow::Open`], [`check`](Self::check) when it asked for it, [`disconnected`](Self::disconnected) once the
/// connection is gone, whoever ended it. What is sent leaves through the [`Output`], in the order of its causes.
#[derive(Debug)]
pub struct State<K> {
    settings: Settings,
    users: Users,
    store: Store,
    sessions: Sessions<K>,
    topics: Topics<K>,
    sweep: Sweep,
    /// Positions of those who could not take a line; empty between calls.
    refused: Vec<usize>,
}

impl<K: Copy + Eq> State<K> {
    /// A server without clients.
    pub fn new(settings: Settings, users: Users, store: Store) -> Self {
        Self {
            settings,
            users,
            store,
            sessions: Sessions::default(),
            topics: Topics::default(),
            sweep: Sweep::default(),
            refused: Vec::new(),
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The users.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// The cache.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The cache, to load and to save it.
    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// How many clients there are, with those that are closing.
    pub fn clients(&self) -> usize {
        self.sessions.len()
    }

    /// A client is there: it is greeted.
    pub fn connected(&mut self, key: K, peer: Peer, now: Now, out: &mut impl Output<K>) -> ClientIndex {
        let slot = self.sessions.add(key, peer, now);
        if !self.sessions.group(Role::Monitor).is_empty() {
            let cid = self.sessions.get(slot).cid.clone();
            self.tell_monitors(&[b"DEBUG CONNECTED=", &cid], out);
        }
        let name = self.settings.server_name.clone();
        self.reply(slot, &[b"CLACKS ", name.as_bytes()], out);
        self.reply(slot, &[b"OVERHEAD M Authentication required"], out);
        self.sessions.index(slot)
    }

    /// A client is gone, and so many bytes for it were never sent.
    pub fn disconnected(&mut self, client: ClientIndex, unsent: usize, out: &mut impl Output<K>) {
        let Some(slot) = self.sessions.find(client) else { return };
        self.detach(slot);
        let session = self.sessions.remove(slot);
        if !self.sessions.group(Role::Monitor).is_empty() {
            let n = unsent.to_string();
            let line: [&[u8]; 5] = [
                b"DEBUG DISCONNECTED=",
                &session.cid,
                b" (",
                n.as_bytes(),
                b" bytes discarded from outbuffer)",
            ];
            self.tell_monitors(&line, out);
        }
    }

    /// Ends every connection with an empty line and `QUIT`, as when the server stops.
    pub fn disconnect_all(&mut self, out: &mut impl Output<K>) {
        for slot in self.sessions.open() {
            self.dismiss(slot, b"QUIT", out);
        }
    }

    /// Does what a line of a client asks for. The line has no line end and no carriage returns; an empty one means
    /// nothing.
    pub fn line(&mut self, client: ClientIndex, line: &[u8], now: Now, out: &mut impl Output<K>) -> Flow {
        let Some(slot) = self.sessions.find(client) else { return Flow::Closed };
        if self.sessions.get(slot).is_closing {
            return Flow::Closed;
        }
        if !line.is_empty() {
            let command = Command::parse(line);
            if self.sessions.has(slot, Role::Member) {
                self.execute(slot, line, command, now, out);
            } else {
                self.before_login(slot, command, out);
            }
        }
        self.flow(slot)
    }

    /// Whether everything that is kept twice agrees.
    ///
    /// # Panics
    /// When it does not: for tests.
    pub fn check_invariants(&self) {
        self.store.check_invariants();
        self.sessions.check_invariants();
        self.topics.check_invariants(|slot| {
            let session = self.sessions.get(slot);
            (!session.is_closing && session.link_heard.is_none()).then_some(session.key)
        });
        assert!(self.refused.is_empty());
    }

    fn flow(&self, slot: usize) -> Flow {
        let session = self.sessions.get(slot);
        match session.list {
            _ if session.is_closing => Flow::Closed,
            Some(_) => Flow::Paused,
            None => Flow::Open,
        }
    }

    fn before_login(&mut self, slot: usize, command: Command<'_>, out: &mut impl Output<K>) {
        match command {
            Command::Clacks(name) => self.rename(slot, name),
            Command::Overhead(overhead) if overhead.flags.contains(Flags::AUTH) => {
                self.log_in(slot, overhead.value, out);
            }
            _ => {}
        }
    }

    fn execute(
        &mut self,
        slot: usize,
        line: &[u8],
        command: Command<'_>,
        now: Now,
        out: &mut impl Output<K>,
    ) {
        let session = self.sessions.get_mut(slot);
        let allowed = session.permissions.allow(needed(&command));
        if let Some(heard) = &mut session.link_heard {
            *heard = now;
        }
        // A monitor sees the line that makes it one, and not the line that ends it.
        match command {
            Command::Monitor if allowed => self.sessions.enter(slot, Role::Monitor),
            Command::Unmonitor if allowed => self.sessions.leave(slot, Role::Monitor),
            _ => {}
        }
        if !self.sessions.group(Role::Monitor).is_empty() && is_shown(&command) {
            let cid = self.sessions.get(slot).cid.clone();
            self.tell_monitors(&[b"DEBUG ", &cid, b"=", line], out);
        }
        if !allowed {
            return self.deny(slot, out);
        }

        match command {
            Command::Set(pair) => self.signal(slot, pair.name, &[line], line, out),
            Command::Notify(name) => self.signal(slot, name, &[line], line, out),
            Command::SetAndStore(pair) => {
                let stored = self.store.store(pair.name, pair.value, now.unix);
                if self.has_taken(slot, stored, out) {
                    self.signal(slot, pair.name, &[b"SET ", pair.name, b"=", pair.value], line, out);
                }
            }
            Command::Store(pair) => {
                let stored = self.store.store(pair.name, pair.value, now.unix);
                self.stored(slot, stored, line, out);
            }
            Command::Remove(key) => {
                let stored = self.store.remove(key, now.unix);
                self.stored(slot, stored, line, out);
            }
            Command::Increment(Step { key, step }) => {
                let stored = self.store.increment(key, step.map_or(Operand::ONE, Operand::step), now.unix);
                self.stored(slot, stored, line, out);
            }
            Command::Decrement(Step { key, step }) => {
                let stored = self.store.decrement(key, step.map_or(Operand::ONE, Operand::step), now.unix);
                self.stored(slot, stored, line, out);
            }
            Command::KeySync(entry) => {
                let offset = self.sessions.get(slot).clock_offset;
                let stored = self.store.merge(&entry, offset).map(drop);
                self.sessions.get_mut(slot).ping = Ping { last: now, is_expected: true };
                self.stored(slot, stored, line, out);
            }
            Command::ClearCache => {
                self.store.clear();
                self.forward(slot, line, out);
            }
            Command::Retrieve(key) => {
                let to = self.sessions.get(slot).key;
                let taken = match self.store.retrieve(key, now.unix) {
                    Some(value) => out.send(to, &[b"RETRIEVED ", key, b"=", value]),
                    None => out.send(to, &[b"NOTRETRIEVED ", key]),
                };
                self.overflow_unless(taken, slot, out);
            }
            Command::KeyList => self.start_list(slot, List::Keys(None), out),
            Command::ClientList => self.start_list(slot, List::Clients(None), out),
            Command::Listen(name) => self.listen(slot, name, out),
            Command::Unlisten(name) => self.topics.unlisten(name, slot),
            Command::Flush(id) => self.reply(slot, &[b"FLUSHED ", id], out),
            Command::Ping => {
                self.sessions.get_mut(slot).ping = Ping { last: now, is_expected: true };
            }
            Command::NoPing => {
                if !self.sessions.has(slot, Role::Link) {
                    self.sessions.get_mut(slot).ping.is_expected = false;
                }
            }
            Command::ClientDisconnect(cid) => {
                if let Some(other) = self.sessions.by_cid(cid) {
                    out.log(&Event::Disconnects { cid: &self.sessions.get(slot).cid, other: cid });
                    self.dismiss(other, b"QUIT", out);
                }
            }
            Command::Quit => self.close(slot, Closing::Flushed, out),
            Command::Timeout if self.sessions.has(slot, Role::Link) => {
                self.close(slot, Closing::Flushed, out)
            }
            Command::Timeout | Command::Unknown(_) => {
                self.reply(slot, &[b"OVERHEAD E unknown_command ", line], out);
            }
            Command::Clacks(name) => self.rename(slot, name),
            Command::Overhead(overhead) => self.overhead(slot, overhead, now, out),
            Command::Monitor | Command::Unmonitor | Command::Flushed(_) | Command::Nop => {}
        }
    }

    /// Delivers a signal to those who listen, and passes it on to linked servers.
    fn signal(
        &mut self,
        slot: usize,
        name: &[u8],
        delivered: &[&[u8]],
        line: &[u8],
        out: &mut impl Output<K>,
    ) {
        if let Some(listeners) = self.topics.listeners(name) {
            let sender = self.sessions.get(slot).key;
            out.fan_out(listeners.keys(), Some(sender), delivered, &mut self.refused);
            if !self.refused.is_empty() {
                let full =
                    self.refused.drain(..).filter_map(|at| listeners.slots().get(at).copied()).collect();
                self.overflow_all(full, out);
            }
        }
        self.forward(slot, line, out);
    }

    fn tell_monitors(&mut self, line: &[&[u8]], out: &mut impl Output<K>) {
        self.send_group(Role::Monitor, None, line, out);
    }

    fn send_group(&mut self, role: Role, except: Option<K>, line: &[&[u8]], out: &mut impl Output<K>) {
        let group = self.sessions.group(role);
        out.fan_out(group.keys(), except, line, &mut self.refused);
        if !self.refused.is_empty() {
            let full = self.refused.drain(..).filter_map(|at| group.slots().get(at).copied()).collect();
            self.overflow_all(full, out);
        }
    }

    fn reply(&mut self, slot: usize, line: &[&[u8]], out: &mut impl Output<K>) {
        let session = self.sessions.get(slot);
        if !session.is_closing {
            let taken = out.send(session.key, line);
            self.overflow_unless(taken, slot, out);
        }
    }

    fn deny(&mut self, slot: usize, out: &mut impl Output<K>) {
        self.reply(slot, &[b"OVERHEAD E permission_denied"], out);
    }

    /// What follows a change of the cache that is passed on.
    fn stored(&mut self, slot: usize, stored: Result<(), Full>, line: &[u8], out: &mut impl Output<K>) {
        if self.has_taken(slot, stored, out) {
            self.forward(slot, line, out);
        }
    }

    fn has_taken(&mut self, slot: usize, stored: Result<(), Full>, out: &mut impl Output<K>) -> bool {
        if stored.is_err() {
            self.report(slot, |cid| Event::CacheFull { cid }, out);
            self.reply(slot, &[b"OVERHEAD E cache_full"], out);
        }
        stored.is_ok()
    }

    fn listen(&mut self, slot: usize, name: &[u8], out: &mut impl Output<K>) {
        let key = self.sessions.get(slot).key;
        if self.topics.listen(name, key, slot, self.settings.names_bytes_max).is_err() {
            self.report(slot, |cid| Event::TooManyNames { cid }, out);
            self.reply(slot, &[b"OVERHEAD E too_many_names"], out);
        }
    }

    /// Logs a trouble that a client can make as often as it likes.
    fn report<'a>(
        &'a mut self,
        slot: usize,
        event: impl Fn(&'a [u8]) -> Event<'a>,
        out: &mut impl Output<K>,
    ) {
        let session = self.sessions.get_mut(slot);
        if session.reports_left > 0 {
            session.reports_left -= 1;
            out.log(&event(&session.cid));
        }
    }

    fn rename(&mut self, slot: usize, name: &[u8]) {
        // A semicolon would end the field in a client list.
        let name = name.iter().take(CLIENT_NAME_MAX);
        self.sessions.get_mut(slot).info = name.map(|&b| if b == b';' { b'_' } else { b }).collect();
    }

    fn overflow_unless(&mut self, taken: bool, slot: usize, out: &mut impl Output<K>) {
        if !taken {
            self.overflow_all(vec![slot], out);
        }
    }

    fn overflow_all(&mut self, slots: Vec<usize>, out: &mut impl Output<K>) {
        for slot in slots {
            out.log(&Event::QueueFull { cid: &self.sessions.get(slot).cid });
            self.close(slot, Closing::Now, out);
        }
    }

    /// Ends a connection with an empty line and a word.
    fn dismiss(&mut self, slot: usize, word: &[u8], out: &mut impl Output<K>) {
        self.reply(slot, &[], out);
        self.reply(slot, &[word], out);
        self.close(slot, Closing::Flushed, out);
    }

    fn close(&mut self, slot: usize, how: Closing, out: &mut impl Output<K>) {
        if !self.sessions.get(slot).is_closing {
            self.detach(slot);
            out.close(self.sessions.get(slot).key, how);
        }
    }

    fn detach(&mut self, slot: usize) {
        self.topics.leave(slot);
        self.sessions.start_closing(slot);
    }

    /// Forgets old entries: call it every [`Settings::cache_clean_interval`], and as long as it says that there is
    /// more to do. Each call looks at a bounded number of entries.
    pub fn clean(&mut self, now: Now, out: &mut impl Output<K>) -> bool {
        let retention = Retention {
            stale_before: now.unix - self.settings.stale_cache_time.as_secs_f64(),
            deleted_before: now.unix - self.settings.deleted_cache_time.as_secs_f64(),
        };
        let group = self.sessions.group(Role::Monitor);
        let mut full = Vec::new();
        let done = self.store.sweep(&mut self.sweep, self.settings.clean_budget, &retention, |key, why| {
            let word: &[u8] = match why {
                Purged::Stale => b"CLEANSTALE=",
                Purged::Deleted => b"CLEANDELETED=",
            };
            out.fan_out(group.keys(), None, &[b"DEBUG SERVERCACHE=", word, key], &mut self.refused);
            full.extend(self.refused.drain(..).filter_map(|at| group.slots().get(at).copied()));
        });
        self.overflow_all(full, out);
        !done
    }
}

/// What a command needs. `OVERHEAD` depends on its flags, and looks for itself.
fn needed(command: &Command<'_>) -> Permissions {
    match command {
        Command::Notify(_)
        | Command::Set(_)
        | Command::Store(_)
        | Command::SetAndStore(_)
        | Command::Remove(_)
        | Command::Increment(_)
        | Command::Decrement(_) => Permissions::WRITE,
        Command::Listen(_) | Command::Unlisten(_) | Command::Retrieve(_) | Command::KeyList => {
            Permissions::READ
        }
        Command::ClearCache
        | Command::Monitor
        | Command::Unmonitor
        | Command::ClientList
        | Command::ClientDisconnect(_) => Permissions::MANAGE,
        Command::KeySync(_) => Permissions::INTERCLACKS,
        Command::Flush(_)
        | Command::Flushed(_)
        | Command::Ping
        | Command::NoPing
        | Command::Quit
        | Command::Timeout
        | Command::Nop
        | Command::Clacks(_)
        | Command::Overhead(_)
        | Command::Unknown(_) => Permissions::NONE,
    }
}

/// Do monitors see the line?
fn is_shown(command: &Command<'_>) -> bool {
    match command {
        Command::Clacks(_) => false,
        Command::Overhead(Overhead { flags, .. }) => {
            !flags.contains(Flags::AUTH) && !flags.contains(Flags::NO_LOGGING)
        }
        _ => true,
    }
}
