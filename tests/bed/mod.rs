//! What the tests of the loop share: the loop with a deadline, handlers that write down what happens to them, and sockets
//! of the standard library as the other side.

#![allow(dead_code, reason = "each file of tests uses its part")]

use eventdispatcher::codec::Codec;
use eventdispatcher::{
    Closed, Communicator, Cx, Handler, HandlerResult, Id, Timeout, tcp_stream, unix_stream,
};
use std::cell::RefCell;
use std::fmt::{Debug, Write as _};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What should happen happens long before; a test that waits so long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

// ---- the loop ------------------------------------------------------------------------------------------

/// Turns until `done`, which is asked between the turns and may look at sockets.
#[track_caller]
pub(crate) fn until(communicator: &Communicator, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "it did not come: {:#?}", communicator.connections());
        communicator.turn(Some(Duration::from_millis(5))).unwrap();
    }
}

/// Turns until nothing is left.
#[track_caller]
pub(crate) fn until_empty(communicator: &Communicator) {
    until(communicator, || communicator.is_empty());
}

/// Turns as long as there is something to do without waiting. What a Unix peer or this thread has done is seen; for
/// TCP and other threads see [`until`].
#[track_caller]
pub(crate) fn settle(communicator: &Communicator) {
    let end = Instant::now() + DEADLINE;
    // What a turn writes may wake the poll once more.
    let mut idle = 0;
    while idle < 3 {
        assert!(Instant::now() < end, "it does not come to rest: {:#?}", communicator.connections());
        turn(communicator);
        idle = if communicator.wait_hint() == Some(Duration::ZERO) { 0 } else { idle + 1 };
    }
}

/// One turn, without waiting.
#[track_caller]
pub(crate) fn turn(communicator: &Communicator) {
    communicator.turn(Some(Duration::ZERO)).unwrap();
}

/// Lets time pass: in a loop of its own.
pub(crate) fn pass(time: Duration) {
    let clock = Communicator::new().unwrap();
    clock.after(time, |_| ());
    clock.run().unwrap();
}

/// [`Communicator::run`] itself, stopped from another thread when it takes too long.
#[track_caller]
pub(crate) fn run(communicator: &Communicator) {
    let remote = communicator.remote().unwrap();
    let (over, is_over) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let late = is_over.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            let _ = remote.post(Communicator::stop);
        }
        late
    });
    communicator.run().unwrap();
    drop(over);
    assert!(!watch.join().unwrap(), "the loop did not end");
}

// ---- what happened -------------------------------------------------------------------------------------

/// What happened, in order. All clones are one.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub(crate) fn say(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }

    pub(crate) fn has(&self, what: &str) -> bool {
        self.0.borrow().iter().any(|line| line == what)
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.0.borrow().iter().filter(|line| *line == what).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    pub(crate) fn take(&self) -> Vec<String> {
        self.0.take()
    }

    /// A handler that writes here whatever is called, with its name in front.
    pub(crate) fn probe<C: Codec>(&self, name: &str) -> Probe<C> {
        Probe {
            log: self.clone(),
            name: name.to_string(),
            quiet: false,
            on_connected: None,
            on_message: None,
            on_drained: None,
            on_timeout: None,
            on_eof: None,
            on_closed: None,
        }
    }

    /// Says so when it is dropped.
    pub(crate) fn dropped(&self, name: &str) -> Dropped {
        Dropped { log: self.clone(), name: name.to_string() }
    }
}

pub(crate) struct Dropped {
    log: Log,
    name: String,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.log.say(format!("{} dropped", self.name));
    }
}

type OnMessage<C> = Box<dyn for<'a, 'c> FnMut(<C as Codec>::In<'a>, &Cx<'c, C>) -> HandlerResult>;
type OnCall<C> = Box<dyn for<'c> FnMut(&Cx<'c, C>) -> HandlerResult>;
type OnTimeout<C> = Box<dyn for<'c> FnMut(Timeout, &Cx<'c, C>) -> HandlerResult>;
type OnClosed<C> = Box<dyn for<'c> FnMut(&Closed, &Cx<'c, C>)>;

