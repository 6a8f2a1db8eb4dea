//! Why a handshake or a stream failed.

use super::verify::is_authority;
use rustls::{AlertDescription, CertificateError, Error as Rustls, InvalidMessage};
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

/// Why a TLS connection failed. It stands inside the [`io::Error`] of [`Closed`](crate::Closed) and
/// [`BlockingError`](crate::BlockingError): [`TlsError::of`] finds it.
///
/// ```
/// use eventdispatcher::Closed;
/// use eventdispatcher::tls::TlsError;
///
/// fn is_expired(why: &Closed) -> bool {
///     let (Closed::Connect(error) | Closed::Io(error)) = why else { return false };
///     matches!(TlsError::of(error), Some(TlsError::Certificate(fault)) if fault.is_expired())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// This side does not accept the other one's certificate.
    Certificate(CertificateFault),
    /// The other side gave up with this alert, named as in RFC 8446 section 6: `UnknownCA`, `CertificateRequired` …
    Alert(String),
    /// The two have no version, cipher suite or application protocol in common.
    NothingInCommon(String),
    /// What came is no TLS: the other side speaks something else.
    NotTls,
    /// The other side ended the stream in the handshake.
    CutOffInHandshake,
    /// The stream ended without the protocol's own end mark (`close_notify`): what came before may be only a part of what was
    /// sent, for anybody on the way can end a stream. Kind: [`ErrorKind::UnexpectedEof`].
    CutOff,
    /// The other side breaks the protocol, or somebody on the way changes the bytes.
    Protocol(String),
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateFault {
    /// The other side has shown none, and this one requires one.
    Missing,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// No root that is trusted has signed it.
    UnknownIssuer,
    /// It is somebody else's.
    WrongName {
        /// Who was expected.
        expected: String,
        /// For whom it is.
        presented: Vec<String>,
    },
    /// Its signature is wrong.
    BadSignature,
    /// It is not made for this: a client's where a server's is expected, or the other way.
    WrongPurpose,
    /// Something else, in words.
    Other(String),
}

impl TlsError {
    /// What TLS has to say about an error of a connection; `None` when it comes from below, such as a reset.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    pub(super) fn of_session(error: &Rustls, handshaking: bool) -> Self {
        match error {
            Rustls::InvalidCertificate(fault) => Self::Certificate(CertificateFault::new(fault)),
            Rustls::NoCertificatesPresented => Self::Certificate(CertificateFault::Missing),
            Rustls::AlertReceived(alert) => Self::Alert(alert_name(*alert)),
            Rustls::PeerIncompatible(what) => Self::NothingInCommon(format!("{what:?}")),
            Rustls::NoApplicationProtocol => Self::NothingInCommon("no application protocol".to_owned()),
            Rustls::InvalidMessage(InvalidMessage::InvalidContentType) if handshaking => Self::NotTls,
            other => Self::Protocol(other.to_string()),
        }
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        let kind = match &error {
            TlsError::CutOff | TlsError::CutOffInHandshake => ErrorKind::UnexpectedEof,
            TlsError::Alert(_) => ErrorKind::ConnectionAborted,
            _ => ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// `AlertReceived(UnknownCA)` without what stands around it.
fn alert_name(alert: AlertDescription) -> String {
    format!("{alert:?}")
}

impl CertificateFault {
    /// Whether only the time is over.
    pub fn is_expired(&self) -> bool {
        *self == Self::Expired
    }

    pub(super) fn new(fault: &CertificateError) -> Self {
        match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::NotValidForNameContext { expected, presented } => Self::WrongName {
                expected: expected.to_str().into_owned(),
                presented: presented.iter().map(|name| plain_name(name)).collect(),
            },
            CertificateError::BadSignature => Self::BadSignature,
            // There is a root of the signer's name, but its key is of another kind: it is somebody else's.
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::UnknownIssuer,
            CertificateError::UnsupportedSignatureAlgorithmContext { .. } => {
                Self::Other("the algorithm of its signature is not supported".to_owned())
            }
            CertificateError::BadEncoding => Self::Other("it can't be read".to_owned()),
            CertificateError::UnhandledCriticalExtension => {
                Self::Other("it has an extension that is critical and not supported".to_owned())
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::WrongPurpose
            }
            other if is_authority(other) => Self::Other(
                "it is an authority's own, which only who trusts this very one may take".to_owned(),
            ),
            other => Self::Other(other.to_string()),
        }
    }
}

/// `DnsName("a.example")` without what stands around it.
fn plain_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"').escape_default().to_string()
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(fault) => write!(f, "TLS: the other side's certificate is refused: {fault}"),
            Self::Alert(alert) => write!(f, "TLS: the other side refuses to go on: {alert}"),
            Self::NothingInCommon(what) => {
                write!(f, "TLS: nothing in common with the other side: {what}")
            }
            Self::NotTls => f.write_str("the other side does not speak TLS"),
            Self::CutOffInHandshake => f.write_str("TLS: the other side has closed in the handshake"),
            Self::CutOff => f.write_str("TLS: the stream was cut off: it ended without close_notify"),
            Self::Protocol(what) => write!(f, "TLS: {what}"),
        }
    }
}

