//! Lines of a file, one at a time, with their numbers and a checksum over all of it.

use std::io::{self, BufRead};

/// What a persistence file as a whole is told by: a journal belongs to the file that it was begun with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::connections::clacks) struct Identity {
    pub(super) len: u64,
    pub(super) crc: u32,
}

/// Length and checksum of what has passed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    len: u64,
    crc: crc32fast::Hasher,
}

impl Passed {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.crc.update(bytes);
    }

    pub(super) fn identity(self) -> Identity {
        Identity { len: self.len, crc: self.crc.finalize() }
    }
}

#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    number: u64,
    passed: Passed,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: Vec::new(), number: 0, passed: Passed::default() }
    }

    /// The next line without its line feed; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        if self.reader.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.passed.add(&self.line);
        Ok(Some(self.line.strip_suffix(b"\n").unwrap_or(&self.line)))
    }

    /// The line that came last, without its line feed.
    pub(super) fn last(&self) -> &[u8] {
        self.line.strip_suffix(b"\n").unwrap_or(&self.line)
    }

    /// The number of the line that came last, counted from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn identity(self) -> Identity {
        self.passed.identity()
    }
}
