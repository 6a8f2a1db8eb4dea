//! Why a file can't be used.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a persistence file can't be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileError {
    /// It can't be read.
    Io(io::Error),
    /// It is not, or not as a whole, what the format says.
    Shape {
        /// The line, counted from 1.
        line: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// Nothing in it says whether it is complete: so were the files of the reference server before version 18.
    NoEnd,
}

impl FileError {
    pub(super) fn shape(line: u64, what: &'static str) -> Self {
        Self::Shape { line, what }
    }

    /// Is it that there is no such file?
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "can't be read: {error}"),
            Self::Shape { line, what } => write!(f, "line {line}: {what}"),
            Self::NoEnd => f.write_str(
                "has no ENDBYTES at its end: it is of a reference server before version 18, or was cut off",
            ),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Shape { .. } | Self::NoEnd => None,
        }
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What could not be done with which file.
#[derive(Debug)]
pub struct PersistenceError {
    pub(super) path: PathBuf,
    pub(super) doing: &'static str,
    pub(super) error: io::Error,
}

impl PersistenceError {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for PersistenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: can't be {}: {}", self.path.display(), self.doing, self.error)
    }
}

impl std::error::Error for PersistenceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Names what failed and where.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, PersistenceError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, PersistenceError> {
        self.map_err(|error| PersistenceError { path: path.to_owned(), doing, error })
    }
}
