//! Listeners: they accept, and hand over what they have accepted.

use super::transport::Transport;
use crate::codec::Codec;
use crate::communicator::{
    Closed, Communicator, Driver, Handler, HandlerResult, Id, Key, OutQueue, Outcome, Ready, Spent, Turn,
    Written,
};
use mio::event::Source;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io::{self, ErrorKind};
use std::time::Duration;

/// So long a listener rests when it can't accept: first and last.
const REST_MIN: Duration = Duration::from_millis(50);
const REST_MAX: Duration = Duration::from_secs(2);
const REST_OVER: u64 = 0;
/// So many clients are turned away at once when there is no descriptor for them.
const TURN_AWAY_MAX: usize = 1024;
/// So many clients in a row may be lost before it rests.
const LOST_MAX: usize = 64;
/// So many clients may wait to be accepted, if the system has no lower limit.
pub(super) const MOST_WAITING: i32 = 4096;

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
    /// Adds a listener; `accept` is called for each client. When nobody can be accepted, because the process is out of
    /// descriptors for example, it rests for a while and tries again; clients wait in the kernel's queue. When there is no
    /// descriptor for some seconds, those who wait are turned away, which takes one that was kept for this: they
    /// see the end of the stream, and not a server that never answers.
    ///
    /// An error that `accept` gives back costs its client. If it panics, the listener ends, as any connection whose code panics;
    /// that is logged as an error, and [`is_alive`](Self::is_alive) tells.
    ///
    /// # Errors
    /// When the poll refuses it.
    pub fn listen<L: Accept>(
        &self,
        listener: L,
        accept: impl FnMut(Incoming<'_, L::Stream>) -> HandlerResult + 'static,
    ) -> io::Result<Key> {
        let kind = listener.kind();
        let driver = Listener {
            listener: Some(listener),
            accept: Some(accept),
            rest: REST_MIN,
            resting: false,
            spare: spare(),
        };
        let key = self.add(kind, true, Box::new(driver))?;
        self.core(|core| core.set_listens(key));
        Ok(key)
    }

    /// Sets how many clients that a listener has accepted may be there at once; when they are, the next ones wait in the
    /// kernel's queue. No limit by default but that of the descriptors. `false`: there was none.
    pub fn set_most_clients(&self, listener: impl Into<Key>, most: usize) -> bool {
        let key = listener.into();
        self.core(|core| {
            let Some(slot) = core.open(key) else { return false };
            slot.rest.most_children = most.max(1);
            core.make_ready(key, Ready::INPUT);
            true
        })
    }
}

/// A client that has just been accepted. Dropping it closes it.
#[derive(Debug)]
pub struct Incoming<'a, T> {
    stream: T,
    established: bool,
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
        let id = self.communicator.add_stream(self.stream, codec, handler, self.established)?;
        if !self.peer.is_empty() {
            self.communicator.set_name(id, &self.peer);
        }
        self.communicator.core(|core| core.set_parent(id.key(), self.listener));
        Ok(id)
    }

    /// Puts a layer around the stream. It is established when the client is served.
    pub fn map<U: Transport>(self, layer: impl FnOnce(T) -> U) -> Incoming<'a, U> {
        let Self { stream, peer, listener, communicator, .. } = self;
        Incoming { stream: layer(stream), established: false, peer, listener, communicator }
    }

    /// As [`map`](Self::map), with a layer that may fail.
    ///
    /// # Errors
    /// As `layer`; the client is gone then.
    pub fn try_map<U: Transport>(
        self,
        layer: impl FnOnce(T) -> io::Result<U>,
    ) -> io::Result<Incoming<'a, U>> {
        let Self { stream, peer, listener, communicator, .. } = self;
        Ok(Incoming { stream: layer(stream)?, established: false, peer, listener, communicator })
    }

    /// The stream, to ask it something.
    pub fn stream(&self) -> &T {
        &self.stream
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
    /// Given up for a moment when there is no other descriptor.
    spare: Option<EventFd>,
}

