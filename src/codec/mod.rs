//! Items out of bytes, and back.
//!
//! A [`Codec`] knows nothing of the loop and does no I/O: it is a function of the bytes that it is
//! given, so that it can be tested, fuzzed and used without a socket.
//!
//! | codec | an item on the wire | given and sent as | its `max` counts |
//! |---|---|---|---|
//! | [`Raw`] | whatever bytes are there | `&[u8]` | – |
//! | [`Lines`] | text up to LF or CR LF | `&str` | the line without its end |
//! | [`ByteLines`] | bytes up to LF or CR LF | `&[u8]` | the line without its end |
//! | [`Delimited<D>`](Delimited) | bytes up to the [`Delimiter`] `D` | `&[u8]` | what is before the delimiter |
//! | [`Fixed<N>`](Fixed) | N bytes | `&[u8; N]` | – |
//! | [`LengthPrefixed<H>`](LengthPrefixed) | a [`Header`] `H` that says how many bytes follow | [`Frame<H>`](Frame) | the payload |
//! | [`Netstring`] | `<length>:<bytes>,` | `&[u8]` | the bytes between `:` and `,` |
//!
//! A limit is [`DEFAULT_MAX`] unless `max` sets another. It guards what comes in: what goes out is the
//! program's own, and limited by its queue and by what the format can express.
//!
//! # Example
//! A line that arrives in two pieces. Whoever calls keeps the bytes that were not used yet:
//!
//! ```
//! use eventdispatcher::codec::{Codec, Decoded, Lines};
//!
//! let mut lines = Lines::new().max(80);
//! let mut buffer = b"one\r\ntw".to_vec();
//!
//! assert_eq!(lines.decode(&buffer)?, Decoded::Item("one", 5));
//! buffer.drain(..5);
//! assert_eq!(lines.decode(&buffer)?, Decoded::More);
//! buffer.extend_from_slice(b"o\n");
//! assert_eq!(lines.decode(&buffer)?, Decoded::Item("two", 4));
//!
//! let mut out = Vec::new();
//! Lines::encode("three", &mut out)?;
//! assert_eq!(out, b"three\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod delimited;
mod error;
mod fixed;
mod length_prefixed;
mod lines;
mod netstring;
mod raw;
mod scan;

pub use delimited::{Delimited, Delimiter};
pub use error::{DecodeError, EncodeError};
pub use fixed::Fixed;
pub use length_prefixed::{Frame, Header, HeaderBytes, LengthPrefixed, U8, U16Be, U16Le, U32Be, U32Le};
pub use lines::{ByteLines, Lines};
pub use netstring::Netstring;
pub use raw::Raw;

/// The longest item that a codec of this module accepts unless told otherwise: 1 MiB.
pub const DEFAULT_MAX: usize = 1 << 20;

/// How the bytes of a stream become items, and items become bytes.
///
/// Decoding may keep state (how far it looked, what it read of a header), so each connection has a
/// codec of its own. Encoding has none: it must be possible to encode for a connection
/// while only its id is at hand. What differs between codecs of one family
/// (a delimiter, the layout of a header) is therefore a type parameter.
pub trait Codec: 'static {
    /// What a handler gets: it may borrow from the input and from the codec.
    type In<'a>;
    /// What can be sent.
    type Out<'a>;

    /// Looks for an item at the start of `input`.
    ///
    /// Is called again, after [`Decoded::More`], with the same bytes and at least one more behind
    /// them; after the other two, with what was not used. An implementation must not look
    /// twice at bytes that it has seen (that is quadratic in the length of an item), and must refuse
    /// what is longer than its limit as soon as that can be known.
    ///
    /// # Errors
    /// When the bytes can't be the start of an item. The connection is then ended: a
    /// stream has no place to go on from.
    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<Self::In<'a>>, DecodeError>;

    /// What to make of `rest`, the bytes for which [`decode`](Self::decode) said
    /// [`Decoded::More`], now that the other side has ended the stream. By default they are dropped.
    ///
    /// # Errors
    /// When the end may not come here.
    fn finish<'a>(&'a mut self, rest: &'a [u8]) -> Result<Option<Self::In<'a>>, DecodeError> {
        let _ = rest;
        Ok(None)
    }

    /// Appends the bytes of `item` to `out`.
    ///
    /// # Errors
    /// When the item has no representation (a line with a line end in it, a payload that is longer
    /// than its length field can say). What was appended by then is taken back by the caller.
    fn encode(item: Self::Out<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError>;
}

/// What [`Codec::decode`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded<T> {
    /// An item, and how many bytes of the input it took: at least one.
    Item(T, usize),
    /// So many bytes, at least one, that mean nothing: an empty line, padding.
    Skip(usize),
    /// Nothing yet: more bytes are needed.
    More,
}
