use std::borrow::Cow;
use std::fmt;

use super::error::{ParseError, WriteError};
use super::json;
use super::message::Message;
use super::name::Part;
use super::special::SECRET_CODE;
use super::text::{self, RawParameters};
use super::value::{self, FromValue, ParameterError};

/// A message that is only looked at: the bytes that came in, or a [`Message`].
///
/// The bytes were checked as a whole, but nothing was copied: a value is taken out of its quotes and
/// escapes when it is asked for, and is borrowed if it has none.
///
/// ```
/// use eventdispatcher::dispatcher::MessageRef;
///
/// let message = MessageRef::parse(br#"<web:cart LOG line=17;message="a;b""#)?;
/// assert_eq!((message.sent_from_service(), message.command()), ("cart", "LOG"));
/// assert_eq!(message.value::<u32>("line")?, 17);
/// assert_eq!(message.get("message").as_deref(), Some(&b"a;b"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct MessageRef<'a> {
    pub(super) sent_from_server: &'a str,
    pub(super) sent_from_service: &'a str,
    pub(super) server: &'a str,
    pub(super) service: &'a str,
    pub(super) command: &'a str,
    pub(super) source: Source<'a>,
}

/// Where the parameters are.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// In the text form; it was checked.
    Text(&'a [u8]),
    Message(&'a Message),
}

impl<'a> MessageRef<'a> {
    /// Reads the text form: what is between the line ends of a stream, or a whole datagram.
    ///
    /// # Errors
    /// When it is no message: says why, and at which byte.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        text::parse(bytes)
    }

    pub(super) fn of_message(message: &'a Message) -> Self {
        Self {
            sent_from_server: message.sent_from_server(),
            sent_from_service: message.sent_from_service(),
            server: message.server(),
            service: message.service(),
            command: message.command(),
            source: Source::Message(message),
        }
    }

    /// The server on which the sender runs; empty if it is not named.
    #[must_use]
    pub fn sent_from_server(self) -> &'a str {
        self.sent_from_server
    }

    /// The service that sent the message; empty if it is not named.
    #[must_use]
    pub fn sent_from_service(self) -> &'a str {
        self.sent_from_service
    }

    /// The server to which the message goes; empty if none is named.
    #[must_use]
    pub fn server(self) -> &'a str {
        self.server
    }

    /// The service to which the message goes; empty if none is named.
    #[must_use]
    pub fn service(self) -> &'a str {
        self.service
    }

    /// The command, as it came: a peer may send what could not be sent from here, such as `lower_case`.
    #[must_use]
    pub fn command(self) -> &'a str {
        self.command
    }

    /// The parameters, in the order of the text.
    ///
    /// A peer may write a name twice. Then it comes twice here; the last one counts, as in
    /// [`get`](Self::get).
    #[must_use]
    pub fn parameters(self) -> Parameters<'a> {
        Parameters {
            inner: match self.source {
                Source::Text(text) => Inner::Text(RawParameters::new(text)),
                Source::Message(message) => Inner::Message(message, 0),
            },
        }
    }

    /// The value of a parameter: any bytes.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Cow<'a, [u8]>> {
        match self.source {
            Source::Text(text) => RawParameters::new(text)
                .filter(|raw| raw.name == name.as_bytes())
                .last()
                .map(text::RawParameter::value),
            Source::Message(message) => message.get(name).map(Cow::Borrowed),
        }
    }

    /// Whether there is such a parameter.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        match self.source {
            Source::Text(text) => RawParameters::new(text).any(|raw| raw.name == name.as_bytes()),
            Source::Message(message) => message.get(name).is_some(),
        }
    }

    /// A parameter of a type: a number, an address, a time, text.
    ///
    /// # Errors
    /// When it is missing, is something else, or when no parameter can be called so.
    pub fn value<T: FromValue>(self, name: &str) -> Result<T, ParameterError> {
        self.optional(name)?.ok_or_else(|| ParameterError::Missing { name: name.to_owned() })
    }

    /// A parameter of a type, if it is there.
    ///
    /// # Errors
    /// When it is something else, or when no parameter can be called so.
    pub fn optional<T: FromValue>(self, name: &str) -> Result<Option<T>, ParameterError> {
        value::read(name, self.get(name).as_deref())
    }

    /// The text of a parameter.
    ///
    /// # Errors
    /// When it is missing, not UTF-8, or when no parameter can be called so.
    pub fn text(self, name: &str) -> Result<Cow<'a, str>, ParameterError> {
        Part::Parameter.check(name)?;
        let missing = || ParameterError::Missing { name: name.to_owned() };
        let invalid = |error| ParameterError::Value { name: name.to_owned(), error };
        match self.get(name).ok_or_else(missing)? {
            Cow::Borrowed(bytes) => value::text(bytes).map(Cow::Borrowed).map_err(invalid),
            Cow::Owned(bytes) => match value::text(&bytes) {
                Ok(text) => Ok(Cow::Owned(text.to_owned())),
                Err(error) => Err(invalid(error)),
            },
        }
    }

    /// A message of its own, with each parameter once.
    #[must_use]
    pub fn to_message(self) -> Message {
        let text = match self.source {
            Source::Message(message) => return message.clone(),
            Source::Text(text) => text,
        };
        let head = [self.sent_from_server, self.sent_from_service, self.server, self.service, self.command];
        let mut message = Message::unchecked(head, text.len());
        for raw in RawParameters::new(text) {
            message.push_unsorted(raw.name(), &raw.value());
        }
        message.sort();
        message
    }

    /// Whether these are the bytes that came in: nothing of this program's has made it.
    pub(crate) fn is_as_it_came(self) -> bool {
        matches!(self.source, Source::Text(_))
    }

    /// Appends the text form, without a line end.
    ///
    /// # Errors
    /// When the message has no text form; nothing was appended then.
    pub fn write_text(self, out: &mut Vec<u8>) -> Result<(), WriteError> {
        text::write(self, out)
    }

    /// The text form, without a line end.
    ///
    /// # Errors
    /// When the message has no text form.
    pub fn to_text(self) -> Result<Vec<u8>, WriteError> {
        let mut out = Vec::new();
        self.write_text(&mut out)?;
        Ok(out)
    }

    /// Appends the JSON form, which is one line, without a line end.
    ///
    /// # Errors
    /// When the message has no JSON form; nothing was appended then.
    pub fn write_json(self, out: &mut String) -> Result<(), WriteError> {
        json::write(self, out)
    }

    /// The JSON form, which is one line, without a line end.
    ///
    /// # Errors
    /// When the message has no JSON form.
    pub fn to_json(self) -> Result<String, WriteError> {
        let mut out = String::new();
        self.write_json(&mut out)?;
        Ok(out)
    }
}

