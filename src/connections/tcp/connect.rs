//! Where to connect to by TCP, and how.

use super::dial::Dial;
use super::options::TcpOptions;
use crate::connections::connect::{Attempt, Connect};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How to connect to a TCP server: by its name, which is resolved anew each time, or by its addresses.
///
/// Addresses are tried in turn, of both families alternately, as RFC 8305 ("happy eyeballs") says: the next one at
/// once when one fails, or when one has not answered within the [delay](Self::attempt_delay), beside it. The first that
/// answers is taken.
///
/// ```no_run
/// use eventdispatcher::{Communicator, TcpConnect, TcpOptions, codec::Lines, on_item};
/// use std::time::Duration;
///
/// let communicator = Communicator::new()?;
/// let to = TcpConnect::to("example.org", 4040)
///     .deadline(Duration::from_secs(10))
///     .options(TcpOptions { user_timeout: Some(Duration::from_secs(60)), ..TcpOptions::default() });
/// communicator.connect_tcp(to, Lines::new(), on_item::<Lines, _>(|line, _| Ok(println!("{line}"))))?;
/// communicator.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Where one is taken, a host and a port, or a [`SocketAddr`], will do. An address that is parsed needs its type, as there is more than
/// one that would:
///
/// ```
/// use eventdispatcher::{Communicator, codec::Lines, on_item};
/// use std::net::SocketAddr;
///
/// let communicator = Communicator::new()?;
/// let print = || on_item::<Lines, _>(|line, _| Ok(println!("{line}")));
/// communicator.connect_tcp(("localhost", 4040), Lines::new(), print())?;
/// communicator.connect_tcp("[::1]:4040".parse::<SocketAddr>()?, Lines::new(), print())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TcpConnect {
    pub(super) target: Target,
    pub(super) attempt_delay: Duration,
    pub(super) deadline: Option<Duration>,
    pub(super) source: Option<IpAddr>,
    pub(super) device: Option<String>,
    pub(super) options: TcpOptions,
}

#[derive(Debug, Clone)]
pub(super) enum Target {
    Name(String, u16),
    Addresses(Vec<SocketAddr>),
}

impl TcpConnect {
    /// To a server by its name or numeric address. A name is resolved off the loop, on one of at most eight threads of
    /// the process.
    pub fn to(host: &str, port: u16) -> Self {
        match host.parse() {
            Ok(address) => Self::to_any([SocketAddr::new(address, port)]),
            Err(_) => Self::new(Target::Name(host.to_owned(), port)),
        }
    }

    /// To the first of these addresses that answers. At most 64 are tried.
    pub fn to_any(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self::new(Target::Addresses(addresses.into_iter().collect()))
    }

    fn new(target: Target) -> Self {
        Self {
            target,
            attempt_delay: Duration::from_millis(250),
            deadline: None,
            source: None,
            device: None,
            options: TcpOptions::default(),
        }
    }

    /// Sets how long an address has for itself before the next one is tried beside it; 250 ms unless set, at least
    /// 10 ms, as RFC 8305 says, and at most an hour.
    #[must_use]
    pub fn attempt_delay(mut self, delay: Duration) -> Self {
        self.attempt_delay = delay.clamp(Duration::from_millis(10), Duration::from_secs(3600));
        self
    }

    /// Sets how long the whole may take, the resolving of the name included. A connection of the loop has
    /// [`Timeouts::connect`](crate::Timeouts::connect) in any case.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Connects from this address. Those of the other family are not tried then.
    #[must_use]
    pub fn source(mut self, address: IpAddr) -> Self {
        self.source = Some(address);
        self
    }

    /// Connects only through this network device, such as `eth0`.
    #[must_use]
    pub fn device(mut self, name: &str) -> Self {
        self.device = Some(name.to_owned());
        self
    }

    /// Sets the options of the socket.
    #[must_use]
    pub fn options(mut self, options: TcpOptions) -> Self {
        self.options = options;
        self
    }

    /// One attempt: a transport that connects when it is asked whether it is established. Any number can be made.
    ///
    /// [`Communicator::connect_tcp`](crate::Communicator::connect_tcp) does this; by itself it is for putting a layer around it, for
    /// [`Blocking`](crate::Blocking), or for whoever tries again.
    pub fn dial(&self) -> Dial {
        Dial::new(self.clone())
    }
}

/// Each attempt is a new [`Dial`]: names are resolved again, and all addresses are tried.
impl Connect for TcpConnect {
    type Transport = Dial;

    fn connect(&mut self, attempt: Attempt<Dial>) {
        attempt.done(Ok(self.dial()));
    }

    fn name(&self) -> String {
        self.to_string()
    }
}

impl From<SocketAddr> for TcpConnect {
    fn from(address: SocketAddr) -> Self {
        Self::to_any([address])
    }
}

impl From<(&str, u16)> for TcpConnect {
    fn from((host, port): (&str, u16)) -> Self {
        Self::to(host, port)
    }
}

/// Where to, for logs.
impl fmt::Display for TcpConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Name(host, port) => write!(f, "{host}:{port}"),
            Target::Addresses(addresses) => {
                for (n, address) in addresses.iter().enumerate() {
                    write!(f, "{}{address}", if n > 0 { ", " } else { "" })?;
                }
                Ok(())
            }
        }
    }
}
