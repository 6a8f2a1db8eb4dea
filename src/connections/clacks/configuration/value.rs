use std::net::Ipv6Addr;
use std::time::Duration;

use crate::connections::clacks::credentials::{CredentialsError, PasswordHash};

use super::settings::{Kind, MAX_SECONDS, MAX_SOCKET_PATH};

/// What a setting that is no group holds.
pub(super) enum Value {
    /// Something that can't be used; it has been reported.
    Invalid,
    /// Something that has no effect.
    Ignored,
    Text(String),
    Hash(PasswordHash),
    Seconds(Duration),
    Number(usize),
    Flag(bool),
}

/// Reads `text` as a value of `kind`.
///
/// # Errors
/// What is wrong: a text that continues "`<name>` …". It never shows a secret.
pub(super) fn parse(kind: &Kind, text: &str) -> Result<Value, String> {
    // The reference server takes text as it is, and numbers with white space around them.
    let trimmed = trim(text);
    if trimmed.is_empty() && !matches!(kind, Kind::Ignored) {
        return Err("is empty: give it a value or take it out".into());
    }
    let unfit = || format!("is {}: expected is {kind}", quote(trimmed));
    match kind {
        Kind::Ignored => Ok(Value::Ignored),
        Kind::Name | Kind::Secret | Kind::Command | Kind::Path => Ok(Value::Text(text.into())),
        Kind::Hash => trimmed.parse().map(Value::Hash).map_err(|error: CredentialsError| error.to_string()),
        Kind::Line if trimmed.contains(char::is_control) => Err(unfit()),
        Kind::Line => Ok(Value::Text(trimmed.into())),
        Kind::SocketPath if text.len() > MAX_SOCKET_PATH => {
            Err(format!("is {} bytes long: the path of a socket has {MAX_SOCKET_PATH} at most", text.len()))
        }
        Kind::SocketPath => Ok(Value::Text(text.into())),
        Kind::Host => host(trimmed).map(Value::Text).ok_or_else(unfit),
        Kind::Port { min } => {
            whole(trimmed, usize::from(*min), usize::from(u16::MAX)).map(Value::Number).ok_or_else(unfit)
        }
        Kind::Number { min, max, .. } => whole(trimmed, *min, *max).map(Value::Number).ok_or_else(unfit),
        Kind::Seconds { min, .. } => seconds(trimmed)
            .filter(|time| (min.duration()..=Duration::from_secs(MAX_SECONDS)).contains(time))
            .map(Value::Seconds)
            .ok_or_else(|| format!("is {}: expected is a number of seconds, {kind}", quote(trimmed))),
        Kind::Mode => mode(trimmed)
            .map(Value::Number)
            .ok_or_else(|| format!("is {}: expected is an octal mode, {kind}", quote(trimmed))),
        Kind::Flag => match trimmed {
            "0" => Ok(Value::Flag(false)),
            "1" => Ok(Value::Flag(true)),
            _ => Err(unfit()),
        },
        Kind::Word(words) if words.contains(&trimmed) => Ok(Value::Text(trimmed.into())),
        Kind::Word(_) => Err(unfit()),
        Kind::Group(_) | Kind::Hosts => Err("is a group of settings: it must be an element".into()),
    }
}

/// What deserves a second look in a value that was accepted: texts that continue "`<name>` …".
pub(super) fn doubts(kind: &Kind, text: &str) -> Vec<String> {
    let mut doubts = Vec::new();
    let exact = matches!(kind, Kind::Name | Kind::Secret | Kind::Path | Kind::SocketPath);
    if exact && trim(text) != text && !trim(text).is_empty() {
        doubts.push("begins or ends with white space, which is part of it".into());
    }
    if !matches!(kind, Kind::Secret | Kind::Hash | Kind::Ignored)
        && let Some(name) = unset_variable(text)
    {
        doubts.push(format!("holds {}: no environment variable of that name is set", quote(name)));
    }
    doubts
}

/// A text from the file as it stands in a message: short, and without control characters.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// What XML takes for white space.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn whole(text: &str, min: usize, max: usize) -> Option<usize> {
    if !digits(text) {
        return None;
    }
    text.parse().ok().filter(|number| (min..=max).contains(number))
}

