//! What `clacksd` is configured with: the settings, and the XML file that they are read from.
//!
//! The format is the reference server's own. [`Configuration::load`] looks for a file and reads it;
//! [`Configuration::parse`] does the same with a text, and is a function of its arguments alone.
//! Both collect every problem and not only the first, each with its line and column.

mod assemble;
mod file;
mod loaded;
mod notes;
mod parts;
mod problems;
mod reader;
mod restart;
mod settings;
mod source;
mod value;

use std::path::PathBuf;
use std::time::Duration;

pub use file::{Surroundings, find};
pub use loaded::Loaded;
pub use problems::{Place, Problem, Problems, Severity};
pub use source::MAX_LENGTH;

use super::credentials::{Password, PasswordHash};
use super::persistence::JournalSync;

/// The settings of a clacks server.
///
/// [`new`](Self::new) has the defaults; what then lacks is a way in: a socket, or TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Configuration {
    /// The name under which the server greets: one line. Default: `clacksd`.
    pub app_name: String,
    /// The Unix sockets to listen on, each path at most 107 bytes long. Default: none.
    pub sockets: Vec<PathBuf>,
    /// The permissions of the sockets, `0` to `0o777`. Default: as the umask says.
    pub socket_mode: Option<u32>,
    /// Shell commands to run once the sockets exist. Default: none.
    pub socket_commands: Vec<String>,
    /// Where to listen with TLS. Default: nowhere.
    pub tls: Option<Tls>,
    /// The name of the main user, who has all permissions. Interclacks links use it too.
    pub username: String,
    /// The password of the main user; empty if only a hash of it is known.
    pub password: Password,
    /// What the password of the main user is compared with if it is not known. Interclacks links need the password itself.
    pub password_hash: Option<PasswordHash>,
    /// The other users; no two have the same name, and none has the main user's. Default: none.
    pub users: Vec<User>,
    /// Where the cache is kept while the server is down. Default: nowhere.
    pub persistence_file: Option<PathBuf>,
    /// A changed cache is written at most so often. Default: 10 s.
    pub persistence_interval: Duration,
    /// Whether a journal stands beside the persistence file. Default: yes.
    pub journal: bool,
    /// When the journal is brought to the disk itself. Default: each second.
    pub journal_sync: JournalSync,
    /// A client that sends no PING for so long is closed. Default: 180 s. The reference client sends
    /// none in its first 120 s.
    pub ping_timeout: Duration,
    /// The same for interclacks links. Default: 60 s.
    pub interclacks_ping_timeout: Duration,
    /// A client that has not logged in after so long is closed. Default: 15 s.
    pub auth_timeout: Duration,
    /// The longest pause before a login from where others have failed is looked at; none with 0. Default: 4 s.
    pub failed_login_pause: Duration,
    /// The pause before a lost master is tried again. Default: 30 s.
    pub interclacks_reconnect_timeout: Duration,
    /// A client that takes nothing of its waiting output for so long is closed. Default: 60 s.
    pub stalled_write_timeout: Duration,
    /// The same for interclacks links. Default: 120 s.
    pub interclacks_stalled_write_timeout: Duration,
    /// The memory of a removed entry is dropped after so long. Default: 3,600 s.
    pub deleted_cache_time: Duration,
    /// An entry that nobody reads or writes for so long is dropped. Default: 86,400 s.
    pub stale_cache_time: Duration,
    /// How often the two above are looked after. Default: 60 s.
    pub cache_clean_interval: Duration,
    /// The server that this one is a slave of. Default: none.
    pub master: Option<Master>,
    /// Where the state of the clients is written every 10 s. Default: nowhere.
    pub debug_file: Option<PathBuf>,
    /// The Unix socket on which `clacksd` takes messages from its operator. Default: beside the first socket.
    pub control: Option<PathBuf>,
    /// Whether that is a stream, with a line for each message; else each is a datagram. Default: datagrams.
    pub is_control_stream: bool,
    /// The longest line that is read, in bytes. Default: 16 MiB.
    pub max_line: usize,
    /// How much output may wait for one client, in bytes; at least 1024 more than `max_line`. Default: 64 MiB.
    pub max_out_buffer: usize,
    /// How many clients may be connected at a time. Default: 10,000.
    pub max_clients: usize,
}

/// Where and how to listen with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// IP addresses or host names, without brackets, at least one.
    pub addresses: Vec<String>,
    /// The port of each of them; 0 is any free one.
    pub port: u16,
    /// The file of the certificate and its chain, in PEM.
    pub certificate: PathBuf,
    /// The file of the private key, in PEM.
    pub key: PathBuf,
}

/// A user beside the main user, who never has the permission for interclacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name to log in with.
    pub name: String,
    /// The password to log in with; empty if only a hash of it is known.
    pub password: Password,
    /// What the password is compared with if it is not known.
    pub password_hash: Option<PasswordHash>,
    /// May listen and retrieve.
    pub read: bool,
    /// May notify, set and store.
    pub write: bool,
    /// May monitor, list and disconnect clients, clear the cache, and stop the server.
    pub manage: bool,
}

/// Where the master of a slave is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Master {
    /// On this machine.
    Socket(PathBuf),
    /// Behind TLS.
    Tls {
        /// An IP address or a host name, without brackets.
        host: String,
        /// 1 to 65535.
        port: u16,
        /// The file with the certificates that the master's must descend from, in PEM. Without it the master's is not
        /// verified.
        ca: Option<PathBuf>,
    },
}

impl Configuration {
    /// The defaults, with this main user.
    pub fn new(username: impl Into<String>, password: Password) -> Self {
        Self {
            app_name: "clacksd".into(),
            sockets: Vec::new(),
            socket_mode: None,
            socket_commands: Vec::new(),
            tls: None,
            username: username.into(),
            password,
            password_hash: None,
            users: Vec::new(),
            persistence_file: None,
            persistence_interval: Duration::from_secs(10),
            journal: true,
            journal_sync: JournalSync::Interval,
            ping_timeout: Duration::from_secs(180),
            interclacks_ping_timeout: Duration::from_secs(60),
            auth_timeout: Duration::from_secs(15),
            failed_login_pause: Duration::from_secs(4),
            interclacks_reconnect_timeout: Duration::from_secs(30),
            stalled_write_timeout: Duration::from_secs(60),
            interclacks_stalled_write_timeout: Duration::from_secs(120),
            deleted_cache_time: Duration::from_secs(3_600),
            stale_cache_time: Duration::from_secs(86_400),
            cache_clean_interval: Duration::from_secs(60),
            master: None,
            debug_file: None,
            control: None,
            is_control_stream: false,
            max_line: 16 << 20,
            max_out_buffer: 64 << 20,
            max_clients: 10_000,
        }
    }
}

#[cfg(test)]
mod tests;
