//! The journal while a server runs: changes go to the end of its last file.

use super::disk::{Disk, DiskFile, write_all};
use super::error::{Doing, PersistenceError};
use super::paths::Paths;
use super::record::{LastTimes, Record};
use super::segment::{Base, Header, begin_frame, end_frame};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A frame that has become so long is written, and another one begun.
const FRAME_FROM: usize = 1 << 20;
/// A buffer that has grown beyond this is not kept.
const KEPT: usize = 4 << 20;

pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    paths: Paths,
    segments: VecDeque<Segment>,
    /// The last segment, unless it could not be written any more.
    file: Option<Box<dyn DiskFile>>,
    next_segment: u64,
    next_frame: u64,
    buffer: Vec<u8>,
    /// Of the frame in the buffer.
    last: LastTimes,
    /// What has gone wrong in the middle of a turn.
    failed: Option<PersistenceError>,
}

struct Segment {
    number: u64,
    path: PathBuf,
    /// Whole frames, and the header.
    good: u64,
    /// Changes before it are missing, and no file was saved since: it is of no use yet.
    is_gap: bool,
}

impl Journal {
    /// One without a file yet.
    pub(super) fn new(disk: Arc<dyn Disk>, paths: Paths, next_segment: u64) -> Self {
        let (segments, buffer, last) = (VecDeque::new(), Vec::new(), LastTimes::default());
        Self { disk, paths, segments, file: None, next_segment, next_frame: 1, buffer, last, failed: None }
    }

    /// Begins a new file, and gives back the one before, if there was one.
    pub(super) fn begin(&mut self, base: Base) -> Result<Option<Box<dyn DiskFile>>, PersistenceError> {
        let number = self.next_segment;
        let path = self.paths.segment(number);
        let mut file = self.disk.create(&path).doing("made", &path)?;
        let mut header = Vec::new();
        Header { number, first_frame: self.next_frame, base }.write(&mut header);
        if let Err(error) = write_all(&mut *file, &header) {
            let _ = self.disk.remove(&path); // where it stays, it is found out
            return Err(error).doing("written", &path);
        }
        self.next_segment += 1;
        self.segments.push_back(Segment {
            number,
            path,
            good: header.len() as u64,
            is_gap: base == Base::Gap,
        });
        Ok(self.file.replace(file))
    }

    /// Is there a file to write to?
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// The number of the file that is written to.
    pub(super) fn number(&self) -> u64 {
        self.segments.back().map_or(0, |segment| segment.number)
    }

    pub(super) fn append(&mut self, record: &Record<'_>) {
        if self.buffer.is_empty() {
            begin_frame(&mut self.buffer);
            self.last = LastTimes::default();
        }
        record.write(&mut self.buffer, &mut self.last);
        if self.buffer.len() >= FRAME_FROM
            && let Err(error) = self.write()
        {
            self.failed.get_or_insert(error);
        }
    }

    /// Writes what was appended.
    pub(super) fn flush(&mut self) -> Result<(), PersistenceError> {
        let written = self.write();
        match self.failed.take() {
            Some(error) => Err(error),
            None => written,
        }
    }

    fn write(&mut self) -> Result<(), PersistenceError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let (Some(file), Some(segment), None) = (&mut self.file, self.segments.back_mut(), &self.failed)
        else {
            self.buffer.clear();
            return Ok(()); // somebody has been told already
        };
        end_frame(&mut self.buffer, 0, self.next_frame);
        let written = write_all(&mut **file, &self.buffer).doing("written", &segment.path);
        if written.is_ok() {
            segment.good += self.buffer.len() as u64;
            self.next_frame += 1;
        }
        self.buffer.clear();
        self.buffer.shrink_to(KEPT);
        written
    }

    /// Sees to it that what was flushed survives a loss of power; and the name of the file, too, if it is new.
    pub(super) fn sync(&mut self, is_new: bool) -> Result<(), PersistenceError> {
        let (Some(file), Some(segment)) = (&mut self.file, self.segments.back()) else { return Ok(()) };
        let named = if is_new { self.disk.sync_folder(self.paths.folder()) } else { Ok(()) };
        named.and_then(|()| file.sync()).doing("synchronised", &segment.path)
    }

    /// A handle of the file that is written to.
    pub(super) fn handle(&self) -> Result<Option<Box<dyn DiskFile>>, PersistenceError> {
        match (&self.file, self.segments.back()) {
            (Some(file), Some(segment)) => file.another().map(Some).doing("opened again", &segment.path),
            _ => Ok(None),
        }
    }

    /// Nothing more is written to this file, which ends with its last whole frame; or goes, if it is of no use.
    pub(super) fn abandon(&mut self) {
        self.buffer.clear();
        self.failed = None;
        let (Some(mut file), Some(segment)) = (self.file.take(), self.segments.back()) else { return };
        let done = if segment.is_gap { self.disk.remove(&segment.path) } else { file.truncate(segment.good) };
        if let Err(error) = done {
            // The next start finds the end, and what is of no use, by itself.
            log::debug!("{}: can't be cut off or removed: {error}", segment.path.display());
        } else if segment.is_gap {
            self.segments.pop_back();
        }
    }

    /// A file was saved that names this journal's last part.
    pub(super) fn confirm(&mut self) {
        if let Some(segment) = self.segments.back_mut() {
            segment.is_gap = false;
        }
    }

    /// The files before that number, which are forgotten here.
    pub(super) fn take_before(&mut self, number: u64) -> Vec<PathBuf> {
        let count = self.segments.iter().take_while(|segment| segment.number < number).count();
        self.segments.drain(..count).map(|segment| segment.path).collect()
    }

    /// Bytes in the files from that number on.
    pub(super) fn bytes_from(&self, number: u64) -> u64 {
        self.segments.iter().filter(|segment| segment.number >= number).map(|segment| segment.good).sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes_from(0)
    }

    /// Removes all files.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        self.file = None;
        let mut removed = Ok(());
        for segment in self.segments.drain(..) {
            // One that stays is no reason to leave the others.
            removed = removed.and(self.disk.remove(&segment.path));
        }
        removed
    }
}
