//! Lines, counted and not taken apart.

use eventdispatcher::codec::{Codec, DecodeError, Decoded, EncodeError};
use memchr::{memchr_iter, memrchr};

/// Everything up to the last line end is one item; what is sent is encoded already.
#[derive(Default)]
pub(super) struct Counted {
    /// So many bytes of the input hold no line end.
    seen: usize,
}

/// Some whole lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) lines: usize,
}

impl<'a> Chunk<'a> {
    /// Whether each line is `length` bytes long, its end included.
    pub(super) fn is_all(&self, length: usize) -> bool {
        self.lines.checked_mul(length) == Some(self.bytes.len())
    }

    /// The lines, without their ends.
    pub(super) fn each(&self) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.bytes.split(|&byte| byte == b'\n');
        lines.map(<[u8]>::trim_ascii_end).filter(|line| !line.is_empty())
    }
}

impl Codec for Counted {
    type In<'a> = Chunk<'a>;
    type Out<'a> = &'a [u8];

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<Chunk<'a>>, DecodeError> {
        let Some(last) = memrchr(b'\n', input.get(self.seen..).unwrap_or_default()) else {
            self.seen = input.len();
            return Ok(Decoded::More);
        };
        let used = self.seen + last + 1;
        self.seen = 0;
        let bytes = &input[..used];
        Ok(Decoded::Item(Chunk { bytes, lines: memchr_iter(b'\n', bytes).count() }, used))
    }

    fn encode(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_counted_at_once() {
        let mut codec = Counted::default();
        assert_eq!(codec.decode(b"no en"), Ok(Decoded::More));
        assert_eq!(codec.decode(b"no end"), Ok(Decoded::More));
        let bytes = &b"no end\r\nab\r\n"[..];
        assert_eq!(
            codec.decode(b"no end\r\nab\r\nrest"),
            Ok(Decoded::Item(Chunk { bytes, lines: 2 }, bytes.len()))
        );
        assert_eq!(codec.decode(b"rest"), Ok(Decoded::More));
        assert_eq!(codec.decode(b"rest\n"), Ok(Decoded::Item(Chunk { bytes: b"rest\n", lines: 1 }, 5)));
    }

    #[test]
    fn lines_of_one_length_are_known_without_looking_at_each() {
        assert!(Chunk { bytes: b"ab\r\ncd\r\n", lines: 2 }.is_all(4));
        assert!(!Chunk { bytes: b"ab\r\ncde\r\n", lines: 2 }.is_all(4));
        let chunk = Chunk { bytes: b"ab\r\n\r\ncde \r\n", lines: 3 };
        assert_eq!(chunk.each().collect::<Vec<_>>(), [&b"ab"[..], b"cde"]);
    }
}
