//! What is there of a cache when a server starts: the file or what stands in for it, and the changes of the journal.

use super::disk::Disk;
use super::error::{FileError, PersistenceError};
use super::file::{self, FileVersion};
use super::lines::Identity;
use super::paths::Paths;
use super::segment::{self, Base, End, Found};
use crate::connections::clacks::client::encode_value;
use crate::connections::clacks::store::Store;
use memchr::memchr2;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What was found. Nothing was changed on the disk.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) store: Store,
    /// What the journal is to be begun with, if the cache is in a file as a whole.
    pub(super) base: Option<Base>,
    /// How the journal can go on before the cache is in a file as a whole: with that, it can be read again as it was now. `None`:
    /// there is damage in between.
    pub(super) continues: Option<Continuation>,
    /// The configured file and its backup, where they are there but can't be used.
    pub(super) refused: Vec<Aside>,
    /// Files of a journal that are of no use any more once the cache is in the file.
    pub(super) obsolete: Vec<PathBuf>,
    /// Those of no use that somebody should look at.
    pub(super) aside: Vec<Aside>,
    /// One of which the beginning is of use, until the cache is in the file.
    pub(super) damaged: Option<Aside>,
    /// The number of the next file of the journal.
    pub(super) next_segment: u64,
    /// What could be of use, if only it could be read.
    pub(super) unreadable: Option<PersistenceError>,
    pub(super) notes: Vec<Note>,
    pub(super) source: Option<(PathBuf, FileVersion)>,
    pub(super) changes: u64,
}

/// A file that gets another name, so that nothing takes its place.
#[derive(Debug, Clone)]
pub(super) struct Aside {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
}

/// What the next file of the journal follows.
#[derive(Debug)]
pub(super) struct Continuation {
    pub(super) base: Base,
    /// The number of its first frame.
    pub(super) next_frame: u64,
    /// The files before it.
    pub(super) segments: Vec<Before>,
    /// Which file has to be named in it before that is in its place.
    pub(super) unnamed: Option<Identity>,
}

