use std::fmt;

use super::builder::Builder;
use super::error::ParseError;
use super::name::{NameError, Part};
use super::value::ToValue;
use super::view::MessageRef;

/// A message: where it comes from, where it goes, a command, and parameters sorted by name.
///
/// Each parameter is there once; its value is any bytes. Names are checked when they are set, with the
/// exception of a message that was read ([`MessageRef::to_message`]): its server, service and command
/// stay as the peer wrote them, so that it can be passed on.
///
/// What is read from a message (typed values, the special parameters) is read through
/// [`view`](Self::view), which makes no difference between a message that was built and one that came in.
///
/// ```
/// use eventdispatcher::dispatcher::Message;
///
/// let message = Message::build("CONNECT")
///     .server("jungle")
///     .service("watchdog")
///     .with("speed", 1078)
///     .with("race", true)
///     .finish()?;
/// assert_eq!(message.view().to_text()?, b"jungle:watchdog/CONNECT race=true;speed=1078");
/// assert_eq!(message.view().value::<u16>("speed")?, 1078);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Message {
    /// The five parts of the head, then the names of the parameters in the order of their arrival.
    names: String,
    /// Where each part of the head ends.
    ends: [usize; HEAD],
    values: Vec<u8>,
    /// Sorted by name.
    entries: Vec<Entry>,
}

/// How many parts the head has: sender's server and service, server, service, command.
const HEAD: usize = 5;

/// How much room a message that is built has for parameters at first, in bytes.
const ROOM: usize = 128;

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Counted from the end of the head.
    name: Span,
    value: Span,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    len: usize,
}

impl Span {
    fn end(self) -> usize {
        self.start + self.len
    }

    /// Follows the removal of `gone`.
    fn close(&mut self, gone: Self) {
        if self.start > gone.start {
            self.start -= gone.len;
        }
    }
}

impl Message {
    /// A message of nothing but a command.
    ///
    /// # Errors
    /// When it can't be the name of a command: see [`Part::check`].
    pub fn new(command: &str) -> Result<Self, NameError> {
        Part::Command.check(command)?;
        Ok(Self::unchecked(["", "", "", "", command], ROOM))
    }

    /// Starts a message with a command; what is wrong with any part of it is said at the end, by
    /// [`Builder::finish`].
    pub fn build(command: &str) -> Builder {
        Builder::new(Self::new(command))
    }

    /// A message with a head as it was read, and room for parameters of about so many bytes.
    pub(super) fn unchecked(head: [&str; HEAD], room: usize) -> Self {
        let head_len: usize = head.iter().map(|part| part.len()).sum();
        let mut message = Self {
            names: String::with_capacity(head_len + room / 2),
            ends: [0; HEAD],
            values: Vec::with_capacity(room / 2),
            entries: Vec::new(),
        };
        for (part, end) in head.iter().zip(&mut message.ends) {
            message.names.push_str(part);
            *end = message.names.len();
        }
        message
    }

