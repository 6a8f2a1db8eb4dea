//! The names of the files of a cache.

use super::disk::{Disk, folder, with_suffix};
use std::io;
use std::path::{Path, PathBuf};

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

    /// A file that could not be used is kept under this name.
    pub(super) fn refused(&self) -> PathBuf {
        with_suffix(&self.file, "_refused")
    }

    /// The file that is locked by the server which keeps the cache.
    pub(super) fn lock(&self) -> PathBuf {
        with_suffix(&self.file, "_lock")
    }

    /// A file of the journal.
    pub(super) fn segment(&self, number: u64) -> PathBuf {
        with_suffix(&self.file, &format!("_journal.{number}"))
    }

    /// A file of the journal that can't be used is kept under this name.
    pub(super) fn segment_aside(segment: &Path) -> PathBuf {
        with_suffix(segment, "_refused")
    }

    pub(super) fn folder(&self) -> &Path {
        folder(&self.file)
    }

    /// The files of the journal in their order.
    pub(super) fn segments(&self, disk: &dyn Disk) -> io::Result<Vec<(u64, PathBuf)>> {
        let Some(name) = self.file.file_name() else { return Ok(Vec::new()) };
        let prefix = [name.as_encoded_bytes(), b"_journal."].concat();
        let number = |path: &Path| {
            let digits = path.file_name()?.as_encoded_bytes().strip_prefix(&*prefix)?;
            let plain = digits.iter().all(u8::is_ascii_digit);
            str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
        };
        let listed = disk.list(self.folder())?;
        let mut found: Vec<_> = listed.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
        found.sort();
        Ok(found)
    }
}
