//! Keys and values as they stand in a persistence file: scalars of the YAML that the reference server's library writes
//! and reads, one line each, of any bytes.
//!
//! A strict YAML reader does not share that library's habits: bytes that are no UTF-8 stand raw, words and numbers that
//! are strings may be bare. What is written here is quoted whenever a reader could take it for something else.

use super::super::number::Operand;
use memchr::{memchr, memchr2, memmem};
use std::borrow::Cow;
use std::io::Write as _;

/// Bare text that is longer than this and has spaces would be folded by some; in quotes it is not.
const BARE_WITH_SPACES_MAX: usize = 80;

/// Why a line holds no scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::connections::clacks) struct NoScalar(pub(in crate::connections::clacks) &'static str);

/// Writes a scalar.
pub(in crate::connections::clacks) fn write(out: &mut Vec<u8>, text: &[u8]) {
    match style(text) {
        Style::Bare => out.extend_from_slice(text),
        Style::Single => {
            out.push(b'\'');
            out.extend_from_slice(text);
            out.push(b'\'');
        }
        Style::Double => write_double(out, text),
    }
}

/// Writes a time or another number: exactly, so that it is the same when it is read.
pub(super) fn write_number(out: &mut Vec<u8>, number: f64) {
    const WHOLE_BELOW: f64 = 1e15;
    // Writing into memory does not fail.
    let _ = if number.fract() == 0.0 && number.abs() < WHOLE_BELOW {
        write!(out, "{}", number as i64)
    } else if (1e-5..1e15).contains(&number.abs()) {
        write!(out, "'{number}'")
    } else {
        write!(out, "'{number:e}'")
    };
}

enum Style {
    Bare,
    Single,
    Double,
}

fn style(text: &[u8]) -> Style {
    let Some(first) = text.first() else { return Style::Single };
    // In quotes the reference's library reads "=" as "str".
    if is_plain_integer(text) || text == b"=" {
        return Style::Bare;
    }
    if is_word(text) || (Operand::number(text).is_some() && text.iter().all(u8::is_ascii_graphic)) {
        return Style::Single;
    }
    let begins = first.is_ascii_alphabetic() || matches!(first, b'_' | b'/') || *first >= 0x80;
    let ends = text.last().is_some_and(|last| !matches!(last, b' ' | b':'));
    let plain = |byte: &u8| *byte >= b' ' && *byte != 0x7f && !matches!(byte, b'"' | b'\\');
    let doubtful = [&b": "[..], b" #", b"  "].iter().any(|part| memmem::find(text, part).is_some());
    let wide = text.len() > BARE_WITH_SPACES_MAX && memchr(b' ', text).is_some();
    if begins && ends && text.iter().all(plain) && !doubtful && !wide { Style::Bare } else { Style::Double }
}

