//! Only one server keeps the files of a cache.

use super::error::PersistenceError;
use super::paths::Paths;
use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Beside the persistence file, for as long as this value is there. The lock is the system's, so that it ends with the
/// process; the file stays, for who removed it could remove another's.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// # Errors
    /// When another process has it. `Ok(Err)`: it can't be had, because the file can't be made.
    pub(super) fn take(paths: &Paths) -> Result<io::Result<Self>, PersistenceError> {
        let path = paths.lock();
        let mut file = match open(&path) {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = (&mut file).take(20).read_to_string(&mut pid); // it is only told
                let who =
                    if pid.is_empty() { String::new() } else { format!(" (process {})", pid.trim_end()) };
                let error = io::Error::other(format!("another server{who} has locked {}", path.display()));
                return Err(PersistenceError { path: paths.file.clone(), doing: "used", error });
            }
            Err(TryLockError::Error(error)) => return Ok(Err(error)),
        }
        // A full disk is no reason not to serve.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Ok(Self { path, _file: file }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The folder may be another user's: nothing else than a lock may be written to, under whatever name it stands there.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(io::Error::other("it is no regular file, or has a second name"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_second_is_told_who_was_first() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { file: folder.path().join("cache") };
        let first = Lock::take(&paths).unwrap().unwrap();
        let error = Lock::take(&paths).unwrap_err().to_string();
        let (file, lock) = (paths.file.display(), first.path().display());
        let wanted = format!(
            "{file}: can't be used: another server (process {}) has locked {lock}",
            std::process::id()
        );
        assert_eq!(error, wanted);
        drop(first);
        Lock::take(&paths).unwrap().unwrap();
        let nowhere = Paths { file: folder.path().join("no/cache") };
        assert_eq!(Lock::take(&nowhere).unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_no_lock_of_ours_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        let paths = Paths { file: folder.path().join("cache") };
        type Put = fn(&Path, &Path) -> io::Result<()>;
        let puts: [Put; 3] = [
            |from, to| std::os::unix::fs::symlink(from, to),
            |from, to| std::fs::hard_link(from, to),
            |_, to| Ok(nix::unistd::mkfifo(to, nix::sys::stat::Mode::S_IRWXU)?),
        ];
        for (n, put) in puts.into_iter().enumerate() {
            put(&victim, &paths.lock()).unwrap();
            assert!(Lock::take(&paths).unwrap().is_err(), "{n}: it is taken for a lock");
            assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious", "{n}");
            std::fs::remove_file(paths.lock()).unwrap();
        }
    }
}
