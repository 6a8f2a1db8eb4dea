//! Connections that reconnect by themselves, with TLS.

use super::client::TlsClient;
use super::transport::{self, Tls};
use crate::connections::{Attempt, Connect};
use rustls::pki_types::ServerName;
use std::fmt;
use std::io;

/// Connects with TLS over what another connector makes, for [`Communicator::permanent`](crate::Communicator::permanent). The
/// handshake is part of each attempt. What the [`TlsClient`] has read anew meanwhile counts for the next one.
///
/// ```no_run
/// use eventdispatcher::codec::Lines;
/// use eventdispatcher::tls::{TlsClient, ToTls};
/// use eventdispatcher::{Communicator, Reconnect, TcpConnect, on_item};
///
/// let communicator = Communicator::new()?;
/// let below = TcpConnect::to("service.example", 4041);
/// let server = ToTls::new(below, "service.example", &TlsClient::new()?)?;
/// communicator.permanent(server, Reconnect::default(), Lines::new, on_item::<Lines, _>(|_, _| Ok(())));
/// communicator.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ToTls<K> {
    below: K,
    expected: ServerName<'static>,
    client: TlsClient,
}

impl<K: Connect> ToTls<K> {
    /// Over `below`, to a server that must have a certificate for `name`: a host name, which is told to it
    /// (SNI), or an IP address.
    ///
    /// # Errors
    /// `InvalidInput` when `name` is no name.
    pub fn new(below: K, name: &str, client: &TlsClient) -> io::Result<Self> {
        Ok(Self { below, expected: transport::server_name(name)?, client: client.clone() })
    }
}

impl<K: Connect> Connect for ToTls<K> {
    type Transport = Tls<K::Transport>;

    fn connect(&mut self, attempt: Attempt<Self::Transport>) {
        let (expected, client) = (self.expected.clone(), self.client.clone());
        self.below.connect(attempt.map(move |stream| Tls::client_of(stream, expected, &client)));
    }

    fn name(&self) -> String {
        format!("{} ({})", self.expected.to_str(), self.below.name())
    }
}

impl<K: fmt::Debug> fmt::Debug for ToTls<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToTls")
            .field("below", &self.below)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}
