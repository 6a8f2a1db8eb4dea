//! Certificates and keys from PEM files (RFC 7468).

use super::config_error::{ConfigProblem, Place, TlsConfigError};
use super::error::CertificateFault;
use super::options::provider;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject, SectionKind, SliceIter};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// No collection of certificates is as large.
const BYTES_MAX: usize = 16 << 20;

/// PEM text, or the file that it is read from each time it is needed.
#[derive(Clone)]
pub(super) struct Pem {
    place: Place,
    bytes: Option<Arc<[u8]>>,
}

impl Pem {
    pub(super) fn file(path: PathBuf) -> Self {
        Self { place: Place::File(path), bytes: None }
    }

    /// `what` it should be, for errors.
    pub(super) fn given(bytes: &[u8], what: &'static str) -> Self {
        Self { place: Place::Given(what), bytes: Some(bytes.into()) }
    }

    /// At least one.
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
        let text = self.read()?;
        let mut found = Vec::new();
        for section in SliceIter::<CertificateDer<'static>>::new(&text) {
            found.push(section.map_err(|error| self.not_pem(&error))?);
        }
        if found.is_empty() {
            return Err(self.wrong(self.no(&text, ConfigProblem::NoCertificate)));
        }
        Ok(found)
    }

    /// The only one.
    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
        let text = self.read()?;
        if is_encrypted(&text) {
            return Err(self.wrong(ConfigProblem::EncryptedKey));
        }
        let mut keys = Vec::new();
        for section in SliceIter::<(SectionKind, Vec<u8>)>::new(&text) {
            let (kind, der) = section.map_err(|error| self.not_pem(&error))?;
            keys.extend(PrivateKeyDer::from_pem(kind, der));
        }
        match (keys.len(), keys.pop()) {
            (1, Some(key)) => Ok(key),
            (0, _) => Err(self.wrong(self.no(&text, ConfigProblem::NoKey))),
            (count, _) => Err(self.wrong(ConfigProblem::SeveralKeys(count))),
        }
    }

    /// Adds its certificates to those that are trusted, and says which they are.
    pub(super) fn add_roots(
        &self,
        roots: &mut RootCertStore,
    ) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
        let certificates = self.certificates()?;
        for (number, certificate) in (1..).zip(&certificates) {
            roots
                .add(certificate.clone())
                .map_err(|error| self.wrong(ConfigProblem::BadCertificate(number, error.to_string())))?;
        }
        Ok(certificates)
    }

    fn read(&self) -> Result<Cow<'_, [u8]>, TlsConfigError> {
        if let Some(bytes) = &self.bytes {
            return Ok(Cow::Borrowed(bytes));
        }
        let Place::File(path) = &self.place else { return Ok(Cow::Borrowed(&[])) };
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(BYTES_MAX as u64 + 1).read_to_end(&mut text))
            .map_err(|error| self.wrong(ConfigProblem::Unreadable(error)))?;
        if text.len() > BYTES_MAX {
            return Err(self.wrong(ConfigProblem::TooLarge(BYTES_MAX)));
        }
        Ok(Cow::Owned(text))
    }

    /// What to say when something is missing: maybe it is no PEM at all.
    fn no(&self, text: &[u8], missing: ConfigProblem) -> ConfigProblem {
        if contains(text, b"-----BEGIN ") {
            missing
        } else {
            ConfigProblem::NotPem("there is no line that begins with -----BEGIN".to_owned())
        }
    }

    fn not_pem(&self, error: &pem::Error) -> TlsConfigError {
        // The library prints the bytes as numbers.
        self.wrong(ConfigProblem::NotPem(match error {
            pem::Error::MissingSectionEnd { end_marker } => {
                format!("there is no end of the section {}", end_marker.escape_ascii())
            }
            pem::Error::IllegalSectionStart { line } => format!("damaged line {}", line.escape_ascii()),
            other => other.to_string(),
        }))
    }

    fn wrong(&self, problem: ConfigProblem) -> TlsConfigError {
        TlsConfigError::at(&self.place, problem)
    }
}

/// Never shows what is in it.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.place)
    }
}

/// A certificate with its issuers, and the key that belongs to it.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) chain: Pem,
    pub(super) key: Pem,
}

