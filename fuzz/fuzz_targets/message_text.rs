//! The text form of messages: whatever comes is a message or none, and what is written is read again.
#![no_main]

use eventdispatcher::dispatcher::definitions::Definitions;
use eventdispatcher::dispatcher::{Message, MessageRef, invalid_answer, unknown_answer};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::sync::LazyLock;

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(Definitions::built_in);

fuzz_target!(|bytes: &[u8]| {
    let message = match MessageRef::parse(bytes) {
        Ok(message) => message,
        Err(error) => {
            assert!(error.at <= bytes.len(), "{error}");
            return;
        }
    };
    let owned = message.to_message();
    check_same(message, &owned);
    // An answer can be addressed to whoever may be answered.
    let invalid = DEFINITIONS.check(message).err().and_then(|problems| invalid_answer(message, &problems));
    for answer in [unknown_answer(message), invalid].into_iter().flatten() {
        check_written(&answer);
    }
    check_written(&owned);
    if let Ok(json) = message.to_json() {
        assert_eq!(Message::from_json(json.as_bytes()).as_ref(), Ok(&owned), "{json}");
    }
    let (mut passed_on, mut written) = (Vec::new(), Vec::new());
    assert_eq!(message.write_text(&mut passed_on).is_ok(), owned.view().write_text(&mut written).is_ok());
    if message.parameters().count() == owned.parameters().len() {
        assert_eq!(passed_on.len(), written.len());
    }
});

/// What is borrowed from a text says the same as a message of its own.
fn check_same(message: MessageRef<'_>, owned: &Message) {
    let head = |message: MessageRef<'_>| {
        let from = [message.sent_from_server(), message.sent_from_service()].map(str::to_owned);
        (from, [message.server(), message.service(), message.command()].map(str::to_owned))
    };
    assert_eq!(head(message), head(owned.view()));
    let last: BTreeMap<_, _> =
        message.parameters().map(|(name, value)| (name.to_owned(), value.into_owned())).collect();
    let all: Vec<_> = owned.parameters().collect();
    assert_eq!(all.len(), last.len());
    for ((name, value), (expected_name, expected)) in all.into_iter().zip(&last) {
        assert_eq!((name, value), (&**expected_name, &**expected));
        assert_eq!(message.get(name).as_deref(), Some(value));
        assert!(message.has(name));
    }
}

/// What can be written is read as the same, and written the same again.
fn check_written(message: &Message) {
    let text = match message.view().to_text() {
        Ok(text) => text,
        Err(error) => {
            let nul = message.parameters().any(|(_, value)| value.contains(&0));
            let no_service = !message.server().is_empty() && message.service().is_empty();
            assert!(nul || no_service, "{error}");
            return;
        }
    };
    assert!(!text.contains(&b'\n') && !text.contains(&b'\r'), "{message:?} is more than a line");
    let read = MessageRef::parse(&text).unwrap_or_else(|error| panic!("{message:?}: {error}"));
    assert_eq!(read.to_message(), *message);
    assert_eq!(read.to_text().as_ref(), Ok(&text));
}
