//! The text form of messages, against what the C++ library writes and reads.

use std::collections::BTreeMap;

use eventdispatcher::dispatcher::{Message, MessageRef, ParseReason, WriteError};
use proptest::prelude::*;

/// A message as a person sees it: the sender's server and service, server, service, command.
type Head = [&'static str; 5];
type Parameters = &'static [(&'static str, &'static [u8])];

/// Read as shown, and written back byte for byte.
const BOTH_WAYS: &[(&[u8], Head, Parameters)] = &[
    (b"STOP", ["", "", "", "", "STOP"], &[]),
    (b"_", ["", "", "", "", "_"], &[]),
    (b"LOG_ROTATE2", ["", "", "", "", "LOG_ROTATE2"], &[]),
    (b"web/STOP", ["", "", "", "web", "STOP"], &[]),
    (b"jungle:web/STOP", ["", "", "jungle", "web", "STOP"], &[]),
    (b"./LOG_ROTATE", ["", "", "", ".", "LOG_ROTATE"], &[]),
    (b"*:communicatord/STOP", ["", "", "*", "communicatord", "STOP"], &[]),
    (b"?:*/STOP", ["", "", "?", "*", "STOP"], &[]),
    (b".:communicatord/COMMANDS list=A,B", ["", "", ".", "communicatord", "COMMANDS"], &[("list", b"A,B")]),
    (b"<web:cart ALIVE", ["web", "cart", "", "", "ALIVE"], &[]),
    (b"<web: ALIVE", ["web", "", "", "", "ALIVE"], &[]),
    (b"<:cart ALIVE", ["", "cart", "", "", "ALIVE"], &[]),
    (b"<a:b c/D", ["a", "b", "", "c", "D"], &[]),
    (b"<vm:ed_signal ./LOG_ROTATE", ["vm", "ed_signal", "", ".", "LOG_ROTATE"], &[]),
    (
        b"<remote:firewall jungle:watchdog/CONNECT race=true;speed=1078;version=1",
        ["remote", "firewall", "jungle", "watchdog", "CONNECT"],
        &[("race", b"true"), ("speed", b"1078"), ("version", b"1")],
    ),
    (
        b"<vm:ed_signal srv:svc/HELLO a=1;b=\"x;y\";c=;secret_code=s3cret",
        ["vm", "ed_signal", "srv", "svc", "HELLO"],
        &[("a", b"1"), ("b", b"x;y"), ("c", b""), ("secret_code", b"s3cret")],
    ),
    (
        b"REGISTER service=my_service;version=1",
        ["", "", "", "", "REGISTER"],
        &[("service", b"my_service"), ("version", b"1")],
    ),
    (b"UNREGISTER service=my_service", ["", "", "", "", "UNREGISTER"], &[("service", b"my_service")]),
    (
        b"ALIVE serial=7;timestamp=1700000000.5",
        ["", "", "", "", "ALIVE"],
        &[("serial", b"7"), ("timestamp", b"1700000000.5")],
    ),
    (
        b"ABSOLUTELY reply_timestamp=1795219000.123456789;serial=7;timestamp=1700000000.5",
        ["", "", "", "", "ABSOLUTELY"],
        &[("reply_timestamp", b"1795219000.123456789"), ("serial", b"7"), ("timestamp", b"1700000000.5")],
    ),
    (
        b"web:cart/ABSOLUTELY reply_timestamp=1.000000000",
        ["", "", "web", "cart", "ABSOLUTELY"],
        &[("reply_timestamp", b"1.000000000")],
    ),
    (
        b"COMMANDS list=ALIVE,HELP,INVALID,LEAK",
        ["", "", "", "", "COMMANDS"],
        &[("list", b"ALIVE,HELP,INVALID,LEAK")],
    ),
    (b"UNKNOWN command=FOO", ["", "", "", "", "UNKNOWN"], &[("command", b"FOO")]),
    (b"UNKNOWN command=", ["", "", "", "", "UNKNOWN"], &[("command", b"")]),
    (b"UNKNOWN command=unknown_lower", ["", "", "", "", "UNKNOWN"], &[("command", b"unknown_lower")]),
    (
        b"TRANSMISSION_REPORT command=X;status=cached",
        ["", "", "", "", "TRANSMISSION_REPORT"],
        &[("command", b"X"), ("status", b"cached")],
    ),
    (b"X cache=\"no;reply\"", ["", "", "", "", "X"], &[("cache", b"no;reply")]),
    (b"X cache=\"ttl=60;reply\"", ["", "", "", "", "X"], &[("cache", b"ttl=60;reply")]),
    (b"READY my_address=127.0.0.1:4040", ["", "", "", "", "READY"], &[("my_address", b"127.0.0.1:4040")]),
    (b"READY my_address=[::1]:80", ["", "", "", "", "READY"], &[("my_address", b"[::1]:80")]),
    (b"X path=/tmp/x.sock", ["", "", "", "", "X"], &[("path", b"/tmp/x.sock")]),
    // Names: any case, sorted by bytes.
    (
        b"X A=1;B=2;_=3;a=4;b=5",
        ["", "", "", "", "X"],
        &[("A", b"1"), ("B", b"2"), ("_", b"3"), ("a", b"4"), ("b", b"5")],
    ),
    (b"X a=1;a1=2;aa=3", ["", "", "", "", "X"], &[("a", b"1"), ("a1", b"2"), ("aa", b"3")]),
    // Values: quoted for a `;`, or for a `"` in front.
    (b"X a=", ["", "", "", "", "X"], &[("a", b"")]),
    (b"X a=;b=", ["", "", "", "", "X"], &[("a", b""), ("b", b"")]),
    (b"X a=\"1;2\";b=z", ["", "", "", "", "X"], &[("a", b"1;2"), ("b", b"z")]),
    (b"X a=\";\"", ["", "", "", "", "X"], &[("a", b";")]),
    (b"X a=\";;\";b=1", ["", "", "", "", "X"], &[("a", b";;"), ("b", b"1")]),
    (b"X a=say \"hi\"", ["", "", "", "", "X"], &[("a", b"say \"hi\"")]),
    (b"X a=\"\\\"hi\\\"\"", ["", "", "", "", "X"], &[("a", b"\"hi\"")]),
    (b"X a=\"\\\"\"", ["", "", "", "", "X"], &[("a", b"\"")]),
    (b"X a=a\"b", ["", "", "", "", "X"], &[("a", b"a\"b")]),
    (b"X a=\"a\\\";b\"", ["", "", "", "", "X"], &[("a", b"a\";b")]),
    (b"X a=\"x;\\\"\"", ["", "", "", "", "X"], &[("a", b"x;\"")]),
    (b"X a=b=c=d", ["", "", "", "", "X"], &[("a", b"b=c=d")]),
    (b"X a==", ["", "", "", "", "X"], &[("a", b"=")]),
    (b"X a=1:2/3<4", ["", "", "", "", "X"], &[("a", b"1:2/3<4")]),
    (b"X a={\"b\":1}", ["", "", "", "", "X"], &[("a", b"{\"b\":1}")]),
    // Escapes.
    (b"X a=line1\\nline2", ["", "", "", "", "X"], &[("a", b"line1\nline2")]),
    (b"X a=\\r\\n\\\\", ["", "", "", "", "X"], &[("a", b"\r\n\\")]),
    (b"X a=C:\\\\new", ["", "", "", "", "X"], &[("a", b"C:\\new")]),
    (b"X a=\\\\", ["", "", "", "", "X"], &[("a", b"\\")]),
    (b"X a=x\\\\;b=1", ["", "", "", "", "X"], &[("a", b"x\\"), ("b", b"1")]),
    (b"X a=\\\\\\\\n", ["", "", "", "", "X"], &[("a", b"\\\\n")]),
    (b"X a=\\\\\\n", ["", "", "", "", "X"], &[("a", b"\\\n")]),
    (b"X a=\\\\\"", ["", "", "", "", "X"], &[("a", b"\\\"")]),
    (b"X a=\"\\\\\\\";\"", ["", "", "", "", "X"], &[("a", b"\\\";")]),
    (b"X a=\";\\n\\r\"", ["", "", "", "", "X"], &[("a", b";\n\r")]),
    // What the C++ library writes and can't read.
    (b"X a=\"a;\\\\\"", ["", "", "", "", "X"], &[("a", b"a;\\")]),
    (b"X a=\"\\\"\\\\\"", ["", "", "", "", "X"], &[("a", b"\"\\")]),
    (b"X a=\"q;\\\\\";b=1", ["", "", "", "", "X"], &[("a", b"q;\\"), ("b", b"1")]),
    // Everything else goes as it is.
    (b"X a= leading", ["", "", "", "", "X"], &[("a", b" leading")]),
    (b"X a=inner blank", ["", "", "", "", "X"], &[("a", b"inner blank")]),
    (b"X a=trail ;b=1", ["", "", "", "", "X"], &[("a", b"trail "), ("b", b"1")]),
    (b"X a=TAB\ttab\t;b=1", ["", "", "", "", "X"], &[("a", b"TAB\ttab\t"), ("b", b"1")]),
    (b"X a=\x01\x7f\x1b[0m", ["", "", "", "", "X"], &[("a", b"\x01\x7f\x1b[0m")]),
    (b"X a=\xc3\xa9", ["", "", "", "", "X"], &[("a", b"\xc3\xa9")]),
    (b"X a=\xff\xfe\x80", ["", "", "", "", "X"], &[("a", b"\xff\xfe\x80")]),
    // White space at the end of the last value: quoted, or a reader would strip it.
    (b"X a=\"trail \"", ["", "", "", "", "X"], &[("a", b"trail ")]),
    (b"X a=\" \"", ["", "", "", "", "X"], &[("a", b" ")]),
    (b"X a=\"TAB tab\t\"", ["", "", "", "", "X"], &[("a", b"TAB tab\t")]),
    (b"X a=\"\x0b\x0c\"", ["", "", "", "", "X"], &[("a", b"\x0b\x0c")]),
    (b"X a=\"say \\\"hi\\\" \"", ["", "", "", "", "X"], &[("a", b"say \"hi\" ")]),
    (b"X a=end\\n", ["", "", "", "", "X"], &[("a", b"end\n")]),
    // What could not be built here, but a peer may send it: it is passed on as it came.
    (b"unknown_lower x=1", ["", "", "", "", "unknown_lower"], &[("x", b"1")]),
    (b"X-Y", ["", "", "", "", "X-Y"], &[]),
    (b"web-1.example:cart.2/X", ["", "", "web-1.example", "cart.2", "X"], &[]),
    (b"<web-1:cart.2 X", ["web-1", "cart.2", "", "", "X"], &[]),
    (b"A=B", ["", "", "", "", "A=B"], &[]),
    (b"\xc3\x89TEINDRE", ["", "", "", "", "\u{c9}TEINDRE"], &[]),
    (b"9", ["", "", "", "", "9"], &[]),
];

/// Read as shown, and written in another way.
const READ: &[(&[u8], &[u8])] = &[
    // White space at both ends, a NUL at the end.
    (b" STOP", b"STOP"),
    (b"STOP \t\r\n", b"STOP"),
    (b"\n\x0b\x0c\rSTOP\r", b"STOP"),
    (b"STOP\0", b"STOP"),
    (b"X a=1\r\n\0", b"X a=1"),
    (b"X a=1 ", b"X a=1"),
    (b"X a= ", b"X a="),
    (b"X a=\"1 \" ", b"X a=\"1 \""),
    // A `;` at the end.
    (b"X a=1;", b"X a=1"),
    (b"X a=;", b"X a="),
    (b"X a=\"1;2\";", b"X a=\"1;2\""),
    // Order, and the last of two.
    (b"X b=2;a=1", b"X a=1;b=2"),
    (b"X a=1;a=2", b"X a=2"),
    (b"X a=1;b=2;a=", b"X a=;b=2"),
    // Quotes that are not needed.
    (b"X a=\"plain\"", b"X a=plain"),
    (b"X a=\"\"", b"X a="),
    (b"X a=\"trail \";b=1", b"X a=trail ;b=1"),
    // A backslash that escapes nothing.
    (b"X a=\\t", b"X a=\\\\t"),
    (b"X a=C:\\temp\\", b"X a=C:\\\\temp\\\\"),
    (b"X a=x\\;b=1", b"X a=x\\\\;b=1"),
    (b"X a=\\\"", b"X a=\\\\\""),
    (b"X a=\"\\t;\"", b"X a=\"\\\\t;\""),
    // Bytes that the writer would escape.
    (b"X a=1\n2\r3", b"X a=1\\n2\\r3"),
    // A sender that says nothing.
    (b"<: STOP", b"STOP"),
];

/// Refused, for a reason, at a place.
const REFUSED: &[(&[u8], ParseReason, usize)] = &[
    (b"", ParseReason::Empty, 0),
    (b" \t\r\n", ParseReason::Empty, 4),
    (b"<", ParseReason::Sender, 1),
    (b"<web", ParseReason::Sender, 4),
    (b"<web cart X", ParseReason::Sender, 4),
    (b"<web:", ParseReason::Sender, 5),
    (b"<web:cart", ParseReason::Sender, 9),
    (b"<web:cart ", ParseReason::Sender, 9),
    (b"<a:b  X", ParseReason::EmptyCommand, 5),
    (b"<a/b:c X", ParseReason::Character, 2),
    (b"<a:b:c X", ParseReason::Character, 4),
    (b"<a:b\tX", ParseReason::Character, 4),
    (b":web/X", ParseReason::EmptyServer, 0),
    (b"a:b:c/X", ParseReason::SecondServer, 3),
    (b"a/b:X", ParseReason::SecondServer, 3),
    (b"/X", ParseReason::EmptyService, 0),
    (b"bad:/X", ParseReason::EmptyService, 4),
    (b"a/b/X", ParseReason::SecondService, 3),
    (b"web/", ParseReason::EmptyCommand, 4),
    (b"web/ a=1", ParseReason::EmptyCommand, 4),
    (b"A\tB", ParseReason::Character, 1),
    (b"A\0B", ParseReason::Character, 1),
    (b"A\x7f", ParseReason::Character, 1),
    (b"A\xff", ParseReason::Character, 1),
    (b"<: {", ParseReason::Character, 3),
    (b"<: <X", ParseReason::Character, 3),
    (b"{", ParseReason::Character, 0),
    // Alone, or in JSON, none of these could be read again.
    (b"s/<X", ParseReason::Character, 2),
    (b"s/{X", ParseReason::Character, 2),
    (b"a:{b/X", ParseReason::Character, 2),
    (b"<<a:b X", ParseReason::Character, 1),
    (b"<{a:b X", ParseReason::Character, 1),
    (b"<a:<b X", ParseReason::Character, 3),
    (b"<a:{ X", ParseReason::Character, 3),
    (b"HELLO  a=1", ParseReason::Name, 6),
    (b"X a", ParseReason::Equals, 3),
    (b"X a;b=1", ParseReason::Equals, 3),
    (b"X =1", ParseReason::EmptyName, 2),
    (b"X ;", ParseReason::EmptyName, 2),
    (b"X a=1;;", ParseReason::EmptyName, 6),
    (b"X a=1; b=2", ParseReason::Name, 6),
    (b"X a-b=1", ParseReason::Name, 3),
    (b"X 1a=1", ParseReason::Name, 2),
    (b"X a =1", ParseReason::Name, 3),
    (b"X \xc3\xa9=1", ParseReason::Name, 2),
    (b"X a=\"", ParseReason::OpenQuote, 4),
    (b"X a=\"b", ParseReason::OpenQuote, 4),
    (b"X a=\"b\\\"", ParseReason::OpenQuote, 4),
    (b"X a=1;b=\"\\", ParseReason::OpenQuote, 8),
    (b"X a=\"b\"c", ParseReason::AfterQuote, 7),
    (b"X a=\"b\" ;c=1", ParseReason::AfterQuote, 7),
];

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn fields(message: MessageRef<'_>) -> ([&str; 5], Vec<(String, Vec<u8>)>) {
    let head = [
        message.sent_from_server(),
        message.sent_from_service(),
        message.server(),
        message.service(),
        message.command(),
    ];
    (head, message.parameters().map(|(name, value)| (name.to_owned(), value.into_owned())).collect())
}

#[test]
fn what_is_written_is_what_is_read() {
    for &(text, head, parameters) in BOTH_WAYS {
        let message = MessageRef::parse(text).unwrap_or_else(|error| panic!("{}: {error}", shown(text)));
        let parameters: Vec<_> =
            parameters.iter().map(|&(name, value)| (name.to_owned(), value.to_vec())).collect();
        assert_eq!(fields(message), (head, parameters.clone()), "{}", shown(text));
        assert_eq!(shown(&message.to_text().unwrap()), shown(text));
        let owned = message.to_message();
        assert_eq!(fields(owned.view()), (head, parameters), "{}", shown(text));
        assert_eq!(shown(&owned.view().to_text().unwrap()), shown(text));
    }
}

#[test]
fn a_built_message_is_the_one_that_is_read() {
    let mut built = 0;
    for &(text, head, parameters) in BOTH_WAYS {
        // Names that only a peer can use can't be built.
        let Ok(mut message) = Message::new(head[4]) else { continue };
        let mut set = || -> Result<(), eventdispatcher::dispatcher::NameError> {
            message.set_sent_from_server(head[0])?.set_sent_from_service(head[1])?;
            message.set_server(head[2])?.set_service(head[3])?;
            for (name, value) in parameters.iter().rev() {
                message.set(name, value)?;
            }
            Ok(())
        };
        if set().is_ok() {
            built += 1;
            assert_eq!(shown(&message.view().to_text().unwrap()), shown(text));
            assert_eq!(MessageRef::parse(text).unwrap().to_message(), message, "{}", shown(text));
        }
    }
    assert_eq!(built, BOTH_WAYS.len() - 7);
}

#[test]
fn what_is_written_otherwise_is_read_too() {
    for &(text, written) in READ {
        let message = MessageRef::parse(text).unwrap_or_else(|error| panic!("{}: {error}", shown(text)));
        assert_eq!(shown(&message.to_text().unwrap()), shown(written), "{}", shown(text));
    }
}

#[test]
fn what_is_no_message_is_refused_with_reason_and_place() {
    for &(text, reason, at) in REFUSED {
        match MessageRef::parse(text) {
            Ok(message) => panic!("{}: read as {message:?}", shown(text)),
            Err(error) => assert_eq!((error.reason, error.at), (reason, at), "{}", shown(text)),
        }
    }
}

#[test]
fn some_messages_have_no_text_form() {
    let check = |message: MessageRef<'_>, expected: WriteError| {
        let mut out = b"before".to_vec();
        assert_eq!(message.write_text(&mut out), Err(expected));
        assert_eq!(out, b"before");
    };
    // A peer may send it, and only say the server.
    let message = MessageRef::parse(b"jungle:STOP a=1").unwrap();
    assert_eq!((message.server(), message.service()), ("jungle", ""));
    check(message, WriteError::ServerWithoutService { server: "jungle".into() });
    let message = Message::build("STOP").server("jungle").finish().unwrap();
    check(message.view(), WriteError::ServerWithoutService { server: "jungle".into() });
    // A NUL stays in a value that is read; it is only lost at the end of the message.
    let message = MessageRef::parse(b"X a=1;b=2\x003;c=4").unwrap();
    assert_eq!(message.get("b").as_deref(), Some(&b"2\x003"[..]));
    check(message, WriteError::Nul { name: "b".into(), at: 1 });
    check(message.to_message().view(), WriteError::Nul { name: "b".into(), at: 1 });
}

