//! What is there of a cache when a server starts: the file or what stands in for it, and the changes of the journal.

use super::disk::Disk;
use super::error::FileError;
use super::file::{self, FileVersion};
use super::lines::Identity;
use super::paths::Paths;
use super::segment::{self, Base, End, Found};
use crate::connections::clacks::store::Store;
use std::fmt;
use std::path::{Path, PathBuf};

/// What was found. Nothing was changed on the disk.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) store: Store,
    /// What the journal is to be begun with, if the cache is in a file as a whole.
    pub(super) base: Option<Base>,
    /// The configured file is there, but was not used.
    pub(super) is_refused: bool,
    /// Files of a journal that are of no use any more once the cache is in the file.
    pub(super) obsolete: Vec<PathBuf>,
    /// Those that somebody should look at.
    pub(super) aside: Vec<PathBuf>,
    /// The number of the next file of the journal.
    pub(super) next_segment: u64,
    pub(super) notes: Vec<Note>,
    pub(super) source: Option<(PathBuf, FileVersion)>,
    pub(super) changes: u64,
}

/// Something worth telling about a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Did something go wrong?
    pub is_trouble: bool,
    /// What there is to tell.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Looks for a cache. `now`, in Unix time, stands for times that an old file has not.
pub(super) fn recover(disk: &dyn Disk, paths: &Paths, now: f64) -> Recovery {
    let mut recovery = Recovery {
        store: Store::new(None),
        base: None,
        is_refused: false,
        obsolete: Vec::new(),
        aside: Vec::new(),
        next_segment: 1,
        notes: Vec::new(),
        source: None,
        changes: 0,
    };
    let identity = recovery.load(disk, paths, now);
    recovery.replay(disk, paths, identity);
    recovery
}

/// A file of the journal and what is in it.
struct Segment {
    path: PathBuf,
    len: u64,
    found: Found,
}

