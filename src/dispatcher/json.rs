//! The JSON form of a message.
//!
//! ```json
//! {"sent-from-server":"a","sent-from-service":"b","server":"c","service":"d","command":"E","parameters":{"f":"g"}}
//! ```
//!
//! One line; what is empty is left out. What is written is always valid JSON, which the C++ library's is
//! not. A value is written bare if it is `true`, `false`, or a whole number that every reader gives back
//! as the same text (at most 2⁵³, no sign but `-`, no leading zero); every other one is a string. So a
//! value has to be UTF-8; if it is not, that is an error.
//!
//! The reader is for exactly this shape, since it also has to read what the C++ library writes and no
//! JSON parser would take: no comma and no quote between the service and `command`, bare numbers in any
//! notation of C, control characters and any bytes in strings. A number stays the text that it is. Members
//! may come in any order, the last of two counts, and those that it does not know are skipped.

use super::error::{ParseError, ParseReason, WriteError};
use super::message::Message;
use super::name::Part;
use super::text;
use super::view::{MessageRef, Source};

/// How deep arrays and objects may be nested in a member that is skipped.
const DEPTH_MAX: usize = 32;

/// What is between the quotes and commas of the C++ library when it writes a service.
const AFTER_SERVICE: &[u8] = b"command\"";

/// All but the parameters.
const HEADS: [Part; 5] =
    [Part::SentFromServer, Part::SentFromService, Part::Server, Part::Service, Part::Command];

const SCALAR: &str = "a string, a number, true, false or null";

impl Message {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// When it is no message: says why, and at which byte.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ParseError> {
        let (start, text) = text::trim(bytes);
        let mut reader = Reader { text, at: start, buffer: Vec::new() };
        let message = reader.message()?;
        match reader.at {
            end if end < text.len() => Err(ParseError::new(ParseReason::AfterEnd, end)),
            _ => Ok(message),
        }
    }
}

