//! Codecs: a stream has the same items in whatever pieces it comes, and an item that is written is read again. The first byte chooses
//! the codec, the second the size of the pieces.
#![no_main]

use eventdispatcher::codec::{
    ByteLines, Codec, Decoded, Delimited, Delimiter, Fixed, Frame, Header, LengthPrefixed, Lines, Netstring,
    Raw, U8, U16Be, U32Le,
};
use eventdispatcher::connections::clacks::{ClacksLines, Line};
use eventdispatcher::dispatcher::Messages;
use libfuzzer_sys::fuzz_target;

/// Small, so that it is reached.
const MAX: usize = 40;

struct End;

impl Delimiter for End {
    const BYTES: &'static [u8] = b"\r\n.";
}

fuzz_target!(|bytes: &[u8]| {
    let [codec, size, stream @ ..] = bytes else { return };
    let size = usize::from(*size) + 1;
    match codec % 10 {
        0 => {
            // Its items are the pieces.
            let items = decode(&mut Raw, stream, size, |bytes| bytes.to_vec());
            assert_eq!(items.0.concat(), stream);
        }
        1 => check(|| Lines::new().max(MAX), stream, size, |line| line_of(line.as_bytes())),
        2 => check(|| ByteLines::new().max(MAX).keep_last(true), stream, size, line_of),
        3 => check(
            || Delimited::<End>::new().max(MAX),
            stream,
            size,
            |item| rewrite::<Delimited<End>>(item, item),
        ),
        4 => check(Fixed::<5>::new, stream, size, |item| rewrite::<Fixed<5>>(item, item)),
        5 => check(|| LengthPrefixed::<U8>::new().max(MAX), stream, size, |frame| framed(frame)),
        6 => check(|| LengthPrefixed::<U16Be>::new().max(MAX), stream, size, |frame| framed(frame)),
        7 => check(|| LengthPrefixed::<U32Le>::new().max(MAX), stream, size, |frame| framed(frame)),
        8 => check(|| Netstring::new().max(MAX), stream, size, |item| rewrite::<Netstring>(item, item)),
        _ => {
            check(
                || Messages::with_max(MAX),
                stream,
                size,
                |item| match item {
                    Ok(message) => format!("{message:?}").into_bytes(),
                    Err(error) => error.to_string().into_bytes(),
                },
            );
            check(
                || ClacksLines::new().max(MAX),
                stream,
                size,
                |item| match item {
                    Line::Line(line) => rewrite::<ClacksLines>(&[line], line),
                    Line::Over(_) | Line::TooLong => UNWRITABLE.to_vec(),
                },
            );
        }
    }
});

/// Stands for an item that can't be written.
const UNWRITABLE: &[u8] = b"unwritable";

/// A line that ends with CR can only be read: what is written would lose it.
fn line_of(line: &[u8]) -> Vec<u8> {
    if line.ends_with(b"\r") { UNWRITABLE.to_vec() } else { rewrite::<ByteLines>(line, line) }
}

fn framed<H: Header>(frame: Frame<'_, H>) -> Vec<u8> {
    rewrite::<LengthPrefixed<H>>(Frame { header: frame.header, payload: frame.payload }, frame.payload)
}

/// What is written of an item; it has the item's bytes in it.
fn rewrite<C: Codec>(item: C::Out<'_>, bytes: &[u8]) -> Vec<u8> {
    let mut written = vec![b'x'];
    C::encode(item, &mut written).unwrap_or_else(|error| panic!("{bytes:?} can't be written: {error}"));
    let written = written.split_off(1);
    assert!(written.windows(bytes.len().max(1)).any(|part| part == bytes) || bytes.is_empty());
    written
}

/// Decodes a stream as a whole and in pieces, and what is written of its items, which has the same items and nothing else.
fn check<C: Codec>(make: impl Fn() -> C, stream: &[u8], size: usize, write: impl Fn(C::In<'_>) -> Vec<u8>) {
    let whole = decode(&mut make(), stream, usize::MAX, &write);
    let pieces = decode(&mut make(), stream, size, &write);
    assert_eq!(whole, pieces);
    let (items, _) = whole;
    if std::any::TypeId::of::<C>() == std::any::TypeId::of::<Messages>()
        || items.iter().any(|item| item == UNWRITABLE)
    {
        return; // what is shown of its items is for people
    }
    let again = decode(&mut make(), &items.concat(), size, &write);
    assert_eq!(again, (items, true));
}

/// What `write` gives for each item, and whether the stream could be decoded to its end.
fn decode<C: Codec>(
    codec: &mut C,
    stream: &[u8],
    size: usize,
    write: impl Fn(C::In<'_>) -> Vec<u8>,
) -> (Vec<Vec<u8>>, bool) {
    let (mut buffer, mut items) = (Vec::new(), Vec::new());
    for piece in stream.chunks(size) {
        buffer.extend_from_slice(piece);
        while !buffer.is_empty() {
            let used = match codec.decode(&buffer) {
                Ok(Decoded::Item(item, used)) => {
                    items.push(write(item));
                    used
                }
                Ok(Decoded::Skip(used)) => used,
                Ok(Decoded::More) => break,
                Err(_) => return (items, false),
            };
            assert!((1..=buffer.len()).contains(&used), "{used} of {} bytes", buffer.len());
            buffer.drain(..used);
        }
    }
    match codec.finish(&buffer) {
        Ok(last) => items.extend(last.map(write)),
        Err(_) => return (items, false),
    }
    (items, true)
}
