//! The text of the recording: what its placeholders stand for when sent, and what they match when
//! received.
//!
//! | in the text | stands for |
//! |---|---|
//! | `\xff` | the byte |
//! | `<TOKEN:user>` | the login of a user of the recorded configuration |
//! | `<T0>`, `<T0+n>`, `<T0-n>` | the time at which the test program began, and n seconds off |
//! | `<n chars, sha1 …>` at the end of a line | a line of n bytes with this digest, of which only the start is there |
//! | `<TIME>`, `<PORT>`, `<NUMBER>`, `<CID>`, `<SERVER>` | received only: any time, port, number, id of a connection, name |
//! | `<EOF>` at the end | received only: the server closed |

use std::fmt;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::sha1::short_digest;

/// The login of `user`: two base64 strings. The users are those of the recorded configuration, by
/// their short names: admin, rw, ro, wo, mg.
pub(crate) fn token(user: &str) -> String {
    let name = if user == "admin" { "admin".to_owned() } else { format!("{user}user") };
    format!("{}:{}", STANDARD.encode(name), STANDARD.encode(format!("{user}pass")))
}

/// The bytes of a text that a client sends.
pub(crate) fn to_send(text: &str) -> Vec<u8> {
    text.split_inclusive('\n').flat_map(line_to_send).collect()
}

fn line_to_send(text: &str) -> Vec<u8> {
    let parts = parts(text);
    let Some(at) = parts.iter().position(|part| matches!(part, Part::Abbreviated { .. })) else {
        return parts.iter().flat_map(Part::known).copied().collect();
    };
    let start: Vec<u8> = parts[..at].iter().flat_map(Part::known).copied().collect();
    let end: Vec<u8> = parts[at + 1..].iter().flat_map(Part::known).copied().collect();
    // Long lines are a word and then these digits again and again.
    let digits = b"0123456789abcdef";
    let word = start.windows(digits.len()).position(|part| part == digits).expect("the digits are there");
    let Part::Abbreviated { len, sha1 } = &parts[at] else { unreachable!() };
    let mut line: Vec<u8> = start[..word].iter().chain(digits.iter().cycle()).take(*len).copied().collect();
    assert!(
        line.starts_with(&start) && short_digest(&line) == *sha1,
        "{text:?} was expanded to another line"
    );
    line.extend(end);
    line
}

/// What is to be received: lines, then perhaps the end of the connection.
#[derive(Debug)]
pub(crate) enum Expected {
    Line(Pattern),
    End,
}

/// The lines of a text that a client is to receive.
pub(crate) fn to_receive(text: &str) -> Vec<Expected> {
    let (lines, end) = text.strip_suffix("<EOF>").map_or((text, None), |lines| (lines, Some(Expected::End)));
    assert!(lines.is_empty() || lines.ends_with("\r\n"), "the last line of {text:?} has no end");
    let lines = lines.split_terminator("\r\n").map(|line| Expected::Line(Pattern::new(line)));
    lines.chain(end).collect()
}

/// A line, without its end, that may have placeholders.
pub(crate) struct Pattern {
    text: String,
    parts: Vec<Part>,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), parts: parts(text) }
    }

    pub(crate) fn matches(&self, line: &[u8]) -> bool {
        rest_matches(&self.parts, line, line)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

fn rest_matches(parts: &[Part], rest: &[u8], line: &[u8]) -> bool {
    let Some((part, parts)) = parts.split_first() else { return rest.is_empty() };
    match part {
        Part::Known(bytes) => {
            rest.strip_prefix(&bytes[..]).is_some_and(|rest| rest_matches(parts, rest, line))
        }
        Part::Any(hole) => {
            (1..=rest.len()).any(|len| hole.takes(&rest[..len]) && rest_matches(parts, &rest[len..], line))
        }
        Part::Abbreviated { len, sha1 } => line.len() == *len && short_digest(line) == *sha1,
    }
}

#[derive(Debug)]
enum Part {
    Known(Vec<u8>),
    Any(Hole),
    /// The whole line has this length and this digest.
    Abbreviated {
        len: usize,
        sha1: String,
    },
}

impl Part {
    fn known(&self) -> &[u8] {
        match self {
            Self::Known(bytes) => bytes,
            other => panic!("{other:?} can't be sent"),
        }
    }
}

#[derive(Debug)]
enum Hole {
    /// Digits.
    Number,
    /// Digits, perhaps with a fraction.
    Time,
    /// `unixdomainsocket:<time>:<serial>`
    Cid,
    /// Anything.
    Name,
}

impl Hole {
    fn takes(&self, bytes: &[u8]) -> bool {
        let number = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
        match self {
            Self::Number => number(bytes),
            Self::Time => bytes.splitn(2, |&byte| byte == b'.').all(number),
            Self::Cid => bytes.strip_prefix(b"unixdomainsocket:").is_some_and(|rest| {
                rest.split(|&byte| byte == b':').count() == 2 && rest.split(|&byte| byte == b':').all(number)
            }),
            Self::Name => true,
        }
    }
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let (before, from) = rest.split_at(start);
        let placeholder = from[1..].split_once('>').and_then(|(name, rest)| Some((part(name)?, rest)));
        parts.push(Part::Known(unescaped(before)));
        rest = match placeholder {
            Some((part, rest)) => {
                parts.push(part);
                rest
            }
            None => {
                parts.push(Part::Known(b"<".to_vec()));
                &from[1..]
            }
        };
    }
    parts.push(Part::Known(unescaped(rest)));
    parts
}

