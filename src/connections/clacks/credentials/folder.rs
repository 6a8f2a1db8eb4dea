use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, geteuid, linkat, unlinkat};

use super::error::CredentialsError;
use super::password::{Password, non_empty, read_text};

/// The name of the password file.
const PASSWORD: &str = "password";
/// The name of the socket.
const SOCKET: &str = "clacks.sock";
/// What a new password has, in bytes, before it becomes text.
const RANDOM_LENGTH: usize = 32;
/// The permissions of everybody but the owner.
const OTHERS: u32 = 0o077;

/// A folder that only its owner can look into, with a password file and a socket: what `clacksd` and
/// `clacks` share when they are told nothing.
#[derive(Debug)]
pub struct PrivateFolder {
    path: PathBuf,
    // All files are opened relative to it, so that nobody can exchange the folder after it was checked.
    folder: File,
}

impl PrivateFolder {
    /// Where the folder of the user `uid` is: `clacks` in `runtime`, the value of `XDG_RUNTIME_DIR`, if
    /// that is an absolute path; else `clacks-<uid>` in `temporary`.
    ///
    /// ```
    /// use eventdispatcher::connections::clacks::credentials::PrivateFolder;
    /// use std::path::Path;
    ///
    /// let tmp = Path::new("/tmp");
    /// assert_eq!(PrivateFolder::path_for(Some("/run/user/7".as_ref()), tmp, 7), Path::new("/run/user/7/clacks"));
    /// assert_eq!(PrivateFolder::path_for(None, tmp, 7), Path::new("/tmp/clacks-7"));
    /// ```
    pub fn path_for(runtime: Option<&OsStr>, temporary: &Path, uid: u32) -> PathBuf {
        match runtime.map(Path::new).filter(|runtime| runtime.is_absolute()) {
            Some(runtime) => runtime.join("clacks"),
            None => temporary.join(format!("clacks-{uid}")),
        }
    }

    /// Where the folder of this process is.
    pub fn default_path() -> PathBuf {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR");
        Self::path_for(runtime.as_deref(), &std::env::temp_dir(), geteuid().as_raw())
    }

    /// Opens the folder `path`, and makes it if it is not there; the folder around it must be.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and when it can't be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, CredentialsError> {
        let path = path.into();
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(CredentialsError::io("make the folder", &path, error)),
        }
        Self::open(path)
    }

    /// Opens the folder `path`. If it is ours, but others have permissions in it, they lose them.
    ///
    /// # Errors
    /// When it is not there, is no folder, is a symbolic link, or belongs to another user.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, CredentialsError> {
        let path = path.into();
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let folder = match File::options().read(true).custom_flags(flags.bits()).open(&path) {
            Ok(folder) => folder,
            // Systems differ in the error that a link gives.
            Err(error) => {
                return Err(match fs::symlink_metadata(&path) {
                    Ok(metadata) if metadata.is_symlink() => CredentialsError::Link { path },
                    Ok(metadata) if !metadata.is_dir() => CredentialsError::NoFolder { path },
                    Ok(metadata) if metadata.uid() != geteuid().as_raw() => {
                        CredentialsError::Owner { path, uid: metadata.uid() }
                    }
                    _ => CredentialsError::io("open the folder", &path, error),
                });
            }
        };
        let metadata = folder.metadata().map_err(|error| CredentialsError::io("look at", &path, error))?;
        check_owner(&path, &metadata)?;
        if metadata.mode() & 0o777 != 0o700 {
            folder
                .set_permissions(Permissions::from_mode(0o700))
                .map_err(|error| CredentialsError::io("take others' permissions from", &path, error))?;
        }
        Ok(Self { path, folder })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the socket in it.
    pub fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    /// The path of the password file in it.
    pub fn password_file(&self) -> PathBuf {
        self.path.join(PASSWORD)
    }

    /// The password in the folder.
    ///
    /// # Errors
    /// When there is none, or its file is no regular file, belongs to another user, can be reached by
    /// others, or is not one line of text.
    pub fn password(&self) -> Result<Password, CredentialsError> {
        let path = self.password_file();
        // Non-blocking, as to open a FIFO would wait for a writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.folder, PASSWORD, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ELOOP) => return Err(CredentialsError::Link { path }),
            Err(error) => return Err(CredentialsError::io("open", &path, error.into())),
        };
        let metadata = file.metadata().map_err(|error| CredentialsError::io("look at", &path, error))?;
        if !metadata.is_file() {
            return Err(CredentialsError::content(path, "is no regular file"));
        }
        check_owner(&path, &metadata)?;
        if metadata.mode() & OTHERS != 0 {
            return Err(CredentialsError::Mode { path, mode: metadata.mode() & 0o777 });
        }
        let text = read_text(file, &path)?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        if line.contains(['\n', '\r']) {
            return Err(CredentialsError::content(path, "has more than one line"));
        }
        non_empty(line, &path)
    }

    /// The password in the folder; if there is none, a new one of 32 random bytes is made. Of several
    /// that do so at a time, all get the same one.
    ///
    /// # Errors
    /// As for [`password`](Self::password), and when the file can't be made.
    pub fn password_or_new(&self) -> Result<Password, CredentialsError> {
        match self.password() {
            Err(CredentialsError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                self.make_password()?;
                self.password()
            }
            result => result,
        }
    }

    /// Writes a password file of its own and gives it the name of the real one, unless another
    /// process was first: nobody ever sees a file that is not complete.
    fn make_password(&self) -> Result<(), CredentialsError> {
        let path = self.password_file();
        let name = format!("{PASSWORD}.{}", random_text()?);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let made = openat(&self.folder, name.as_str(), flags, mode).map_err(io::Error::from);
        let file = made.map(File::from).map_err(|error| CredentialsError::io("make", &path, error))?;
        let written = random_text().and_then(|password| {
            write_private(file, &password).map_err(|error| CredentialsError::io("write", &path, error))
        });
        let linked = written.and_then(|()| {
            match linkat(&self.folder, name.as_str(), &self.folder, PASSWORD, AtFlags::empty()) {
                Ok(()) | Err(Errno::EEXIST) => Ok(()),
                Err(error) => Err(CredentialsError::io("make", &path, error.into())),
            }
        });
        let removed = unlinkat(&self.folder, name.as_str(), UnlinkatFlags::NoRemoveDir);
        linked?;
        removed.map_err(|error| CredentialsError::io("tidy up after making", &path, error.into()))
    }
}

