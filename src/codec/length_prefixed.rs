use std::fmt;

use super::{Codec, DEFAULT_MAX, DecodeError, Decoded, EncodeError};

/// What stands before each payload of a [`LengthPrefixed`] stream and says how long that is.
///
/// The value itself holds what else the header says (a channel, a sequence number), which the
/// handler gets and the sender gives. The length is not part of it: it is that of the payload.
pub trait Header: fmt::Debug + Copy + 'static {
    /// The bytes of the header on the wire: `[u8; N]`.
    type Bytes: HeaderBytes;

    /// The header that stands in `bytes`, and how many bytes of payload follow it.
    ///
    /// # Errors
    /// When `bytes` are no header.
    fn read(bytes: &Self::Bytes) -> Result<(Self, usize), DecodeError>;

    /// The header before a payload of `payload_len` bytes.
    ///
    /// # Errors
    /// When the header can't express it: usually [`EncodeError::TooLong`].
    fn write(&self, payload_len: usize) -> Result<Self::Bytes, EncodeError>;
}

/// Implemented for `[u8; N]`, and for nothing else: the bytes of a [`Header`].
pub trait HeaderBytes: array::Array {}

impl<const N: usize> HeaderBytes for [u8; N] {}

mod array {
    /// What is needed of an array whose length is not at hand as a constant parameter.
    pub trait Array: Sized {
        const LEN: usize;
        fn split_from(input: &[u8]) -> Option<(&Self, &[u8])>;
        fn as_bytes(&self) -> &[u8];
    }

    impl<const N: usize> Array for [u8; N] {
        const LEN: usize = N;

        fn split_from(input: &[u8]) -> Option<(&Self, &[u8])> {
            input.split_first_chunk()
        }

        fn as_bytes(&self) -> &[u8] {
            self
        }
    }
}

/// An item of [`LengthPrefixed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a, H> {
    /// What stands before the payload, except the length.
    pub header: H,
    /// The bytes that the header announced; may be empty.
    pub payload: &'a [u8],
}

/// Payloads with a header of fixed size before each, in which their length stands.
///
/// [`U8`], [`U16Be`], [`U16Le`], [`U32Be`] and [`U32Le`] are headers that are nothing but the length.
/// A payload that is longer than the limit is refused as soon as its header is there; one of no bytes
/// is an item. A stream that ends within a frame is an error.
///
/// # Example
/// A header with more in it, that of FLAP, the framing of the OSCAR protocol:
///
/// ```
/// use eventdispatcher::codec::{Codec, DecodeError, Decoded, EncodeError, Frame, Header, LengthPrefixed};
///
/// #[derive(Debug, Clone, Copy, PartialEq)]
/// struct Flap {
///     channel: u8,
///     sequence: u16,
/// }
///
/// impl Header for Flap {
///     type Bytes = [u8; 6];
///
///     fn read(bytes: &[u8; 6]) -> Result<(Self, usize), DecodeError> {
///         let [0x2a, channel, s1, s0, l1, l0] = *bytes else {
///             return Err(DecodeError::invalid("a FLAP frame begins with 0x2a", 0));
///         };
///         let flap = Self { channel, sequence: u16::from_be_bytes([s1, s0]) };
///         Ok((flap, u16::from_be_bytes([l1, l0]).into()))
///     }
///
///     fn write(&self, payload_len: usize) -> Result<[u8; 6], EncodeError> {
///         let limit = u16::MAX.into();
///         let length = u16::try_from(payload_len).map_err(|_| EncodeError::TooLong { limit })?;
///         let ([s1, s0], [l1, l0]) = (self.sequence.to_be_bytes(), length.to_be_bytes());
///         Ok([0x2a, self.channel, s1, s0, l1, l0])
///     }
/// }
///
/// let frame = Frame { header: Flap { channel: 2, sequence: 258 }, payload: b"snac" };
/// let mut out = Vec::new();
/// LengthPrefixed::encode(frame, &mut out)?;
/// assert_eq!(out, b"\x2a\x02\x01\x02\x00\x04snac");
///
/// let mut frames = LengthPrefixed::<Flap>::new().max(8192);
/// assert_eq!(frames.decode(&out)?, Decoded::Item(frame, 10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LengthPrefixed<H> {
    max: usize,
    /// The header of the frame under way, and how long its payload will be.
    header: Option<(H, usize)>,
}

