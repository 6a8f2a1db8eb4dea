//! A file that this process has just made, by a name that somebody else may exchange: rights are given to the file, and never to
//! what stands under its name by then.

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{Gid, fchownat, geteuid};
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[derive(Debug)]
pub(super) struct OwnFile {
    file: OwnedFd,
    stat: FileStat,
}

impl OwnFile {
    /// What was made at `path`, a file of this kind.
    ///
    /// # Errors
    /// When it is something else by now: a link, of another kind, another user's, or with a second name.
    pub(super) fn made(path: &Path, kind: SFlag) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(AT_FDCWD, path, flags, Mode::empty())?;
        let stat = fstat(&file)?;
        let is_of_kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == kind;
        if is_of_kind && stat.st_uid == geteuid().as_raw() && stat.st_nlink == 1 {
            return Ok(Self { file, stat });
        }
        Err(io::Error::new(ErrorKind::PermissionDenied, "somebody has put something else in its place"))
    }

    /// Device and inode.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }

    pub(super) fn mode(&self) -> u32 {
        self.stat.st_mode & 0o777
    }

    pub(super) fn set_group(&self, group: u32) -> io::Result<()> {
        Ok(fchownat(&self.file, "", None, Some(Gid::from_raw(group)), AtFlags::AT_EMPTY_PATH)?)
    }

    pub(super) fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        if mode != self.mode() {
            // The only way that older systems have to change it by a descriptor that can't be read or written.
            let itself = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            fs::set_permissions(itself, Permissions::from_mode(mode))?;
            self.stat.st_mode = (self.stat.st_mode & !0o777) | mode;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, chown, symlink};
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_somebody_has_put_in_its_place_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let _ours = UnixListener::bind(path("socket")).unwrap();
        let mut own = OwnFile::made(&path("socket"), SFlag::S_IFSOCK).unwrap();
        own.set_mode(0o620).unwrap();
        own.set_group(nix::unistd::getegid().as_raw()).unwrap();
        let found = fs::symlink_metadata(path("socket")).unwrap();
        assert_eq!((found.mode() & 0o777, own.mode()), (0o620, 0o620));
        assert_eq!((found.dev(), found.ino()), own.identity());

        // Exchanged after it was opened: it is still the one that is meant.
        fs::write(path("victim"), "x").unwrap();
        fs::set_permissions(path("victim"), Permissions::from_mode(0o600)).unwrap();
        fs::rename(path("socket"), path("elsewhere")).unwrap();
        symlink(path("victim"), path("socket")).unwrap();
        own.set_mode(0o666).unwrap();
        assert_eq!(fs::metadata(path("elsewhere")).unwrap().mode() & 0o777, 0o666);

        // … and before.
        fs::hard_link(path("elsewhere"), path("twice")).unwrap();
        for (name, kind) in
            [("socket", SFlag::S_IFREG), ("victim", SFlag::S_IFSOCK), ("twice", SFlag::S_IFSOCK)]
        {
            let error = OwnFile::made(&path(name), kind).unwrap_err().to_string();
            assert_eq!(error, "somebody has put something else in its place", "{name}");
        }
        if geteuid().is_root() {
            fs::remove_file(path("twice")).unwrap();
            chown(path("elsewhere"), Some(65534), None).unwrap();
            assert!(OwnFile::made(&path("elsewhere"), SFlag::S_IFSOCK).is_err(), "another user's");
        }
        assert_eq!(fs::metadata(path("victim")).unwrap().mode() & 0o777, 0o600);
    }
}