/// A file of the journal from before.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    /// Whole frames, and the header.
    pub(super) good: u64,
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
        continues: None,
        refused: Vec::new(),
        obsolete: Vec::new(),
        aside: Vec::new(),
        damaged: None,
        next_segment: 1,
        unreadable: None,
        notes: Vec::new(),
        source: None,
        changes: 0,
    };
    let runs = recovery.runs(disk, paths);
    let identity = recovery.load(disk, paths, now, &runs);
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
    Unfinished(Option<Identity>),
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
    fn load(&mut self, disk: &dyn Disk, paths: &Paths, now: f64, runs: &[Vec<Segment>]) -> Loaded {
        let segments = || runs.iter().flatten().map(|segment| &segment.found);
        // A server that was killed in its first save leaves an unfinished file; its journal has everything.
        let is_whole = segments().any(|found| found.header.base == Base::Empty);
        let mut failed = false;
        for path in [paths.file.clone(), paths.backup(), paths.temporary()] {
            let (is_first, is_last) = (path == paths.file, path == paths.temporary());
            if is_last && is_whole && !failed {
                break;
            }
            let mut store = Store::new(None);
            let read = disk.read(&path).map_err(FileError::from);
            // What no line can hold no server has written: somebody else has, by hand.
            let (mut left_out, mut nameless, mut encoded, mut timeless) = (0_u64, 0_u64, 0_u64, 0_u64);
            let read = read.and_then(|(from, _)| {
                file::read(from, now, &mut |key, mut entry| {
                    if has_line_end(key) {
                        left_out += 1;
                        return;
                    }
                    // A linked server would take what is sent of it for an entry of another key.
                    if key.is_empty() {
                        nameless += 1;
                        return;
                    }
                    if !(entry.cache_time.is_finite() && entry.access_time.is_finite()) {
                        timeless += 1;
                        for time in [&mut entry.cache_time, &mut entry.access_time] {
                            *time = Some(*time).filter(|time| time.is_finite()).unwrap_or(0.0);
                        }
                    }
                    if has_line_end(&entry.value) {
                        encoded += 1;
                        entry.value = encode_value(&entry.value).into_owned().into();
                    }
                    store.load(key, entry);
                })
            });
            match read {
                // One of a first save that did not succeed, and what the journal has came later.
                Ok((_, identity))
                    if is_last
                        && !failed
                        && segments().next().is_some()
                        && !segments().any(|found| found.files.contains(&identity)) =>
                {
                    self.note(format!("{}: it was never in its place, and is not used", path.display()));
                }
                Ok((version, identity)) => {
                    let found = [
                        (left_out, "entries are left out: their keys hold line ends"),
                        (nameless, "entries are left out: their keys are empty"),
                        (encoded, "values hold line ends, and are encoded as clients do it"),
                        (timeless, "entries have times that are no moments (inf or nan), which count as 0"),
                    ];
                    for (count, what) in found.into_iter().filter(|(count, _)| *count > 0) {
                        self.trouble(format!("{}: {count} {what}", path.display()));
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
                    return if is_last { Loaded::Unfinished(Some(identity)) } else { Loaded::File(identity) };
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    // Without a file before it, an unfinished one is what a first save leaves that did not succeed.
                    failed |= !is_last;
                    self.trouble(format!("{} {}", path.display(), Colon(&error)));
                    if let FileError::Io(error) = error {
                        self.unreadable(&path, error);
                    }
                    if !is_last {
                        self.refused.push(Aside { to: paths.aside(disk, &path), from: path });
                    }
                }
            }
        }
        if failed {
            let what = "neither it nor a backup can be used: the cache has nothing but what the journal has";
            self.trouble(format!("{}: {what}", paths.file.display()));
            return Loaded::Unfinished(None);
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
                Loaded::Unfinished(_) => true,
            })
        };
        let chosen = runs.iter().rposition(belongs);
        let mut changes = 0;
        for (at, run) in runs.into_iter().enumerate() {
            let count: u64 = run.iter().map(|segment| segment.found.records).sum();
            if Some(at) == chosen {
                self.continues = self.make(disk, paths, run);
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
                    self.refuse(disk, paths, segment.path, why);
                }
            }
        }
        if chosen.is_none() {
            let base = match loaded {
                Loaded::Nothing => Some(Base::Empty),
                Loaded::File(identity) => Some(Base::File(identity)),
                Loaded::Unfinished(identity) => identity.map(Base::File),
            };
            self.continues =
                base.map(|base| Continuation { base, next_frame: 1, segments: Vec::new(), unnamed: None });
        } else if let (Loaded::Unfinished(identity), Some(continues)) = (loaded, &mut self.continues) {
            continues.unnamed = identity;
        }
        self.changes = changes;
        if changes > 0 {
            let (live, dead) = (self.store.live(), self.store.tombstones());
            self.note(format!("journal: {changes} changes made: {live} entries and {dead} tombstones now"));
        }
        if changes == 0
            && self.aside.is_empty()
            && self.damaged.is_none()
            && self.source.as_ref().is_none_or(|(path, _)| *path == paths.file)
        {
            self.base = clean_base;
        }
        if let (Some(_), Some(continues)) = (&self.base, &mut self.continues) {
            self.obsolete.extend(continues.segments.drain(..).map(|segment| segment.path));
        }
    }

    /// Reads the files of the journal: each run of them is without a gap.
    fn runs(&mut self, disk: &dyn Disk, paths: &Paths) -> Vec<Vec<Segment>> {
        let listed = paths.segments(disk).unwrap_or_else(|error| {
            self.trouble(format!("{}: can't be listed: {error}", paths.folder().display()));
            self.unreadable(paths.folder(), error);
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
                    self.refuse(disk, paths, path, "it has no header of its own");
                    continue;
                }
                Err(error) => {
                    self.refuse(disk, paths, path.clone(), &format!("it can't be read: {error}"));
                    self.unreadable(&path, error);
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

    /// Makes the changes of a run. `None`: not all of them can be made, so no file can follow it.
    fn make(&mut self, disk: &dyn Disk, paths: &Paths, run: Vec<Segment>) -> Option<Continuation> {
        let mut next_frame = 1;
        let (mut segments, mut is_whole) = (Vec::new(), true);
        for Segment { path, len, found } in run {
            // Once more, now that it is known to be the right one.
            let read =
                disk.read(&path).and_then(|(from, len)| segment::read(from, len, Some(&mut self.store)));
            if let Err(error) = read {
                self.refuse(disk, paths, path, &format!("it can't be read: {error}"));
                is_whole = false;
                break;
            }
            match found.end {
                End::Whole => {}
                End::Torn => {
                    let cut = len.saturating_sub(found.good);
                    self.note(format!(
                        "{}: {cut} bytes of an unfinished turn at its end are dropped",
                        path.display()
                    ));
                }
                End::Damaged => {
                    let to = paths.aside(disk, &path);
                    self.trouble(format!(
                        "{}: it is damaged at byte {}: nothing from there on is used; a server sets it aside as {} once the cache is saved",
                        path.display(),
                        found.good,
                        name(&to)
                    ));
                    self.damaged = Some(Aside { from: path, to });
                    is_whole = false;
                    break;
                }
            }
            next_frame = found.next_frame;
            segments.push(Before { number: found.header.number, path, good: found.good });
        }
        if is_whole {
            return Some(Continuation { base: Base::Before, next_frame, segments, unnamed: None });
        }
        self.obsolete.extend(segments.into_iter().map(|segment| segment.path));
        None
    }

    /// Nothing of this file of the journal is used.
    fn refuse(&mut self, disk: &dyn Disk, paths: &Paths, path: PathBuf, why: &str) {
        let to = paths.aside(disk, &path);
        self.trouble(format!("{}: {why}; a server sets it aside as {}", path.display(), name(&to)));
        self.aside.push(Aside { from: path, to });
    }

    /// The system does not let it be read, which is no matter of what is in it: a disk that fails is something else.
    fn unreadable(&mut self, path: &Path, error: io::Error) {
        const EIO: i32 = rustix::io::Errno::IO.raw_os_error();
        if error.kind() != io::ErrorKind::NotFound && error.raw_os_error().is_some_and(|code| code != EIO) {
            let path = path.to_owned();
            self.unreadable.get_or_insert(PersistenceError { path, doing: "read", error });
        }
    }
}

fn name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
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
