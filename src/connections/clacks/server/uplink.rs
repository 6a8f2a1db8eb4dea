//! The connection of a slave to its master: made, and made again when it is lost.

use super::listen::budget;
use super::{MAX_LINE_BEFORE_LOGIN, Server, Service, Session};
use crate::communicator::{Closed, Communicator, Cx, TimerId};
use crate::connections::clacks::line::{ClacksLines, LINE_ROOM};
use crate::connections::clacks::state::Peer;
#[cfg(feature = "tls")]
use crate::connections::tls::TlsClient;
use std::cell::{Cell, RefCell};
#[cfg(feature = "tls")]
use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
#[cfg(feature = "tls")]
use std::io;
#[cfg(feature = "tls")]
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Where the master of a server is, and how often it is tried.
///
/// Both servers must have the same main user with the same password.
#[derive(Debug, Clone)]
pub struct Uplink {
    address: Address,
    pause: Duration,
    jitter: Duration,
}

#[derive(Debug, Clone)]
enum Address {
    Unix(PathBuf),
    #[cfg(feature = "tls")]
    Tls {
        host: String,
        port: u16,
        client: TlsClient,
    },
    #[cfg(test)]
    Made(super::simulated::Maker),
}

impl Uplink {
    /// A master on this machine: the path of its socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(Address::Unix(path.into()))
    }

    /// A master behind TLS: an IP address or a host name, without brackets. The name is resolved again for each connection.
    #[cfg(feature = "tls")]
    pub fn tls(host: impl Into<String>, port: u16, client: TlsClient) -> Self {
        Self::new(Address::Tls { host: host.into(), port, client })
    }

    /// A master behind connections that a test makes.
    #[cfg(test)]
    pub(in super::super) fn made(maker: super::simulated::Maker) -> Self {
        Self::new(Address::Made(maker))
    }

    fn new(address: Address) -> Self {
        Self { address, pause: Duration::from_secs(30), jitter: Duration::from_secs(9) }
    }

    /// The pause before a lost master is tried again, to which a random part of `jitter` is added, so that not all slaves of
    /// a master come at once. Default: 30 s, and up to 9 s.
    #[must_use]
    pub fn retry(mut self, pause: Duration, jitter: Duration) -> Self {
        (self.pause, self.jitter) = (pause, jitter);
        self
    }
}

impl fmt::Display for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Unix(path) => write!(f, "{}", path.display()),
            #[cfg(feature = "tls")]
            Address::Tls { host, port, .. } => write!(f, "{host} port {port}"),
            #[cfg(test)]
            Address::Made(_) => f.write_str("simulated"),
        }
    }
}

/// An [`Uplink`] in use.
pub(super) struct Master {
    /// Which holds this.
    server: Weak<RefCell<Service>>,
    uplink: Uplink,
    /// The wait before the next try.
    retry: Cell<Option<TimerId>>,
    /// The addresses of its name that are still to be tried before the next wait.
    #[cfg(feature = "tls")]
    others: RefCell<VecDeque<SocketAddr>>,
    /// What the last try failed with: it is not said again and again.
    last_failure: RefCell<String>,
}

impl Server {
    /// Makes this server a slave: it connects to its master now, and again whenever the connection is lost, until it
    /// [stops](Self::stop).
    pub fn link_to_master(&self, communicator: &Communicator, uplink: Uplink) {
        let master = Rc::new(Master {
            server: Rc::downgrade(&self.0),
            uplink,
            retry: Cell::new(None),
            #[cfg(feature = "tls")]
            others: RefCell::default(),
            last_failure: RefCell::new(String::new()),
        });
        self.0.borrow_mut().master = Some(master.clone());
        master.connect(communicator);
    }
}

impl Master {
    /// The server, unless it stops, or nobody has it any more.
    fn server(&self) -> Option<Server> {
        let server = Server(self.server.upgrade()?);
        let stopping = server.0.borrow().stopping;
        (!stopping).then_some(server)
    }

