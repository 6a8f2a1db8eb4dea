//! Connections that reconnect by themselves.

use super::connect::{Attempt, Connect};
use super::stream::Stream;
use crate::codec::Codec;
use crate::communicator::{
    Closed, Communicator, Driver, Handler, HandlerResult, Id, Key, Linger, OutQueue, Outcome, Ready,
    Reconnect, State, Turn, Written, interest,
};
use mio::event::Source;
use std::io;
use std::ops::Range;

/// # Permanent connections
impl Communicator {
    /// Adds a connection that reconnects by itself: over what `connect` makes, with a codec made by `codec` for each
    /// transport. Id, handler, queue, priority, limits and everything else that was set stay.
    ///
    /// # What is called
    /// [`Handler::connected`] for each transport that is established, [`Handler::failed`] for each attempt that fails,
    /// [`Handler::lost`] when an established one is no more: whatever ends another connection (an error of the handler, a time that is over,
    /// bad input, the end of it) only loses this one. It ends for good, with [`Handler::closed`], when it is
    /// [closed](Self::close), when `failed` or `lost` give back an error, after the only attempt of
    /// [such pauses](crate::Pauses::never), after [`stop_reconnecting`](Self::stop_reconnecting), and when it was lost after all that
    /// [`shutdown_write`](Self::shutdown_write) has left to do was done. A panic ends it, too.
    ///
    /// The connection's own [timers](Self::timer) and its [deadline](Self::set_deadline) come also while it is away, the other
    /// [timeouts](crate::Timeouts) count only while it is there, and `connect` among them for each attempt. While it is
    /// [switched off](Self::enable) no attempt is made. It keeps [`run`](Self::run) running.
    ///
    /// # What is sent
    /// Items wait in one queue while the connection is away, within the bounds of [`Away`](crate::Away), and leave first in, first out,
    /// when it is there again. What is to leave before them is [greeted](Self::greet) with from `connected`; who must not send them before
    /// the other side has answered that [holds](Self::hold) them back.
    ///
    /// Nothing is sent twice, and nothing half: an item of which only a part was written when the connection was lost is sent
    /// whole on the next one, or not at all if [`Reconnect::resend_half`] says so. An item that was written whole is never sent again.
    /// Written means handed over to the system, or to a TLS session: whether it arrived only the other side can say, so
    /// items that must not be lost need an answer in the protocol above.
    ///
    /// # Example
    /// The server comes after its client:
    ///
    /// ```
    /// use eventdispatcher::codec::Lines;
    /// use eventdispatcher::{Closed, Communicator, Cx, Handler, HandlerResult, Reconnect, ToUnix, on_item};
    ///
    /// struct Client;
    /// impl Handler<Lines> for Client {
    ///     fn failed(&mut self, why: &Closed, cx: &Cx<'_, Lines>) -> HandlerResult {
    ///         println!("not yet: {why}: {}", cx.connection(cx.id()).ok_or("it is there")?);
    ///         Ok(())
    ///     }
    ///     fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
    ///         Ok(cx.greet(cx.id(), "I am the client")?)
    ///     }
    ///     fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
    ///         if line == "sent before the server was there" {
    ///             cx.close_all();
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("server");
    /// let communicator = Communicator::new()?;
    /// let reconnect = Reconnect::new("0.01,0.02,0.1".parse()?);
    /// let id = communicator.permanent(ToUnix::new(&path), reconnect, Lines::new, Client);
    /// communicator.send(id, "sent before the server was there")?;
    /// communicator.turn(None)?;
    ///
    /// communicator.listen_unix(&path, |client| {
    ///     client.serve(Lines::new(), on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?)))?;
    ///     Ok(())
    /// })?;
    /// communicator.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn permanent<K: Connect, C: Codec, H: Handler<C>>(
        &self,
        connect: K,
        reconnect: Reconnect,
        codec: impl FnMut() -> C + 'static,
        handler: H,
    ) -> Id<C> {
        let (name, mut codec) = (connect.name(), codec);
        let stream = Stream::without_transport(codec(), handler);
        let driver = Permanent { stream, connect, codec };
        let id = Id::new(self.add_permanent("permanent", reconnect, Box::new(driver)));
        if !name.is_empty() {
            self.set_name(id, &name);
        }
        id
    }

    /// Whether a connection is established, and can be written to at once.
    pub fn is_connected(&self, key: impl Into<Key>) -> bool {
        self.connection(key).is_some_and(|info| info.state == State::Open)
    }

    /// Gives up what a permanent connection has, or the attempt that goes on, so that it is made anew in its time; one that waits
    /// tries at once. [`Handler::lost`], or `failed`, gets [`Closed::Local`]. `false`: there is no such permanent connection.
    pub fn reconnect(&self, key: impl Into<Key>) -> bool {
        self.look_at_the_clock();
        self.core(|core| core.reconnect(key.into()))
    }

    /// Makes no more attempts for a permanent connection: it ends when it is lost, and at once if it waits. `false`: there is no
    /// such permanent connection.
    pub fn stop_reconnecting(&self, key: impl Into<Key>) -> bool {
        let key = key.into();
        match self.core(|core| core.make_last(key)) {
            Some(true) => self.close(key),
            Some(false) => true,
            None => false,
        }
    }

    /// Which items of a permanent connection wait. They are numbered from 0, as they are queued: the next one gets the number of
    /// the end. What is before the start was written, or dropped; between the two may be gaps where items were dropped. `None`:
    /// there is no such permanent connection.
    pub fn queued_items(&self, key: impl Into<Key>) -> Option<Range<u64>> {
        self.core(|core| core.items(key.into()))
    }

    /// Holds back what a permanent connection has to send, but for what it is [greeted](Self::greet) with, and the rest of an item
    /// of which the other side has taken a part, until it is called with `false`. It stays so over reconnects; what is held back when it is closed is dropped. `false`: there is no such
    /// permanent connection.
    pub fn hold(&self, key: impl Into<Key>, on: bool) -> bool {
        self.core(|core| core.hold(key.into(), on))
    }
}