    /// The message as one that can be read, written and sent: see [`MessageRef`].
    #[must_use]
    pub fn view(&self) -> MessageRef<'_> {
        MessageRef::of_message(self)
    }

    /// The command.
    #[must_use]
    pub fn command(&self) -> &str {
        self.head(Part::Command)
    }

    /// The server to which the message goes; empty if none is named.
    #[must_use]
    pub fn server(&self) -> &str {
        self.head(Part::Server)
    }

    /// The service to which the message goes; empty if none is named.
    #[must_use]
    pub fn service(&self) -> &str {
        self.head(Part::Service)
    }

    /// The server on which the sender runs; empty if it is not named.
    #[must_use]
    pub fn sent_from_server(&self) -> &str {
        self.head(Part::SentFromServer)
    }

    /// The service that sent the message; empty if it is not named.
    #[must_use]
    pub fn sent_from_service(&self) -> &str {
        self.head(Part::SentFromService)
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.find(name).ok().map(|index| self.value(self.entries[index]))
    }

    /// The parameters, sorted by name.
    pub fn parameters(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> + Clone {
        self.entries.iter().map(|&entry| (self.name(entry), self.value(entry)))
    }

    /// Sets a parameter, over one of the same name.
    ///
    /// # Errors
    /// When a parameter can't be called so.
    pub fn set(&mut self, name: &str, value: impl ToValue) -> Result<&mut Self, NameError> {
        Part::Parameter.check(name)?;
        let start = self.values.len();
        value.to_value(&mut self.values);
        let value = Span { start, len: self.values.len() - start };
        match self.find(name) {
            Ok(index) => {
                let old = self.entries[index].value;
                self.entries[index].value = value;
                self.drop_value(old);
            }
            Err(index) => {
                let name = self.push_name(name);
                self.entries.insert(index, Entry { name, value });
            }
        }
        Ok(self)
    }

    /// Removes a parameter, and says whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let Ok(index) = self.find(name) else { return false };
        let entry = self.entries.remove(index);
        self.drop_value(entry.value);
        let start = self.head_len() + entry.name.start;
        self.names.replace_range(start..start + entry.name.len, "");
        self.entries.iter_mut().for_each(|other| other.name.close(entry.name));
        true
    }

    /// Names the server to send to; empty for none.
    ///
    /// # Errors
    /// When a server can't be called so.
    pub fn set_server(&mut self, server: &str) -> Result<&mut Self, NameError> {
        self.set_head(Part::Server, server)
    }

    /// Names the service to send to; empty for none.
    ///
    /// # Errors
    /// When a service can't be called so.
    pub fn set_service(&mut self, service: &str) -> Result<&mut Self, NameError> {
        self.set_head(Part::Service, service)
    }

    /// Names the server on which the sender runs; empty for none.
    ///
    /// # Errors
    /// When a server can't be called so.
    pub fn set_sent_from_server(&mut self, server: &str) -> Result<&mut Self, NameError> {
        self.set_head(Part::SentFromServer, server)
    }

    /// Names the service that sends; empty for none.
    ///
    /// # Errors
    /// When a service can't be called so.
    pub fn set_sent_from_service(&mut self, service: &str) -> Result<&mut Self, NameError> {
        self.set_head(Part::SentFromService, service)
    }

    /// Changes the command.
    ///
    /// # Errors
    /// When a command can't be called so.
    pub fn set_command(&mut self, command: &str) -> Result<&mut Self, NameError> {
        self.set_head(Part::Command, command)
    }

    /// Addresses the message to the sender of `request`, and copies nothing else.
    ///
    /// # Errors
    /// When the sender calls itself something that no sender can be called: neither a destination that
    /// could not be written, nor one that means everybody.
    pub fn reply_to(&mut self, request: MessageRef<'_>) -> Result<&mut Self, NameError> {
        // Both are checked before one is set.
        Part::SentFromServer.check(request.sent_from_server())?;
        Part::SentFromService.check(request.sent_from_service())?;
        self.set_server(request.sent_from_server())?.set_service(request.sent_from_service())
    }

    /// The parameters, sorted by name, which is ASCII.
    pub(super) fn raw_parameters(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let names = self.names.as_bytes().get(self.head_len()..).unwrap_or_default();
        self.entries.iter().map(move |entry| (&names[entry.name.start..entry.name.end()], self.value(*entry)))
    }

    /// The parameter at a place in the sorted order.
    pub(super) fn parameter(&self, index: usize) -> Option<(&str, &[u8])> {
        self.entries.get(index).map(|&entry| (self.name(entry), self.value(entry)))
    }

    /// Adds a parameter of a message that is being read; [`sort`](Self::sort) comes after the last.
    pub(super) fn push_unsorted(&mut self, name: &str, value: &[u8]) {
        let name = self.push_name(name);
        let start = self.values.len();
        self.values.extend_from_slice(value);
        self.entries.push(Entry { name, value: Span { start, len: value.len() } });
    }

    /// Brings the parameters in order; of those with one name the last stays.
    pub(super) fn sort(&mut self) {
        let names = self.names.get(self.head_len()..).unwrap_or_default();
        let name = |entry: &Entry| &names[entry.name.start..entry.name.end()];
        if self.entries.is_sorted_by(|a, b| name(a) < name(b)) {
            return;
        }
        self.entries.sort_by(|a, b| name(a).cmp(name(b)));
        self.entries.dedup_by(|later, earlier| {
            let same = name(later) == name(earlier);
            if same {
                earlier.value = later.value;
            }
            same
        });
    }

    /// The head of a message that was read, which may say what a peer may say.
    pub(super) fn set_head_unchecked(&mut self, part: Part, text: &str) {
        let Some(index) = head_index(part) else { return };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let old = self.ends[index] - start;
        self.names.replace_range(start..start + old, text);
        for end in &mut self.ends[index..] {
            *end = *end + text.len() - old;
        }
    }

    fn set_head(&mut self, part: Part, text: &str) -> Result<&mut Self, NameError> {
        part.check(text)?;
        self.set_head_unchecked(part, text);
        Ok(self)
    }

    fn head(&self, part: Part) -> &str {
        let Some(index) = head_index(part) else { return "" };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.names[start..self.ends[index]]
    }

    fn head_len(&self) -> usize {
        self.ends[HEAD - 1]
    }

    fn name(&self, entry: Entry) -> &str {
        let start = self.head_len() + entry.name.start;
        &self.names[start..start + entry.name.len]
    }

    fn value(&self, entry: Entry) -> &[u8] {
        &self.values[entry.value.start..entry.value.end()]
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|&entry| self.name(entry).cmp(name))
    }

    fn push_name(&mut self, name: &str) -> Span {
        let start = self.names.len() - self.head_len();
        self.names.push_str(name);
        Span { start, len: name.len() }
    }

    /// Gives the room of a value back, so that a parameter that is set again and again takes no more.
    fn drop_value(&mut self, gone: Span) {
        self.values.drain(gone.start..gone.end());
        self.entries.iter_mut().for_each(|entry| entry.value.close(gone));
    }
}

