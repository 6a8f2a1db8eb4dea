use std::io::Write as _;

use super::{Codec, DEFAULT_MAX, DecodeError, Decoded, EncodeError};

/// Netstrings, as D. J. Bernstein published them: `5:hello,`.
///
/// The length is in decimal digits, without leading zeros. What breaks these rules, or says that it is
/// longer than the limit, is refused at the first byte that shows it. A stream that ends within a
/// netstring is an error.
#[derive(Debug, Clone)]
pub struct Netstring {
    max: usize,
    state: State,
}

/// How far the netstring under way was read.
#[derive(Debug, Clone, Copy)]
enum State {
    /// So many digits, of this value.
    Length { digits: usize, value: usize },
    /// The whole length: so many bytes follow, from this place on.
    Data { start: usize, len: usize },
}

impl State {
    const START: Self = Self::Length { digits: 0, value: 0 };
}

impl Netstring {
    /// Netstrings of up to [`DEFAULT_MAX`] bytes.
    pub fn new() -> Self {
        Self { max: DEFAULT_MAX, state: State::START }
    }

    /// The longest netstring that is accepted, in bytes between `:` and `,`.
    #[must_use]
    pub fn max(mut self, bytes: usize) -> Self {
        self.max = bytes;
        self
    }

    /// Reads on in the length: where the data begin and how many there are, once that is known.
    fn length(&mut self, input: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
        let (mut digits, mut value) = match self.state {
            State::Data { start, len } => return Ok(Some((start, len))),
            State::Length { digits, value } => (digits, value),
        };
        while let Some(&byte) = input.get(digits) {
            match byte {
                b'0'..=b'9' if digits > 0 && value == 0 => {
                    return Err(DecodeError::invalid("the length of a netstring begins with a zero", 0));
                }
                b'0'..=b'9' => {
                    value = self.limited(value, byte - b'0')?;
                    digits += 1;
                }
                b':' if digits > 0 => {
                    self.state = State::Data { start: digits + 1, len: value };
                    return Ok(Some((digits + 1, value)));
                }
                _ => return Err(DecodeError::invalid("the length of a netstring is no number", digits)),
            }
        }
        self.state = State::Length { digits, value };
        Ok(None)
    }

    fn limited(&self, value: usize, digit: u8) -> Result<usize, DecodeError> {
        value
            .checked_mul(10)
            .and_then(|value| value.checked_add(digit.into()))
            .filter(|&value| value <= self.max)
            .ok_or(DecodeError::TooLong { limit: self.max })
    }
}

impl Default for Netstring {
    fn default() -> Self {
        Self::new()
    }
}

impl Codec for Netstring {
    type In<'a> = &'a [u8];
    type Out<'a> = &'a [u8];

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
        let Some((start, len)) = self.length(input)? else { return Ok(Decoded::More) };
        let rest = input.get(start..).unwrap_or_default();
        let (Some(data), Some(&end)) = (rest.get(..len), rest.get(len)) else { return Ok(Decoded::More) };
        if end != b',' {
            return Err(DecodeError::invalid("a netstring does not end with a comma", start + len));
        }
        self.state = State::START;
        Ok(Decoded::Item(data, start + len + 1))
    }

    fn finish<'a>(&'a mut self, rest: &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
        self.state = State::START;
        if rest.is_empty() { Ok(None) } else { Err(DecodeError::Truncated) }
    }

    fn encode(item: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        // Writing into a vector does not fail.
        let _ = write!(out, "{}:", item.len());
        out.extend_from_slice(item);
        out.push(b',');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT_12: DecodeError = DecodeError::TooLong { limit: 12 };

    fn check(input: &[u8], result: Result<Decoded<&[u8]>, DecodeError>) {
        assert_eq!(Netstring::new().max(12).decode(input), result, "at once: {:?}", input.escape_ascii());
        // And byte by byte: nothing before the last byte shows it.
        let mut codec = Netstring::new().max(12);
        let needed = match &result {
            Ok(Decoded::Item(_, used)) => *used,
            _ => input.len(),
        };
        for end in 0..needed {
            assert_eq!(codec.decode(&input[..end]), Ok(Decoded::More), "{end} of {:?}", input.escape_ascii());
        }
        assert_eq!(codec.decode(input), result, "byte by byte: {:?}", input.escape_ascii());
    }

    fn invalid(what: &'static str, at: usize) -> Result<Decoded<&'static [u8]>, DecodeError> {
        Err(DecodeError::invalid(what, at))
    }

    #[test]
    fn a_netstring_is_length_colon_data_comma() {
        check(b"5:hello,", Ok(Decoded::Item(b"hello", 8)));
        check(b"0:,", Ok(Decoded::Item(b"", 3)));
        check(b"3:a,b,4:", Ok(Decoded::Item(b"a,b", 6)));
        check(b"12:hello world!,", Ok(Decoded::Item(b"hello world!", 16)));
    }

    #[test]
    fn an_unfinished_netstring_needs_more() {
        for input in [&b""[..], b"1", b"12", b"5:", b"5:hell", b"5:hello", b"0", b"0:"] {
            check(input, Ok(Decoded::More));
        }
    }

    #[test]
    fn what_breaks_the_rules_is_refused_where_it_does() {
        check(b":", invalid("the length of a netstring is no number", 0));
        check(b"x", invalid("the length of a netstring is no number", 0));
        check(b"-", invalid("the length of a netstring is no number", 0));
        check(b"1 ", invalid("the length of a netstring is no number", 1));
        check(b"1,", invalid("the length of a netstring is no number", 1));
        check(b"00", invalid("the length of a netstring begins with a zero", 0));
        check(b"05", invalid("the length of a netstring begins with a zero", 0));
        check(b"0x", invalid("the length of a netstring is no number", 1));
        check(b"5:hello!", invalid("a netstring does not end with a comma", 7));
        check(b"0:\n", invalid("a netstring does not end with a comma", 2));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_at_the_digit_that_shows_it() {
        check(b"13", Err(LIMIT_12));
        check(b"120", Err(LIMIT_12));
        check(b"2", Ok(Decoded::More));
        check(b"20", Err(LIMIT_12));
        let endless = Netstring::new().max(usize::MAX).decode(b"99999999999999999999999:").map(drop_item);
        assert_eq!(endless, Err(DecodeError::TooLong { limit: usize::MAX }));
    }

    fn drop_item(_: Decoded<&[u8]>) {}

    #[test]
    fn the_end_may_come_between_netstrings_only() {
        let mut codec = Netstring::new();
        assert_eq!(codec.finish(b""), Ok(None));
        assert_eq!(codec.decode(b"5:hell"), Ok(Decoded::More));
        assert_eq!(codec.finish(b"5:hell"), Err(DecodeError::Truncated));
        assert_eq!(codec.decode(b"1:a,"), Ok(Decoded::Item(&b"a"[..], 4)));
    }

    #[test]
    fn a_netstring_is_sent_with_its_length() {
        fn check(item: &[u8], sent: &[u8]) {
            let mut out = Vec::new();
            assert_eq!(Netstring::encode(item, &mut out), Ok(()));
            assert_eq!(out, sent);
        }
        check(b"", b"0:,");
        check(b"a,b", b"3:a,b,");
        check(&[b'x'; 100], &[b"100:", &[b'x'; 100][..], b","].concat());
    }
}