fn part(name: &str) -> Option<Part> {
    Some(match name {
        "NUMBER" | "PORT" => Part::Any(Hole::Number),
        "TIME" => Part::Any(Hole::Time),
        "CID" => Part::Any(Hole::Cid),
        "SERVER" => Part::Any(Hole::Name),
        _ => {
            if let Some(user) = name.strip_prefix("TOKEN:") {
                Part::Known(token(user).into_bytes())
            } else if let Some(offset) = name.strip_prefix("T0") {
                let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().ok()? };
                Part::Known((*T0 + offset).to_string().into_bytes())
            } else {
                let (len, sha1) = name.split_once(" chars, sha1 ")?;
                Part::Abbreviated { len: len.parse().ok()?, sha1: sha1.to_owned() }
            }
        }
    })
}

static T0: LazyLock<i64> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    i64::try_from(now.as_secs()).expect("the clock is right")
});

/// `\xff` as the byte; all else as it is.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        match from.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &from[2..];
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = from;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

#[test]
fn placeholders_are_expanded_when_sent() {
    assert_eq!(to_send("a\u{0}ä\\xff\\xg<b\r\n"), b"a\0\xc3\xa4\xff\\xg<b\r\n");
    assert_eq!(to_send("A <TOKEN:ro>\r\n"), b"A cm91c2Vy:cm9wYXNz\r\n");
    assert_eq!(to_send("<T0> <T0+50> <T0-1>"), format!("{} {} {}", *T0, *T0 + 50, *T0 - 1).into_bytes());
    let long = to_send("STORE long=0123456789abcdef012<5011 chars, sha1 7edc16b8a662>\r\nPING\r\n");
    assert_eq!((long.len(), &long[5000..]), (5019, &b"def01234567\r\nPING\r\n"[..]));
}

#[test]
fn placeholders_match_what_they_stand_for() {
    fn check(pattern: &str, line: &[u8], matches: bool) {
        assert_eq!(Pattern::new(pattern).matches(line), matches, "{pattern}, {:?}", line.escape_ascii());
    }
    check("a b", b"a b", true);
    check("a b", b"a bc", false);
    check("", b"", true);
    check("", b"a", false);
    check("\\xff", b"\xff", true);
    check("T <TIME> <TIME>", b"T 12 1.5", true);
    check("T <TIME>", b"T ", false);
    check("T <TIME>", b"T 1.", false);
    check("P=<PORT>;", b"P=1;", true);
    check("P=<NUMBER>;", b"P=x;", false);
    check("DEBUG <CID>=x", b"DEBUG unixdomainsocket:1:2=x", true);
    check("DEBUG <CID>=x", b"DEBUG unixdomainsocket:1=x", false);
    check("CLACKS <SERVER>", b"CLACKS any name", true);
    check("CLACKS <SERVER>", b"CLACKS ", false);
    check("CLACKS <SERVER> in", b"CLACKS any name in", true);
    check("ab<3 chars, sha1 a9993e364706>", b"abc", true);
    check("ab<3 chars, sha1 a9993e364706>", b"abd", false);
    check("ax<3 chars, sha1 a9993e364706>", b"abc", false);
}
