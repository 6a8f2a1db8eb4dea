//! How Unix sockets get their names: files, with what goes with them, and abstract names.

use super::datagram::{SeqPacket, UnixDatagrams};
use super::listener::MOST_WAITING;
use super::own_file::OwnFile;
use super::unix::UnixBound;
use super::unix_address::UnixAddress;
use nix::errno::Errno as NixErrno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, SFlag, fchmod};
use nix::unistd::Group;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So often, and with such pauses, a folder that somebody else binds in is tried to be locked.
const LOCK_TRIES: usize = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// The bits of a file's mode that its group has.
const GROUP: u32 = 0o070;

/// How to listen on a Unix socket, or to receive datagrams with one.
///
/// The file of a socket that is no more is replaced; one that somebody answers on, and whatever is no socket, is left alone.
/// The file goes when its socket is closed.
///
/// ```
/// use eventdispatcher::{Communicator, UnixBind};
///
/// let folder = tempfile::tempdir()?;
/// let bound = UnixBind::new(folder.path().join("service.sock")).mode(0o600).bind()?;
/// let communicator = Communicator::new()?;
/// let listener = communicator.listen(bound, |client| {
///     println!("{:?} came", client);
///     Ok(())
/// })?;
/// # communicator.remove(listener);
/// # assert!(!folder.path().join("service.sock").exists());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct UnixBind {
    place: Place,
    mode: Option<u32>,
    group: Option<u32>,
    backlog: i32,
}

#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    Abstract(Vec<u8>),
    Automatic,
}

