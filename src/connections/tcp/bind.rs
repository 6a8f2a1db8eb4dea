//! Listening on a TCP address.

use super::options::TcpOptions;
use crate::connections::listener::{Accept, MOST_WAITING};
use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use rustix::net::listen;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

/// How to listen on a TCP address.
///
/// ```
/// use eventdispatcher::{Communicator, TcpBind};
///
/// let bound = TcpBind::new("127.0.0.1:0".parse()?).backlog(64).device("lo").bind()?;
/// println!("clients find it at {}", bound.address());
/// let communicator = Communicator::new()?;
/// communicator.listen(bound, |client| {
///     println!("{} came", client.peer());
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TcpBind {
    address: SocketAddr,
    backlog: i32,
    reuse_address: bool,
    reuse_port: bool,
    only_v6: Option<bool>,
    device: Option<String>,
    options: TcpOptions,
}

impl TcpBind {
    /// On `address`; port 0 is any free one. As many clients may wait as the system allows.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            backlog: MOST_WAITING,
            reuse_address: true,
            reuse_port: false,
            only_v6: None,
            device: None,
            options: TcpOptions::default(),
        }
    }

    /// Sets how many clients may wait to be accepted; the system has a limit, too.
    #[must_use]
    pub fn backlog(mut self, backlog: u16) -> Self {
        self.backlog = backlog.into();
        self
    }

    /// Sets whether the address may be used though connections of a program that has ended are still remembered
    /// by the system (`SO_REUSEADDR`): for a minute, usually. `true` unless set. A listener that is alive is never displaced.
    #[must_use]
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// Sets whether others of the same user may listen on the same address, all of which set this; the system
    /// distributes the clients (`SO_REUSEPORT`). `false` unless set.
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Sets whether a listener on an IPv6 address refuses clients that come by IPv4 (`IPV6_V6ONLY`). The system
    /// decides unless set. It means nothing for an IPv4 address.
    #[must_use]
    pub fn only_v6(mut self, on: bool) -> Self {
        self.only_v6 = Some(on);
        self
    }

    /// Takes only clients that come through this network device, such as `eth0`.
    #[must_use]
    pub fn device(mut self, name: &str) -> Self {
        self.device = Some(name.to_owned());
        self
    }

    /// Sets what the clients' sockets inherit.
    #[must_use]
    pub fn options(mut self, options: TcpOptions) -> Self {
        self.options = options;
        self
    }

    /// Binds and listens.
    ///
    /// # Errors
    /// As the system says; the error names the address.
    pub fn bind(&self) -> io::Result<TcpBound> {
        self.listener().and_then(TcpBound::new).map_err(|error| {
            let device = self.device.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
            io::Error::new(error.kind(), format!("can't listen on {}{device}: {error}", self.address))
        })
    }

    fn listener(&self) -> io::Result<TcpListener> {
        let socket = tcp_socket(&self.address)?;
        setsockopt(&socket, sockopt::ReuseAddr, &self.reuse_address)?;
        if self.reuse_port {
            setsockopt(&socket, sockopt::ReusePort, &true)?;
        }
        if let (Some(only), SocketAddr::V6(_)) = (self.only_v6, self.address) {
            setsockopt(&socket, sockopt::Ipv6V6Only, &only)?;
        }
        if let Some(device) = &self.device {
            bind_to_device(&socket, device)?;
        }
        self.options.apply(&socket)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(self.address))?;
        listen(&socket, self.backlog)?;
        Ok(TcpListener::from_std(socket.into()))
    }
}

/// A TCP socket for an address of this family, that neither blocks nor is handed down.
pub(super) fn tcp_socket(address: &SocketAddr) -> io::Result<std::os::fd::OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    Ok(socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?)
}

pub(super) fn bind_to_device(socket: &std::os::fd::OwnedFd, device: &str) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::BindToDevice, &device.into())?)
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct TcpBound {
    listener: TcpListener,
    address: SocketAddr,
}

impl TcpBound {
    fn new(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens, with the port that the system chose if it was to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Source for TcpBound {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.listener.register(registry, token, interest)
    }
    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.listener.reregister(registry, token, interest)
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.listener.deregister(registry)
    }
}

impl Accept for TcpBound {
    type Stream = TcpStream;

    fn accept_one(&self) -> io::Result<(TcpStream, String)> {
        // What was set for the listener holds for it, too.
        let (stream, peer) = self.listener.accept()?;
        Ok((stream, peer.to_string()))
    }
    fn kind(&self) -> &'static str {
        "tcp listener"
    }
}
