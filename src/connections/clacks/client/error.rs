//! What can fail for a client.

use super::super::credentials::CredentialsError;
use super::structure::YamlError;
use crate::codec::EncodeError;
use crate::communicator::SendError;
use crate::connections::BlockingError;
#[cfg(feature = "tls")]
use crate::connections::tls::TlsError;
use std::fmt;
use std::io;

/// Why a client could not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no server, or it may not be reached.
    Connect(io::Error),
    /// Nothing says where a server is, and none has been started without settings.
    NoServer(CredentialsError),
    /// There is no password to log in with.
    NoPassword(CredentialsError),
    /// The environment variable of this name is no UTF-8 text.
    Environment(&'static str),
    /// What is no host, nor a host and a port.
    BadHost(String),
    /// The trusted certificates, or its own, can't be used: why.
    Tls(String),
    /// What answers is no clacks server: it sent this instead of a greeting.
    NotClacks(String),
    /// The server does not know this user with this password.
    LoginFailed,
    /// The user may not do this.
    PermissionDenied,
    /// The server refused something with these words.
    Refused(String),
    /// A name that the protocol can't express: it is empty, or holds a line end, or `=` behind its first byte.
    BadName(String),
    /// A value that the protocol can't express: it holds a line end. See
    /// [`encode_value`](super::encode_value).
    BadValue,
    /// A structured value that can't be written, or that another client has written and this one can't read.
    Structure(YamlError),
    /// Too much output waits already.
    Full,
    /// The server is away, and what was to be sent does not wait for it.
    Away,
    /// There was no answer in time.
    TimedOut,
    /// The server ended the connection: with `QUIT`.
    Quit,
    /// The server ended the connection: it had no sign of life for too long.
    TimedOutByServer,
    /// The connection is gone.
    Disconnected(String),
}

impl ClientError {
    /// What an `OVERHEAD E` says.
    pub(super) fn refusal(message: &str) -> Self {
        match message {
            "permission_denied" => Self::PermissionDenied,
            words => Self::Refused(words.to_owned()),
        }
    }

    /// The same once more, for all who wait for the same connection.
    pub(super) fn same(&self) -> Self {
        match self {
            Self::Connect(error) => Self::Connect(same_error(error)),
            Self::LoginFailed => Self::LoginFailed,
            Self::PermissionDenied => Self::PermissionDenied,
            Self::Refused(words) => Self::Refused(words.clone()),
            Self::Full => Self::Full,
            Self::Away => Self::Away,
            Self::TimedOut => Self::TimedOut,
            Self::Quit => Self::Quit,
            Self::TimedOutByServer => Self::TimedOutByServer,
            Self::Disconnected(why) => Self::Disconnected(why.clone()),
            other => Self::Disconnected(other.to_string()),
        }
    }
}

/// An error once more: its kind and its text, and what TLS can be asked about it.
pub(super) fn same_error(error: &io::Error) -> io::Error {
    #[cfg(feature = "tls")]
    if let Some(error) = TlsError::of(error) {
        return error.clone().into();
    }
    io::Error::new(error.kind(), error.to_string())
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::NoServer(error) => write!(f, "no server found: {error}"),
            Self::NoPassword(error) => write!(f, "no password to log in with: {error}"),
            Self::Environment(name) => write!(f, "the environment variable {name} is no UTF-8 text"),
            Self::BadHost(host) => write!(f, "{host:?} is neither HOST nor HOST:PORT"),
            Self::Tls(why) => f.write_str(why),
            Self::NotClacks(line) => write!(f, "this is no clacks server: it says {line:?}"),
            Self::LoginFailed => f.write_str("login failed: the server does not know this user and password"),
            Self::PermissionDenied => f.write_str("permission denied: this user may not do that"),
            Self::Refused(words) => write!(f, "the server refused it: {words}"),
            Self::BadName(name) => {
                write!(f, "{name:?} is no name: it must not be empty nor hold '=' or a line end")
            }
            Self::BadValue => f.write_str("the value holds a line end, which must be encoded"),
            Self::Structure(error) => write!(f, "the structured value can't be used: {error}"),
            Self::Full => f.write_str("too much output waits"),
            Self::Away => f.write_str("the server is away"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Quit => f.write_str("the server ended the connection"),
            Self::TimedOutByServer => {
                f.write_str("the server ended the connection: no sign of life for too long")
            }
            Self::Disconnected(why) => write!(f, "disconnected: {why}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            Self::NoServer(error) | Self::NoPassword(error) => Some(error),
            Self::Structure(error) => Some(error),
            _ => None,
        }
    }
}

impl From<BlockingError> for ClientError {
    fn from(error: BlockingError) -> Self {
        match error {
            BlockingError::TimedOut => Self::TimedOut,
            BlockingError::Connect(error) => Self::Connect(error),
            BlockingError::Encode(_) => Self::BadValue,
            error => Self::Disconnected(error.to_string()),
        }
    }
}

impl From<SendError> for ClientError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Full { .. } => Self::Full,
            SendError::Encode(_) => Self::BadValue,
            SendError::Away => Self::Away,
            SendError::Gone | SendError::NotPermanent => Self::Disconnected(error.to_string()),
        }
    }
}

impl From<EncodeError> for ClientError {
    fn from(_: EncodeError) -> Self {
        Self::BadValue
    }
}
