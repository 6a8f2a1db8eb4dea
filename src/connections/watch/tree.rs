//! What is watched for, and the system's watches that this needs.
//!
//! A file is watched through its folder, so that it does not matter what stands under its name. Every folder above has a
//! watch that tells only of its own end; where one is missing, the last that exists tells of what comes into it. Whenever a folder in
//! such a chain comes or goes, the chain is looked at anew.

use super::glob;
use super::{Seen, WatchEvent};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::libc;
use nix::sys::inotify::{AddWatchFlags as Flags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::{self, ReadDir};
use std::io;
use std::mem::take;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// So often a chain of folders is looked at when it changes meanwhile.
const LOOKS: usize = 16;
/// So many entries of a folder are told in one step.
const ENTRIES: usize = 64;
/// So many names are remembered as told by looking, for the events of the same to be left out.
const FOUND: usize = 1 << 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Link,
    Directory,
    Tree,
    Pattern,
}

#[derive(Debug)]
struct Target {
    path: PathBuf,
    kind: Kind,
    /// What of it is there, as it was told: itself, or the names that match.
    known: BTreeSet<PathBuf>,
}

impl Target {
    /// Whether something that happens to `path` is to be told.
    fn wants(&self, path: &Path) -> bool {
        self.knows(path)
            || match self.kind {
                Kind::Directory => path.parent() == Some(&self.path),
                Kind::Tree => path.starts_with(&self.path),
                _ => false,
            }
    }

    /// Whether `path` is one of those that it keeps in mind.
    fn knows(&self, path: &Path) -> bool {
        match (self.kind, self.path.file_name(), path.file_name()) {
            (Kind::Pattern, Some(pattern), Some(name)) => {
                path.parent() == self.path.parent() && glob::matches(pattern.as_bytes(), name.as_bytes())
            }
            _ => path == self.path,
        }
    }
}

/// An event on its way.
#[derive(Debug)]
pub(super) struct Told {
    what: What,
    path: PathBuf,
    directory: bool,
}

#[derive(Debug)]
enum What {
    Seen(Seen<'static>),
    Renamed(PathBuf),
    Unwatched(io::Error),
}

impl Told {
    pub(super) fn event(&self) -> WatchEvent<'_> {
        let seen = match &self.what {
            What::Seen(seen) => *seen,
            What::Renamed(from) => Seen::Renamed { from },
            What::Unwatched(error) => Seen::Unwatched(error),
        };
        WatchEvent { seen, path: &self.path, directory: self.directory }
    }
}

/// What comes next.
pub(super) enum Step {
    Tell(Told),
    /// Something was done, and there may be more.
    More,
    /// Nothing, until the system says so.
    Wait,
}

/// A folder whose content is to be told.
#[derive(Debug)]
struct Scan {
    folder: PathBuf,
    seen: Seen<'static>,
}

/// Half of a pair: the other one comes next if it comes at all.
#[derive(Debug)]
struct Moved {
    cookie: u32,
    path: PathBuf,
    directory: bool,
}

#[derive(Debug)]
pub(super) struct Engine {
    inotify: Inotify,
    targets: Vec<Target>,
    most: usize,
    /// What is told of a file, or of what is in a folder.
    content: Flags,
    /// Under which names something is watched: one thing may have several.
    names: HashMap<WatchDescriptor, Vec<Name>>,
    watches: HashMap<Name, WatchDescriptor>,
    out: VecDeque<Told>,
    scans: VecDeque<Scan>,
    scanning: Option<(Scan, ReadDir)>,
    /// Told by looking; the system may tell it once more.
    found: HashSet<PathBuf>,
    /// Folders were looked at since the system had nothing more to tell: they may have been others than those that it speaks of.
    looked: bool,
    /// Folders that had another name already when they were to be looked at. What the system tells next says which.
    missed: Vec<Scan>,
    /// Told by the system of what is in a folder that was missed.
    heard: HashSet<PathBuf>,
    moved: Option<Moved>,
}

/// A path, and whether it is a symbolic link itself that is meant.
type Name = (PathBuf, bool);

