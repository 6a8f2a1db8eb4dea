//! The communicator: a handle to the loop of this thread.

use super::core::{Core, Queued, Who};
use super::driver::Driver;
use super::error::{Closed, SendError};
use super::hooks::Hooks;
use super::key::{Id, Key, TimerId};
use super::lack::Lack;
use super::listing::ConnectionInfo;
use super::output::is_wide;
use super::permanent::{Keep, Reconnect, random_seed};
use super::rate::Rates;
use super::remote::{Inbox, Remote};
use super::settings::{Budget, Limits, Timeouts};
use super::slot::{Phase, Settings};
use super::turn::{CLEARINGS, catch};
use super::wall_clock::{self, WallClock};
use crate::codec::Codec;
use mio::{Events, Interest, Poll, Registry, Token};
use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant, SystemTime};

/// What one call to the poll brings at most.
const EVENTS: usize = 1024;
/// What one read brings at most.
pub(crate) const CHUNK: usize = 256 << 10;
/// A buffer for encoding that has grown beyond this is not kept.
const SCRATCH: usize = 1 << 20;

/// To as many an item goes in one borrow of the core.
const BROADCAST: usize = 16;

/// Tokens with this generation are the loop's own.
pub(super) const WAKER: Token = Token(usize::MAX);
pub(super) const WALL: Token = Token(usize::MAX - 1);

pub(super) type TimerCall = Box<dyn FnMut(&Communicator)>;

