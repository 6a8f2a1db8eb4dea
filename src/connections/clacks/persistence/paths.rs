//! The names of the files of a cache.

use super::disk::{Disk, folder, with_suffix};
use std::io;
use std::path::{Path, PathBuf};

/// As many files that can't be used are kept for each name; then the last one is replaced.
const ASIDE_MAX: u32 = 5;

/// All names follow from the one that is configured.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) file: PathBuf,
}

impl Paths {
    /// The file before this one.
    pub(super) fn backup(&self) -> PathBuf {
        with_suffix(&self.file, "_bck")
    }

    /// The file while it is written.
    pub(super) fn temporary(&self) -> PathBuf {
        with_suffix(&self.file, "_")
    }

    /// Where a file goes that can't be used: a name that nothing has yet, so that nothing is lost by a second time.
    pub(super) fn aside(&self, disk: &dyn Disk, path: &Path) -> PathBuf {
        let names = disk.list(self.folder()).unwrap_or_default();
        let first = with_suffix(path, "_refused");
        let others = (2..=ASIDE_MAX).map(|n| with_suffix(path, &format!("_refused.{n}")));
        let last = with_suffix(path, &format!("_refused.{ASIDE_MAX}"));
        std::iter::once(first).chain(others).find(|path| !names.contains(path)).unwrap_or(last)
    }

    /// The file that is locked by the server which keeps the cache.
    pub(super) fn lock(&self) -> PathBuf {
        with_suffix(&self.file, "_lock")
    }

    /// A file of the journal.
    pub(super) fn segment(&self, number: u64) -> PathBuf {
        with_suffix(&self.file, &format!("_journal.{number}"))
    }

    pub(super) fn folder(&self) -> &Path {
        folder(&self.file)
    }

    /// The number of a file of the journal.
    pub(super) fn number(&self, path: &Path) -> Option<u64> {
        let prefix = [self.file.file_name()?.as_encoded_bytes(), b"_journal."].concat();
        let digits = path.file_name()?.as_encoded_bytes().strip_prefix(&*prefix)?;
        let plain = digits.iter().all(u8::is_ascii_digit);
        str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
    }

    /// The files of the journal in their order.
    pub(super) fn segments(&self, disk: &dyn Disk) -> io::Result<Vec<(u64, PathBuf)>> {
        let listed = disk.list(self.folder())?;
        let mut found: Vec<_> =
            listed.into_iter().filter_map(|path| Some((self.number(&path)?, path))).collect();
        found.sort();
        Ok(found)
    }
}