impl Identity {
    /// Reads both and sees that they belong together.
    pub(super) fn load(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsConfigError> {
        let chain = self.chain.certificates()?;
        for (number, certificate) in (1..).zip(&chain) {
            ParsedCertificate::try_from(certificate).map_err(|error| {
                self.chain.wrong(ConfigProblem::BadCertificate(number, error.to_string()))
            })?;
        }
        let key = provider
            .key_provider
            .load_private_key(self.key.key()?)
            .map_err(|error| self.key.wrong(ConfigProblem::BadKey(error.to_string())))?;
        if let Some(why) = out_of_time(&chain) {
            let place = &self.chain.place;
            log::warn!("{place}: the certificate {why}: who verifies it will not come in");
        }
        let identity = CertifiedKey::new(chain, key);
        match identity.keys_match() {
            // Some kinds of keys can't tell.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(identity),
            Err(_) => Err(self.key.wrong(ConfigProblem::KeyMismatch(self.chain.place.to_string()))),
        }
    }
}

/// Why the first certificate of a chain is of no use now, whoever trusts it.
fn out_of_time(chain: &[CertificateDer<'static>]) -> Option<&'static str> {
    let (own, others) = chain.split_first()?;
    let mut roots = RootCertStore::empty();
    roots.add(chain.last()?.clone()).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()?;
    // Its time is looked at before its name.
    let anybody = ServerName::try_from("localhost").ok()?;
    match verifier.verify_server_cert(own, others, &anybody, &[], UnixTime::now()) {
        Err(rustls::Error::InvalidCertificate(fault)) => match CertificateFault::new(&fault) {
            CertificateFault::Expired => Some("has expired"),
            CertificateFault::NotYetValid => Some("is not valid yet"),
            _ => None,
        },
        _ => None,
    }
}

/// Both ways in which a key can be encrypted: PKCS #8, and the older one with a line above the bytes.
fn is_encrypted(text: &[u8]) -> bool {
    contains(text, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || contains(text, b"Proc-Type: 4,ENCRYPTED")
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(text, what).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertifiedKey as Made, generate_simple_self_signed};
    use rustls::crypto::ring::default_provider;
    use std::fs;

    /// A certificate and its key, in PEM form.
    fn made(name: &str) -> (String, String) {
        let Made { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    fn load(chain: &str, key: &str) -> Result<CertifiedKey, String> {
        let identity = Identity {
            chain: Pem::given(chain.as_bytes(), "the chain"),
            key: Pem::given(key.as_bytes(), "the key"),
        };
        identity.load(&default_provider()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_certificate_that_is_of_no_use_now_is_found_out() {
        use rcgen::{
            BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
        };
        let check = |change: &dyn Fn(&mut CertificateParams), wanted: Option<&str>| {
            for is_authority in [false, true] {
                let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
                if is_authority {
                    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                }
                change(&mut params);
                let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
                assert_eq!(out_of_time(&[made.der().clone()]), wanted, "authority: {is_authority}");
            }
        };
        check(&|_| (), None);
        check(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth], None);
        check(&|params| params.not_after = date_time_ymd(2001, 1, 1), Some("has expired"));
        check(&|params| params.not_before = date_time_ymd(4000, 1, 1), Some("is not valid yet"));
        assert_eq!(out_of_time(&[]), None);
    }

    #[test]
    fn a_chain_and_its_key_are_taken_from_two_texts_or_one() {
        let ((chain, key), (issuer, _)) = (made("a.example"), made("b.example"));
        assert_eq!(load(&chain, &key).unwrap().cert.len(), 1);
        assert_eq!(load(&format!("{chain}\n{issuer}"), &key).unwrap().cert.len(), 2);
        let both = format!("what this is\n{key}{chain}");
        assert_eq!(load(&both, &both).unwrap().cert.len(), 1);
    }

    #[test]
    fn what_is_wrong_with_a_chain_or_a_key_is_said() {
        let ((chain, key), (other, other_key)) = (made("a.example"), made("b.example"));
        let check = |chain: &str, key: &str, text: &str| {
            let error = load(chain, key).unwrap_err();
            assert!(error.starts_with(text), "{error}");
        };
        check("", &key, "the chain: is not PEM: there is no line that begins with -----BEGIN");
        check("\u{0}\u{1}", &key, "the chain: is not PEM: there is no line that begins with -----BEGIN");
        check(&key, &key, "the chain: there is no certificate in it");
        check(&chain, &chain, "the key: there is no private key in it");
        check(&chain, &format!("{key}{other_key}"), "the key: there are 2 private keys in it");
        check(
            &chain,
            &other_key,
            "the key: the private key does not belong to the first certificate of the chain",
        );
        check(&format!("{other}{chain}"), &key, "the key: the private key does not belong to");
        let cut = &chain[..chain.len() / 2];
        check(cut, &key, "the chain: is not PEM: there is no end of the section CERTIFICATE");
        check("-----BEGIN X\n", &key, "the chain: is not PEM: damaged line -----BEGIN X");
        let noise = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        check(noise, &key, "the chain: is not PEM: base64 decode error");
        let zeros = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check(&format!("{chain}{zeros}"), &key, "the chain: certificate 2 can't be used: ");
        let zeros = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        check(&chain, zeros, "the key: the private key can't be used: ");
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        check(&chain, encrypted, "the key: the private key is encrypted");
        let encrypted = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        check(&chain, encrypted, "the key: the private key is encrypted");
    }

    #[test]
    fn a_file_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let (missing, empty) = (folder.path().join("missing.pem"), folder.path().join("empty.pem"));
        fs::write(&empty, "").unwrap();
        let check = |path: &PathBuf, text: &str| {
            let error = Pem::file(path.clone()).certificates().unwrap_err();
            assert_eq!(error.path(), Some(path.as_path()));
            let error = error.to_string();
            assert!(error.starts_with(&format!("{}: {text}", path.display())), "{error}");
        };
        check(&missing, "can't be read: No such file");
        check(&folder.path().to_path_buf(), "can't be read: Is a directory");
        check(&empty, "is not PEM");
        fs::File::create(&empty).unwrap().set_len(BYTES_MAX as u64 + 1).unwrap();
        check(&empty, "is larger than 16777216 bytes");
    }

    #[test]
    fn roots_are_taken_from_all_certificates_of_a_text() {
        let ((one, key), (two, _)) = (made("a.example"), made("b.example"));
        let mut roots = RootCertStore::empty();
        let check = |text: &str, roots: &mut RootCertStore| {
            Pem::given(text.as_bytes(), "the roots")
                .add_roots(roots)
                .map(drop)
                .map_err(|error| error.to_string())
        };
        assert_eq!(check(&format!("{one}{two}"), &mut roots), Ok(()));
        assert_eq!(roots.len(), 2);
        assert_eq!(check(&key, &mut roots), Err("the roots: there is no certificate in it".to_owned()));
        let zeros = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = check(zeros, &mut roots).unwrap_err();
        assert!(error.starts_with("the roots: certificate 1 can't be used: "), "{error}");
    }

    #[test]
    fn no_secret_is_shown() {
        let (_, key) = made("a.example");
        assert_eq!(format!("{:?}", Pem::given(key.as_bytes(), "the key")), "Pem(the key)");
    }
}
