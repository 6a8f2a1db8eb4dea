//! Connections that are joined: what comes in at one goes out at another.

use super::core::Queued;
use super::error::PipeError;
use super::handle::Communicator;
use super::key::{Id, Key};

/// # Pipes
impl Communicator {
    /// From now on what comes in at `from` goes out at `to`, byte by byte: nothing is decoded any more, and
    /// [`message`](crate::Handler::message) of `from` is not called any more. What `from` holds already, because it makes no item
    /// yet or its [budget](crate::Budget) was used up, goes first. From inside `message` it begins behind that item: so a
    /// proxy reads a request, answers it, and then gets out of the way.
    ///
    /// `from` is not read while the queue of `to` is at its [high-water mark](crate::Limits::high_water), until it is down to
    /// the low one: no more than that is held, and the sender behind `from` is slowed down to what `to` takes.
    /// `to` may still be connecting.
    ///
    /// When the input of `from` ends, so does the output of `to`, behind everything. A connection that is piped, and piped to,
    /// goes on until both its directions have ended; one that nothing is piped to gets [`eof`](crate::Handler::eof) as always. When
    /// either ends in any other way, the other one ends with [`Closed::Pipe`](crate::Closed::Pipe), and writes what it has got
    /// until [`Timeouts::linger`](crate::Timeouts::linger) is over. All other callbacks come as always. There is no way back.
    ///
    /// # Errors
    /// When either is gone, is piped already in this direction, or is no stream of bytes. A permanent connection is none: its
    /// next transport would go on in the middle of what was piped to the one before.
    ///
    /// ```
    /// use eventdispatcher::codec::Raw;
    /// use eventdispatcher::{Communicator, on_item};
    /// use std::io::{Read, Write};
    ///
    /// let communicator = Communicator::new()?;
    /// let (one, theirs) = std::os::unix::net::UnixStream::pair()?;
    /// let one = eventdispatcher::unix_stream(one)?;
    /// let echo = communicator.stream(one, Raw, on_item::<Raw, _>(|_, _| Ok(())))?;
    /// communicator.pipe_to(echo, echo)?;
    /// (&theirs).write_all(b"to myself")?;
    /// theirs.shutdown(std::net::Shutdown::Write)?;
    /// communicator.run()?;
    /// let mut back = String::new();
    /// (&theirs).read_to_string(&mut back)?;
    /// assert_eq!(back, "to myself");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pipe_to<A, B>(&self, from: Id<A>, to: Id<B>) -> Result<(), PipeError> {
        self.core(|core| core.pipe_to(from.key(), to.key()))
    }

    /// [Pipes](Self::pipe_to) both to each other: a proxy.
    ///
    /// ```no_run
    /// use eventdispatcher::codec::Raw;
    /// use eventdispatcher::{Communicator, on_item};
    ///
    /// let communicator = Communicator::new()?;
    /// communicator.listen_tcp("[::]:8080".parse()?, |client| {
    ///     let ignore = || on_item::<Raw, _>(|_, _| Ok(()));
    ///     let communicator = client.communicator();
    ///     let far = communicator.connect_tcp(("backend.example", 80), Raw, ignore())?;
    ///     let near = client.serve(Raw, ignore())?;
    ///     Ok(communicator.join(near, far)?)
    /// })?;
    /// communicator.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`pipe_to`](Self::pipe_to); neither direction is piped then.
    pub fn join<A, B>(&self, one: Id<A>, other: Id<B>) -> Result<(), PipeError> {
        self.core(|core| {
            core.may_pipe(one.key(), other.key())?;
            core.may_pipe(other.key(), one.key())?;
            core.pipe_to(one.key(), other.key())?;
            if one.key() == other.key() { Ok(()) } else { core.pipe_to(other.key(), one.key()) }
        })
    }

    /// Queues what has come at `from` where that goes.
    pub(crate) fn pass_on(&self, from: Key, bytes: &[u8]) {
        if let Some((to, Queued::Now)) = self.core(|core| core.pipe(from, bytes)) {
            self.write(to);
        }
    }
}
