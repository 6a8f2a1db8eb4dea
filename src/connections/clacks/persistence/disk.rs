//! Files, as far as persistence needs them: behind a trait, so that tests can have a disk that fails, or loses its power.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The permissions of a new file: a cache may hold what is nobody else's business.
const MODE: u32 = 0o600;

/// A file system.
pub(in crate::connections::clacks) trait Disk: Send + Sync + 'static {
    /// Opens a file for reading, and says how long it is.
    fn read(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)>;
    /// Makes an empty file, instead of one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, instead of one that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a second file of the same content, instead of one that is there. Neither is ever written to again, so it may
    /// be a second name.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives `to` the permissions of `from`.
    fn copy_permissions(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Sees to it that what an earlier process has written survives a loss of power.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Sees to it that the names in a folder survive a loss of power.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// The files in a folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
}

/// A file that is written from its beginning to its end.
pub(in crate::connections::clacks) trait DiskFile: Send {
    /// Writes some of the bytes at the end, and says how many.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Sees to it that the content survives a loss of power.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the end off.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Another handle of the same file, to be synchronised elsewhere.
    fn another(&self) -> io::Result<Box<dyn DiskFile>>;
}

/// Writes all of the bytes; says how many were written before an error.
pub(super) fn write_all(file: &mut dyn DiskFile, bytes: &[u8]) -> Result<(), io::Error> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The folder that a file is in.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A name with something appended.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The real one.
#[derive(Debug, Clone, Copy)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn read(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        // Before it is opened: to open a FIFO would wait for a writer.
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok((Box::new(File::open(path)?), metadata.len()))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        // Not over the old content: that may have another name, too.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().append(true).create_new(true).mode(MODE).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        match fs::remove_file(to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if fs::hard_link(from, to).is_ok() {
            return Ok(());
        }
        // A file system without second names.
        fs::copy(from, to)?;
        File::open(to)?.sync_all()
    }

    fn copy_permissions(&self, from: &Path, to: &Path) -> io::Result<()> {
        // Its owner has to read it again, whatever somebody has done to the one before.
        let mode = fs::metadata(from)?.permissions().mode() & 0o777 | MODE;
        fs::set_permissions(to, fs::Permissions::from_mode(mode))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| folder.join(entry.file_name()))).collect()
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn another(&self) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Self(self.0.try_clone()?)))
    }
}
