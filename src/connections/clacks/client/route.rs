//! The way to a server.

use super::error::ClientError;
#[cfg(feature = "tls")]
use crate::connections::TcpConnect;
#[cfg(feature = "tls")]
use crate::connections::tls::{Tls, TlsClient};
use crate::connections::{Attempt, Connect, Transport};
use mio::net::UnixStream;
use std::fmt;
use std::io;
use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::time::Duration;

/// The port of a server unless it is said.
#[cfg(feature = "tls")]
pub(super) const DEFAULT_PORT: u16 = 49888;

/// The way to a server, for as many connections as are wanted: a socket file, or a host with what is known of its
/// certificate. [`ClientOptions::route`](super::ClientOptions::route) makes it. As a connector it is for a client that
/// [lasts](super::Client::lasting).
///
/// The name of a host is resolved at each connection, beside the loop, and its addresses are tried as a
/// [`TcpConnect`](crate::TcpConnect) does it.
#[derive(Debug, Clone)]
pub struct Route(Way);

#[derive(Debug, Clone)]
enum Way {
    Socket(PathBuf),
    #[cfg(feature = "tls")]
    Tls {
        host: HostPort,
        to: TcpConnect,
        tls: TlsClient,
    },
}

impl Route {
    pub(super) fn socket(path: PathBuf) -> Self {
        Self(Way::Socket(path))
    }

    #[cfg(feature = "tls")]
    pub(super) fn tls(host: HostPort, tls: TlsClient, timeout: Duration) -> Self {
        let to = TcpConnect::to(&host.name, host.port).deadline(timeout);
        Self(Way::Tls { host, to, tls })
    }

    /// Begins to connect, and waits for nothing: what comes of a name and its addresses is seen when the transport is
    /// asked whether it is established.
    ///
    /// # Errors
    /// When there is nobody; the error names where.
    pub fn connect(&self) -> Result<Box<dyn Transport>, ClientError> {
        self.begin().map_err(ClientError::Connect)
    }

    fn begin(&self) -> io::Result<Box<dyn Transport>> {
        let made: io::Result<Box<dyn Transport>> = match &self.0 {
            Way::Socket(path) => UnixStream::connect(path).map(|stream| Box::new(stream) as _),
            #[cfg(feature = "tls")]
            Way::Tls { host, to, tls } => {
                Tls::client(to.dial(), &host.name, tls).map(|stream| Box::new(stream) as _)
            }
        };
        made.map_err(|error| io::Error::new(error.kind(), format!("can't connect to {self}: {error}")))
    }
}

impl Connect for Route {
    type Transport = Box<dyn Transport>;

    fn connect(&mut self, attempt: Attempt<Self::Transport>) {
        attempt.done(self.begin());
    }

    fn name(&self) -> String {
        self.to_string()
    }
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