impl<L: Accept, F> Listener<L, F> {
    /// Nobody can be accepted for want of descriptors, and that for long: those who wait must not wait for ever.
    fn turn_away(&mut self, key: Key) {
        let Some(listener) = &self.listener else { return };
        self.spare = None;
        let mut first = None;
        let (mut count, mut lost) = (0_usize, 0);
        while count < TURN_AWAY_MAX && lost < LOST_MAX {
            match listener.accept_one() {
                Ok((_, peer)) => {
                    first.get_or_insert(peer);
                    count += 1;
                }
                Err(error) if is_of_one_client(&error) => lost += 1,
                Err(_) => break,
            }
        }
        self.spare = spare();
        if let Some(first) = first {
            log::warn!(
                "connection {key}: no descriptor is left: {count} clients turned away, first {first:?}"
            );
        }
    }
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
        let mut lost = 0;
        loop {
            let (may, room) =
                turn.communicator.core(|core| (core.may_read(turn.key), core.may_accept(turn.key)));
            if !may {
                return Outcome::Again; // comes back when it is switched on
            }
            if !room {
                return Outcome::Wait; // comes back when a client has gone, or with time
            }
            match listener.accept_one() {
                Ok((stream, peer)) => {
                    (self.rest, lost) = (REST_MIN, 0);
                    turn.communicator.core(|core| core.accepted(turn.key));
                    let (listener, communicator) = (turn.key, turn.communicator);
                    if let Err(error) =
                        accept(Incoming { stream, established: true, peer, listener, communicator })
                    {
                        log::warn!("connection {listener}: a client was not taken: {error}");
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::Wait,
                Err(error) if is_of_one_client(&error) && lost < LOST_MAX => {
                    lost += 1;
                    log::info!("connection {}: a client was lost: {error}", turn.key);
                }
                Err(error) => {
                    log::warn!("connection {}: can't accept, rests for {:?}: {error}", turn.key, self.rest);
                    self.resting = true;
                    turn.communicator.timer(turn.key, self.rest, REST_OVER);
                    if self.rest == REST_MAX && is_for_want_of_descriptors(&error) {
                        self.turn_away(turn.key);
                    }
                    self.rest = (self.rest * 2).min(REST_MAX);
                    return Outcome::Wait;
                }
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
        (self.listener, self.spare) = (None, None);
    }
}

/// Any descriptor will do.
fn spare() -> Option<EventFd> {
    EventFd::from_flags(EfdFlags::EFD_CLOEXEC).ok()
}

/// This process has none left, or the system has not.
fn is_for_want_of_descriptors(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| matches!(Errno::from_raw(code), Errno::EMFILE | Errno::ENFILE))
}

/// Whether only the client is lost that was to be accepted. All else (no descriptors, no memory, a socket that does not
/// listen any more) may still be so at the next try.
fn is_of_one_client(error: &io::Error) -> bool {
    if matches!(
        error.kind(),
        ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    ) {
        return true;
    }
    // What accept(2) passes on from the network.
    error.raw_os_error().is_some_and(|code| {
        matches!(
            Errno::from_raw(code),
            Errno::ENETDOWN
                | Errno::EPROTO
                | Errno::ENOPROTOOPT
                | Errno::EHOSTDOWN
                | Errno::ENONET
                | Errno::EHOSTUNREACH
                | Errno::EOPNOTSUPP
                | Errno::ENETUNREACH
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Lines;
    use crate::connections::wire::{Far, Wire, wire};
    use crate::on_item;
    use mio::{Interest, Registry, Token};
    use nix::libc::{ECONNABORTED, EINVAL, EMFILE, EPERM, EPROTO};
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;
    use std::rc::Rc;

    /// A listener in memory; the test holds a clone.
    #[derive(Clone, Default)]
    struct Queue {
        clients: Rc<RefCell<VecDeque<io::Result<Wire>>>>,
        /// What comes when the queue is empty.
        error: Rc<Cell<Option<i32>>>,
        tries: Rc<Cell<usize>>,
    }

    impl Queue {
        fn client(&self) -> Far {
            let (wire, far) = wire();
            self.clients.borrow_mut().push_back(Ok(wire));
            far
        }
    }

    impl Source for Queue {
        fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
            Ok(())
        }
        fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
            Ok(())
        }
        fn deregister(&mut self, _: &Registry) -> io::Result<()> {
            Ok(())
        }
    }

    impl Accept for Queue {
        type Stream = Wire;

        fn accept_one(&self) -> io::Result<(Wire, String)> {
            self.tries.set(self.tries.get() + 1);
            let next = self.clients.borrow_mut().pop_front();
            next.unwrap_or_else(|| {
                Err(self.error.get().map_or(ErrorKind::WouldBlock.into(), io::Error::from_raw_os_error))
            })
            .map(|wire| (wire, String::new()))
        }
    }

    fn listen(communicator: &Communicator, queue: &Queue) -> Key {
        communicator
            .listen(queue.clone(), |client| {
                client.serve(Lines::new(), on_item::<Lines, _>(|_, _| Ok(())))?;
                Ok(())
            })
            .unwrap()
    }

    /// The poll says that somebody has come; turns until the loop would wait.
    fn settle(communicator: &Communicator, listener: Key) {
        communicator.core(|core| core.event(listener, true, false, false));
        for _ in 0..100 {
            communicator.turn(Some(Duration::ZERO)).unwrap();
            if communicator.wait_hint() != Some(Duration::ZERO) {
                return;
            }
        }
        panic!("the loop never rests");
    }

    #[test]
    fn a_listener_that_can_not_accept_rests_whatever_the_reason() {
        for code in [EMFILE, EINVAL, EPERM, ECONNABORTED] {
            let (communicator, queue) = (Communicator::new().unwrap(), Queue::default());
            let listener = listen(&communicator, &queue);
            queue.error.set(Some(code));
            settle(&communicator, listener);
            let tries = queue.tries.get();
            assert!(tries <= LOST_MAX + 1, "error {code}: {tries} tries");
            settle(&communicator, listener);
            assert_eq!(queue.tries.get(), tries, "error {code}: tried while it rests");
            assert!(communicator.is_alive(listener));
            queue.error.set(None);
            let _far = queue.client();
            communicator.turn(None).unwrap(); // until its rest is over
            assert_eq!(communicator.len(), 2, "error {code}");
        }
    }

    #[test]
    fn a_client_that_is_lost_does_not_hold_up_the_next() {
        let (communicator, queue) = (Communicator::new().unwrap(), Queue::default());
        let listener = listen(&communicator, &queue);
        let _fars: Vec<Far> = (0..5)
            .map(|n| {
                let code = [ECONNABORTED, EPROTO][n % 2];
                queue.clients.borrow_mut().push_back(Err(io::Error::from_raw_os_error(code)));
                queue.client()
            })
            .collect();
        settle(&communicator, listener);
        assert_eq!(communicator.len(), 6);
    }

    #[test]
    fn a_full_listener_goes_on_when_there_is_room_again() {
        let (communicator, queue) = (Communicator::new().unwrap(), Queue::default());
        let listener = listen(&communicator, &queue);
        let _fars: Vec<Far> = (0..20).map(|_| queue.client()).collect();
        let clients = || communicator.len() - 1;
        let remove = |count| {
            let clients = communicator.connections().into_iter().filter(|info| info.key != listener);
            clients.take(count).for_each(|info| assert!(communicator.remove(info.key)));
        };
        // (most clients, how many then go), and how many there are afterwards
        for (most, gone, left) in
            [(5, 0, 5), (2, 0, 5), (2, 3, 2), (2, 1, 2), (4, 0, 4), (1, 2, 2), (1, 2, 1)]
        {
            communicator.set_most_clients(listener, most);
            remove(gone);
            settle(&communicator, listener);
            assert_eq!(clients(), left, "most {most}, gone {gone}");
        }
        communicator.set_most_clients(listener, 3);
        communicator.enable(listener, false);
        remove(1);
        settle(&communicator, listener);
        assert_eq!(clients(), 0);
        communicator.enable(listener, true);
        settle(&communicator, listener);
        assert_eq!(clients(), 3);
    }

    #[test]
    fn clients_outlive_their_listener() {
        let (communicator, queue) = (Communicator::new().unwrap(), Queue::default());
        for gentle in [false, true] {
            let listener = listen(&communicator, &queue);
            let _fars = [queue.client(), queue.client()];
            settle(&communicator, listener);
            if gentle {
                communicator.close(listener)
            } else {
                communicator.remove(listener)
            };
            let next = listen(&communicator, &queue); // may get the same slot
            settle(&communicator, next);
            assert_eq!(communicator.len(), 3);
            for info in communicator.connections() {
                assert!(communicator.remove(info.key));
            }
        }
    }
}
