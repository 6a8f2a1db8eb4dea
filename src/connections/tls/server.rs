//! What a server shows, asks for and speaks.

use super::config_error::{ConfigProblem, TlsConfigError};
use super::current::{Current, Make};
use super::info::TlsVersion;
use super::options::{self, Options};
use super::pem::Pem;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// How a program speaks TLS as a server. Clones share everything, so that [`reload`](Self::reload) reaches each listener that was
/// given one.
///
/// ```
/// use eventdispatcher::tls::TlsServer;
///
/// # let folder = tempfile::tempdir()?;
/// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// # let (chain, key, ca) = (folder.path().join("c"), folder.path().join("k"), folder.path().join("ca"));
/// # std::fs::write(&chain, made.cert.pem())?;
/// # std::fs::write(&ca, made.cert.pem())?;
/// # std::fs::write(&key, made.signing_key.serialize_pem())?;
/// let server = TlsServer::builder()
///     .certificate_files(&chain, &key)
///     .client_roots_file(&ca)
///     .client_certificates_optional()
///     .build()?;
///
/// // Later, when a new certificate is there:
/// if let Err(error) = server.reload() {
///     eprintln!("the old certificate stays in use: {error}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TlsServer(Arc<Current<TlsServerBuilder, ServerConfig>>);

impl TlsServer {
    /// Begins with what [`TlsServerBuilder`] says.
    pub fn builder() -> TlsServerBuilder {
        TlsServerBuilder::default()
    }

    /// With a certificate and its key, and else as [`TlsServerBuilder`] says.
    ///
    /// # Errors
    /// As [`TlsServerBuilder::build`].
    pub fn from_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TlsConfigError> {
        Self::builder().certificate_files(chain, key).build()
    }

    /// Reads all files again, for handshakes from now on; connections that are there stay as they are, and no
    /// session from before is resumed. Reading blocks, as every file does.
    ///
    /// # Errors
    /// As [`TlsServerBuilder::build`]. What was in use before stays in use then, and a warning is logged.
    pub fn reload(&self) -> Result<(), TlsConfigError> {
        self.0.renew(None)
    }

    /// Exchanges everything, as [`reload`](Self::reload) does for what has changed in the files.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    pub fn replace(&self, by: TlsServerBuilder) -> Result<(), TlsConfigError> {
        self.0.renew(Some(by))
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.0.get()
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsServer").field(&self.0).finish()
    }
}

/// What a [`TlsServer`] is made of: unless told otherwise it asks for no certificates, names no application protocol and speaks
/// TLS 1.2 and 1.3. It needs a certificate of its own.
#[derive(Debug, Clone, Default)]
pub struct TlsServerBuilder {
    client_roots: Vec<Pem>,
    clients_optional: bool,
    options: Options,
}

impl TlsServerBuilder {
    /// The server's certificate: PEM files with the own certificate, followed by those of its issuers, and with its
    /// key. They may be the same file.
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

    /// Requires a certificate of each client, signed by one of a PEM file. May be called several times.
    #[must_use]
    pub fn client_roots_file(mut self, path: impl AsRef<Path>) -> Self {
        self.client_roots.push(Pem::file(path.as_ref().into()));
        self
    }

    /// As [`client_roots_file`](Self::client_roots_file), from a PEM text.
    #[must_use]
    pub fn client_roots_pem(mut self, text: impl AsRef<[u8]>) -> Self {
        self.client_roots.push(Pem::given(text.as_ref(), "the given roots for clients"));
        self
    }

    /// Asks clients for a certificate, but takes those that have none, too; [`TlsInfo`](super::TlsInfo) tells which. A bad
    /// one is refused all the same.
    #[must_use]
    pub fn client_certificates_optional(mut self) -> Self {
        self.clients_optional = true;
        self
    }

    /// The application protocols that are served (ALPN), the best first. A client that offers only others is refused.
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

    /// Reads the files and makes the server.
    ///
    /// # Errors
    /// When a file can't be read or used, the error names it; when there is no certificate, or there are no roots for those of
    /// clients that are asked for.
    pub fn build(self) -> Result<TlsServer, TlsConfigError> {
        Ok(TlsServer(Arc::new(Current::new(self)?)))
    }
}

impl Make<ServerConfig> for TlsServerBuilder {
    fn make(&self) -> Result<ServerConfig, TlsConfigError> {
        let provider = options::provider();
        let identity = self
            .options
            .load_identity(&provider)?
            .ok_or_else(|| TlsConfigError::new(ConfigProblem::NoIdentity))?;
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.options.versions()?)
            .map_err(options::refused)?;
        let config = if self.client_roots.is_empty() {
            if self.clients_optional {
                return Err(TlsConfigError::new(ConfigProblem::NoClientRoots));
            }
            config.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for pem in &self.client_roots {
                pem.add_roots(&mut roots)?;
            }
            let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            if self.clients_optional {
                verifier = verifier.allow_unauthenticated();
            }
            let verifier = verifier
                .build()
                .map_err(|error| TlsConfigError::new(ConfigProblem::Refused(error.to_string())))?;
            config.with_client_cert_verifier(verifier)
        };
        let mut config = config.with_cert_resolver(identity);
        config.alpn_protocols = self.options.alpn()?;
        Ok(config)
    }
}
