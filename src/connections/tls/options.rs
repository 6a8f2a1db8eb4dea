//! What clients and servers are configured with alike.

use super::config_error::{ConfigProblem, TlsConfigError};
use super::info::TlsVersion;
use super::pem::{Identity, Pem};
use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};
use std::path::Path;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(super) struct Options {
    identity: Option<Identity>,
    alpn: Vec<Vec<u8>>,
    versions: Vec<TlsVersion>,
}

impl Default for Options {
    fn default() -> Self {
        Self { identity: None, alpn: Vec::new(), versions: vec![TlsVersion::Tls12, TlsVersion::Tls13] }
    }
}

impl Options {
    pub(super) fn identity_files(&mut self, chain: &Path, key: &Path) {
        self.identity = Some(Identity { chain: Pem::file(chain.into()), key: Pem::file(key.into()) });
    }

    pub(super) fn identity_pem(&mut self, chain: &[u8], key: &[u8]) {
        self.identity = Some(Identity {
            chain: Pem::given(chain, "the given certificate chain"),
            key: Pem::given(key, "the given private key"),
        });
    }

    pub(super) fn set_alpn<P: AsRef<[u8]>>(&mut self, protocols: impl IntoIterator<Item = P>) {
        self.alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
    }

    pub(super) fn set_versions(&mut self, versions: impl IntoIterator<Item = TlsVersion>) {
        self.versions = versions.into_iter().collect();
    }

    pub(super) fn load_identity(
        &self,
        provider: &CryptoProvider,
    ) -> Result<Option<Arc<SingleCertAndKey>>, TlsConfigError> {
        let Some(identity) = &self.identity else { return Ok(None) };
        Ok(Some(Arc::new(SingleCertAndKey::from(identity.load(provider)?))))
    }

    pub(super) fn alpn(&self) -> Result<Vec<Vec<u8>>, TlsConfigError> {
        if self.alpn.iter().any(|protocol| protocol.is_empty() || protocol.len() > u8::MAX.into()) {
            return Err(TlsConfigError::new(ConfigProblem::BadProtocolName));
        }
        Ok(self.alpn.clone())
    }

    pub(super) fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsConfigError> {
        let all = [(TlsVersion::Tls12, &TLS12), (TlsVersion::Tls13, &TLS13)];
        let chosen: Vec<_> =
            all.into_iter().filter(|(version, _)| self.versions.contains(version)).map(|(_, v)| v).collect();
        if chosen.is_empty() {
            return Err(TlsConfigError::new(ConfigProblem::NoVersion));
        }
        Ok(chosen)
    }
}

/// Who computes: the same for all.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

pub(super) fn refused(error: rustls::Error) -> TlsConfigError {
    TlsConfigError::new(ConfigProblem::Refused(error.to_string()))
}

/// What the system trusts.
pub(super) fn add_system_roots(roots: &mut RootCertStore) -> Result<(), TlsConfigError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::warn!("trusted roots of the system: {error}");
    }
    let (added, unusable) = roots.add_parsable_certificates(found.certs);
    log::debug!("{added} trusted roots of the system are used, {unusable} can't be");
    if added == 0 {
        let why = found.errors.first().map_or_else(|| "none was found".to_owned(), ToString::to_string);
        return Err(TlsConfigError::new(ConfigProblem::NoSystemRoots(why)));
    }
    Ok(())
}