/// Where reading has come to.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// The last string that was read.
    buffer: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn message(&mut self) -> Result<Message, ParseError> {
        let mut message = Message::unchecked([""; 5], self.text.len());
        // Put into the message at the end, once each: however often they are repeated, that is cheap.
        let mut heads: [(Part, Option<String>); 5] = HEADS.map(|part| (part, None));
        self.expect(b'{', "'{'")?;
        self.string("the name of a member")?;
        loop {
            let part = match &self.buffer[..] {
                b"sent-from-server" => Some(Part::SentFromServer),
                b"sent-from-service" => Some(Part::SentFromService),
                b"server" => Some(Part::Server),
                b"service" => Some(Part::Service),
                b"command" => Some(Part::Command),
                b"parameters" => Some(Part::Parameter),
                _ => None,
            };
            self.expect(b':', "':'")?;
            match part {
                Some(Part::Parameter) => self.parameters(&mut message)?,
                Some(part) => {
                    let text = self.head()?;
                    if let Some(head) = heads.iter_mut().find(|head| head.0 == part) {
                        head.1 = Some(text);
                    }
                }
                None => self.skip(0)?,
            }
            self.blank();
            if part == Some(Part::Service) && self.rest().starts_with(AFTER_SERVICE) {
                self.at += AFTER_SERVICE.len();
                self.buffer.splice(.., *b"command");
            } else if self.member_follows()? {
                self.string("the name of a member")?;
            } else {
                break;
            }
        }
        for (part, text) in &heads {
            message.set_head_unchecked(*part, text.as_deref().unwrap_or_default());
        }
        if message.command().is_empty() {
            return self.error(ParseReason::EmptyCommand);
        }
        message.sort();
        Ok(message)
    }

    fn head(&mut self) -> Result<String, ParseError> {
        let start = self.string("a string")?;
        let text = std::str::from_utf8(&self.buffer).ok().filter(|text| text::is_head(text));
        text.map(str::to_owned).ok_or(ParseError::new(ParseReason::Character, start))
    }

    fn parameters(&mut self, message: &mut Message) -> Result<(), ParseError> {
        self.expect(b'{', "'{'")?;
        self.blank();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let start = self.string("the name of a parameter")?;
            let name = std::str::from_utf8(&self.buffer).unwrap_or_default().to_owned();
            Part::Parameter.check(&name).map_err(|_| ParseError::new(ParseReason::Name, start))?;
            self.expect(b':', "':'")?;
            self.blank();
            match self.peek() {
                Some(b'"') => {
                    self.string(SCALAR)?;
                    message.push_unsorted(&name, &self.buffer);
                }
                Some(b'[' | b'{') => return self.error(ParseReason::Expected(SCALAR)),
                _ => {
                    let word = self.word()?;
                    message.push_unsorted(&name, if word == b"null" { b"" } else { word });
                }
            }
            if !self.member_follows()? {
                return Ok(());
            }
        }
    }

    /// After a member: reads `,` for another one, or `}`.
    fn member_follows(&mut self) -> Result<bool, ParseError> {
        self.blank();
        let follows = match self.peek() {
            Some(b',') => true,
            Some(b'}') => false,
            _ => return self.error(ParseReason::Expected("',' or '}'")),
        };
        self.at += 1;
        Ok(follows)
    }

    /// Reads a value that means nothing here.
    fn skip(&mut self, depth: usize) -> Result<(), ParseError> {
        self.blank();
        let close = match self.peek() {
            Some(b'"') => return self.string("a value").map(drop),
            Some(b'[') => b']',
            Some(b'{') => b'}',
            _ => return self.word().map(drop),
        };
        if depth == DEPTH_MAX {
            return self.error(ParseReason::Depth);
        }
        self.at += 1;
        self.blank();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            if close == b'}' {
                self.string("the name of a member")?;
                self.expect(b':', "':'")?;
            }
            self.skip(depth + 1)?;
            self.blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == close => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.error(ParseReason::Expected("',' or the end of an array or object")),
            }
        }
    }

    /// Reads a number or one of the three words, all of which are what they are called.
    fn word(&mut self) -> Result<&'a [u8], ParseError> {
        let rest = self.rest();
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._()".contains(byte);
        let length = rest.iter().position(|byte| !is_word(byte)).unwrap_or(rest.len());
        let word = &rest[..length];
        if word.is_empty() {
            return self.error(ParseReason::Expected(SCALAR));
        }
        if !matches!(word, b"true" | b"false" | b"null") && !is_c_number(word) {
            return self.error(ParseReason::Word);
        }
        self.at += length;
        Ok(word)
    }

    /// Reads a string into the buffer, and says where it began.
    fn string(&mut self, what: &'static str) -> Result<usize, ParseError> {
        self.expect(b'"', what)?;
        let start = self.at - 1;
        self.buffer.clear();
        loop {
            let rest = self.rest();
            let Some(length) = memchr::memchr2(b'"', b'\\', rest) else {
                return Err(ParseError::new(ParseReason::OpenString, start));
            };
            self.buffer.extend_from_slice(&rest[..length]);
            self.at += length + 1;
            if rest[length] == b'"' {
                return Ok(start);
            }
            let character = self.escape().ok_or(ParseError::new(ParseReason::Escape, self.at - 1))?;
            self.buffer.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// Reads what is behind a backslash; nothing if it is wrong.
    fn escape(&mut self) -> Option<char> {
        let start = self.at;
        let (&kind, rest) = self.rest().split_first()?;
        let (character, length) = match kind {
            b'"' | b'\\' | b'/' => (char::from(kind), 1),
            b'b' => ('\x08', 1),
            b'f' => ('\x0c', 1),
            b'n' => ('\n', 1),
            b'r' => ('\r', 1),
            b't' => ('\t', 1),
            b'u' => {
                let high = hex(rest.get(..4)?)?;
                match rest.get(4..10) {
                    Some([b'\\', b'u', low @ ..]) if (0xd800..0xdc00).contains(&high) => {
                        let low = hex(low)?.checked_sub(0xdc00).filter(|&low| low < 0x400)?;
                        (char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)?, 11)
                    }
                    _ => (char::from_u32(high)?, 5),
                }
            }
            _ => return None,
        };
        self.at = start + length;
        Some(character)
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), ParseError> {
        self.blank();
        if self.peek() != Some(byte) {
            return self.error(ParseReason::Expected(what));
        }
        self.at += 1;
        Ok(())
    }

    fn blank(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn error<T>(&self, reason: ParseReason) -> Result<T, ParseError> {
        Err(ParseError::new(reason, self.at))
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, &digit| Some(number << 4 | char::from(digit).to_digit(16)?))
}

/// Whether C's `strtod` takes all of it for a number. JSON's numbers are among these.
fn is_c_number(word: &[u8]) -> bool {
    let lower = word.to_ascii_lowercase();
    let word = lower.strip_prefix(b"+").or(lower.strip_prefix(b"-")).unwrap_or(&lower);
    let nan = word.strip_prefix(b"nan(").and_then(|rest| rest.strip_suffix(b")"));
    if let Some(digits) = nan {
        return digits.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_');
    }
    match word {
        b"inf" | b"infinity" | b"nan" => true,
        [b'0', b'x', hex @ ..] => is_float(hex, u8::is_ascii_hexdigit, b'p'),
        _ => is_float(word, u8::is_ascii_digit, b'e'),
    }
}

/// Digits that may have a point in or around them, and may be followed by an exponent.
fn is_float(word: &[u8], is_digit: fn(&u8) -> bool, exponent: u8) -> bool {
    let (mantissa, exponent) = match word.iter().position(|&byte| byte == exponent) {
        None => (word, None),
        Some(at) => (&word[..at], Some(&word[at + 1..])),
    };
    let points = mantissa.iter().filter(|&&byte| byte == b'.').count();
    let digits = mantissa.iter().filter(|byte| is_digit(byte)).count();
    let exponent_is_right = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
        !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
    });
    points <= 1 && digits > 0 && points + digits == mantissa.len() && exponent_is_right
}