/// What is to be dropped when no callback runs.
pub(super) enum Corpse {
    Driver(#[allow(dead_code, reason = "held to be dropped")] Box<dyn Driver>),
    Timer(#[allow(dead_code, reason = "held to be dropped")] TimerCall),
    Other(#[allow(dead_code, reason = "held to be dropped")] Box<dyn Any>),
}

pub(super) struct Shared {
    core: RefCell<Core<Box<dyn Driver>, TimerCall>>,
    pub(super) poll: RefCell<(Poll, Events)>,
    pub(super) registry: Registry,
    start: Instant,
    /// For encoding.
    scratch: Cell<Vec<u8>>,
    /// For reading.
    chunk: Cell<Vec<u8>>,
    /// For those who are called, and written for, in a turn.
    pub(super) turn: Cell<Vec<(u8, Who)>>,
    pub(super) dirty: Cell<Vec<Key>>,
    pub(super) inbox: OnceCell<Inbox>,
    pub(super) wall: RefCell<Option<WallClock>>,
    pub(super) lack: Cell<Lack>,
    /// A turn runs.
    pub(super) turning: Cell<bool>,
    /// Somebody's code runs.
    pub(super) calling: Cell<bool>,
    pub(super) graveyard: RefCell<VecDeque<Corpse>>,
    pub(super) hooks: RefCell<Hooks>,
}

/// What is still inside is dropped piece by piece: two destructors that panic in one go would abort the process.
impl Drop for Shared {
    fn drop(&mut self) {
        let (mut drivers, calls, others) = self.core.get_mut().take_all();
        // Others may hold a part of a connection: the sender to a thread, the name of a process that is to be killed.
        for driver in &mut drivers {
            if catch(|| driver.release()).is_err() {
                log::error!("a connection panicked when it was closed");
            }
        }
        let calls = calls.into_iter().chain(self.hooks.get_mut().take());
        let posts = self.inbox.get().map(Inbox::take_all).unwrap_or_default();
        let others = others.into_iter().chain(posts.into_iter().map(|post| Box::new(post) as Box<dyn Any>));
        let corpses = drivers.into_iter().map(Corpse::Driver).chain(calls.map(Corpse::Timer));
        let corpses = corpses.chain(others.map(Corpse::Other));
        for corpse in corpses.chain(self.graveyard.take()) {
            if catch(|| drop(corpse)).is_err() {
                log::error!("the destructor of a handler panicked");
            }
        }
    }
}

/// A handle to the loop: cheap to clone, for one thread.
///
/// [`communicator`] hands out this thread's; [`Communicator::new`] makes another, for tests. See the
/// [module](mod@crate::communicator) for the contract: what is called when, and in which order.
#[derive(Clone)]
pub struct Communicator(pub(super) Rc<Shared>);

// Never destroyed: else a handler whose `Drop` asks for the communicator while the thread ends
// would find the thread-local gone, panic inside a destructor, and abort the process. It is emptied when the thread ends.
thread_local! {
    static INSTANCE: ManuallyDrop<RefCell<Option<Communicator>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
    static END: End = const { End };
}

/// Lets go of a thread's communicator, with all that is in it, when the thread ends.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        // Destructors may ask for a communicator again, and get another one; not for ever.
        for _ in 0..CLEARINGS {
            let Some(last) = INSTANCE.with(|instance| instance.borrow().clone()) else { return };
            if last.0.calling.get() || last.0.turning.get() {
                return; // the process exits from inside a callback
            }
            let emptied = catch(|| last.empty());
            INSTANCE.with(|instance| drop(instance.take()));
            if emptied.is_err() {
                return;
            }
        }
    }
}

/// The communicator of this thread, made at the first call.
///
/// # Panics
/// When the system has no descriptor left for a poll. [`Communicator::new`] gives an error instead.
pub fn communicator() -> Communicator {
    let there = INSTANCE.with(|instance| instance.borrow().clone());
    there.unwrap_or_else(|| {
        let made = Communicator::new().expect("the system gives no poll");
        INSTANCE.with(|instance| instance.replace(Some(made.clone())));
        // At the very end of the thread there is nobody left to let go of it.
        let _ = END.try_with(|_| ());
        made
    })
}

/// # Making one
impl Communicator {
    /// Another communicator than this thread's.
    ///
    /// # Errors
    /// When the system gives no poll.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        Ok(Self(Rc::new(Shared {
            core: RefCell::new(Core::new()),
            poll: RefCell::new((poll, Events::with_capacity(EVENTS))),
            registry,
            start: Instant::now(),
            scratch: Cell::default(),
            chunk: Cell::default(),
            turn: Cell::default(),
            dirty: Cell::default(),
            inbox: OnceCell::new(),
            wall: RefCell::default(),
            lack: Cell::default(),
            turning: Cell::new(false),
            calling: Cell::new(false),
            graveyard: RefCell::default(),
            hooks: RefCell::default(),
        })))
    }

    /// The only place that borrows the core. `call` gets no handle, so it can't come back here.
    #[inline]
    pub(crate) fn core<R>(&self, call: impl FnOnce(&mut Core<Box<dyn Driver>, TimerCall>) -> R) -> R {
        call(&mut self.0.core.borrow_mut())
    }

    /// Nanoseconds of the loop's clock, now.
    pub(crate) fn clock(&self) -> u64 {
        self.clock_at(Instant::now())
    }

    fn clock_at(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.0.start).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }
}

/// # Connections
///
/// How each kind is added stands beside the kind, in [`connections`](crate::connections).
impl Communicator {
    /// Adds a connection. `established`: nothing has to happen before it can be called.
    pub(crate) fn add(
        &self,
        kind: &'static str,
        established: bool,
        mut driver: Box<dyn Driver>,
    ) -> io::Result<Key> {
        let now = self.clock();
        let phase = if established { Phase::Open } else { Phase::Connecting };
        let key = self.core(|core| core.insert(kind, phase, now));
        // The source is somebody's code: when it panics, no empty slot may stay behind.
        let registered = catch_unwind(AssertUnwindSafe(|| {
            let wants_write = driver.wants_write();
            if let Some(source) = driver.source() {
                self.0.registry.register(source, key.token(), interest(wants_write))?;
            }
            Ok(wants_write)
        }));
        let wants_write = match registered {
            Ok(Ok(wants_write)) => wants_write,
            failed => {
                let _ = self.core(|core| core.remove(key));
                self.discard(driver, false);
                return failed.unwrap_or_else(|panic| resume_unwind(panic)).map(|_: bool| key);
            }
        };
        log::debug!("connection {key} ({kind}): added");
        if let Some(driver) = self.core(|core| core.place(key, driver, wants_write)) {
            self.discard(driver, true);
        }
        Ok(key)
    }

