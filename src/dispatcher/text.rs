//! The text form of a message.
//!
//! ```text
//! message = [ "<" server ":" service SP ] [ [ server ":" ] service "/" ] command [ SP parameters ]
//! parameters = name "=" value *( ";" name "=" value ) [ ";" ]
//! value = raw | DQUOTE quoted DQUOTE
//! ```
//!
//! The writer sorts the parameters, escapes `\`, line feed and carriage return everywhere, and puts a
//! value in quotes when it has a `;` or begins with `"`; inside of quotes `"` is escaped too. These are
//! byte for byte the rules of the C++ library, with two exceptions:
//!
//! - A last value that ends with white space is quoted as well (line ends are escaped anyway). A reader
//!   strips white space from the end of a message, so the C++ library loses it; it keeps what is in
//!   quotes.
//! - A NUL has no text form, and neither has a server without a service. The C++ library writes the one,
//!   where its reader ends the message, and drops the other; here both are errors.
//!
//! The reader undoes the escapes in one pass from left to right. It so reads `a="a;\\"`, which the C++
//! library writes and can't read. A NUL in a value stays in it; at the end of a message it is
//! dropped with the white space, since a C program may send its strings with their end.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::error::{ParseError, ParseReason, WriteError};
use super::scan::{find, head_length, name_length};
use super::view::{MessageRef, Source};

/// Reads a message; nothing is copied.
pub(super) fn parse(bytes: &[u8]) -> Result<MessageRef<'_>, ParseError> {
    let (start, text) = trim(bytes);
    let error = |reason, at| Err(ParseError::new(reason, at));
    let mut at = start;
    let mut sender = [start..start, start..start];
    match text.get(at) {
        None => return error(ParseReason::Empty, start),
        Some(b'<') => {
            let colon = plain(text, at + 1);
            let blank = plain(text, colon + 1);
            match (text.get(colon), text.get(blank)) {
                (Some(b':'), Some(b' ')) => {}
                (Some(b':'), None) => return error(ParseReason::Sender, blank),
                (Some(b':'), _) => return error(ParseReason::Character, blank),
                (Some(b' ') | None, _) => return error(ParseReason::Sender, colon),
                _ => return error(ParseReason::Character, colon),
            }
            for part in [at + 1, colon + 1] {
                if let Some(b'<' | b'{') = text.get(part) {
                    return error(ParseReason::Character, part);
                }
            }
            sender = [at + 1..colon, colon + 1..blank];
            at = blank + 1;
        }
        Some(_) => {}
    }
    let mut server = start..start;
    let mut service = start..start;
    let command = loop {
        // What a reader would take for a sender, or for JSON, when it comes first.
        if let Some(b'<' | b'{') = text.get(at) {
            return error(ParseReason::Character, at);
        }
        let end = plain(text, at);
        match text.get(end) {
            None | Some(b' ') if end == at => return error(ParseReason::EmptyCommand, at),
            None | Some(b' ') => break at..end,
            Some(b':') if !service.is_empty() || !server.is_empty() => {
                return error(ParseReason::SecondServer, end);
            }
            Some(b':') if end == at => return error(ParseReason::EmptyServer, end),
            Some(b':') => server = at..end,
            Some(b'/') if !service.is_empty() => return error(ParseReason::SecondService, end),
            Some(b'/') if end == at => return error(ParseReason::EmptyService, end),
            Some(b'/') => service = at..end,
            Some(_) => return error(ParseReason::Character, end),
        }
        at = end + 1;
    };
    let parameters = text.get(command.end + 1..).unwrap_or_default();
    if let Err(ParseError { reason, at }) = check_parameters(parameters) {
        return error(reason, command.end + 1 + at);
    }
    let head = match std::str::from_utf8(&text[start..command.end]) {
        Ok(head) => head,
        Err(utf8) => return error(ParseReason::Character, start + utf8.valid_up_to()),
    };
    let part = |range: std::ops::Range<usize>| &head[range.start - start..range.end - start];
    let [sent_from_server, sent_from_service] = sender;
    Ok(MessageRef {
        sent_from_server: part(sent_from_server),
        sent_from_service: part(sent_from_service),
        server: part(server),
        service: part(service),
        command: part(command),
        source: Source::Text(parameters),
    })
}

/// Takes the white space away from both ends; says where the rest begins, and gives it with what is
/// before it.
pub(super) fn trim(bytes: &[u8]) -> (usize, &[u8]) {
    let start = bytes.iter().position(|&byte| !is_space(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|&byte| !is_space(byte) && byte != 0).map_or(0, |last| last + 1);
    (start, &bytes[..end.max(start)])
}

/// White space of the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Where a server, service or command that begins at `at` ends.
#[inline]
fn plain(text: &[u8], at: usize) -> usize {
    text.get(at..).map_or(text.len().max(at), |rest| at + head_length(rest))
}

/// Whether a server, service or command of a peer may be this: the rule of [`parse`], for other forms.
pub(super) fn is_head(text: &str) -> bool {
    !text.starts_with(['<', '{']) && head_length(text.as_bytes()) == text.len()
}

/// Goes through the parameters of a text form.
///
/// As an iterator it is for text that [`parse`] has checked: it ends where something is wrong.
#[derive(Debug, Clone)]
pub(super) struct RawParameters<'a> {
    text: &'a [u8],
    at: usize,
}

