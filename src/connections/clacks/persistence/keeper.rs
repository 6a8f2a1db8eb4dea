//! When what is kept: the part that decides. Threads, timers and channels are its caller's; time comes with each call.
//!
//! A *save* writes the whole cache, a slice at a time, while it goes on changing. What it misses stands in the journal,
//! of which a new file is begun with each save: the file and the journal from there on are the cache. Without a journal
//! each entry in the file is what it was at some moment of the save.

mod start;

use super::disk::{Disk, DiskFile};
use super::error::PersistenceError;
use super::journal::Journal;
use super::lines::Identity;
use super::options::{JournalSync, PersistenceOptions};
use super::paths::Paths;
use super::record::{LastTimes, Record};
use super::recovery::{Aside, Continuation, Recovery};
use super::saver::{Backup, Commit, Done, Job};
use super::segment::Base;
use crate::connections::clacks::store::Store;
use std::collections::VecDeque;
use std::mem::take;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// With [`JournalSync::Interval`] a change is on the disk after so long.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// A save is not begun sooner than so many times the last one's duration after it, as long as there is a journal.
const REST: u32 = 20;
/// The shortest time between two saves, and between two attempts.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest time between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// So much is handed to the thread at once.
const SLICE: usize = 128 << 10;
/// So many slices are on their way: one is written while the next one is made.
const SLICES: usize = 2;
/// A trouble that lasts is told again after.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// How large the journal may become.
#[derive(Debug, Clone, Copy)]
pub(in crate::connections::clacks) struct JournalLimits {
    /// From here on it is folded into the file, whatever the time.
    pub(in crate::connections::clacks) fold: u64,
    /// Where folding fails, it ends here.
    pub(in crate::connections::clacks) stop: u64,
}

impl JournalLimits {
    pub(in crate::connections::clacks) const DEFAULT: Self = Self { fold: 64 << 20, stop: 1 << 30 };
}

/// Something that takes long, for a thread.
pub(in crate::connections::clacks) enum Task {
    Save(Job),
    Sync(Sync),
}

/// A part of the journal that has to survive a loss of power.
pub(in crate::connections::clacks) struct Sync {
    pub(in crate::connections::clacks) segment: u64,
    pub(in crate::connections::clacks) file: Box<dyn DiskFile>,
    /// The folder, if the file is new in it.
    pub(in crate::connections::clacks) folder: Option<PathBuf>,
}

impl Sync {
    pub(in crate::connections::clacks) fn work(mut self, disk: &dyn Disk) -> Synced {
        let result = self.file.sync();
        let result = result.and_then(|()| self.folder.map_or(Ok(()), |folder| disk.sync_folder(&folder)));
        Synced { segment: self.segment, file: self.file, result }
    }

    /// It could not even be tried.
    pub(in crate::connections::clacks) fn lost(self, error: std::io::Error) -> Synced {
        Synced { segment: self.segment, file: self.file, result: Err(error) }
    }
}

pub(in crate::connections::clacks) struct Synced {
    segment: u64,
    file: Box<dyn DiskFile>,
    result: std::io::Result<()>,
}

impl Synced {
    #[cfg(test)]
    pub(super) fn is_good(&self) -> bool {
        self.result.is_ok()
    }
}

pub(in crate::connections::clacks) struct Keeper {
    disk: Arc<dyn Disk>,
    paths: Paths,
    interval: Duration,
    sync: JournalSync,
    limits: JournalLimits,
    journal: Option<Journal>,
    /// What a new file of the journal is added to.
    base: Base,
    /// How the journal goes on until the cache is in the file as a whole for the first time.
    continues: Option<Continuation>,
    /// What was unfinished is all there is: it has to be put in its place before anything is written in its place.
    rescues: Option<Vec<Aside>>,
    save: Option<Save>,
    saves: u64,
    committed: u64,
    failed: u64,
    /// When the next save is due.
    due: Option<Duration>,
    /// Not before.
    rest_until: Duration,
    /// Since when something waits for being synchronised, and whether it is on its way.
    unsynced: Option<Duration>,
    syncing: bool,
    synced_folder: u64,
    /// The first file of the journal that the backup needs.
    backup_needs: u64,
    /// The journal was begun anew for a save that failed.
    is_begun: bool,
    backup: Backup,
    obsolete: Vec<PathBuf>,
    refused: Vec<Aside>,
    aside: Vec<Aside>,
    damaged: Option<Aside>,
    trouble: Option<Trouble>,
    failures: u32,
    finishing: bool,
    tasks: VecDeque<Task>,
}

