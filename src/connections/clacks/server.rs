//! The server: the protocol's [`State`] on connections of a [`Communicator`].

mod debug_file;
mod keeping;
mod listen;
mod logins;
mod reload;
#[cfg(test)]
pub(super) mod simulated;
mod status;
mod uplink;

use self::keeping::Keeping;
use super::line::{ClacksLines, Line, TOO_LONG};
use super::persistence::keeper::Kept;
use super::state::{
    Attempt, ClientIndex, Closing, Event, Flow, NodeId, Now, Output, Peer, Settings, State, Traffic, Users,
};
use super::store::Store;
use crate::communicator::{
    Closed, Communicator, Cx, Handler, HandlerError, HandlerResult, Id, Key, SendError, Timeout, Timeouts,
    TimerId,
};
use crate::connections::ToThread;
use logins::Job;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use uplink::Master;
pub use uplink::Uplink;

/// A list waits when so much is queued for its client, and goes on at [`LIST_GOES_ON`].
const LIST_WAITS: usize = 256 << 10;
const LIST_GOES_ON: usize = 64 << 10;
/// The longest line of a client that has not logged in, in bytes: nothing that counts before is longer, and strangers should
/// not be able to fill the memory.
const MAX_LINE_BEFORE_LOGIN: usize = 64 << 10;
/// What is still to be written to clients that have ended may take no longer than this once the server stops.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// The tags of a session's timers: for its time limits, for a login that was looked at, and for what goes on when others have
/// had their turn.
const CHECK: u64 = 0;
const VERDICT: u64 = 1;
const RESUME: u64 = 2;

/// What a [`Server`] needs to know beside the protocol's own [`Settings`].
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// The longest line, in bytes without its end. Default: 16 MiB.
    pub max_line: usize,
    /// Output that may wait for one client, in bytes; a client for which there is more is closed. Default: 64 MiB.
    pub max_out_buffer: usize,
    /// How many clients there may be. One more is told so and closed. Default: 10,000.
    pub max_clients: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self { max_line: super::line::MAX_LINE, max_out_buffer: 64 << 20, max_clients: 10_000 }
    }
}

/// A clacks server in a communicator. A cheap handle: clones are the same server.
///
/// ```
/// use eventdispatcher::connections::clacks::{Permissions, Server, ServerLimits, Settings, Store, Users};
/// use eventdispatcher::{Communicator, UnixBind};
///
/// let folder = tempfile::tempdir()?;
/// let mut users = Users::default();
/// users.add("admin", "secret", Permissions::ALL);
/// let communicator = Communicator::new()?;
/// let server = Server::start(&communicator, Settings::default(), ServerLimits::default(), users, Store::new(None));
/// server.listen_unix(&communicator, UnixBind::new(folder.path().join("clacks.sock")).mode(0o600))?;
/// # let stopping = server.clone();
/// # communicator.after(std::time::Duration::ZERO, move |communicator| stopping.stop(communicator));
/// communicator.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Server(Rc<RefCell<Service>>);

/// All that the server's connections share.
struct Service {
    state: State<Id<ClacksLines>>,
    limits: ServerLimits,
    side: Side,
    listeners: Vec<Key>,
    /// The times of this turn, and its number.
    now: (Now, u64),
    cleaning: Option<TimerId>,
    /// For the debug file.
    dumping: Option<TimerId>,
    /// When a client has asked the server to stop, by the loop's clock, and the timer for it.
    shutdown: Option<(Duration, TimerId)>,
    /// Where passwords are compared with hashes, once there was one.
    login_thread: Option<ToThread<Job>>,
    stopping: bool,
    at_end: Option<AtEnd>,
    keeping: Option<Keeping>,
    master: Option<Rc<Master>>,
    /// By how many seconds this server takes its clock to be wrong.
    clock_offset: f64,
}

type AtEnd = Box<dyn FnOnce(&Communicator)>;

/// What the protocol has asked for, to be done when its state is not borrowed any more.
#[derive(Default)]
struct Side {
    shutdown: Option<Duration>,
    /// Logins for the thread.
    logins: Vec<Job>,
    /// Connections that never became clients: those that did not finish a TLS handshake.
    not_established: u64,
    /// Clients turned away because there were too many.
    turned_away: u64,
    /// [`LIST_WAITS`], or the limit of the queues if that is lower.
    list_waits: usize,
    /// How the cache is kept, if it is.
    kept: Option<Kept>,
    /// Something large was dropped, and is to be freed.
    tidy: bool,
    /// Clients that are cut off with output waiting, and how much of it.
    cut: Vec<(Key, usize)>,
    /// Connections that have ended in order and were still to be written to then. Some may be gone.
    lingering: Vec<Key>,
}

