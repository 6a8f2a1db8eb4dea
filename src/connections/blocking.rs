//! A stream without a loop: one call at a time, each with a time limit.

use super::transport::Transport;
use crate::codec::{Codec, DecodeError, Decoded, EncodeError};
use crate::communicator::{OutQueue, Spares};
use mio::{Events, Interest, Poll, Token};
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

const CHUNK: usize = 64 << 10;

/// Who wants to wait for longer waits as long as this: a point in time has bounds.
pub(super) const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Any codec over any transport, for tools and scripts that need no loop: the same transports, the same codecs.
///
/// ```
/// use eventdispatcher::{Blocking, codec::Lines};
/// use std::time::Duration;
///
/// let (ours, theirs) = eventdispatcher::unix_pair()?;
/// let soon = Duration::from_secs(5);
/// let mut a = Blocking::new(ours, Lines::new())?;
/// let mut b = Blocking::new(theirs, Lines::new())?;
/// a.send("hello", soon)?;
/// assert_eq!(b.receive(soon, str::to_owned)?, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Blocking<T, C> {
    transport: T,
    codec: C,
    established: bool,
    held: Vec<u8>,
    /// How much of `held` was used.
    used: usize,
    input_max: usize,
    out: OutQueue,
    spares: Spares,
    poll: Poll,
    events: Events,
}

impl<T: Transport, C: Codec> Blocking<T, C> {
    /// Takes a transport, which may still be connecting.
    ///
    /// # Errors
    /// When the system gives no poll.
    pub fn new(mut transport: T, codec: C) -> io::Result<Self> {
        let poll = Poll::new()?;
        if let Some(source) = transport.source() {
            poll.registry().register(source, Token(0), Interest::READABLE | Interest::WRITABLE)?;
        }
        Ok(Self {
            transport,
            codec,
            established: false,
            held: Vec::new(),
            used: 0,
            input_max: crate::Limits::default().input,
            out: OutQueue::default(),
            spares: Spares::default(),
            poll,
            events: Events::with_capacity(4),
        })
    }

    /// Sets how much input may be buffered without making an item, in bytes; 16 MiB unless set.
    pub fn set_input_max(&mut self, bytes: usize) {
        self.input_max = bytes;
    }

    /// Queues an item, to be written by the next [`flush`](Self::flush), [`send`](Self::send) or
    /// [`receive`](Self::receive).
    ///
    /// # Errors
    /// When the codec can't express it.
    pub fn queue(&mut self, item: C::Out<'_>) -> Result<(), BlockingError> {
        let mut bytes = self.spares.take();
        let encoded = C::encode(item, &mut bytes).map_err(BlockingError::Encode);
        if encoded.is_ok() {
            self.out.push(&bytes, &mut self.spares);
        }
        self.spares.give(bytes);
        encoded
    }

    /// Queues an item and writes all that is queued.
    ///
    /// # Errors
    /// As [`queue`](Self::queue) and [`flush`](Self::flush).
    pub fn send(&mut self, item: C::Out<'_>, timeout: Duration) -> Result<(), BlockingError> {
        self.queue(item)?;
        self.flush(timeout)
    }

