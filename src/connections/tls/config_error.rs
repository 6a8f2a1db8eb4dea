//! Why a configuration can't be made.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a TLS configuration can't be made. Each error names the file, if there is one, and what is wrong in it.
#[derive(Debug)]
pub struct TlsConfigError {
    place: Option<Place>,
    problem: ConfigProblem,
}

/// Where certificates and keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    File(PathBuf),
    /// Bytes that the program has given, with a word for what they should be.
    Given(&'static str),
}

/// What is wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// The file can't be read.
    Unreadable(io::Error),
    /// There is more than so many bytes.
    TooLarge(usize),
    /// It is not in PEM form: why.
    NotPem(String),
    /// There is no certificate in it.
    NoCertificate,
    /// There is no private key in it.
    NoKey,
    /// The private key is encrypted. Only keys without a password can be used.
    EncryptedKey,
    /// There are so many private keys in it.
    SeveralKeys(usize),
    /// A certificate, counted from 1, is damaged or of a kind that is not supported: why.
    BadCertificate(usize, String),
    /// The private key is damaged or of a kind that is not supported: why.
    BadKey(String),
    /// The private key belongs to another certificate than the first one of this place.
    KeyMismatch(String),
    /// The system has no trusted roots, or none that can be read: why.
    NoSystemRoots(String),
    /// A server needs a certificate.
    NoIdentity,
    /// Certificates of clients can't be verified without roots.
    NoClientRoots,
    /// There is no version left to speak.
    NoVersion,
    /// The name of an application protocol has 1 to 255 bytes.
    BadProtocolName,
    /// Something else that the TLS library does not accept.
    Refused(String),
}

impl TlsConfigError {
    pub(super) fn new(problem: ConfigProblem) -> Self {
        Self { place: None, problem }
    }

    pub(super) fn at(place: &Place, problem: ConfigProblem) -> Self {
        Self { place: Some(place.clone()), problem }
    }

    /// What is wrong.
    pub fn problem(&self) -> &ConfigProblem {
        &self.problem
    }

    /// Where; `None` if it is no file.
    pub fn path(&self) -> Option<&std::path::Path> {
        match &self.place {
            Some(Place::File(path)) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Given(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        match &self.problem {
            ConfigProblem::Unreadable(error) => write!(f, "can't be read: {error}"),
            ConfigProblem::TooLarge(most) => write!(f, "is larger than {most} bytes"),
            ConfigProblem::NotPem(why) => write!(f, "is not PEM: {why}"),
            ConfigProblem::NoCertificate => f.write_str("there is no certificate in it"),
            ConfigProblem::NoKey => f.write_str("there is no private key in it"),
            ConfigProblem::EncryptedKey => {
                f.write_str("the private key is encrypted; take its password off first")
            }
            ConfigProblem::SeveralKeys(count) => {
                write!(f, "there are {count} private keys in it; which one is meant?")
            }
            ConfigProblem::BadCertificate(number, why) => {
                write!(f, "certificate {number} can't be used: {why}")
            }
            ConfigProblem::BadKey(why) => write!(f, "the private key can't be used: {why}"),
            ConfigProblem::KeyMismatch(certificates) => write!(
                f,
                "the private key does not belong to the first certificate of {certificates}; the own certificate stands first there, those of its issuers follow"
            ),
            ConfigProblem::NoSystemRoots(why) => write!(f, "the system has no trusted roots: {why}"),
            ConfigProblem::NoIdentity => f.write_str("a TLS server needs a certificate and its key"),
            ConfigProblem::NoClientRoots => {
                f.write_str("certificates of clients can't be verified without roots")
            }
            ConfigProblem::NoVersion => f.write_str("no version of TLS is left to speak"),
            ConfigProblem::BadProtocolName => {
                f.write_str("the name of an application protocol (ALPN) has 1 to 255 bytes")
            }
            ConfigProblem::Refused(why) => f.write_str(why),
        }
    }
}

impl Error for TlsConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.problem {
            ConfigProblem::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}

impl From<TlsConfigError> for io::Error {
    fn from(error: TlsConfigError) -> Self {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}
