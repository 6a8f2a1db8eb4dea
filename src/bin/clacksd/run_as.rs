//! Becoming a user with fewer rights, once everything is open that needs more.

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, Group, Uid, User, fchownat, getegid, geteuid, initgroups, setgid, setgroups, setuid};
use std::ffi::CString;
use std::path::Path;

/// Another user to be.
#[derive(Debug)]
pub(crate) struct RunAs {
    text: String,
    uid: Uid,
    gid: Gid,
    /// As who the supplementary groups are looked up; without a name there are none.
    name: Option<CString>,
}

impl RunAs {
    /// A user, by name or number, and a group if a `:` and one follow; else it is the user's.
    ///
    /// # Errors
    /// When there is no such user or group.
    pub(crate) fn of(text: &str) -> Result<Self, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let failed = |what: &str, why: String| format!("--run-as: the {what} {why}");
        let found = match user.parse() {
            Ok(number) => User::from_uid(Uid::from_raw(number)),
            Err(_) => User::from_name(user),
        };
        let found = found.map_err(|error| failed("user", format!("{user:?} can't be looked up: {error}")))?;
        let gid = match group {
            Some(group) => match group.parse() {
                Ok(number) => Gid::from_raw(number),
                Err(_) => {
                    Group::from_name(group)
                        .map_err(|error| failed("group", format!("{group:?} can't be looked up: {error}")))?
                        .ok_or_else(|| failed("group", format!("{group:?} does not exist")))?
                        .gid
                }
            },
            None => found.as_ref().ok_or_else(|| failed("user", format!("{user:?} does not exist")))?.gid,
        };
        let uid = match (&found, user.parse()) {
            (Some(found), _) => found.uid,
            (None, Ok(number)) => Uid::from_raw(number),
            (None, Err(_)) => return Err(failed("user", format!("{user:?} does not exist"))),
        };
        let name = found.and_then(|found| CString::new(found.name).ok());
        Ok(Self { text: text.to_owned(), uid, gid, name })
    }

    /// Gives the user a file that this process has made, such as a socket that it must be able to remove. In a folder of the
    /// user's it may have put something else there: that is given to nobody.
    ///
    /// # Errors
    /// When that may not be.
    pub(crate) fn give(&self, path: &Path) -> Result<(), String> {
        let failed =
            |why: String| format!("--run-as: {} can't be given to {}: {why}", path.display(), self.text);
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(AT_FDCWD, path, flags, Mode::empty()).map_err(|error| failed(error.to_string()))?;
        let found = fstat(&file).map_err(|error| failed(error.to_string()))?;
        if (found.st_uid, found.st_gid) == (self.uid.as_raw(), self.gid.as_raw()) {
            return Ok(());
        }
        let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
        let is_made = kind == SFlag::S_IFSOCK || kind == SFlag::S_IFREG;
        let owners = [geteuid().as_raw(), self.uid.as_raw()];
        if !is_made || found.st_nlink != 1 || !owners.contains(&found.st_uid) {
            return Err(failed("somebody has put something else in its place".to_owned()));
        }
        fchownat(&file, "", Some(self.uid), Some(self.gid), AtFlags::AT_EMPTY_PATH)
            .map_err(|error| failed(error.to_string()))
    }

    /// Becomes that user, for good. Who is it already stays as it is.
    ///
    /// # Errors
    /// When this process may not.
    pub(crate) fn become_it(&self) -> Result<(), String> {
        if (geteuid(), getegid()) == (self.uid, self.gid) {
            return Ok(());
        }
        let failed = |error: nix::Error| format!("--run-as: can't become {}: {error}", self.text);
        match &self.name {
            Some(name) => initgroups(name, self.gid),
            None => setgroups(&[self.gid]),
        }
        .map_err(failed)?;
        setgid(self.gid).map_err(failed)?;
        setuid(self.uid).map_err(failed)?;
        // Nothing may lead back.
        if !self.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
            return Err(format!("--run-as: {} can become root again", self.text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_names_or_numbers() {
        let check = |text: &str, uid: u32, gid: u32| {
            let found = RunAs::of(text).unwrap();
            assert_eq!((found.uid.as_raw(), found.gid.as_raw()), (uid, gid), "{text}");
        };
        check("root", 0, 0);
        check("0:7", 0, 7);
        check("root:root", 0, 0);
        check("4000000000:4000000001", 4_000_000_000, 4_000_000_001);
        for (text, wanted) in [
            ("no-such-user", "--run-as: the user \"no-such-user\" does not exist"),
            ("4000000000", "--run-as: the user \"4000000000\" does not exist"),
            ("root:no-such-group", "--run-as: the group \"no-such-group\" does not exist"),
            ("", "--run-as: the user \"\" does not exist"),
        ] {
            assert_eq!(RunAs::of(text).unwrap_err(), wanted, "{text}");
        }
    }
}