impl Engine {
    pub(super) fn new(targets: Vec<(PathBuf, Kind)>, most: usize, uses: bool) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let targets = targets.into_iter().map(|(path, kind)| {
            Ok(Target { path: std::path::absolute(path)?, kind, known: BTreeSet::new() })
        });
        let mut engine = Self {
            inotify,
            targets: targets.collect::<io::Result<_>>()?,
            most,
            content: if uses { content() | self::uses() } else { content() },
            names: HashMap::new(),
            watches: HashMap::new(),
            out: VecDeque::new(),
            scans: VecDeque::new(),
            scanning: None,
            found: HashSet::new(),
            looked: false,
            missed: Vec::new(),
            heard: HashSet::new(),
            moved: None,
        };
        engine.resolve_all();
        Ok(engine)
    }

    /// Does a little, or gives out what is to be told.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        if let Some(told) = self.out.pop_front() {
            return Ok(Step::Tell(told));
        }
        if self.scan() {
            return Ok(Step::More);
        }
        match self.inotify.read_events() {
            Ok(events) => events.into_iter().for_each(|event| self.event(event)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if self.moved.is_some() => self.gone_elsewhere(),
            Err(Errno::EAGAIN) => {
                (self.found, self.heard) = (HashSet::new(), HashSet::new());
                self.missed.clear();
                self.looked = false;
                return Ok(Step::Wait);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Step::More)
    }

    // ---- looking --------------------------------------------------------------------------------

    /// Goes on with telling what is in folders. `false`: there is nothing to do.
    fn scan(&mut self) -> bool {
        let Some((scan, mut entries)) = self.scanning.take() else {
            let Some(scan) = self.scans.pop_front() else { return false };
            self.looked = true;
            let entries = fs::read_dir(&scan.folder);
            match entries {
                Ok(entries) if self.is_the_one(&scan.folder) => self.scanning = Some((scan, entries)),
                // One that has gone already is told by the system.
                Ok(_) | Err(_) => self.miss(scan),
            }
            return true;
        };
        for _ in 0..ENTRIES {
            let Some(entry) = entries.next() else { return true };
            let Ok(entry) = entry else { continue };
            let (path, directory) = (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_dir()));
            if self.heard.remove(&path) {
                continue;
            }
            if self.found.len() < FOUND {
                self.found.insert(path.clone());
            }
            self.tell(scan.seen, &path, directory);
            if directory && self.follows(&path) {
                self.enter(&path, scan.seen, true);
            }
        }
        self.scanning = Some((scan, entries));
        true
    }

    fn tell(&mut self, seen: Seen<'static>, path: &Path, directory: bool) {
        let mut wanted = false;
        for target in &mut self.targets {
            if !target.wants(path) {
                continue;
            }
            wanted = true;
            if target.knows(path) {
                match seen {
                    Seen::Removed => {
                        target.known.remove(path);
                    }
                    Seen::Exists | Seen::Created if target.known.len() < self.most => {
                        target.known.insert(path.to_owned());
                    }
                    _ => {}
                }
            }
        }
        if wanted {
            self.out.push_back(Told { what: What::Seen(seen), path: path.to_owned(), directory });
        }
    }

    /// Whether the content of a folder is to be told.
    fn follows(&self, folder: &Path) -> bool {
        self.targets.iter().any(|target| match target.kind {
            Kind::Tree => folder.starts_with(&target.path),
            Kind::Directory => folder == target.path,
            _ => false,
        })
    }

    /// Whether it is in a tree that is followed.
    fn follows_below(&self, path: &Path) -> bool {
        let inside = |target: &Target| path.starts_with(&target.path) && path != target.path;
        self.targets.iter().any(|target| target.kind == Kind::Tree && inside(target))
    }

    /// Watches a folder and then looks what is in it, so that nothing is missed in between.
    fn enter(&mut self, folder: &Path, seen: Seen<'static>, inner: bool) {
        let added = self.add(folder, self.content | Flags::IN_ONLYDIR, inner);
        let scan = Scan { folder: folder.to_owned(), seen };
        if matches!(added, Ok(true)) || matches!(seen, Seen::Exists) {
            self.scans.push_back(scan);
        } else if added.is_err() {
            self.miss(scan);
        }
    }

    fn miss(&mut self, scan: Scan) {
        if self.missed.len() < self.most {
            self.missed.push(scan);
        }
    }

    /// A folder that is followed is called `to` now. Whatever of it was not looked at yet, because it had this name already, is.
    fn look_after_rename(&mut self, from: &Path, to: &Path) {
        let name = (to.to_owned(), true);
        let flags = self.content | ends() | Flags::IN_ONLYDIR | Flags::IN_DONT_FOLLOW;
        let flags = flags | Flags::from_bits_retain(libc::IN_MASK_ADD | libc::IN_EXCL_UNLINK);
        match self.inotify.add_watch(to, flags) {
            Ok(watch) if self.watches.get(&name) == Some(&watch) => {}
            // Another one had its name when that was to be watched.
            Ok(_) => self.enter(to, Seen::Created, true),
            // It has a third name: what is watched is told of that, too.
            Err(_) if self.watches.contains_key(&name) => {}
            Err(_) => self.miss(Scan { folder: to.to_owned(), seen: Seen::Created }),
        }
        let below = |path: &Path| Some(to.join(path.strip_prefix(from).ok()?));
        let had_old_name = |scan: &Scan| scan.folder.starts_with(from);
        let (renamed, missed): (Vec<_>, _) = take(&mut self.missed).into_iter().partition(had_old_name);
        let (waiting, scans): (VecDeque<_>, VecDeque<_>) =
            take(&mut self.scans).into_iter().partition(had_old_name);
        (self.missed, self.scans) = (missed, scans);
        for Scan { folder, seen } in renamed.into_iter().chain(waiting) {
            let Some(folder) = below(&folder) else { continue };
            if folder != to && self.add(&folder, self.content | Flags::IN_ONLYDIR, true).is_err() {
                self.miss(Scan { folder, seen });
            } else if self.scans.iter().all(|scan| scan.folder != folder) {
                self.scans.push_back(Scan { folder, seen });
            }
        }
        if self.looked {
            self.verify_below(to);
        }
        let heard: Vec<PathBuf> = self.heard.iter().filter_map(|path| below(path)).collect();
        self.heard.retain(|path| !path.starts_with(from));
        self.heard.extend(heard);
    }

    /// Whether what stands under the name of a folder is what is watched under it.
    fn is_the_one(&mut self, folder: &Path) -> bool {
        let watched = [true, false]
            .into_iter()
            .find_map(|itself| Some((itself, *self.watches.get(&(folder.to_owned(), itself))?)));
        let Some((itself, expected)) = watched else { return true };
        let mut flags = ends() | Flags::IN_ONLYDIR | Flags::from_bits_retain(libc::IN_MASK_ADD);
        flags.set(Flags::IN_DONT_FOLLOW, itself);
        match self.inotify.add_watch(folder, flags) {
            Ok(watch) if watch == expected => true,
            Ok(other) => {
                if !self.names.contains_key(&other) {
                    let _ = self.inotify.rm_watch(other);
                }
                false
            }
            Err(_) => false,
        }
    }

    /// Whether what is watched below a folder is what has these names; else that is, from now on.
    fn verify_below(&mut self, folder: &Path) {
        let inside = |(path, itself): &&Name| *itself && path != folder && path.starts_with(folder);
        let names: Vec<Name> = self.watches.keys().filter(inside).cloned().collect();
        let flags = self.content | ends() | Flags::IN_ONLYDIR | Flags::IN_DONT_FOLLOW;
        let flags = flags | Flags::from_bits_retain(libc::IN_MASK_ADD | libc::IN_EXCL_UNLINK);
        for name in names {
            let Ok(watch) = self.inotify.add_watch(&name.0, flags) else { continue };
            if self.watches.get(&name) != Some(&watch) {
                self.enter(&name.0, Seen::Created, true);
            }
        }
    }

    /// What was told by looking is no more under this name: what comes there is new.
    fn forget_found(&mut self, path: &Path, directory: bool) {
        self.found.remove(path);
        if directory {
            self.found.retain(|found| !found.starts_with(path));
        }
    }

    fn resolve_all(&mut self) {
        for target in 0..self.targets.len() {
            self.resolve(target, Seen::Exists);
        }
    }

    /// After something has happened to `path`: looks at all that is under this name anew.
    fn resolve_below(&mut self, path: &Path) {
        for target in 0..self.targets.len() {
            if self.targets[target].path.starts_with(path) {
                self.resolve(target, Seen::Created);
            }
        }
    }

    /// Watches all folders above a target, and itself; tells what came and went meanwhile.
    fn resolve(&mut self, index: usize, seen: Seen<'static>) {
        let Target { path, kind, .. } = &self.targets[index];
        let (path, kind) = (path.clone(), *kind);
        let there = self.reach(&path, matches!(kind, Kind::Directory | Kind::Tree));
        let mut now = BTreeSet::new();
        let mut replaced = false;
        if there {
            match kind {
                Kind::Pattern => now = self.matching(index),
                Kind::Link => now.extend(path.symlink_metadata().is_ok().then(|| path.clone())),
                Kind::File => {
                    if let Ok(found) = path.symlink_metadata() {
                        now.insert(path.clone());
                        // Through its folder only the link is seen.
                        replaced =
                            found.is_symlink() && matches!(self.add(&path, self.content, false), Ok(true));
                    }
                }
                Kind::Directory | Kind::Tree => now.extend(path.is_dir().then(|| path.clone())),
            }
        }
        let gone: Vec<_> = self.targets[index].known.difference(&now).cloned().collect();
        let folder = matches!(kind, Kind::Directory | Kind::Tree);
        for path in gone {
            self.tell(Seen::Removed, &path, folder);
            if folder {
                self.forget(&path);
            }
        }
        for path in now {
            let new = !self.targets[index].known.contains(&path);
            if new || replaced || matches!(seen, Seen::Exists) {
                if self.found.len() < FOUND {
                    self.found.insert(path.clone());
                }
                self.tell(seen, &path, folder);
            }
            if folder {
                self.enter(&path, seen, false);
            }
        }
    }

    fn matching(&self, index: usize) -> BTreeSet<PathBuf> {
        let target = &self.targets[index];
        let entries = target.path.parent().map(fs::read_dir);
        let paths = entries.into_iter().flatten().flatten().flatten().map(|entry| entry.path());
        paths.filter(|path| target.knows(path)).take(self.most).collect()
    }

    /// Watches the folders above `path`, as far as there are any, and whatever must be watched to hear of the next. Whether all
    /// are there.
    fn reach(&mut self, path: &Path, is_folder: bool) -> bool {
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.reverse();
        'looks: for _ in 0..LOOKS {
            for (level, folder) in above.iter().enumerate() {
                if folder.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
                    let _ = self.add(folder, ends(), true);
                }
                match self.add(folder, ends() | Flags::IN_ONLYDIR, false) {
                    Err(Errno::ENOENT | Errno::ENOTDIR) => {
                        let Some(last) = level.checked_sub(1).and_then(|level| above.get(level)) else {
                            return false;
                        };
                        let _ = self.add(last, arrivals() | Flags::IN_ONLYDIR, false);
                        if folder.is_dir() {
                            continue 'looks; // it came just now
                        }
                        return false;
                    }
                    Err(error) if level + 1 == above.len() => {
                        self.unwatched(folder, error);
                        return false;
                    }
                    // One above may be closed to this process: nothing is heard of it, then.
                    Ok(_) | Err(_) => {}
                }
            }
            let Some(parent) = above.last() else { return true };
            let flags = if is_folder { arrivals() } else { self.content };
            if let Err(error) = self.add(parent, flags | Flags::IN_ONLYDIR, false) {
                self.unwatched(parent, error);
            }
            return true;
        }
        false
    }

    fn unwatched(&mut self, path: &Path, error: Errno) {
        let what = What::Unwatched(error.into());
        self.out.push_back(Told { what, path: path.to_owned(), directory: true });
    }

    // ---- the system's watches --------------------------------------------------------------------

    /// Watches what stands under a name, beside what is watched of it already. Whether it is new there.
    fn add(&mut self, path: &Path, flags: Flags, itself: bool) -> Result<bool, Errno> {
        let name = (path.to_owned(), itself);
        if self.names.len() >= self.most && !self.watches.contains_key(&name) {
            self.unwatched(path, Errno::ENOSPC);
            return Err(Errno::ENOSPC);
        }
        let mut flags = flags | Flags::from_bits_retain(libc::IN_MASK_ADD | libc::IN_EXCL_UNLINK);
        flags.set(Flags::IN_DONT_FOLLOW, itself);
        let watch = match self.inotify.add_watch(path, flags) {
            Ok(watch) => watch,
            Err(error) => {
                if error == Errno::ENOSPC {
                    self.unwatched(path, error);
                }
                self.drop_name(&name);
                return Err(error);
            }
        };
        if self.watches.get(&name) == Some(&watch) {
            return Ok(false);
        }
        self.drop_name(&name);
        self.watches.insert(name.clone(), watch);
        self.names.entry(watch).or_default().push(name);
        Ok(true)
    }

    fn drop_name(&mut self, name: &Name) {
        let Some(watch) = self.watches.remove(name) else { return };
        let Some(names) = self.names.get_mut(&watch) else { return };
        names.retain(|other| other != name);
        if names.is_empty() {
            self.names.remove(&watch);
            let _ = self.inotify.rm_watch(watch); // it may have gone by itself
        }
    }

    /// Drops the watches of all that is under a name.
    fn forget(&mut self, path: &Path) {
        let below: Vec<Name> =
            self.watches.keys().filter(|(name, _)| name.starts_with(path)).cloned().collect();
        below.iter().for_each(|name| self.drop_name(name));
    }

    /// All that was under one name is under another.
    fn rename(&mut self, from: &Path, to: &Path) {
        let below: Vec<Name> =
            self.watches.keys().filter(|(name, _)| name.starts_with(from)).cloned().collect();
        for old in below {
            let (Some(watch), Ok(rest)) = (self.watches.remove(&old), old.0.strip_prefix(from)) else {
                continue;
            };
            let path = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            let new = (path, old.1);
            if let Some(name) =
                self.names.get_mut(&watch).and_then(|names| names.iter_mut().find(|name| **name == old))
            {
                name.clone_from(&new);
            }
            self.watches.insert(new, watch);
        }
    }

    // ---- what the system tells ---------------------------------------------------------------------

    fn event(&mut self, event: InotifyEvent) {
        let InotifyEvent { wd, mask, cookie, name } = event;
        let pair = mask.contains(Flags::IN_MOVED_TO)
            && self.moved.as_ref().is_some_and(|moved| moved.cookie == cookie);
        if !pair {
            self.gone_elsewhere();
        }
        if mask.contains(Flags::IN_Q_OVERFLOW) {
            self.found.clear();
            let what = What::Seen(Seen::LostSync);
            self.out.push_back(Told { what, path: PathBuf::new(), directory: false });
            return self.look_again();
        }
        let Some(names) = self.names.get(&wd).cloned() else { return };
        if mask.contains(Flags::IN_IGNORED) {
            self.names.remove(&wd);
            for (path, itself) in names {
                self.watches.remove(&(path.clone(), itself));
                self.resolve_below(&path);
            }
            return;
        }
        let directory = mask.contains(Flags::IN_ISDIR);
        for (path, itself) in names {
            match &name {
                Some(name) => self.inside(&path.join(name), mask, cookie, directory),
                None if mask.contains(Flags::IN_MOVE_SELF) => self.moved_itself(&path, itself),
                None if !itself => self.changed(&path, mask, directory),
                None => {}
            }
        }
    }

    /// Something has happened in a folder.
    fn inside(&mut self, path: &Path, mask: Flags, cookie: u32, directory: bool) {
        if mask.contains(Flags::IN_MOVED_FROM) {
            self.moved = Some(Moved { cookie, path: path.to_owned(), directory });
        } else if mask.contains(Flags::IN_MOVED_TO) {
            match self.moved.take() {
                Some(moved) => self.renamed(&moved.path, path, directory),
                None => self.came(path, directory),
            }
        } else if mask.contains(Flags::IN_CREATE) {
            if !self.found.remove(path) {
                self.came(path, directory);
            }
        } else if mask.contains(Flags::IN_DELETE) {
            self.forget_found(path, directory);
            self.tell(Seen::Removed, path, directory);
            if directory {
                self.forget(path); // another one may have its name by now
            }
            self.resolve_below(path);
        } else {
            self.changed(path, mask, directory);
        }
    }

    fn came(&mut self, path: &Path, directory: bool) {
        if self.missed.iter().any(|scan| Some(&*scan.folder) == path.parent()) && self.heard.len() < FOUND {
            self.heard.insert(path.to_owned());
        }
        self.tell(Seen::Created, path, directory);
        if directory && self.follows(path) {
            self.enter(path, Seen::Created, !self.targets.iter().any(|target| target.path == path));
        }
        self.resolve_below(path);
    }

    fn renamed(&mut self, from: &Path, to: &Path, directory: bool) {
        self.forget_found(from, directory);
        if self.found.contains(to) {
            // It was told by looking, or what it has replaced was: nobody knows which.
            self.moved = Some(Moved { cookie: 0, path: from.to_owned(), directory });
            self.gone_elsewhere();
            self.forget_found(to, directory);
            self.forget(to);
            return self.came(to, directory);
        }
        let wanted = |path: &Path| self.targets.iter().any(|target| target.wants(path));
        if wanted(from) && wanted(to) {
            for target in &mut self.targets {
                target.known.remove(from);
                if target.knows(to) {
                    target.known.insert(to.to_owned());
                }
            }
            self.out.push_back(Told { what: What::Renamed(from.to_owned()), path: to.to_owned(), directory });
        } else {
            self.tell(Seen::Removed, from, directory);
            self.tell(Seen::Created, to, directory);
        }
        if directory {
            if self.follows(to) && self.follows(from) {
                self.forget(to); // what it has replaced
                self.rename(from, to);
                if self.follows_below(from) && self.follows_below(to) {
                    self.look_after_rename(from, to);
                }
            } else {
                self.forget(from);
                if self.follows(to) {
                    self.enter(to, Seen::Created, true);
                }
            }
        }
        self.resolve_below(from);
        self.resolve_below(to);
    }

    /// What has left a folder has not come into another one that is watched.
    fn gone_elsewhere(&mut self) {
        if let Some(Moved { path, directory, .. }) = self.moved.take() {
            self.forget_found(&path, directory);
            self.tell(Seen::Removed, &path, directory);
            if directory {
                self.forget(&path);
            }
            self.resolve_below(&path);
        }
    }

    /// A folder says that it has moved. If the name is known to have changed, it stands under the new one by now.
    fn moved_itself(&mut self, path: &Path, itself: bool) {
        if itself && self.follows_below(path) {
            return; // the folder that it is in tells more
        }
        // The same watch again: it is still, or again, what it was.
        if !matches!(self.add(path, ends(), itself), Ok(false)) {
            self.forget(path);
            self.resolve_below(path);
        }
    }

    fn changed(&mut self, path: &Path, mask: Flags, directory: bool) {
        let changes = [
            (Flags::IN_OPEN, Seen::Opened),
            (Flags::IN_ACCESS, Seen::Read),
            (Flags::IN_MODIFY, Seen::Modified),
            (Flags::IN_CLOSE_WRITE, Seen::Written),
            (Flags::IN_CLOSE_NOWRITE, Seen::Closed),
            (Flags::IN_ATTRIB, Seen::Attributes),
        ];
        for (flag, seen) in changes {
            // Folders are opened and read by whoever looks what is in them, such as the engine.
            if mask.contains(flag) && !(directory && uses().contains(flag)) {
                self.tell(seen, path, directory);
            }
        }
    }

    /// Events were lost: everything may be different.
    fn look_again(&mut self) {
        self.moved = None;
        self.missed.clear();
        self.scans.clear();
        self.scanning = None;
        let names: Vec<Name> = self.watches.keys().cloned().collect();
        names.iter().for_each(|name| self.drop_name(name));
        self.resolve_all();
    }
}

/// All that happens to a file, or in a folder.
fn content() -> Flags {
    arrivals()
        | Flags::IN_DELETE
        | Flags::IN_MOVED_FROM
        | Flags::IN_MODIFY
        | Flags::IN_CLOSE_WRITE
        | Flags::IN_ATTRIB
}

/// That a file is used, which changes nothing.
fn uses() -> Flags {
    Flags::IN_OPEN | Flags::IN_ACCESS | Flags::IN_CLOSE_NOWRITE
}

/// That something has come into a folder.
fn arrivals() -> Flags {
    ends() | Flags::IN_CREATE | Flags::IN_MOVED_TO
}

/// That it has gone itself.
fn ends() -> Flags {
    Flags::IN_DELETE_SELF | Flags::IN_MOVE_SELF
}

impl Source for Engine {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.inotify.as_fd().as_raw_fd()).register(registry, token, interest)
    }
    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.inotify.as_fd().as_raw_fd()).reregister(registry, token, interest)
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.inotify.as_fd().as_raw_fd()).deregister(registry)
    }
}