fn head_index(part: Part) -> Option<usize> {
    match part {
        Part::SentFromServer => Some(0),
        Part::SentFromService => Some(1),
        Part::Server => Some(2),
        Part::Service => Some(3),
        Part::Command => Some(4),
        Part::Parameter => None,
    }
}

/// Two messages are equal when all that they say is equal.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.ends == other.ends
            && self.names[..self.head_len()] == other.names[..other.head_len()]
            && self.parameters().eq(other.parameters())
    }
}

impl Eq for Message {}

/// The text form, whether or not it could be sent.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

impl<'a> From<&'a Message> for MessageRef<'a> {
    fn from(message: &'a Message) -> Self {
        message.view()
    }
}

/// Reads the text form.
impl TryFrom<&[u8]> for Message {
    type Error = ParseError;

    fn try_from(bytes: &[u8]) -> Result<Self, ParseError> {
        Ok(MessageRef::parse(bytes)?.to_message())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_sorted_and_there_once() {
        let mut message = Message::new("X").unwrap();
        for (name, value) in [("b", "1"), ("a", "22"), ("B", "333"), ("_", ""), ("a", "4444"), ("b", "")] {
            message.set(name, value).unwrap();
        }
        let got: Vec<_> = message.parameters().collect();
        assert_eq!(got, [("B", &b"333"[..]), ("_", b""), ("a", b"4444"), ("b", b"")]);
        assert!(message.remove("_"));
        assert!(!message.remove("_"));
        assert_eq!(message.get("_"), None);
        assert_eq!(message.get("a"), Some(&b"4444"[..]));
    }

    #[test]
    fn a_parameter_that_is_set_again_and_again_takes_no_more_room() {
        let mut message = Message::build("X").with("other", "stays").finish().unwrap();
        for round in 0..10_000 {
            message.set("counter", round).unwrap();
            message.remove("gone");
            message.set("gone", round).unwrap();
        }
        assert!(message.values.len() < 32, "{} bytes of values", message.values.len());
        assert!(message.names.len() < 32, "{} bytes of names", message.names.len());
        assert_eq!(message.get("other"), Some(&b"stays"[..]));
        assert_eq!(message.get("counter"), Some(&b"9999"[..]));
    }

    #[test]
    fn a_reply_goes_to_the_sender() {
        let request = Message::build("ALIVE").sent_from("web", "cart").with("serial", 7).finish().unwrap();
        let reply = Message::build("ABSOLUTELY").reply_to(request.view()).finish().unwrap();
        assert_eq!(reply.view().to_text().unwrap(), b"web:cart/ABSOLUTELY");
    }

    #[test]
    fn a_sender_that_can_t_be_answered_changes_nothing() {
        for sender in ["<web-1:cart X", "<web:cart.1 X", "<*:cart X", "<web:. X"] {
            let request = MessageRef::parse(sender.as_bytes()).unwrap();
            let mut reply = Message::build("Y").server("a").service("b").finish().unwrap();
            assert!(reply.reply_to(request).is_err(), "{sender}");
            assert_eq!(reply.view().to_text().unwrap(), b"a:b/Y");
        }
    }

    #[test]
    fn messages_are_equal_when_they_say_the_same() {
        let one = Message::build("X").with("a", 1).with("b", 2).finish().unwrap();
        let mut two = Message::build("X").with("b", 0).with("a", 1).finish().unwrap();
        assert_ne!(one, two);
        two.set("b", "2").unwrap();
        assert_eq!(one, two);
        two.set_service("s").unwrap();
        assert_ne!(one, two);
        // The same letters, in another part.
        let mut three = one.clone();
        three.set_sent_from_service("s").unwrap();
        assert_ne!(two, three);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(String, Vec<u8>),
        Remove(String),
        Head(usize, String),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let name = "[abc]{1,2}";
        let step = prop_oneof![
            3 => (name, proptest::collection::vec(any::<u8>(), 0..8)).prop_map(|(n, v)| Step::Set(n, v)),
            1 => name.prop_map(Step::Remove),
            1 => (0..HEAD, "[A-Z]{1,5}").prop_map(|(part, text)| Step::Head(part, text)),
        ];
        proptest::collection::vec(step, 0..40)
    }

    proptest! {
        #[test]
        fn a_message_behaves_as_a_sorted_map(steps in steps()) {
            let parts =
                [Part::SentFromServer, Part::SentFromService, Part::Server, Part::Service, Part::Command];
            let mut message = Message::new("X").unwrap();
            let mut head = ["", "", "", "", "X"].map(str::to_owned);
            let mut map = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Set(name, value) => {
                        message.set(&name, &value).unwrap();
                        map.insert(name, value);
                    }
                    Step::Remove(name) => {
                        prop_assert_eq!(message.remove(&name), map.remove(&name).is_some());
                    }
                    Step::Head(part, text) => {
                        message.set_head(parts[part], &text).unwrap();
                        head[part] = text;
                    }
                }
            }
            for (part, text) in parts.iter().zip(&head) {
                prop_assert_eq!(message.head(*part), text);
            }
            let got: Vec<_> = message.parameters().collect();
            let expected: Vec<_> = map.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
