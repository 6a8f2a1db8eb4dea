use std::fmt;

use crate::codec::EncodeError;

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParseReason {
    /// There is nothing but white space.
    Empty,
    /// A sender is not written `<server:service`, with a blank and more behind it.
    Sender,
    /// A server, service or command has a control character, a `:` or `/` that is none of the
    /// separators, begins with `<` or `{`, or is not UTF-8.
    Character,
    /// There is a `:` with no server before it.
    EmptyServer,
    /// There is a second `:`, or one behind the service.
    SecondServer,
    /// There is a `/` with no service before it.
    EmptyService,
    /// There is a second `/`.
    SecondService,
    /// There is no command.
    EmptyCommand,
    /// A parameter has no name: a blank or `;` too many, for example.
    EmptyName,
    /// The name of a parameter has something else than letters, digits and `_`, or begins with a digit.
    Name,
    /// The name of a parameter is not followed by `=`.
    Equals,
    /// A value begins with `"` and does not end with one.
    OpenQuote,
    /// There is something else than `;` behind the closing quote of a value.
    AfterQuote,
    /// In JSON: something else was expected here.
    Expected(&'static str),
    /// In JSON: there is something behind the end.
    AfterEnd,
    /// In JSON: a string does not end.
    OpenString,
    /// In JSON: an escape that does not exist, or half of a surrogate pair.
    Escape,
    /// In JSON: a word that is neither a number nor `true`, `false` or `null`.
    Word,
    /// In JSON: arrays and objects are nested too deep.
    Depth,
}

impl fmt::Display for ParseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "there is no message",
            Self::Sender => "the sender is not written \"<server:service \"",
            Self::Character => "a server, service or command has a character that it can't have",
            Self::EmptyServer => "there is no server before the ':'",
            Self::SecondServer => "there is a second ':', or one behind the service",
            Self::EmptyService => "there is no service before the '/'",
            Self::SecondService => "there is a second '/'",
            Self::EmptyCommand => "there is no command",
            Self::EmptyName => "a parameter has no name",
            Self::Name => "the name of a parameter has a character that it can't have",
            Self::Equals => "the name of a parameter is not followed by '='",
            Self::OpenQuote => "a value in quotes does not end",
            Self::AfterQuote => "there is something else than ';' behind a value in quotes",
            Self::Expected(what) => return write!(f, "expected {what}"),
            Self::AfterEnd => "there is something behind the end",
            Self::OpenString => "a string does not end",
            Self::Escape => "an escape in a string is wrong",
            Self::Word => "this is neither a string, a number, true, false nor null",
            Self::Depth => "arrays and objects are nested too deep",
        })
    }
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseError {
    /// Why.
    pub reason: ParseReason,
    /// Where: bytes from the start of what was read.
    pub at: usize,
}

impl ParseError {
    pub(super) fn new(reason: ParseReason, at: usize) -> Self {
        Self { reason, at }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no message: {}, at byte {}", self.reason, self.at)
    }
}

impl std::error::Error for ParseError {}

/// Why a message can't be written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// The text form of a message that names a server has to name a service too.
    ServerWithoutService {
        /// The server.
        server: String,
    },
    /// The text form has no way to write a NUL.
    Nul {
        /// The parameter with it.
        name: String,
        /// Where: bytes from the start of the value.
        at: usize,
    },
    /// JSON has no way to write what is not UTF-8.
    NotUtf8 {
        /// The parameter with it.
        name: String,
        /// Where: bytes from the start of the value.
        at: usize,
    },
    /// The message is longer than the transport can take.
    TooLong {
        /// Its length, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServerWithoutService { server } => {
                write!(f, "the message goes to the server {server} and names no service")
            }
            Self::Nul { name, at } => {
                write!(f, "the parameter {name} has a NUL at byte {at}, which has no text form")
            }
            Self::NotUtf8 { name, at } => {
                write!(f, "the parameter {name} is not UTF-8 at byte {at}, so it has no JSON form")
            }
            Self::TooLong { length, limit } => {
                write!(f, "the message has {length} bytes, and its transport takes no more than {limit}")
            }
        }
    }
}

impl std::error::Error for WriteError {}

impl From<WriteError> for EncodeError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::TooLong { limit, .. } => Self::TooLong { limit },
            _ => Self::invalid(error.to_string()),
        }
    }
}