/// Appends the JSON form; nothing if that fails.
pub(super) fn write(message: MessageRef<'_>, out: &mut String) -> Result<(), WriteError> {
    if let Source::Text(text) = message.source
        && !text::is_sorted(text)
    {
        return write(message.to_message().view(), out);
    }
    let start = out.len();
    let MessageRef { sent_from_server, sent_from_service, server, service, command, .. } = message;
    let head = [
        ("sent-from-server", sent_from_server),
        ("sent-from-service", sent_from_service),
        ("server", server),
        ("service", service),
    ];
    out.push('{');
    for (name, text) in head {
        if !text.is_empty() {
            write_string(name, out);
            out.push(':');
            write_string(text, out);
            out.push(',');
        }
    }
    out.push_str("\"command\":");
    write_string(command, out);
    let mut before = ",\"parameters\":{";
    for (name, value) in message.parameters() {
        let value = std::str::from_utf8(&value).map_err(|error| {
            out.truncate(start);
            WriteError::NotUtf8 { name: name.to_owned(), at: error.valid_up_to() }
        })?;
        out.push_str(before);
        write_string(name, out);
        out.push(':');
        if is_bare(value) {
            out.push_str(value)
        } else {
            write_string(value, out)
        }
        before = ",";
    }
    out.push_str(if before == "," { "}}" } else { "}" });
    Ok(())
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte => {
                out.push_str("\\u00");
                for digit in [byte >> 4, byte & 15] {
                    out.extend(char::from_digit(u32::from(digit), 16));
                }
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// Whether a value is the same for every reader when it is not written as a string.
fn is_bare(value: &str) -> bool {
    const EXACT_MAX: u64 = 1 << 53;
    let digits = value.strip_prefix('-').unwrap_or(value);
    match digits.as_bytes() {
        [b'0'] => value == "0",
        [b'1'..=b'9', rest @ ..] => {
            rest.len() < 16
                && rest.iter().all(u8::is_ascii_digit)
                && digits.parse().is_ok_and(|number: u64| number <= EXACT_MAX)
        }
        _ => matches!(value, "true" | "false"),
    }
}
