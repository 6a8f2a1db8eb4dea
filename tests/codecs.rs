//! What holds for every codec: what is encoded comes out again however the stream cuts it, and no
//! bytes, however wrong, break a rule of the trait.

use std::fmt::Debug;

use eventdispatcher::codec::{
    ByteLines, Codec, DecodeError, Decoded, Delimited, Delimiter, EncodeError, Fixed, Frame, Header,
    LengthPrefixed, Lines, Netstring, Raw, U8, U16Be, U16Le, U32Be, U32Le,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

#[derive(Debug)]
struct Comma;

impl Delimiter for Comma {
    const BYTES: &'static [u8] = b",";
}

/// Overlaps with itself, so that many a start of it comes to nothing.
#[derive(Debug)]
struct Aabaa;

impl Delimiter for Aabaa {
    const BYTES: &'static [u8] = b"aabaa";
}

/// A header with a wrong form, and a value beside the length.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tagged(u8);

impl Header for Tagged {
    type Bytes = [u8; 3];

    fn read(bytes: &[u8; 3]) -> Result<(Self, usize), DecodeError> {
        match *bytes {
            [b'a', tag, len] => Ok((Self(tag), len.into())),
            _ => Err(DecodeError::invalid("no a", 0)),
        }
    }

    fn write(&self, payload_len: usize) -> Result<[u8; 3], EncodeError> {
        let len = u8::try_from(payload_len).map_err(|_| EncodeError::TooLong { limit: 255 })?;
        Ok([b'a', self.0, len])
    }
}

/// An item that outlives the bytes that it came from.
trait Own {
    type Owned: Debug + PartialEq;
    fn own(self) -> Self::Owned;
}

impl Own for &[u8] {
    type Owned = Vec<u8>;
    fn own(self) -> Vec<u8> {
        self.to_vec()
    }
}

impl<const N: usize> Own for &[u8; N] {
    type Owned = [u8; N];
    fn own(self) -> [u8; N] {
        *self
    }
}

impl Own for &str {
    type Owned = String;
    fn own(self) -> String {
        self.to_owned()
    }
}

impl<H: Header + PartialEq> Own for Frame<'_, H> {
    type Owned = (H, Vec<u8>);
    fn own(self) -> (H, Vec<u8>) {
        (self.header, self.payload.to_vec())
    }
}

/// All items of a stream that arrives in `pieces` and then ends, and what ended it: the rest that was
/// left, or the error.
fn decode<C, T>(mut codec: C, pieces: &[&[u8]]) -> (Vec<T>, Result<usize, DecodeError>)
where
    C: Codec,
    for<'a> C::In<'a>: Own<Owned = T>,
{
    let mut items = Vec::new();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while !buffer.is_empty() {
            let used = match codec.decode(&buffer) {
                Ok(Decoded::Item(item, used)) => {
                    items.push(item.own());
                    used
                }
                Ok(Decoded::Skip(used)) => used,
                Ok(Decoded::More) => break,
                Err(error) => return (items, Err(error)),
            };
            assert!((1..=buffer.len()).contains(&used), "{used} of {} bytes were used", buffer.len());
            buffer.drain(..used);
        }
    }
    let end = codec.finish(&buffer).map(|last| {
        items.extend(last.map(Own::own));
        buffer.len()
    });
    (items, end)
}

/// `bytes`, cut at `cuts`.
fn pieces<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

/// The same items come out, and the same end, whole, cut, and byte by byte.
fn same_in_all_cuts<C, T>(codec: &C, bytes: &[u8], cuts: &[Index]) -> (Vec<T>, Result<usize, DecodeError>)
where
    C: Codec + Clone,
    T: Debug + PartialEq,
    for<'a> C::In<'a>: Own<Owned = T>,
{
    let whole = decode(codec.clone(), &[bytes]);
    assert_eq!(decode(codec.clone(), &pieces(bytes, cuts)), whole, "cut, of {:?}", bytes.escape_ascii());
    let bytewise: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(decode(codec.clone(), &bytewise), whole, "bytewise, of {:?}", bytes.escape_ascii());
    whole
}

/// Items that were encoded, each with `encode`, come out again. Those that can't be encoded are left
/// out, as a connection does.
fn round_trip<C, T>(codec: &C, items: Vec<T>, encode: impl Fn(&T, &mut Vec<u8>) -> bool, cuts: &[Index])
where
    C: Codec + Clone,
    T: Debug + PartialEq,
    for<'a> C::In<'a>: Own<Owned = T>,
{
    let mut bytes = Vec::new();
    let mut sent = Vec::new();
    for item in items {
        let before = bytes.len();
        if encode(&item, &mut bytes) {
            assert_ne!(bytes.len(), before, "nothing was written for {item:?}");
            sent.push(item);
        } else {
            bytes.truncate(before);
        }
    }
    assert_eq!(same_in_all_cuts(codec, &bytes, cuts), (sent, Ok(0)));
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..8)
}

/// Bytes of which most mean something to one of the codecs.
fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let telling = select(b"aaaaabbb,,:0123456789\r\n\r\n\0\x01\x02\x03\xff\xc3\xa4".to_vec());
    vec(prop_oneof![8 => telling, 1 => any::<u8>()], 0..max)
}