    /// Writes all that is queued. What comes meanwhile is read, so that two that only send do not wait for each other.
    ///
    /// # Errors
    /// When that takes longer than `timeout` or the connection fails.
    pub fn flush(&mut self, timeout: Duration) -> Result<(), BlockingError> {
        let end = Instant::now() + timeout.min(LONGEST);
        loop {
            if self.write()? {
                return Ok(());
            }
            if self.held.len() - self.used >= self.input_max {
                self.wait(end)?;
                continue;
            }
            match self.read() {
                Ok(true) if Instant::now() < end => {}
                Ok(true) => return Err(BlockingError::TimedOut),
                // The answers are for `receive` to deliver; what can't be written shows when writing.
                Ok(false) | Err(BlockingError::Closed) => self.wait(end)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes all that is queued, waits for one item and hands it to `take`: also the last one, where the codec has items
    /// that end with the stream.
    ///
    /// # Errors
    /// When that takes longer than `timeout`, the other side has ended the stream, or it fails.
    pub fn receive<R>(
        &mut self,
        timeout: Duration,
        take: impl FnOnce(C::In<'_>) -> R,
    ) -> Result<R, BlockingError> {
        let end = Instant::now() + timeout.min(LONGEST);
        let mut take = Some(take);
        let mut late = false;
        loop {
            while self.used < self.held.len() {
                let Self { codec, held, used, .. } = self;
                let (took, result) = match codec.decode(&held[*used..]).map_err(BlockingError::Decode)? {
                    Decoded::Item(_, 0) | Decoded::Skip(0) => {
                        return Err(BlockingError::Decode(DecodeError::invalid(
                            "the codec takes no bytes",
                            0,
                        )));
                    }
                    Decoded::Item(item, took) => (took, take.take().map(|take| take(item))),
                    Decoded::Skip(took) => (took, None),
                    Decoded::More => break,
                };
                self.consume(took);
                if let Some(result) = result {
                    return Ok(result);
                }
            }
            if self.held.len() - self.used >= self.input_max {
                return Err(BlockingError::Decode(DecodeError::TooLong { limit: self.input_max }));
            }
            if late {
                return Err(BlockingError::TimedOut); // what comes makes no item
            }
            let wrote = self.write();
            match self.read() {
                Ok(true) => {
                    late = Instant::now() >= end;
                    continue;
                }
                // What was read before is delivered first; only then a failed write counts.
                Ok(false) => wrote.map(drop)?,
                Err(BlockingError::Closed) => return self.receive_last(take),
                Err(error) => return Err(error),
            }
            self.wait(end)?;
        }
    }

    /// The item that ends with the stream, if there is one.
    fn receive_last<R>(&mut self, take: Option<impl FnOnce(C::In<'_>) -> R>) -> Result<R, BlockingError> {
        self.held.drain(..std::mem::take(&mut self.used));
        let rest = std::mem::take(&mut self.held);
        if rest.is_empty() {
            return Err(BlockingError::Closed);
        }
        let last = self.codec.finish(&rest).map_err(BlockingError::Decode)?;
        last.zip(take).map(|(item, take)| take(item)).ok_or(BlockingError::Closed)
    }

    /// Goes on with a layer around the transport: TLS in mid-stream. What is queued is written before, without the layer.
    ///
    /// # Errors
    /// As [`flush`](Self::flush) and `layer`; and when input is there already that would seem to have come through
    /// the layer: anybody on the way may have put it there. The connection is closed then.
    pub fn upgrade<U: Transport>(
        mut self,
        timeout: Duration,
        layer: impl FnOnce(T) -> io::Result<U>,
    ) -> Result<Blocking<U, C>, BlockingError> {
        self.flush(timeout)?;
        let left = self.held.len() - self.used;
        if left > 0 {
            let text = format!("{left} bytes of input stand before the layer, where none may be");
            return Err(BlockingError::Io(io::Error::new(ErrorKind::InvalidData, text)));
        }
        // The source is registered already, and stays so inside the layer.
        Ok(Blocking {
            transport: layer(self.transport).map_err(BlockingError::Io)?,
            codec: self.codec,
            established: false,
            held: self.held,
            used: self.used,
            input_max: self.input_max,
            out: self.out,
            spares: self.spares,
            poll: self.poll,
            events: self.events,
        })
    }

    /// Ends the stream in order: writes all that is queued, ends the own direction, and waits for the other side to end
    /// its own; what comes meanwhile is dropped. A TCP stream that is just dropped while input is unread takes back what
    /// has not arrived yet, and with TLS there may be such input though the other side has said nothing.
    ///
    /// ```
    /// use eventdispatcher::{Blocking, codec::Lines};
    /// use std::time::Duration;
    ///
    /// let (ours, theirs) = eventdispatcher::unix_pair()?;
    /// let soon = Duration::from_secs(5);
    /// let reader = std::thread::spawn(move || {
    ///     let mut reader = Blocking::new(theirs, Lines::new()).unwrap();
    ///     reader.send("a greeting that nobody waits for", soon)?;
    ///     reader.receive(soon, str::to_owned)
    /// });
    /// let mut writer = Blocking::new(ours, Lines::new())?;
    /// writer.queue("last words")?;
    /// writer.finish(soon)?;
    /// assert_eq!(reader.join().unwrap()?, "last words");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When that takes longer than `timeout`, or the connection fails. With [`TimedOut`](BlockingError::TimedOut) all may have been
    /// written, and the other side only keeps its direction open.
    pub fn finish(mut self, timeout: Duration) -> Result<(), BlockingError> {
        let end = Instant::now() + timeout.min(LONGEST);
        self.flush(timeout)?;
        self.transport.shutdown_write().map_err(BlockingError::Io)?;
        loop {
            self.held.clear();
            self.used = 0;
            match self.read() {
                Ok(true) if Instant::now() < end => {}
                Ok(true) => return Err(BlockingError::TimedOut),
                Ok(false) => self.wait(end)?,
                Err(BlockingError::Closed) => return Ok(()),
                Err(error) => return Err(error),
            }
            match self.transport.flush() {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(BlockingError::Io(error)),
                _ => {}
            }
        }
    }

    /// The transport, for what it can do beyond.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    fn consume(&mut self, used: usize) {
        self.used += used;
        if self.used >= self.held.len() {
            self.held.clear();
            self.used = 0;
        }
    }

    /// Whether all is written.
    fn write(&mut self) -> Result<bool, BlockingError> {
        if !self.established {
            match self.transport.establish() {
                Ok(established) => self.established = established,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(BlockingError::Connect(error)),
            }
            if !self.established {
                return Ok(false);
            }
        }
        let written = self.out.write_to(&mut self.transport, usize::MAX).map_err(BlockingError::Io)?;
        Ok(!written.blocked && self.transport.held_back().is_none())
    }

    /// Whether anything came, or may come at once.
    fn read(&mut self) -> Result<bool, BlockingError> {
        if !self.established {
            return Ok(false);
        }
        if self.used > 0 {
            self.held.drain(..self.used);
            self.used = 0;
        }
        let kept = self.held.len();
        self.held.resize(kept + CHUNK, 0);
        let got = self.transport.read(&mut self.held[kept..]);
        self.held.truncate(kept + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(0) => Err(BlockingError::Closed),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true), // there may be more
            Err(error) => Err(BlockingError::Io(error)),
        }
    }

    fn wait(&mut self, end: Instant) -> Result<(), BlockingError> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(BlockingError::TimedOut);
        }
        let most = self.transport.held_back().map_or(left, |held| held.retry.min(left));
        match self.poll.poll(&mut self.events, Some(most)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(BlockingError::Io(error)),
            _ => Ok(()),
        }
    }
}

/// Why a blocking call failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum BlockingError {
    /// It took too long.
    TimedOut,
    /// The other side has ended the stream.
    Closed,
    /// The connection was never established.
    Connect(io::Error),
    /// Reading or writing failed.
    Io(io::Error),
    /// What came can't be decoded.
    Decode(DecodeError),
    /// The item can't be encoded.
    Encode(EncodeError),
}

