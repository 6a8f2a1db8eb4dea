use std::fmt;
use std::marker::PhantomData;

use memchr::{memchr, memmem};

use super::scan::Scan;
use super::{Codec, DEFAULT_MAX, DecodeError, Decoded, EncodeError};

/// The bytes at which an item of [`Delimited`] ends.
pub trait Delimiter: 'static {
    /// One byte or more; none does not compile.
    const BYTES: &'static [u8];
}

/// Items that end at a delimiter, which is not part of them.
///
/// An item ends where the delimiter begins first, and may be empty.
///
/// ```
/// use eventdispatcher::codec::{Codec, Decoded, Delimited, Delimiter};
///
/// /// The end of an XML stanza in NETCONF 1.0 (RFC 6242).
/// struct EndOfMessage;
///
/// impl Delimiter for EndOfMessage {
///     const BYTES: &'static [u8] = b"]]>]]>";
/// }
///
/// let mut messages = Delimited::<EndOfMessage>::new();
/// assert_eq!(messages.decode(b"<hello/>]]>]")?, Decoded::More);
/// assert_eq!(messages.decode(b"<hello/>]]>]]>")?, Decoded::Item(&b"<hello/>"[..], 14));
/// # Ok::<(), eventdispatcher::codec::DecodeError>(())
/// ```
pub struct Delimited<D> {
    scan: Scan,
    finder: memmem::Finder<'static>,
    max: usize,
    keep_last: bool,
    delimiter: PhantomData<fn() -> D>,
}

impl<D: Delimiter> Delimited<D> {
    /// Items of up to [`DEFAULT_MAX`] bytes; what follows the last delimiter is dropped.
    pub fn new() -> Self {
        const { assert!(!D::BYTES.is_empty(), "a delimiter has at least one byte") };
        Self {
            scan: Scan::default(),
            finder: memmem::Finder::new(D::BYTES),
            max: DEFAULT_MAX,
            keep_last: false,
            delimiter: PhantomData,
        }
    }

    /// The longest item that is accepted, in bytes without the delimiter.
    #[must_use]
    pub fn max(mut self, bytes: usize) -> Self {
        self.max = bytes;
        self
    }

    /// Whether bytes behind the last delimiter are an item too once the stream has ended.
    #[must_use]
    pub fn keep_last(mut self, keep: bool) -> Self {
        self.keep_last = keep;
        self
    }

    fn too_long(&self) -> DecodeError {
        DecodeError::TooLong { limit: self.max }
    }
}

impl<D: Delimiter> Default for Delimited<D> {
    fn default() -> Self {
        Self::new()
    }
}

// Not derived, for a delimiter is but a name and needs neither.
impl<D> Clone for Delimited<D> {
    fn clone(&self) -> Self {
        Self { scan: self.scan.clone(), finder: self.finder.clone(), delimiter: PhantomData, ..*self }
    }
}

impl<D: Delimiter> fmt::Debug for Delimited<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delimited")
            .field("delimiter", &D::BYTES.escape_ascii().to_string())
            .field("scan", &self.scan)
            .field("max", &self.max)
            .field("keep_last", &self.keep_last)
            .finish_non_exhaustive()
    }
}

impl<D: Delimiter> Codec for Delimited<D> {
    type In<'a> = &'a [u8];
    type Out<'a> = &'a [u8];

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
        let longest = self.max.saturating_add(D::BYTES.len());
        let found = self.scan.find(input, longest, D::BYTES.len(), |bytes| match D::BYTES {
            [byte] => memchr(*byte, bytes),
            _ => self.finder.find(bytes),
        });
        match found {
            Some(end) => Ok(Decoded::Item(&input[..end], end + D::BYTES.len())),
            None if input.len() > self.max && input.len() - begun(D::BYTES, input) > self.max => {
                Err(self.too_long())
            }
            None => Ok(Decoded::More),
        }
    }

    fn finish<'a>(&'a mut self, rest: &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
        self.scan.reset();
        if !self.keep_last || rest.is_empty() {
            Ok(None)
        } else if rest.len() > self.max {
            Err(self.too_long())
        } else {
            Ok(Some(rest))
        }
    }

    fn encode(item: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        out.extend_from_slice(item);
        out.extend_from_slice(D::BYTES);
        // Looked for in both together: the end of the item and the start of the delimiter may
        // make up a delimiter too (`x-` before `--`).
        let found = match D::BYTES {
            [byte] => memchr(*byte, &out[start..]),
            _ => memmem::find(&out[start..], D::BYTES),
        };
        if found == Some(item.len()) {
            Ok(())
        } else {
            Err(EncodeError::invalid("an item can't contain its delimiter"))
        }
    }
}

