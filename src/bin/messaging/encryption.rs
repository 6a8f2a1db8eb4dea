//! Whether and how a TCP connection is encrypted.

use std::path::PathBuf;

/// Whether and how a TCP connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// Not at all.
    Off,
    /// For a server with a certificate that is right for the name it was called by. It is trusted if these roots say so: the
    /// certificates of a file, or those of the system.
    Verified(Option<PathBuf>),
    /// For whoever is there.
    Unverified,
}

#[cfg(feature = "tls")]
mod with_tls {
    use super::Encryption;
    use eventdispatcher::Transport;
    use eventdispatcher::tls::{Tls, TlsClient};

    impl Encryption {
        /// Puts TLS around a transport to `host`.
        ///
        /// # Errors
        /// When the roots can't be read, or no certificate can be for such a host.
        pub(crate) fn around<T: Transport>(&self, transport: T, host: &str) -> Result<Tls<T>, String> {
            let client = match self {
                Self::Verified(Some(roots)) => TlsClient::builder().roots_file(roots),
                Self::Off | Self::Verified(None) => TlsClient::builder(),
                Self::Unverified => TlsClient::builder().dangerously_without_verification(),
            };
            let client = client.build().map_err(|error| error.to_string())?;
            Tls::client(transport, host, &client).map_err(|error| error.to_string())
        }
    }
}

#[cfg(not(feature = "tls"))]
mod without_tls {
    use super::Encryption;
    use eventdispatcher::Transport;

    impl Encryption {
        /// This build knows no TLS.
        ///
        /// # Errors
        /// Always.
        pub(crate) fn around<T: Transport>(&self, _: T, _: &str) -> Result<T, String> {
            Err("this program was built without TLS, and encryption is asked for".to_owned())
        }
    }
}