impl fmt::Display for BlockingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Closed => f.write_str("the other side has closed the connection"),
            Self::Connect(error) => write!(f, "could not connect: {error}"),
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::Decode(error) => write!(f, "bad input: {error}"),
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl Error for BlockingError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TimedOut | Self::Closed => None,
            Self::Connect(error) | Self::Io(error) => Some(error),
            Self::Decode(error) => Some(error),
            Self::Encode(error) => Some(error),
        }
    }
}

/// So that one `?` serves for making a [`Blocking`] and for using it.
impl From<io::Error> for BlockingError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Fixed, Lines};
    use crate::connections::wire::{Far, Wire, wire};

    fn blocking() -> (Blocking<Wire, Lines>, Far) {
        let (ours, far) = wire();
        (Blocking::new(ours, Lines::new().max(1 << 30)).unwrap(), far)
    }

    const SOON: Duration = Duration::from_millis(20);

    #[test]
    fn input_that_never_makes_an_item_does_not_outlast_the_time_limit() {
        let (mut blocking, far) = blocking();
        far.state().endless = true;
        blocking.set_input_max(usize::MAX);
        let result = blocking.receive(SOON, |_| ());
        assert!(matches!(result, Err(BlockingError::TimedOut)), "{result:?}");
    }

    #[test]
    fn what_comes_while_nothing_can_be_written_is_bounded_in_time_and_bytes() {
        for most in [100_000, usize::MAX] {
            let (mut blocking, far) = blocking();
            (far.state().endless, far.state().room) = (true, 0);
            blocking.set_input_max(most);
            let result = blocking.send("x", SOON);
            assert!(matches!(result, Err(BlockingError::TimedOut)), "{result:?}");
            assert!(blocking.held.len() < most.saturating_add(CHUNK + 1), "{}", blocking.held.len());
        }
    }

    #[test]
    fn a_layer_goes_around_what_is_empty_only() {
        let (mut own, far) = blocking();
        own.queue("before").unwrap();
        let mut own = own.upgrade(SOON, |below| Ok(Box::new(below) as Box<dyn Transport>)).unwrap();
        assert_eq!(far.text(), "before\n");
        far.put("inside\n");
        assert_eq!(own.receive(SOON, str::to_owned).unwrap(), "inside");

        for behind in ["injected\n", "i"] {
            let (mut own, far) = blocking();
            far.put("go on\n");
            far.put(behind);
            assert_eq!(own.receive(SOON, str::to_owned).unwrap(), "go on");
            let error = own.upgrade(SOON, Ok::<_, io::Error>).unwrap_err();
            let text = format!("{} bytes of input stand before the layer, where none may be", behind.len());
            assert_eq!(error.to_string(), format!("the connection failed: {text}"));
            assert!(far.state().closed);
        }
    }

    #[test]
    fn a_wait_may_be_as_long_as_anybody_can_say() {
        let (mut blocking, far) = blocking();
        far.put("one\n");
        assert_eq!(blocking.receive(Duration::MAX, str::to_owned).unwrap(), "one");
        blocking.send("two", Duration::MAX).unwrap();
        assert_eq!(far.text(), "two\n");
    }

    #[test]
    fn a_codec_that_takes_nothing_is_an_error_and_no_endless_loop() {
        struct Stuck;
        impl Codec for Stuck {
            type In<'a> = ();
            type Out<'a> = ();
            fn decode(&mut self, _: &[u8]) -> Result<Decoded<()>, DecodeError> {
                Ok(Decoded::Skip(0))
            }
            fn encode((): (), _: &mut Vec<u8>) -> Result<(), EncodeError> {
                Ok(())
            }
        }
        let (ours, far) = wire();
        far.put("x");
        let mut blocking = Blocking::new(ours, Stuck).unwrap();
        let error = blocking.receive(SOON, |()| ()).unwrap_err();
        assert!(error.to_string().contains("the codec takes no bytes"), "{error}");
    }

    #[test]
    fn the_end_waits_for_the_other_side_and_no_longer_than_it_may() {
        let (mut own, far) = blocking();
        own.queue("last words").unwrap();
        far.put("unread\n");
        far.state().ended = true;
        own.finish(SOON).unwrap();
        assert_eq!(far.text(), "last words\n");
        assert!(far.state().shut && far.state().closed);

        for endless in [false, true] {
            let (own, far) = blocking();
            far.state().endless = endless;
            let result = own.finish(SOON);
            assert!(matches!(result, Err(BlockingError::TimedOut)), "{result:?}");
        }
    }

    #[test]
    fn the_item_that_ends_with_the_stream_is_the_last_one() {
        let receive = |keeps: bool, input: &str| {
            let (ours, far) = wire();
            let codec = if keeps { Lines::new().keep_last(true) } else { Lines::new() };
            let mut blocking = Blocking::new(ours, codec).unwrap();
            far.put(input);
            far.state().ended = true;
            let mut got = Vec::new();
            loop {
                match blocking.receive(SOON, str::to_owned) {
                    Ok(line) => got.push(line),
                    Err(BlockingError::Closed) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(matches!(blocking.receive(SOON, |_| ()), Err(BlockingError::Closed)));
            got
        };
        assert_eq!(receive(true, "one\ntwo"), ["one", "two"]);
        assert_eq!(receive(true, "one\n"), ["one"]);
        assert_eq!(receive(false, "one\ntwo"), ["one"]);

        let (ours, far) = wire();
        let mut blocking = Blocking::new(ours, Fixed::<4>::new()).unwrap();
        far.put("abcdef");
        far.state().ended = true;
        assert_eq!(blocking.receive(SOON, |four| *four).unwrap(), *b"abcd");
        let error = blocking.receive(SOON, |_| ()).unwrap_err();
        assert!(matches!(error, BlockingError::Decode(DecodeError::Truncated)), "{error}");
    }

    #[test]
    fn an_item_that_is_there_is_taken_without_waiting() {
        let (mut blocking, far) = blocking();
        far.put("one\ntwo\n");
        assert_eq!(blocking.receive(Duration::ZERO, str::to_owned).unwrap(), "one");
        assert_eq!(blocking.receive(Duration::ZERO, str::to_owned).unwrap(), "two");
        assert!(matches!(blocking.receive(Duration::ZERO, |_| ()), Err(BlockingError::TimedOut)));
    }
}
