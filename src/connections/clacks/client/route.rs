//! The way to a server.

use super::error::ClientError;
#[cfg(feature = "tls")]
use crate::connections::tls::{Tls, TlsClient};
use crate::connections::{Attempt, Connect, Transport};
use mio::net::UnixStream;
use std::fmt;
use std::io;
#[cfg(feature = "tls")]
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::time::Duration;

/// The port of a server unless it is said.
#[cfg(feature = "tls")]
pub(super) const DEFAULT_PORT: u16 = 49888;

/// The way to a server, for as many connections as are wanted: a socket file, or a host with what is known of its
/// certificate. [`ClientOptions::route`](super::ClientOptions::route) makes it.
#[derive(Debug, Clone)]
pub struct Route(Way);

#[derive(Debug, Clone)]
enum Way {
    Socket(PathBuf),
    #[cfg(feature = "tls")]
    Tls {
        host: HostPort,
        addresses: Vec<SocketAddr>,
        tls: TlsClient,
        timeout: Duration,
    },
}

impl Route {
    pub(super) fn socket(path: PathBuf) -> Self {
        Self(Way::Socket(path))
    }

    /// Resolves the name, which takes as long as the system wants.
    #[cfg(feature = "tls")]
    pub(super) fn tls(host: HostPort, tls: TlsClient, timeout: Duration) -> Result<Self, ClientError> {
        let failed = |error: io::Error| {
            let text = format!("can't resolve {}: {error}", host.name);
            ClientError::Connect(io::Error::new(error.kind(), text))
        };
        let addresses: Vec<_> = (host.name.as_str(), host.port).to_socket_addrs().map_err(failed)?.collect();
        if addresses.is_empty() {
            return Err(failed(io::Error::other("it has no address")));
        }
        Ok(Self(Way::Tls { host, addresses, tls, timeout }))
    }

    /// Begins to connect. If a name has several addresses, they are tried in turn, which waits for each: as long as a request
    /// may take at most.
    ///
    /// # Errors
    /// When there is nobody; the error names where.
    pub fn connect(&self) -> Result<Box<dyn Transport>, ClientError> {
        let failed = |error: io::Error| {
            ClientError::Connect(io::Error::new(error.kind(), format!("can't connect to {self}: {error}")))
        };
        match &self.0 {
            Way::Socket(path) => Ok(Box::new(UnixStream::connect(path).map_err(failed)?)),
            #[cfg(feature = "tls")]
            Way::Tls { host, addresses, tls, timeout } => {
                let stream = connect(addresses, *timeout).map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                Ok(Box::new(Tls::client(stream, &host.name, tls).map_err(failed)?))
            }
        }
    }
}

/// For a client that [lasts](super::Client::lasting). If a name has several addresses, each attempt after a failure tries the next one.
impl Connect for Route {
    type Transport = Box<dyn Transport>;

    fn connect(&mut self, attempt: Attempt<Self::Transport>) {
        let made = self
            .attempt(attempt.failures())
            .map_err(|error| io::Error::new(error.kind(), format!("can't connect to {self}: {error}")));
        attempt.done(made);
    }

    fn name(&self) -> String {
        self.to_string()
    }
}

impl Route {
    /// Begins to connect, after so many failures.
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "there is one way only"))]
    fn attempt(&self, failures: u64) -> io::Result<Box<dyn Transport>> {
        match &self.0 {
            Way::Socket(path) => Ok(Box::new(UnixStream::connect(path)?)),
            #[cfg(feature = "tls")]
            Way::Tls { host, addresses, tls, .. } => {
                let at = usize::try_from(failures).unwrap_or(0) % addresses.len().max(1);
                let address = addresses.get(at).ok_or_else(|| io::Error::other("it has no address"))?;
                let stream = mio::net::TcpStream::connect(*address)?;
                stream.set_nodelay(true)?;
                Ok(Box::new(Tls::client(stream, &host.name, tls)?))
            }
        }
    }
}

#[cfg(feature = "tls")]
fn connect(addresses: &[SocketAddr], timeout: Duration) -> io::Result<mio::net::TcpStream> {
    if let [address] = addresses {
        return mio::net::TcpStream::connect(*address);
    }
    let mut last = io::Error::other("it has no address");
    for address in addresses {
        match TcpStream::connect_timeout(address, timeout) {
            Ok(stream) => {
                stream.set_nonblocking(true)?;
                return Ok(mio::net::TcpStream::from_std(stream));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Way::Socket(path) => path.display().fmt(f),
            #[cfg(feature = "tls")]
            Way::Tls { host, .. } => host.fmt(f),
        }
    }
}

/// A host name or an address, and a port.
#[cfg(feature = "tls")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostPort {
    name: String,
    port: u16,
}

#[cfg(feature = "tls")]
impl HostPort {
    /// Reads `name`, `name:port`, `192.0.2.1:port`, `::1`, `[::1]` or `[::1]:port`.
    pub(super) fn parse(text: &str) -> Result<Self, ClientError> {
        let bad = || ClientError::BadHost(text.to_owned());
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, rest) = rest.split_once(']').ok_or_else(bad)?;
                let port = match rest.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if rest.is_empty() => None,
                    None => return Err(bad()),
                };
                name.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
                (name, port)
            }
            // More than one colon is an address of IPv6, which needs brackets before a port.
            None => match text.split_once(':') {
                Some((name, port)) if !port.contains(':') => (name, Some(port)),
                _ => (text, None),
            },
        };
        let port = match port {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?
            }
            Some(_) => return Err(bad()),
            None => DEFAULT_PORT,
        };
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(bad());
        }
        Ok(Self { name: name.to_owned(), port })
    }
}

#[cfg(feature = "tls")]
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_have_a_port() {
        let check = |text: &str, wanted: &str| {
            assert_eq!(HostPort::parse(text).unwrap().to_string(), wanted, "{text:?}");
        };
        check("example.org", "example.org:49888");
        check("example.org:1", "example.org:1");
        check("192.0.2.1:65535", "192.0.2.1:65535");
        check("::1", "[::1]:49888");
        check("[::1]", "[::1]:49888");
        check("[2001:db8::1]:42", "[2001:db8::1]:42");
        for bad in
            ["", ":1", "a:", "a:0", "a:65536", "a:+1", "[::1", "[::1]1", "[::1]:", "[a]:1", "a b", "a/b"]
        {
            let error = HostPort::parse(bad).unwrap_err();
            assert_eq!(error.to_string(), format!("{bad:?} is neither HOST nor HOST:PORT"));
        }
    }
}
