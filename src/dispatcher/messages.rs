use memchr::memchr;

use super::error::{ParseError, WriteError};
use super::message::Message;
use super::text;
use super::view::MessageRef;
use crate::codec::{Codec, DEFAULT_MAX, DecodeError, Decoded, EncodeError};

/// The longest message that the C++ library sends or receives in a UDP datagram, in bytes.
pub const DATAGRAM_MAX_UDP: usize = 1024;

/// The longest message that the C++ library sends or receives in a datagram of a Unix socket, in bytes.
pub const DATAGRAM_MAX_UNIX: usize = 65_536;

/// Messages on a stream: each is a line that ends with a line feed.
///
/// A line that begins with `{` is read as JSON, any other one as text; lines of white space are skipped.
/// A line that is no message is an item too, the error that says why: it does not end the
/// connection, since the next line may be a message again. What does end it is a line that is
/// longer than the limit, and a stream that ends inside a line, for half a message can look like a whole
/// one.
///
/// What goes out is always text, and anything that is a message can: [`Message::view`], or a
/// [`MessageRef`] that came in and is passed on.
#[derive(Debug)]
pub struct Messages {
    max: usize,
    /// How much of the line was looked at.
    seen: usize,
    json: Option<Message>,
}

impl Messages {
    /// With lines of at most [`DEFAULT_MAX`] bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::with_max(DEFAULT_MAX)
    }

    /// With lines of at most so many bytes, without the line feed.
    #[must_use]
    pub fn with_max(max: usize) -> Self {
        Self { max, seen: 0, json: None }
    }
}

impl Default for Messages {
    fn default() -> Self {
        Self::new()
    }
}

impl Codec for Messages {
    type In<'a> = Result<MessageRef<'a>, ParseError>;
    type Out<'a> = MessageRef<'a>;

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<Self::In<'a>>, DecodeError> {
        let new = input.get(self.seen..).unwrap_or_default();
        let Some(length) = memchr(b'\n', new) else {
            self.seen = input.len();
            // A byte more than the limit may be the line feed.
            return if input.len() > self.max { self.too_long() } else { Ok(Decoded::More) };
        };
        let length = std::mem::take(&mut self.seen) + length;
        if length > self.max {
            return self.too_long();
        }
        let line = &input[..length];
        if is_blank(line) {
            return Ok(Decoded::Skip(length + 1));
        }
        Ok(Decoded::Item(read_message(line, &mut self.json), length + 1))
    }

    fn finish<'a>(&'a mut self, rest: &'a [u8]) -> Result<Option<Self::In<'a>>, DecodeError> {
        if is_blank(rest) { Ok(None) } else { Err(DecodeError::Truncated) }
    }

    fn encode(item: MessageRef<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        item.write_text(out)?;
        out.push(b'\n');
        Ok(())
    }
}

impl Messages {
    fn too_long<T>(&self) -> Result<T, DecodeError> {
        Err(DecodeError::TooLong { limit: self.max })
    }
}

fn is_blank(line: &[u8]) -> bool {
    let (start, text) = text::trim(line);
    text.len() == start
}

/// Reads a message in either form, such as a datagram: JSON if the first character is `{`.
///
/// JSON can't be borrowed: it is put into `scratch`, which only has to live as long as the message.
///
/// # Errors
/// When it is no message: says why, and at which byte.
pub fn read_message<'a>(
    bytes: &'a [u8],
    scratch: &'a mut Option<Message>,
) -> Result<MessageRef<'a>, ParseError> {
    let (start, text) = text::trim(bytes);
    if text.get(start) == Some(&b'{') {
        Ok(scratch.insert(Message::from_json(bytes)?).view())
    } else {
        text::parse(bytes)
    }
}