/// A stream that gets one transport after the other.
struct Permanent<K: Connect, N, C, H> {
    stream: Stream<K::Transport, C, H>,
    connect: K,
    codec: N,
}

impl<K: Connect, N: FnMut() -> C, C: Codec, H: Handler<C>> Permanent<K, N, C, H> {
    /// Takes what the connector has made, if it has: whether it is there.
    fn take(&mut self, turn: &Turn<'_>) -> Result<bool, Closed> {
        let Some(arrived) = turn.communicator.core(|core| core.take_arrived(turn.key)) else {
            return Ok(false);
        };
        let Ok(made) = arrived.downcast::<io::Result<K::Transport>>() else {
            return Err(Closed::Connect(io::ErrorKind::Unsupported.into()));
        };
        self.stream.renew((*made).map_err(Closed::Connect)?, (self.codec)());
        if let Some(source) = self.stream.source() {
            let registry = turn.communicator.registry();
            // That it is to be said, too, when it can be written to is asked for after the call.
            registry.register(source, turn.key.token(), interest(false)).map_err(Closed::Connect)?;
        }
        turn.communicator.core(|core| core.make_ready(turn.key, Ready::ADDED));
        Ok(true)
    }

    /// What has connected in the call in which it came may still be registered for what it has waited for meanwhile.
    fn settle(&mut self, turn: &Turn<'_>) -> io::Result<()> {
        match self.stream.source() {
            Some(source) => {
                turn.communicator.registry().reregister(source, turn.key.token(), interest(false))
            }
            None => Ok(()),
        }
    }
}

impl<K: Connect, N: FnMut() -> C, C: Codec, H: Handler<C>> Driver for Permanent<K, N, C, H> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.stream.source()
    }

    fn wants_write(&self) -> bool {
        self.stream.wants_write()
    }

    fn ready(&mut self, turn: &Turn<'_>) -> Outcome {
        if let Some(attempt) = turn.attempt {
            self.connect.connect(Attempt::new(turn.communicator, turn.key, attempt));
        }
        let arrives = turn.attempt.is_some() || turn.ready.has(Ready::ARRIVED);
        let came = match if arrives { self.take(turn) } else { Ok(false) } {
            Ok(came) => came,
            Err(why) => return Outcome::End(why),
        };
        let outcome = self.stream.ready(turn);
        if came
            && !self.stream.wants_write()
            && let Err(error) = self.settle(turn)
        {
            return Outcome::End(Closed::Io(error));
        }
        outcome
    }

    fn write(&mut self, out: &mut OutQueue, budget: usize) -> io::Result<Written> {
        self.stream.write(out, budget)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stream.finish()
    }

    fn lost(&mut self, why: &Closed, established: bool, turn: &Turn<'_>) -> HandlerResult {
        self.stream.lost(why, established, turn)
    }

    fn closed(&mut self, why: Closed, turn: &Turn<'_>) {
        self.stream.closed(why, turn);
    }

    fn linger(&mut self, written: bool) -> Linger {
        self.stream.linger(written)
    }

    fn release(&mut self) {
        self.stream.release();
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
