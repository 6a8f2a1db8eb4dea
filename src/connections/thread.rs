//! Work on other threads: its result, and messages to and fro, as events of the loop.

use crate::communicator::{
    Closed, Communicator, Driver, HandlerError, HandlerResult, Key, OutQueue, Outcome, Ready, Spent, Timeout,
    Turn, Written,
};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

impl Communicator {
    /// Runs `work`, which may block, on a thread of its own, and `done` with its result in the loop. It keeps the loop
    /// running until then. When the connection is removed, the work goes on and its result is dropped.
    ///
    /// # Errors
    /// `ResourceBusy` when as many work already as may, see [`set_most_threads`]; else when the system gives no thread or
    /// no descriptor.
    ///
    /// ```
    /// let communicator = eventdispatcher::Communicator::new()?;
    /// communicator.thread(
    ///     || (1..=20_u64).product::<u64>(),
    ///     |result, _| assert_eq!(result.unwrap(), 2_432_902_008_176_640_000),
    /// )?;
    /// communicator.run()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn thread<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
        done: impl FnOnce(Result<R, Panicked>, &Communicator) + 'static,
    ) -> io::Result<Key> {
        let place_at_work = Working::begin()?;
        let wake = Wake::new()?;
        let result = Arc::new(Mutex::new(None));
        let (waker, place) = (wake.clone(), result.clone());
        let key = self.add("thread", true, Box::new(Job { wake: Some(wake), result, done: Some(done) }))?;
        let spawned = thread::Builder::new().spawn(move || {
            let worked = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Panicked::from(&*panic));
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(worked);
            drop(place_at_work); // who is told of the result finds it free
            waker.wake();
        });
        match spawned {
            Ok(_) => Ok(key),
            Err(error) => {
                self.remove(key);
                Err(error)
            }
        }
    }

    /// Makes a two-way channel between the loop and a thread, for `bound` messages each way. What the thread sends comes to
    /// `call`. It is a connection: it ends when the thread drops its end, and when it is removed the thread
    /// finds its end closed.
    ///
    /// # Errors
    /// When no descriptor is left.
    ///
    /// ```
    /// use eventdispatcher::{Communicator, FromThread};
    ///
    /// let communicator = Communicator::new()?;
    /// let (to_thread, end) = communicator.channel(16, |event: FromThread<usize>, _| {
    ///     if let FromThread::Message(length) = event {
    ///         assert_eq!(length, 5);
    ///     }
    /// })?;
    /// std::thread::spawn(move || {
    ///     while let Some(word) = end.receive() {
    ///         let word: String = word;
    ///         if end.send(word.len()).is_err() {
    ///             break;
    ///         }
    ///     }
    /// });
    /// to_thread.send("hello".to_owned())?;
    /// to_thread.close(); // the thread finds this behind the word
    /// communicator.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn channel<T: Send + 'static, U: Send + 'static>(
        &self,
        bound: usize,
        call: impl FnMut(FromThread<T>, &Communicator) + 'static,
    ) -> io::Result<(ToThread<U>, ThreadEnd<T, U>)> {
        self.add_channel(bound, Calls(call))
    }

    pub(super) fn add_channel<T: Send + 'static, U: Send + 'static>(
        &self,
        bound: usize,
        receives: impl Receives<T, U>,
    ) -> io::Result<(ToThread<U>, ThreadEnd<T, U>)> {
        let (wake, bound) = (Wake::new()?, bound.max(1));
        let (to_loop, from_thread) = sync_channel(bound);
        let (to_thread, from_loop) = sync_channel(bound);
        let to_thread = Rc::new(RefCell::new(Some(to_thread)));
        let driver = Channel {
            wake: Some(wake.clone()),
            from_thread: Some(from_thread),
            to_thread: to_thread.clone(),
            bound,
            receives: Some(receives),
            begun: false,
        };
        let key = self.add("channel", true, Box::new(driver))?;
        self.core(|core| core.make_ready(key, Ready::INPUT)); // that it is there
        let end = ThreadEnd { to_loop: Some(to_loop), from_loop, wake: wake.clone() };
        Ok((ToThread { key, to_thread, wake, bound }, end))
    }
}

