//! The lines of the protocol as items.

use crate::codec::{Codec, DecodeError, Decoded, EncodeError};
use memchr::{memchr, memchr2};
use std::cell::Cell;
use std::rc::Rc;

/// The default for the longest line: 16 MiB.
pub const MAX_LINE: usize = 16 << 20;

/// By so much a line that a server sends may be longer than the line that it was made of, in bytes.
///
/// The most is `KEYSYNC cachetime accesstime mode key=value` of a `STORE key=value`: times are written with all their digits
/// and without an exponent, which are at most 327 bytes for each. Before a `DEBUG` line, or the echo of an unknown command,
/// stands much less.
pub const LINE_ROOM: u16 = 1024;

/// The longest line of a server with a limit of [`MAX_LINE`]: the limit of its clients.
pub const MAX_ANSWER: usize = MAX_LINE + LINE_ROOM as usize;

/// How much input clients keep: the longest line with its end, and no more than a little beside it.
pub(super) const CLIENT_INPUT: usize = MAX_ANSWER + (64 << 10);

/// What is said, as an error, to who has sent a line that is too long.
pub(super) const TOO_LONG: &[u8] = b"line_too_long";

/// The protocol's lines: bytes up to LF. Each CR is dropped, wherever it stands; an empty line means nothing and
/// is skipped. What is sent ends in CR LF.
///
/// An item to send is given in parts, so that a line needs not be put together first.
#[derive(Debug, Clone)]
pub struct ClacksLines {
    max: usize,
    /// Instead of `max`, where it changes.
    shared_max: Option<Rc<Cell<usize>>>,
    /// Lines that are longer than the limit by no more than this are handed over.
    room: u16,
    /// So many bytes of the input hold no LF.
    seen: usize,
    /// What is read up to the next LF belongs to a line that was too long.
    skipping: bool,
    /// For lines with a CR inside.
    clean: Vec<u8>,
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line, without its end: at least one byte.
    Line(&'a [u8]),
    /// A line that is longer than the limit, but within the [room](ClacksLines::room) beyond it.
    Over(&'a [u8]),
    /// A line that is longer than the limit. It is not kept; after it goes on with the next one.
    TooLong,
}

impl ClacksLines {
    /// With a limit of [`MAX_LINE`].
    pub fn new() -> Self {
        Self { max: MAX_LINE, shared_max: None, room: 0, seen: 0, skipping: false, clean: Vec::new() }
    }

    /// Sets the longest line, in bytes without its end; CRs inside count.
    #[must_use]
    pub fn max(mut self, bytes: usize) -> Self {
        self.max = bytes;
        self
    }

    /// Sets a limit as [`max`](Self::max) does, but one that can be changed later, for the lines that are read from then on:
    /// strangers may be trusted with less than friends.
    #[must_use]
    pub fn limited_by(mut self, bytes: Rc<Cell<usize>>) -> Self {
        self.shared_max = Some(bytes);
        self
    }

    /// Hands over what is longer than the limit by no more than so many bytes as [`Line::Over`]: from some the protocol has a
    /// line that it has made longer itself. Default: 0.
    #[must_use]
    pub fn room(mut self, bytes: u16) -> Self {
        self.room = bytes;
        self
    }

    /// As [`decode`](Codec::decode), for what is not a line as most are.
    #[inline(never)]
    fn decode_other<'a>(&'a mut self, input: &'a [u8], max: usize) -> Result<Decoded<Line<'a>>, DecodeError> {
        let unseen = input.get(self.seen..).unwrap_or_default();
        let Some(end) = memchr(b'\n', unseen).map(|at| self.seen + at) else {
            self.seen = input.len();
            // One more for the CR before the LF that is still to come.
            if self.skipping {
                self.seen = 0;
                return Ok(if input.is_empty() { Decoded::More } else { Decoded::Skip(input.len()) });
            }
            if input.len() > max.saturating_add(usize::from(self.room)).saturating_add(1) {
                (self.seen, self.skipping) = (0, true);
                return Ok(Decoded::Item(Line::TooLong, input.len()));
            }
            return Ok(Decoded::More);
        };
        self.seen = 0;
        let used = end + 1;
        if std::mem::take(&mut self.skipping) {
            return Ok(Decoded::Skip(used));
        }
        let line = &input[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let over = line.len() > max;
        if line.len() > max.saturating_add(usize::from(self.room)) {
            return Ok(Decoded::Item(Line::TooLong, used));
        }
        let line = if memchr(b'\r', line).is_some() {
            self.clean.clear();
            self.clean.extend(line.iter().filter(|&&byte| byte != b'\r'));
            &self.clean[..]
        } else {
            line
        };
        Ok(match line {
            [] => Decoded::Skip(used),
            line if over => Decoded::Item(Line::Over(line), used),
            line => Decoded::Item(Line::Line(line), used),
        })
    }
}

impl Default for ClacksLines {
    fn default() -> Self {
        Self::new()
    }
}

impl Codec for ClacksLines {
    type In<'a> = Line<'a>;
    type Out<'a> = &'a [&'a [u8]];

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<Line<'a>>, DecodeError> {
        let max = self.shared_max.as_ref().map_or(self.max, |max| max.get());
        let unseen = input.get(self.seen..).unwrap_or_default();
        // Most lines end with CR LF, and have no other CR.
        if self.seen == 0
            && !self.skipping
            && let Some(at) = memchr2(b'\r', b'\n', unseen)
            && unseen[at..].starts_with(b"\r\n")
            && (1..=max).contains(&at)
        {
            return Ok(Decoded::Item(Line::Line(&input[..at]), at + 2));
        }
        self.decode_other(input, max)
    }

    #[inline]
    fn encode(parts: &[&[u8]], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        for part in parts {
            out.extend_from_slice(part);
        }
        if memchr2(b'\r', b'\n', &out[start..]).is_some() {
            return Err(EncodeError::invalid("a line can't hold a line end or a carriage return"));
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// The first line, if it is all there, and how many bytes it takes with its end. CRs inside are left where they are.
#[inline]
pub(super) fn first_line(input: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr(b'\n', input)?;
    let line = &input[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(max: usize, input: &str, expected: &[&str]) {
        check_with_room(max, 0, input, expected);
    }

    /// All items of `input`, given whole and byte by byte.
    fn check_with_room(max: usize, room: u16, input: &str, expected: &[&str]) {
        for step in [input.len().max(1), 1, 2, 3] {
            let mut codec = ClacksLines::new().max(max).room(room);
            let (mut buffer, mut items) = (Vec::new(), Vec::new());
            for piece in input.as_bytes().chunks(step) {
                buffer.extend_from_slice(piece);
                loop {
                    let used = match codec.decode(&buffer).unwrap() {
                        Decoded::Item(Line::Line(line), used) => {
                            items.push(String::from_utf8(line.to_vec()).unwrap());
                            used
                        }
                        Decoded::Item(Line::Over(line), used) => {
                            items.push(format!("OVER {}", String::from_utf8_lossy(line)));
                            used
                        }
                        Decoded::Item(Line::TooLong, used) => {
                            items.push("TOO LONG".into());
                            used
                        }
                        Decoded::Skip(used) => used,
                        Decoded::More => break,
                    };
                    assert!(used > 0 && used <= buffer.len());
                    buffer.drain(..used);
                    if buffer.is_empty() {
                        break;
                    }
                }
                assert!(buffer.len() <= max + usize::from(room) + 2, "{} bytes are kept", buffer.len());
            }
            assert_eq!(items, expected, "{input:?} in steps of {step}");
        }
    }

    #[test]
    fn lines_end_at_lf_and_lose_every_cr() {
        check(9, "a\r\nb\nc\rd\r\n", &["a", "b", "cd"]);
        check(9, "\r\n\n\r\r\nx\n", &["x"]);
        check(9, "not ended", &[]);
        check(9, " \n=\n", &[" ", "="]);
    }

    #[test]
    fn a_line_over_the_limit_is_named_once_and_the_next_one_is_read() {
        check(4, "1234\r\n", &["1234"]);
        check(4, "12345\r\nnext\n", &["TOO LONG", "next"]);
        check(4, &format!("{}\n\nnext\n", "x".repeat(1000)), &["TOO LONG", "next"]);
    }

    #[test]
    fn a_line_within_the_room_beyond_the_limit_is_handed_over_as_one_that_is_over_it() {
        check_with_room(
            4,
            2,
            "1234\r\n12345\n123456\r\n1234567\r\nnext\n",
            &["1234", "OVER 12345", "OVER 123456", "TOO LONG", "next"],
        );
        check_with_room(
            4,
            2,
            &format!("{}\n12\r45\nnext\n", "x".repeat(1000)),
            &["TOO LONG", "OVER 1245", "next"],
        );
    }

    #[test]
    fn nothing_that_a_server_writes_before_an_entry_takes_more_than_the_room() {
        let longest =
            [f64::MIN, -f64::MIN_POSITIVE, -2.225_073_858_507_201e-308].map(|time| time.to_string().len());
        let time = longest.into_iter().max().expect("there are some");
        assert!("KEYSYNC   U ".len() + 2 * time <= usize::from(LINE_ROOM), "{time} bytes for each time");
    }

    #[test]
    fn parts_become_one_line_and_a_line_end_inside_is_refused() {
        let mut out = b"kept".to_vec();
        ClacksLines::encode(&[b"RETRIEVED ", b"x", b"=", b""], &mut out).unwrap();
        assert_eq!(out, b"keptRETRIEVED x=\r\n");
        for bad in ["a\nb", "a\rb", "\r\n"] {
            assert!(ClacksLines::encode(&[b"SET x=", bad.as_bytes()], &mut out).is_err(), "{bad:?}");
        }
    }
}
