//! Patterns of commands. The input is a pattern and, in the next line, a command.
#![no_main]

use eventdispatcher::dispatcher::{Entry, MessageRef, Pattern, Table};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (written, command) = text.split_once('\n').unwrap_or((text, "COMMAND"));
    let pattern: Pattern = match written.parse() {
        Ok(pattern) => pattern,
        Err(error) => {
            assert!(error.at <= written.len() && !error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(pattern.to_string(), written);
    let Ok(message) = MessageRef::parse(command.as_bytes()) else { return };
    let command = message.command();
    let captures = pattern.matches(message);
    if let Some(captures) = &captures {
        for (name, captured) in captures.iter() {
            assert!(!captured.is_empty() && command.contains(captured), "{name}={captured:?}");
        }
    }
    if let Some(exact) = pattern.exact() {
        assert_eq!(captures.is_some(), exact == command);
    } else if !written.contains(['<', '>']) && written.len() * command.len() < 100_000 {
        assert_eq!(captures.is_some(), matches_slowly(written, command), "{written:?} {command:?}");
    }
    // The table finds it, or not, in the same way.
    let mut table = Table::new();
    let matches = captures.is_some();
    let added = table.add(Entry::new(pattern, ()));
    assert!(added.is_ok());
    let mut cursor = table.cursor();
    assert_eq!(table.next(&mut cursor, message).is_some(), matches);
});

/// As a pattern without captures has to, by a table of what matches what.
fn matches_slowly(glob: &str, text: &str) -> bool {
    let text: Vec<_> = text.chars().collect();
    // Which beginnings of the text the pattern so far matches.
    let mut starts = vec![false; text.len() + 1];
    starts[0] = true;
    for c in glob.chars() {
        if c == '*' {
            let first = starts.iter().position(|start| *start).unwrap_or(starts.len());
            starts[first..].fill(true);
        } else {
            for at in (1..starts.len()).rev() {
                starts[at] = starts[at - 1] && (c == '?' || c == text[at - 1]);
            }
            starts[0] = false;
        }
    }
    starts[text.len()]
}