fn items() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(bytes(20), 0..10)
}

fn frames<H: Header + PartialEq>(
    codec: &LengthPrefixed<H>,
    header: impl Fn(usize) -> H,
    items: &[Vec<u8>],
    cuts: &[Index],
) {
    let items = items.iter().enumerate().map(|(i, payload)| (header(i), payload.clone())).collect();
    let encode = |(header, payload): &(H, Vec<u8>), out: &mut Vec<u8>| {
        LengthPrefixed::encode(Frame { header: *header, payload }, out).is_ok()
    };
    round_trip(codec, items, encode, cuts);
}

/// Pieces of what the codecs read, whole and not.
fn scraps() -> impl Strategy<Value = Vec<u8>> {
    let good: Vec<&[u8]> =
        vec![b"3:a,b,", b"0:,", b"11:", b"aabaa", b"a\r\n", b"a\x01\x02", b"\0\0", "ä,".as_bytes()];
    prop_oneof![1 => select(good).prop_map(<[u8]>::to_vec), 1 => bytes(4)]
}

/// No item is longer than the limit, and the cuts change nothing.
fn limited<C, T>(codec: &C, bytes: &[u8], cuts: &[Index], max: usize, len: impl Fn(&T) -> usize)
where
    C: Codec + Clone,
    T: Debug + PartialEq,
    for<'a> C::In<'a>: Own<Owned = T>,
{
    let (items, _) = same_in_all_cuts(codec, bytes, cuts);
    assert!(items.iter().all(|item| len(item) <= max), "{items:?}");
}

proptest! {
    #[test]
    fn what_is_encoded_comes_out_again(items in items(), texts in vec("[ab\r\nä€\0]{0,9}", 0..9), cuts in cuts()) {
        let plain = || items.clone();
        round_trip(&ByteLines::new(), plain(), |item, out| ByteLines::encode(item, out).is_ok(), &cuts);
        round_trip(&Lines::new(), texts, |item, out| Lines::encode(item, out).is_ok(), &cuts);
        round_trip(&Netstring::new(), plain(), |item, out| Netstring::encode(item, out).is_ok(), &cuts);
        type Commas = Delimited<Comma>;
        round_trip(&Commas::new(), plain(), |item, out| Commas::encode(item, out).is_ok(), &cuts);
        type Overlaps = Delimited<Aabaa>;
        round_trip(&Overlaps::new(), plain(), |item, out| Overlaps::encode(item, out).is_ok(), &cuts);
        let threes = items.iter().filter_map(|item| item.first_chunk::<3>().copied()).collect();
        round_trip(&Fixed::<3>::new(), threes, |item, out| Fixed::encode(item, out).is_ok(), &cuts);
        frames(&LengthPrefixed::new(), |_| U8, &items, &cuts);
        frames(&LengthPrefixed::new(), |_| U16Be, &items, &cuts);
        frames(&LengthPrefixed::new(), |_| U16Le, &items, &cuts);
        frames(&LengthPrefixed::new(), |_| U32Be, &items, &cuts);
        frames(&LengthPrefixed::new(), |_| U32Le, &items, &cuts);
        frames(&LengthPrefixed::new(), |i| Tagged(i as u8), &items, &cuts);
    }

    #[test]
    fn raw_bytes_come_out_in_any_pieces_but_all(bytes in bytes(60), cuts in cuts()) {
        let mut sent = Vec::new();
        prop_assert_eq!(Raw::encode(&bytes, &mut sent), Ok(()));
        let (items, end) = decode(Raw, &pieces(&sent, &cuts));
        prop_assert_eq!((items.concat(), end), (bytes, Ok(0)));
    }

    #[test]
    fn any_bytes_have_one_meaning(bytes in vec(scraps(), 0..30), max in 0..12_usize, keep in any::<bool>(), cuts in cuts()) {
        let bytes = bytes.concat();
        let plain = Vec::<u8>::len;
        limited(&ByteLines::new().max(max).keep_last(keep), &bytes, &cuts, max, plain);
        limited(&Lines::new().max(max).keep_last(keep), &bytes, &cuts, max, String::len);
        limited(&Delimited::<Comma>::new().max(max).keep_last(keep), &bytes, &cuts, max, plain);
        limited(&Delimited::<Aabaa>::new().max(max).keep_last(keep), &bytes, &cuts, max, plain);
        limited(&Netstring::new().max(max), &bytes, &cuts, max, plain);
        limited(&LengthPrefixed::<U8>::new().max(max), &bytes, &cuts, max, |(_, payload)| payload.len());
        limited(&LengthPrefixed::<U16Le>::new().max(max), &bytes, &cuts, max, |(_, payload)| payload.len());
        limited(&LengthPrefixed::<U32Be>::new().max(max), &bytes, &cuts, max, |(_, payload)| payload.len());
        limited(&LengthPrefixed::<Tagged>::new().max(max), &bytes, &cuts, max, |(_, payload)| payload.len());
        limited(&Fixed::<5>::new(), &bytes, &cuts, 5, |item| item.len());
    }
}