impl Side {
    /// Whether a call has asked for something.
    fn asks(&self) -> bool {
        self.tidy || self.shutdown.is_some() || !self.logins.is_empty()
    }

    /// A connection has ended, and is still to be written to.
    fn lingers(&mut self, key: Key, communicator: &Communicator) {
        // Nobody tells when it is gone: those are forgotten when there is no room for one more.
        if self.lingering.len() == self.lingering.capacity() {
            self.lingering.retain(|key| communicator.connection(*key).is_some());
            // At least as many again, so that this is seldom done.
            self.lingering.reserve(self.lingering.len().max(16));
        }
        self.lingering.push(key);
    }
}

impl Server {
    /// Makes a server; it needs somewhere to [listen](Self::listen_unix).
    pub fn start(
        communicator: &Communicator,
        mut settings: Settings,
        limits: ServerLimits,
        users: Users,
        store: Store,
    ) -> Self {
        if settings.node == NodeId::default() {
            settings.node = NodeId(uplink::random());
        }
        let interval = settings.cache_clean_interval;
        let list_waits = LIST_WAITS.min(limits.max_out_buffer);
        let server = Self(Rc::new(RefCell::new(Service {
            state: State::new(settings, users, store),
            limits,
            side: Side { list_waits, ..Side::default() },
            listeners: Vec::new(),
            now: (Now::default(), u64::MAX),
            cleaning: None,
            dumping: None,
            shutdown: None,
            login_thread: None,
            stopping: false,
            at_end: None,
            keeping: None,
            master: None,
            clock_offset: 0.0,
        })));
        server.with(communicator, |state, now, _| state.set_started(now));
        server.clean_every(communicator, interval);
        server
    }

    fn clean_every(&self, communicator: &Communicator, interval: Duration) {
        let cleaning = self.clone();
        let timer = communicator.every(interval, move |communicator| cleaning.clean(communicator));
        self.0.borrow_mut().cleaning = Some(timer);
    }

    /// Adds so many seconds to the time that this server stores, sends and compares with the times of linked ones, to
    /// try what happens when clocks differ.
    pub fn simulate_time_offset(&self, seconds: f64) {
        self.0.borrow_mut().clock_offset = seconds;
    }

    /// Calls `call` when the server has stopped listening, has said goodbye to its clients, while their last bytes may still
    /// be on their way, and has saved its cache, if that is [kept](Self::keep).
    pub fn at_end(&self, call: impl FnOnce(&Communicator) + 'static) {
        self.0.borrow_mut().at_end = Some(Box::new(call));
    }

    /// Stops in order: nobody is accepted any more, socket files go, every client gets an empty line and
    /// `QUIT` and is closed once its output is written, or after ten seconds.
    pub fn stop(&self, communicator: &Communicator) {
        let at_end = {
            let service = &mut *self.0.borrow_mut();
            if std::mem::replace(&mut service.stopping, true) {
                return;
            }
            for listener in service.listeners.drain(..) {
                communicator.remove(listener);
            }
            if let Some(thread) = service.login_thread.take() {
                communicator.remove(thread.key());
            }
            let timers = service.cleaning.take().into_iter().chain(service.dumping.take());
            for timer in timers.chain(service.shutdown.take().map(|(_, timer)| timer)) {
                communicator.cancel(timer);
            }
            if let Some(master) = service.master.take() {
                master.give_up(communicator);
            }
            let Service { state, side, .. } = service;
            for key in std::mem::take(&mut side.lingering) {
                communicator.shorten_linger(key, LAST_WORDS);
            }
            state.disconnect_all(&mut Connections { communicator, side });
            if service.keeping.is_none() { service.at_end.take() } else { None }
        };
        self.finish_keeping(communicator);
        if let Some(at_end) = at_end {
            at_end(communicator);
        }
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        self.0.borrow().state.clients()
    }

    /// Forgets what is old, a share of the cache in each turn.
    fn clean(&self, communicator: &Communicator) {
        let more = self.with(communicator, |state, now, out| state.clean(now, out));
        if more {
            let server = self.clone();
            let timer = communicator.after(Duration::ZERO, move |communicator| server.clean(communicator));
            // Cleaning what is there is no reason to keep a loop that ends.
            if self.0.borrow().stopping {
                communicator.cancel(timer);
            }
        }
    }

