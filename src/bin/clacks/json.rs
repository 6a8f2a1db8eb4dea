//! JSON objects, one per line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;

/// An object that is being put together.
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self("{".to_owned())
    }

    /// A text. What is no UTF-8 becomes base64, and `_base64` is appended to the name.
    pub(crate) fn text(mut self, name: &str, value: &[u8]) -> Self {
        match std::str::from_utf8(value) {
            Ok(value) => {
                self.name(name);
                string(value, &mut self.0);
            }
            Err(_) => {
                self.name(&format!("{name}_base64"));
                string(&STANDARD.encode(value), &mut self.0);
            }
        }
        self
    }

    /// Something that looks the same in JSON: an integer, `true`.
    pub(crate) fn plain(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.name(name);
        let _ = write!(self.0, "{value}");
        self
    }

    /// The line, without its end.
    pub(crate) fn line(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        string(name, &mut self.0);
        self.0.push(':');
    }
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Beside those that JSON forbids, those that a terminal would obey.
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_written_is_read_the_same() {
        for text in [
            "",
            "plain",
            "\"quoted\" \\ /",
            "\n\r\t\0\x08\x0c\x1b\x7f",
            "ä€😀 \u{85}\u{9b}\u{2028}\u{feff}",
            "{\"a\":1}",
        ] {
            let line = Object::new().text(text, text.as_bytes()).plain("n", 7).line();
            assert!(!line.contains('\n') && !line.contains('\x1b'), "{line}");
            let read: Value = serde_json::from_str(&line).expect(&line);
            let mut expected = json!({ "n": 7 });
            expected[text] = json!(text);
            assert_eq!(read, expected, "{line}");
        }
        assert_eq!(Object::new().line(), "{}");
    }

    #[test]
    fn what_is_no_text_is_in_base64() {
        let line = Object::new().text("value", b"a\xff\n").line();
        assert_eq!(line, r#"{"value_base64":"Yf8K"}"#);
    }
}