impl Recovery {
    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(Note { is_trouble: false, text: text.into() });
    }

    fn trouble(&mut self, text: impl Into<String>) {
        self.notes.push(Note { is_trouble: true, text: text.into() });
    }

    /// Loads the first file that can be used.
    fn load(&mut self, disk: &dyn Disk, paths: &Paths, now: f64) -> Option<Identity> {
        let candidates = [paths.file.clone(), paths.backup(), paths.temporary()];
        let mut failed = 0;
        for (at, path) in candidates.iter().enumerate() {
            let mut store = Store::new(None);
            let read = disk.read(path).map_err(FileError::from);
            let read =
                read.and_then(|(from, _)| file::read(from, now, &mut |key, entry| store.load(key, entry)));
            match read {
                Ok((version, identity)) => {
                    self.store = store;
                    self.source = Some((path.clone(), version));
                    let (live, dead) = (self.store.live(), self.store.tombstones());
                    let text = format!("{}: {live} entries and {dead} tombstones loaded", path.display());
                    if at > 0 {
                        self.trouble(text);
                    } else {
                        self.note(text);
                        self.base = (version == FileVersion::V3).then_some(Base::File(identity));
                    }
                    return Some(identity);
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    failed += 1;
                    self.is_refused |= at == 0;
                    self.trouble(format!("{} {}", path.display(), Colon(&error)));
                }
            }
        }
        if failed == 0 {
            self.base = Some(Base::Empty);
            self.note(format!("{}: there is no file yet, the cache is empty", paths.file.display()));
        } else {
            self.trouble(format!("{}: neither it nor a backup can be used", paths.file.display()));
        }
        None
    }

    /// Makes the changes of the journal that belongs to the loaded file.
    fn replay(&mut self, disk: &dyn Disk, paths: &Paths, identity: Option<Identity>) {
        let listed = paths.segments(disk).unwrap_or_else(|error| {
            self.trouble(format!("{}: can't be listed: {error}", paths.folder().display()));
            Vec::new()
        });
        if listed.is_empty() {
            return;
        }
        self.next_segment = listed.last().map_or(1, |(number, _)| number.saturating_add(1));
        let clean_base = self.base.take();
        let runs = self.runs(disk, listed);
        let belongs = |run: &Vec<Segment>| {
            run.iter().any(|segment| match identity {
                Some(identity) => {
                    segment.found.header.base == Base::File(identity)
                        || segment.found.files.contains(&identity)
                }
                // No file could be used: what the journal has is true, and all there is.
                None => segment.found.header.base == Base::Empty || clean_base.is_none(),
            })
        };
        let chosen = runs.iter().rposition(belongs);
        let mut changes = 0;
        for (at, run) in runs.into_iter().enumerate() {
            let count: u64 = run.iter().map(|segment| segment.found.records).sum();
            if Some(at) == chosen {
                self.make(disk, run);
                changes = count;
            } else if chosen.is_some_and(|chosen| at < chosen) || count == 0 {
                self.obsolete.extend(run.into_iter().map(|segment| segment.path));
            } else {
                for segment in run {
                    let why = if chosen.is_some() {
                        "changes before it are missing"
                    } else {
                        "it belongs to another persistence file"
                    };
                    self.refuse(segment.path, why);
                }
            }
        }
        self.changes = changes;
        if changes > 0 {
            let (live, dead) = (self.store.live(), self.store.tombstones());
            self.note(format!("journal: {changes} changes made: {live} entries and {dead} tombstones now"));
        }
        if changes == 0
            && self.aside.is_empty()
            && self.source.as_ref().is_none_or(|(path, _)| *path == paths.file)
        {
            self.base = clean_base;
        }
    }

    /// Reads the files of the journal: each run of them is without a gap.
    fn runs(&mut self, disk: &dyn Disk, listed: Vec<(u64, PathBuf)>) -> Vec<Vec<Segment>> {
        let mut runs: Vec<Vec<Segment>> = Vec::new();
        let last = listed.last().map(|(number, _)| *number);
        for (number, path) in listed {
            let read = disk.read(&path).and_then(|(from, len)| Ok((segment::read(from, len, None)?, len)));
            let (found, len) = match read {
                Ok((Some(found), len)) if found.header.number == number => (found, len),
                // A server that ends while it makes one leaves it so.
                Ok((None, len)) if len <= segment::HEADER_LEN as u64 && last == Some(number) => {
                    self.obsolete.push(path);
                    continue;
                }
                Ok(_) => {
                    self.refuse(path, "it has no header of its own");
                    continue;
                }
                Err(error) => {
                    self.refuse(path, &format!("it can't be read: {error}"));
                    continue;
                }
            };
            let follows = runs.last().and_then(|run| run.last()).is_some_and(|before| {
                before.found.end != End::Damaged
                    && before.found.next_frame == found.header.first_frame
                    && before.found.header.number.checked_add(1) == Some(number)
                    && found.header.base != Base::Gap
            });
            let segment = Segment { path, len, found };
            match runs.last_mut() {
                Some(run) if follows => run.push(segment),
                _ => runs.push(vec![segment]),
            }
        }
        runs
    }

    fn make(&mut self, disk: &dyn Disk, run: Vec<Segment>) {
        for Segment { path, len, found } in run {
            // Once more, now that it is known to be the right one.
            let read =
                disk.read(&path).and_then(|(from, len)| segment::read(from, len, Some(&mut self.store)));
            if let Err(error) = read {
                self.refuse(path, &format!("it can't be read: {error}"));
                return;
            }
            match found.end {
                End::Whole => self.obsolete.push(path),
                End::Torn => {
                    let cut = len.saturating_sub(found.good);
                    self.note(format!(
                        "{}: {cut} bytes of an unfinished turn at its end are dropped",
                        path.display()
                    ));
                    self.obsolete.push(path);
                }
                End::Damaged => {
                    let at = found.good;
                    self.refuse(path, &format!("it is damaged at byte {at}: nothing from there on is used"));
                }
            }
        }
    }

    fn refuse(&mut self, path: PathBuf, why: &str) {
        self.trouble(format!("{}: {why}; it is kept as {}", path.display(), aside_name(&path)));
        self.aside.push(path);
    }
}

fn aside_name(path: &Path) -> String {
    let name = Paths::segment_aside(path);
    name.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// An error behind the name of its file.
struct Colon<'a>(&'a FileError);

impl fmt::Display for Colon<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FileError::Shape { .. } => write!(f, "is damaged: {}", self.0),
            error => error.fmt(f),
        }
    }
}