/// Appends a message as the bytes of a datagram, which has no line end: [`read_message`] takes it at the other
/// side.
///
/// # Errors
/// When it has no text form, or has more than `limit` bytes ([`DATAGRAM_MAX_UDP`],
/// [`DATAGRAM_MAX_UNIX`]): the receiver would lose its end without noticing. Nothing was appended then.
pub fn write_datagram(message: MessageRef<'_>, limit: usize, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let start = out.len();
    message.write_text(out)?;
    let length = out.len() - start;
    if length > limit {
        out.truncate(start);
        return Err(WriteError::TooLong { length, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::error::ParseReason;
    use super::*;

    /// Feeds a stream in pieces of `size` bytes; gives each message as text, each error as its reason,
    /// and how the stream ended.
    fn decode_all(codec: &mut Messages, stream: &[u8], size: usize) -> (Vec<String>, Option<DecodeError>) {
        let mut items = Vec::new();
        let mut buffer: Vec<u8> = Vec::new();
        for piece in stream.chunks(size) {
            buffer.extend_from_slice(piece);
            while !buffer.is_empty() {
                let used = match codec.decode(&buffer) {
                    Ok(Decoded::More) => break,
                    Ok(Decoded::Skip(used)) => used,
                    Ok(Decoded::Item(item, used)) => {
                        items.push(match item {
                            Ok(message) => String::from_utf8_lossy(&message.to_text().unwrap()).into_owned(),
                            Err(error) => format!("{:?}", error.reason),
                        });
                        used
                    }
                    Err(error) => return (items, Some(error)),
                };
                assert!(used > 0 && used <= buffer.len());
                buffer.drain(..used);
            }
        }
        let end = codec.finish(&buffer).map(|item| assert!(item.is_none()));
        (items, end.err())
    }

    fn check(stream: &[u8], items: &[&str], end: Option<DecodeError>) {
        for size in [1, 2, 3, 7, stream.len().max(1)] {
            let got = decode_all(&mut Messages::with_max(40), stream, size);
            let expected = (items.iter().map(|&item| item.to_owned()).collect(), end.clone());
            assert_eq!(got, expected, "{} in pieces of {size}", stream.escape_ascii());
        }
    }

    #[test]
    fn lines_are_messages_however_they_arrive() {
        check(b"", &[], None);
        check(b"STOP\n", &["STOP"], None);
        check(b"STOP\r\nALIVE serial=7\n", &["STOP", "ALIVE serial=7"], None);
        check(b"\n\r\n  \nSTOP\n\n", &["STOP"], None);
        check(b"X a=1\nX a=\"x;y\"\n", &["X a=1", "X a=\"x;y\""], None);
    }

    #[test]
    fn a_line_may_be_json() {
        check(b"{\"command\":\"STOP\"}\nX\n", &["STOP", "X"], None);
        check(b"  {\"command\":\"STOP\"}\r\n{\"command\":\"GO\"}\n", &["STOP", "GO"], None);
    }

    #[test]
    fn a_bad_line_does_not_end_the_connection() {
        check(b"HELLO  a=1\nSTOP\n", &["Name", "STOP"], None);
        check(b"bad:/X\n{\"command\"\nSTOP\n", &["EmptyService", "Expected(\"':'\")", "STOP"], None);
        check(b"\xff\n\0\nSTOP\n", &["Character", "STOP"], None);
    }

    #[test]
    fn a_line_that_is_too_long_does() {
        let longest = [b"X a=", &[b'a'; 36][..], b"\n"].concat();
        let text = String::from_utf8(longest[..40].to_vec()).unwrap();
        check(&longest, &[&text], None);
        let longer = [b"STOP\nX a=", &[b'a'; 37][..], b"\nSTOP\n"].concat();
        check(&longer, &["STOP"], Some(DecodeError::TooLong { limit: 40 }));
        // Known before the end of the line has come.
        check(&longer[..46], &["STOP"], Some(DecodeError::TooLong { limit: 40 }));
    }

    #[test]
    fn half_a_message_is_none() {
        check(b"X a=1\nX password=abc", &["X a=1"], Some(DecodeError::Truncated));
        check(b"X a=1\n \r", &["X a=1"], None);
    }

    #[test]
    fn a_line_is_looked_at_once() {
        let mut codec = Messages::new();
        let line = [&b"X a="[..], &[b'a'; 500]].concat();
        for end in 1..=line.len() {
            assert!(matches!(codec.decode(&line[..end]), Ok(Decoded::More)));
            assert_eq!(codec.seen, end);
        }
        let line = [&line[..], b"\nSTOP\n"].concat();
        assert!(matches!(codec.decode(&line), Ok(Decoded::Item(Ok(_), 505))));
        assert_eq!(codec.seen, 0);
    }

    #[test]
    fn messages_are_written_as_lines() {
        let mut out = Vec::new();
        let message = Message::build("X").with("a", "1\n2").finish().unwrap();
        Messages::encode(message.view(), &mut out).unwrap();
        Messages::encode(MessageRef::parse(b"b:c/Y z=1;a=2").unwrap(), &mut out).unwrap();
        assert_eq!(out, b"X a=1\\n2\nb:c/Y a=2;z=1\n");
        let message = Message::build("X").server("a").finish().unwrap();
        let error = Messages::encode(message.view(), &mut out).unwrap_err();
        assert_eq!(error.to_string(), "the message goes to the server a and names no service");
    }

    #[test]
    fn a_datagram_is_one_message() {
        let mut scratch = None;
        for datagram in [&b"s/X a=1"[..], b" s/X a=1\n", b"s/X a=1\0"] {
            let message = read_message(datagram, &mut scratch).unwrap();
            assert_eq!(message.to_text().unwrap(), b"s/X a=1");
        }
        let json = br#"{"service":"s"command":"X","parameters":{"a":1}}"#;
        assert_eq!(read_message(json, &mut scratch).unwrap().to_text().unwrap(), b"s/X a=1");
        assert_eq!(read_message(b" ", &mut scratch).unwrap_err().reason, ParseReason::Empty);
        assert_eq!(read_message(b" {", &mut scratch).unwrap_err().at, 2);
    }

    #[test]
    fn a_datagram_has_a_limit() {
        let message = Message::build("X").with("a", "123").finish().unwrap();
        let mut out = b"before".to_vec();
        let error = write_datagram(message.view(), 6, &mut out).unwrap_err();
        assert_eq!(error, WriteError::TooLong { length: 7, limit: 6 });
        assert_eq!(out, b"before");
        write_datagram(message.view(), 7, &mut out).unwrap();
        assert_eq!(out, b"beforeX a=123");
    }
}
