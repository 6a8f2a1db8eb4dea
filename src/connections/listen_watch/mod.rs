//! Tells when somebody starts, and stops, to listen on a TCP address.

mod look;

use crate::communicator::{Closed, Communicator, Driver, Key, OutQueue, Outcome, TimerId, Turn, Written};
use look::Look;
use mio::event::Source;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// There is only one timer of its own.
const TAG: u64 = 0;

/// A TCP address to be watched for a listener, of whatever process. Listeners that would get a connection to the address count:
/// one on the address itself, on all addresses, or, for IPv4, on all of both kinds.
///
/// The kernel tells nobody when a listener comes or goes, so it is asked: after 20 ms, then each time after twice as long, up
/// to 2 s; from the start again after each change. It is asked for this one address, so the number of connections on the
/// machine does not count.
///
/// ```
/// use eventdispatcher::{Communicator, ListenChange, ListenWatch};
/// use std::net::TcpListener;
///
/// let communicator = Communicator::new()?;
/// let mut listener = Some(TcpListener::bind("127.0.0.1:0")?); // of another process, say
/// let address = listener.as_ref().unwrap().local_addr()?;
/// communicator.listen_watch(ListenWatch::new(address), move |change, communicator| match change {
///     ListenChange::Started => listener = None,
///     ListenChange::Stopped => communicator.close_all(),
/// })?;
/// communicator.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ListenWatch {
    address: SocketAddr,
    first: Duration,
    last: Duration,
}

impl ListenWatch {
    /// Watches `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, first: Duration::from_millis(20), last: Duration::from_secs(2) }
    }

    /// Sets the pauses between two looks: the first, and the longest. Both are 1 ms at the least.
    #[must_use]
    pub fn pauses(mut self, first: Duration, last: Duration) -> Self {
        self.first = first.max(Duration::from_millis(1));
        self.last = last.max(self.first);
        self
    }
}

/// What has happened to the listeners of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListenChange {
    /// Somebody listens: since now, or already at the start.
    Started,
    /// Nobody does any more.
    Stopped,
}

impl Communicator {
    /// Calls `call` when somebody starts, or stops, to listen on an address; at once if somebody does already. Who comes and
    /// goes between two looks is not seen. While it is switched off nobody looks.
    ///
    /// The kernel is asked by `sock_diag`; where it has none, or not for this process, `/proc/net/tcp` and `tcp6` are
    /// read, whose length is the number of connections on the machine.
    ///
    /// # Errors
    /// When neither is there.
    pub fn listen_watch(
        &self,
        what: ListenWatch,
        call: impl FnMut(ListenChange, &Communicator) + 'static,
    ) -> io::Result<Key> {
        let look = Look::new(what.address)?;
        self.add_listen_watch(what, look, call)
    }

    fn add_listen_watch(
        &self,
        what: ListenWatch,
        look: Look,
        call: impl FnMut(ListenChange, &Communicator) + 'static,
    ) -> io::Result<Key> {
        let (look, call) = (Some(look), Some(call));
        let driver = OnListen { what, pause: what.first, next: None, there: false, look, call };
        let key = self.add("listen watch", true, Box::new(driver))?;
        self.set_name(key, &what.address.to_string());
        self.timer(key, Duration::ZERO, TAG);
        Ok(key)
    }
}

struct OnListen<F> {
    what: ListenWatch,
    pause: Duration,
    /// Its own timer, after the first one: the program may set others.
    next: Option<TimerId>,
    /// Somebody listens, as far as was told.
    there: bool,
    look: Option<Look>,
    call: Option<F>,
}

impl<F: FnMut(ListenChange, &Communicator) + 'static> Driver for OnListen<F> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        None
    }

    fn ready(&mut self, turn: &Turn<'_>) -> Outcome {
        let mut time = false;
        for &timer in turn.due {
            let own = self.next.is_none_or(|next| next.is(timer));
            time |= turn.communicator.core(|core| core.take_timer(turn.key, timer)).is_some() && own;
        }
        if !time {
            return Outcome::Wait;
        }
        let (Some(look), Some(call)) = (&mut self.look, &mut self.call) else { return Outcome::Wait };
        let there = look.is_listening().unwrap_or_else(|error| {
            log::warn!("connection {}: can't see who listens on {}: {error}", turn.key, self.what.address);
            self.there // the kernel had no memory, or this process no descriptor: it may have soon
        });
        let changed = there != self.there;
        if changed {
            self.pause = self.what.first;
        }
        self.next = turn.communicator.timer(turn.key, self.pause, TAG);
        self.pause = (self.pause * 2).min(self.what.last);
        if changed {
            self.there = there;
            call(if there { ListenChange::Started } else { ListenChange::Stopped }, turn.communicator);
        }
        Outcome::Wait
    }

    fn write(&mut self, _: &mut OutQueue, _: usize) -> io::Result<Written> {
        Ok(Written::default())
    }

    fn closed(&mut self, _: Closed, _: &Turn<'_>) {
        self.call = None;
    }

    fn release(&mut self) {
        self.look = None;
    }
}

#[cfg(test)]
mod tests;