impl<H: Header> LengthPrefixed<H> {
    /// Payloads of up to [`DEFAULT_MAX`] bytes.
    pub fn new() -> Self {
        const { assert!(<H::Bytes as array::Array>::LEN > 0, "a header has at least one byte") };
        Self { max: DEFAULT_MAX, header: None }
    }

    /// The longest payload that is accepted, in bytes without the header.
    #[must_use]
    pub fn max(mut self, bytes: usize) -> Self {
        self.max = bytes;
        self
    }
}

impl<H: Header> Default for LengthPrefixed<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Header> Codec for LengthPrefixed<H> {
    type In<'a> = Frame<'a, H>;
    type Out<'a> = Frame<'a, H>;

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<Frame<'a, H>>, DecodeError> {
        let Some((bytes, rest)) = <H::Bytes as array::Array>::split_from(input) else {
            return Ok(Decoded::More);
        };
        let (header, len) = match self.header {
            Some(known) => known,
            None => {
                let (header, len) = H::read(bytes)?;
                if len > self.max {
                    return Err(DecodeError::TooLong { limit: self.max });
                }
                *self.header.insert((header, len))
            }
        };
        Ok(match rest.get(..len) {
            Some(payload) => {
                self.header = None;
                Decoded::Item(Frame { header, payload }, <H::Bytes as array::Array>::LEN + len)
            }
            None => Decoded::More,
        })
    }

    fn finish<'a>(&'a mut self, rest: &'a [u8]) -> Result<Option<Frame<'a, H>>, DecodeError> {
        self.header = None;
        if rest.is_empty() { Ok(None) } else { Err(DecodeError::Truncated) }
    }

    fn encode(item: Frame<'_, H>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let header = item.header.write(item.payload.len())?;
        out.extend_from_slice(array::Array::as_bytes(&header));
        out.extend_from_slice(item.payload);
        Ok(())
    }
}

macro_rules! plain_length {
    ($name:ident, $int:ty, $from:ident, $to:ident, $what:literal) => {
        #[doc = concat!("A [`Header`] that is nothing but the length of the payload, as ", $what, ".")]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name;

        impl Header for $name {
            type Bytes = [u8; size_of::<$int>()];

            fn read(bytes: &Self::Bytes) -> Result<(Self, usize), DecodeError> {
                // More than fits into a usize is more than any limit.
                Ok((Self, usize::try_from(<$int>::$from(*bytes)).unwrap_or(usize::MAX)))
            }

            fn write(&self, payload_len: usize) -> Result<Self::Bytes, EncodeError> {
                let limit = usize::try_from(<$int>::MAX).unwrap_or(usize::MAX);
                let len = <$int>::try_from(payload_len).map_err(|_| EncodeError::TooLong { limit })?;
                Ok(len.$to())
            }
        }
    };
}

plain_length!(U8, u8, from_be_bytes, to_be_bytes, "one byte");
plain_length!(U16Be, u16, from_be_bytes, to_be_bytes, "two bytes, the high one first");
plain_length!(U16Le, u16, from_le_bytes, to_le_bytes, "two bytes, the low one first");
plain_length!(U32Be, u32, from_be_bytes, to_be_bytes, "four bytes, the highest first");
plain_length!(U32Le, u32, from_le_bytes, to_le_bytes, "four bytes, the lowest first");

#[cfg(test)]
mod tests {
    use super::*;

    /// A kind, and a length of one byte that counts the header too.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Kind(u8);

    impl Header for Kind {
        type Bytes = [u8; 2];

        fn read(&[kind, all]: &[u8; 2]) -> Result<(Self, usize), DecodeError> {
            let len = all.checked_sub(2).ok_or(DecodeError::invalid("shorter than its header", 1))?;
            Ok((Self(kind), len.into()))
        }

        fn write(&self, payload_len: usize) -> Result<[u8; 2], EncodeError> {
            let all = u8::try_from(payload_len + 2).map_err(|_| EncodeError::TooLong { limit: 253 })?;
            Ok([self.0, all])
        }
    }

