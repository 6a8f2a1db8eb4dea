//! A persistence file of any version.

use super::error::FileError;
use super::lines::{Identity, Lines};
use super::{old, v3};
use crate::connections::clacks::store::Entry;
use std::fmt;
use std::io::{BufRead, BufReader, Read};

/// The versions of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileVersion {
    /// Of the reference server's versions 18 to 23.
    Old,
    /// Of version 24 and later, and of this server.
    V3,
}

impl fmt::Display for FileVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Old => "version 18 to 23",
            Self::V3 => "CLACKSV3",
        })
    }
}

/// Reads a persistence file of any version and gives each entry to `take`. Only if it ends well was it a whole file.
/// `now`, in Unix time, stands for times that an old file has not.
///
/// # Errors
/// When it can't be read, or is not as a whole what its version says.
pub fn read_file(
    from: impl Read,
    now: f64,
    take: &mut dyn FnMut(&[u8], Entry),
) -> Result<FileVersion, FileError> {
    read(from, now, take).map(|(version, _)| version)
}

pub(super) fn read(
    from: impl Read,
    now: f64,
    take: &mut dyn FnMut(&[u8], Entry),
) -> Result<(FileVersion, Identity), FileError> {
    const BUFFER: usize = 256 << 10;
    let mut reader = BufReader::with_capacity(BUFFER, from);
    let first = loop {
        match reader.fill_buf() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            filled => break filled?.first().copied(),
        }
    };
    let Some(first) = first else { return Err(FileError::shape(1, "the file is empty")) };
    let mut lines = Lines::new(reader);
    let version = if first == v3::MARK.first().copied().unwrap_or_default() {
        v3::read(&mut lines, take)?;
        FileVersion::V3
    } else {
        old::read(&mut lines, now, take)?;
        FileVersion::Old
    };
    Ok((version, lines.identity()))
}

/// Writes a file of the version CLACKSV3 with the entries that `next` gives, which should be in the order of their keys.
///
/// # Errors
/// When it can't be written.
pub fn write_file<'a>(
    to: &mut impl std::io::Write,
    entries: impl IntoIterator<Item = (&'a [u8], &'a Entry)>,
) -> std::io::Result<()> {
    const WRITE_FROM: usize = 256 << 10;
    let mut entries = entries.into_iter().peekable();
    let mut out = Vec::new();
    v3::begin(&mut out, entries.peek().is_some());
    for (key, entry) in entries {
        v3::entry(&mut out, key, &entry.value, (entry.cache_time, entry.access_time), entry.deleted);
        if out.len() >= WRITE_FROM {
            to.write_all(&out)?;
            out.clear();
        }
    }
    v3::end(&mut out);
    to.write_all(&out)
}

#[cfg(test)]
mod tests;
