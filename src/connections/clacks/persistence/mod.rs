//! Keeping the cache while the server is down: a file in the reference server's format, and a journal beside it.
//!
//! [`Persistence::load`] finds what is there, [`Server::keep`](super::Server::keep) keeps it from then on. [`read_file`] and
//! [`write_file`] read and write the file alone.

mod disk;
mod error;
mod file;
mod journal;
pub(super) mod keeper;
mod lines;
mod lock;
mod old;
mod options;
mod paths;
mod record;
mod recovery;
pub(super) mod saver;
pub(super) mod scalar;
mod segment;
#[cfg(test)]
mod simulation;
mod v3;

pub use error::{FileError, PersistenceError};
pub use file::{FileVersion, read_file, write_file};
pub use options::{JournalSync, PersistenceOptions};
pub use recovery::Note;

use self::disk::{Disk, RealDisk};
use self::keeper::{JournalLimits, Keeper};
use self::lock::Lock;
use self::paths::Paths;
use self::recovery::{Recovery, recover};
use self::saver::Saver;
use super::store::Store;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// What is on the disk of a cache, to be kept by a server from now on.
pub struct Persistence {
    options: PersistenceOptions,
    recovery: Recovery,
    lock: Option<Lock>,
}

impl Persistence {
    /// Looks for a cache: the file, else its backup, else the one that was being written, else none; and for the changes
    /// in its journal. Nothing on the disk is changed, and nothing that is there is an error: see the [notes](Self::notes).
    pub fn load(options: PersistenceOptions) -> (Self, Store) {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let paths = Paths { file: options.file.clone() };
        let mut recovery = recover(&RealDisk, &paths, since_1970.as_secs_f64());
        let store = std::mem::replace(&mut recovery.store, Store::new(None));
        (Self { options, recovery, lock: None }, store)
    }

    /// As [`load`](Self::load), for who will [keep](super::Server::keep) the cache: another server that does the same can't
    /// begin before this process has ended.
    ///
    /// # Errors
    /// When another server keeps it; when there is something that is no file, as it would be replaced by one; and when there is a
    /// file that the system does not let this process read, as the cache would begin without it. That the lock can't be had for another reason is a [note](Self::notes).
    pub fn load_locked(options: PersistenceOptions) -> Result<(Self, Store), PersistenceError> {
        let paths = Paths { file: options.file.clone() };
        for path in [&paths.file, &paths.backup(), &paths.temporary()] {
            if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
                let error = std::io::Error::other("it is no regular file");
                return Err(PersistenceError { path: path.clone(), doing: "used", error });
            }
        }
        let lock = Lock::take(&paths)?;
        let (mut persistence, store) = Self::load(options);
        if let Some(error) = persistence.recovery.unreadable.take() {
            return Err(error);
        }
        match lock {
            Ok(lock) => persistence.lock = Some(lock),
            Err(error) => {
                let text = format!(
                    "{}: can't be locked, see to it that no other server uses these files: {error}",
                    paths.lock().display()
                );
                persistence.recovery.notes.push(Note { is_trouble: true, text });
            }
        }
        Ok((persistence, store))
    }

    /// The file that is locked: whoever keeps the cache must be able to open it.
    pub fn lock_file(&self) -> Option<&Path> {
        self.lock.as_ref().map(Lock::path)
    }

    /// What there is to tell of what was found, for a log.
    pub fn notes(&self) -> &[Note] {
        &self.recovery.notes
    }

    /// Of which version the file is that was loaded; `None`: there was none that could be used.
    pub fn version(&self) -> Option<FileVersion> {
        self.recovery.source.as_ref().map(|(_, version)| *version)
    }

    /// How many changes the journal had.
    pub fn changes(&self) -> u64 {
        self.recovery.changes
    }

    pub(super) fn into_parts(mut self) -> (Arc<dyn Disk>, Saver, Keeper, Option<Held>) {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let saver = Saver::new(disk.clone(), Paths { file: self.options.file.clone() });
        let keeper = Keeper::new(disk.clone(), &self.options, JournalLimits::DEFAULT, &mut self.recovery);
        (disk, saver, keeper, self.lock.map(|lock| Held { _lock: lock }))
    }
}

/// No other server keeps the same files while this is there.
#[derive(Debug)]
pub(super) struct Held {
    _lock: Lock,
}

