//! Clacks, as the reference server speaks it.

use super::text;
use crate::failure::Failure;
use crate::tally::Tally;
use std::fmt::Write as _;

pub(super) const NO_PING: &[u8] = b"NOPING\r\n";
pub(super) const SYNC: &[u8] = b"FLUSH load\r\n";

pub(super) fn hello(client: usize, user: &str, password: &str) -> Vec<u8> {
    let mut hello = format!("CLACKS load{client}\r\nOVERHEAD A ");
    base64(&mut hello, user.as_bytes());
    hello.push(':');
    base64(&mut hello, password.as_bytes());
    let _ = write!(hello, "\r\n");
    hello.into_bytes()
}

pub(super) fn is_welcome(came: &[u8]) -> Result<bool, Failure> {
    let is_told = memchr::memmem::find(came, b"OVERHEAD O").is_some();
    Ok(text::is_welcome(came, b"OVERHEAD F", b"\n")? && is_told)
}

/// A command with a name and a value.
pub(super) fn pair(out: &mut Vec<u8>, command: &[u8], name: &[u8], value: &[u8]) {
    text::line(out, &[command, name, b"=", value]);
}

pub(super) fn count(
    came: &[u8],
    seen: usize,
    tally: &mut Tally,
    answers: &mut Vec<u8>,
) -> Result<Option<usize>, Failure> {
    let Some((line, length)) = text::first_line(came, seen) else { return Ok(None) };
    if let Some(pair) = line.strip_prefix(b"SET ") {
        tally.messages += 1;
        tally.bytes += value_length(pair);
    } else if let Some(pair) = line.strip_prefix(b"RETRIEVED ") {
        tally.values += 1;
        tally.bytes += value_length(pair);
    } else if line.starts_with(b"NOTRETRIEVED ") {
        tally.values += 1;
        tally.missing += 1;
    } else if line.starts_with(b"FLUSHED ") {
        tally.synchronized += 1;
    } else if line.starts_with(b"NOTIFY ") {
        tally.messages += 1;
    } else if line == b"PING" {
        answers.extend_from_slice(b"PING\r\n");
    } else if line.starts_with(b"OVERHEAD F") || line.starts_with(b"OVERHEAD E") {
        return Err(Failure::told(line));
    }
    Ok(Some(length))
}

fn value_length(pair: &[u8]) -> u64 {
    memchr::memchr(b'=', pair).map_or(0, |at| (pair.len() - at - 1) as u64)
}

fn base64(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for digit in 0..4 {
            let at = (bits >> (18 - 6 * digit) & 63) as usize;
            out.push(if digit <= group.len() { char::from(DIGITS[at]) } else { '=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_in_base64() {
        let hello = String::from_utf8(hello(7, "bench", "pass")).unwrap();
        assert_eq!(hello, "CLACKS load7\r\nOVERHEAD A YmVuY2g=:cGFzcw==\r\n");
    }

    #[test]
    fn a_refused_login_is_told() {
        assert!(is_welcome(b"CLACKS x\r\nOVERHEAD F Login failed!\r\n").is_err());
        assert!(!is_welcome(b"CLACKS x\r\n").unwrap());
        assert!(is_welcome(b"CLACKS x\r\nOVERHEAD O Welcome!\r\n").unwrap());
    }
}