/// `12`, `0.5`, `.5`; what is finer than a nanosecond is dropped.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !digits(whole) || !digits(fraction) || fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanoseconds = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |n, byte| n * 10 + u32::from(byte - b'0'));
    Some(Duration::new(whole, nanoseconds))
}

fn mode(text: &str) -> Option<usize> {
    // No sign, which from_str_radix would accept.
    if !digits(text) {
        return None;
    }
    usize::from_str_radix(text, 8).ok().filter(|&mode| mode <= 0o777)
}

/// An address or a name of a form that the resolver can be asked about, without the brackets of an
/// IPv6 address.
fn host(text: &str) -> Option<String> {
    const LONGEST: usize = 253;
    if let Some(inner) = text.strip_prefix('[') {
        return inner.strip_suffix(']').filter(|inner| ipv6(inner)).map(String::from);
    }
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let name = |text: &str| {
        let text = text.strip_suffix('.').unwrap_or(text);
        // What has only digits and dots is a mistyped address.
        let numbers = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        text.len() <= LONGEST && !numbers && text.split('.').all(label)
    };
    (text.parse::<std::net::Ipv4Addr>().is_ok() || ipv6(text) || name(text)).then(|| text.into())
}

/// With or without a zone (`fe80::1%eth0`).
fn ipv6(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, zone)) => {
            let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'[' | b']' | b'/');
            address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.bytes().all(plain)
        }
        None => text.parse::<Ipv6Addr>().is_ok(),
    }
}

