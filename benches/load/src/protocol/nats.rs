//! The NATS client protocol, as its documentation describes it.

use super::text::{decimal, first_line, last_word, length};
use crate::failure::Failure;
use crate::tally::Tally;

pub(super) const SYNC: &[u8] = b"PING\r\n";
pub(super) const HELLO: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\
    \"name\":\"load\",\"lang\":\"rust\",\"version\":\"0\",\"protocol\":0}\r\nPING\r\n";

pub(super) fn publish(out: &mut Vec<u8>, topic: &[u8], value: &[u8]) {
    out.extend_from_slice(b"PUB ");
    out.extend_from_slice(topic);
    out.push(b' ');
    decimal(out, value.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn subscribe(out: &mut Vec<u8>, topic: &[u8], number: usize) {
    out.extend_from_slice(b"SUB ");
    out.extend_from_slice(topic);
    out.push(b' ');
    decimal(out, number + 1);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn count(came: &[u8], tally: &mut Tally, answers: &mut Vec<u8>) -> Result<Option<usize>, Failure> {
    let Some((line, end)) = first_line(came, 0) else { return Ok(None) };
    if line.starts_with(b"MSG ") {
        let size = length(last_word(line))?;
        let all = end + size + 2;
        if all > came.len() {
            return Ok(None);
        }
        tally.messages += 1;
        tally.bytes += size as u64;
        return Ok(Some(all));
    }
    match line {
        b"PONG" => tally.synchronized += 1,
        b"PING" => answers.extend_from_slice(b"PONG\r\n"),
        [b'-', ..] => return Err(Failure::told(line)),
        _ => {}
    }
    Ok(Some(end))
}
