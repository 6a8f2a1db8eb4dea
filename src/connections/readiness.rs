//! Descriptors that somebody else reads and writes: another library's, a device.

use crate::communicator::{Closed, Communicator, Driver, Key, OutQueue, Outcome, Ready, Turn, Written};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// What a descriptor is ready for, beside reading: there may be something to read whenever it is called. It may also turn out that there
/// is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// It may be written to.
    pub writable: bool,
    /// The other side has ended its direction, or both; or there was an error, which reading tells.
    pub hung_up: bool,
}

/// What is waited for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    /// Something to read, or the other side's end.
    Reading,
    /// Also for that it can be written to.
    ReadingOrWriting,
    /// The next turn: there is more to do, and the others get their share first.
    NextTurn,
    /// Nothing: the connection is over, and the descriptor is let go of.
    Nothing,
}

impl Communicator {
    /// Calls `call` whenever `descriptor` is ready, for who reads and writes it in another way than this library: what another
    /// library hands over, a device, an eventfd. It says what to wait for next, at first it is `wait_for`; an error ends
    /// the connection, and is logged. Who has the bytes read and the items told apart adds a [`stream`](Self::stream)
    /// instead, with an [`Fd`](crate::Fd) as its transport.
    ///
    /// The poll tells only of changes: **whoever is called reads until there is nothing more**
    /// ([`WouldBlock`](io::ErrorKind::WouldBlock)), or asks for the [next turn](WaitFor::NextTurn). So the descriptor should
    /// not block. To be told that it can be written to, it must have been tried.
    ///
    /// # Errors
    /// When the system can't poll it, as a file or a folder, or it is polled by this communicator already.
    ///
    /// ```
    /// use eventdispatcher::{Communicator, WaitFor};
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (mut peer, ours) = UnixStream::pair()?;
    /// ours.set_nonblocking(true)?;
    /// let communicator = Communicator::new()?;
    /// communicator.on_ready(ours, WaitFor::Reading, |socket, _, _| {
    ///     let mut bytes = [0; 16];
    ///     let count = socket.read(&mut bytes)?;
    ///     assert_eq!(bytes[..count], *b"hello");
    ///     Ok(WaitFor::Nothing)
    /// })?;
    /// peer.write_all(b"hello")?;
    /// communicator.run()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_ready<S: AsFd + 'static>(
        &self,
        descriptor: S,
        wait_for: WaitFor,
        call: impl FnMut(&mut S, Readiness, &Communicator) -> io::Result<WaitFor> + 'static,
    ) -> io::Result<Key> {
        let driver =
            OnReady { source: Some(Descriptor(descriptor)), call: Some(call), writable: false, wait_for };
        let key = self.add("readiness", true, Box::new(driver))?;
        match wait_for {
            WaitFor::Reading | WaitFor::ReadingOrWriting => {}
            WaitFor::NextTurn => self.core(|core| core.make_ready(key, Ready::INPUT)),
            WaitFor::Nothing => {
                self.close(key);
            }
        }
        Ok(key)
    }
}

struct OnReady<S, F> {
    /// Gone once the descriptor is let go of.
    source: Option<Descriptor<S>>,
    call: Option<F>,
    /// The poll has said so, and the call was not told yet.
    writable: bool,
    wait_for: WaitFor,
}

/// For the poll.
struct Descriptor<S>(S);

impl<S: AsFd> Source for Descriptor<S> {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_fd().as_raw_fd()).register(registry, token, without_priority(interests))
    }
    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_fd().as_raw_fd()).reregister(registry, token, without_priority(interests))
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.0.as_fd().as_raw_fd()).deregister(registry)
    }
}

/// Who reads until there is nothing more needs no word of urgent data, which would be told as a hang-up.
fn without_priority(interests: Interest) -> Interest {
    interests.remove(Interest::PRIORITY).unwrap_or(Interest::READABLE)
}

impl<S, F> Driver for OnReady<S, F>
where
    S: AsFd,
    F: FnMut(&mut S, Readiness, &Communicator) -> io::Result<WaitFor>,
{
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.source.as_mut().map(|source| source as &mut dyn Source)
    }

    fn wants_write(&self) -> bool {
        self.wait_for == WaitFor::ReadingOrWriting
    }

    fn ready(&mut self, turn: &Turn<'_>) -> Outcome {
        let (Some(Descriptor(source)), Some(call)) = (&mut self.source, &mut self.call) else {
            return Outcome::Wait;
        };
        let ready = Readiness {
            writable: std::mem::take(&mut self.writable),
            hung_up: turn.ready.has(Ready::HANGUP),
        };
        match call(source, ready, turn.communicator) {
            Ok(WaitFor::NextTurn) => Outcome::Again,
            Ok(WaitFor::Nothing) => Outcome::End(Closed::Local),
            Ok(wait_for) => {
                self.wait_for = wait_for;
                Outcome::Wait
            }
            Err(error) => Outcome::End(Closed::Io(error)),
        }
    }

    /// There is never anything to write: it can be written to.
    fn write(&mut self, _: &mut OutQueue, _: usize) -> io::Result<Written> {
        self.writable = self.wait_for == WaitFor::ReadingOrWriting;
        Ok(Written { input: self.writable, ..Written::default() })
    }

    fn closed(&mut self, why: Closed, turn: &Turn<'_>) {
        if let Closed::Io(error) = why {
            log::warn!("connection {}: a descriptor is let go of: {error}", turn.key);
        }
        self.call = None;
    }

    fn release(&mut self) {
        self.source = None;
    }
}
