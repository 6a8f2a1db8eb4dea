//! How a client behaves by itself: what it waits for, and what it says unasked.

use std::time::Duration;

/// What a server may take to answer, unless set.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that has not even greeted after so long is none.
pub(super) const GREETING_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a sign of life is sent: as the reference client does, and well below the server's limit of 180 s.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(120);

/// The times of a client, and the name that it passes on.
#[derive(Debug, Clone)]
pub(in super::super) struct Manners {
    /// How long the login, each request, and output that nobody takes may last.
    pub(super) timeout: Duration,
    pub(super) remember: Option<Remember>,
}

/// Whose name goes round: to every client, the sender included, and no monitor.
#[derive(Debug, Clone)]
pub(super) struct Remember {
    name: String,
    pub(super) every: Duration,
}

impl Default for Manners {
    fn default() -> Self {
        let every = Duration::from_secs(60 * 60);
        Self {
            timeout: DEFAULT_TIMEOUT,
            remember: Some(Remember { name: "Terry Pratchett".to_owned(), every }),
        }
    }
}

impl Manners {
    pub(in super::super) fn with_timeout(timeout: Duration) -> Self {
        Self { timeout, ..Self::default() }
    }

    /// Passes this name on, or none.
    pub(super) fn remember(&mut self, name: Option<&str>) {
        // What can't stand in a line, or says nothing, is no name.
        let name = name.map(|name| name.replace(['\r', '\n'], " ")).filter(|name| !name.trim().is_empty());
        self.remember = name.map(|name| Remember { name, every: Duration::from_secs(60 * 60) });
    }
}

impl Remember {
    pub(super) fn line(&self) -> String {
        format!("OVERHEAD GNU {}", self.name)
    }
}
