//! Why a command did not do what it was asked, and what the user is told.

use crate::shared::exit::{Exit, complain};
use eventdispatcher::connections::clacks::client::ClientError;
use eventdispatcher::tls::{CertificateFault, TlsError};
use std::fmt;
use std::io::{self, ErrorKind};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What it is about is not there.
    NotFound(String),
    /// It can't be done as it was said.
    Usage(String),
    /// The server, or the way to it.
    Client(ClientError),
    /// Standard input can't be read.
    Input(io::Error),
    /// Standard output can't be written.
    Output(io::Error),
    /// The system gives no poll, no thread.
    System(io::Error),
    /// The user ended it before it was done.
    Interrupted,
}

impl Failure {
    /// Tells the user, and with which code to exit. `goes_to_host`: it may be of a server that was not looked for by a socket.
    pub(crate) fn report(&self, goes_to_host: bool) -> Exit {
        let exit = self.exit();
        if exit != Exit::Success {
            complain("clacks", self);
            if let Some(hint) = self.hint(goes_to_host) {
                complain("clacks", hint);
            }
        }
        exit
    }

    fn exit(&self) -> Exit {
        match self {
            // Who reads has seen enough.
            Self::Output(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Success,
            Self::NotFound(_) | Self::Input(_) | Self::Output(_) | Self::System(_) | Self::Interrupted => {
                Exit::Failed
            }
            Self::Usage(_) => Exit::Usage,
            Self::Client(error) => match error {
                ClientError::LoginFailed | ClientError::PermissionDenied | ClientError::Refused(_) => {
                    Exit::Failed
                }
                ClientError::BadName(_)
                | ClientError::BadValue
                | ClientError::BadHost(_)
                | ClientError::Structure(_)
                | ClientError::Tls(_)
                | ClientError::Environment(_) => Exit::Usage,
                _ => Exit::NoConnection,
            },
        }
    }

    fn hint(&self, goes_to_host: bool) -> Option<&'static str> {
        match self {
            Self::Client(ClientError::Connect(error)) if is_unknown_certificate(error) => Some(
                "if it is the server's all the same, name the file with it, or with that of the authority that has signed it: \
                 --ca FILE or CLACKS_CA=FILE",
            ),
            Self::Client(ClientError::Connect(_)) if goes_to_host => None,
            Self::Client(ClientError::NoServer(_)) => {
                Some("start one with `clacksd`, or name its socket: --socket PATH or CLACKS_SOCKET=PATH")
            }
            Self::Client(ClientError::Connect(error))
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
            {
                Some(
                    "no server runs there: start one with `clacksd`, or name its socket: --socket PATH or CLACKS_SOCKET=PATH",
                )
            }
            Self::Client(ClientError::NoPassword(_)) => {
                Some("say where it is: --password-file FILE, CLACKS_PASSWORD_FILE=FILE or CLACKS_PASSWORD")
            }
            Self::Client(ClientError::BadValue) => Some("without --raw-values that is done here"),
            _ => None,
        }
    }
}

/// Whether a server was refused for a certificate that could be trusted if the user says so.
fn is_unknown_certificate(error: &io::Error) -> bool {
    matches!(
        TlsError::of(error),
        Some(TlsError::Certificate(
            CertificateFault::UnknownIssuer | CertificateFault::BadSignature | CertificateFault::Other(_)
        ))
    )
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(what) | Self::Usage(what) => f.write_str(what),
            Self::Client(error) => error.fmt(f),
            Self::Input(error) => write!(f, "can't read standard input: {error}"),
            Self::Output(error) => write!(f, "can't write to standard output: {error}"),
            Self::System(error) => error.fmt(f),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}