/// A handler that writes down what is called, and then does what it was told to, if anything. What it was not
/// told goes as in any handler.
pub(crate) struct Probe<C: Codec> {
    log: Log,
    name: String,
    quiet: bool,
    on_connected: Option<OnCall<C>>,
    on_message: Option<OnMessage<C>>,
    on_drained: Option<OnCall<C>>,
    on_timeout: Option<OnTimeout<C>>,
    on_eof: Option<OnCall<C>>,
    on_closed: Option<OnClosed<C>>,
}

impl<C: Codec> Probe<C> {
    /// Does not write down items.
    pub(crate) fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    pub(crate) fn on_connected(mut self, call: impl FnMut(&Cx<'_, C>) -> HandlerResult + 'static) -> Self {
        self.on_connected = Some(Box::new(call));
        self
    }

    pub(crate) fn on_message(
        mut self,
        call: impl FnMut(C::In<'_>, &Cx<'_, C>) -> HandlerResult + 'static,
    ) -> Self {
        self.on_message = Some(Box::new(call));
        self
    }

    pub(crate) fn on_drained(mut self, call: impl FnMut(&Cx<'_, C>) -> HandlerResult + 'static) -> Self {
        self.on_drained = Some(Box::new(call));
        self
    }

    pub(crate) fn on_timeout(
        mut self,
        call: impl FnMut(Timeout, &Cx<'_, C>) -> HandlerResult + 'static,
    ) -> Self {
        self.on_timeout = Some(Box::new(call));
        self
    }

    pub(crate) fn on_eof(mut self, call: impl FnMut(&Cx<'_, C>) -> HandlerResult + 'static) -> Self {
        self.on_eof = Some(Box::new(call));
        self
    }

    pub(crate) fn on_closed(mut self, call: impl FnMut(&Closed, &Cx<'_, C>) + 'static) -> Self {
        self.on_closed = Some(Box::new(call));
        self
    }

    fn say(&self, what: &str) {
        self.log.say(if self.name.is_empty() { what.to_string() } else { format!("{} {what}", self.name) });
    }
}

/// A handler with nothing but what every handler has.
struct Plain;

impl<C: Codec> Handler<C> for Plain {
    fn message(&mut self, _: C::In<'_>, _: &Cx<'_, C>) -> HandlerResult {
        Ok(())
    }
}

impl<C: Codec> Handler<C> for Probe<C>
where
    for<'a> C::In<'a>: Debug,
{
    fn connected(&mut self, cx: &Cx<'_, C>) -> HandlerResult {
        self.say("connected");
        self.on_connected.as_mut().map_or(Ok(()), |call| call(cx))
    }

    fn message(&mut self, item: C::In<'_>, cx: &Cx<'_, C>) -> HandlerResult {
        if !self.quiet {
            self.say(&format!("{item:?}"));
        }
        self.on_message.as_mut().map_or(Ok(()), |call| call(item, cx))
    }

    fn drained(&mut self, cx: &Cx<'_, C>) -> HandlerResult {
        self.say("drained");
        self.on_drained.as_mut().map_or(Ok(()), |call| call(cx))
    }

    fn timeout(&mut self, what: Timeout, cx: &Cx<'_, C>) -> HandlerResult {
        self.say(&format!("{what:?}"));
        self.on_timeout
            .as_mut()
            .map_or_else(|| Handler::<C>::timeout(&mut Plain, what, cx), |call| call(what, cx))
    }

    fn eof(&mut self, cx: &Cx<'_, C>) -> HandlerResult {
        self.say("eof");
        self.on_eof.as_mut().map_or_else(|| Handler::<C>::eof(&mut Plain, cx), |call| call(cx))
    }

    fn closed(&mut self, why: &Closed, cx: &Cx<'_, C>) {
        self.say(&format!("closed: {}", reason(why)));
        if let Some(call) = &mut self.on_closed {
            call(why, cx);
        }
    }
}

/// The variant, and what it holds as far as it is the same on every run.
pub(crate) fn reason(why: &Closed) -> String {
    match why {
        Closed::Connect(error) => format!("Connect({:?})", error.kind()),
        Closed::Io(error) => format!("Io({:?})", error.kind()),
        Closed::Decode(error) => format!("Decode({error:?})"),
        Closed::Handler(error) => format!("Handler({error})"),
        other => format!("{other:?}"),
    }
}

/// What a panic in a callback must not hide: fails when the log is not as expected.
#[track_caller]
pub(crate) fn assert_log(log: &Log, expected: &[&str]) {
    let found = log.take();
    if found != expected {
        let mut text = String::new();
        for at in 0..found.len().max(expected.len()) {
            let (found, expected) = (found.get(at).map_or("", |line| line), expected.get(at).unwrap_or(&""));
            let mark = if found == *expected { ' ' } else { '!' };
            let _ = writeln!(text, "{mark} {found:<50} {expected}");
        }
        panic!("what happened, and what should have:\n{text}");
    }
}

// ---- the other side -----------------------------------------------------------------------------------

/// A Unix stream in the loop, and its other end, which blocks.
#[track_caller]
pub(crate) fn unix<C: Codec>(
    communicator: &Communicator,
    codec: C,
    handler: impl Handler<C>,
) -> (Id<C>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(DEADLINE)).unwrap();
    theirs.set_write_timeout(Some(DEADLINE)).unwrap();
    (communicator.stream(unix_stream(ours).unwrap(), codec, handler).unwrap(), theirs)
}

/// A TCP stream in the loop, and its other end, which blocks.
#[track_caller]
pub(crate) fn tcp<C: Codec>(
    communicator: &Communicator,
    codec: C,
    handler: impl Handler<C>,
) -> (Id<C>, TcpStream) {
    let (ours, theirs) = tcp_pair();
    (communicator.stream(tcp_stream(ours).unwrap(), codec, handler).unwrap(), theirs)
}

/// Two connected TCP streams; the second has timeouts.
#[track_caller]
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    theirs.set_read_timeout(Some(DEADLINE)).unwrap();
    theirs.set_write_timeout(Some(DEADLINE)).unwrap();
    theirs.set_nodelay(true).unwrap();
    (listener.accept().unwrap().0, theirs)
}

/// Turns until `bytes` bytes have come out at the other side.
#[track_caller]
pub(crate) fn receive(communicator: &Communicator, from: &mut impl Peer, bytes: usize) -> Vec<u8> {
    let mut got = Vec::new();
    from.block(false);
    until(communicator, || {
        read_some(from, &mut got, bytes);
        got.len() >= bytes
    });
    from.block(true);
    got
}

/// Turns until the other side has read everything to the end.
#[track_caller]
pub(crate) fn receive_all(communicator: &Communicator, from: &mut impl Peer) -> Vec<u8> {
    let mut got = Vec::new();
    from.block(false);
    until(communicator, || read_some(from, &mut got, usize::MAX));
    from.block(true);
    got
}

/// What is there without waiting, up to `most` in all. Whether the end was reached.
fn read_some(from: &mut impl Read, got: &mut Vec<u8>, most: usize) -> bool {
    let mut chunk = [0; 16 << 10];
    while got.len() < most {
        let want = chunk.len().min(most - got.len());
        match from.read(&mut chunk[..want]) {
            Ok(0) => return true,
            Ok(count) => got.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            // A pause of the machine may interrupt a read that has a time limit.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("the other side can't read: {error}"),
        }
    }
    false
}

/// Waits for the next byte, or the end. Whether it is the end.
#[track_caller]
pub(crate) fn has_ended(peer: &mut impl Read) -> bool {
    loop {
        match peer.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read.expect("the other side can read") == 0,
        }
    }
}

/// The other side.
pub(crate) trait Peer: Read + Write + Send + 'static {
    /// Whether it waits.
    fn block(&self, on: bool);

    /// Ends its direction.
    fn end(&self);
}

impl Peer for UnixStream {
    fn block(&self, on: bool) {
        self.set_nonblocking(!on).unwrap();
    }
    fn end(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Peer for TcpStream {
    fn block(&self, on: bool) {
        self.set_nonblocking(!on).unwrap();
    }
    fn end(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Peer for Box<dyn Peer> {
    fn block(&self, on: bool) {
        (**self).block(on);
    }
    fn end(&self) {
        (**self).end();
    }
}