/// The text form, or what comes nearest to it. A `secret_code` is not shown.
impl fmt::Debug for MessageRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.has(SECRET_CODE) {
            let mut hidden = self.to_message();
            hidden.remove(SECRET_CODE);
            return write!(f, "{:?} with a {SECRET_CODE}", hidden.view());
        }
        match self.to_text() {
            Ok(text) => write!(f, "Message({:?})", String::from_utf8_lossy(&text)),
            Err(error) => write!(f, "Message({:?}, not sendable: {error})", self.command),
        }
    }
}

/// The parameters of a message: see [`MessageRef::parameters`].
#[derive(Debug, Clone)]
pub struct Parameters<'a> {
    inner: Inner<'a>,
}

#[derive(Debug, Clone)]
enum Inner<'a> {
    Text(RawParameters<'a>),
    /// And how many were handed out.
    Message(&'a Message, usize),
}

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a str, Cow<'a, [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.inner {
            Inner::Text(raw) => raw.next().map(|raw| (raw.name(), raw.value())),
            Inner::Message(message, index) => {
                let (name, value) = message.parameter(*index)?;
                *index += 1;
                Some((name, Cow::Borrowed(value)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::Timespec;
    use super::*;

    /// Runs a test with the bytes and with the message that was made of them.
    fn both(text: &[u8], test: impl Fn(MessageRef<'_>)) {
        let message = MessageRef::parse(text).unwrap();
        test(message);
        test(message.to_message().view());
    }

    #[test]
    fn parameters_have_types() {
        both(b"X at=1712.5;from=[::1]:80;n=0x1F;on=true;text=a\\nb", |message| {
            assert_eq!(message.value("n"), Ok(31_u8));
            assert_eq!(message.value("n"), Ok(31_i64));
            assert_eq!(message.value("on"), Ok(true));
            assert_eq!(message.value("at"), Ok(Timespec::new(1712, 500_000_000).unwrap()));
            assert_eq!(message.value::<SocketAddr>("from").unwrap().port(), 80);
            assert_eq!(message.text("text").as_deref(), Ok("a\nb"));
            assert_eq!(message.text("on").as_deref(), Ok("true"));
            assert_eq!(message.optional::<u8>("none"), Ok(None));
        });
    }

    #[test]
    fn what_is_not_there_or_something_else_is_an_error() {
        let check = |error: ParameterError, expected: &str| assert_eq!(error.to_string(), expected);
        both(b"X empty=;n=7x;raw=\xff\xfe;slow=a\\n\xff", |message| {
            check(message.value::<u8>("none").unwrap_err(), "the parameter none is missing");
            check(message.text("none").unwrap_err(), "the parameter none is missing");
            check(
                message.optional::<u16>("n").unwrap_err(),
                "the parameter n is not a whole number of 16 bits, not negative: see byte 1",
            );
            check(
                message.value::<i64>("empty").unwrap_err(),
                "the parameter empty is not a whole number of 64 bits: see byte 0",
            );
            check(message.text("raw").unwrap_err(), "the parameter raw is not UTF-8 text: see byte 0");
            check(message.text("slow").unwrap_err(), "the parameter slow is not UTF-8 text: see byte 2");
            let name =
                "the parameter name \"a-b\" has something else than a letter, digit or underscore at byte 1";
            check(message.value::<u8>("a-b").unwrap_err(), name);
            check(message.text("a-b").unwrap_err(), name);
        });
    }

    #[test]
    fn parameters_come_as_they_were_meant() {
        both(b"X a=;b=\"1;2\";c=\\\\;", |message| {
            let got: Vec<_> = message.parameters().map(|(name, value)| (name, value.into_owned())).collect();
            assert_eq!(got, [("a", b"".to_vec()), ("b", b"1;2".to_vec()), ("c", b"\\".to_vec())]);
            assert!(message.has("a") && !message.has("d"));
        });
    }
}