impl fmt::Debug for Persistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Persistence").field("options", &self.options).field("notes", &self.notes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_line_can_hold_is_encoded_or_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let mut text = b"\0CLACKSV3--- \n".to_vec();
        for (key, value) in [("k", "\"a\\nb\""), ("\"x\\ny\"", "v"), ("z", "plain")] {
            let fields = "\n  accesstime: 1\n  cachetime: 1\n  data: ";
            text.extend(format!("{key}: {fields}{value}\n  deleted: 0\n").bytes());
        }
        text.extend(b"\0CLACKSV3");
        std::fs::write(&path, text).unwrap();
        let (persistence, store) = Persistence::load(PersistenceOptions::new(&path));
        let entries: Vec<_> = store.entries_from(None).map(|(key, entry)| (key, &*entry.value)).collect();
        assert_eq!(entries, [(&b"k"[..], &b"PAGECAMELCLACKSB64:YQpi"[..]), (b"z", b"plain")]);
        let notes: Vec<_> =
            persistence.notes().iter().map(|note| (note.is_trouble, note.to_string())).collect();
        let shown = path.display();
        assert_eq!(
            notes,
            [
                (true, format!("{shown}: 1 entries are left out: their keys hold line ends")),
                (true, format!("{shown}: 1 values hold line ends, and are encoded as clients do it")),
                (false, format!("{shown}: 2 entries and 0 tombstones loaded")),
            ]
        );
    }

    #[test]
    fn entries_without_a_key_are_left_out_and_times_that_are_no_moments_count_as_0() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let mut text = b"\0CLACKSV3--- \n".to_vec();
        for (key, set, asked) in [("''", "1", "2"), ("a", "'inf'", "2"), ("b", "1", "'nan'"), ("c", "1", "2")]
        {
            let fields =
                format!("{key}: \n  accesstime: {asked}\n  cachetime: {set}\n  data: v\n  deleted: 0\n");
            text.extend(fields.bytes());
        }
        text.extend(b"\0CLACKSV3");
        std::fs::write(&path, text).unwrap();
        let (persistence, store) = Persistence::load(PersistenceOptions::new(&path));
        let times = store.entries_from(None).map(|(key, entry)| (key, entry.cache_time, entry.access_time));
        assert_eq!(times.collect::<Vec<_>>(), [(&b"a"[..], 0.0, 2.0), (b"b", 1.0, 0.0), (b"c", 1.0, 2.0)]);
        let troubles: Vec<_> = persistence.notes().iter().filter(|note| note.is_trouble).collect();
        let shown = path.display();
        assert_eq!(
            troubles.iter().map(|note| note.to_string()).collect::<Vec<_>>(),
            [
                format!("{shown}: 1 entries are left out: their keys are empty"),
                format!("{shown}: 2 entries have times that are no moments (inf or nan), which count as 0"),
            ]
        );
    }

    #[test]
    fn what_is_no_file_is_not_replaced_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        for (no_file, named) in [("cache", "cache"), ("cache_bck", "cache"), ("cache_", "cache")] {
            std::fs::create_dir(folder.path().join(no_file)).unwrap();
            let error =
                Persistence::load_locked(PersistenceOptions::new(folder.path().join(named))).unwrap_err();
            let wanted =
                format!("{}: can't be used: it is no regular file", folder.path().join(no_file).display());
            assert_eq!(error.to_string(), wanted);
            std::fs::remove_dir(folder.path().join(no_file)).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(Persistence::load_locked(PersistenceOptions::new("/dev/null")).is_err());
        Persistence::load_locked(PersistenceOptions::new(path)).unwrap();
    }

    #[test]
    fn a_file_that_may_not_be_read_is_no_cache_that_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        for name in ["cache", "cache_bck", "cache_journal.1"] {
            // What even root can't open.
            let unreadable = folder.path().join(name);
            std::os::unix::fs::symlink(name, &unreadable).unwrap();
            let refused = Persistence::load_locked(PersistenceOptions::new(&path)).unwrap_err();
            assert_eq!(refused.path(), unreadable);
            let text = refused.to_string();
            assert!(text.starts_with(&format!("{}: can't be read: ", unreadable.display())), "{text}");
            std::fs::remove_file(&unreadable).unwrap();
        }
        Persistence::load_locked(PersistenceOptions::new(&path)).unwrap();
    }
}
