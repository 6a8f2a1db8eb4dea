//! Certificates for tests, made when they are needed.

use eventdispatcher::tls::{TlsClient, TlsClientBuilder, TlsServer, TlsServerBuilder};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Who signs certificates.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key, in PEM form.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        // Who issued a certificate is looked for by name.
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        let name = format!("authority {}", COUNT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// For a server of this name or address.
    pub(crate) fn server(&self, name: &str) -> Identity {
        self.issue(name, ExtendedKeyUsagePurpose::ServerAuth, |_| ())
    }

    pub(crate) fn client(&self, name: &str) -> Identity {
        self.issue(name, ExtendedKeyUsagePurpose::ClientAuth, |_| ())
    }

    pub(crate) fn issue(
        &self,
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Identity { chain: made.pem(), key: key.serialize_pem(), der: made.der().to_vec() }
    }

    /// A server that shows `identity`.
    pub(crate) fn serve(identity: &Identity) -> TlsServerBuilder {
        TlsServer::builder().certificate_pem(&identity.chain, &identity.key)
    }

    /// A client that trusts this authority.
    pub(crate) fn trust(&self) -> TlsClientBuilder {
        TlsClient::builder().roots_pem(&self.pem)
    }
}

/// An authority, and a server and a client that fit together for `localhost`.
pub(crate) fn fitting() -> (Authority, TlsServer, TlsClient) {
    let authority = Authority::new();
    let server = Authority::serve(&authority.server("localhost")).build().unwrap();
    let client = authority.trust().build().unwrap();
    (authority, server, client)
}