    /// Adds a permanent connection, which has no source yet.
    pub(crate) fn add_permanent(
        &self,
        kind: &'static str,
        reconnect: Reconnect,
        driver: Box<dyn Driver>,
    ) -> Key {
        let now = self.clock();
        let key = self.core(|core| core.insert_permanent(kind, reconnect, random_seed(), now));
        log::debug!("connection {key} ({kind}): added, permanent");
        if let Some(driver) = self.core(|core| core.place(key, driver, false)) {
            self.discard(driver, false);
        }
        key
    }

    /// Takes a connection away at once: no callback, what was queued is lost. `false`: there was none.
    ///
    /// See [`close`](Self::close) for the gentle way.
    pub fn remove(&self, key: impl Into<Key>) -> bool {
        let key = key.into();
        let found = self.core(|core| core.any(key).is_some());
        if let Some(driver) = self.core(|core| core.remove(key)) {
            self.discard(driver, true);
        }
        if found {
            log::debug!("connection {key}: removed");
            self.trace_rest();
        }
        found
    }

    /// Closes a connection: nothing more is read, its id finds nothing any more, its handler gets one last call,
    /// [`Handler::closed`](crate::Handler::closed) with [`Closed::Local`], in its turn; what is queued is
    /// written in the background, for at most [`Timeouts::linger`] and as long as the other side takes it
    /// ([`Timeouts::linger_stalled`]), and lost if it is still connecting. Until then it counts for [`run`](Self::run).
    /// `false`: there was none.
    pub fn close(&self, key: impl Into<Key>) -> bool {
        self.end(key.into(), Closed::Local)
    }

    pub(crate) fn end(&self, key: Key, why: Closed) -> bool {
        let closed = self.core(|core| core.close(key, why));
        let found = closed.is_ok();
        self.put_down(closed.err());
        found
    }

    /// Closes every connection and cancels every timer: the loop ends when all output is written.
    pub fn close_all(&self) {
        for key in self.core(|core| core.keys()) {
            self.close(key);
        }
        for timer in self.core(|core| core.timer_ids()) {
            self.cancel(timer);
        }
    }

    /// Ends the direction from here to the other side once what is queued is written; reading goes on.
    /// [`send`](Self::send) answers [`SendError::Gone`] from now on. `false`: there was none.
    pub fn shutdown_write(&self, key: impl Into<Key>) -> bool {
        self.core(|core| core.finish(key.into()))
    }

    /// Switches a connection on or off. While it is off it gets no callback, nothing is read, and its
    /// timeouts wait; what happens is kept and comes when it is on again. Queued output is written all the same.
    /// `false`: there was none.
    pub fn enable(&self, key: impl Into<Key>, on: bool) -> bool {
        self.look_at_the_clock();
        self.core(|core| core.set_enabled(key.into(), on))
    }

    /// Whether a connection is there and [enabled](Self::enable).
    pub fn is_enabled(&self, key: impl Into<Key>) -> bool {
        self.core(|core| core.open(key.into()).is_some_and(|slot| slot.enabled))
    }

    /// Stops or starts reading only: the way to push back against a sender. Timeouts and
    /// [`drained`](crate::Handler::drained) still come. What the other side sent before it failed or hung up is kept for when it reads
    /// again, and so a write that fails ends the connection only behind that: set [`Timeouts`] for one that may never read
    /// again. `false`: there was none.
    pub fn read(&self, key: impl Into<Key>, on: bool) -> bool {
        self.core(|core| core.set_reading(key.into(), on))
    }