#[test]
fn a_value_is_borrowed_when_nothing_is_escaped() {
    let text = b"X a=plain;b=\"x;y\";c=a\\nb".to_vec();
    let message = MessageRef::parse(&text).unwrap();
    let borrowed: Vec<_> = message
        .parameters()
        .map(|(name, value)| (name, matches!(value, std::borrow::Cow::Borrowed(_))))
        .collect();
    assert_eq!(borrowed, [("a", true), ("b", true), ("c", false)]);
    assert_eq!(message.get("none"), None);
    assert!(message.has("c") && !message.has("C"));
}

#[test]
fn a_name_that_is_there_twice_counts_as_its_last() {
    let message = MessageRef::parse(b"X a=1;b=2;a=3").unwrap();
    assert_eq!(message.get("a").as_deref(), Some(&b"3"[..]));
    assert_eq!(message.parameters().count(), 3);
    assert_eq!(message.to_message().parameters().len(), 2);
}

/// The C++ library needs seconds for 50,000 bytes: it copies the value for each of them.
#[test]
fn long_messages_take_no_longer_per_byte() {
    const LENGTH: usize = 1 << 20;
    for pattern in [&b"a"[..], b"\\", b"\"", b";", b"\n", b"\\\"", b"\\;\n\"a", b" "] {
        let value: Vec<u8> = pattern.iter().copied().cycle().take(LENGTH).collect();
        let message = Message::build("X").with("a", &value).finish().unwrap();
        let text = message.view().to_text().unwrap();
        let read = MessageRef::parse(&text).unwrap();
        assert!(read.get("a").as_deref() == Some(&value[..]), "{}", shown(pattern));
    }
    // Many parameters, in the worst order, and all of one name.
    let mut text = b"X ".to_vec();
    for number in (0..100_000).rev() {
        text.extend_from_slice(format!("n{number}=;").as_bytes());
    }
    assert_eq!(MessageRef::parse(&text).unwrap().to_message().parameters().len(), 100_000);
    let text = ["X ", &"a=;".repeat(200_000)].concat();
    assert_eq!(MessageRef::parse(text.as_bytes()).unwrap().to_text().unwrap(), b"X a=");
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// The reader of the C++ library, by the letter of its rules: the five parts and the parameters.
fn cpp_read(bytes: &[u8]) -> Option<([Vec<u8>; 5], Map)> {
    let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    let start = bytes.iter().position(|byte| !space(byte))?;
    let end = bytes.iter().rposition(|byte| !space(byte))? + 1;
    let mut rest = &bytes[start..end];
    let mut head: [Vec<u8>; 5] = Default::default();
    if let Some(sender) = rest.strip_prefix(b"<") {
        let colon = sender.iter().position(|&byte| byte == b':')?;
        head[0] = sender[..colon].to_vec();
        if head[0].contains(&b' ') {
            return None;
        }
        let service = &sender[colon + 1..];
        let blank = service.iter().position(|&byte| byte == b' ')?;
        head[1] = service[..blank].to_vec();
        rest = &service[blank + 1..];
    }
    let blank = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
    let mut word = Vec::new();
    for &byte in &rest[..blank] {
        match byte {
            b':' if word.is_empty() || !head[2].is_empty() || !head[3].is_empty() => return None,
            b':' => head[2] = std::mem::take(&mut word),
            b'/' if word.is_empty() || !head[3].is_empty() => return None,
            b'/' => head[3] = std::mem::take(&mut word),
            _ => word.push(byte),
        }
    }
    if word.is_empty() {
        return None;
    }
    head[4] = word;
    let mut parameters = BTreeMap::new();
    let mut rest = rest.get(blank + 1..).unwrap_or_default();
    while !rest.is_empty() {
        let equals = rest.iter().position(|&byte| byte == b'=')?;
        let name = rest[..equals].to_vec();
        let legal = |(at, byte): (usize, &u8)| {
            *byte == b'_' || byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit())
        };
        if name.is_empty() || !name.iter().enumerate().all(legal) {
            return None;
        }
        rest = &rest[equals + 1..];
        let mut value = Vec::new();
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            let mut at = 0;
            loop {
                match (quoted.get(at)?, quoted.get(at + 1)) {
                    (b'"', _) => break,
                    (b'\\', Some(b'"')) => {
                        value.push(b'"');
                        at += 2;
                    }
                    (&byte, _) => {
                        value.push(byte);
                        at += 1;
                    }
                }
            }
            rest = &quoted[at + 1..];
            if rest.first().is_some_and(|&byte| byte != b';') {
                return None;
            }
        } else {
            let end = rest.iter().position(|&byte| byte == b';').unwrap_or(rest.len());
            value = rest[..end].to_vec();
            rest = &rest[end..];
        }
        rest = rest.strip_prefix(b";").unwrap_or(rest);
        let mut unescaped = Vec::new();
        let mut at = 0;
        while at < value.len() {
            let (byte, used) = match &value[at..] {
                [b'\\', b'\\', ..] => (b'\\', 2),
                [b'\\', b'n', ..] => (b'\n', 2),
                [b'\\', b'r', ..] => (b'\r', 2),
                other => (other[0], 1),
            };
            unescaped.push(byte);
            at += used;
        }
        parameters.insert(name, unescaped);
    }
    Some((head, parameters))
}