/// A word such as `PC_HOME` that no variable replaced.
fn unset_variable(text: &str) -> Option<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !word(c)).find(|part| {
        part.strip_prefix("PC_").is_some_and(|rest| {
            !rest.is_empty()
                && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::settings::Least;
    use super::*;

    fn show(kind: &Kind, text: &str) -> String {
        match parse(kind, text) {
            Ok(Value::Text(text)) => text,
            Ok(Value::Hash(hash)) => hash.expose().into(),
            Ok(Value::Seconds(time)) => format!("{time:?}"),
            Ok(Value::Number(number)) => number.to_string(),
            Ok(Value::Flag(flag)) => flag.to_string(),
            Ok(Value::Ignored) => "ignored".into(),
            Ok(Value::Invalid) => "invalid".into(),
            Err(what) => what,
        }
    }

    #[test]
    fn seconds_have_decimals_and_a_range() {
        let refused = |text: &str| {
            format!("is \"{text}\": expected is a number of seconds, 0.01 to 1000000000, decimals allowed")
        };
        let kind = Kind::Seconds { min: Least::Centisecond, field: |c| &mut c.ping_timeout };
        for (text, wanted) in [
            ("180", "180s"),
            ("0.5", "500ms"),
            (".25", "250ms"),
            ("0.01", "10ms"),
            ("007", "7s"),
            (" 3\n", "3s"),
            ("1.0000000019", "1.000000001s"),
            ("1000000000", "1000000000s"),
        ] {
            assert_eq!(show(&kind, text), wanted, "{text:?}");
        }
        for text in [
            "0",
            "0.009",
            "-1",
            "+1",
            "1e3",
            "inf",
            "nan",
            "1,5",
            "5.",
            ".",
            "1.2.3",
            "ten",
            "30 s",
            "0x10",
            "1000000000.1",
            "99999999999999999999999",
            "٣",
        ] {
            assert_eq!(show(&kind, text), refused(text));
        }
        let kind = Kind::Seconds { min: Least::Zero, field: |c| &mut c.ping_timeout };
        assert_eq!(show(&kind, "0"), "0ns");
        assert_eq!(show(&kind, "0.000"), "0ns");
    }

    #[test]
    fn whole_numbers_have_a_range() {
        let kind = Kind::Number { unit: "bytes", min: 10, max: 20, field: |c| &mut c.max_line };
        let refused = |text: &str| format!("is \"{text}\": expected is 10 to 20 bytes");
        assert_eq!(show(&kind, "10"), "10");
        assert_eq!(show(&kind, "\t020 "), "20");
        for text in ["9", "21", "1.5", "-12", "+12", "12k", "16M", "0x0c", "99999999999999999999999999"] {
            assert_eq!(show(&kind, text), refused(text));
        }
        assert_eq!(show(&Kind::Port { min: 0 }, "65535"), "65535");
        assert_eq!(show(&Kind::Port { min: 0 }, "65536"), "is \"65536\": expected is 0 to 65535");
        assert_eq!(show(&Kind::Port { min: 1 }, "0"), "is \"0\": expected is 1 to 65535");
    }

    #[test]
    fn modes_are_octal() {
        for (text, wanted) in [("777", 0o777), ("0660", 0o660), ("0", 0), ("00000000600", 0o600)] {
            assert_eq!(show(&Kind::Mode, text), wanted.to_string(), "{text:?}");
        }
        for text in ["8", "0o660", "rwx", "1777", "-7", "+7", "7777777777777777777777777777"] {
            let wanted = format!("is \"{text}\": expected is an octal mode, 0 to 777");
            assert_eq!(show(&Kind::Mode, text), wanted);
        }
    }

    #[test]
    fn hosts_are_addresses_or_names() {
        for (text, wanted) in [
            ("127.0.0.1", "127.0.0.1"),
            (" ::1 ", "::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("[fe80::1%1]", "fe80::1%1"),
            ("localhost", "localhost"),
            ("clacks-1.example.com", "clacks-1.example.com"),
            ("my_host.example.com.", "my_host.example.com."),
        ] {
            assert_eq!(show(&Kind::Host, text), wanted, "{text:?}");
        }
        let long = "a.".repeat(127) + "com";
        for text in [
            "256.0.0.1",
            "1.2.3",
            "1.2.3.4.5",
            "*",
            "a b",
            "-a",
            "a-",
            "a..b",
            ".",
            "[::1",
            "::1]",
            "[127.0.0.1]",
            "::1%",
            "::1%a%b",
            "host:1",
            "1.2.3.4:5",
            "http://a",
            "hôst",
        ] {
            let wanted = format!("is \"{text}\": expected is an IPv4 or IPv6 address, or a host name");
            assert_eq!(show(&Kind::Host, text), wanted);
        }
        assert!(parse(&Kind::Host, &long).is_err());
    }

    #[test]
    fn text_is_taken_as_it_is_and_a_line_is_one_line() {
        assert_eq!(show(&Kind::Name, " a b "), " a b ");
        assert_eq!(show(&Kind::Secret, "\n s\n"), "\n s\n");
        assert_eq!(show(&Kind::Command, "a\n  b\n"), "a\n  b\n");
        assert_eq!(show(&Kind::Path, "/a b"), "/a b");
        assert_eq!(show(&Kind::Line, "\n  A server\n"), "A server");
        assert_eq!(show(&Kind::Line, "A\nserver"), "is \"A\\nserver\": expected is one line");
        assert_eq!(show(&Kind::SocketPath, &"é".repeat(53)), "é".repeat(53));
        assert_eq!(
            show(&Kind::SocketPath, &"é".repeat(54)),
            "is 108 bytes long: the path of a socket has 107 at most"
        );
        assert_eq!(show(&Kind::Ignored, ""), "ignored");
        for kind in [Kind::Name, Kind::Secret, Kind::Path, Kind::Flag, Kind::Port { min: 0 }, Kind::Line] {
            assert_eq!(show(&kind, " \n"), "is empty: give it a value or take it out");
        }
    }

    #[test]
    fn doubts_are_told() {
        let check =
            |kind: Kind, text: &str, wanted: &[&str]| assert_eq!(doubts(&kind, text), wanted, "{text:?}");
        let space = "begins or ends with white space, which is part of it";
        let unset = "holds \"PC_RUN\": no environment variable of that name is set";
        check(Kind::Path, "/a", &[]);
        check(Kind::Path, "/a ", &[space]);
        check(Kind::Path, " ", &[]);
        check(Kind::Secret, " PC_RUN", &[space]);
        check(Kind::Port { min: 0 }, " 1 ", &[]);
        check(Kind::Path, "\nPC_RUN/x", &[space, unset]);
        check(Kind::SocketPath, "/a/PC_RUN", &[unset]);
        check(Kind::Path, "PC_ PC_lower MYPC_RUN PC_RUNning", &[]);
    }

    #[test]
    fn quoted_text_is_short_and_harmless() {
        assert_eq!(quote("a\u{1b}[2J\"\n"), r#""a\u{1b}[2J\"\n""#);
        assert_eq!(quote(&"x".repeat(60)), format!("\"{}\"", "x".repeat(60)));
        assert_eq!(quote(&"é".repeat(61)), format!("\"{}…\"", "é".repeat(60)));
    }
}
