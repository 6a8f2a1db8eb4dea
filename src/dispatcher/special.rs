//! Parameters that mean the same in every message.

use super::cache::Cache;
use super::message::Message;
use super::name::NameError;
use super::value::{ParameterError, ToValue};
use super::view::MessageRef;

/// The version of the messages; goes into [`VERSION`].
pub const MESSAGE_VERSION: u32 = 1;

/// Parameter: the version of the messages that the sender speaks, [`MESSAGE_VERSION`]; in REGISTER and
/// CONNECT.
pub const VERSION: &str = "version";
/// Parameter: what a request and its answer have in common: whoever answers repeats it.
pub const SERIAL: &str = "serial";
/// Parameter: the secret that a receiver of datagrams may ask for. It travels as plain text.
pub const SECRET_CODE: &str = "secret_code";
/// Parameter: the address to which a datagram should be answered.
pub const REPLY_TO: &str = "reply_to";
/// Parameter: what is to be done while the receiver is not there, see [`Cache`].
pub const CACHE: &str = "cache";
/// Parameter: whether the sender wants to know that a message was not delivered, see
/// [`MessageRef::wants_transmission_report`].
pub const TRANSMISSION_REPORT: &str = "transmission_report";

const FAILURE: &str = "failure";

impl Message {
    /// Says which version of the messages is spoken here.
    pub fn add_version(&mut self) -> &mut Self {
        self.set_known(VERSION, MESSAGE_VERSION)
    }

    /// Asks the communicator daemon for a TRANSMISSION_REPORT if the message can't be delivered.
    pub fn add_transmission_report(&mut self) -> &mut Self {
        self.set_known(TRANSMISSION_REPORT, FAILURE)
    }

    /// For the names that this crate knows, which are legal.
    pub(crate) fn set_known(&mut self, name: &'static str, value: impl ToValue) -> &mut Self {
        let set: Result<_, NameError> = self.set(name, value).map(drop);
        debug_assert!(set.is_ok(), "{set:?}");
        self
    }
}

impl MessageRef<'_> {
    /// Whether the sender speaks the version of the messages that is spoken here.
    ///
    /// # Errors
    /// When it does not say, or not by a number.
    pub fn check_version(self) -> Result<bool, ParameterError> {
        Ok(self.value::<i64>(VERSION)? == i64::from(MESSAGE_VERSION))
    }

    /// Whether the message carries this secret. Takes as long for a wrong one as for the right one.
    #[must_use]
    pub fn has_secret(self, secret: &[u8]) -> bool {
        let given = self.get(SECRET_CODE).unwrap_or_default();
        let differences = given.iter().zip(secret).fold(0, |found, (a, b)| found | (a ^ b));
        std::hint::black_box(differences) == 0 && given.len() == secret.len()
    }

    /// Whether the sender wants a TRANSMISSION_REPORT if the message can't be delivered.
    #[must_use]
    pub fn wants_transmission_report(self) -> bool {
        self.get(TRANSMISSION_REPORT).as_deref() == Some(FAILURE.as_bytes())
    }

    /// What is to be done while the receiver is not there.
    ///
    /// # Errors
    /// When the parameter says something that does not exist.
    pub fn cache(self) -> Result<Cache, ParameterError> {
        Ok(self.optional(CACHE)?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::Part;
    use super::*;

    fn parse(text: &str) -> MessageRef<'_> {
        MessageRef::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_names_are_legal() {
        for name in [VERSION, SERIAL, SECRET_CODE, REPLY_TO, CACHE, TRANSMISSION_REPORT] {
            assert_eq!(Part::Parameter.check(name), Ok(()));
        }
    }

    #[test]
    fn a_version_is_compared_as_a_number() {
        let mut message = Message::build("REGISTER").with("service", "my_service").finish().unwrap();
        message.add_version();
        assert_eq!(message.view().to_text().unwrap(), b"REGISTER service=my_service;version=1");
        assert_eq!(message.view().check_version(), Ok(true));
        assert_eq!(parse("X version=0x1").check_version(), Ok(true));
        assert_eq!(parse("X version=2").check_version(), Ok(false));
        assert!(matches!(parse("X").check_version(), Err(ParameterError::Missing { .. })));
        assert!(matches!(parse("X version=one").check_version(), Err(ParameterError::Value { .. })));
    }

    #[test]
    fn a_secret_is_the_right_one_or_not() {
        let check = |text: &str, secret: &[u8], expected| {
            assert_eq!(parse(text).has_secret(secret), expected, "{text} {secret:?}");
        };
        check("X secret_code=s3", b"s3", true);
        check("X secret_code=s3", b"s", false);
        check("X secret_code=s", b"s3", false);
        check("X secret_code=S3", b"s3", false);
        check("X", b"s3", false);
        check("X secret_code=", b"s3", false);
        check("X secret_code=s3;secret_code=s4", b"s3", false);
    }

    #[test]
    fn a_transmission_report_is_asked_for_by_one_word() {
        let mut message = Message::new("X").unwrap();
        assert!(!message.view().wants_transmission_report());
        message.add_transmission_report();
        assert_eq!(message.view().to_text().unwrap(), b"X transmission_report=failure");
        assert!(message.view().wants_transmission_report());
        assert!(!parse("X transmission_report=success").wants_transmission_report());
    }

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?}", parse("X a=1;secret_code=s3"));
        assert_eq!(shown, "Message(\"X a=1\") with a secret_code");
    }
}