/// Who gets what comes through a [channel](Communicator::channel). An error ends it.
pub(super) trait Receives<T, U>: 'static {
    /// Before everything else.
    fn connected(&mut self, _: &ToThread<U>, _: &Communicator) -> HandlerResult {
        Ok(())
    }
    fn event(&mut self, event: FromThread<T>, to: &ToThread<U>, communicator: &Communicator)
    -> HandlerResult;
    /// One of its own timers is over, or its deadline.
    fn timeout(&mut self, _: Timeout, _: &ToThread<U>, _: &Communicator) -> HandlerResult {
        Ok(())
    }
    /// After everything else.
    fn closed(&mut self, _: &Closed, _: &ToThread<U>, _: &Communicator) {}
}

struct Calls<F>(F);

impl<T, U, F: FnMut(FromThread<T>, &Communicator) + 'static> Receives<T, U> for Calls<F> {
    fn event(&mut self, event: FromThread<T>, _: &ToThread<U>, communicator: &Communicator) -> HandlerResult {
        (self.0)(event, communicator);
        Ok(())
    }
}

/// Sets how many threads of [`Communicator::thread`] may work at once in the whole process, from now on; 256 unless set.
///
/// Work that never ends, such as a look-up at a server that does not answer, would else fill the machine with threads.
pub fn set_most_threads(most: usize) {
    MOST.store(most, Ordering::Relaxed);
}

static MOST: AtomicUsize = AtomicUsize::new(256);
static WORKING: AtomicUsize = AtomicUsize::new(0);

/// A place among the threads that work.
struct Working;

impl Working {
    fn begin() -> io::Result<Self> {
        let most = MOST.load(Ordering::Relaxed);
        let one_more = |working: usize| (working < most).then_some(working + 1);
        match WORKING.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Self),
            Err(_) => {
                let text = format!("{most} threads work already, which is the limit");
                Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
            }
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        WORKING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The work of a thread has panicked; what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panicked(String);

impl From<&(dyn std::any::Any + Send)> for Panicked {
    fn from(panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Self(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into()))
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the thread panicked: {}", self.0)
    }
}

impl std::error::Error for Panicked {}

/// How a thread wakes the poll, without a limit that could make it fail.
#[derive(Debug, Clone)]
struct Wake(Arc<Waking>);

#[derive(Debug)]
struct Waking {
    event: EventFd,
    /// It has been woken and has not looked yet.
    pending: AtomicBool,
    /// The loop was refused for want of room, and waits.
    refused: AtomicBool,
}

impl Wake {
    fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self(Arc::new(Waking { event, pending: AtomicBool::new(false), refused: AtomicBool::new(false) })))
    }

    fn wake(&self) {
        if !self.0.pending.swap(true, Ordering::AcqRel) {
            let _ = self.0.event.write(1); // fails only at 2⁶⁴ wakings that nobody has seen
        }
    }

    /// Before looking, so that what comes from now on wakes again.
    fn seen(&self) {
        let _ = self.0.event.read();
        self.0.pending.swap(false, Ordering::AcqRel);
    }

    fn descriptor(&self) -> RawFd {
        self.0.event.as_fd().as_raw_fd()
    }
}

impl Source for Wake {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.descriptor()).register(registry, token, interest)
    }
    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.descriptor()).reregister(registry, token, interest)
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.descriptor()).deregister(registry)
    }
}

/// A thread that runs one piece of work.
struct Job<R, F> {
    wake: Option<Wake>,
    result: Arc<Mutex<Option<Result<R, Panicked>>>>,
    done: Option<F>,
}

impl<R, F: FnOnce(Result<R, Panicked>, &Communicator)> Driver for Job<R, F> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.wake.as_mut().map(|wake| wake as &mut dyn Source)
    }

    fn ready(&mut self, turn: &Turn<'_>) -> Outcome {
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(result) = result else { return Outcome::Wait };
        if let Some(done) = self.done.take() {
            done(result, turn.communicator);
        }
        Outcome::End(Closed::Eof)
    }

    fn write(&mut self, _: &mut OutQueue, _: usize) -> io::Result<Written> {
        Ok(Written::default())
    }

    fn closed(&mut self, _: Closed, _: &Turn<'_>) {
        self.done = None;
    }

    fn release(&mut self) {
        self.wake = None;
    }
}