/// A parameter as it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawParameter<'a> {
    pub(super) name: &'a [u8],
    /// Without quotes, with escapes.
    value: &'a [u8],
    quoted: bool,
}

impl<'a> RawParameters<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }
}

impl<'a> Iterator for RawParameters<'a> {
    type Item = RawParameter<'a>;

    #[inline]
    fn next(&mut self) -> Option<RawParameter<'a>> {
        let rest = self.text.get(self.at..)?;
        let (name, value) = rest.split_at_checked(find(b'=', rest)?)?;
        let value = value.get(1..)?;
        let end = value_end(value)?;
        let quoted = value.first() == Some(&b'"');
        self.at += name.len() + 1 + end + 1 + usize::from(quoted);
        Some(RawParameter { name, value: value.get(usize::from(quoted)..end)?, quoted })
    }
}

/// Checks that a text is parameters from its start to its end.
fn check_parameters(text: &[u8]) -> Result<(), ParseError> {
    let error = |reason, at| Err(ParseError::new(reason, at));
    let mut start = 0;
    while let Some(rest) = text.get(start..).filter(|rest| !rest.is_empty()) {
        let length = name_length(rest);
        let equals = start + length;
        match (rest.first(), rest.get(length)) {
            (_, Some(b'=' | b';') | None) if length == 0 => return error(ParseReason::EmptyName, equals),
            (_, Some(b';') | None) => return error(ParseReason::Equals, equals),
            (Some(b'0'..=b'9'), _) => return error(ParseReason::Name, start),
            (_, Some(b'=')) => {}
            (_, Some(_)) => return error(ParseReason::Name, equals),
        }
        let value = rest.get(length + 1..).unwrap_or_default();
        let Some(end) = value_end(value) else { return error(ParseReason::OpenQuote, equals + 1) };
        start = equals + 1 + end + 1;
        if value.first() == Some(&b'"') {
            if value.get(end + 1).is_some_and(|&byte| byte != b';') {
                return error(ParseReason::AfterQuote, start);
            }
            start += 1;
        }
    }
    Ok(())
}

/// Where the value ends that a text begins with: at its `;`, or at the quote that closes it. Nothing if there is none to close it.
#[inline]
fn value_end(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'"') {
        return Some(find(b';', text).unwrap_or(text.len()));
    }
    let mut at = 1;
    loop {
        let inner = text.get(at..)?;
        let length = memchr2(b'"', b'\\', inner)?;
        if inner.get(length) == Some(&b'"') {
            return Some(at + length);
        }
        at += length + 2;
    }
}

impl<'a> RawParameter<'a> {
    /// The name, which [`parse`] has found to be ASCII.
    pub(super) fn name(self) -> &'a str {
        std::str::from_utf8(self.name).unwrap_or_default()
    }

    /// The value that is meant.
    pub(super) fn value(self) -> Cow<'a, [u8]> {
        match find(b'\\', self.value) {
            None => Cow::Borrowed(self.value),
            Some(first) => Cow::Owned(unescape(self.value, first, self.quoted)),
        }
    }
}

/// Undoes the escapes, the first of which is at `first`. A backslash before anything else is no escape.
fn unescape(bytes: &[u8], first: usize, quoted: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    let mut next = Some(first);
    while let Some(at) = next {
        out.extend_from_slice(&rest[..at]);
        let (meant, used) = match rest.get(at + 1) {
            Some(b'\\') => (b'\\', 2),
            Some(b'n') => (b'\n', 2),
            Some(b'r') => (b'\r', 2),
            Some(b'"') if quoted => (b'"', 2),
            _ => (b'\\', 1),
        };
        out.push(meant);
        rest = &rest[at + used..];
        // One escape often follows another.
        next = if rest.first() == Some(&b'\\') { Some(0) } else { memchr(b'\\', rest) };
    }
    out.extend_from_slice(rest);
    out
}

