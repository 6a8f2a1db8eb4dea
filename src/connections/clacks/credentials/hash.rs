//! Passwords that can be compared with, and not be read.

use super::error::CredentialsError;
use super::password::Password;
use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The most memory that a hash may take to compare with, in KiB, the most passes over it, and the most lanes: a mistyped one must
/// not stop a server.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 64;
const LANES_MAX: u32 = 16;
/// What new ones take: the second of the parameters that RFC 9106 recommends would take 64 MiB; these are the least that OWASP
/// recommends, 19 MiB and two passes, so that many logins at a time do no harm.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const SALT_BYTES: usize = 16;

/// The Argon2 hash of a password (RFC 9106), in the text form `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
///
/// To compare a password with it takes time and memory on purpose: some 20 ms and 19 MiB unless it was made otherwise. Clones
/// share the text.
///
/// ```
/// use eventdispatcher::connections::clacks::credentials::{Password, PasswordHash};
///
/// let hash = PasswordHash::of(&Password::new("hush"))?;
/// let read: PasswordHash = hash.expose().parse()?;
/// assert!(read.is_of(b"hush") && !read.is_of(b"Hush"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Arc<str>);

impl PasswordHash {
    /// The hash of a password, with a random salt.
    ///
    /// # Errors
    /// When the system gives no random numbers or no memory.
    pub fn of(password: &Password) -> Result<Self, CredentialsError> {
        let failed = |error: &dyn fmt::Display| {
            CredentialsError::hash(format!("the password can't be hashed: {error}"))
        };
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| failed(&error))?;
        let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|error| failed(&error))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash: Phc = argon2
            .hash_password_with_salt(password.expose().as_bytes(), &salt)
            .map_err(|error| failed(&error))?;
        Ok(Self(hash.to_string().into()))
    }

    /// Whether it is the hash of this password. Takes its time, and the same for a right and for a wrong one.
    pub fn is_of(&self, password: &[u8]) -> bool {
        match Phc::new(&self.0) {
            Ok(hash) => Argon2::default().verify_password(password, &hash).is_ok(),
            Err(_) => false,
        }
    }

    /// The text, to be kept in a configuration.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for PasswordHash {
    type Err = CredentialsError;

    fn from_str(text: &str) -> Result<Self, CredentialsError> {
        let bad = |what: String| CredentialsError::hash(what);
        let hash = Phc::new(text).map_err(|_| bad("is no hash in the form $argon2id$…".to_owned()))?;
        Algorithm::try_from(hash.algorithm.as_str())
            .map_err(|_| bad(format!("is a hash by {}, which is not Argon2", hash.algorithm.as_str())))?;
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err(bad("lacks the salt or the hash itself".to_owned()));
        }
        let params = Params::try_from(&hash).map_err(|error| bad(format!("has bad parameters: {error}")))?;
        if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX || params.p_cost() > LANES_MAX {
            return Err(bad(format!(
                "takes too much: at most m={MEMORY_KIB_MAX}, t={PASSES_MAX} and p={LANES_MAX} are accepted"
            )));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_password_and_does_not_show_itself() {
        let hash = PasswordHash::of(&Password::new("hüsh")).unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.expose());
        assert!(hash.is_of("hüsh".as_bytes()));
        assert!(!hash.is_of(b"hush") && !hash.is_of(b""));
        assert_ne!(hash, PasswordHash::of(&Password::new("hüsh")).unwrap(), "the salt is random");
        assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
    }

    #[test]
    fn hashes_of_other_tools_are_read() {
        // By the reference implementation: `echo -n hush | argon2 somesalt -id -t 3 -m 10 -p 2 -e`, and without -id.
        for text in [
            "$argon2id$v=19$m=1024,t=3,p=2$c29tZXNhbHQ$Cal4EO/W3O9z/rqLR/I7263LhYeszOdjhmIKGrd/2o0",
            "$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
        ] {
            let hash = text.parse::<PasswordHash>().unwrap();
            assert_eq!(
                (hash.is_of(b"hush"), hash.is_of(b"password")),
                (text.contains("id"), !text.contains("id"))
            );
        }
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let check = |text: &str, wanted: &str| {
            let error = text.parse::<PasswordHash>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{text:?}: {error}");
        };
        let rest = "c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b7dWQ";
        check("", "no hash");
        check("hush", "no hash");
        check(&format!("$scrypt$ln=16,r=8,p=1${rest}"), "by scrypt, which is not Argon2");
        check("$argon2id$v=19$m=19456,t=2,p=1", "lacks");
        check(&format!("$argon2id$v=19$m=1,t=2,p=1${rest}"), "parameters");
        for greedy in ["m=4194304,t=2,p=1", "m=19456,t=1000,p=1", "m=19456,t=2,p=64"] {
            check(&format!("$argon2id$v=19${greedy}${rest}"), "takes too much");
        }
    }
}
