//! A disk in memory: with a limit, with faults, and with a switch for its power.

use super::super::disk::{Disk, DiskFile};
use super::random::Random;
use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

type Node = usize;
type Names = BTreeMap<PathBuf, Node>;

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    /// So much survives a loss of power.
    synced: usize,
}

#[derive(Default)]
struct State {
    nodes: Vec<Content>,
    names: Names,
    /// What the folder was when it was synchronised last, and after each change since.
    folders: Vec<Names>,
    random: Random,
    /// Bytes that all files may have together.
    room: usize,
    /// One of so many operations fails; 0 is none.
    faults: u64,
    /// Files whose name ends so can't be made.
    refused: Option<&'static str>,
    /// No file is opened.
    is_out_of_descriptors: bool,
    /// After so many operations the process is killed.
    fuse: Option<u64>,
}

/// A disk. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct MemoryDisk(Arc<Mutex<State>>);

impl MemoryDisk {
    pub(super) fn new(seed: u64) -> Self {
        let disk = Self::default();
        let state = &mut *disk.lock();
        (state.random, state.room) = (Random::new(seed), usize::MAX);
        state.folders.push(Names::new());
        disk.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lets one of so many operations fail; 0 is none.
    pub(super) fn set_faults(&self, one_of: u64) {
        self.lock().faults = one_of;
    }

    /// Leaves room for so many more bytes; `None` is for all.
    pub(super) fn set_room(&self, left: Option<usize>) {
        let state = &mut *self.lock();
        state.room = left.map_or(usize::MAX, |left| state.used() + left);
    }

    /// Lets no file be made whose name ends so.
    pub(super) fn refuse(&self, end: Option<&'static str>) {
        self.lock().refused = end;
    }

    /// Lets no file be opened, not even a second time.
    pub(super) fn run_out_of_descriptors(&self) {
        self.lock().is_out_of_descriptors = true;
    }

    /// Kills the process after so many operations, the last of which it does in part.
    pub(super) fn set_fuse(&self, operations: u64) {
        self.lock().fuse = Some(operations);
    }

    /// Whether the process was killed.
    pub(super) fn is_killed(&self) -> bool {
        self.lock().fuse == Some(0)
    }

    /// The next process begins.
    pub(super) fn restart(&self) {
        let state = &mut *self.lock();
        (state.fuse, state.faults, state.room, state.refused) = (None, 0, usize::MAX, None);
        state.is_out_of_descriptors = false;
    }

    /// Takes the power away: what was not synchronised is there in part, or damaged, or not at all.
    pub(super) fn lose_power(&self) {
        let state = &mut *self.lock();
        let at = state.random.below(state.folders.len() as u64) as usize;
        state.names = state.folders[at].clone();
        state.folders = vec![state.names.clone()];
        let State { nodes, random, .. } = state;
        for node in nodes {
            let lost = node.bytes.len() - node.synced;
            let kept = node.synced + random.below(lost as u64 + 1) as usize;
            match random.below(3) {
                0 => node.bytes[kept..].fill(0), // the length has survived, the bytes have not
                _ => node.bytes.truncate(kept),
            }
            node.synced = node.bytes.len();
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.lock().names.keys().map(|path| path.display().to_string()).collect()
    }

    pub(super) fn content(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        state.names.get(Path::new(path)).map(|&node| state.nodes[node].bytes.clone())
    }

    /// Changes the bytes of a file behind everybody's back.
    pub(super) fn damage(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let state = &mut *self.lock();
        let node = *state.names.get(Path::new(path)).unwrap_or_else(|| panic!("{path}: {:?}", state.names));
        change(&mut state.nodes[node].bytes);
        state.nodes[node].synced = state.nodes[node].bytes.len();
    }
}

impl State {
    fn used(&self) -> usize {
        self.names.values().map(|&node| self.nodes[node].bytes.len()).sum()
    }

    /// Whether an operation is done: in part, if it is the last one.
    fn operation(&mut self) -> io::Result<bool> {
        match &mut self.fuse {
            Some(0) => return Err(io::Error::other("killed")),
            Some(left) => {
                *left -= 1;
                if *left == 0 {
                    return Ok(false);
                }
            }
            None => {}
        }
        if self.faults > 0 && self.random.below(self.faults) == 0 {
            return Err(io::Error::other("a fault"));
        }
        Ok(true)
    }

    fn change(&mut self, change: impl FnOnce(&mut Names) -> io::Result<()>) -> io::Result<()> {
        let whole = self.operation()?;
        if whole || self.random.below(2) == 0 {
            change(&mut self.names)?;
            self.folders.push(self.names.clone());
        }
        if whole { Ok(()) } else { Err(io::Error::other("killed")) }
    }
}

fn missing() -> io::Error {
    ErrorKind::NotFound.into()
}

impl Disk for MemoryDisk {
    fn read(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        let state = self.lock();
        let bytes = state.nodes[*state.names.get(path).ok_or_else(missing)?].bytes.clone();
        let len = bytes.len() as u64;
        Ok((Box::new(Cursor::new(bytes)), len))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = &mut *self.lock();
        if state.is_out_of_descriptors {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error()));
        }
        if state.refused.is_some_and(|end| path.to_string_lossy().ends_with(end)) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        if state.used() >= state.room {
            return Err(ErrorKind::StorageFull.into());
        }
        let node = state.nodes.len();
        state.nodes.push(Content::default());
        state.change(|names| {
            names.insert(path.to_owned(), node);
            Ok(())
        })?;
        Ok(Box::new(MemoryFile(self.clone(), node)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.lock().change(|names| {
            let node = names.remove(from).ok_or_else(missing)?;
            names.insert(to.to_owned(), node);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock().change(|names| names.remove(path).map(drop).ok_or_else(missing))
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.lock().change(|names| {
            let node = *names.get(from).ok_or_else(missing)?;
            names.insert(to.to_owned(), node);
            Ok(())
        })
    }

    fn copy_permissions(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let node = *self.lock().names.get(path).ok_or_else(missing)?;
        MemoryFile(self.clone(), node).sync()
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let state = &mut *self.lock();
        if !state.operation()? {
            return Err(io::Error::other("killed"));
        }
        state.folders = vec![state.names.clone()];
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.lock().names.keys().cloned().collect())
    }
}

struct MemoryFile(MemoryDisk, Node);

impl DiskFile for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let state = &mut *self.0.lock();
        let whole = state.operation()?;
        let room = state.room.saturating_sub(state.used());
        let short = state.random.below(4) == 0 || !whole;
        let most = if short { state.random.below(bytes.len() as u64) as usize + 1 } else { bytes.len() };
        let taken = most.min(room);
        if taken == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        state.nodes[self.1].bytes.extend_from_slice(&bytes[..taken]);
        if whole { Ok(taken) } else { Err(io::Error::other("killed")) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let state = &mut *self.0.lock();
        if !state.operation()? {
            return Err(io::Error::other("killed"));
        }
        let node = &mut state.nodes[self.1];
        node.synced = node.bytes.len();
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let state = &mut *self.0.lock();
        if !state.operation()? {
            return Err(io::Error::other("killed"));
        }
        let node = &mut state.nodes[self.1];
        node.bytes.truncate(len as usize);
        node.synced = node.synced.min(node.bytes.len());
        Ok(())
    }

    fn another(&self) -> io::Result<Box<dyn DiskFile>> {
        if self.0.lock().is_out_of_descriptors {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error()));
        }
        Ok(Box::new(Self(self.0.clone(), self.1)))
    }
}
