//! What is there of a cache when a server starts: the file or what stands in for it, and the changes of the journal.

use super::disk::Disk;
use super::error::FileError;
use super::file::{self, FileVersion};
use super::lines::Identity;
use super::paths::Paths;
use super::segment::{self, Base, End, Found};
use crate::connections::clacks::client::encode_value;
use crate::connections::clacks::store::Store;
use memchr::memchr2;
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

fn has_line_end(text: &[u8]) -> bool {
    memchr2(b'\n', b'\r', text).is_some()
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
    let runs = recovery.runs(disk, paths);
    // A server that was killed in its first save leaves an unfinished file; its journal has everything.
    let is_whole = runs.iter().flatten().any(|segment| segment.found.header.base == Base::Empty);
    let identity = recovery.load(disk, paths, now, is_whole);
    recovery.replay(disk, paths, identity, runs);
    recovery
}

/// What the changes of the journal are to be added to.
#[derive(Debug, Clone, Copy)]
enum Loaded {
    /// There was no file.
    Nothing,
    File(Identity),
    /// The file and its backup could not be used: what was unfinished stands in for them, or nothing.
    Unfinished,
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

    /// Loads the first file that can be used. `is_whole`: there is a journal that began with an empty cache.
    fn load(&mut self, disk: &dyn Disk, paths: &Paths, now: f64, is_whole: bool) -> Loaded {
        let mut failed = false;
        for path in [paths.file.clone(), paths.backup(), paths.temporary()] {
            let (is_first, is_last) = (path == paths.file, path == paths.temporary());
            if is_last && is_whole && !failed {
                break;
            }
            let mut store = Store::new(None);
            let read = disk.read(&path).map_err(FileError::from);
            // What no line can hold no server has written: somebody else has, by hand.
            let (mut left_out, mut encoded) = (0_u64, 0_u64);
            let read = read.and_then(|(from, _)| {
                file::read(from, now, &mut |key, mut entry| {
                    if has_line_end(key) {
                        left_out += 1;
                        return;
                    }
                    if has_line_end(&entry.value) {
                        encoded += 1;
                        entry.value = encode_value(&entry.value).into_owned().into();
                    }
                    store.load(key, entry);
                })
            });
            match read {
                Ok((version, identity)) => {
                    if left_out > 0 {
                        let what = "entries are left out: their keys hold line ends";
                        self.trouble(format!("{}: {left_out} {what}", path.display()));
                    }
                    if encoded > 0 {
                        let what = "values hold line ends, and are encoded as clients do it";
                        self.trouble(format!("{}: {encoded} {what}", path.display()));
                    }
                    let (live, dead) = (store.live(), store.tombstones());
                    self.store = store;
                    let text = format!("{}: {live} entries and {dead} tombstones loaded", path.display());
                    if is_first {
                        self.note(text);
                        self.base = (version == FileVersion::V3).then_some(Base::File(identity));
                    } else {
                        self.trouble(text);
                    }
                    self.source = Some((path, version));
                    return if is_last { Loaded::Unfinished } else { Loaded::File(identity) };
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    failed = true;
                    self.is_refused |= is_first;
                    self.trouble(format!("{} {}", path.display(), Colon(&error)));
                }
            }
        }
        if failed {
            self.trouble(format!("{}: neither it nor a backup can be used", paths.file.display()));
            return Loaded::Unfinished;
        }
        self.base = Some(Base::Empty);
        self.note(format!("{}: there is no file yet, the cache is empty", paths.file.display()));
        Loaded::Nothing
    }

    /// Makes the changes of the journal that belongs to the loaded file.
    fn replay(&mut self, disk: &dyn Disk, paths: &Paths, loaded: Loaded, runs: Vec<Vec<Segment>>) {
        let clean_base = self.base.take();
        let belongs = |run: &Vec<Segment>| {
            run.iter().any(|segment| match loaded {
                Loaded::File(identity) => {
                    segment.found.header.base == Base::File(identity)
                        || segment.found.files.contains(&identity)
                }
                Loaded::Nothing => segment.found.header.base == Base::Empty,
                // What the last journal has is true, and all there is.
                Loaded::Unfinished => true,
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
    fn runs(&mut self, disk: &dyn Disk, paths: &Paths) -> Vec<Vec<Segment>> {
        let listed = paths.segments(disk).unwrap_or_else(|error| {
            self.trouble(format!("{}: can't be listed: {error}", paths.folder().display()));
            Vec::new()
        });
        self.next_segment = listed.last().map_or(1, |(number, _)| number.saturating_add(1));
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
                    && found.header.base == Base::Before
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
