//! Changes in the file system as events.

mod glob;
mod tree;

use crate::communicator::{
    Closed, Communicator, Driver, Key, OutQueue, Outcome, Ready, Spent, Turn, Written,
};
use mio::event::Source;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use tree::{Engine, Kind, Step};

/// What to watch: files, folders, symbolic links, patterns, whole trees; as many as one likes.
///
/// What does not exist yet is watched for, also where the folders above it do not exist; what is removed, or replaced by something
/// else of its name (as editors do), is said and picked up again when it comes back. At the start, and each
/// time that events were lost, what is there is told as [`Seen::Exists`].
///
/// ```
/// use eventdispatcher::{Communicator, watch::Seen, Watch};
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("old.conf"), "")?;
/// let communicator = Communicator::new()?;
/// let configuration = Watch::new().pattern(folder.path().join("*.conf"));
/// communicator.watch(configuration, |event, communicator| match event.seen {
///     Seen::Exists => assert!(event.path.ends_with("old.conf")),
///     Seen::Written => {
///         assert!(event.path.ends_with("new.conf"));
///         communicator.close_all();
///     }
///     _ => {}
/// })?;
/// std::fs::write(folder.path().join("new.conf"), "x = 1")?;
/// communicator.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Watch {
    targets: Vec<(PathBuf, Kind)>,
    most: usize,
    uses: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self { targets: Vec::new(), most: 8192, uses: false }
    }
}

impl Watch {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A file. If it is a symbolic link, also what it points to.
    #[must_use]
    pub fn file(self, path: impl Into<PathBuf>) -> Self {
        self.with(path, Kind::File)
    }

    /// A symbolic link itself, not what it points to.
    #[must_use]
    pub fn link(self, path: impl Into<PathBuf>) -> Self {
        self.with(path, Kind::Link)
    }

    /// A folder and what is directly in it.
    #[must_use]
    pub fn directory(self, path: impl Into<PathBuf>) -> Self {
        self.with(path, Kind::Directory)
    }

    /// A folder and everything below it. Symbolic links are not followed. What is in a new folder is told as
    /// created, however fast it came into it.
    #[must_use]
    pub fn tree(self, path: impl Into<PathBuf>) -> Self {
        self.with(path, Kind::Tree)
    }

    /// The names in a folder that match the last segment of `path`: `*`, `?`, `[a-z]`, `[!a-z]`, `\`; a leading dot must
    /// be written.
    #[must_use]
    pub fn pattern(self, path: impl Into<PathBuf>) -> Self {
        self.with(path, Kind::Pattern)
    }

    /// Sets how many folders and links may be watched, those above included; 8192 unless set. The system has a limit, too
    /// (`fs.inotify.max_user_watches`). What is beyond is told as [`Seen::Unwatched`].
    #[must_use]
    pub fn most(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// Tells also when files are opened, read, and closed by who could not write to them: [`Seen::Opened`], [`Seen::Read`],
    /// [`Seen::Closed`]. That may be much, and this process' own reading is among it. Of folders it is not told.
    #[must_use]
    pub fn uses(mut self) -> Self {
        self.uses = true;
        self
    }

    fn with(mut self, path: impl Into<PathBuf>, kind: Kind) -> Self {
        self.targets.push((path.into(), kind));
        self
    }
}

/// Something that happened in the file system.
#[derive(Debug, Clone, Copy)]
pub struct WatchEvent<'a> {
    /// What.
    pub seen: Seen<'a>,
    /// To what; absolute, as it was given to [`Watch`]. Empty for [`Seen::LostSync`].
    pub path: &'a Path,
    /// That is a folder.
    pub directory: bool,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Seen<'a> {
    /// It is there: at the start, and after [`LostSync`](Self::LostSync).
    Exists,
    /// It was made, or has come from elsewhere, maybe in the place of another. What was renamed to its name, as many editors do to replace
    /// a file, is complete already, and no [`Written`](Self::Written) follows.
    Created,
    /// Its content has changed; the writer may still be at it.
    Modified,
    /// It was closed by somebody who could write to it: what was written is complete.
    Written,
    /// It was opened, for whatever; told only with [`Watch::uses`].
    Opened,
    /// It was read from; told only with [`Watch::uses`].
    Read,
    /// It was closed by somebody who could not write to it; told only with [`Watch::uses`].
    Closed,
    /// Its mode, owner, times or the number of its links have changed.
    Attributes,
    /// It is no more there.
    Removed,
    /// It had this name before; both are watched for. Nothing else tells that there is something new under its name.
    Renamed {
        /// The name before.
        from: &'a Path,
    },
    /// The system has lost events. What there is, is told again; what has gone meanwhile from a folder or a tree is
    /// not told.
    LostSync,
    /// It can't be watched, for this reason: what happens in it is not told.
    Unwatched(&'a io::Error),
}

impl Communicator {
    /// Calls `call` for what happens to the files of `what`.
    ///
    /// # Errors
    /// When no descriptor is left, or the system gives no more watchers (`fs.inotify.max_user_instances`).
    pub fn watch(
        &self,
        what: Watch,
        call: impl FnMut(&WatchEvent<'_>, &Communicator) + 'static,
    ) -> io::Result<Key> {
        let engine = Engine::new(what.targets, what.most, what.uses)?;
        let key = self.add("watch", true, Box::new(OnWatch { engine: Some(engine), call: Some(call) }))?;
        self.core(|core| core.make_ready(key, Ready::INPUT)); // what exists
        Ok(key)
    }
}

struct OnWatch<F> {
    engine: Option<Engine>,
    call: Option<F>,
}

impl<F: FnMut(&WatchEvent<'_>, &Communicator) + 'static> Driver for OnWatch<F> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.engine.as_mut().map(|engine| engine as &mut dyn Source)
    }

    fn ready(&mut self, turn: &Turn<'_>) -> Outcome {
        let (Some(engine), Some(call)) = (&mut self.engine, &mut self.call) else { return Outcome::Wait };
        let mut spent = Spent::nothing(&turn.settings);
        loop {
            if !turn.communicator.core(|core| core.may_read(turn.key)) || spent.all() {
                return Outcome::Again;
            }
            match engine.step() {
                Ok(Step::Tell(told)) => call(&told.event(), turn.communicator),
                Ok(Step::More) => {}
                Ok(Step::Wait) => return Outcome::Wait,
                Err(error) => {
                    log::warn!("connection {}: watching failed: {error}", turn.key);
                    return Outcome::End(Closed::Io(error));
                }
            }
            spent.callback();
        }
    }

    fn write(&mut self, _: &mut OutQueue, _: usize) -> io::Result<Written> {
        Ok(Written::default())
    }

    fn closed(&mut self, _: Closed, _: &Turn<'_>) {
        self.call = None;
    }

    fn release(&mut self) {
        self.engine = None;
    }
}

/// For logs: `created /etc/x`.
impl fmt::Display for WatchEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.seen {
            Seen::Exists => write!(f, "exists {path}"),
            Seen::Created => write!(f, "created {path}"),
            Seen::Modified => write!(f, "modified {path}"),
            Seen::Written => write!(f, "written {path}"),
            Seen::Opened => write!(f, "opened {path}"),
            Seen::Read => write!(f, "read {path}"),
            Seen::Closed => write!(f, "closed {path}"),
            Seen::Attributes => write!(f, "attributes {path}"),
            Seen::Removed => write!(f, "removed {path}"),
            Seen::Renamed { from } => write!(f, "renamed {} to {path}", from.display()),
            Seen::LostSync => f.write_str("events were lost"),
            Seen::Unwatched(error) => write!(f, "unwatched {path}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests;