    #[test]
    fn a_frame_has_as_many_bytes_as_its_header_says() {
        fn check<H: Header + PartialEq>(input: &[u8], header: H, payload: &[u8], used: usize) {
            let mut codec = LengthPrefixed::<H>::new();
            for end in 0..used {
                assert_eq!(codec.decode(&input[..end]), Ok(Decoded::More), "{header:?}, {end} bytes");
            }
            assert_eq!(codec.decode(input), Ok(Decoded::Item(Frame { header, payload }, used)), "{header:?}");
            let mut out = Vec::new();
            assert_eq!(LengthPrefixed::encode(Frame { header, payload }, &mut out), Ok(()));
            assert_eq!(out, input[..used], "{header:?}");
        }
        check(b"\x03abcd", U8, b"abc", 4);
        check(b"\x00", U8, b"", 1);
        check(b"\x00\x03abcd", U16Be, b"abc", 5);
        check(b"\x03\x00abcd", U16Le, b"abc", 5);
        check(b"\x00\x00\x00\x03abcd", U32Be, b"abc", 7);
        check(b"\x03\x00\x00\x00abcd", U32Le, b"abc", 7);
        check(b"\x00\x00\x00\x00", U32Be, b"", 4);
        check(b"k\x05abcd", Kind(b'k'), b"abc", 5);
        check(b"k\x02", Kind(b'k'), b"", 2);
    }

    #[test]
    fn frames_follow_each_other() {
        let mut codec = LengthPrefixed::new();
        assert_eq!(codec.decode(b"\x01a\x02bc"), Ok(Decoded::Item(Frame { header: U8, payload: b"a" }, 2)));
        assert_eq!(codec.decode(b"\x02bc"), Ok(Decoded::Item(Frame { header: U8, payload: b"bc" }, 3)));
    }

    #[test]
    fn a_payload_over_the_limit_is_refused_at_its_header() {
        fn check<H: Header + PartialEq>(input: &[u8], header: H, result: Result<Option<&[u8]>, DecodeError>) {
            let mut codec = LengthPrefixed::new().max(4);
            let expected = result.map(|payload| match payload {
                Some(payload) => Decoded::Item(Frame { header, payload }, input.len()),
                None => Decoded::More,
            });
            assert_eq!(codec.decode(input), expected, "{header:?}");
        }
        let too_long = DecodeError::TooLong { limit: 4 };
        check(b"\x041234", U8, Ok(Some(b"1234")));
        check(b"\x05", U8, Err(too_long.clone()));
        check(b"\x00\x05", U16Be, Err(too_long.clone()));
        check(b"\x05\x00", U16Le, Err(too_long.clone()));
        check(b"\xff\xff\xff", U32Be, Ok(None));
        check(b"\xff\xff\xff\xff", U32Be, Err(too_long.clone()));
        check(b"k\x06", Kind(b'k'), Ok(None));
        check(b"k\x07", Kind(b'k'), Err(too_long));
    }

    #[test]
    fn a_header_that_is_none_is_refused() {
        let refused = Err(DecodeError::invalid("shorter than its header", 1));
        assert_eq!(LengthPrefixed::<Kind>::new().decode(b"k\x01"), refused);
    }

    #[test]
    fn the_end_may_come_between_frames_only() {
        let mut codec = LengthPrefixed::<U16Be>::new();
        assert_eq!(codec.finish(b""), Ok(None));
        assert_eq!(codec.finish(b"\x00"), Err(DecodeError::Truncated));
        assert_eq!(codec.decode(b"\x00\x02a"), Ok(Decoded::More));
        assert_eq!(codec.finish(b"\x00\x02a"), Err(DecodeError::Truncated));
        let frame = Frame { header: U16Be, payload: b"new" };
        assert_eq!(codec.decode(b"\x00\x03new"), Ok(Decoded::Item(frame, 5)));
    }

    #[test]
    fn a_payload_that_is_longer_than_its_length_can_say_is_not_sent() {
        fn check<H: Header>(header: H, payload_len: usize, limit: Option<usize>) {
            let mut out = Vec::new();
            let payload = vec![0; payload_len];
            let result = LengthPrefixed::encode(Frame { header, payload: &payload }, &mut out);
            let expected = limit.map_or(Ok(()), |limit| Err(EncodeError::TooLong { limit }));
            assert_eq!(result, expected, "{header:?}, {payload_len} bytes");
        }
        check(U8, 255, None);
        check(U8, 256, Some(255));
        check(U16Be, 65535, None);
        check(U16Be, 65536, Some(65535));
        check(U16Le, 65536, Some(65535));
        check(U32Le, 65536, None);
        check(Kind(0), 254, Some(253));
    }
}