impl UnixBind {
    /// A file, with the mode that the process's umask gives, and as many waiting clients as the system allows.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::File(path.into()))
    }

    /// A name in the abstract namespace: at most 107 bytes, without the NUL in front, exactly as long as it is.
    ///
    /// It has neither mode nor group: everybody in the same network namespace can reach it.
    pub fn abstract_name(name: impl Into<Vec<u8>>) -> Self {
        Self::at(Place::Abstract(name.into()))
    }

    /// An abstract name that the system chooses: the cheapest for who wants answers to datagrams.
    pub fn automatic() -> Self {
        Self::at(Place::Automatic)
    }

    fn at(place: Place) -> Self {
        Self { place, mode: None, group: None, backlog: MOST_WAITING }
    }

    /// Sets the mode of the file, exactly, from its first moment on: no one else gets in before.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Sets the group of the file, by its number. The group has no rights before it is the right one; without a
    /// [`mode`](Self::mode) it then has what the owner has.
    #[must_use]
    pub fn group(mut self, group: u32) -> Self {
        self.group = Some(group);
        self
    }

    /// As [`group`](Self::group), by its name.
    ///
    /// # Errors
    /// When there is no such group.
    pub fn group_named(self, name: &str) -> io::Result<Self> {
        let found = Group::from_name(name)?;
        let missing = || io::Error::new(ErrorKind::NotFound, format!("there is no group {name:?}"));
        Ok(self.group(found.ok_or_else(missing)?.gid.as_raw()))
    }

    /// Sets how many clients may wait to be accepted; the system has a limit, too.
    #[must_use]
    pub fn backlog(mut self, backlog: u16) -> Self {
        self.backlog = backlog.into();
        self
    }

    /// Binds and listens for streams.
    ///
    /// # Errors
    /// `AddrInUse` when a live socket answers there; `AlreadyExists` when there is something else than a
    /// socket; else as the system says. All name the place.
    pub fn bind(self) -> io::Result<UnixBound> {
        self.listener(SocketType::STREAM)
    }

    /// Binds and listens for connections of packets.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_seqpacket(self) -> io::Result<UnixBound<SeqPacket>> {
        self.listener(SocketType::SEQPACKET)
    }

    /// Binds a socket for datagrams.
    ///
    /// ```
    /// use eventdispatcher::{Blocking, Packet, UnixBind, UnixPackets};
    /// use std::time::Duration;
    ///
    /// let folder = tempfile::tempdir()?;
    /// let soon = Duration::from_secs(5);
    /// let server = UnixBind::new(folder.path().join("server")).mode(0o600).bind_datagrams()?;
    /// let client = UnixBind::automatic().bind_datagrams()?;
    /// let address = server.local_address()?;
    ///
    /// let mut client = Blocking::new(client, UnixPackets::new())?;
    /// client.send((b"ping", &address), soon)?;
    ///
    /// let mut server = Blocking::new(server, UnixPackets::new())?;
    /// let from = server.receive(soon, |packet| packet.received().map(|(_, from)| from))?.unwrap();
    /// server.send((b"pong", &from), soon)?;
    /// client.receive(soon, |packet| assert_eq!(packet.received(), Some((&b"pong"[..], address))))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_datagrams(self) -> io::Result<UnixDatagrams> {
        let (socket, file) = self.open(SocketType::DGRAM)?;
        Ok(UnixDatagrams::new(socket, file))
    }

    fn listener<T>(self, kind: SocketType) -> io::Result<UnixBound<T>> {
        let (socket, file) = self.open(kind)?;
        listen(&socket, self.backlog).map_err(|errno| self.cannot("listen on", errno.into()))?;
        Ok(UnixBound::new(socket, file))
    }

    /// A socket of this name, and what removes its file.
    fn open(&self, kind: SocketType) -> io::Result<(OwnedFd, Option<SocketFile>)> {
        let address = match &self.place {
            Place::File(path) => return self.open_file(path, kind).map(|(fd, file)| (fd, Some(file))),
            Place::Abstract(name) => UnixAddress::abstract_name(name)?,
            Place::Automatic => UnixAddress::unnamed(), // to bind without a name is to ask for one
        };
        let socket = new_socket(kind)?;
        bind(&socket, address.as_socket()).map_err(|errno| self.cannot("listen on", errno.into()))?;
        Ok((socket, None))
    }

    fn open_file(&self, path: &Path, kind: SocketType) -> io::Result<(OwnedFd, SocketFile)> {
        // Two that find the same stale file at the same moment must not remove each other's new one.
        let _lock = lock_folder(path);
        self.make_room(path, kind)?;
        let (socket, file) = self.bind_file(path, kind).map_err(|error| self.cannot("listen on", error))?;
        Ok((socket, SocketFile { path: path.to_path_buf(), file }))
    }

    /// Removes what a socket that is no more has left behind.
    fn make_room(&self, path: &Path, kind: SocketType) -> io::Result<()> {
        let refused = |kind, text: &str| Err(self.cannot("listen on", io::Error::new(kind, text)));
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                refused(ErrorKind::AlreadyExists, "there is something else than a socket")
            }
            Ok(_) if self.is_live(path, kind)? => {
                refused(ErrorKind::AddrInUse, "another process answers there")
            }
            Ok(_) => fs::remove_file(path).map_err(|error| self.cannot("replace", error)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.cannot("listen on", error)),
        }
    }

    /// Whether somebody has a socket on this file.
    fn is_live(&self, path: &Path, kind: SocketType) -> io::Result<bool> {
        let address = UnixAddress::of_path(path).map_err(|error| self.cannot("listen on", error))?;
        match connect(new_socket(kind)?, address.as_socket()) {
            Ok(()) => Ok(true),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
            // So many wait for it that no more may; it is of another kind; it talks to one other only.
            Err(Errno::AGAIN | Errno::PROTOTYPE | Errno::PERM) => Ok(true),
            Err(errno) => Err(self.cannot("listen on", errno.into())),
        }
    }

    /// The socket, and the device and inode of its file.
    fn bind_file(&self, path: &Path, kind: SocketType) -> io::Result<(OwnedFd, (u64, u64))> {
        let socket = new_socket(kind)?;
        if self.mode.is_some() || self.group.is_some() {
            // Before it has a name, nobody can connect.
            let group = self.group.map_or(0o777, |_| !GROUP);
            fchmod(&socket, Mode::from_bits_truncate(self.mode.unwrap_or(0o777) & group & 0o777))?;
        }
        bind(&socket, UnixAddress::of_path(path)?.as_socket())?;
        // What is not ours stays where it is.
        let mut file = OwnFile::made(path, SFlag::S_IFSOCK)?;
        self.set_rights(&mut file).inspect_err(|_| {
            let _ = fs::remove_file(path); // the first error says more
        })?;
        Ok((socket, file.identity()))
    }

    /// The umask has taken bits away, and the group is not the right one yet.
    fn set_rights(&self, file: &mut OwnFile) -> io::Result<()> {
        let mut mode = self.mode;
        if let Some(group) = self.group {
            file.set_group(group)?;
            let made = file.mode();
            mode = mode.or(Some(made | (made & 0o700) >> 3));
        }
        mode.map_or(Ok(()), |mode| file.set_mode(mode & 0o777))
    }

    fn cannot(&self, what: &str, error: io::Error) -> io::Error {
        let place = match &self.place {
            Place::File(path) => path.display().to_string(),
            Place::Abstract(name) => format!("@{}", name.escape_ascii()),
            Place::Automatic => "a name of the system's choice".to_owned(),
        };
        io::Error::new(error.kind(), format!("can't {what} {place}: {error}"))
    }
}

/// Keeps others that bind in the same folder waiting, until it is dropped. A folder that can't be locked, or that somebody
/// keeps locked for longer than binding takes, is no reason to fail.
fn lock_folder(path: &Path) -> Option<Flock<fs::File>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut opened = fs::File::open(folder).ok()?;
    for _ in 0..LOCK_TRIES {
        match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Some(lock),
            Err((file, NixErrno::EWOULDBLOCK | NixErrno::EINTR)) => opened = file,
            Err(_) => return None,
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    None
}

/// A Unix socket, not blocking and close-on-exec.
pub(super) fn new_socket(kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, kind, flags, None)?)
}

/// Removes the file of a socket when it is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: what stands there later under the same name may be somebody else's.
    file: (u64, u64),
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.file);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("can't remove {}: {error}", self.path.display());
        }
    }
}