    fn connect(self: &Rc<Self>, communicator: &Communicator) {
        self.retry.set(None);
        let Some(server) = self.server() else { return };
        let connecting = match &self.uplink.address {
            Address::Unix(path) => {
                let (lines, session) = self.session(&server, Peer::Unix);
                let connected = communicator.connect_unix(path, lines, session);
                connected.map(|id| self.configure(communicator, &server, id))
            }
            #[cfg(feature = "tls")]
            Address::Tls { .. } => self.resolve(communicator, &server),
            #[cfg(test)]
            Address::Made(maker) => maker.make(&|transport| {
                let (lines, session) = self.session(&server, Peer::Unix);
                let id = communicator.stream(transport, lines, session)?;
                self.configure(communicator, &server, id);
                Ok(id)
            }),
        };
        if let Err(error) = connecting {
            self.failed(communicator, &error.to_string());
        }
    }

    /// A name is looked up beside the loop, which may take its time.
    #[cfg(feature = "tls")]
    fn resolve(self: &Rc<Self>, communicator: &Communicator, server: &Server) -> io::Result<()> {
        let Address::Tls { host, port, .. } = &self.uplink.address else { return Ok(()) };
        let port = *port;
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.connect_tls(communicator, server, SocketAddr::new(address, port));
        }
        let (host, master) = (host.clone(), self.clone());
        let lookup = move || Ok(ToSocketAddrs::to_socket_addrs(&(host.as_str(), port))?.collect());
        let lookup =
            communicator.thread(lookup, move |found: Result<io::Result<Vec<_>>, _>, communicator| {
                if master.server().is_none() {
                    return;
                }
                match found {
                    Ok(Ok(addresses)) => master.try_all(communicator, addresses),
                    Ok(Err(error)) => master.failed(communicator, &error.to_string()),
                    Err(panic) => master.failed(communicator, &panic.to_string()),
                }
            });
        lookup.map(drop)
    }

    /// Connects to the first of these that can be reached.
    #[cfg(feature = "tls")]
    fn try_all(self: &Rc<Self>, communicator: &Communicator, addresses: Vec<SocketAddr>) {
        self.others.replace(addresses.into());
        if !self.try_another(communicator) {
            self.failed(communicator, "the name has no address that can be tried");
        }
    }

    /// Whether there is one that can be tried.
    fn try_another(self: &Rc<Self>, communicator: &Communicator) -> bool {
        #[cfg(feature = "tls")]
        while let Some(server) = self.server() {
            let Some(address) = self.others.borrow_mut().pop_front() else { break };
            match self.connect_tls(communicator, &server, address) {
                Ok(()) => return true,
                Err(error) => log::debug!("master {} at {address}: {error}", self.uplink),
            }
        }
        let _ = communicator;
        false
    }

    #[cfg(feature = "tls")]
    fn connect_tls(
        self: &Rc<Self>,
        communicator: &Communicator,
        server: &Server,
        address: SocketAddr,
    ) -> io::Result<()> {
        let Address::Tls { host, client, .. } = &self.uplink.address else { return Ok(()) };
        let (lines, session) = self.session(server, Peer::Tcp(address));
        let id = communicator.connect_tls(address, host, client, lines, session)?;
        self.configure(communicator, server, id);
        Ok(())
    }

    fn session(self: &Rc<Self>, server: &Server, peer: Peer) -> (ClacksLines, Session) {
        let max_line = server.0.borrow().limits.max_line;
        let limit = Rc::new(Cell::new(max_line.min(MAX_LINE_BEFORE_LOGIN)));
        let lines = ClacksLines::new().limited_by(limit.clone()).room(LINE_ROOM);
        let session = Session {
            server: server.clone(),
            peer,
            client: None,
            waits_for_login: Some(limit),
            check: None,
            is_paused: false,
            master: Some(self.clone()),
        };
        (lines, session)
    }

    fn configure(
        &self,
        communicator: &Communicator,
        server: &Server,
        id: crate::communicator::Id<ClacksLines>,
    ) {
        let (limits, timeouts) = server.0.borrow().connection_limits();
        communicator.set_limits(id, limits);
        communicator.set_budget(id, budget());
        communicator.set_timeouts(id, timeouts);
        communicator.set_name(id, &format!("master {}", self.uplink));
    }

    /// The connection is up: the next failure is news.
    pub(super) fn connected(&self) {
        #[cfg(feature = "tls")]
        self.others.borrow_mut().clear();
        self.last_failure.borrow_mut().clear();
    }

    /// The connection has ended, or never came to be.
    pub(super) fn lost(self: &Rc<Self>, why: &Closed, cx: &Cx<'_, ClacksLines>) {
        if self.try_another(cx) {
            log::debug!("master {}: {why}; trying another address", self.uplink);
        } else {
            self.failed(cx, &why.to_string());
        }
    }

    fn failed(self: &Rc<Self>, communicator: &Communicator, why: &str) {
        if self.server().is_none() {
            return;
        }
        let pause = self.uplink.pause.saturating_add(self.uplink.jitter.mul_f64(random_part()));
        let news = *self.last_failure.borrow() != why;
        if news {
            let every = match self.uplink.pause {
                Duration::ZERO => "at once".to_owned(),
                pause => format!("every {pause:?} or so"),
            };
            log::warn!("master {}: {why}; trying again {every}", self.uplink);
            why.clone_into(&mut self.last_failure.borrow_mut());
        } else {
            log::debug!("master {}: {why}; trying again in {pause:?}", self.uplink);
        }
        let master = self.clone();
        let timer = communicator.after(pause, move |communicator| master.connect(communicator));
        self.retry.set(Some(timer));
    }

    /// It is not tried again.
    pub(super) fn give_up(&self, communicator: &Communicator) {
        if let Some(timer) = self.retry.take() {
            communicator.cancel(timer);
        }
    }
}