    /// Sets who is called first in a turn: 0 … 255, the lowest first; 100 is the default. From the next turn on.
    /// `false`: there was none.
    pub fn set_priority(&self, key: impl Into<Key>, priority: u8) -> bool {
        self.core(|core| core.set_priority(key.into(), priority))
    }

    /// The priority of a connection.
    pub fn priority(&self, key: impl Into<Key>) -> Option<u8> {
        self.core(|core| core.open(key.into()).map(|slot| slot.priority))
    }

    /// Names a connection, for logs and [`connections`](Self::connections). `false`: there was none.
    pub fn set_name(&self, key: impl Into<Key>, name: &str) -> bool {
        self.with_slot(key, |slot| slot.rest.name = Some(name.into()))
    }

    /// The name of a connection; empty if it has none.
    pub fn name(&self, key: impl Into<Key>) -> Option<Rc<str>> {
        self.core(|core| core.open(key.into()).map(|slot| slot.rest.name.clone().unwrap_or_default()))
    }

    /// Sets how much may wait. `false`: there was none.
    pub fn set_limits(&self, key: impl Into<Key>, limits: Limits) -> bool {
        self.with_settings(key, |settings| settings.limits = limits)
    }

    /// Sets how much may be done in one turn. `false`: there was none.
    pub fn set_budget(&self, key: impl Into<Key>, budget: Budget) -> bool {
        self.with_settings(key, |settings| settings.budget = budget)
    }

    /// Sets how fast it may be. What has to wait by an old rate is looked at anew. `false`: there was none.
    pub fn set_rates(&self, key: impl Into<Key>, rates: Rates) -> bool {
        self.look_at_the_clock();
        self.core(|core| core.set_rates(key.into(), rates))
    }

    /// Sets the timeouts. They run from what happened last, not from now. `false`: there was none.
    pub fn set_timeouts(&self, key: impl Into<Key>, timeouts: Timeouts) -> bool {
        let key = key.into();
        let found = self.with_settings(key, |settings| settings.timeouts = timeouts);
        self.core(|core| core.guard(key));
        found
    }

    /// Gives one that was closed, and still writes what is queued, no more time for that than this, from now on. `false`: there was
    /// none.
    pub fn shorten_linger(&self, key: impl Into<Key>, most: Duration) -> bool {
        self.look_at_the_clock();
        self.core(|core| core.shorten_linger(key.into(), nanos(most)))
    }

    /// Sets the moment at which [`Handler::timeout`](crate::Handler::timeout) is called with
    /// [`Timeout::Deadline`](crate::Timeout::Deadline), whatever happens until then; `None` for never. `false`: there was none.
    pub fn set_deadline(&self, key: impl Into<Key>, deadline: Option<Instant>) -> bool {
        let key = key.into();
        let at = deadline.map(|deadline| self.clock_at(deadline));
        self.core(|core| core.set_deadline(key, at))
    }

    fn with_slot(
        &self,
        key: impl Into<Key>,
        change: impl FnOnce(&mut super::slot::Slot<Box<dyn Driver>>),
    ) -> bool {
        self.core(|core| core.open(key.into()).map(change).is_some())
    }

    fn with_settings(&self, key: impl Into<Key>, change: impl FnOnce(&mut Settings)) -> bool {
        self.with_slot(key, |slot| change(Rc::make_mut(&mut slot.settings)))
    }

    /// Whether there is a connection of this name that was neither closed nor removed.
    pub fn is_alive(&self, key: impl Into<Key>) -> bool {
        self.core(|core| core.open(key.into()).is_some())
    }

    /// How many connections there are, those that only write their last bytes included.
    pub fn len(&self) -> usize {
        self.core(|core| core.live())
    }

    /// Whether nothing keeps the loop running: neither a connection nor a timer.
    pub fn is_empty(&self) -> bool {
        self.core(|core| core.live() + core.calls() == 0)
    }

