//! The connection of a slave to its master: made, and made again when it is lost.

use super::{MAX_LINE_BEFORE_LOGIN, Server, Session};
use crate::communicator::{Closed, Communicator, Cx, TimerId};
use crate::connections::clacks::line::ClacksLines;
use crate::connections::clacks::state::Peer;
#[cfg(feature = "tls")]
use crate::connections::tls::TlsClient;
use std::cell::{Cell, RefCell};
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
#[cfg(feature = "tls")]
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
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
    server: Server,
    uplink: Uplink,
    /// The wait before the next try.
    retry: Cell<Option<TimerId>>,
    /// What the last try failed with: it is not said again and again.
    last_failure: RefCell<String>,
}

impl Server {
    /// Makes this server a slave: it connects to its master now, and again whenever the connection is lost, until it
    /// [stops](Self::stop).
    pub fn link_to_master(&self, communicator: &Communicator, uplink: Uplink) {
        let master = Rc::new(Master {
            server: self.clone(),
            uplink,
            retry: Cell::new(None),
            last_failure: RefCell::new(String::new()),
        });
        self.0.borrow_mut().master = Some(master.clone());
        master.connect(communicator);
    }
}

impl Master {
    fn connect(self: &Rc<Self>, communicator: &Communicator) {
        self.retry.set(None);
        let connecting = match &self.uplink.address {
            Address::Unix(path) => {
                let (lines, session) = self.session(Peer::Unix);
                communicator.connect_unix(path, lines, session).map(|id| self.configure(communicator, id))
            }
            #[cfg(feature = "tls")]
            Address::Tls { .. } => self.resolve(communicator),
            #[cfg(test)]
            Address::Made(maker) => maker.make(&|transport| {
                let (lines, session) = self.session(Peer::Unix);
                let id = communicator.stream(transport, lines, session)?;
                self.configure(communicator, id);
                Ok(id)
            }),
        };
        if let Err(error) = connecting {
            self.failed(communicator, &error.to_string());
        }
    }

    /// A name is looked up beside the loop, which may take its time.
    #[cfg(feature = "tls")]
    fn resolve(self: &Rc<Self>, communicator: &Communicator) -> io::Result<()> {
        use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

        let Address::Tls { host, port, .. } = &self.uplink.address else { return Ok(()) };
        let port = *port;
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.connect_tls(communicator, SocketAddr::new(address, port));
        }
        let (host, master) = (host.clone(), self.clone());
        let lookup = move || (host.as_str(), port).to_socket_addrs().map(|mut found| found.next());
        let lookup = communicator.thread(lookup, move |found, communicator| {
            if master.server.0.borrow().stopping {
                return;
            }
            let address = match found {
                Ok(Ok(Some(address))) => Ok(address),
                Ok(Ok(None)) => Err(io::Error::other("the name has no address")),
                Ok(Err(error)) => Err(error),
                Err(panic) => Err(io::Error::other(panic.to_string())),
            };
            let connecting = address.and_then(|address| master.connect_tls(communicator, address));
            if let Err(error) = connecting {
                master.failed(communicator, &error.to_string());
            }
        });
        lookup.map(drop)
    }

    #[cfg(feature = "tls")]
    fn connect_tls(
        self: &Rc<Self>,
        communicator: &Communicator,
        address: std::net::SocketAddr,
    ) -> io::Result<()> {
        let Address::Tls { host, client, .. } = &self.uplink.address else { return Ok(()) };
        let (lines, session) = self.session(Peer::Tcp(address));
        let id = communicator.connect_tls(address, host, client, lines, session)?;
        self.configure(communicator, id);
        Ok(())
    }

    fn session(self: &Rc<Self>, peer: Peer) -> (ClacksLines, Session) {
        let max_line = self.server.0.borrow().limits.max_line;
        let limit = Rc::new(Cell::new(max_line.min(MAX_LINE_BEFORE_LOGIN)));
        let lines = ClacksLines::new().limited_by(limit.clone());
        let session = Session {
            server: self.server.clone(),
            peer,
            client: None,
            waits_for_login: Some(limit),
            check: None,
            is_paused: false,
            master: Some(self.clone()),
        };
        (lines, session)
    }

    fn configure(&self, communicator: &Communicator, id: crate::communicator::Id<ClacksLines>) {
        let (limits, timeouts) = self.server.0.borrow().connection_limits();
        communicator.set_limits(id, limits);
        communicator.set_timeouts(id, timeouts);
        communicator.set_name(id, &format!("master {}", self.uplink));
    }

    /// The connection is up: the next failure is news.
    pub(super) fn connected(&self) {
        self.last_failure.borrow_mut().clear();
    }

    /// The connection has ended, or never came to be.
    pub(super) fn lost(self: &Rc<Self>, why: &Closed, cx: &Cx<'_, ClacksLines>) {
        self.failed(cx, &why.to_string());
    }

    fn failed(self: &Rc<Self>, communicator: &Communicator, why: &str) {
        if self.server.0.borrow().stopping {
            return;
        }
        let pause = self.uplink.pause.saturating_add(self.uplink.jitter.mul_f64(random_part()));
        let news = *self.last_failure.borrow() != why;
        if news {
            log::warn!("master {}: {why}; trying again every {:?} or so", self.uplink, self.uplink.pause);
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
