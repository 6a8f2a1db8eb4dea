//! Why there is no figure.

use std::fmt;
use std::io;

/// Why there is no figure.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The protocol has nothing of the kind.
    Unsuited,
    /// The connection, while something was being done with it.
    Connection(&'static str, String),
    /// The server has sent what it must not, in this protocol or in this scenario.
    Server(String),
    /// Nothing has come for a long time.
    Stalled(String),
}

impl Failure {
    pub(crate) fn connection(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Connection(doing, error.to_string())
    }

    /// An error message of the server's.
    pub(crate) fn told(line: &[u8]) -> Self {
        let start = line.get(..200).unwrap_or(line);
        Self::Server(format!("it says {:?}", String::from_utf8_lossy(start)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsuited => write!(f, "the protocol has nothing of the kind"),
            Self::Connection(doing, error) => write!(f, "{doing}: {error}"),
            Self::Server(what) => write!(f, "the server: {what}"),
            Self::Stalled(what) => write!(f, "stalled: {what}"),
        }
    }
}