/// As it would be written by a program that has it as a number.
fn is_plain_integer(text: &[u8]) -> bool {
    const DIGITS_MAX: usize = 15;
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match digits {
        b"0" => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.len() < DIGITS_MAX && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// A word that YAML takes for something else than a string.
fn is_word(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 10] = [b"true", b"false", b"null", b"~", b"yes", b"no", b"on", b"off", b"y", b"n"];
    text.len() <= 5 && WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn write_double(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\0' => out.extend_from_slice(b"\\0"),
            b'\t' => out.extend_from_slice(b"\\t"),
            ..b' ' | 0x7f => {
                let _ = write!(out, "\\x{byte:02X}"); // into memory
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Reads the scalar at the end of a line.
pub(in crate::connections::clacks) fn read(text: &[u8]) -> Result<Cow<'_, [u8]>, NoScalar> {
    let (scalar, rest) = match text.first() {
        Some(b'"' | b'\'') => quoted(text)?,
        _ => return bare(text).map(Cow::Borrowed),
    };
    if rest.iter().all(|byte| *byte == b' ') { Ok(scalar) } else { Err(NoScalar("text behind the quotes")) }
}

/// Reads a key at the beginning of a line: what stands before the colon, and what behind it without its first space.
pub(in crate::connections::clacks) fn read_key(line: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), NoScalar> {
    const NO_COLON: NoScalar = NoScalar("a key without a colon");
    if let Some(b'"' | b'\'') = line.first() {
        let (key, rest) = quoted(line)?;
        let rest = rest.strip_prefix(b":").ok_or(NO_COLON)?;
        return Ok((key, rest.strip_prefix(b" ").unwrap_or(rest)));
    }
    let (key, rest) = match memmem::find(line, b": ") {
        Some(at) => (&line[..at], &line[at + 2..]),
        None => (line.strip_suffix(b":").ok_or(NO_COLON)?, &b""[..]),
    };
    if key.is_empty() {
        Err(NoScalar("no key before the colon"))
    } else {
        Ok((Cow::Borrowed(bare(key)?), rest))
    }
}

fn bare(text: &[u8]) -> Result<&[u8], NoScalar> {
    match text {
        b"~" => Ok(b""),
        [b'|' | b'>' | b'&' | b'*' | b'!' | b'[' | b'{' | b'%' | b'@' | b'`', ..] => {
            Err(NoScalar("something else than a text or a number"))
        }
        _ => Ok(text),
    }
}

/// A quoted scalar, and what stands behind it.
pub(in crate::connections::clacks) fn quoted(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), NoScalar> {
    const OPEN: NoScalar = NoScalar("quotes that are not closed on the line");
    let Some((&quote, inner)) = text.split_first() else { return Err(OPEN) };
    if quote == b'\'' {
        return single(inner).ok_or(OPEN);
    }
    let mut rest = inner;
    let mut scalar = Vec::new();
    loop {
        let at = memchr2(b'"', b'\\', rest).ok_or(OPEN)?;
        let (before, found) = rest.split_at(at);
        if found.starts_with(b"\"") {
            let behind = &found[1..];
            return Ok(if scalar.is_empty() {
                (Cow::Borrowed(before), behind)
            } else {
                scalar.extend_from_slice(before);
                (Cow::Owned(scalar), behind)
            });
        }
        scalar.extend_from_slice(before);
        let (byte, taken) = escaped(&found[1..])?;
        scalar.push(byte);
        rest = &found[1 + taken..];
    }
}

fn single(inner: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut rest = inner;
    let mut scalar = Vec::new();
    loop {
        let at = memchr(b'\'', rest)?;
        let (before, behind) = (&rest[..at], &rest[at + 1..]);
        match behind.strip_prefix(b"'") {
            Some(more) => {
                scalar.extend_from_slice(&rest[..=at]);
                rest = more;
            }
            None if scalar.is_empty() => return Some((Cow::Borrowed(before), behind)),
            None => {
                scalar.extend_from_slice(before);
                return Some((Cow::Owned(scalar), behind));
            }
        }
    }
}

/// The byte that is meant, and how many stand for it.
fn escaped(text: &[u8]) -> Result<(u8, usize), NoScalar> {
    let byte = match text.first() {
        Some(b'0') => 0,
        Some(b'a') => 7,
        Some(b'b') => 8,
        Some(b't') => b'\t',
        Some(b'n') => b'\n',
        Some(b'v') => 11,
        Some(b'f') => 12,
        Some(b'r') => b'\r',
        Some(b'e') => 27,
        Some(&byte @ (b'"' | b'\\')) => byte,
        Some(b'x') => {
            let digits = text.get(1..3).and_then(|digits| str::from_utf8(digits).ok());
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            return byte.map(|byte| (byte, 3)).ok_or(NoScalar("\\x without two digits"));
        }
        _ => return Err(NoScalar("an unknown escape in quotes")),
    };
    Ok((byte, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &[u8], written: &str) {
        let mut out = vec![];
        write(&mut out, text);
        assert_eq!(out.escape_ascii().to_string(), written.as_bytes().escape_ascii().to_string());
        assert_eq!(read(&out).unwrap(), text, "{written}");
        out.extend_from_slice(b": rest");
        assert_eq!(read_key(&out).unwrap(), (text.into(), &b"rest"[..]), "{written}");
    }

    #[test]
    fn what_could_be_taken_for_something_else_is_quoted() {
        for bare in [
            "plain",
            "k:colon",
            "k::dd",
            "k#",
            "a=b",
            "it's",
            "x,",
            "0",
            "-1",
            "42",
            "/a b",
            "=",
            "PAGECAMELCLACKSB64:bGl=",
        ] {
            check(bare.as_bytes(), bare);
        }
        for single in [
            "",
            "1.50",
            "1e3",
            "007",
            "-0",
            "inf",
            "NaN",
            "~",
            "null",
            "True",
            "OFF",
            "y",
            "18446744073709551616",
            ".5",
            "+5",
        ] {
            check(single.as_bytes(), &format!("'{single}'"));
        }
        for double in [
            " ", " lead", "trail ", "a: b", "a:", "a #b", "a  b", "#c", "- x", "-", "? q", "!t", "&a", "*a",
            "[", "{", "|", ">", "%", "@", "`", "'s'", ":", "<<", "==", "---", "...",
        ] {
            check(double.as_bytes(), &format!("\"{double}\""));
        }
        check(b"a\"b\\", r#""a\"b\\""#);
        check(b"\0\t\x01\x1f\x7f", r#""\0\t\x01\x1F\x7F""#);
        check("äöü\u{85}\u{2028}x".as_bytes(), "äöü\u{85}\u{2028}x");
        let long = "word ".repeat(20) + "word";
        check(long.as_bytes(), &format!("\"{long}\""));
    }

    #[test]
    fn what_the_reference_writes_is_read() {
        let read = |text: &str| String::from_utf8(read(text.as_bytes()).unwrap().into_owned()).unwrap();
        for (text, wanted) in [
            ("", ""),
            ("~", ""),
            ("''", ""),
            ("'it''s'  ", "it's"),
            ("''''", "'"),
            (r#""""#, ""),
            (r#""\a\b\t\n\v\f\r\e\0""#, "\x07\x08\t\n\x0b\x0c\r\x1b\0"),
            (r#""\"\\""#, "\"\\"),
            (r"\n", r"\n"),
            (r"a\", r"a\"),
            ("0x1F", "0x1F"),
            ("--- doc", "--- doc"),
            ("<<", "<<"),
            ("tab\there", "tab\there"),
            ("- item", "- item"),
        ] {
            assert_eq!(read(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_scalar_is_refused() {
        for text in [
            "\"",
            "'",
            "\"a",
            "'a",
            "'a''",
            r#""\""#,
            r#""\q""#,
            r#""\x1""#,
            r#""\xG0""#,
            "\"a\" b",
            "|-",
            "[1]",
            "{}",
            "&a b",
            "*a",
            "!x y",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        for line in ["", "a", ":", ": x", "\"a\"", "\"a\" : x", "*a: x"] {
            assert!(read_key(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn numbers_come_back_exactly() {
        for (number, text) in [
            (0.0, "0"),
            (4000000000.0, "4000000000"),
            (4000000000.5, "'4000000000.5'"),
            (1795221673.5993812, "'1795221673.5993812'"),
            (-1.5, "'-1.5'"),
            (1e300, "'1e300'"),
            (1e-9, "'1e-9'"),
            (f64::INFINITY, "'inf'"),
        ] {
            let mut out = vec![];
            write_number(&mut out, number);
            assert_eq!(str::from_utf8(&out), Ok(text));
            assert_eq!(Operand::number(&read(&out).unwrap()).unwrap().to_f64(), number, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut out = vec![];
            write(&mut out, &text);
            prop_assert!(!out.contains(&b'\n'));
            prop_assert_eq!(read(&out).unwrap(), &text[..]);
            out.extend_from_slice(b": ");
            prop_assert_eq!(read_key(&out).unwrap(), (Cow::Borrowed(&text[..]), &b""[..]));
        }

        #[test]
        fn whatever_is_read_does_no_harm(text in "[\"'a\\\\x0: ~|]{0,12}") {
            let _ = (read(text.as_bytes()), read_key(text.as_bytes()));
        }
    }
}