/// Appends the text form; nothing if that fails.
pub(super) fn write(message: MessageRef<'_>, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let start = out.len();
    let written = write_head(message, out).and_then(|()| write_parameters(message, out));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn write_head(message: MessageRef<'_>, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let MessageRef { sent_from_server, sent_from_service, server, service, command, .. } = message;
    if !server.is_empty() && service.is_empty() {
        return Err(WriteError::ServerWithoutService { server: server.to_owned() });
    }
    let mut push = |text: &str, end: u8| {
        out.extend_from_slice(text.as_bytes());
        out.push(end);
    };
    if !sent_from_server.is_empty() || !sent_from_service.is_empty() {
        push("", b'<');
        push(sent_from_server, b':');
        push(sent_from_service, b' ');
    }
    if !server.is_empty() {
        push(server, b':');
    }
    if !service.is_empty() {
        push(service, b'/');
    }
    out.extend_from_slice(command.as_bytes());
    Ok(())
}

fn write_parameters(message: MessageRef<'_>, out: &mut Vec<u8>) -> Result<(), WriteError> {
    match message.source {
        Source::Message(message) => {
            let mut separator = b' ';
            let mut parameters = message.raw_parameters();
            while let Some((name, value)) = parameters.next() {
                write_parameter(separator, name, value, parameters.len() == 0, out)?;
                separator = b';';
            }
            Ok(())
        }
        Source::Text(text) if is_as_written(text) => {
            out.push(b' ');
            out.extend_from_slice(text);
            Ok(())
        }
        Source::Text(text) if is_sorted(text) => {
            let mut separator = b' ';
            let mut parameters = RawParameters::new(text).peekable();
            while let Some(raw) = parameters.next() {
                write_parameter(separator, raw.name, &raw.value(), parameters.peek().is_none(), out)?;
                separator = b';';
            }
            Ok(())
        }
        Source::Text(_) => write_parameters(message.to_message().view(), out),
    }
}

/// Whether the writer would write just the same, as far as that is easily seen: nothing needs quotes or an escape.
fn is_as_written(text: &[u8]) -> bool {
    let special = |byte: &u8| matches!(byte, 0 | b'\n' | b'\r' | b'"' | b'\\');
    // Without a branch, so that the compiler can look at many bytes at once.
    let plain = !text.iter().fold(false, |found, byte| found | special(byte));
    plain && text.last().is_some_and(|last| *last != b';') && is_sorted(text)
}

/// Whether the parameters are in the order of the writer, each once.
pub(super) fn is_sorted(text: &[u8]) -> bool {
    RawParameters::new(text).is_sorted_by(|a, b| a.name < b.name)
}

fn write_parameter(
    separator: u8,
    name: &[u8],
    value: &[u8],
    last: bool,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    let found = Found::in_value(value);
    if found.nul {
        return Err(WriteError::Nul {
            name: String::from_utf8_lossy(name).into_owned(),
            at: memchr(0, value).unwrap_or_default(),
        });
    }
    out.push(separator);
    out.extend_from_slice(name);
    out.push(b'=');
    let quoted = found.semicolon
        || value.first() == Some(&b'"')
        || last && matches!(value.last(), Some(b' ' | b'\t' | b'\x0b' | b'\x0c'));
    match (quoted, found.escape) {
        (false, false) => out.extend_from_slice(value),
        (false, true) => write_escaped(value, false, out),
        (true, _) => {
            out.push(b'"');
            write_escaped(value, true, out);
            out.push(b'"');
        }
    }
    Ok(())
}

/// What a value has in it that matters for writing it.
struct Found {
    semicolon: bool,
    escape: bool,
    nul: bool,
}

impl Found {
    fn in_value(value: &[u8]) -> Self {
        const SHORT_MAX: usize = 32;
        if value.len() <= SHORT_MAX {
            let found = value.iter().fold(0, |found, &byte| found | FOUND[usize::from(byte)]);
            return Self { semicolon: found & 1 != 0, escape: found & 2 != 0, nul: found & 4 != 0 };
        }
        // Without a branch, so that the compiler can look at many bytes at once.
        let (mut semicolon, mut escape, mut nul) = (false, false, false);
        for &byte in value {
            semicolon |= byte == b';';
            escape |= (byte == b'\\') | (byte == b'\n') | (byte == b'\r');
            nul |= byte == 0;
        }
        Self { semicolon, escape, nul }
    }
}

/// What a byte of a value means for writing it: a bit for each field of [`Found`].
const FOUND: [u8; 256] = {
    let mut table = [0; 256];
    table[b';' as usize] = 1;
    table[b'\\' as usize] = 2;
    table[b'\n' as usize] = 2;
    table[b'\r' as usize] = 2;
    table[0] = 4;
    table
};

fn write_escaped(value: &[u8], quoted: bool, out: &mut Vec<u8>) {
    let mut rest = value;
    loop {
        let escaped = rest.iter().position(|&byte| match byte {
            b'\\' | b'\n' | b'\r' => true,
            b'"' => quoted,
            _ => false,
        });
        let Some(at) = escaped else { break };
        out.extend_from_slice(&rest[..at]);
        out.push(b'\\');
        out.push(match rest[at] {
            b'\n' => b'n',
            b'\r' => b'r',
            byte => byte,
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}