impl Error for TlsError {}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is none, and one is required"),
            Self::Expired => f.write_str("it has expired"),
            Self::NotYetValid => f.write_str("it is not valid yet"),
            Self::UnknownIssuer => f.write_str("no trusted root has signed it"),
            Self::WrongName { expected, presented } if presented.is_empty() => {
                write!(
                    f,
                    "it is not for {expected}: it has no name or address for which it is (subjectAltName)"
                )
            }
            Self::WrongName { expected, presented } => {
                write!(f, "it is not for {expected} but for {}", presented.join(", "))
            }
            Self::BadSignature => f.write_str("its signature is wrong"),
            Self::WrongPurpose => f.write_str("it is made for another purpose"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::PeerIncompatible;
    use rustls::pki_types::ServerName;

    #[test]
    fn errors_say_what_is_wrong_in_words() {
        fn check(error: Rustls, text: &str, kind: ErrorKind) {
            let error = io::Error::from(TlsError::of_session(&error, true));
            assert_eq!(error.to_string(), text);
            assert_eq!(error.kind(), kind);
            assert!(TlsError::of(&error).is_some());
        }
        fn refused(fault: CertificateError, text: &str) {
            let text = format!("TLS: the other side's certificate is refused: {text}");
            check(Rustls::InvalidCertificate(fault), &text, ErrorKind::InvalidData);
        }
        refused(CertificateError::Expired, "it has expired");
        refused(CertificateError::NotValidYet, "it is not valid yet");
        refused(CertificateError::UnknownIssuer, "no trusted root has signed it");
        refused(CertificateError::BadSignature, "its signature is wrong");
        refused(CertificateError::InvalidPurpose, "it is made for another purpose");
        refused(
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: vec![6, 8],
                supported_algorithms: Vec::new(),
            },
            "the algorithm of its signature is not supported",
        );
        refused(CertificateError::BadEncoding, "it can't be read");
        let wrong_name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("a.example").unwrap(),
            presented: vec!["DnsName(\"b.example\")".to_owned(), "IpAddress(127.0.0.1)".to_owned()],
        };
        refused(wrong_name, "it is not for a.example but for b.example, 127.0.0.1");
        let no_name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("a.example").unwrap(),
            presented: Vec::new(),
        };
        refused(
            no_name,
            "it is not for a.example: it has no name or address for which it is (subjectAltName)",
        );
        check(
            Rustls::NoCertificatesPresented,
            "TLS: the other side's certificate is refused: there is none, and one is required",
            ErrorKind::InvalidData,
        );
        check(
            Rustls::AlertReceived(AlertDescription::UnknownCA),
            "TLS: the other side refuses to go on: UnknownCA",
            ErrorKind::ConnectionAborted,
        );
        check(
            Rustls::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            "TLS: nothing in common with the other side: NoCipherSuitesInCommon",
            ErrorKind::InvalidData,
        );
        check(
            Rustls::InvalidMessage(InvalidMessage::InvalidContentType),
            "the other side does not speak TLS",
            ErrorKind::InvalidData,
        );
    }

    #[test]
    fn an_error_from_below_is_none_of_tls() {
        assert_eq!(TlsError::of(&ErrorKind::ConnectionReset.into()), None);
        assert_eq!(TlsError::of(&io::Error::other("something")), None);
    }
}
