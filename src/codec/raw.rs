use super::{Codec, DecodeError, Decoded, EncodeError};

/// No format: an item is whatever bytes are there.
///
/// Where one item ends and the next begins says nothing, it depends on how the bytes arrived. It
/// has no limit of its own, for an item is never longer than the input buffer of the connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl Codec for Raw {
    type In<'a> = &'a [u8];
    type Out<'a> = &'a [u8];

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
        Ok(if input.is_empty() { Decoded::More } else { Decoded::Item(input, input.len()) })
    }

    fn encode(item: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(item);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_there_is_is_one_item() {
        let mut codec = Raw;
        assert_eq!(codec.decode(b""), Ok(Decoded::More));
        assert_eq!(codec.decode(b"a\n\0b"), Ok(Decoded::Item(&b"a\n\0b"[..], 4)));
        assert_eq!(codec.finish(b""), Ok(None));
    }

    #[test]
    fn bytes_are_sent_as_they_are() {
        let mut out = b"before".to_vec();
        assert_eq!(Raw::encode(b"\0\r\n", &mut out), Ok(()));
        assert_eq!(out, b"before\0\r\n");
    }
}
