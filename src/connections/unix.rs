//! Unix stream sockets.

use super::listener::{Accept, Incoming, MOST_WAITING};
use super::transport::Transport;
use crate::codec::Codec;
use crate::communicator::{Communicator, Handler, HandlerResult, Id, Key};
use mio::event::Source;
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{Mode, fchmod};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So often, and with such pauses, a folder that somebody else binds in is tried to be locked.
const LOCK_TRIES: usize = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

impl Transport for UnixStream {
    fn source(&mut self) -> Option<&mut dyn Source> {
        Some(self)
    }
    fn kind(&self) -> &'static str {
        "unix"
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
    fn short_read_means_empty(&self) -> bool {
        true
    }
}

/// A transport from a connected stream that was made elsewhere: by a blocking thread, or inherited.
///
/// ```
/// use eventdispatcher::{Communicator, codec::Lines, on_item, unix_stream};
/// use std::io::{Read, Write};
///
/// let communicator = Communicator::new()?;
/// let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
/// communicator.stream(unix_stream(ours)?, Lines::new(), on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?)))?;
/// let thread = std::thread::spawn(move || {
///     theirs.write_all(b"blocking\n")?;
///     theirs.shutdown(std::net::Shutdown::Write)?;
///     let mut answer = String::new();
///     theirs.read_to_string(&mut answer)?;
///     Ok::<String, std::io::Error>(answer)
/// });
/// communicator.run()?;
/// assert_eq!(thread.join().unwrap()?, "blocking\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As the system says.
pub fn unix_stream(stream: std::os::unix::net::UnixStream) -> io::Result<impl Transport> {
    stream.set_nonblocking(true)?;
    Ok(UnixStream::from_std(stream))
}

/// Two connected streams: to test with, or to talk to a child or a thread.
///
/// # Errors
/// When no descriptor is left.
pub fn unix_pair() -> io::Result<(UnixStream, UnixStream)> {
    UnixStream::pair()
}

impl Communicator {
    /// Connects to the socket file `path`. The system answers at once: there is nothing to wait for.
    ///
    /// # Errors
    /// When nobody listens there, or it may not be used; the error names the path.
    pub fn connect_unix<C: Codec, H: Handler<C>>(
        &self,
        path: impl AsRef<Path>,
        codec: C,
        handler: H,
    ) -> io::Result<Id<C>> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path).map_err(|error| about(path, "can't connect to", &error))?;
        let id = self.add_stream(stream, codec, handler, true)?;
        self.set_name(id, &path.to_string_lossy());
        Ok(id)
    }

    /// Listens on the socket file `path`, as [`UnixBind`] does by default.
    ///
    /// # Errors
    /// As [`UnixBind::bind`].
    pub fn listen_unix(
        &self,
        path: impl AsRef<Path>,
        accept: impl FnMut(Incoming<'_, UnixStream>) -> HandlerResult + 'static,
    ) -> io::Result<Key> {
        let bound = UnixBind::new(path.as_ref()).bind()?;
        let key = self.listen(bound, accept)?;
        self.set_name(key, &path.as_ref().to_string_lossy());
        Ok(key)
    }
}

/// How to listen on a socket file.
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
    path: PathBuf,
    mode: Option<u32>,
    backlog: i32,
}

impl UnixBind {
    /// With the mode that the process's umask gives, and as many waiting clients as the system allows.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), mode: None, backlog: MOST_WAITING }
    }

    /// Sets the mode of the file, exactly, from its first moment on: no one else gets in before.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Sets how many clients may wait to be accepted; the system has a limit, too.
    #[must_use]
    pub fn backlog(mut self, backlog: u16) -> Self {
        self.backlog = backlog.into();
        self
    }

    /// Binds and listens. The file of a listener that is no more is replaced.
    ///
    /// # Errors
    /// `AddrInUse` when a live listener answers on the file; `AlreadyExists` when there is something else than a
    /// socket; else as the system says. All name the path.
    pub fn bind(self) -> io::Result<UnixBound> {
        let path = &self.path;
        // Two that find the same stale file at the same moment must not remove each other's new one.
        let _lock = lock_folder(path);
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(
                    ErrorKind::AlreadyExists,
                    format!("can't listen on {}: there is something else than a socket", path.display()),
                ));
            }
            Ok(_) if is_live(path)? => {
                return Err(io::Error::new(
                    ErrorKind::AddrInUse,
                    format!("can't listen on {}: another process answers there", path.display()),
                ));
            }
            Ok(_) => fs::remove_file(path).map_err(|error| about(path, "can't replace", &error))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(about(path, "can't listen on", &error)),
        }
        let listener = self.listener().map_err(|error| about(path, "can't listen on", &error))?;
        let made = fs::symlink_metadata(path).map_err(|error| about(path, "can't look at", &error))?;
        Ok(UnixBound { listener, file: (made.dev(), made.ino()), path: self.path })
    }

    fn listener(&self) -> io::Result<UnixListener> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        if let Some(mode) = self.mode {
            // Before it has a name, nobody can connect.
            fchmod(&socket, Mode::from_bits_truncate(mode & 0o666))?;
        }
        use std::os::fd::AsRawFd;
        bind(socket.as_raw_fd(), &UnixAddr::new(&self.path)?)?;
        if let Some(mode) = self.mode {
            // The umask has taken bits away.
            fs::set_permissions(&self.path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        }
        listen(&socket, Backlog::new(self.backlog)?)?;
        Ok(UnixListener::from_std(socket.into()))
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
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => opened = file,
            Err(_) => return None,
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    None
}

/// Whether somebody listens on a socket file.
fn is_live(path: &Path) -> io::Result<bool> {
    match UnixStream::connect(path) {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => Ok(false),
            // So many wait for it that no more may: it listens.
            ErrorKind::WouldBlock => Ok(true),
            _ => Err(about(path, "can't listen on", &error)),
        },
    }
}

fn about(path: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

/// A listening Unix socket; its file goes with it.
#[derive(Debug)]
pub struct UnixBound {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: what stands there later under the same name may be somebody else's.
    file: (u64, u64),
}

impl UnixBound {
    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Source for UnixBound {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.listener.register(registry, token, interest)
    }
    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.listener.reregister(registry, token, interest)
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.listener.deregister(registry)
    }
}

impl Accept for UnixBound {
    type Stream = UnixStream;

    fn accept_one(&self) -> io::Result<(UnixStream, String)> {
        let (stream, peer) = self.listener.accept()?;
        let peer = peer.as_pathname().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        Ok((stream, peer))
    }
    fn kind(&self) -> &'static str {
        "unix listener"
    }
}

impl Drop for UnixBound {
    fn drop(&mut self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.file);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("can't remove {}: {error}", self.path.display());
        }
    }
}
