//! The file as the reference server writes it since version 24: `CLACKSV3`.
//!
//! ```text
//! NUL CLACKSV3--- LF
//! key: LF
//!   accesstime: '1795221673.59941' LF
//!   cachetime: '1795221673.59941' LF
//!   data: a value LF
//!   deleted: 0 LF
//! …
//! NUL CLACKSV3
//! ```

use super::error::FileError;
use super::lines::Lines;
use super::scalar;
use crate::connections::clacks::number::Operand;
use crate::connections::clacks::store::Entry;
use std::io::BufRead;

/// Stands at the beginning and at the end.
pub(super) const MARK: &[u8] = b"\0CLACKSV3";
const EMPTY: &[u8] = b"--- {}";
const BEGIN: &[u8] = b"---";

/// Writes the beginning of a file with entries; or, with the [end](end), a whole one without any.
pub(super) fn begin(out: &mut Vec<u8>, has_entries: bool) {
    out.extend_from_slice(MARK);
    out.extend_from_slice(if has_entries { b"--- \n" } else { b"--- {}\n\n" });
}

/// Writes an entry.
pub(super) fn entry(out: &mut Vec<u8>, key: &[u8], value: &[u8], times: (f64, f64), deleted: bool) {
    scalar::write(out, key);
    out.extend_from_slice(b": \n  accesstime: ");
    scalar::write_number(out, times.1);
    out.extend_from_slice(b"\n  cachetime: ");
    scalar::write_number(out, times.0);
    out.extend_from_slice(b"\n  data: ");
    scalar::write(out, value);
    out.extend_from_slice(if deleted { b"\n  deleted: 1\n" } else { b"\n  deleted: 0\n" });
}

/// Writes the end.
pub(super) fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(MARK);
}

/// Reads what follows the first mark, and gives each entry to `take`. Only if it ends well was it a whole file.
pub(super) fn read(
    lines: &mut Lines<impl BufRead>,
    take: &mut dyn FnMut(&[u8], Entry),
) -> Result<(), FileError> {
    // The mark is part of the first line.
    let first = lines.next()?.unwrap_or_default();
    let first = first.strip_prefix(MARK).unwrap_or_default().trim_ascii_end();
    let empty = match first {
        EMPTY => true,
        BEGIN => false,
        _ => return Err(FileError::shape(1, "no cache begins here")),
    };
    let mut draft = None;
    loop {
        let Some(line) = lines.next()? else {
            return Err(FileError::shape(lines.number(), "the end is missing: the file was cut off"));
        };
        match line {
            [b'\0', ..] => break,
            [] if empty => {}
            [b' ', b' ', field @ ..] => {
                let draft = draft.as_mut().ok_or("a field without a key");
                let taken = draft.and_then(|draft: &mut Draft| draft.field(field));
                taken.map_err(|what| FileError::shape(lines.number(), what))?;
            }
            _ if empty => return Err(FileError::shape(lines.number(), "an entry in an empty cache")),
            _ => {
                let key = match scalar::read_key(line) {
                    Ok((key, b"")) => Ok(key.into_owned()),
                    Ok(_) => Err("a key with a value in the same line"),
                    Err(scalar::NoScalar(what)) => Err(what),
                };
                let key = key.map_err(|what| FileError::shape(lines.number(), what))?;
                finish(draft.replace(Draft::new(key)), lines.number(), take)?;
            }
        }
    }
    finish(draft, lines.number(), take)?;
    let behind = FileError::shape(lines.number(), "something behind the end");
    // The line that was read last begins with NUL; it must be the mark, and the last one.
    if lines.last() != MARK {
        return Err(behind);
    }
    match lines.next()? {
        None => Ok(()),
        Some(_) => Err(behind),
    }
}

fn finish(draft: Option<Draft>, line: u64, take: &mut dyn FnMut(&[u8], Entry)) -> Result<(), FileError> {
    let Some(draft) = draft else { return Ok(()) };
    let (key, entry) =
        draft.finish().ok_or_else(|| FileError::shape(line, "the entry before it lacks a field"))?;
    take(&key, entry);
    Ok(())
}

/// An entry, as far as it has been read.
#[derive(Debug)]
struct Draft {
    key: Vec<u8>,
    access_time: Option<f64>,
    cache_time: Option<f64>,
    data: Option<Vec<u8>>,
    deleted: Option<bool>,
}

impl Draft {
    fn new(key: Vec<u8>) -> Self {
        Self { key, access_time: None, cache_time: None, data: None, deleted: None }
    }

    fn field(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let (name, text) = scalar::read_key(line).map_err(|scalar::NoScalar(what)| what)?;
        let value = scalar::read(text).map_err(|scalar::NoScalar(what)| what)?;
        let time = || Operand::number(&value).map(Operand::to_f64).ok_or("a time that is no number");
        let is_new = match &*name {
            b"accesstime" => self.access_time.replace(time()?).is_none(),
            b"cachetime" => self.cache_time.replace(time()?).is_none(),
            b"data" => self.data.replace(value.into_owned()).is_none(),
            b"deleted" => {
                let deleted = match &*value {
                    b"1" => true,
                    b"0" | b"" => false,
                    _ => return Err("deleted is neither 0 nor 1"),
                };
                self.deleted.replace(deleted).is_none()
            }
            _ => return Err("an unknown field"),
        };
        if is_new { Ok(()) } else { Err("a field that was there before") }
    }

    fn finish(self) -> Option<(Vec<u8>, Entry)> {
        let (cache_time, access_time) = (self.cache_time?, self.access_time?);
        let data = self.data?;
        let entry = if self.deleted? {
            Entry::tombstone(cache_time, access_time)
        } else {
            Entry::new(data, cache_time, access_time)
        };
        Some((self.key, entry))
    }
}