    /// Frees what was dropped, a share in each turn.
    fn tidy_soon(&self, communicator: &Communicator) {
        let server = self.clone();
        let timer = communicator.after(Duration::ZERO, move |communicator| {
            if server.0.borrow_mut().state.tidy() {
                server.tidy_soon(communicator);
            }
        });
        // It is no reason to keep a loop that ends.
        if self.0.borrow().stopping {
            communicator.cancel(timer);
        }
    }

    /// Something happens in the protocol's state, and then what it asked for.
    fn with<R>(
        &self,
        communicator: &Communicator,
        call: impl FnOnce(&mut State<Id<ClacksLines>>, Now, &mut Connections<'_>) -> R,
    ) -> R {
        let (result, has_more) = {
            let service = &mut *self.0.borrow_mut();
            let now = service.now(communicator);
            let Service { state, side, .. } = service;
            let result = call(state, now, &mut Connections { communicator, side });
            (result, service.side.asks() || service.must_notice())
        };
        if has_more {
            self.see_to_it(communicator);
        }
        result
    }

    /// Does what was asked for in a call, and can't be done inside.
    #[cold]
    fn see_to_it(&self, communicator: &Communicator) {
        let (shutdown, logins, tidy, must_notice) = {
            let service = &mut *self.0.borrow_mut();
            let side = &mut service.side;
            let tidy = std::mem::take(&mut side.tidy);
            (side.shutdown.take(), std::mem::take(&mut side.logins), tidy, service.must_notice())
        };
        if tidy {
            self.tidy_soon(communicator);
        }
        self.compare(communicator, logins);
        if let Some(after) = shutdown {
            self.stop_in(communicator, after);
        }
        if must_notice {
            self.notice_change(communicator);
        }
    }

    /// Stops in that time, unless an earlier stop is asked for already.
    fn stop_in(&self, communicator: &Communicator, after: Duration) {
        let at = communicator.time().saturating_add(after);
        let asked = self.0.borrow().shutdown;
        if asked.is_some_and(|(asked, _)| asked <= at) {
            return;
        }
        if let Some((_, timer)) = asked {
            communicator.cancel(timer);
        }
        let server = self.clone();
        let timer = communicator.after(after, move |communicator| server.stop(communicator));
        self.0.borrow_mut().shutdown = Some((at, timer));
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

impl Service {
    /// The time, looked at once a turn.
    #[inline]
    fn now(&mut self, communicator: &Communicator) -> Now {
        let turn = communicator.turn_number();
        if self.now.1 != turn {
            self.look_at_clocks(communicator, turn);
        }
        self.now.0
    }

    #[inline(never)]
    fn look_at_clocks(&mut self, communicator: &Communicator, turn: u64) {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let unix = since_1970.as_secs_f64() + self.clock_offset;
        let now = Now { unix, monotonic: communicator.time() };
        self.now = (now, turn);
        self.state.look_at_clocks(now);
    }
}

/// One client.
struct Session {
    server: Server,
    peer: Peer,
    /// None until it is connected, and when it was turned away.
    client: Option<ClientIndex>,
    /// Until it has logged in: what holds the limit of its lines.
    waits_for_login: Option<Rc<Cell<usize>>>,
    /// When it is looked at again.
    check: Option<TimerId>,
    /// Whether its lines are not read.
    is_paused: bool,
    /// It is the connection to the master of this server.
    master: Option<Rc<Master>>,
}

impl Session {
    /// Looks at the client's time limits, and says when to look again.
    fn check(&mut self, cx: &Cx<'_, ClacksLines>) {
        let Some(client) = self.client else { return };
        let again = self.server.with(cx, |state, now, out| {
            state.check(client, now, out).map(|at| at.saturating_sub(now.monotonic))
        });
        if let Some(timer) = self.check.take() {
            cx.cancel(timer);
        }
        if let Some(after) = again {
            self.check = cx.after(after, CHECK);
        }
    }

    /// What waited for a verdict about its login goes on.
    fn go_on(&mut self, cx: &Cx<'_, ClacksLines>) {
        let Some(client) = self.client else { return };
        if self.waits_for_login.is_some() {
            self.trust(client);
        }
        let flow = self.server.0.borrow().state.flow_of(client);
        self.follow(flow, cx);
    }

    /// Once it has logged in, its lines may be as long as the server allows.
    fn trust(&mut self, client: ClientIndex) {
        let service = self.server.0.borrow();
        if service.state.is_logged_in(client)
            && let Some(limit) = self.waits_for_login.take()
        {
            limit.set(service.limits.max_line);
        }
    }

    #[inline]
    fn follow(&mut self, flow: Flow, cx: &Cx<'_, ClacksLines>) {
        if flow != Flow::Open || self.is_paused {
            self.follow_change(flow, cx);
        }
    }

    #[inline(never)]
    fn follow_change(&mut self, flow: Flow, cx: &Cx<'_, ClacksLines>) {
        match flow {
            Flow::Open if self.is_paused => {
                self.is_paused = false;
                cx.read(cx.id(), true);
            }
            Flow::Paused => {
                // It may be read again without our doing, if all had to wait.
                cx.read(cx.id(), false);
                if !std::mem::replace(&mut self.is_paused, true) {
                    // A login may have to be looked at earlier than what was to be before.
                    self.check(cx);
                }
            }
            Flow::Open => {}
            Flow::Closed => cx.close(),
        }
    }

    #[inline]
    fn line(&mut self, client: ClientIndex, line: &[u8], cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        let flow = self.server.with(cx, |state, now, out| state.line(client, line, now, out));
        if self.waits_for_login.is_some() {
            self.trust(client);
        }
        self.follow(flow, cx);
        Ok(())
    }

    #[cold]
    fn is_link(&self, client: ClientIndex) -> bool {
        self.server.0.borrow().state.is_link(client)
    }

    #[cold]
    fn too_long(&self, client: ClientIndex, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        let (is_link, is_known) = {
            let state = &self.server.0.borrow().state;
            (state.is_link(client), state.is_logged_in(client))
        };
        let what = match (is_link, is_known) {
            (true, _) => "than maxline allows, and comes from a linked server, whose maxline must be higher",
            (false, true) => "than maxline allows",
            (false, false) => "than may come before the login",
        };
        log::warn!("connection {}: a line is longer {what}, closed", cx.id());
        self.refuse(TOO_LONG, cx)
    }

    /// Something that is no line of the protocol: says so, and ends the connection.
    fn refuse(&self, reason: &[u8], cx: &Cx<'_, ClacksLines>) -> Result<(), HandlerError> {
        match cx.reply(&[b"OVERHEAD E ", reason]) {
            Ok(()) | Err(SendError::Gone | SendError::Full { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        cx.close();
        Ok(())
    }
}

impl Handler<ClacksLines> for Session {
    fn connected(&mut self, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        let (clients, most, stopping) = {
            let service = self.server.0.borrow();
            (service.state.clients(), service.limits.max_clients, service.stopping)
        };
        if stopping {
            cx.close();
            return Ok(());
        }
        if let Some(master) = &self.master {
            master.connected();
            let (peer, id) = (self.peer, cx.id());
            let client =
                self.server.with(cx, |state, now, out| state.connected_to_master(id, peer, now, out));
            self.client = Some(client);
            self.check(cx);
            return Ok(());
        }
        if clients >= most {
            self.server.0.borrow_mut().side.turned_away += 1;
            log::warn!("a client was turned away: there are {clients} already, as many as maxclients allows");
            return self.refuse(b"too_many_clients", cx);
        }
        let (peer, id) = (self.peer, cx.id());
        self.client = Some(self.server.with(cx, |state, now, out| state.connected(id, peer, now, out)));
        self.check(cx);
        Ok(())
    }

    fn look_ahead(&mut self, input: &[u8], _: &Cx<'_, ClacksLines>) -> usize {
        if self.waits_for_login.is_some() {
            return input.len();
        }
        self.server.0.borrow_mut().state.look_ahead(input)
    }

    fn message(&mut self, line: Line<'_>, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        let Some(client) = self.client else { return Ok(()) };
        match line {
            Line::Line(line) => self.line(client, line, cx),
            // What another server sends may be a line of one of its clients with words before it.
            Line::Over(line) if self.is_link(client) => self.line(client, line, cx),
            Line::Over(_) | Line::TooLong => self.too_long(client, cx),
        }
    }

    fn drained(&mut self, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        let Some(client) = self.client else { return Ok(()) };
        let flow = self.server.with(cx, |state, _, out| state.resume(client, out));
        self.follow(flow, cx);
        Ok(())
    }

    fn timeout(&mut self, what: Timeout, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        match what {
            Timeout::Timer(CHECK) => {
                self.check = None;
                self.check(cx);
                self.go_on(cx);
            }
            Timeout::Timer(VERDICT) => self.go_on(cx),
            Timeout::Timer(RESUME) => self.drained(cx)?,
            _ => {}
        }
        Ok(())
    }

    fn closed(&mut self, why: &Closed, cx: &Cx<'_, ClacksLines>) {
        let key = cx.id().key();
        let waits = || cx.connection(key).map_or(0, |connection| connection.queued);
        {
            let service = &mut *self.server.0.borrow_mut();
            if service.stopping {
                cx.shorten_linger(key, LAST_WORDS);
            } else if waits() > 0 || matches!(self.peer, Peer::Tcp(_)) {
                // TLS may hold what is not queued any more.
                service.side.lingers(key, cx);
            }
        }
        if let Some(master) = &self.master {
            master.lost(why, cx);
        }
        let Some(client) = self.client.take() else {
            if self.master.is_none() && matches!(why, Closed::Connect(_) | Closed::TimedOut(Timeout::Connect))
            {
                log::debug!("{}: never became a client: {why}", self.peer);
                self.server.0.borrow_mut().side.not_established += 1;
            }
            return;
        };
        let unsent = {
            let cut = &mut self.server.0.borrow_mut().side.cut;
            let at = cut.iter().position(|(cut, _)| *cut == key);
            at.map(|at| cut.swap_remove(at).1)
        };
        // What waits for one that ended in order is still being written.
        let unsent = unsent.unwrap_or_else(|| if why.is_orderly() { 0 } else { waits() });
        self.server.with(cx, |state, _, out| state.disconnected(client, unsent, out));
    }
}

/// The server's connections, as the protocol sees them.
struct Connections<'a> {
    communicator: &'a Communicator,
    side: &'a mut Side,
}

impl Output<Id<ClacksLines>> for Connections<'_> {
    #[inline]
    fn send(&mut self, to: Id<ClacksLines>, line: &[&[u8]]) -> bool {
        match self.communicator.send(to, line) {
            Ok(()) | Err(SendError::Gone) => true,
            Err(SendError::Full { .. }) => false,
            Err(error) => {
                // Lines come from lines, which have no line ends: only a name of our own could have one.
                log::error!("connection {to}: a line was not sent: {error}");
                true
            }
        }
    }

    fn fan_out(
        &mut self,
        to: &[Id<ClacksLines>],
        except: Option<Id<ClacksLines>>,
        line: &[&[u8]],
        refused: &mut Vec<usize>,
    ) {
        let others = to.iter().copied().filter(|to| Some(*to) != except);
        match self.communicator.broadcast(others, line) {
            Ok(not_taken) => {
                for (id, error) in not_taken {
                    if matches!(error, SendError::Full { .. }) {
                        refused.extend(to.iter().position(|to| *to == id));
                    }
                }
            }
            Err(error) => log::error!("a line was not sent to {} clients: {error}", to.len()),
        }
    }

    fn close(&mut self, who: Id<ClacksLines>, how: Closing) {
        if how == Closing::Now {
            let waits = self.communicator.queued_bytes(who);
            self.side.cut.push((who.key(), waits));
            self.communicator.set_timeouts(who, Timeouts { linger: Duration::ZERO, ..Timeouts::default() });
        }
        self.communicator.close(who);
    }

    fn has_room(&self, who: Id<ClacksLines>) -> bool {
        self.communicator.queued_bytes(who) < self.side.list_waits
    }

    fn resume_soon(&mut self, who: Id<ClacksLines>) {
        self.communicator.timer(who, Duration::ZERO, RESUME);
    }

    fn tidy_soon(&mut self) {
        self.side.tidy = true;
    }

    fn hold(&mut self, who: Id<ClacksLines>, on: bool) {
        self.communicator.read(who, !on);
    }

    fn traffic(&self, who: Id<ClacksLines>) -> Traffic {
        let Some(connection) = self.communicator.connection(who) else { return Traffic::default() };
        Traffic {
            unsent: connection.queued,
            unread: connection.unread,
            last_queued: connection.last_sent,
            stalled_since: connection.stalled_since,
        }
    }

    fn compare(&mut self, client: ClientIndex, attempt: Attempt) -> Option<bool> {
        self.side.logins.push((client, attempt));
        None
    }

    fn status(&self, each: &mut dyn FnMut(&str, &dyn fmt::Display)) {
        each("not_established", &self.side.not_established);
        each("turned_away", &self.side.turned_away);
        let Some(kept) = &self.side.kept else { return };
        each("saves", &kept.saves);
        each("saves_failed", &kept.failed);
        each("journal_bytes", &kept.journal_bytes);
        each("not_kept", &u8::from(kept.is_in_trouble));
    }

    fn shutdown(&mut self, after: Duration) {
        self.side.shutdown = Some(after);
    }

    fn log(&mut self, event: &Event<'_>) {
        if event.is_normal() {
            log::info!("{event}");
        } else {
            log::warn!("{event}");
        }
    }
}
