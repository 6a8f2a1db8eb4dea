//! What a server tells a client without being asked.

use super::super::flags::Flags;
use super::super::server_line::{ServerLine, client_fields};

/// Something that a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The login succeeded; from now on commands count. The server's name and version.
    Connected {
        /// As in its greeting.
        server: String,
    },
    /// A [lasting](super::Client::lasting) client has logged in again after a loss, and listens, and monitors, as before. What was
    /// signalled meanwhile it has not heard.
    Reconnected {
        /// As in its greeting.
        server: String,
        /// To how many names it listens.
        listening: usize,
    },
    /// A signal without a value.
    Notify {
        /// Its name.
        name: Vec<u8>,
    },
    /// A signal with a value.
    Set {
        /// Its name.
        name: Vec<u8>,
        /// Its value, as it is on the wire: see [`decode_value`](super::decode_value).
        value: Vec<u8>,
    },
    /// What a monitor sees: another client's line, or, with `CONNECTED`, `DISCONNECTED` or `SERVERCACHE` for a host, what
    /// the server did.
    Debug {
        /// Whose line.
        host: Vec<u8>,
        /// The line.
        command: Vec<u8>,
    },
    /// The server reports an error that belongs to no request.
    Error {
        /// Its words.
        message: String,
    },
    /// The server says something that needs nothing done. What it says before the login is no event.
    Informal {
        /// Its words.
        message: String,
    },
    /// Somebody sent something to everybody: the whole line.
    Broadcast {
        /// With flags and value.
        line: Vec<u8>,
    },
}

impl Event {
    /// The event that a line is, if it is one.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        Some(match ServerLine::parse(line) {
            ServerLine::Notify(name) => Self::Notify { name: name.to_vec() },
            ServerLine::Set(pair) => Self::Set { name: pair.name.to_vec(), value: pair.value.to_vec() },
            ServerLine::Debug { host, command } => {
                Self::Debug { host: host.to_vec(), command: command.to_vec() }
            }
            ServerLine::Overhead(overhead) if overhead.flags.contains(Flags::ERROR) => {
                Self::Error { message: text(overhead.value) }
            }
            ServerLine::Overhead(overhead) if overhead.flags.contains(Flags::FORWARD) => {
                Self::Broadcast { line: line.to_vec() }
            }
            ServerLine::Overhead(overhead) if overhead.flags.contains(Flags::INFORMAL) => {
                Self::Informal { message: text(overhead.value) }
            }
            _ => return None,
        })
    }
}

/// One of the clients of a server, as `CLIENTLIST` shows it: names and values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// In the server's order: CID, HOST, PORT, CLIENTINFO …
    pub fields: Vec<(String, String)>,
}

impl ClientInfo {
    pub(super) fn of(fields: &[u8]) -> Self {
        Self { fields: client_fields(fields).map(|(name, value)| (text(name), text(value))).collect() }
    }

    /// A field's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| &**value)
    }
}

/// What a `STATUS` line tells: a name and a value.
pub(super) fn status_field(line: &[u8]) -> Option<(String, String)> {
    let line = text(line.strip_prefix(b"STATUS ")?);
    let (name, value) = line.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
