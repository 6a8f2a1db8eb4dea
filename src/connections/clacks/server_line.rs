//! One line from a server, taken apart for a client.

use super::protocol::{Command, Overhead, Pair, split_at_byte, split_word};

/// What a server sends to a client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ServerLine<'a> {
    /// `CLACKS name`: the greeting.
    Clacks(&'a [u8]),
    /// `OVERHEAD flags value`
    Overhead(Overhead<'a>),
    /// `NOTIFY name`
    Notify(&'a [u8]),
    /// `SET name=value`
    Set(Pair<'a>),
    /// `RETRIEVED key=value`
    Retrieved(Pair<'a>),
    /// `NOTRETRIEVED key`
    NotRetrieved(&'a [u8]),
    /// `KEYLISTSTART`
    KeyListStart,
    /// `KEY name`
    Key(&'a [u8]),
    /// `KEYLISTEND`
    KeyListEnd,
    /// `CLIENTLISTSTART`
    ClientListStart,
    /// `CLIENT field=value;field=value;`: what follows the word, for [`client_fields`].
    Client(&'a [u8]),
    /// `CLIENTLISTEND`
    ClientListEnd,
    /// `FLUSHED id`
    Flushed(&'a [u8]),
    /// `DEBUG host=command`: what another client did; or what the server did, with `CONNECTED`,
    /// `DISCONNECTED` or `SERVERCACHE` for a host.
    Debug {
        /// A CID, or one of the three words.
        host: &'a [u8],
        /// What follows the first `=`.
        command: &'a [u8],
    },
    /// `NOP`: the server is alive.
    Nop,
    /// `QUIT`: the server ends the connection.
    Quit,
    /// `TIMEOUT`: the server ends the connection for want of a sign of life.
    Timeout,
    /// What only linked servers send to each other.
    Interclacks(Command<'a>),
    /// Anything else: the whole line.
    Unknown(&'a [u8]),
}

impl<'a> ServerLine<'a> {
    /// Takes a line apart: without line end and carriage returns.
    pub fn parse(line: &'a [u8]) -> Self {
        match line {
            b"KEYLISTSTART" => Self::KeyListStart,
            b"KEYLISTEND" => Self::KeyListEnd,
            b"CLIENTLISTSTART" => Self::ClientListStart,
            b"CLIENTLISTEND" => Self::ClientListEnd,
            _ => Self::with_argument(line).unwrap_or_else(|| Self::shared(line)),
        }
    }

    /// The words that only a server sends.
    fn with_argument(line: &'a [u8]) -> Option<Self> {
        let (word, argument) = split_word(line)?;
        if argument.is_empty() {
            return None;
        }
        Some(match word {
            b"RETRIEVED" => Self::Retrieved(Pair::parse(argument)?),
            b"NOTRETRIEVED" => Self::NotRetrieved(argument),
            b"KEY" => Self::Key(argument),
            b"CLIENT" => Self::Client(argument),
            b"DEBUG" => {
                let (host, command) = split_at_byte(argument, b'=')?;
                Self::Debug { host, command }
            }
            _ => return None,
        })
    }

    /// The words that both sides send.
    fn shared(line: &'a [u8]) -> Self {
        match Command::parse(line) {
            Command::Clacks(name) => Self::Clacks(name),
            Command::Overhead(overhead) => Self::Overhead(overhead),
            Command::Notify(name) => Self::Notify(name),
            Command::Set(pair) => Self::Set(pair),
            Command::Flushed(id) => Self::Flushed(id),
            Command::Nop => Self::Nop,
            Command::Quit => Self::Quit,
            Command::Timeout => Self::Timeout,
            Command::Unknown(line) => Self::Unknown(line),
            command @ (Command::SetAndStore(_)
            | Command::Store(_)
            | Command::Remove(_)
            | Command::Increment(_)
            | Command::Decrement(_)
            | Command::ClearCache
            | Command::KeySync(_)
            | Command::Ping) => Self::Interclacks(command),
            Command::Listen(_)
            | Command::Unlisten(_)
            | Command::Retrieve(_)
            | Command::KeyList
            | Command::Flush(_)
            | Command::NoPing
            | Command::Monitor
            | Command::Unmonitor
            | Command::ClientList
            | Command::Status
            | Command::ClientDisconnect(_) => Self::Unknown(line),
        }
    }
}

/// The fields of a [`ServerLine::Client`]: name and value.
pub fn client_fields(fields: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.split(|&b| b == b';').filter_map(|field| split_at_byte(field, b'='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::clacks::flags::Flags;

    fn check(line: &str, expected: ServerLine<'_>) {
        assert_eq!(ServerLine::parse(line.as_bytes()), expected, "{line}");
    }

    #[test]
    fn lines_of_a_server_are_taken_apart() {
        check("CLACKS PageCamel 36", ServerLine::Clacks(b"PageCamel 36"));
        let welcome = Overhead { flags: Flags::AUTH_OK, value: b"Welcome!" };
        check("OVERHEAD O Welcome!", ServerLine::Overhead(welcome));
        check("NOTIFY a b", ServerLine::Notify(b"a b"));
        check("SET a=b=c", ServerLine::Set(Pair { name: b"a", value: b"b=c" }));
        check("RETRIEVED ==", ServerLine::Retrieved(Pair { name: b"=", value: b"" }));
        check("NOTRETRIEVED not=here", ServerLine::NotRetrieved(b"not=here"));
        check("KEYLISTSTART", ServerLine::KeyListStart);
        check("KEY  x ", ServerLine::Key(b" x "));
        check("KEYLISTEND", ServerLine::KeyListEnd);
        check("CLIENTLISTSTART", ServerLine::ClientListStart);
        check("CLIENT CID=1;HOST=h;", ServerLine::Client(b"CID=1;HOST=h;"));
        check("CLIENTLISTEND", ServerLine::ClientListEnd);
        check("FLUSHED a b", ServerLine::Flushed(b"a b"));
        check("DEBUG u:1:2=SET a=b", ServerLine::Debug { host: b"u:1:2", command: b"SET a=b" });
        check("DEBUG CONNECTED=u:1:2", ServerLine::Debug { host: b"CONNECTED", command: b"u:1:2" });
        check("NOP", ServerLine::Nop);
        check("QUIT", ServerLine::Quit);
        check("TIMEOUT", ServerLine::Timeout);
        check("PING", ServerLine::Interclacks(Command::Ping));
        check("REMOVE x", ServerLine::Interclacks(Command::Remove(b"x")));
    }

    #[test]
    fn anything_else_is_unknown() {
        let lines =
            ["", " ", "KEY", "KEY ", "RETRIEVED x", "DEBUG x", "NOPE", "LISTEN x", "QUIT now", "KEYLIST"];
        for line in lines {
            check(line, ServerLine::Unknown(line.as_bytes()));
        }
    }

    #[test]
    fn a_client_has_fields_whose_values_may_hold_an_equals_sign() {
        let fields: Vec<_> = client_fields(b"CID=a:1:2;CLIENTINFO=x = y;PORT=;").collect();
        assert_eq!(fields, [(&b"CID"[..], &b"a:1:2"[..]), (b"CLIENTINFO", b"x = y"), (b"PORT", b"")]);
    }
}
