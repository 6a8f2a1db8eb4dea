//! Definitions of messages, and messages that are checked against them. The input is the file of a definition, and, behind a line
//! of `%`, a message.
#![no_main]

use eventdispatcher::dispatcher::MessageRef;
use eventdispatcher::dispatcher::definitions::{Definition, Presence};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &str| {
    let (file, message) = text.split_once("\n%\n").unwrap_or((text, "COMMAND"));
    let definition = match Definition::parse("COMMAND", file, Path::new("COMMAND.conf")) {
        Ok(definition) => definition,
        Err(error) => {
            assert!(error.to_string().contains("COMMAND.conf"));
            return;
        }
    };
    let rules = definition.rules();
    assert!(rules.is_sorted_by(|one, other| one.name() < other.name()));
    for rule in rules {
        assert_eq!(definition.rule(rule.name()), Some(rule));
        assert_eq!(rule.check(None).is_err(), rule.presence() == Presence::Required);
        if let Some(default) = rule.default() {
            assert_eq!(rule.check(Some(default.as_bytes())), Ok(()));
        }
    }

    let written = definition.to_string();
    let read = Definition::parse("COMMAND", &written, Path::new("COMMAND.conf"));
    let read = read.unwrap_or_else(|error| panic!("{error}:\n{written}"));
    assert_eq!(read.rules(), rules, "{written}");
    assert_eq!(read.refuses_unknown(), definition.refuses_unknown());
    assert_eq!(read.to_string(), written);

    let Ok(message) = MessageRef::parse(message.as_bytes()) else { return };
    let checked = definition.check(message);
    if let Err(problems) = &checked {
        assert!(!problems.is_empty());
        for problem in problems {
            assert!(!problem.to_string().is_empty());
        }
    }
    // Defaults make no message wrong.
    if let Some(complete) = definition.complete(message) {
        assert_eq!(definition.check(complete.view()).is_ok(), checked.is_ok());
        assert!(definition.complete(complete.view()).is_none());
    }
});
