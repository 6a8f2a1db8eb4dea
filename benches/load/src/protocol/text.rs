//! What the protocols of lines have in common.

use crate::failure::Failure;

/// A line of `parts`.
pub(super) fn line(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

/// `number` in decimal.
pub(super) fn decimal(out: &mut Vec<u8>, mut number: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The first line of `came` without its end, and how long it is with it.
pub(super) fn first_line(came: &[u8], seen: usize) -> Option<(&[u8], usize)> {
    let seen = seen.min(came.len());
    let end = seen + memchr::memchr(b'\n', came.get(seen..)?)?;
    let line = came.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

/// A length in decimal, as it stands in front of a value.
pub(super) fn length(digits: &[u8]) -> Result<usize, Failure> {
    let mut number = 0_usize;
    for digit in digits {
        if !digit.is_ascii_digit() || number > usize::MAX >> 16 {
            return Err(Failure::told(digits));
        }
        number = number * 10 + usize::from(digit - b'0');
    }
    if digits.is_empty() { Err(Failure::told(digits)) } else { Ok(number) }
}

/// The last of the words of a line.
pub(super) fn last_word(line: &[u8]) -> &[u8] {
    memchr::memrchr(b' ', line).and_then(|at| line.get(at + 1..)).unwrap_or(line)
}

/// Whether a welcome is complete: it ends with `end`, and nothing in it is `refused`.
pub(super) fn is_welcome(came: &[u8], refused: &[u8], end: &[u8]) -> Result<bool, Failure> {
    if memchr::memmem::find(came, refused).is_some() {
        return Err(Failure::told(came));
    }
    Ok(came.ends_with(end))
}
