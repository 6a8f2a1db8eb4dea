use std::fmt;
use std::io;
use std::path::PathBuf;

use super::ini::Place;
use crate::dispatcher::ValueError;

/// A file of a definition that can't be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum DefinitionError {
    /// A file or folder can't be read.
    Read {
        /// The file or folder.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What the file says means nothing.
    Format {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, in characters, from 1.
        column: usize,
        /// What is wrong.
        fault: Fault,
    },
}

impl DefinitionError {
    pub(super) fn format(file: PathBuf, place: Place, fault: Fault) -> Self {
        Self::Format { file, line: place.line, column: place.column, fault }
    }
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { file, error } => write!(f, "{}: {error}", file.display()),
            Self::Format { file, line, column, fault } => {
                write!(f, "{}:{line}:{column}: {fault}", file.display())
            }
        }
    }
}

impl std::error::Error for DefinitionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { error, .. } => Some(error),
            Self::Format { .. } => None,
        }
    }
}

/// What is wrong in a file of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The file is not UTF-8.
    NotUtf8,
    /// The file is longer than so many bytes.
    TooLong(usize),
    /// A section is not written `[name]`.
    Section,
    /// A line is neither a section, a comment, nor a key with a value.
    NoKey,
    /// A key or section is there twice.
    Repeated {
        /// The line of the first.
        first: usize,
    },
    /// A parameter can't have the name of this section.
    Name(String),
    /// A value is none of those that are possible.
    Choice {
        /// The value.
        value: String,
        /// Those that are possible.
        possible: &'static str,
    },
    /// A value is no number, no span of time, or whatever was expected.
    Value(ValueError),
    /// A list has no values.
    NoValues,
    /// The key means nothing for a parameter of this type.
    DoesNotApply,
    /// The least that is possible is more than the most, or two flags exclude each other.
    Contradiction,
    /// A parameter with a default value is not optional.
    DefaultNotOptional,
    /// The default value is not of the parameter's type.
    Default,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("the file is not UTF-8"),
            Self::TooLong(limit) => write!(f, "the file is longer than {limit} bytes"),
            Self::Section => f.write_str("a section is written \"[name]\""),
            Self::NoKey => f.write_str("expected \"key = value\", \"[name]\" or a comment"),
            Self::Repeated { first } => write!(f, "this is in line {first} already"),
            Self::Name(name) => write!(f, "a parameter can't be called {name:?}"),
            Self::Choice { value, possible } => write!(f, "{value:?} is none of {possible}"),
            Self::Value(error) => write!(f, "this {error}"),
            Self::NoValues => f.write_str("there is no value in the list"),
            Self::DoesNotApply => f.write_str("this means nothing for a parameter of this type"),
            Self::Contradiction => f.write_str("this contradicts what is before it"),
            Self::DefaultNotOptional => f.write_str(
                "only a parameter that may be missing has a default: it needs \"flags = optional\"",
            ),
            Self::Default => f.write_str("the default is not what the parameter may be"),
        }
    }
}