fn check_owner(path: &Path, metadata: &fs::Metadata) -> Result<(), CredentialsError> {
    if metadata.uid() == geteuid().as_raw() {
        Ok(())
    } else {
        Err(CredentialsError::Owner { path: path.into(), uid: metadata.uid() })
    }
}

fn write_private(mut file: File, password: &str) -> io::Result<()> {
    // Whatever the umask took.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(password.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn random_text() -> Result<String, CredentialsError> {
    let mut bytes = [0; RANDOM_LENGTH];
    getrandom::fill(&mut bytes).map_err(|error| CredentialsError::Random {
        error: error
            .raw_os_error()
            .map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error),
    })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::os::unix::fs::{chown, symlink};
    use std::sync::Barrier;
    use std::thread;

    use nix::unistd::mkfifo;
    use tempfile::TempDir;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn temporary() -> (TempDir, PathBuf) {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("clacks");
        (around, path)
    }

    #[track_caller]
    fn check<T: std::fmt::Debug>(result: Result<T, CredentialsError>, wanted: &str) {
        assert_eq!(result.unwrap_err().to_string(), wanted);
    }

    /// Where a user's files must not be taken from: a file or folder of somebody else.
    fn foreign(path: &Path) -> Option<(PathBuf, u32)> {
        // Only the superuser can give something away; others have what is the superuser's.
        if geteuid().is_root() {
            chown(path, Some(65_534), None).unwrap();
            Some((path.into(), 65_534))
        } else {
            path.is_dir().then(|| ("/".into(), 0))
        }
    }

    #[test]
    fn a_folder_has_its_place() {
        let check = |runtime: Option<&str>, wanted: &str| {
            let path = PrivateFolder::path_for(runtime.map(OsStr::new), Path::new("/tmp"), 1000);
            assert_eq!(path, Path::new(wanted), "{runtime:?}");
        };
        check(Some("/run/user/1000"), "/run/user/1000/clacks");
        check(None, "/tmp/clacks-1000");
        check(Some(""), "/tmp/clacks-1000");
        check(Some("relative"), "/tmp/clacks-1000");
        assert!(PrivateFolder::default_path().is_absolute());
    }

    #[test]
    fn a_folder_is_made_for_its_owner_alone() {
        let (_around, path) = temporary();
        let folder = PrivateFolder::create(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(folder.path(), path);
        assert_eq!(folder.socket(), path.join("clacks.sock"));
        PrivateFolder::create(&path).expect("it may be there already");
        PrivateFolder::open(&path).expect("it is there");
    }

    #[test]
    fn what_others_may_do_in_our_folder_is_taken_from_them() {
        let (_around, path) = temporary();
        fs::create_dir(&path).unwrap();
        for loose in [0o777, 0o750, 0o705, 0o500] {
            set_mode(&path, loose);
            PrivateFolder::open(&path).unwrap();
            assert_eq!(mode(&path), 0o700, "after {loose:o}");
        }
    }

    #[test]
    fn what_is_no_folder_of_ours_is_refused() {
        let (around, path) = temporary();
        let shown = path.display();
        check(
            PrivateFolder::open(&path),
            &format!("can't open the folder {shown}: No such file or directory (os error 2)"),
        );
        let inner = path.join("inner");
        check(
            PrivateFolder::create(&inner),
            &format!("can't make the folder {}: No such file or directory (os error 2)", inner.display()),
        );

        fs::write(&path, "").unwrap();
        check(PrivateFolder::create(&path), &format!("{shown} is no folder: remove it"));
        fs::remove_file(&path).unwrap();

        let real = around.path().join("real");
        fs::create_dir(&real).unwrap();
        for target in [real.as_path(), Path::new("nowhere")] {
            symlink(target, &path).unwrap();
            check(PrivateFolder::create(&path), &format!("{shown} is a symbolic link: remove it"));
            fs::remove_file(&path).unwrap();
        }

        fs::create_dir(&path).unwrap();
        let (path, owner) = foreign(&path).expect("a folder of somebody else");
        let before = mode(&path);
        let wanted = format!("{} belongs to user {owner}, not to user {}", path.display(), geteuid());
        check(PrivateFolder::create(&path), &wanted);
        assert_eq!(mode(&path), before, "nothing was changed");
    }

    #[test]
    fn a_password_is_made_once() {
        let (_around, path) = temporary();
        let folder = PrivateFolder::create(&path).unwrap();
        check(
            folder.password(),
            &format!(
                "can't open {}: No such file or directory (os error 2)",
                folder.password_file().display()
            ),
        );
        let password = folder.password_or_new().unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(password.expose()).unwrap().len(), 32);
        assert_eq!(mode(&folder.password_file()), 0o600);
        assert_eq!(folder.password_or_new().unwrap(), password);
        assert_eq!(PrivateFolder::open(&path).unwrap().password().unwrap(), password);

        let (_around, path) = temporary();
        let other = PrivateFolder::create(path).unwrap().password_or_new().unwrap();
        assert_ne!(other, password, "a password is random");
    }

    #[test]
    fn all_who_make_a_password_at_a_time_get_the_same() {
        const MAKERS: usize = 8;
        for _ in 0..20 {
            let (_around, path) = temporary();
            let start = Barrier::new(MAKERS);
            let make = || {
                start.wait();
                PrivateFolder::create(&path).unwrap().password_or_new().unwrap().expose().to_owned()
            };
            let passwords: HashSet<String> = thread::scope(|scope| {
                let makers: Vec<_> = (0..MAKERS).map(|_| scope.spawn(make)).collect();
                makers.into_iter().map(|maker| maker.join().unwrap()).collect()
            });
            assert_eq!(passwords.len(), 1);
            let left: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left, ["password"]);
        }
    }

    #[test]
    fn a_password_file_that_others_can_reach_is_refused() {
        let (_around, path) = temporary();
        let folder = PrivateFolder::create(path).unwrap();
        folder.password_or_new().unwrap();
        let file = folder.password_file();
        for loose in [0o640, 0o604, 0o620, 0o601] {
            set_mode(&file, loose);
            let wanted = format!(
                "{} has mode {loose:o}, so that others may know the password: remove it for a new one",
                file.display()
            );
            check(folder.password(), &wanted);
            check(folder.password_or_new(), &wanted);
        }
        set_mode(&file, 0o400);
        folder.password().expect("its owner may read it");
        if let Some((file, owner)) = foreign(&file) {
            check(
                folder.password(),
                &format!("{} belongs to user {owner}, not to user {}", file.display(), geteuid()),
            );
        }
    }

    #[test]
    fn a_password_file_is_a_regular_file() {
        let (_around, path) = temporary();
        let folder = PrivateFolder::create(&path).unwrap();
        let file = folder.password_file();

        fs::write(path.join("real"), "hush\n").unwrap();
        for target in ["real", "nowhere"] {
            symlink(target, &file).unwrap();
            check(folder.password_or_new(), &format!("{} is a symbolic link: remove it", file.display()));
            fs::remove_file(&file).unwrap();
        }

        let wanted = format!("{} is no regular file", file.display());
        mkfifo(&file, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        check(folder.password_or_new(), &wanted);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        check(folder.password_or_new(), &wanted);
    }

    #[test]
    fn a_password_file_has_one_line() {
        let (_around, path) = temporary();
        let folder = PrivateFolder::create(path).unwrap();
        let file = folder.password_file();
        fs::write(&file, "").unwrap();
        set_mode(&file, 0o600);
        let shown = file.display();
        for (text, wanted) in [
            (&b""[..], "has no password in its first line"),
            (b"\n", "has no password in its first line"),
            (b"hush\n\n", "has more than one line"),
            (b"hush\nhush", "has more than one line"),
            (b"hush\r\n", "has more than one line"),
            (b"hush\xff", "is no UTF-8 text"),
            (&[b'x'; 5000], "is too long to be a password file"),
        ] {
            fs::write(&file, text).unwrap();
            check(folder.password_or_new(), &format!("{shown} {wanted}"));
            assert_eq!(fs::read(&file).unwrap(), text, "it is left alone");
        }
        fs::write(&file, "hush").unwrap();
        assert_eq!(folder.password().unwrap().expose(), "hush");
    }

    #[test]
    fn a_folder_that_is_exchanged_after_it_was_opened_does_not_matter() {
        let (around, path) = temporary();
        let folder = PrivateFolder::create(&path).unwrap();
        let password = folder.password_or_new().unwrap();
        fs::rename(&path, around.path().join("moved")).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("password"), "planted\n").unwrap();
        assert_eq!(folder.password().unwrap(), password);
    }
}
