//! The JSON form of messages, against JSON and against what the C++ library writes.

use eventdispatcher::dispatcher::{Message, MessageRef, ParseReason, WriteError};
use proptest::prelude::*;

/// What is written for a message that is given in its text form.
const WRITTEN: &[(&str, &str)] = &[
    ("STOP", r#"{"command":"STOP"}"#),
    ("web/STOP", r#"{"service":"web","command":"STOP"}"#),
    ("*:web/STOP", r#"{"server":"*","service":"web","command":"STOP"}"#),
    ("web:STOP", r#"{"server":"web","command":"STOP"}"#),
    (
        "<a:b c:d/E f=g",
        r#"{"sent-from-server":"a","sent-from-service":"b","server":"c","service":"d","command":"E","parameters":{"f":"g"}}"#,
    ),
    ("<:b E", r#"{"sent-from-service":"b","command":"E"}"#),
    (
        "FIRE correct=false;length=-35;name=Charles;range=101;valid=true;void=",
        r#"{"command":"FIRE","parameters":{"correct":false,"length":-35,"name":"Charles","range":101,"valid":true,"void":""}}"#,
    ),
    ("X b=2;a=1;b=3", r#"{"command":"X","parameters":{"a":1,"b":3}}"#),
    // Bare only if every reader gives the same text back.
    ("X a=0", r#"{"command":"X","parameters":{"a":0}}"#),
    ("X a=-0", r#"{"command":"X","parameters":{"a":"-0"}}"#),
    ("X a=-1", r#"{"command":"X","parameters":{"a":-1}}"#),
    ("X a=+5", r#"{"command":"X","parameters":{"a":"+5"}}"#),
    ("X a=007", r#"{"command":"X","parameters":{"a":"007"}}"#),
    ("X a=0x10", r#"{"command":"X","parameters":{"a":"0x10"}}"#),
    ("X a=1.", r#"{"command":"X","parameters":{"a":"1."}}"#),
    ("X a=1.5", r#"{"command":"X","parameters":{"a":"1.5"}}"#),
    ("X a=1e20", r#"{"command":"X","parameters":{"a":"1e20"}}"#),
    ("X a=9007199254740992", r#"{"command":"X","parameters":{"a":9007199254740992}}"#),
    ("X a=9007199254740993", r#"{"command":"X","parameters":{"a":"9007199254740993"}}"#),
    ("X a=-", r#"{"command":"X","parameters":{"a":"-"}}"#),
    ("X a=True", r#"{"command":"X","parameters":{"a":"True"}}"#),
    ("X a=null", r#"{"command":"X","parameters":{"a":"null"}}"#),
    // Escapes.
    ("X a=say \"hi\"", r#"{"command":"X","parameters":{"a":"say \"hi\""}}"#),
    (r"X a=C:\\new", r#"{"command":"X","parameters":{"a":"C:\\new"}}"#),
    (r"X a=\n\r", r#"{"command":"X","parameters":{"a":"\n\r"}}"#),
    ("X a=\t\x01\x1f\x7f.", "{\"command\":\"X\",\"parameters\":{\"a\":\"\\t\\u0001\\u001f\x7f.\"}}"),
    ("X a=é/😀", r#"{"command":"X","parameters":{"a":"é/😀"}}"#),
    ("A\"B", r#"{"command":"A\"B"}"#),
];

/// Read as the message that is given in its text form.
const READ: &[(&[u8], &str)] = &[
    (br#"{"command":"STOP"}"#, "STOP"),
    (b" { \"command\" : \"STOP\" }\r\n", "STOP"),
    (b"{\"command\":\"STOP\"}\0", "STOP"),
    (br#"{"parameters":{"b":"2","a":"1"},"command":"X","service":"s"}"#, "s/X a=1;b=2"),
    (br#"{"command":"X","parameters":{}}"#, "X"),
    (br#"{"command":"X","command":"Y"}"#, "Y"),
    (br#"{"command":"X","parameters":{"a":1,"a":2}}"#, "X a=2"),
    (br#"{"command":"lower"}"#, "lower"),
    (br#"{"server":"web","command":"X","service":"s"}"#, "web:s/X"),
    // The C++ library writes no comma and no quote behind a service.
    (br#"{"service":"svc"command":"X"}"#, "svc/X"),
    (br#"{"server":"s","service":"."command":"X","parameters":{"a":1}}"#, "s:./X a=1"),
    (
        br#"{"sent-from-server":"a","sent-from-service":"b","server":"c","service":"d"command":"E"}"#,
        "<a:b c:d/E",
    ),
    // Numbers are text.
    (
        br#"{"command":"X","parameters":{"a":1e20,"b":0.1,"c":null,"d":"x\\ny"}}"#,
        "X a=1e20;b=0.1;c=;d=x\\\\ny",
    ),
    (br#"{"command":"X","parameters":{"a":true,"b":false}}"#, "X a=true;b=false"),
    (br#"{"command":"X","parameters":{"a":9223372036854775807}}"#, "X a=9223372036854775807"),
    (br#"{"command":"X","parameters":{"a":0.00000001,"b":-0}}"#, "X a=0.00000001;b=-0"),
    (br#"{"command":"X","parameters":{"a":1E+5,"b":1.5e-3}}"#, "X a=1E+5;b=1.5e-3"),
    // Numbers that only the C++ library writes.
    (br#"{"command":"X","parameters":{"a":0x10,"b":007,"c":1.}}"#, "X a=0x10;b=007;c=1."),
    (br#"{"command":"X","parameters":{"a":.5,"b":-.5,"c":0x1.8p3}}"#, "X a=.5;b=-.5;c=0x1.8p3"),
    (br#"{"command":"X","parameters":{"a":inf,"b":-infinity,"c":-NAN}}"#, "X a=inf;b=-infinity;c=-NAN"),
    (br#"{"command":"X","parameters":{"a":-nan(0x1_f)}}"#, "X a=-nan(0x1_f)"),
    // Strings: every escape once, control characters and any bytes as they are.
    (br#"{"command":"X","parameters":{"a":"\"\\\/\b\f\n\r\t."}}"#, "X a=\"\\\"\\\\/\x08\x0c\\n\\r\t.\""),
    (br#"{"command":"X","parameters":{"a":"\u00e9\uD83D\uDE00\u0041"}}"#, "X a=é😀A"),
    (b"{\"command\":\"X\",\"parameters\":{\"a\":\"tab\there\"}}", "X a=tab\there"),
    (br#"{"command":"X","parameters":{"a":"\\\\n"}}"#, "X a=\\\\\\\\n"),
    (br#"{"\u0063ommand":"X"}"#, "X"),
    // What is not known is skipped.
    (br#"{"id":7,"command":"X","tags":["a",{"b":[]},[]],"more":{"x":{},"y":null},"s":"}"}"#, "X"),
];

/// Refused, for a reason, at a place.
const REFUSED: &[(&[u8], ParseReason, usize)] = &[
    (b"", ParseReason::Expected("'{'"), 0),
    (b"X", ParseReason::Expected("'{'"), 0),
    (b"{", ParseReason::Expected("the name of a member"), 1),
    (b"{}", ParseReason::Expected("the name of a member"), 1),
    (br#"{"parameters":{"a b":1}}"#, ParseReason::Name, 15),
    (br#"{"parameters":{"a":1}}"#, ParseReason::EmptyCommand, 22),
    (br#"{"command":""}"#, ParseReason::EmptyCommand, 14),
    (br#"{"command":"X"} x"#, ParseReason::AfterEnd, 15),
    (br#"{"command":"X"}{}"#, ParseReason::AfterEnd, 15),
    (br#"{"command":"X",}"#, ParseReason::Expected("the name of a member"), 15),
    (br#"{"command":"X""#, ParseReason::Expected("',' or '}'"), 14),
    (br#"{"command":"X"service":"s"}"#, ParseReason::Expected("',' or '}'"), 14),
    (br#"{"service":"s"server":"s"}"#, ParseReason::Expected("',' or '}'"), 14),
    (br#"{"command" "X"}"#, ParseReason::Expected("':'"), 11),
    (br#"{"command":7}"#, ParseReason::Expected("a string"), 11),
    (br#"{"command":null}"#, ParseReason::Expected("a string"), 11),
    (br#"{"command":"A B"}"#, ParseReason::Character, 11),
    (br#"{"command":"A\nB"}"#, ParseReason::Character, 11),
    (br#"{"command":"a/B"}"#, ParseReason::Character, 11),
    (br#"{"command":"{"}"#, ParseReason::Character, 11),
    (br#"{"command":"<a"}"#, ParseReason::Character, 11),
    (b"{\"command\":\"\xff\"}", ParseReason::Character, 11),
    (br#"{"service":"a:b","command":"X"}"#, ParseReason::Character, 11),
    (br#"{"command":"X","parameters":[]}"#, ParseReason::Expected("'{'"), 28),
    (br#"{"command":"X","parameters":{"":1}}"#, ParseReason::Name, 29),
    (b"{\"command\":\"X\",\"parameters\":{\"\xff\":1}}", ParseReason::Name, 29),
    (br#"{"command":"X","parameters":{"a":[1]}}"#, ParseReason::Expected(SCALAR), 33),
    (br#"{"command":"X","parameters":{"a":{}}}"#, ParseReason::Expected(SCALAR), 33),
    (br#"{"command":"X","parameters":{"a":}}"#, ParseReason::Expected(SCALAR), 33),
    (br#"{"command":"X","parameters":{"a":1 "b":2}}"#, ParseReason::Expected("',' or '}'"), 35),
    (br#"{"command":"X","parameters":{"a":tru}}"#, ParseReason::Word, 33),
    (br#"{"command":"X","parameters":{"a":1x}}"#, ParseReason::Word, 33),
    (br#"{"command":"X","parameters":{"a":1e}}"#, ParseReason::Word, 33),
    (br#"{"command":"X","parameters":{"a":--1}}"#, ParseReason::Word, 33),
    (br#"{"command":"X","parameters":{"a":.}}"#, ParseReason::Word, 33),
    (br#"{"command":"X","parameters":{"a":1.2.3}}"#, ParseReason::Word, 33),
    (br#"{"command":"X","parameters":{"a":0x}}"#, ParseReason::Word, 33),
    (br#"{"command":"X","parameters":{"a":"b"#, ParseReason::OpenString, 33),
    (br#"{"command":"\x"}"#, ParseReason::Escape, 12),
    (br#"{"command":"\u12"}"#, ParseReason::Escape, 12),
    (br#"{"command":"\u12+4"}"#, ParseReason::Escape, 12),
    (br#"{"command":"\uD83D"}"#, ParseReason::Escape, 12),
    (br#"{"command":"\uD83Dx\uDE00"}"#, ParseReason::Escape, 12),
    (br#"{"command":"\uD83D\uD83D"}"#, ParseReason::Escape, 12),
    (br#"{"command":"\uDE00"}"#, ParseReason::Escape, 12),
    (br#"{"command":"\"#, ParseReason::Escape, 12),
    (br#"{"x":[1,]}"#, ParseReason::Expected(SCALAR), 8),
    (br#"{"x":[1 2]}"#, ParseReason::Expected("',' or the end of an array or object"), 8),
    (br#"{"x":{1:2}}"#, ParseReason::Expected("the name of a member"), 6),
];

const SCALAR: &str = "a string, a number, true, false or null";

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn from_text(text: &str) -> Message {
    MessageRef::parse(text.as_bytes()).unwrap().to_message()
}

#[test]
fn what_is_written_is_json_and_read_again() {
    for (text, json) in WRITTEN {
        let message = MessageRef::parse(text.as_bytes()).unwrap();
        assert_eq!(message.to_json().as_deref(), Ok(*json), "{text}");
        assert_eq!(message.to_message().view().to_json().as_deref(), Ok(*json), "{text}");
        serde_json::from_str::<serde_json::Value>(json).unwrap_or_else(|error| panic!("{json}: {error}"));
        assert_eq!(Message::from_json(json.as_bytes()), Ok(from_text(text)), "{json}");
    }
}

#[test]
fn what_the_peer_writes_is_read() {
    for (json, text) in READ {
        let message = Message::from_json(json).unwrap_or_else(|error| panic!("{}: {error}", shown(json)));
        assert_eq!(message, from_text(text), "{}", shown(json));
    }
}

#[test]
fn what_is_no_message_is_refused_with_reason_and_place() {
    for &(json, reason, at) in REFUSED {
        match Message::from_json(json) {
            Ok(message) => panic!("{}: read as {message:?}", shown(json)),
            Err(error) => assert_eq!((error.reason, error.at), (reason, at), "{}", shown(json)),
        }
    }
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| {
        let json = [r#"{"x":"#, &"[".repeat(depth), &"]".repeat(depth), r#","command":"X"}"#].concat();
        Message::from_json(json.as_bytes()).map_err(|error| (error.reason, error.at))
    };
    assert_eq!(nested(32), Ok(from_text("X")));
    assert_eq!(nested(33), Err((ParseReason::Depth, 37)));
    assert_eq!(nested(1_000_000), Err((ParseReason::Depth, 37)));
}

#[test]
fn what_is_not_utf_8_has_no_json_form() {
    let message = MessageRef::parse(b"X a=1;b=ok\xff").unwrap();
    let mut out = "before".to_owned();
    assert_eq!(message.write_json(&mut out), Err(WriteError::NotUtf8 { name: "b".into(), at: 2 }));
    assert_eq!(out, "before");
    // The C++ library writes it all the same.
    let message = Message::from_json(b"{\"command\":\"X\",\"parameters\":{\"a\":\"ok\xff\"}}").unwrap();
    assert_eq!(message.get("a"), Some(&b"ok\xff"[..]));
}

#[test]
fn long_messages_take_no_longer_per_byte() {
    const LENGTH: usize = 1 << 20;
    for pattern in ["a", "\\", "\"", "\x01", "7", "é"] {
        let value: String = pattern.chars().cycle().take(LENGTH).collect();
        let message = Message::build("X").with("a", &value).finish().unwrap();
        let json = message.view().to_json().unwrap();
        assert!(Message::from_json(json.as_bytes()).unwrap() == message, "{pattern:?}");
    }
    let json = [r#"{"parameters":{"#, &r#""a":1,"#.repeat(100_000), r#""b":2},"command":"X"}"#].concat();
    assert_eq!(Message::from_json(json.as_bytes()).unwrap(), from_text("X a=1;b=2"));
    // A server that is said again and again, behind long parameters.
    let servers = r#","server":"a","server":"bc""#.repeat(100_000);
    let name = "n".repeat(LENGTH);
    let json = format!(r#"{{"command":"X","service":"s","parameters":{{"{name}":1}}{servers}}}"#);
    assert_eq!(Message::from_json(json.as_bytes()).unwrap().server(), "bc");
}

fn any_message() -> impl Strategy<Value = Message> {
    let value = prop_oneof![any::<String>(), "-?[0-9]{0,18}", "[\\\\\"\n\r\t\0nu]{0,6}"];
    let parameters = proptest::collection::vec(("[a-zA-Z_][a-zA-Z0-9_]{0,2}", value), 0..5);
    ("[a-z]{0,3}", "[a-z]{0,3}", "[a-z]{0,3}", "[a-z]{0,3}", "[A-Z_][A-Z0-9_]{0,5}", parameters).prop_map(
        |(from_server, from_service, server, service, command, parameters)| {
            let mut message = Message::build(&command)
                .sent_from(&from_server, &from_service)
                .server(&server)
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

/// JSON that is likely to be almost a message.
fn almost_json() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "u00e9",
        "\\n",
        "\"command\":\"X\"",
        "\"service\":\"s\"",
        "command\":",
        "\"parameters\":{",
        "\"a\":",
        "1e5",
        "-",
        "true",
        "null",
        " ",
        "\n",
        "0x",
        "inf",
    ];
    proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..14)
        .prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_message_is_read_as_written(message in any_message()) {
        let json = message.view().to_json().unwrap();
        prop_assert!(!json.contains('\n'), "{}", json);
        prop_assert_eq!(Message::from_json(json.as_bytes()).unwrap(), message.clone());
        // And by any other reader: the values, if numbers are taken as text.
        let other: serde_json::Value = serde_json::from_str(&json).unwrap();
        for (name, value) in message.parameters() {
            let found = match &other["parameters"][name] {
                serde_json::Value::String(text) => text.clone(),
                scalar => scalar.to_string(),
            };
            prop_assert_eq!(found.as_bytes(), value);
        }
    }

    #[test]
    fn what_can_be_read_can_be_written(
        json in prop_oneof![almost_json(), proptest::collection::vec(any::<u8>(), 0..40)]
    ) {
        let Ok(message) = Message::from_json(&json) else { return Ok(()) };
        match message.view().to_json() {
            Ok(written) => prop_assert_eq!(Message::from_json(written.as_bytes()).unwrap(), message),
            Err(error) => prop_assert!(std::str::from_utf8(&json).is_err(), "{}", error),
        }
    }

    #[test]
    fn both_forms_say_the_same(message in any_message()) {
        let Ok(text) = message.view().to_text() else { return Ok(()) };
        let from_text = MessageRef::parse(&text).unwrap();
        prop_assert_eq!(from_text.to_json().unwrap(), message.view().to_json().unwrap());
    }
}
