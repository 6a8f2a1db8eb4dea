//! Writing the file: the part that takes long, on a thread of its own.

use super::disk::{Disk, DiskFile, write_all};
use super::error::{Doing, PersistenceError};
use super::lines::{Identity, Passed};
use super::paths::Paths;
use super::record::{Record, Records};
use super::recovery::Aside;
use super::v3;
use std::io;
use std::mem::take;
use std::path::PathBuf;
use std::sync::Arc;

/// What the thread is to do.
pub(in crate::connections::clacks) enum Job {
    /// Begin a new file.
    Begin { save: u64, has_entries: bool },
    /// Write these entries.
    Entries { save: u64, records: Vec<u8> },
    /// Write the end, and see to it that it survives a loss of power.
    End { save: u64 },
    /// Put it in its place.
    Commit(Commit),
    /// Forget it.
    Abort,
}

pub(in crate::connections::clacks) struct Commit {
    pub(super) save: u64,
    /// Has to survive before the file does: it names the file.
    pub(super) journal: Option<Box<dyn DiskFile>>,
    pub(super) backup: Backup,
    /// Files that are of no use after this.
    pub(super) obsolete: Vec<PathBuf>,
    /// Files that can't be used, in whose places others come.
    pub(super) refused: Vec<Aside>,
    /// A file of the journal that is of no use after this, but that somebody should look at.
    pub(super) damaged: Option<Aside>,
}

/// What becomes the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::connections::clacks) enum Backup {
    /// The file that was in its place.
    Before,
    /// The new file: those that were there can't be used, and are set aside.
    New,
}

/// What the thread has done.
#[derive(Debug)]
pub(in crate::connections::clacks) enum Done {
    /// The entries are written. The buffer comes back.
    Entries { save: u64, buffer: Vec<u8> },
    /// The file is written as a whole, and is this.
    Ended { save: u64, identity: Identity },
    /// It is in its place.
    Committed { save: u64 },
    /// It could not be written.
    Failed { save: u64, error: PersistenceError },
}

/// Does the work.
pub(in crate::connections::clacks) struct Saver {
    disk: Arc<dyn Disk>,
    paths: Paths,
    writing: Option<Writing>,
}

struct Writing {
    save: u64,
    file: Box<dyn DiskFile>,
    text: Vec<u8>,
    passed: Passed,
    unsynced: usize,
}

/// Is written in one go.
const WRITE_FROM: usize = 256 << 10;
/// So much waits for the disk at most: else the end would take long, and others with it.
const SYNC_FROM: usize = 16 << 20;
/// A buffer that has grown beyond this is not kept.
const KEPT: usize = 1 << 20;

impl Saver {
    pub(super) fn new(disk: Arc<dyn Disk>, paths: Paths) -> Self {
        Self { disk, paths, writing: None }
    }

    /// Does one job. What belongs to something that has failed is done without an answer.
    pub(in crate::connections::clacks) fn work(&mut self, job: Job) -> Option<Done> {
        let (save, done) = match job {
            Job::Begin { save, has_entries } => (save, self.begin(save, has_entries).map(|()| None)),
            Job::Entries { save, records } => (save, self.entries(save, records)),
            Job::End { save } => (save, self.end(save)),
            Job::Commit(commit) => {
                let save = commit.save;
                (save, self.commit(commit).map(|()| Some(Done::Committed { save })))
            }
            Job::Abort => {
                self.abort();
                return None;
            }
        };
        done.unwrap_or_else(|error| {
            self.abort();
            Some(Done::Failed { save, error })
        })
    }

    fn begin(&mut self, save: u64, has_entries: bool) -> Result<(), PersistenceError> {
        let path = self.paths.temporary();
        let file = self.disk.create(&path).doing("made", &path)?;
        // Without a file that has some, the new ones are as good.
        let _ = self.disk.copy_permissions(&self.paths.file, &path);
        let mut text = Vec::new();
        v3::begin(&mut text, has_entries);
        self.writing = Some(Writing { save, file, text, passed: Passed::default(), unsynced: 0 });
        Ok(())
    }

    fn entries(&mut self, save: u64, records: Vec<u8>) -> Result<Option<Done>, PersistenceError> {
        let path = self.paths.temporary();
        let Some(writing) = self.writing.as_mut().filter(|writing| writing.save == save) else {
            return Ok(None);
        };
        for record in Records::new(&records).flatten() {
            if let Record::Put { key, value, times, deleted } = record {
                v3::entry(&mut writing.text, key, value, times, deleted);
            }
            if writing.text.len() >= WRITE_FROM {
                writing.write().doing("written", &path)?;
            }
        }
        let mut buffer = records;
        buffer.clear();
        buffer.shrink_to(KEPT);
        Ok(Some(Done::Entries { save, buffer }))
    }

    fn end(&mut self, save: u64) -> Result<Option<Done>, PersistenceError> {
        let path = self.paths.temporary();
        let Some(writing) = self.writing.as_mut().filter(|writing| writing.save == save) else {
            return Ok(None);
        };
        v3::end(&mut writing.text);
        writing.write().doing("written", &path)?;
        writing.file.sync().doing("synchronised", &path)?;
        let identity = take(&mut writing.passed).identity();
        Ok(Some(Done::Ended { save, identity }))
    }

    fn commit(&mut self, commit: Commit) -> Result<(), PersistenceError> {
        let (file, temporary, backup) = (&self.paths.file, self.paths.temporary(), self.paths.backup());
        self.writing = None;
        if let Some(mut journal) = commit.journal {
            journal.sync().doing("synchronised", file)?;
        }
        let is_there = |done: io::Result<()>| match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
        for Aside { from, to } in &commit.refused {
            is_there(self.disk.rename(from, to)).doing("set aside", from)?;
        }
        if commit.backup == Backup::Before {
            is_there(self.disk.copy(file, &backup)).doing("copied as a backup", file)?;
        }
        self.disk.rename(&temporary, file).doing("renamed", &temporary)?;
        if commit.backup == Backup::New {
            self.disk.copy(file, &backup).doing("copied as a backup", file)?;
        }
        let folder = self.paths.folder();
        self.disk.sync_folder(folder).doing("synchronised", folder)?;
        if let Some(Aside { from, to }) = commit.damaged
            && let Err(error) = is_there(self.disk.rename(&from, &to))
        {
            log::warn!("{}: can't be set aside: {error}", from.display());
        }
        for path in commit.obsolete {
            // One that stays is found out to be old at the next start.
            if let Err(error) = is_there(self.disk.remove(&path)) {
                log::warn!("{}: can't be removed: {error}", path.display());
            }
        }
        Ok(())
    }

    fn abort(&mut self) {
        if self.writing.take().is_some() {
            // It would take room that may be needed.
            let _ = self.disk.remove(&self.paths.temporary());
        }
    }
}

impl Writing {
    fn write(&mut self) -> io::Result<()> {
        write_all(&mut *self.file, &self.text)?;
        self.passed.add(&self.text);
        self.unsynced += self.text.len();
        self.text.clear();
        self.text.shrink_to(KEPT);
        if self.unsynced >= SYNC_FROM {
            self.unsynced = 0;
            self.file.sync()?;
        }
        Ok(())
    }
}
