//! What a handshake has agreed on.

use std::fmt;

/// A version of the protocol. Older ones are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246.
    Tls12,
    /// TLS 1.3, RFC 8446.
    Tls13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}

/// What is known of a TLS connection once its handshake is complete. Its text is one line for a log.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// Which version is spoken.
    pub version: TlsVersion,
    /// The name of the cipher suite, as the IANA registers it.
    pub cipher: &'static str,
    /// The application protocol that both have agreed on (ALPN, RFC 7301).
    pub alpn: Option<Vec<u8>>,
    /// On a server: the name that the client asked for (SNI, RFC 6066), if it named one. On a client: the name
    /// or address that it expected.
    pub server_name: Option<String>,
    /// The other side's certificates in DER form, its own one first; none if it has shown none.
    pub peer_certificates: Vec<Vec<u8>>,
    /// Whether the other side's certificate was verified: issuer, dates and, on a client, the name.
    pub verified: bool,
    /// Whether an earlier session was resumed. The certificates are then those of that session.
    pub resumed: bool,
}

impl TlsInfo {
    /// The other side's own certificate in DER form.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.peer_certificates.first().map(Vec::as_slice)
    }
}

impl fmt::Display for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.version, self.cipher)?;
        if let Some(alpn) = &self.alpn {
            write!(f, ", protocol {}", alpn.escape_ascii())?;
        }
        if let Some(name) = &self.server_name {
            write!(f, ", server {name}")?;
        }
        f.write_str(match (self.peer_certificates.is_empty(), self.verified) {
            (true, _) => ", no certificate",
            (false, true) => ", certificate verified",
            (false, false) => ", certificate NOT verified",
        })?;
        if self.resumed { f.write_str(", resumed") } else { Ok(()) }
    }
}

impl fmt::Debug for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsInfo({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_is_one_line() {
        let mut info = TlsInfo {
            version: TlsVersion::Tls13,
            cipher: "TLS13_AES_128_GCM_SHA256",
            alpn: None,
            server_name: None,
            peer_certificates: Vec::new(),
            verified: false,
            resumed: false,
        };
        assert_eq!(info.to_string(), "TLS 1.3, TLS13_AES_128_GCM_SHA256, no certificate");
        info.alpn = Some(b"h2\n".to_vec());
        info.server_name = Some("example.org".to_owned());
        info.peer_certificates = vec![vec![0x30], vec![0x31]];
        info.resumed = true;
        let rest = ", protocol h2\\n, server example.org, certificate NOT verified, resumed";
        assert_eq!(info.to_string(), format!("TLS 1.3, TLS13_AES_128_GCM_SHA256{rest}"));
        assert_eq!(info.peer_certificate(), Some(&[0x30][..]));
    }
}
