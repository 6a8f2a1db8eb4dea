//! The server's state: what each line of a client does.

mod ages;
mod ahead;
mod check;
mod commands;
mod counters;
mod delivery;
mod failures;
mod group;
mod links;
mod list;
mod login;
mod node;
mod output;
mod overhead;
mod reload;
mod sessions;
mod settings;
mod topics;
mod users;

use std::time::Duration;

pub use counters::Counters;
pub use node::NodeId;
pub use output::{Closing, Event, Output, Traffic};
pub use sessions::{ClientIndex, Peer};
pub use settings::Settings;
pub use users::{Attempt, Permissions, Users, token};

use self::ages::Ages;
use self::failures::Failures;
use self::links::Lock;
use self::node::Path;
use self::sessions::{Role, Sessions};
use self::topics::Topics;
use super::protocol::Command;
use super::store::{Purged, Retention, Store, Sweep};

/// How many entries of a cleared cache are freed before other connections have their turn.
const TIDY_BUDGET: usize = 2048;

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
    /// Not before [`State::resume`], [`State::check`] or [`State::compared`] has made it [`Flow::Open`]: a long list waits for
    /// room in the client's queue, or a login for its verdict; or before [`Output::hold`] says so, for a linked server sends
    /// its cache.
    Paused,
    /// No more: the client is closed. What else it has sent must not have any effect.
    Closed,
}