    /// All connections, in no particular order.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.core(|core| {
            let keys = core.keys();
            keys.into_iter().filter_map(|key| Some(ConnectionInfo::of(key, core.slot(key)?))).collect()
        })
    }

    /// What is known of one connection, also of one that only writes its last bytes.
    pub fn connection(&self, key: impl Into<Key>) -> Option<ConnectionInfo> {
        let key = key.into();
        self.core(|core| core.slot(key).map(|slot| ConnectionInfo::of(key, slot)))
    }

    /// What the transport of an established connection tells of itself, if it is a `T`.
    pub fn about<T: Any>(&self, key: impl Into<Key>) -> Option<Rc<T>> {
        self.core(|core| core.any(key.into()).and_then(|slot| slot.rest.about.clone()))?.downcast().ok()
    }

    /// Says, at trace level, why the loop still runs.
    pub(super) fn trace_rest(&self) {
        if log::log_enabled!(log::Level::Trace) {
            let timers = self.core(|core| core.calls());
            let names: Vec<String> = self.connections().iter().take(20).map(ToString::to_string).collect();
            log::trace!("still here: {} connections, {timers} timers: {}", self.len(), names.join(", "));
        }
    }
}

/// # Sending
impl Communicator {
    /// Queues an item on a connection, which may be the one that is being called. It is written at the end of
    /// the turn, together with what else was queued, or at once when there is much.
    ///
    /// # Errors
    /// When the connection is gone or closing, its queue is full, or the codec can't express the item; nothing
    /// is queued then.
    pub fn send<C: Codec>(&self, id: Id<C>, item: C::Out<'_>) -> Result<(), SendError> {
        self.encoded::<C>(item, |bytes| self.send_buffer(id.key(), bytes, None))
    }

    /// As [`send`](Self::send), for an item that a permanent connection keeps, or not, whatever its
    /// [default](Reconnect::keep) is.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::Away`].
    pub fn send_kept<C: Codec>(&self, id: Id<C>, item: C::Out<'_>, keep: Keep) -> Result<(), SendError> {
        self.encoded::<C>(item, |bytes| self.send_buffer(id.key(), bytes, Some(keep)))
    }

    /// Queues an item on an established [permanent](Self::permanent) connection before everything that waits for it, behind what
    /// was queued in this way before: to log in, to register. An item of which the other side has taken a part already goes out
    /// whole before it. It belongs to the transport that there is: it is neither kept for the next one nor sent twice.
    ///
    /// # Errors
    /// As [`send`](Self::send), [`SendError::Away`] when the connection is not established, and [`SendError::NotPermanent`].
    pub fn greet<C: Codec>(&self, id: Id<C>, item: C::Out<'_>) -> Result<(), SendError> {
        self.encoded::<C>(item, |bytes| self.core(|core| core.greet(id.key(), bytes)))
    }

    fn encoded<C: Codec>(
        &self,
        item: C::Out<'_>,
        send: impl FnOnce(&mut Vec<u8>) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        // A nested `send` from inside `encode` finds another, empty one.
        let mut bytes = self.0.scratch.take();
        if bytes.capacity() == 0 {
            bytes = self.core(|core| core.take_spare());
        }
        let sent = match C::encode(item, &mut bytes) {
            Ok(()) => send(&mut bytes),
            Err(error) => Err(SendError::Encode(error)),
        };
        self.give_scratch(bytes);
        sent
    }

