use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// Why there are no credentials.
#[derive(Debug)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The system refused something.
    Io {
        /// What: `open`, `read`.
        doing: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file or folder is a symbolic link, which may lead anywhere.
    Link {
        /// Which.
        path: PathBuf,
    },
    /// The private folder is no folder.
    NoFolder {
        /// Which.
        path: PathBuf,
    },
    /// A file or folder belongs to another user.
    Owner {
        /// Which.
        path: PathBuf,
        /// The number of that user.
        uid: u32,
    },
    /// The password file can be reached by others, who may know the password.
    Mode {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A password file does not hold what it should.
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong, to be said after the path.
        what: &'static str,
    },
    /// There are no random bytes.
    Random {
        /// Why.
        error: io::Error,
    },
    /// A hash of a password can't be made, or is none.
    Hash {
        /// What is wrong.
        what: String,
    },
}

impl CredentialsError {
    pub(super) fn hash(what: String) -> Self {
        Self::Hash { what }
    }

    pub(super) fn io(doing: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io { doing, path: path.into(), error }
    }

    pub(super) fn content(path: impl Into<PathBuf>, what: &'static str) -> Self {
        Self::Content { path: path.into(), what }
    }
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, error } => write!(f, "can't {doing} {}: {error}", path.display()),
            Self::Link { path } => write!(f, "{} is a symbolic link: remove it", path.display()),
            Self::NoFolder { path } => write!(f, "{} is no folder: remove it", path.display()),
            Self::Owner { path, uid } => {
                write!(f, "{} belongs to user {uid}, not to user {}", path.display(), geteuid())
            }
            Self::Mode { path, mode } => write!(
                f,
                "{} has mode {mode:03o}, so that others may know the password: remove it for a new one",
                path.display()
            ),
            Self::Content { path, what } => write!(f, "{} {what}", path.display()),
            Self::Hash { what } => f.write_str(what),
            Self::Random { error } => write!(f, "can't get random bytes: {error}"),
        }
    }
}

impl std::error::Error for CredentialsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } | Self::Random { error } => Some(error),
            _ => None,
        }
    }
}