/// A save that goes on.
struct Save {
    number: u64,
    began: Duration,
    /// The first file of the journal that belongs to it.
    first: u64,
    /// The last key that was handed over.
    after: Option<Box<[u8]>>,
    is_read: bool,
    on_the_way: usize,
    spare: Vec<Vec<u8>>,
}

/// What a keeper has done, and how it is.
#[derive(Debug, Clone, Copy)]
pub(in crate::connections::clacks) struct Kept {
    /// How often the whole cache was written.
    pub(in crate::connections::clacks) saves: u64,
    /// How often that, or writing the journal, has failed.
    pub(in crate::connections::clacks) failed: u64,
    pub(in crate::connections::clacks) journal_bytes: u64,
    /// Changes are lost if the server ends now.
    pub(in crate::connections::clacks) is_in_trouble: bool,
}

/// Changes are lost if the server ends now.
struct Trouble {
    since: Duration,
    told: Duration,
}

impl Keeper {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        options: &PersistenceOptions,
        limits: JournalLimits,
        recovery: &mut Recovery,
    ) -> Self {
        let paths = Paths { file: options.file.clone() };
        let has_twin = options.sync == JournalSync::Interval;
        let journal = options
            .journal
            .then(|| Journal::new(disk.clone(), paths.clone(), recovery.next_segment, has_twin));
        let source = recovery.source.as_ref().map(|(path, _)| path);
        let fell_back = source.is_some_and(|path| *path != paths.file);
        let rescues = source.is_some_and(|path| *path == paths.temporary());
        let refused = take(&mut recovery.refused);
        Self {
            disk,
            interval: options.interval.max(PAUSE_MIN),
            sync: options.sync,
            limits,
            journal,
            base: recovery.base.unwrap_or(Base::Gap),
            continues: recovery.continues.take(),
            save: None,
            saves: 0,
            committed: 0,
            failed: 0,
            due: None,
            rest_until: Duration::ZERO,
            unsynced: None,
            syncing: false,
            synced_folder: 0,
            backup_needs: recovery.next_segment,
            is_begun: false,
            backup: if rescues || !fell_back && refused.is_empty() { Backup::Before } else { Backup::New },
            rescues: rescues.then(|| refused.clone()),
            obsolete: take(&mut recovery.obsolete),
            refused: if rescues { Vec::new() } else { refused },
            aside: take(&mut recovery.aside),
            damaged: recovery.damaged.take(),
            trouble: None,
            failures: 0,
            finishing: false,
            tasks: VecDeque::new(),
            paths,
        }
    }

    /// At the end of a turn: puts down what has changed in it.
    pub(in crate::connections::clacks) fn turn(&mut self, now: Duration, store: &mut Store) {
        if let Some(journal) = &mut self.journal
            && store.has_changes()
        {
            store.take_changes(|change| journal.append(&Record::of(change)));
            if journal.is_open() {
                let mut written = journal.flush();
                if self.sync == JournalSync::Always && written.is_ok() {
                    let number = journal.number();
                    written = journal.sync(std::mem::replace(&mut self.synced_folder, number) != number);
                }
                self.unsynced.get_or_insert(now);
                if let Err(error) = written {
                    self.break_off(&error, now, store);
                }
            } else {
                journal.abandon();
            }
        }
        self.look(now, store);
    }

    /// Sees to it that what is to be saved has its time.
    fn look(&mut self, now: Duration, store: &mut Store) {
        if self.save.is_some() || self.finishing {
            return;
        }
        if self.due.is_none() && store.is_dirty() {
            self.due = Some(self.rest_until.max(now + self.interval));
        }
        let Some(journal) = &self.journal else { return };
        let bytes = journal.bytes_from(journal.number());
        let file = if let Base::File(identity) = self.base { identity.len } else { 0 };
        if bytes >= self.limits.fold.max(2 * file) && self.failures == 0 {
            self.due = Some(now);
        }
        if self.failures > 0 && journal.is_open() && journal.bytes() >= self.limits.stop {
            let error = PersistenceError {
                path: self.paths.file.clone(),
                doing: "written, and its journal must not grow any more",
                error: std::io::Error::other(format!("the journal has {} bytes", journal.bytes())),
            };
            self.break_off(&error, now, store);
        }
    }

    /// When it wants to be [called](Self::tick) again.
    pub(in crate::connections::clacks) fn next(&self) -> Option<Duration> {
        let save = self.due.filter(|_| self.save.is_none());
        let sync = self.unsynced.filter(|_| self.sync == JournalSync::Interval && !self.syncing);
        [save, sync.map(|since| since + SYNC_INTERVAL)].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(in crate::connections::clacks) fn tick(&mut self, now: Duration, store: &mut Store) {
        if self.due.is_some_and(|due| due <= now) && self.save.is_none() && !self.finishing {
            self.start_save(now, store);
        }
        let sync = self.unsynced.filter(|_| self.sync == JournalSync::Interval && !self.syncing);
        if sync.is_some_and(|since| since + SYNC_INTERVAL <= now) {
            self.start_sync(now);
        }
    }

    /// The next thing to do for a thread.
    pub(in crate::connections::clacks) fn task(&mut self) -> Option<Task> {
        self.tasks.pop_front()
    }

    /// Saves what has not been, a last time.
    pub(in crate::connections::clacks) fn finish(&mut self, now: Duration, store: &mut Store) {
        self.turn(now, store);
        self.finishing = true;
        if self.save.is_none() {
            self.finish_save(now, store);
        }
    }

    /// Has everything been done that there was after [`finish`](Self::finish)?
    pub(in crate::connections::clacks) fn is_over(&self) -> bool {
        self.finishing && self.save.is_none() && self.tasks.is_empty()
    }

    /// Would changes be lost if the server ended now?
    pub(in crate::connections::clacks) fn is_in_trouble(&self) -> bool {
        self.trouble.is_some() || (self.journal.is_none() && self.failures > 0)
    }

    /// Has the last save failed? What the file misses is then in the journal, if changes are not lost.
    pub(in crate::connections::clacks) fn is_behind(&self) -> bool {
        self.failures > 0
    }

    pub(in crate::connections::clacks) fn kept(&self) -> Kept {
        Kept {
            saves: self.committed,
            failed: self.failed,
            journal_bytes: self.journal.as_ref().map_or(0, Journal::bytes),
            is_in_trouble: self.is_in_trouble(),
        }
    }

    /// The thread that saves can't be reached.
    pub(in crate::connections::clacks) fn save_lost(
        &mut self,
        error: std::io::Error,
        now: Duration,
        store: &mut Store,
    ) {
        if self.save.is_some() {
            self.tasks.clear();
            let path = self.paths.file.clone();
            self.save_failed(&PersistenceError { path, doing: "written", error }, now, store);
        }
    }

    /// Does it write down every change?
    pub(in crate::connections::clacks) fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    /// Is a save going on, or is its time known?
    pub(in crate::connections::clacks) fn is_busy(&self) -> bool {
        self.due.is_some() || self.save.is_some() || self.finishing
    }

    /// A thread has done something.
    pub(in crate::connections::clacks) fn done(&mut self, done: Done, now: Duration, store: &mut Store) {
        let (Done::Entries { save, .. }
        | Done::Ended { save, .. }
        | Done::Committed { save }
        | Done::Failed { save, .. }) = &done;
        if self.save.as_ref().is_none_or(|current| current.number != *save) {
            return; // it was given up meanwhile
        }
        match done {
            Done::Entries { buffer, .. } => {
                if let Some(save) = &mut self.save {
                    save.on_the_way -= 1;
                    save.spare.push(buffer);
                }
                self.fill(store);
            }
            Done::Ended { identity, .. } => self.commit(identity, now, store),
            Done::Committed { .. } => self.committed(now, store),
            Done::Failed { error, .. } => self.save_failed(&error, now, store),
        }
    }

    /// The journal was synchronised, or not.
    pub(in crate::connections::clacks) fn synced(
        &mut self,
        synced: Synced,
        now: Duration,
        store: &mut Store,
    ) {
        self.syncing = false;
        if let Some(journal) = &mut self.journal {
            journal.give_back(synced.segment, synced.file);
        }
        if let Err(error) = synced.result {
            let path = self.paths.segment(synced.segment);
            self.break_off(&PersistenceError { path, doing: "synchronised", error }, now, store);
        }
    }

    fn start_sync(&mut self, now: Duration) {
        let Some(journal) = self.journal.as_mut().filter(|journal| journal.is_open()) else {
            self.unsynced = None;
            return;
        };
        let segment = journal.number();
        let Some(file) = journal.lend() else {
            self.unsynced = Some(now); // the one before still goes on
            return;
        };
        let folder = self.unsynced_folder(segment);
        self.tasks.push_back(Task::Sync(Sync { segment, file, folder }));
        (self.unsynced, self.syncing) = (None, true);
    }

    /// The folder, if the name of this file of the journal is new in it.
    fn unsynced_folder(&mut self, segment: u64) -> Option<PathBuf> {
        let is_new = std::mem::replace(&mut self.synced_folder, segment) != segment;
        is_new.then(|| self.paths.folder().to_owned())
    }

    /// Begins to write the whole cache.
    fn start_save(&mut self, now: Duration, store: &mut Store) {
        self.due = None;
        self.saves += 1;
        if let Err(error) = self.rescue() {
            return self.save_failed(&error, now, store);
        }
        if let Some(journal) = &mut self.journal
            && !(journal.is_open() && self.is_begun)
        {
            let segment = journal.number();
            let base = if journal.is_open() { Base::Before } else { Base::Gap };
            match journal.begin(base) {
                Ok(before) => {
                    if let Some(file) = before
                        && self.sync == JournalSync::Interval
                        && self.unsynced.is_some()
                    {
                        let folder = self.unsynced_folder(segment);
                        self.tasks.push_back(Task::Sync(Sync { segment, file, folder }));
                    }
                    self.unsynced = Some(now);
                    self.is_begun = true;
                }
                Err(error) => return self.save_failed(&error, now, store),
            }
        }
        store.mark_clean();
        self.save = Some(Save {
            number: self.saves,
            began: now,
            first: self.journal.as_ref().map_or(0, Journal::number),
            after: None,
            is_read: false,
            on_the_way: 0,
            spare: Vec::new(),
        });
        let has_entries = store.entries_from(None).next().is_some();
        self.tasks.push_back(Task::Save(Job::Begin { save: self.saves, has_entries }));
        self.fill(store);
    }

    /// Hands over the next slices.
    fn fill(&mut self, store: &Store) {
        let Some(save) = &mut self.save else { return };
        while !save.is_read && save.on_the_way < SLICES {
            let mut records = save.spare.pop().unwrap_or_default();
            let mut entries = store.entries_from(save.after.as_deref());
            let (mut last, mut times) = (None, LastTimes::default());
            for (key, entry) in entries.by_ref() {
                Record::of_entry(key, entry).write(&mut records, &mut times);
                if records.len() >= SLICE {
                    last = Some(key);
                    break;
                }
            }
            let after = last.map(Into::into);
            drop(entries);
            save.is_read = after.is_none();
            save.after = after;
            save.on_the_way += 1;
            self.tasks.push_back(Task::Save(Job::Entries { save: save.number, records }));
            if save.is_read {
                self.tasks.push_back(Task::Save(Job::End { save: save.number }));
            }
        }
    }

    /// The file is written: the journal has to know of it before it is in its place.
    fn commit(&mut self, identity: Identity, now: Duration, store: &mut Store) {
        let Some(save) = &self.save else { return };
        let number = save.number;
        let mut handle = None;
        if let Some(journal) = &mut self.journal {
            if let Err(error) = journal.name(identity) {
                return self.break_off(&error, now, store);
            }
            match journal.another() {
                Ok(file) => handle = file,
                Err(error) => {
                    self.tasks.push_back(Task::Save(Job::Abort));
                    return self.save_failed(&error, now, store);
                }
            }
            // Nothing changes any more: the file alone is the cache.
            let needed = if self.finishing && !store.is_dirty() { u64::MAX } else { self.backup_needs };
            self.obsolete.extend(journal.take_before(needed));
        }
        self.base = Base::File(identity);
        self.tasks.push_back(Task::Save(Job::Commit(Commit {
            save: number,
            journal: handle,
            backup: self.backup,
            obsolete: self.obsolete.clone(),
            refused: self.refused.clone(),
            damaged: self.damaged.clone(),
        })));
    }

    fn committed(&mut self, now: Duration, store: &mut Store) {
        let Some(save) = self.save.take() else { return };
        if let Some(journal) = &mut self.journal {
            journal.confirm();
        }
        self.backup = Backup::Before;
        self.backup_needs = save.first;
        self.obsolete.clear();
        self.refused.clear();
        self.damaged = None;
        self.is_begun = false;
        self.committed += 1;
        self.failures = 0;
        let took = now.saturating_sub(save.began);
        let rest = if self.journal.is_some() { took * REST } else { Duration::ZERO };
        self.rest_until = now + rest.max(self.interval);
        log::debug!("{}: written in {took:?}", self.paths.file.display());
        if let Some(trouble) = self.trouble.take() {
            let lasted = now.saturating_sub(trouble.since);
            log::warn!("{}: the cache is kept again, after {lasted:?}", self.paths.file.display());
        }
        if self.finishing {
            self.finish_save(now, store);
        } else {
            self.look(now, store);
        }
    }

    fn finish_save(&mut self, now: Duration, store: &mut Store) {
        if store.is_dirty() || self.is_in_trouble() {
            self.start_save(now, store);
        } else if let Some(journal) = &mut self.journal
            && let Err(error) = journal.remove()
        {
            log::warn!("{}: its journal can't be removed: {error}", self.paths.file.display());
        }
    }

    fn save_failed(&mut self, error: &PersistenceError, now: Duration, store: &mut Store) {
        self.save = None;
        self.failures = self.failures.saturating_add(1);
        self.failed += 1;
        store.mark_dirty();
        let retry = self.interval.clamp(PAUSE_MIN, RETRY_MAX);
        self.due = Some(now + retry);
        let journal = self.journal.as_ref().is_some_and(Journal::keeps) && self.trouble.is_none();
        if journal {
            log::error!("{error}: the journal keeps the changes until it can be");
            if self.finishing {
                // Nothing is lost, but the journal is needed.
                self.tasks.clear();
            }
            return;
        }
        self.tell(error, now);
    }

    /// The journal misses changes from here on: only the whole cache can heal that.
    fn break_off(&mut self, error: &PersistenceError, now: Duration, store: &mut Store) {
        if let Some(journal) = &mut self.journal {
            journal.abandon();
        }
        (self.unsynced, self.syncing) = (None, false);
        self.is_begun = false;
        self.tasks.clear();
        if self.save.take().is_some() {
            self.tasks.push_back(Task::Save(Job::Abort));
        }
        self.failures = self.failures.saturating_add(1);
        self.failed += 1;
        store.mark_dirty();
        self.due = Some(now + self.interval.clamp(PAUSE_MIN, SYNC_INTERVAL));
        self.tell(error, now);
    }

    fn tell(&mut self, error: &PersistenceError, now: Duration) {
        let trouble = self.trouble.get_or_insert(Trouble { since: now, told: now });
        let is_new = trouble.since == now;
        if is_new || now.saturating_sub(trouble.told) >= TELL_AGAIN {
            trouble.told = now;
            log::error!("{error}: CHANGES ARE NOT KEPT until {} can be written", self.paths.file.display());
        }
    }
}