    /// Queues one item on many connections. It is encoded once; a large one is kept once for all of them. Gives back those
    /// that did not take it, with the reason.
    ///
    /// # Errors
    /// When the codec can't express the item; nothing is queued then.
    pub fn broadcast<C: Codec>(
        &self,
        ids: impl IntoIterator<Item = Id<C>>,
        item: C::Out<'_>,
    ) -> Result<Vec<(Id<C>, SendError)>, SendError> {
        let mut bytes = self.0.scratch.take();
        let encoded = C::encode(item, &mut bytes);
        if let Err(error) = encoded {
            self.give_scratch(bytes);
            return Err(SendError::Encode(error));
        }
        let mut refused = Vec::new();
        let mut ids = ids.into_iter();
        if bytes.len() >= super::output::SHARE_FROM {
            let shared = Rc::new(self.kept(&mut bytes));
            self.give_scratch(bytes);
            for id in ids {
                let queued = self.core(|core| core.queue_shared(id.key(), &shared, None));
                self.queued(id, queued, &mut refused);
            }
            return Ok(refused);
        }
        // One borrow for many, but for those whose queue is so long that it is written on the spot. The iterator is
        // somebody's code: it runs outside.
        while let Some(first) = ids.next() {
            let (mut some, mut count) = ([first; BROADCAST], 1);
            for (place, id) in some[1..].iter_mut().zip(ids.by_ref()) {
                *place = id;
                count += 1;
            }
            let mut keys = some[..count].iter().map(|id| id.key());
            while let Some((key, queued)) = self.core(|core| core.queue_on_all(&mut keys, &bytes)) {
                self.queued(Id::new(key), queued, &mut refused);
            }
        }
        self.give_scratch(bytes);
        Ok(refused)
    }

    fn queued<C>(&self, id: Id<C>, queued: Result<Queued, SendError>, refused: &mut Vec<(Id<C>, SendError)>) {
        match queued {
            Ok(Queued::Later) => {}
            Ok(Queued::Now) => self.write(id.key()),
            Err(error) => refused.push((id, error)),
        }
    }

    /// As [`send_bytes`](Self::send_bytes), but a large item is not copied again: the queue takes the buffer.
    #[inline]
    fn send_buffer(&self, key: Key, bytes: &mut Vec<u8>, keep: Option<Keep>) -> Result<(), SendError> {
        if bytes.len() < super::output::SHARE_FROM {
            return self.send_bytes(key, bytes, keep);
        }
        let shared = Rc::new(self.kept(bytes));
        if self.core(|core| core.queue_shared(key, &shared, keep))? == Queued::Now {
            drop(shared);
            self.write(key);
        }
        Ok(())
    }

    /// The same buffer, unless it is too large to be kept for what is in it.
    fn kept(&self, bytes: &mut Vec<u8>) -> Vec<u8> {
        if is_wide(bytes.capacity(), bytes.len()) {
            self.core(|core| core.copy(bytes))
        } else {
            std::mem::take(bytes)
        }
    }

    /// Queues bytes that are encoded already.
    pub(crate) fn send_bytes(&self, key: Key, bytes: &[u8], keep: Option<Keep>) -> Result<(), SendError> {
        if self.core(|core| core.queue(key, bytes, keep))? == Queued::Now {
            self.write(key);
        }
        Ok(())
    }

    fn give_scratch(&self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= SCRATCH {
            bytes.clear();
            self.0.scratch.set(bytes);
        }
    }

    /// How many bytes of output wait; 0 if there is no such connection.
    pub fn queued_bytes(&self, key: impl Into<Key>) -> usize {
        self.core(|core| core.open(key.into()).map_or(0, |slot| slot.rest.out.len()))
    }

    /// The buffer that everybody reads into. It is the running connection's until it comes back.
    pub(crate) fn take_chunk(&self) -> Vec<u8> {
        let mut chunk = self.0.chunk.take();
        chunk.resize(CHUNK, 0);
        chunk
    }

    pub(crate) fn give_chunk(&self, chunk: Vec<u8>) {
        self.0.chunk.set(chunk);
    }
}

/// # Time
///
/// Timers follow the monotonic clock, in steps of a millisecond, and are never early. Each keeps the loop running until
/// it has fired or is cancelled.
impl Communicator {
    /// Calls `call` once, in `after`.
    pub fn after(&self, after: Duration, call: impl FnOnce(&Communicator) + 'static) -> TimerId {
        self.once(self.clock().saturating_add(nanos(after)), call)
    }

