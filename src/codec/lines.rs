use std::str;

use memchr::memchr;

use super::scan::Scan;
use super::{Codec, DEFAULT_MAX, DecodeError, Decoded, EncodeError};

/// Lines of UTF-8 text.
///
/// A line ends at LF; one CR before the LF is part of the end, any other CR is part of the line. An
/// empty line is an item. Lines are sent with LF alone. A line that is not UTF-8 ends the connection;
/// [`ByteLines`] takes it.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    bytes: ByteLines,
}

impl Lines {
    /// Lines of up to [`DEFAULT_MAX`] bytes; what follows the last LF is dropped.
    pub fn new() -> Self {
        Self::default()
    }

    /// The longest line that is accepted, in bytes without the line end.
    #[must_use]
    pub fn max(mut self, bytes: usize) -> Self {
        self.bytes.max = bytes;
        self
    }

    /// Whether bytes behind the last LF are a line too once the stream has ended.
    #[must_use]
    pub fn keep_last(mut self, keep: bool) -> Self {
        self.bytes.keep_last = keep;
        self
    }
}

impl Codec for Lines {
    type In<'a> = &'a str;
    type Out<'a> = &'a str;

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<&'a str>, DecodeError> {
        Ok(match self.bytes.decode(input)? {
            Decoded::Item(line, used) => Decoded::Item(text(line)?, used),
            Decoded::Skip(used) => Decoded::Skip(used),
            Decoded::More => Decoded::More,
        })
    }

    fn finish<'a>(&'a mut self, rest: &'a [u8]) -> Result<Option<&'a str>, DecodeError> {
        self.bytes.finish(rest)?.map(text).transpose()
    }

    fn encode(item: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        ByteLines::encode(item.as_bytes(), out)
    }
}

fn text(line: &[u8]) -> Result<&str, DecodeError> {
    str::from_utf8(line).map_err(|error| DecodeError::invalid("a line is not UTF-8", error.valid_up_to()))
}

/// Lines of bytes that need not be text: [`Lines`] in all else.
#[derive(Debug, Clone)]
pub struct ByteLines {
    scan: Scan,
    max: usize,
    keep_last: bool,
}

impl ByteLines {
    /// Lines of up to [`DEFAULT_MAX`] bytes; what follows the last LF is dropped.
    pub fn new() -> Self {
        Self { scan: Scan::default(), max: DEFAULT_MAX, keep_last: false }
    }

    /// The longest line that is accepted, in bytes without the line end.
    #[must_use]
    pub fn max(mut self, bytes: usize) -> Self {
        self.max = bytes;
        self
    }

    /// Whether bytes behind the last LF are a line too once the stream has ended. They stay as they
    /// are, with a CR at their end too.
    #[must_use]
    pub fn keep_last(mut self, keep: bool) -> Self {
        self.keep_last = keep;
        self
    }

    fn checked<'a>(&self, line: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        if line.len() > self.max { Err(DecodeError::TooLong { limit: self.max }) } else { Ok(line) }
    }
}

impl Default for ByteLines {
    fn default() -> Self {
        Self::new()
    }
}

