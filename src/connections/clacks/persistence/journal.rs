//! The journal while a server runs: changes go to the end of its last file.

use super::disk::{Disk, DiskFile, write_all};
use super::error::{Doing, PersistenceError};
use super::lines::Identity;
use super::paths::Paths;
use super::record::{LastTimes, Record};
use super::recovery::Before;
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
    /// Another handle of it, for who synchronises it: later there may be no descriptor left. It is lent.
    twin: Option<Box<dyn DiskFile>>,
    has_twin: bool,
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
    /// It names a file that may be in its place, even if that is not sure.
    is_named: bool,
}

impl Journal {
    /// One without a file yet. `has_twin`: it is synchronised elsewhere.
    pub(super) fn new(disk: Arc<dyn Disk>, paths: Paths, next_segment: u64, has_twin: bool) -> Self {
        Self {
            disk,
            paths,
            segments: VecDeque::new(),
            file: None,
            twin: None,
            has_twin,
            next_segment,
            next_frame: 1,
            buffer: Vec::new(),
            last: LastTimes::default(),
            failed: None,
        }
    }

    /// The next file follows these, of an earlier process.
    pub(super) fn follow(&mut self, segments: Vec<Before>, next_frame: u64) {
        if let Some(last) = segments.last() {
            self.next_segment = last.number + 1;
        }
        self.next_frame = next_frame;
        let segment =
            |Before { number, path, good }| Segment { number, path, good, is_gap: false, is_named: false };
        self.segments = segments.into_iter().map(segment).collect();
    }

    /// Begins a new file, and gives back the one before, if there was one.
    pub(super) fn begin(&mut self, base: Base) -> Result<Option<Box<dyn DiskFile>>, PersistenceError> {
        let number = self.next_segment;
        let path = self.paths.segment(number);
        let mut file = self.disk.create(&path).doing("made", &path)?;
        let mut header = Vec::new();
        Header { number, first_frame: self.next_frame, base }.write(&mut header);
        let written = write_all(&mut *file, &header).doing("written", &path);
        let twin = written.and_then(|()| {
            self.has_twin.then(|| file.another()).transpose().doing("opened a second time", &path)
        });
        match twin {
            Ok(twin) => self.twin = twin,
            Err(error) => {
                let _ = self.disk.remove(&path); // where it stays, it is found out
                return Err(error);
            }
        }
        self.next_segment += 1;
        self.segments.push_back(Segment {
            number,
            path,
            good: header.len() as u64,
            is_gap: base == Base::Gap,
            is_named: false,
        });
        Ok(self.file.replace(file))
    }

    /// Is there a file to write to?
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Does what is written now survive the process?
    pub(super) fn keeps(&self) -> bool {
        self.is_open() && self.segments.back().is_some_and(|segment| !segment.is_gap)
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

    /// A handle of the file that is written to, to be [given back](Self::give_back).
    pub(super) fn lend(&mut self) -> Option<Box<dyn DiskFile>> {
        self.twin.take()
    }

    /// Takes the handle of this file back, if it is still written to.
    pub(super) fn give_back(&mut self, number: u64, twin: Box<dyn DiskFile>) {
        if self.has_twin && self.is_open() && self.number() == number {
            self.twin = Some(twin);
        }
    }

    /// Another handle of the file that is written to.
    pub(super) fn another(&self) -> Result<Option<Box<dyn DiskFile>>, PersistenceError> {
        match (&self.file, self.segments.back()) {
            (Some(file), Some(segment)) => {
                file.another().map(Some).doing("opened a second time", &segment.path)
            }
            _ => Ok(None),
        }
    }

    /// Nothing more is written to this file, which ends with its last whole frame; or goes, if it is of no use.
    pub(super) fn abandon(&mut self) {
        self.buffer.clear();
        self.failed = None;
        self.twin = None;
        let (Some(mut file), Some(segment)) = (self.file.take(), self.segments.back()) else { return };
        let is_of_no_use = segment.is_gap && !segment.is_named;
        let done = if is_of_no_use { self.disk.remove(&segment.path) } else { file.truncate(segment.good) };
        if let Err(error) = done {
            // The next start finds the end, and what is of no use, by itself.
            log::debug!("{}: can't be cut off or removed: {error}", segment.path.display());
        } else if is_of_no_use {
            self.segments.pop_back();
        }
    }

    /// A file is about to be put in its place, which this journal's last part names.
    pub(super) fn name(&mut self, identity: Identity) -> Result<(), PersistenceError> {
        self.append(&Record::File(identity));
        self.flush()?;
        if let Some(segment) = self.segments.back_mut() {
            segment.is_named = true;
        }
        Ok(())
    }

    /// The file that this journal's last part names is in its place.
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
        (self.file, self.twin) = (None, None);
        let mut removed = Ok(());
        for segment in self.segments.drain(..) {
            // One that stays is no reason to leave the others.
            removed = removed.and(self.disk.remove(&segment.path));
        }
        removed
    }
}
