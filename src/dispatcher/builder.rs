use super::message::Message;
use super::name::NameError;
use super::special::SERIAL;
use super::value::ToValue;
use super::view::MessageRef;

/// A longer serial is not repeated: the answer may have to fit a datagram.
const SERIAL_MAX: usize = 128;

/// A message in the making: see [`Message::build`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    message: Result<Message, NameError>,
}

impl Builder {
    pub(super) fn new(message: Result<Message, NameError>) -> Self {
        Self { message }
    }

    /// Names the server to send to.
    pub fn server(self, server: &str) -> Self {
        self.change(|message| message.set_server(server).map(drop))
    }

    /// Names the service to send to.
    pub fn service(self, service: &str) -> Self {
        self.change(|message| message.set_service(service).map(drop))
    }

    /// Names the sender: the server on which it runs, and the service.
    pub fn sent_from(self, server: &str, service: &str) -> Self {
        self.change(|message| message.set_sent_from_server(server)?.set_sent_from_service(service).map(drop))
    }

    /// Addresses the message to the sender of `request`.
    pub fn reply_to(self, request: MessageRef<'_>) -> Self {
        self.change(|message| message.reply_to(request).map(drop))
    }

    /// Addresses the message to the sender of `request`, as far as its name can be written as a destination, and repeats
    /// the request's [`serial`](super::SERIAL), if it has at most 128 bytes and can be written as text.
    pub fn answer_to(self, request: MessageRef<'_>) -> Self {
        self.change(|message| {
            // A destination with a server and no service could not be written.
            if !request.sent_from_service().is_empty() {
                // Who calls itself what nobody can be called is answered without a name.
                let _ = message.reply_to(request);
            }
            if let Some(serial) = request.get(SERIAL)
                && (1..=SERIAL_MAX).contains(&serial.len())
                && !serial.contains(&0)
            {
                message.set_known(SERIAL, &*serial);
            }
            Ok(())
        })
    }

    /// Sets a parameter, over one of the same name.
    pub fn with(self, name: &str, value: impl ToValue) -> Self {
        self.change(|message| message.set(name, value).map(drop))
    }

    /// The message.
    ///
    /// # Errors
    /// With the first name that was wrong.
    pub fn finish(self) -> Result<Message, NameError> {
        self.message
    }

    fn change(mut self, change: impl FnOnce(&mut Message) -> Result<(), NameError>) -> Self {
        if let Ok(message) = &mut self.message
            && let Err(error) = change(message)
        {
            self.message = Err(error);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::{NameFault, Part};
    use super::*;

    #[test]
    fn the_first_wrong_name_is_reported() {
        let check = |builder: Builder, part, fault| {
            let error = builder.finish().unwrap_err();
            assert_eq!((error.part, error.fault), (part, fault));
        };
        check(Message::build("stop"), Part::Command, NameFault::LowerCase);
        check(Message::build("X").server("web-1").service("a b"), Part::Server, NameFault::Character);
        check(Message::build("X").service("1a"), Part::Service, NameFault::LeadingDigit);
        check(Message::build("X").sent_from("*", "a"), Part::SentFromServer, NameFault::Character);
        check(Message::build("X").sent_from("a", "*"), Part::SentFromService, NameFault::Character);
        check(Message::build("X").with("", 1), Part::Parameter, NameFault::Empty);
        check(Message::build("X").with("a=b", 1), Part::Parameter, NameFault::Character);
        check(Message::build("X").with("", 1).server("-"), Part::Parameter, NameFault::Empty);
    }
}
