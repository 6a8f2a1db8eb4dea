//! Items out of bytes, and back.
//!
//! A [`Codec`] knows nothing of the loop and does no I/O: it is a function of the bytes that it is
//! given, so that it can be tested, fuzzed and used without a socket.

mod error;

pub use error::{DecodeError, EncodeError};

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