/// How many bytes at the end of `input` may be the start of a delimiter.
fn begun(delimiter: &[u8], input: &[u8]) -> usize {
    (1..delimiter.len()).rev().find(|&len| input.ends_with(&delimiter[..len])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nul;
    impl Delimiter for Nul {
        const BYTES: &'static [u8] = b"\0";
    }

    struct Aab;
    impl Delimiter for Aab {
        const BYTES: &'static [u8] = b"aab";
    }

    struct Dashes;
    impl Delimiter for Dashes {
        const BYTES: &'static [u8] = b"--";
    }

    const LIMIT_4: DecodeError = DecodeError::TooLong { limit: 4 };

    fn check<D: Delimiter>(input: &[u8], result: Result<Decoded<&[u8]>, DecodeError>) {
        assert_eq!(Delimited::<D>::new().max(4).decode(input), result, "{:?}", input.escape_ascii());
    }

    #[test]
    fn an_item_ends_at_the_first_delimiter() {
        check::<Nul>(b"ab\0c\0", Ok(Decoded::Item(b"ab", 3)));
        check::<Nul>(b"\0", Ok(Decoded::Item(b"", 1)));
        check::<Nul>(b"\n\r\0", Ok(Decoded::Item(b"\n\r", 3)));
        check::<Aab>(b"xaab", Ok(Decoded::Item(b"x", 4)));
        check::<Aab>(b"aaaab", Ok(Decoded::Item(b"aa", 5)));
        check::<Aab>(b"aabaab", Ok(Decoded::Item(b"", 3)));
        check::<Dashes>(b"x---", Ok(Decoded::Item(b"x", 3)));
    }

    #[test]
    fn without_a_delimiter_more_is_needed() {
        for input in [&b""[..], b"a", b"aa", b"xaa", b"aba", b"baba"] {
            check::<Aab>(input, Ok(Decoded::More));
        }
    }

    #[test]
    fn an_item_is_too_long_as_soon_as_that_is_certain() {
        check::<Nul>(b"1234", Ok(Decoded::More));
        check::<Nul>(b"12345", Err(LIMIT_4));
        check::<Nul>(b"1234\0", Ok(Decoded::Item(b"1234", 5)));
        check::<Nul>(b"12345\0", Err(LIMIT_4));
        check::<Aab>(b"12345", Err(LIMIT_4));
        check::<Aab>(b"1234a", Ok(Decoded::More));
        check::<Aab>(b"1234aa", Ok(Decoded::More));
        check::<Aab>(b"1234aaa", Err(LIMIT_4));
        check::<Aab>(b"1234ab", Err(LIMIT_4));
        check::<Aab>(b"12aaa", Ok(Decoded::More));
        check::<Aab>(b"1234aab", Ok(Decoded::Item(b"1234", 7)));
        check::<Aab>(b"12345aab", Err(LIMIT_4));
    }

    #[test]
    fn the_unfinished_last_item_is_kept_on_demand() {
        fn check(keep: bool, rest: &[u8], result: Result<Option<&[u8]>, DecodeError>) {
            assert_eq!(Delimited::<Aab>::new().max(4).keep_last(keep).finish(rest), result, "{rest:?}");
        }
        check(false, b"end", Ok(None));
        check(true, b"", Ok(None));
        check(true, b"end", Ok(Some(b"end")));
        check(true, b"1234a", Err(LIMIT_4));
    }

    #[test]
    fn an_item_with_its_delimiter_in_it_is_not_sent() {
        fn check<D: Delimiter>(item: &[u8], sent: Option<&[u8]>) {
            let mut out = Vec::new();
            let result = Delimited::<D>::encode(item, &mut out).map(|()| out.as_slice());
            let refused = EncodeError::invalid("an item can't contain its delimiter");
            assert_eq!(result, sent.ok_or(refused), "{:?}", item.escape_ascii());
        }
        check::<Nul>(b"", Some(b"\0"));
        check::<Nul>(b"a\n", Some(b"a\n\0"));
        check::<Nul>(b"a\0", None);
        check::<Aab>(b"xa", Some(b"xaaab"));
        check::<Aab>(b"xaab", None);
        check::<Dashes>(b"-x", Some(b"-x--"));
        check::<Dashes>(b"x-", None);
    }

    #[test]
    fn a_clone_and_its_text_need_nothing_of_the_delimiter() {
        let codec = Delimited::<Nul>::new().max(7).clone();
        assert!(format!("{codec:?}").starts_with(r#"Delimited { delimiter: "\\x00""#), "{codec:?}");
    }
}