/// What a thread's end of a [channel](Communicator::channel) tells the loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromThread<T> {
    /// It has sent this.
    Message(T),
    /// It has taken something, after [`ToThread::send`] was refused for want of room.
    Room,
    /// It has dropped its end: the last event.
    Ended,
}

/// The loop's end of a [channel](Communicator::channel): for sending. What comes back comes to the closure.
pub struct ToThread<U> {
    key: Key,
    to_thread: Rc<RefCell<Option<SyncSender<U>>>>,
    wake: Wake,
    bound: usize,
}

impl<U> ToThread<U> {
    /// The connection, to remove it, to give it a priority, to switch it off.
    pub fn key(&self) -> Key {
        self.key
    }

    /// How many messages it holds each way.
    pub fn bound(&self) -> usize {
        self.bound
    }

    /// Sends a message, without waiting.
    ///
    /// # Errors
    /// When the thread's end or the connection is gone, or as many wait as the channel may hold: then comes
    /// [`FromThread::Room`]. The message comes back.
    pub fn send(&self, message: U) -> Result<(), ToThreadError<U>> {
        let place = self.to_thread.borrow();
        let Some(to_thread) = &*place else { return Err(ToThreadError::Gone(message)) };
        match to_thread.try_send(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(message)) => Err(ToThreadError::Gone(message)),
            Err(TrySendError::Full(message)) => {
                self.wake.0.refused.store(true, Ordering::SeqCst);
                // The thread may have taken everything just now, and sleep.
                match to_thread.try_send(message) {
                    Ok(()) => Ok(()),
                    Err(TrySendError::Full(message)) => Err(ToThreadError::Full(message)),
                    Err(TrySendError::Disconnected(message)) => Err(ToThreadError::Gone(message)),
                }
            }
        }
    }

    /// Ends this direction: the thread finds the end behind what was sent. What it sends still comes.
    pub fn close(&self) {
        self.to_thread.borrow_mut().take();
    }
}

impl<U> Clone for ToThread<U> {
    fn clone(&self) -> Self {
        let Self { key, to_thread, wake, bound } = self;
        Self { key: *key, to_thread: to_thread.clone(), wake: wake.clone(), bound: *bound }
    }
}

impl<U> fmt::Debug for ToThread<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToThread({})", self.key)
    }
}

/// Why a message to a thread was not taken; here it is again.
#[derive(Clone, PartialEq, Eq)]
pub enum ToThreadError<U> {
    /// The channel is full.
    Full(U),
    /// The thread's end, or the connection, is no more.
    Gone(U),
}

impl<U> fmt::Debug for ToThreadError<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full",
            Self::Gone(_) => "Gone",
        })
    }
}

impl<U> fmt::Display for ToThreadError<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the channel to the thread is full",
            Self::Gone(_) => "the other end of the channel to the thread is gone",
        })
    }
}

impl<U> std::error::Error for ToThreadError<U> {}

/// The thread's end of a [channel](Communicator::channel).
pub struct ThreadEnd<T, U> {
    to_loop: Option<SyncSender<T>>,
    from_loop: Receiver<U>,
    wake: Wake,
}

impl<T, U> ThreadEnd<T, U> {
    /// Sends a message to the loop; waits while the channel is full.
    ///
    /// # Errors
    /// When the connection is gone. The message comes back.
    pub fn send(&self, message: T) -> Result<(), T> {
        let Some(to_loop) = &self.to_loop else { return Err(message) };
        to_loop.send(message).map_err(|refused| refused.0)?;
        self.wake.wake();
        Ok(())
    }

    /// Waits for the next message of the loop. `None`: there will be none, the loop has closed its direction or the
    /// connection is gone.
    pub fn receive(&self) -> Option<U> {
        let message = self.from_loop.recv().ok();
        self.took();
        message
    }

