//! RESP, version 2, as the Redis documentation describes it.

use super::text::{decimal, first_line, length};
use crate::failure::Failure;
use crate::tally::Tally;

pub(super) const SYNC: &[u8] = b"*1\r\n$4\r\nPING\r\n";

pub(super) fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.push(b'*');
    decimal(out, words.len());
    out.extend_from_slice(b"\r\n");
    for word in words {
        out.push(b'$');
        decimal(out, word.len());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

pub(super) fn count(came: &[u8], tally: &mut Tally) -> Result<Option<usize>, Failure> {
    let Some((line, end)) = first_line(came, 0) else { return Ok(None) };
    match line.split_first() {
        Some((b'+', b"PONG")) => tally.synchronized += 1,
        Some((b'+' | b':', _)) => tally.acknowledged += 1,
        Some((b'$', b"-1")) => {
            tally.values += 1;
            tally.missing += 1;
        }
        Some((b'$', digits)) => {
            let size = length(digits)?;
            let all = end + size + 2;
            if all > came.len() {
                return Ok(None);
            }
            tally.values += 1;
            tally.bytes += size as u64;
            return Ok(Some(all));
        }
        Some((b'*', digits)) => return array(came, end, length(digits)?, tally),
        _ => return Err(Failure::told(line)),
    }
    Ok(Some(end))
}

/// What comes on a connection that listens: its first item says what it is.
fn array(came: &[u8], mut at: usize, items: usize, tally: &mut Tally) -> Result<Option<usize>, Failure> {
    let (mut kind, mut size) = (0, 0);
    for item in 0..items {
        let Some((line, end)) = first_line(came.get(at..).unwrap_or_default(), 0) else { return Ok(None) };
        at += end;
        let Some((b'$', digits)) = line.split_first() else { continue };
        size = length(digits)?;
        if item == 0 {
            kind = came.get(at).copied().unwrap_or(0);
        }
        at += size + 2;
        if at > came.len() {
            return Ok(None);
        }
    }
    match kind {
        b'm' => {
            tally.messages += 1;
            tally.bytes += size as u64;
        }
        b's' => tally.subscribed += 1,
        b'p' => tally.synchronized += 1,
        _ => {}
    }
    Ok(Some(at))
}
