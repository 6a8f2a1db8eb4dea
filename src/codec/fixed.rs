use super::{Codec, DecodeError, Decoded, EncodeError};

/// Items of exactly `N` bytes; none (`N` = 0) does not compile.
///
/// A stream that ends within an item is an error.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fixed<const N: usize>(());

impl<const N: usize> Fixed<N> {
    /// Items of `N` bytes.
    pub const fn new() -> Self {
        const { assert!(N > 0, "an item has at least one byte") };
        Self(())
    }
}

impl<const N: usize> Codec for Fixed<N> {
    type In<'a> = &'a [u8; N];
    type Out<'a> = &'a [u8; N];

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8; N]>, DecodeError> {
        Ok(input.first_chunk().map_or(Decoded::More, |item| Decoded::Item(item, N)))
    }

    fn finish<'a>(&'a mut self, rest: &'a [u8]) -> Result<Option<&'a [u8; N]>, DecodeError> {
        if rest.is_empty() { Ok(None) } else { Err(DecodeError::Truncated) }
    }

    fn encode(item: &[u8; N], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(item);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_has_exactly_its_count_of_bytes() {
        let mut codec = Fixed::<3>::new();
        assert_eq!(codec.decode(b""), Ok(Decoded::More));
        assert_eq!(codec.decode(b"ab"), Ok(Decoded::More));
        assert_eq!(codec.decode(b"abc"), Ok(Decoded::Item(b"abc", 3)));
        assert_eq!(codec.decode(b"abcd"), Ok(Decoded::Item(b"abc", 3)));
    }

    #[test]
    fn the_end_may_come_between_items_only() {
        let mut codec = Fixed::<3>::new();
        assert_eq!(codec.finish(b""), Ok(None));
        assert_eq!(codec.finish(b"ab"), Err(DecodeError::Truncated));
    }

    #[test]
    fn an_item_is_sent_as_it_is() {
        let mut out = Vec::new();
        assert_eq!(Fixed::encode(b"a\0\n", &mut out), Ok(()));
        assert_eq!(out, b"a\0\n");
    }
}