    /// As [`receive`](Self::receive), for at most `timeout`: `Ok(None)` when that is over.
    ///
    /// # Errors
    /// When there will be none.
    pub fn receive_within(&self, timeout: Duration) -> Result<Option<U>, ChannelEnded> {
        match self.from_loop.recv_timeout(timeout) {
            Ok(message) => {
                self.took();
                Ok(Some(message))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(ChannelEnded),
        }
    }

    /// A message of the loop if there is one.
    ///
    /// # Errors
    /// When there will be none.
    pub fn try_receive(&self) -> Result<Option<U>, ChannelEnded> {
        self.receive_within(Duration::ZERO)
    }

    /// There is room again: whom was it refused?
    fn took(&self) {
        if self.wake.0.refused.load(Ordering::SeqCst) {
            self.wake.wake();
        }
    }
}

/// The loop finds the end behind everything that was sent.
impl<T, U> Drop for ThreadEnd<T, U> {
    fn drop(&mut self) {
        self.to_loop = None;
        self.wake.wake();
    }
}

impl<T, U> fmt::Debug for ThreadEnd<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ThreadEnd")
    }
}

/// The loop has closed its direction of a channel, or the connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelEnded;

impl fmt::Display for ChannelEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the loop has ended the channel")
    }
}

impl std::error::Error for ChannelEnded {}

/// The loop's side of a channel.
struct Channel<T, U, R> {
    wake: Option<Wake>,
    from_thread: Option<Receiver<T>>,
    to_thread: Rc<RefCell<Option<SyncSender<U>>>>,
    bound: usize,
    receives: Option<R>,
    /// `connected` was called.
    begun: bool,
}

impl<T, U, R: Receives<T, U>> Channel<T, U, R> {
    fn to_thread(&self, key: Key) -> Option<ToThread<U>> {
        let wake = self.wake.clone()?;
        Some(ToThread { key, to_thread: self.to_thread.clone(), wake, bound: self.bound })
    }

    /// What comes from the thread.
    fn read(&mut self, turn: &Turn<'_>, to: &ToThread<U>) -> Result<Outcome, HandlerError> {
        let Self { from_thread: Some(from_thread), receives: Some(receives), begun, .. } = self else {
            return Ok(Outcome::Wait);
        };
        let communicator = turn.communicator;
        to.wake.seen();
        let mut spent = Spent::nothing(&turn.settings);
        if !std::mem::replace(begun, true) {
            receives.connected(to, communicator)?;
        }
        if communicator.core(|core| core.may_call(turn.key))
            && to.wake.0.refused.swap(false, Ordering::SeqCst)
        {
            receives.event(FromThread::Room, to, communicator)?;
            spent.callback();
        }
        loop {
            if !communicator.core(|core| core.may_read(turn.key)) || spent.all() {
                return Ok(Outcome::Again);
            }
            match from_thread.try_recv() {
                Ok(message) => {
                    communicator.core(|core| core.received(turn.key, 0, 1));
                    receives.event(FromThread::Message(message), to, communicator)?;
                }
                Err(TryRecvError::Empty) => return Ok(Outcome::Wait),
                Err(TryRecvError::Disconnected) => {
                    receives.event(FromThread::Ended, to, communicator)?;
                    return Ok(Outcome::End(Closed::Eof));
                }
            }
            spent.callback();
        }
    }

    /// Its own timers, and its deadline.
    fn later(&mut self, turn: &Turn<'_>, to: &ToThread<U>) -> HandlerResult {
        let Some(receives) = &mut self.receives else { return Ok(()) };
        let communicator = turn.communicator;
        let may_call = || communicator.core(|core| core.may_call(turn.key));
        let mut left = turn.ready.only(Ready::DEADLINE);
        if left.has(Ready::DEADLINE) && may_call() {
            left = Ready::default();
            if communicator.core(|core| core.still_over(turn.key, Timeout::Deadline)) {
                receives.timeout(Timeout::Deadline, to, communicator)?;
            }
        }
        let mut due = turn.due;
        while let [timer, rest @ ..] = due
            && may_call()
        {
            due = rest;
            if let Some(tag) = communicator.core(|core| core.take_timer(turn.key, *timer)) {
                receives.timeout(Timeout::Timer(tag), to, communicator)?;
            }
        }
        if !due.is_empty() {
            left.add(Ready::TIMERS);
        }
        if !left.is_empty() {
            communicator.core(|core| core.put_back(turn.key, left, due));
        }
        Ok(())
    }
}