impl Codec for ByteLines {
    type In<'a> = &'a [u8];
    type Out<'a> = &'a [u8];

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
        let longest = self.max.saturating_add(b"\r\n".len());
        Ok(match self.scan.find(input, longest, 1, |bytes| memchr(b'\n', bytes)) {
            Some(end) => Decoded::Item(self.checked(without_cr(&input[..end]))?, end + 1),
            None => {
                // A CR at the end may turn out to be half of a line end.
                self.checked(without_cr(input))?;
                Decoded::More
            }
        })
    }

    fn finish<'a>(&'a mut self, rest: &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
        self.scan.reset();
        if self.keep_last && !rest.is_empty() { self.checked(rest).map(Some) } else { Ok(None) }
    }

    fn encode(item: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if memchr(b'\n', item).is_some() {
            return Err(EncodeError::invalid("a line can't contain a line feed"));
        }
        if item.ends_with(b"\r") {
            return Err(EncodeError::invalid("a line can't end with a carriage return"));
        }
        out.extend_from_slice(item);
        out.push(b'\n');
        Ok(())
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT_4: DecodeError = DecodeError::TooLong { limit: 4 };

    fn not_utf8(at: usize) -> DecodeError {
        DecodeError::invalid("a line is not UTF-8", at)
    }

    #[test]
    fn a_line_ends_at_lf_with_or_without_one_cr() {
        fn check(input: &[u8], line: &str, used: usize) {
            assert_eq!(Lines::new().decode(input), Ok(Decoded::Item(line, used)), "{input:?}");
            assert_eq!(ByteLines::new().decode(input), Ok(Decoded::Item(line.as_bytes(), used)), "{input:?}");
        }
        check(b"a\n", "a", 2);
        check(b"a\r\n", "a", 3);
        check(b"a\r\r\n", "a\r", 4);
        check(b"a\rb\n", "a\rb", 4);
        check(b"\n", "", 1);
        check(b"\r\n", "", 2);
        check(b"\n\n", "", 1);
        check(b"a\0b\nc\n", "a\0b", 4);
        check("ä\n".as_bytes(), "ä", 3);
    }

    #[test]
    fn a_line_without_end_needs_more() {
        for input in [&b""[..], b"a", b"a\r", b"\r"] {
            assert_eq!(Lines::new().decode(input), Ok(Decoded::More), "{input:?}");
        }
    }

    #[test]
    fn a_line_is_too_long_as_soon_as_that_is_certain() {
        fn check(input: &[u8], result: Result<Decoded<&str>, DecodeError>) {
            assert_eq!(Lines::new().max(4).decode(input), result, "{input:?}");
        }
        check(b"1234", Ok(Decoded::More));
        check(b"1234\r", Ok(Decoded::More));
        check(b"12345", Err(LIMIT_4));
        check(b"1234\r\r", Err(LIMIT_4));
        check(b"1234\n", Ok(Decoded::Item("1234", 5)));
        check(b"1234\r\n", Ok(Decoded::Item("1234", 6)));
        check(b"1234\r\r\n", Err(LIMIT_4));
        check(b"12345\n", Err(LIMIT_4));
        check(b"12345678\n", Err(LIMIT_4));
    }

    #[test]
    fn a_line_that_is_not_utf8_is_refused_with_its_place() {
        assert_eq!(Lines::new().decode(b"ab\xffc\n"), Err(not_utf8(2)));
        assert_eq!(Lines::new().decode(b"ab\xff"), Ok(Decoded::More));
        assert_eq!(ByteLines::new().decode(b"ab\xff\n"), Ok(Decoded::Item(&b"ab\xff"[..], 4)));
    }

    #[test]
    fn the_unfinished_last_line_is_kept_on_demand() {
        fn check(keep: bool, rest: &[u8], result: Result<Option<&str>, DecodeError>) {
            assert_eq!(Lines::new().max(4).keep_last(keep).finish(rest), result, "{rest:?}, keep {keep}");
        }
        check(false, b"end", Ok(None));
        check(false, b"\xff", Ok(None));
        check(true, b"", Ok(None));
        check(true, b"end", Ok(Some("end")));
        check(true, b"end\r", Ok(Some("end\r")));
        check(true, b"1234\r", Err(LIMIT_4));
        check(true, b"a\xff", Err(not_utf8(1)));
    }

    #[test]
    fn after_the_end_of_a_stream_the_next_begins_anew() {
        let mut lines = Lines::new();
        assert_eq!(lines.decode(b"unfinished"), Ok(Decoded::More));
        assert_eq!(lines.finish(b"unfinished"), Ok(None));
        assert_eq!(lines.decode(b"a\n"), Ok(Decoded::Item("a", 2)));
    }

    #[test]
    fn lines_are_sent_with_lf() {
        fn check(line: &str, result: Result<&[u8], &'static str>) {
            let mut out = Vec::new();
            let sent = Lines::encode(line, &mut out).map(|()| out.as_slice());
            assert_eq!(sent, result.map_err(EncodeError::invalid), "{line:?}");
        }
        check("", Ok(b"\n"));
        check("a", Ok(b"a\n"));
        check("a\rb", Ok(b"a\rb\n"));
        check("a\nb", Err("a line can't contain a line feed"));
        check("a\r\n", Err("a line can't contain a line feed"));
        check("a\r", Err("a line can't end with a carriage return"));
    }
}
