//! Listeners: they accept, and hand over what they have accepted.

use super::transport::Transport;
use crate::codec::Codec;
use crate::communicator::{
    Closed, Communicator, Driver, Handler, HandlerResult, Id, Key, OutQueue, Outcome, Ready, Spent, Turn,
    Written,
};
use mio::event::Source;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// So long a listener rests when the system has no descriptors or no memory left: first and last.
const REST_MIN: Duration = Duration::from_millis(50);
const REST_MAX: Duration = Duration::from_secs(2);
const REST_OVER: u64 = 0;

/// Something that accepts streams: a listening socket.
pub trait Accept: Source + 'static {
    /// What it accepts.
    type Stream: Transport;

    /// The next client, not blocking, and who it is.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; else as the system says.
    fn accept_one(&self) -> io::Result<(Self::Stream, String)>;

    /// A word for logs and listings.
    fn kind(&self) -> &'static str {
        "listener"
    }
}

impl Communicator {
    /// Adds a listener; `accept` is called for each client. When the system runs out of descriptors
    /// it rests for a while and goes on; clients wait in the kernel's queue.
    ///
    /// # Errors
    /// When the poll refuses it.
    pub fn listen<L: Accept>(
        &self,
        listener: L,
        accept: impl FnMut(Incoming<'_, L::Stream>) -> HandlerResult + 'static,
    ) -> io::Result<Key> {
        let kind = listener.kind();
        let driver =
            Listener { listener: Some(listener), accept: Some(accept), rest: REST_MIN, resting: false };
        self.add(kind, true, Box::new(driver))
    }

    /// Sets how many clients that a listener has accepted may be there at once; when they are, the next ones wait in the
    /// kernel's queue. No limit by default but that of the descriptors. `false`: there was none.
    pub fn set_most_clients(&self, listener: impl Into<Key>, most: usize) -> bool {
        let key = listener.into();
        self.core(|core| {
            let Some(slot) = core.open(key) else { return false };
            slot.most_children = most.max(1);
            core.make_ready(key, Ready::INPUT);
            true
        })
    }
}

/// A client that has just been accepted. Dropping it closes it.
#[derive(Debug)]
pub struct Incoming<'a, T> {
    stream: T,
    peer: String,
    listener: Key,
    communicator: &'a Communicator,
}

impl<'a, T: Transport> Incoming<'a, T> {
    /// Who it is, as text: an address and a port; empty for an unnamed Unix socket.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Which listener has accepted it.
    pub fn listener(&self) -> Key {
        self.listener
    }

    /// The communicator of the listener.
    pub fn communicator(&self) -> &'a Communicator {
        self.communicator
    }

    /// Adds it as a connection, named after its peer, counted for
    /// [`set_most_clients`](Communicator::set_most_clients). Its limits, budget and timeouts are those of the
    /// listener: set them there once for all.
    ///
    /// # Errors
    /// When the poll refuses it.
    pub fn serve<C: Codec, H: Handler<C>>(self, codec: C, handler: H) -> io::Result<Id<C>> {
        let id = self.communicator.add_stream(self.stream, codec, handler, true)?;
        if !self.peer.is_empty() {
            self.communicator.set_name(id, &self.peer);
        }
        self.communicator.core(|core| core.set_parent(id.key(), self.listener));
        Ok(id)
    }

    /// The stream itself, to put something around it or to keep it out of the loop. It does not count for
    /// [`set_most_clients`](Communicator::set_most_clients).
    pub fn into_stream(self) -> T {
        self.stream
    }
}

struct Listener<L, F> {
    listener: Option<L>,
    accept: Option<F>,
    rest: Duration,
    resting: bool,
}

impl<L, F> Driver for Listener<L, F>
where
    L: Accept,
    F: FnMut(Incoming<'_, L::Stream>) -> HandlerResult + 'static,
{
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.listener.as_mut().map(|listener| listener as &mut dyn Source)
    }

    fn ready(&mut self, turn: &Turn<'_>) -> Outcome {
        for &timer in turn.due {
            if turn.communicator.core(|core| core.take_timer(turn.key, timer)) == Some(REST_OVER) {
                self.resting = false;
            }
        }
        let (Some(listener), Some(accept)) = (&self.listener, &mut self.accept) else { return Outcome::Wait };
        if self.resting {
            return Outcome::Wait;
        }
        let mut spent = Spent::nothing(&turn.settings);
        loop {
            let (may, room) =
                turn.communicator.core(|core| (core.may_read(turn.key), core.has_room(turn.key)));
            if !may {
                return Outcome::Again; // comes back when it is switched on
            }
            if !room {
                return Outcome::Wait; // comes back when a client has gone
            }
            match listener.accept_one() {
                Ok((stream, peer)) => {
                    self.rest = REST_MIN;
                    let (listener, communicator) = (turn.key, turn.communicator);
                    if let Err(error) = accept(Incoming { stream, peer, listener, communicator }) {
                        log::warn!("connection {listener}: a client was not taken: {error}");
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Outcome::Wait,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset => {}
                    _ if is_shortage(&error) => {
                        log::warn!(
                            "connection {}: can't accept, rests for {:?}: {error}",
                            turn.key,
                            self.rest
                        );
                        self.resting = true;
                        turn.communicator.timer(turn.key, self.rest, REST_OVER);
                        self.rest = (self.rest * 2).min(REST_MAX);
                        return Outcome::Wait;
                    }
                    // What accept(2) says of the network of one client is no fault of the listener.
                    _ => log::info!("connection {}: a client was lost: {error}", turn.key),
                },
            }
            spent.callback();
            if spent.all() {
                return Outcome::Again;
            }
        }
    }

    fn write(&mut self, _: &mut OutQueue, _: usize) -> io::Result<Written> {
        Ok(Written::default())
    }

    fn closed(&mut self, _: Closed, _: &Turn<'_>) {
        self.accept = None;
    }

    fn release(&mut self) {
        self.listener = None;
    }
}

/// Whether the system, or this process, has run out of something.
fn is_shortage(error: &io::Error) -> bool {
    use nix::errno::Errno;
    error.raw_os_error().is_some_and(|code| {
        matches!(Errno::from_raw(code), Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    })
}
