//! Where a server listens.

use super::{LIST_GOES_ON, MAX_LINE_BEFORE_LOGIN, Server, Service, Session};
use crate::communicator::{Budget, Communicator, HandlerResult, Key, Limits, Timeouts};
use crate::connections::clacks::line::{ClacksLines, LINE_ROOM};
use crate::connections::clacks::state::Peer;
use crate::connections::{Accept, Incoming, Transport, UnixBind};
#[cfg(feature = "tls")]
use crate::connections::{Listening, tls::TlsServer};
#[cfg(feature = "tls")]
use mio::net::TcpStream;
use mio::net::UnixStream;
use nix::sys::socket::{getsockopt, sockopt};
use std::cell::Cell;
use std::io;
#[cfg(feature = "tls")]
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// So many clients of one listener may be in their TLS handshakes while there are as many clients as there may be: room
/// to tell some that there are too many.
const HANDSHAKES: usize = 256;

/// Who takes a little all the time is still not written to for ever once it has ended: what waits is memory of the server.
const LINGER: Duration = Duration::from_secs(24 * 60 * 60);

impl Server {
    /// Listens on a Unix socket, which is removed when the server stops.
    ///
    /// # Errors
    /// As [`UnixBind::bind`].
    pub fn listen_unix(&self, communicator: &Communicator, bind: UnixBind) -> io::Result<Key> {
        let bound = bind.bind()?;
        let address = bound.address()?.to_string();
        self.accept_unix(communicator, bound, &address)
    }

    /// Accepts from a listener for Unix streams that was made elsewhere, such as one that was
    /// [inherited](crate::systemd::Inherited). `name` is for logs and listings.
    ///
    /// # Errors
    /// When the poll refuses it.
    pub fn accept_unix(
        &self,
        communicator: &Communicator,
        listener: impl Accept<Stream = UnixStream>,
        name: &str,
    ) -> io::Result<Key> {
        let server = self.clone();
        let listener = communicator.listen(listener, move |client| {
            let user = getsockopt(client.stream(), sockopt::PeerCredentials);
            let peer = user.map_or(Peer::Unix, |user| Peer::UnixUser(user.uid()));
            server.serve(client, peer)
        })?;
        self.configure(communicator, listener, name);
        Ok(listener)
    }

    /// Listens on `address` for clients that speak TLS; port 0 is any free one. There is no TCP without TLS.
    ///
    /// A handshake must be complete in [`Settings::auth_timeout`](super::Settings::auth_timeout). Whatever else a stranger does
    /// costs the connection that it is done on, and nothing more.
    ///
    /// # Errors
    /// When the address can't be listened on; the error names it.
    #[cfg(feature = "tls")]
    pub fn listen_tls(
        &self,
        communicator: &Communicator,
        address: SocketAddr,
        tls: &TlsServer,
    ) -> io::Result<Listening> {
        let (server, tls) = (self.clone(), tls.clone());
        let listening = communicator.listen_tcp(address, move |client| server.serve_tls(client, &tls))?;
        self.configure(communicator, listening.key(), &listening.address().to_string());
        Ok(listening)
    }

    /// Accepts clients that speak TLS from a TCP listener that was made elsewhere, as [`listen_tls`](Self::listen_tls) does.
    ///
    /// # Errors
    /// When the poll refuses it.
    #[cfg(feature = "tls")]
    pub fn accept_tls(
        &self,
        communicator: &Communicator,
        listener: impl Accept<Stream = TcpStream>,
        name: &str,
        tls: &TlsServer,
    ) -> io::Result<Key> {
        let (server, tls) = (self.clone(), tls.clone());
        let listener = communicator.listen(listener, move |client| server.serve_tls(client, &tls))?;
        self.configure(communicator, listener, name);
        Ok(listener)
    }

    #[cfg(feature = "tls")]
    fn serve_tls(&self, client: Incoming<'_, TcpStream>, tls: &TlsServer) -> HandlerResult {
        let address: SocketAddr = client.peer().parse()?;
        self.serve(client.tls(tls)?, Peer::Tcp(address))
    }

    fn serve<T: Transport>(&self, client: Incoming<'_, T>, peer: Peer) -> HandlerResult {
        let (lines, session) = self.session(peer);
        client.serve(lines, session)?;
        Ok(())
    }

    /// What a client's connection is made of, beside what its bytes travel over.
    pub(super) fn session(&self, peer: Peer) -> (ClacksLines, Session) {
        let max_line = self.0.borrow().limits.max_line;
        let limit = Rc::new(Cell::new(max_line.min(MAX_LINE_BEFORE_LOGIN)));
        let lines = ClacksLines::new().limited_by(limit.clone()).room(LINE_ROOM);
        let session = Session {
            server: self.clone(),
            peer,
            client: None,
            waits_for_login: Some(limit),
            check: None,
            is_paused: false,
            master: None,
        };
        (lines, session)
    }

    fn configure(&self, communicator: &Communicator, listener: Key, name: &str) {
        communicator.set_name(listener, name);
        self.0.borrow_mut().listeners.push(listener);
        self.set_limits(communicator, listener);
    }

    /// Sets, once for all clients of a listener from now on, what their connections may hold.
    pub(super) fn set_limits(&self, communicator: &Communicator, listener: Key) {
        let service = self.0.borrow();
        let (limits, timeouts) = service.connection_limits();
        communicator.set_limits(listener, limits);
        communicator.set_budget(listener, budget());
        communicator.set_timeouts(listener, timeouts);
        // Those in a handshake are no clients yet, so that the server's own limit does not see them.
        let most = service.limits.max_clients.saturating_add(HANDSHAKES);
        communicator.set_most_clients(listener, most);
    }
}

/// What one client may have done before others have their turn: of a large cache little is at hand for the processor, and the
/// usual time would be felt.
pub(super) fn budget() -> Budget {
    Budget { time: Duration::from_millis(2), ..Budget::default() }
}

impl Service {
    /// What the connection of a client, or to a master, may hold, and how long it may take to be established.
    pub(super) fn connection_limits(&self) -> (Limits, Timeouts) {
        let list_waits = self.side.list_waits;
        let limits = Limits {
            input: self.limits.max_line.saturating_add(64 << 10),
            output: self.limits.max_out_buffer,
            high_water: list_waits,
            // Lower: who waits at the one must have room at the other.
            low_water: LIST_GOES_ON.min(list_waits / 2),
        };
        // The protocol has rules of its own for idle and stalled clients.
        let settings = self.state.settings();
        let connect = Some(settings.auth_timeout);
        // Who has said QUIT, or ended its side, gets what it has asked for as long as it takes it.
        let linger_stalled = Some(settings.stalled_write_timeout);
        (limits, Timeouts { connect, linger: LINGER, linger_stalled, ..Timeouts::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::clacks::{Settings, Store, Users};

    #[test]
    fn who_has_ended_is_written_to_as_long_as_it_takes_something() {
        let communicator = Communicator::new().unwrap();
        let stalled = Duration::from_secs(77);
        let settings = Settings { stalled_write_timeout: stalled, ..Settings::default() };
        let server =
            Server::start(&communicator, settings, Default::default(), Users::default(), Store::new(None));
        let (_, timeouts) = server.0.borrow().connection_limits();
        assert_eq!((timeouts.linger, timeouts.linger_stalled), (LINGER, Some(stalled)));
    }
}
