use std::borrow::Cow;
use std::fmt;

/// Why bytes are no item.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The item is, or says that it will be, longer than the limit in bytes.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The bytes break the rules of the format.
    Invalid {
        /// What is wrong.
        what: Cow<'static, str>,
        /// Where: bytes from the start of the item.
        at: usize,
    },
    /// The stream ended inside an item.
    Truncated,
}

impl DecodeError {
    /// [`DecodeError::Invalid`] from a text and a position.
    pub fn invalid(what: impl Into<Cow<'static, str>>, at: usize) -> Self {
        Self::Invalid { what: what.into(), at }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "an item is longer than the limit of {limit} bytes"),
            Self::Invalid { what, at } => write!(f, "{what}, at byte {at} of the item"),
            Self::Truncated => f.write_str("the stream ended inside an item"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Why an item can't be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The item is longer than the format, or the codec, allows.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The format can't express the item.
    Invalid {
        /// What is wrong.
        what: Cow<'static, str>,
    },
}

impl EncodeError {
    /// [`EncodeError::Invalid`] from a text.
    pub fn invalid(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid { what: what.into() }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "the item is longer than the limit of {limit} bytes"),
            Self::Invalid { what } => f.write_str(what),
        }
    }
}

impl std::error::Error for EncodeError {}