fn same_fields(message: &Message, head: &[Vec<u8>; 5], parameters: &Map) -> bool {
    let (own_head, own_parameters) = fields(message.view());
    own_head.iter().zip(head).all(|(own, other)| own.as_bytes() == other)
        && own_parameters
            .iter()
            .map(|(n, v)| (n.as_bytes(), &v[..]))
            .eq(parameters.iter().map(|(n, v)| (&n[..], &v[..])))
}

/// Text that is likely to be almost a message.
fn almost_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(&b"<"[..]),
        Just(&b":"[..]),
        Just(&b"/"[..]),
        Just(&b" "[..]),
        Just(&b";"[..]),
        Just(&b"="[..]),
        Just(&b"\""[..]),
        Just(&b"\\"[..]),
        Just(&b"n"[..]),
        Just(&b"A"[..]),
        Just(&b"7"[..]),
        Just(&b"{"[..]),
        Just(&b"<a:b "[..]),
        Just(&b"s:t/C "[..]),
        Just(&b"C "[..]),
        Just(&b"a=1;"[..]),
        Just(&b"a=\"1;\";"[..]),
        Just(&b"b=x"[..]),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn any_message() -> impl Strategy<Value = Message> {
    let value = prop_oneof![
        proptest::collection::vec(1..=u8::MAX, 0..12),
        "[;\"\\\\\n\r nr\t]{0,8}".prop_map(String::into_bytes),
    ];
    let service = "([a-zA-Z_][a-zA-Z0-9_]{0,3}|[.*?])?";
    let server = "([a-z]{1,3}|[.*?])?";
    let parameters = proptest::collection::vec(("[a-zA-Z_][a-zA-Z0-9_]{0,2}", value), 0..5);
    ("[a-z]{0,3}", "[a-z]{0,3}", server, service, "[A-Z_][A-Z0-9_]{0,5}", parameters).prop_map(
        |(from_server, from_service, server, service, command, parameters)| {
            let server = if service.is_empty() { "" } else { &server };
            let mut message = Message::build(&command)
                .sent_from(&from_server, &from_service)
                .server(server)
                .service(&service)
                .finish()
                .unwrap();
            for (name, value) in parameters {
                message.set(&name, value).unwrap();
            }
            message
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_message_is_read_as_written(message in any_message()) {
        let text = message.view().to_text().unwrap();
        prop_assert!(!text.contains(&b'\n'), "{}", shown(&text));
        prop_assert_eq!(MessageRef::parse(&text).unwrap().to_message(), message);
    }

    #[test]
    fn the_peer_reads_any_message_as_meant(message in any_message()) {
        // There is no text that the peer reads as such a value.
        prop_assume!(!message.parameters().any(|(_, value)| {
            value.ends_with(b"\\") && (value.contains(&b';') || value.starts_with(b"\""))
        }));
        let text = message.view().to_text().unwrap();
        let (head, parameters) = cpp_read(&text).unwrap();
        prop_assert!(same_fields(&message, &head, &parameters), "{}", shown(&text));
    }

    #[test]
    fn text_means_what_it_means_to_the_peer(text in almost_text()) {
        let read = MessageRef::parse(&text).map(MessageRef::to_message);
        match (read, cpp_read(&text)) {
            (Ok(message), Some((head, parameters))) => {
                // Its reader sees an escaped quote where an escaped backslash is.
                if !text.windows(3).any(|three| three == b"\\\\\"") {
                    prop_assert!(same_fields(&message, &head, &parameters), "{}", shown(&text));
                }
            }
            (Ok(_), None) => {
                prop_assert!(text.windows(3).any(|three| three == b"\\\\\""), "{}", shown(&text));
            }
            (Err(error), Some((head, _))) => {
                let odd_sender = head[..2].iter().any(|part| part.iter().any(|b| b"/:".contains(b)));
                let odd_start =
                    text.iter().any(|byte| b"<{".contains(byte)) && error.reason == ParseReason::Character;
                let odd_quote = text.windows(3).any(|three| three == b"\\\\\"");
                prop_assert!(odd_sender || odd_start || odd_quote, "{}: {}", shown(&text), error);
            }
            (Err(_), None) => {}
        }
    }

    #[test]
    fn what_can_be_read_can_be_written(
        text in prop_oneof![almost_text(), proptest::collection::vec(any::<u8>(), 0..40)]
    ) {
        let Ok(message) = MessageRef::parse(&text) else { return Ok(()) };
        match message.to_text() {
            Ok(written) => {
                let again = MessageRef::parse(&written).unwrap();
                prop_assert_eq!(again.to_message(), message.to_message());
                prop_assert_eq!(again.to_text().unwrap(), written);
                if let Ok(json) = message.to_json() {
                    prop_assert_eq!(Message::from_json(json.as_bytes()), Ok(message.to_message()), "{}", json);
                }
            }
            Err(WriteError::ServerWithoutService { .. }) => prop_assert!(message.service().is_empty()),
            Err(WriteError::Nul { .. }) => prop_assert!(text.contains(&0)),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
