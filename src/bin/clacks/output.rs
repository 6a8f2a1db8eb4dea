//! Standard output.

use crate::failure::Failure;
use crate::session::Flow;
use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

/// Standard output, buffered until it is [flushed](Self::flush).
pub(crate) struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
}

impl Output {
    pub(crate) fn new() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Self { stdout: BufWriter::with_capacity(64 << 10, stdout.lock()), is_terminal }
    }

    /// Writes `bytes`, and that is all.
    pub(crate) fn all(bytes: &[u8]) -> Result<(), Failure> {
        let mut output = Self::new();
        output.bytes(bytes)?;
        output.flush()
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes).map_err(Failure::Output)
    }

    /// What others have written: bytes as they are, but none that a terminal would obey.
    pub(crate) fn text(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let shown = if self.is_terminal { visible(bytes, b"\t\n") } else { Cow::Borrowed(bytes) };
        self.bytes(&shown)
    }

    /// A line of the parts.
    pub(crate) fn line(&mut self, parts: &[&[u8]]) -> Result<(), Failure> {
        for part in parts {
            self.text(part)?;
        }
        self.bytes(b"\n")
    }

    /// Hands on what was written.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(Failure::Output)
    }
}

/// Lines that are printed as they come, each at once.
pub(crate) struct Lines {
    output: Output,
    /// How many are still to come, if that is known.
    left: Option<u64>,
}

impl Lines {
    /// So many, or without end.
    pub(crate) fn new(count: Option<u64>) -> Self {
        Self { output: Output::new(), left: count }
    }

    /// Prints a line of the parts. Whether it was the last one.
    pub(crate) fn print(&mut self, parts: &[&[u8]]) -> Result<Flow, Failure> {
        self.output.line(parts)?;
        self.output.flush()?;
        self.left = self.left.map(|left| left.saturating_sub(1));
        Ok(if self.left == Some(0) { Flow::Done } else { Flow::GoOn })
    }
}

/// `bytes` with all control characters but those in `keep` as they stand in string literals.
pub(crate) fn visible<'a>(bytes: &'a [u8], keep: &[u8]) -> Cow<'a, [u8]> {
    let is_control = |byte: u8| byte.is_ascii_control() && !keep.contains(&byte);
    // U+0080 to U+009F, in UTF-8: some terminals obey them.
    let is_c1 = |at: usize| {
        bytes.get(at) == Some(&0xc2) && bytes.get(at + 1).is_some_and(|byte| (0x80..0xa0).contains(byte))
    };
    if !bytes.iter().enumerate().any(|(at, &byte)| is_control(byte) || is_c1(at)) {
        return Cow::Borrowed(bytes);
    }
    let mut shown = Vec::with_capacity(bytes.len() + 16);
    let mut rest = bytes.iter().enumerate();
    while let Some((at, &byte)) = rest.next() {
        if is_control(byte) {
            shown.extend(byte.escape_ascii());
        } else if is_c1(at) {
            shown.extend(byte.escape_ascii());
            shown.extend(rest.next().into_iter().flat_map(|(_, byte)| byte.escape_ascii()));
        } else {
            shown.push(byte);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        for (bytes, shown) in [
            ("plain text, größer\n", "plain text, größer\n"),
            ("a\tb", "a\tb"),
            ("\x1b[2J", "\\x1b[2J"),
            ("a\rb\x07\x7f", "a\\rb\\x07\\x7f"),
            ("\u{9b}2J\u{a0}", "\\xc2\\x9b2J\u{a0}"),
        ] {
            assert_eq!(visible(bytes.as_bytes(), b"\t\n"), shown.as_bytes(), "{bytes:?}");
        }
        assert_eq!(&*visible(b"\xff\xc2", b""), b"\xff\xc2");
    }
}