    /// Calls `call` once, at `instant`, or in the next turn if that is over. For who has the time already: [`after`](Self::after) must look
    /// at the clock first.
    pub fn at_instant(&self, instant: Instant, call: impl FnOnce(&Communicator) + 'static) -> TimerId {
        self.once(self.clock_at(instant), call)
    }

    fn once(&self, at: u64, call: impl FnOnce(&Communicator) + 'static) -> TimerId {
        let mut call = Some(call);
        let call = Box::new(move |communicator: &Communicator| {
            if let Some(call) = call.take() {
                call(communicator);
            }
        });
        self.core(|core| core.add_timer(at, None, call))
    }

    /// Calls `call` each `period`, on a grid that begins one period from now: a late call does not move the next one,
    /// and calls that were missed are skipped. A period of 0 is each turn.
    pub fn every(&self, period: Duration, call: impl FnMut(&Communicator) + 'static) -> TimerId {
        let period = nanos(period);
        let at = self.clock().saturating_add(period);
        self.core(|core| core.add_timer(at, Some(period), Box::new(call)))
    }

    /// Calls `call` once, when the wall clock shows `date` or later; at once if it does now. Follows the
    /// clock when it is set, without looking at it.
    ///
    /// # Errors
    /// When the system gives no timer that follows the clock.
    pub fn at(&self, date: SystemTime, call: impl FnOnce(&Communicator) + 'static) -> io::Result<TimerId> {
        self.need_wall_clock()?;
        let mut call = Some(call);
        let call = Box::new(move |communicator: &Communicator| {
            if let Some(call) = call.take() {
                call(communicator);
            }
        });
        let timer = self.core(|core| core.add_date(wall_clock::nanos(date), call));
        if let Err(error) = self.arm_wall_clock() {
            self.cancel(timer);
            return Err(error);
        }
        Ok(timer)
    }

    /// Calls [`Handler::timeout`](crate::Handler::timeout) of a connection with [`Timeout::Timer`](crate::Timeout::Timer)`(tag)`,
    /// once, in `after`. A connection may have any number; they go with it. `None`: there is no such connection.
    pub fn timer(&self, key: impl Into<Key>, after: Duration, tag: u64) -> Option<TimerId> {
        let at = self.clock().saturating_add(nanos(after));
        self.core(|core| core.add_tagged(key.into(), at, tag))
    }

    /// As [`timer`](Self::timer), but at `instant`, or in the next turn if that is over. For who has the time already.
    pub fn timer_at_instant(&self, key: impl Into<Key>, instant: Instant, tag: u64) -> Option<TimerId> {
        let at = self.clock_at(instant);
        self.core(|core| core.add_tagged(key.into(), at, tag))
    }

    /// As [`timer`](Self::timer), but when the wall clock shows `date` or later, as [`at`](Self::at) does.
    ///
    /// # Errors
    /// When the system gives no timer that follows the clock.
    pub fn timer_at(&self, key: impl Into<Key>, date: SystemTime, tag: u64) -> io::Result<Option<TimerId>> {
        self.need_wall_clock()?;
        let timer = self.core(|core| core.add_tagged_date(key.into(), wall_clock::nanos(date), tag));
        match (self.arm_wall_clock(), timer) {
            (Err(error), Some(timer)) => {
                self.cancel(timer);
                Err(error)
            }
            (armed, timer) => armed.map(|()| timer),
        }
    }

    fn need_wall_clock(&self) -> io::Result<()> {
        let mut wall = self.0.wall.borrow_mut();
        if wall.is_none() {
            *wall = Some(WallClock::new(&self.0.registry, WALL)?);
        }
        Ok(())
    }

    /// Cancels a timer, its own one included. It is not called any more, even if it is due in this very turn.
    /// `false`: there was none.
    pub fn cancel(&self, timer: TimerId) -> bool {
        let cancelled = self.core(|core| core.cancel(timer));
        let is_some = cancelled.is_some();
        if let Some(Some(call)) = cancelled {
            self.let_go_of(call);
        }
        is_some
    }