/// Everything that a clacks server knows, and what it does for each line that it gets. Without sockets,
/// without a clock: connections and time come with each call.
///
/// For each connection: [`connected`](Self::connected) once, [`line`](Self::line) for each line as long as
/// that says [`Flow::Open`], [`check`](Self::check) when it asked for it,
/// [`disconnected`](Self::disconnected) once the connection is gone, whoever ended it. What is sent leaves
/// through the [`Output`], in the order of its causes.
#[derive(Debug)]
pub struct State<K> {
    settings: Settings,
    users: Users,
    store: Store,
    sessions: Sessions<K>,
    topics: Topics<K>,
    sweep: Sweep,
    ages: Ages,
    failures: Failures,
    counters: Counters,
    /// When it was started, on the clock of [`Now::monotonic`].
    started: Duration,
    /// As long as the master sends its cache.
    lock: Option<Lock>,
    /// When the last lock ended, and whether it did so since that was noted.
    released: Duration,
    is_just_released: bool,
    /// The servers above this one.
    ancestors: Path,
    /// How many exchanges of caches there were.
    exchanges: u32,
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
            ages: Ages::default(),
            failures: Failures::default(),
            counters: Counters::default(),
            started: Duration::ZERO,
            lock: None,
            released: Duration::ZERO,
            is_just_released: false,
            ancestors: Path::default(),
            exchanges: 0,
            refused: Vec::new(),
        }
    }

    /// Says when the server was started, on the clock of [`Now::monotonic`]; its status tells how long ago that is.
    pub fn set_started(&mut self, now: Now) {
        self.started = now.monotonic;
        self.look_at_clocks(now);
    }

    /// Notices when the wall clock was set: call it whenever the clocks were read, for otherwise entries of the time between would
    /// seem to be older than they are.
    pub fn look_at_clocks(&mut self, now: Now) {
        let longest = self.settings.stale_cache_time.max(self.settings.deleted_cache_time);
        self.ages.look(now, longest);
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

    /// Whether a client has logged in.
    pub fn is_logged_in(&self, client: ClientIndex) -> bool {
        self.sessions.find(client).is_some_and(|slot| self.sessions.has(slot, Role::Member))
    }

    /// Whether a client is a linked server.
    pub fn is_link(&self, client: ClientIndex) -> bool {
        self.sessions.find(client).is_some_and(|slot| self.sessions.has(slot, Role::Link))
    }

    /// How many clients there are, with those that are closing.
    pub fn clients(&self) -> usize {
        self.sessions.len()
    }

    /// A client is there: it is greeted.
    pub fn connected(&mut self, key: K, peer: Peer, now: Now, out: &mut impl Output<K>) -> ClientIndex {
        let slot = self.add(key, peer, now, out);
        let name = self.settings.server_name.clone();
        self.reply(slot, &[b"CLACKS ", name.as_bytes()], out);
        self.reply(slot, &[b"OVERHEAD M Authentication required"], out);
        self.sessions.index(slot)
    }

    /// A connection is there, and monitors are told. It waits if all others do.
    fn add(&mut self, key: K, peer: Peer, now: Now, out: &mut impl Output<K>) -> usize {
        let slot = self.sessions.add(key, peer, now);
        self.counters.connections += 1;
        if self.is_held(slot) {
            out.hold(key, true);
        }
        if !self.sessions.group(Role::Monitor).is_empty() {
            let cid = self.sessions.get(slot).cid.clone();
            self.tell_monitors(&[b"DEBUG CONNECTED=", &cid], out);
        }
        slot
    }

    /// A client is gone, and so many bytes for it were never sent.
    pub fn disconnected(&mut self, client: ClientIndex, unsent: usize, out: &mut impl Output<K>) {
        let Some(slot) = self.sessions.find(client) else { return };
        self.detach(slot, out);
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

    /// Does what a line of a client asks for. The line has no line end and no carriage returns; an empty one
    /// means nothing.
    pub fn line(&mut self, client: ClientIndex, line: &[u8], now: Now, out: &mut impl Output<K>) -> Flow {
        let Some(slot) = self.sessions.find(client) else { return Flow::Closed };
        if self.sessions.get(slot).is_closing {
            return Flow::Closed;
        }
        if !line.is_empty() {
            let command = Command::parse(line);
            if self.sessions.has(slot, Role::Member) {
                self.counters.lines += 1;
                self.execute(slot, line, command, now, out);
            } else {
                self.before_login(slot, command, now, out);
            }
        }
        self.flow(slot)
    }

    /// Forgets old entries: call it every [`Settings::cache_clean_interval`], and as long as it says that
    /// there is more to do. Each call looks at a bounded number of entries. A wall clock that is set forward makes them no older.
    pub fn clean(&mut self, now: Now, out: &mut impl Output<K>) -> bool {
        self.failures.sweep(now.monotonic);
        self.look_at_clocks(now);
        let retention = Retention {
            stale_before: self.ages.before(now, self.settings.stale_cache_time),
            deleted_before: self.ages.before(now, self.settings.deleted_cache_time),
        };
        let group = self.sessions.group(Role::Monitor);
        let mut full = Vec::new();
        let done = self.store.sweep(&mut self.sweep, self.settings.clean_budget, &retention, |key, why| {
            let (word, counter): (&[u8], _) = match why {
                Purged::Stale => (b"CLEANSTALE=", &mut self.counters.forgotten_stale),
                Purged::Deleted => (b"CLEANDELETED=", &mut self.counters.forgotten_deleted),
            };
            *counter += 1;
            out.fan_out(group.keys(), None, &[b"DEBUG SERVERCACHE=", word, key], &mut self.refused);
            full.extend(self.refused.drain(..).filter_map(|at| group.slots().get(at).copied()));
        });
        self.overflow_all(full, out);
        !done
    }

    /// Frees a share of what `CLEARCACHE` has dropped: call it when [`Output::tidy_soon`] asks for it, and as long as it says
    /// that there is more to do.
    pub fn tidy(&mut self) -> bool {
        self.store.tidy(TIDY_BUDGET)
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
            (!session.is_closing && session.hears()).then_some(session.key)
        });
        assert!(self.refused.is_empty());
    }

    /// The connection of a client.
    pub fn key_of(&self, client: ClientIndex) -> Option<K> {
        self.sessions.find(client).map(|slot| self.sessions.get(slot).key)
    }

    /// Whether a client's next line may be given to [`line`](Self::line).
    pub fn flow_of(&self, client: ClientIndex) -> Flow {
        self.sessions.find(client).map_or(Flow::Closed, |slot| self.flow(slot))
    }

    fn flow(&self, slot: usize) -> Flow {
        let session = self.sessions.get(slot);
        match (&session.list, &session.login) {
            _ if session.is_closing => Flow::Closed,
            (None, None) if !self.is_held(slot) => Flow::Open,
            _ => Flow::Paused,
        }
    }
}
