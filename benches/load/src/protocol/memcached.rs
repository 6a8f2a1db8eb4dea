//! memcached's text protocol, as its `protocol.txt` describes it.

use super::text::{decimal, first_line, last_word, length};
use crate::failure::Failure;
use crate::tally::Tally;

pub(super) const SYNC: &[u8] = b"version\r\n";
const END: &[u8] = b"END\r\n";

pub(super) fn store(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(b"set ");
    out.extend_from_slice(key);
    out.extend_from_slice(b" 0 0 ");
    decimal(out, value.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn count(came: &[u8], tally: &mut Tally) -> Result<Option<usize>, Failure> {
    let Some((line, end)) = first_line(came, 0) else { return Ok(None) };
    if line == b"STORED" {
        tally.acknowledged += 1;
    } else if line == b"END" {
        tally.values += 1;
        tally.missing += 1;
    } else if line.starts_with(b"VALUE ") {
        let size = length(last_word(line))?;
        let all = end + size + 2 + END.len();
        if all > came.len() {
            return Ok(None);
        }
        tally.values += 1;
        tally.bytes += size as u64;
        return Ok(Some(all));
    } else if line.starts_with(b"VERSION") {
        tally.synchronized += 1;
    } else {
        return Err(Failure::told(line));
    }
    Ok(Some(end))
}
