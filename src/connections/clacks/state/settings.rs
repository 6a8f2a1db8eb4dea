//! What can be set.

use std::time::Duration;

use super::node::NodeId;

/// The settings of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name and version in the greeting.
    pub server_name: String,
    /// A client that sent no `PING` for so long is closed, unless it said `NOPING`.
    pub ping_timeout: Duration,
    /// A linked server that was silent for so long is closed.
    pub interclacks_ping_timeout: Duration,
    /// A client that has not logged in for so long is closed.
    pub auth_timeout: Duration,
    /// From where logins fail again and again, the next ones wait for up to so long before they are looked at; zero: never.
    pub failed_login_pause_max: Duration,
    /// A client that takes no output for so long is closed.
    pub stalled_write_timeout: Duration,
    /// A linked server that takes no output for so long is closed.
    pub interclacks_stalled_write_timeout: Duration,
    /// A client that nothing was sent to for so long gets a `NOP`.
    pub nop_interval: Duration,
    /// Tombstones are forgotten after.
    pub deleted_cache_time: Duration,
    /// Entries that nobody asked for are forgotten after.
    pub stale_cache_time: Duration,
    /// How often old entries are looked for.
    pub cache_clean_interval: Duration,
    /// How many entries one call of [`State::clean`](super::State::clean) looks at.
    pub clean_budget: usize,
    /// How much memory the names that one client listens to may take, in bytes: each its length and
    /// some 200 more.
    pub names_bytes_max: usize,
    /// Which server this is, for others of its kind.
    pub node: NodeId,
}

impl Settings {
    /// How often linked servers are sent a `PING`: rounded up, so that the third one is not due before the other side's
    /// time is over.
    pub(super) fn link_ping_interval(&self) -> Duration {
        (self.interclacks_ping_timeout / 3).saturating_add(Duration::from_nanos(1))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server_name: concat!("eventdispatcher ", env!("CARGO_PKG_VERSION")).to_owned(),
            ping_timeout: Duration::from_secs(180),
            interclacks_ping_timeout: Duration::from_secs(60),
            auth_timeout: Duration::from_secs(15),
            failed_login_pause_max: Duration::from_secs(4),
            stalled_write_timeout: Duration::from_secs(60),
            interclacks_stalled_write_timeout: Duration::from_secs(120),
            nop_interval: Duration::from_secs(60),
            deleted_cache_time: Duration::from_secs(3600),
            stale_cache_time: Duration::from_secs(86400),
            cache_clean_interval: Duration::from_secs(60),
            clean_budget: 1024,
            names_bytes_max: 64 << 20,
            node: NodeId::default(),
        }
    }
}
