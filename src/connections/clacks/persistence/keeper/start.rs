//! How keeping begins: with what an earlier process has left, of which nothing is replaced before the cache is in a file as a whole.

use super::super::error::{Doing, PersistenceError};
use super::super::options::JournalSync;
use super::super::recovery::{Aside, Continuation};
use super::super::saver::Saver;
use super::super::segment::Base;
use super::{Keeper, Task};
use crate::connections::clacks::store::Store;
use std::io;
use std::mem::take;
use std::time::Duration;

impl Keeper {
    /// Begins. What is not in the file as a whole is written to it first, before anything else happens.
    pub(in crate::connections::clacks) fn start(
        &mut self,
        saver: &mut Saver,
        now: Duration,
        store: &mut Store,
    ) {
        store.note_changes(self.journal.is_some());
        store.mark_clean();
        let is_free = self.set_aside();
        if self.base == Base::Gap {
            self.continue_journal(is_free, now, store);
            self.start_save(now, store);
            loop {
                let Some(task) = self.tasks.pop_front() else { break };
                let Task::Save(job) = task else { continue };
                if let Some(done) = saver.work(job) {
                    self.done(done, now, store);
                }
            }
            return;
        }
        // The process before may have been killed when it had just put the file in its place.
        if let Err(error) = self.disk.sync_folder(self.paths.folder()) {
            log::warn!("{}: can't be synchronised: {error}", self.paths.folder().display());
        }
        self.begin_journal(now, store);
        for path in take(&mut self.obsolete) {
            if let Err(error) = self.disk.remove(&path) {
                log::warn!("{}: can't be removed: {error}", path.display());
            }
        }
    }

    /// Sets aside what is of no use. Whether all of that could be done.
    fn set_aside(&mut self) -> bool {
        take(&mut self.aside).into_iter().fold(true, |done, Aside { from, to }| {
            let renamed = self.disk.rename(&from, &to);
            if let Err(error) = &renamed {
                log::warn!("{}: can't be set aside: {error}", from.display());
            }
            done && renamed.is_ok()
        })
    }

    /// Lets the journal go on where it ended, before the first save: if that fails, what changes is not lost, as the next start finds
    /// the same cache and the same journal, and then this.
    fn continue_journal(&mut self, is_free: bool, now: Duration, store: &mut Store) {
        let Some(Continuation { base, next_frame, segments, unnamed }) = self.continues.take() else {
            return;
        };
        let Some(journal) = &mut self.journal else {
            self.obsolete.extend(segments.into_iter().map(|segment| segment.path));
            return;
        };
        let is_free = is_free
            && segments.last().is_none_or(|last| {
                // The number that follows is perhaps taken by a file that nobody needs.
                self.obsolete.retain(|path| {
                    self.paths.number(path).is_none_or(|number| number <= last.number)
                        || self.disk.remove(path).is_err()
                });
                let listed = self.paths.segments(&*self.disk);
                listed.is_ok_and(|listed| listed.iter().all(|(number, _)| *number <= last.number))
            })
            && segments.iter().all(|segment| {
                // The process before may have been killed before it did that.
                let synced =
                    if self.sync == JournalSync::None { Ok(()) } else { self.disk.sync(&segment.path) };
                if let Err(error) = &synced {
                    log::warn!("{}: can't be synchronised: {error}", segment.path.display());
                }
                synced.is_ok()
            });
        if !is_free {
            self.obsolete.extend(segments.into_iter().map(|segment| segment.path));
            return;
        }
        if let Some(first) = segments.first() {
            self.backup_needs = first.number;
        }
        journal.follow(segments, next_frame);
        let begun = journal.begin(base).and_then(|_| match unnamed {
            Some(identity) => journal.name(identity),
            None => Ok(()),
        });
        match begun {
            Ok(()) => (self.unsynced, self.is_begun) = (Some(now), true),
            Err(error) => self.break_off(&error, now, store),
        }
    }

    /// What was unfinished becomes the file.
    pub(super) fn rescue(&mut self) -> Result<(), PersistenceError> {
        let Some(refused) = &self.rescues else { return Ok(()) };
        let gone = |done: io::Result<()>| match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
        for Aside { from, to } in refused {
            gone(self.disk.rename(from, to)).doing("set aside", from)?;
        }
        let temporary = self.paths.temporary();
        self.disk.rename(&temporary, &self.paths.file).doing("renamed", &temporary)?;
        self.rescues = None;
        let folder = self.paths.folder();
        self.disk.sync_folder(folder).doing("synchronised", folder)
    }

    /// Begins a journal behind the file, or behind nothing.
    fn begin_journal(&mut self, now: Duration, store: &mut Store) {
        let Some(journal) = &mut self.journal else { return };
        match journal.begin(self.base) {
            Ok(_) => self.unsynced = Some(now),
            Err(error) => self.break_off(&error, now, store),
        }
    }
}
