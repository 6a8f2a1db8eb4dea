//! The JSON form of messages: whatever comes is a message or none, and what is written is read again, in both forms.
#![no_main]

use eventdispatcher::dispatcher::{Message, MessageRef};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let message = match Message::from_json(bytes) {
        Ok(message) => message,
        Err(error) => {
            assert!(error.at <= bytes.len(), "{error}");
            return;
        }
    };
    assert!(!message.command().is_empty());
    assert!(message.parameters().is_sorted_by(|(one, _), (other, _)| one < other));
    match message.view().to_json() {
        Ok(json) => {
            assert!(!json.contains(['\n', '\r']), "{message:?} is more than a line");
            let read = Message::from_json(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"));
            // As in the text form, a server without a service is dropped when reading; only JSON can say it.
            assert_eq!(read, message, "{json}");
            assert_eq!(read.view().to_json().as_ref(), Ok(&json));
        }
        Err(error) => {
            let not_utf8 = message.parameters().any(|(_, value)| std::str::from_utf8(value).is_err());
            assert!(not_utf8, "{error}");
        }
    }
    match message.view().to_text() {
        Ok(text) => {
            let read = MessageRef::parse(&text).unwrap_or_else(|error| panic!("{message:?}: {error}"));
            assert_eq!(read.to_message(), message);
        }
        Err(error) => {
            let nul = message.parameters().any(|(_, value)| value.contains(&0));
            let no_service = !message.server().is_empty() && message.service().is_empty();
            assert!(nul || no_service, "{error}");
        }
    }
});