    /// Moves a timer that follows the monotonic clock to `after` from now, for less than it costs to make another one. What it
    /// calls, its priority and its tag stay; one that repeats goes on from there with its period. It is not called before that, even if
    /// it was due in this very turn. `false`: there is none, it runs for the last time, or it follows the wall clock.
    pub fn rearm(&self, timer: TimerId, after: Duration) -> bool {
        let at = self.clock().saturating_add(nanos(after));
        self.core(|core| core.rearm(timer, at))
    }

    /// As [`rearm`](Self::rearm), but to `instant`, or to the next turn if that is over.
    pub fn rearm_at(&self, timer: TimerId, instant: Instant) -> bool {
        let at = self.clock_at(instant);
        self.core(|core| core.rearm(timer, at))
    }

    /// Whether a timer is set, or about to be called.
    pub fn is_set(&self, timer: TimerId) -> bool {
        self.core(|core| core.timer_is_set(timer))
    }

    /// Sets the priority of a timer made by [`after`](Self::after), [`every`](Self::every) or [`at`](Self::at): 0 … 255,
    /// the lowest first; 100 is the default. A connection's own timers have the connection's. `false`: there was none.
    pub fn set_timer_priority(&self, timer: TimerId, priority: u8) -> bool {
        self.core(|core| core.set_timer_priority(timer, priority))
    }
}

/// # The clock
impl Communicator {
    /// The loop's own clock: since the communicator was made, as of the beginning of this turn, so that it costs next
    /// to nothing and all callbacks of a turn agree. It never jumps.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.core(|core| core.now))
    }

    /// How many turns there were: to see whether something computed in an earlier callback is still of this turn.
    pub fn turn_number(&self) -> u64 {
        self.core(|core| core.turns)
    }
}

/// # Other threads, other loops
impl Communicator {
    /// A handle for other threads.
    ///
    /// # Errors
    /// When the system gives no descriptor for waking the poll.
    pub fn remote(&self) -> io::Result<Remote> {
        if self.0.inbox.get().is_none() {
            let waker = mio::Waker::new(&self.0.registry, WAKER)?;
            let _ = self.0.inbox.set(Inbox::new(waker));
        }
        self.0.inbox.get().map(Inbox::remote).ok_or_else(|| io::Error::other("no inbox"))
    }

    /// How long another loop that watches the [descriptor](AsFd) may wait before it must call
    /// [`turn`](Self::turn): `None` for as long as the descriptor says nothing.
    pub fn wait_hint(&self) -> Option<Duration> {
        let (ready, deadline) = self.core(|core| (core.has_ready(), core.next_deadline()));
        if ready {
            return Some(Duration::ZERO);
        }
        deadline.map(|at| Duration::from_nanos(at.saturating_sub(self.clock())))
    }
}

/// The poll's descriptor: it can be read when [`Communicator::turn`] has something to do. Beside it
/// stands [`Communicator::wait_hint`].
impl AsFd for Communicator {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.registry.as_fd()
    }
}

/// For what a connection holds that is older than its communicator: a handle of its own would keep that alive for ever.
#[derive(Clone)]
pub(crate) struct WeakCommunicator(Weak<Shared>);

impl WeakCommunicator {
    pub(crate) fn get(&self) -> Option<Communicator> {
        self.0.upgrade().map(Communicator)
    }
}

impl Communicator {
    pub(crate) fn downgrade(&self) -> WeakCommunicator {
        WeakCommunicator(Rc::downgrade(&self.0))
    }
}

impl fmt::Debug for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Communicator({} connections)", self.len())
    }
}

/// What the poll is asked for. Of urgent data it must tell, too: a TCP socket reads only up to them at a time.
pub(crate) fn interest(write: bool) -> Interest {
    let read = Interest::READABLE | Interest::PRIORITY;
    if write { read | Interest::WRITABLE } else { read }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