impl<T: 'static, U: 'static, R: Receives<T, U>> Driver for Channel<T, U, R> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.wake.as_mut().map(|wake| wake as &mut dyn Source)
    }

    fn ready(&mut self, turn: &Turn<'_>) -> Outcome {
        let Some(to) = self.to_thread(turn.key) else { return Outcome::Wait };
        let done = self.read(turn, &to).and_then(|outcome| {
            if !matches!(outcome, Outcome::End(_)) {
                self.later(turn, &to)?;
            }
            Ok(outcome)
        });
        done.unwrap_or_else(|error| Outcome::End(Closed::Handler(error)))
    }

    fn write(&mut self, _: &mut OutQueue, _: usize) -> io::Result<Written> {
        Ok(Written::default())
    }

    fn closed(&mut self, why: Closed, turn: &Turn<'_>) {
        if let (Some(mut receives), Some(to)) = (self.receives.take(), self.to_thread(turn.key)) {
            receives.closed(&why, &to, turn.communicator);
        }
    }

    /// The thread finds its end closed.
    fn release(&mut self) {
        (self.wake, self.from_thread) = (None, None);
        self.to_thread.borrow_mut().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn the_result_of_a_thread_comes_in_the_loop_and_ends_it() {
        let communicator = Communicator::new().unwrap();
        let here = thread::current().id();
        let got = Rc::new(Cell::new(0));
        let noted = got.clone();
        communicator
            .thread(
                move || (thread::current().id() != here, 42),
                move |result, communicator| {
                    let (elsewhere, answer) = result.unwrap();
                    assert!(elsewhere && thread::current().id() == here);
                    assert_eq!(communicator.len(), 1);
                    noted.set(answer);
                },
            )
            .unwrap();
        communicator.run().unwrap();
        assert_eq!(got.get(), 42);
    }

    #[test]
    fn a_panic_in_a_thread_is_an_error_with_its_text() {
        for (owned, text) in [(false, "the thread panicked: plain"), (true, "the thread panicked: number 7")]
        {
            let communicator = Communicator::new().unwrap();
            let seen = Rc::new(RefCell::new(String::new()));
            let noted = seen.clone();
            communicator
                .thread(
                    move || {
                        if owned {
                            panic!("number {}", 7);
                        }
                        panic!("plain")
                    },
                    move |result: Result<(), Panicked>, _| {
                        *noted.borrow_mut() = result.unwrap_err().to_string()
                    },
                )
                .unwrap();
            communicator.run().unwrap();
            assert_eq!(*seen.borrow(), text);
        }
    }

    #[test]
    fn a_thread_whose_connection_was_removed_works_on_and_nobody_is_called() {
        let communicator = Communicator::new().unwrap();
        for gentle in [false, true] {
            let (go, wait) = sync_channel::<()>(0);
            let (tell, told) = sync_channel(1);
            let key = communicator
                .thread(
                    move || {
                        let _ = wait.recv();
                        tell.send(()).unwrap();
                    },
                    |_, _| panic!("called though it was removed"),
                )
                .unwrap();
            if gentle {
                assert!(communicator.close(key));
                communicator.run().unwrap();
            } else {
                assert!(communicator.remove(key));
            }
            assert!(communicator.is_empty());
            drop(go);
            told.recv().unwrap();
        }
    }

    #[test]
    fn a_disabled_one_keeps_the_result_until_it_is_enabled() {
        let communicator = Communicator::new().unwrap();
        let done = Rc::new(Cell::new(false));
        let (tell, told) = sync_channel(1);
        let noted = done.clone();
        let key = communicator.thread(move || tell.send(()).unwrap(), move |_, _| noted.set(true)).unwrap();
        communicator.enable(key, false);
        told.recv().unwrap();
        for _ in 0..10 {
            communicator.turn(Some(Duration::ZERO)).unwrap();
        }
        assert!(!done.get() && communicator.is_alive(key));
        communicator.enable(key, true);
        communicator.run().unwrap();
        assert!(done.get());
    }

    #[test]
    fn everything_arrives_in_order_both_ways_through_a_small_channel() {
        const COUNT: u32 = 10_000;
        let communicator = Communicator::new().unwrap();
        let next = Rc::new(Cell::new(0));
        let (sent, got, rooms) = (Rc::new(Cell::new(0)), next.clone(), Rc::new(Cell::new(0)));
        let sender: Rc<RefCell<Option<ToThread<u32>>>> = Rc::default();
        let (fill, roomy) = (sender.clone(), rooms.clone());
        let send = move || {
            let place = fill.borrow();
            let to_thread = place.as_ref().unwrap();
            while sent.get() < COUNT {
                match to_thread.send(sent.get()) {
                    Ok(()) => sent.set(sent.get() + 1),
                    Err(ToThreadError::Full(same)) => return assert_eq!(same, sent.get()),
                    Err(ToThreadError::Gone(_)) => panic!("gone at {}", sent.get()),
                }
            }
            to_thread.close();
        };
        let refill = send.clone();
        let (to_thread, end) = communicator
            .channel(3, move |event, _| match event {
                FromThread::Message(number) => {
                    assert_eq!(number, got.get());
                    got.set(number + 1);
                }
                FromThread::Room => {
                    roomy.set(roomy.get() + 1);
                    refill();
                }
                FromThread::Ended => {}
            })
            .unwrap();
        *sender.borrow_mut() = Some(to_thread);
        let echo = thread::spawn(move || {
            let mut count = 0;
            while let Some(number) = end.receive() {
                end.send(number).unwrap();
                count += 1;
            }
            count
        });
        communicator.after(Duration::ZERO, move |_| send());
        communicator.run().unwrap();
        assert_eq!((next.get(), echo.join().unwrap()), (COUNT, COUNT));
        assert!(rooms.get() > 0);
    }

    #[test]
    fn a_channel_that_is_removed_lets_its_thread_go() {
        let communicator = Communicator::new().unwrap();
        let (to_thread, end) = communicator.channel::<(), ()>(1, |_, _| panic!("called")).unwrap();
        let waiting = thread::spawn(move || (end.receive(), end.send(()), end.try_receive()));
        assert!(communicator.remove(to_thread.key()));
        assert_eq!(waiting.join().unwrap(), (None, Err(()), Err(ChannelEnded)));
        assert_eq!(to_thread.send(()), Err(ToThreadError::Gone(())));
    }

    #[test]
    fn a_channel_whose_loop_is_gone_lets_its_thread_go() {
        let communicator = Communicator::new().unwrap();
        let (to_thread, end) = communicator.channel::<(), ()>(1, |_, _| panic!("called")).unwrap();
        let waiting = thread::spawn(move || (end.receive_within(Duration::from_secs(20)), end.send(())));
        drop(communicator);
        assert_eq!(waiting.join().unwrap(), (Err(ChannelEnded), Err(())));
        assert_eq!(to_thread.send(()), Err(ToThreadError::Gone(())));
    }

    #[test]
    fn a_channel_ends_behind_the_last_message_of_its_thread() {
        let communicator = Communicator::new().unwrap();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let noted = seen.clone();
        let (to_thread, end) =
            communicator.channel::<u8, ()>(8, move |event, _| noted.borrow_mut().push(event)).unwrap();
        thread::spawn(move || (1..4).for_each(|number| end.send(number).unwrap())).join().unwrap();
        communicator.run().unwrap();
        let expected = [1, 2, 3].map(FromThread::Message).into_iter().chain([FromThread::Ended]);
        assert!(seen.borrow().iter().cloned().eq(expected), "{seen:?}");
        assert_eq!(to_thread.send(()), Err(ToThreadError::Gone(())));
    }
}
