//! What a client trusts, shows and speaks.

use super::config_error::TlsConfigError;
use super::current::{Current, Make};
use super::info::TlsVersion;
use super::options::{self, Options};
use super::pem::Pem;
use super::verify::{NoVerification, Verification};
use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// How a program speaks TLS as a client. Make one, and use it for all connections: it remembers sessions, so that the
/// next handshake with the same server is shorter. Clones share everything.
///
/// The server's certificate must be signed by a trusted root, or be one itself, be in its time and be for the name that the
/// connection was asked for.
///
/// ```
/// use eventdispatcher::tls::{TlsClient, TlsVersion};
///
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("ca.pem");
/// # std::fs::write(&file, rcgen::generate_simple_self_signed(["localhost".to_owned()])?.cert.pem())?;
/// let client = TlsClient::builder()
///     .roots_file(&file)          // instead of those of the system
///     .alpn(["clacks"])
///     .versions([TlsVersion::Tls13])
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TlsClient(Arc<Current<TlsClientBuilder, Made>>);

/// What a handshake needs.
pub(super) struct Made {
    pub(super) config: Arc<ClientConfig>,
    pub(super) verifies: bool,
}

impl TlsClient {
    /// Begins with what [`TlsClientBuilder`] says.
    pub fn builder() -> TlsClientBuilder {
        TlsClientBuilder::default()
    }

    /// Trusts the roots of the system.
    ///
    /// # Errors
    /// When it has none.
    pub fn new() -> Result<Self, TlsConfigError> {
        Self::builder().build()
    }

    /// Reads all files again, for handshakes from now on; connections that are there stay as they are. Reading
    /// blocks, as every file does.
    ///
    /// # Errors
    /// As [`TlsClientBuilder::build`]. What was in use before stays in use then.
    pub fn reload(&self) -> Result<(), TlsConfigError> {
        self.0.renew(None)
    }

    /// Exchanges everything, as [`reload`](Self::reload) does for what has changed in the files.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    pub fn replace(&self, by: TlsClientBuilder) -> Result<(), TlsConfigError> {
        self.0.renew(Some(by))
    }

    pub(super) fn current(&self) -> Arc<Made> {
        self.0.get()
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsClient").field(&self.0).finish()
    }
}

/// What a [`TlsClient`] is made of: unless told otherwise it trusts the roots of the system, shows no certificate, names no
/// application protocol and speaks TLS 1.2 and 1.3.
#[derive(Debug, Clone, Default)]
pub struct TlsClientBuilder {
    system_roots: bool,
    roots: Vec<Pem>,
    unverified: bool,
    options: Options,
}

impl TlsClientBuilder {
    /// Trusts the roots of the system, beside others that are given.
    ///
    /// They are read from where the distribution keeps them; the environment variables `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` name another place.
    #[must_use]
    pub fn system_roots(mut self) -> Self {
        self.system_roots = true;
        self
    }

    /// Trusts the certificates of a PEM file. May be called several times.
    #[must_use]
    pub fn roots_file(mut self, path: impl AsRef<Path>) -> Self {
        self.roots.push(Pem::file(path.as_ref().into()));
        self
    }

    /// Trusts the certificates of a PEM text. May be called several times.
    #[must_use]
    pub fn roots_pem(mut self, text: impl AsRef<[u8]>) -> Self {
        self.roots.push(Pem::given(text.as_ref(), "the given roots"));
        self
    }

    /// Verifies **nothing**: anybody on the way can be the server, read and change everything. A warning is logged.
    /// [`TlsInfo::verified`](super::TlsInfo::verified) is `false`.
    #[must_use]
    pub fn dangerously_without_verification(mut self) -> Self {
        self.unverified = true;
        self
    }

    /// Shows this certificate to servers that ask for one: PEM files with the own certificate, followed by those of its
    /// issuers, and with its key. They may be the same file.
    #[must_use]
    pub fn certificate_files(mut self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.options.identity_files(chain.as_ref(), key.as_ref());
        self
    }

    /// As [`certificate_files`](Self::certificate_files), from PEM texts.
    #[must_use]
    pub fn certificate_pem(mut self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.options.identity_pem(chain.as_ref(), key.as_ref());
        self
    }

    /// The application protocols to offer (ALPN), the best first.
    #[must_use]
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.options.set_alpn(protocols);
        self
    }

    /// The versions to speak.
    #[must_use]
    pub fn versions(mut self, versions: impl IntoIterator<Item = TlsVersion>) -> Self {
        self.options.set_versions(versions);
        self
    }

    /// Reads the files and makes the client.
    ///
    /// # Errors
    /// When a file can't be read or used; the error names it.
    pub fn build(self) -> Result<TlsClient, TlsConfigError> {
        Ok(TlsClient(Arc::new(Current::new(self)?)))
    }
}

impl Make<Made> for TlsClientBuilder {
    fn make(&self) -> Result<Made, TlsConfigError> {
        let provider = options::provider();
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.options.versions()?)
            .map_err(options::refused)?;
        let config = if self.unverified {
            log::warn!("TLS certificates of servers are NOT verified: anybody on the way can be the server");
            let verifier = Arc::new(NoVerification::new(&provider));
            config.dangerous().with_custom_certificate_verifier(verifier)
        } else {
            let mut roots = RootCertStore::empty();
            let mut trusted = Vec::new();
            for pem in &self.roots {
                trusted.extend(pem.add_roots(&mut roots)?);
            }
            if self.system_roots || self.roots.is_empty() {
                options::add_system_roots(&mut roots)?;
            }
            let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            let usual =
                usual.build().map_err(|error| options::refused(rustls::Error::General(error.to_string())))?;
            let verifier = Arc::new(Verification::new(usual, trusted));
            config.dangerous().with_custom_certificate_verifier(verifier)
        };
        let mut config = match self.options.load_identity(&provider)? {
            Some(identity) => config.with_client_cert_resolver(identity),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = self.options.alpn()?;
        Ok(Made { config: Arc::new(config), verifies: !self.unverified })
    }
}