/// From 0 up to 1: not for secrets.
fn random_part() -> f64 {
    f64::from(random() as u32) / (f64::from(u32::MAX) + 1.0)
}

/// A number that is another one in each process, and each time: not for secrets.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;
    use crate::connections::clacks::ServerLimits;
    use crate::connections::clacks::state::{Permissions, Settings, Users};
    use crate::connections::clacks::store::Store;
    use crate::connections::tls::TlsServer;
    use std::net::TcpListener;
    use std::time::Instant;

    fn server(communicator: &Communicator) -> Server {
        let mut users = Users::default();
        users.add("admin", "secret", Permissions::ALL);
        Server::start(communicator, Settings::default(), ServerLimits::default(), users, Store::new(None))
    }

    #[test]
    fn a_master_of_which_not_every_address_answers_is_found() {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = certified.signing_key.serialize_pem();
        let tls = TlsServer::builder().certificate_pem(certified.cert.pem(), key).build().unwrap();
        let communicator = Communicator::new().unwrap();
        let (above, below) = (server(&communicator), server(&communicator));
        let listening = above.listen_tls(&communicator, "127.0.0.1:0".parse().unwrap(), &tls).unwrap();
        // Nobody listens on the first one; the second one can't even be tried.
        let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let addresses = vec![dead, "0.0.0.1:9".parse().unwrap(), listening.address()];

        let client = TlsClient::builder().roots_pem(certified.cert.pem()).build().unwrap();
        let hour = Duration::from_secs(3600);
        let master = Rc::new(Master {
            server: Rc::downgrade(&below.0),
            uplink: Uplink::tls("localhost", listening.address().port(), client).retry(hour, hour),
            retry: Cell::new(None),
            others: RefCell::default(),
            last_failure: RefCell::default(),
        });
        below.0.borrow_mut().master = Some(master.clone());
        master.try_all(&communicator, addresses);
        let end = Instant::now() + Duration::from_secs(20);
        let links = |server: &Server| server.0.borrow().state.counters().links_made;
        while links(&above) + links(&below) < 2 {
            assert!(Instant::now() < end, "it is not linked: {:#?}", communicator.connections());
            communicator.turn(Some(Duration::from_millis(5))).unwrap();
        }
        master.try_all(&communicator, vec![dead]);
        while master.last_failure.borrow().is_empty() {
            assert!(Instant::now() < end, "nothing is said");
            communicator.turn(Some(Duration::from_millis(5))).unwrap();
        }
        assert!(master.last_failure.borrow().contains("refused"), "{:?}", master.last_failure);
    }
}
