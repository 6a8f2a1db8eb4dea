//! Any descriptor as a transport: a terminal, the standard input, what another library hands over.

use super::transport::{Transport, waiting};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockType, getsockopt, sockopt};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// Any descriptor, as a [`Transport`].
///
/// It is made non-blocking and close-on-exec. Which directions it has is what it was opened for. One that
/// can only be written to tells of the end of its reader as the end of the stream.
///
/// ```
/// use eventdispatcher::codec::Lines;
/// use eventdispatcher::{Communicator, Fd, on_item};
/// use std::io::Write;
///
/// let communicator = Communicator::new()?;
/// let (reader, mut writer) = std::io::pipe()?; // what another library has handed over
/// let fd = Fd::new(reader)?;
/// communicator.stream(fd, Lines::new(), on_item::<Lines, _>(|line, _| {
///     assert_eq!(line, "hello");
///     Ok(())
/// }))?;
/// writer.write_all(b"hello\n")?;
/// drop(writer);
/// communicator.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Fd {
    /// Gone when this side has ended the only direction that there is, unless its owner has it, too.
    file: Option<File>,
    kind: Kind,
    reads: bool,
    writes: bool,
    /// What can't be polled is always ready, and the owner knows.
    always_ready: bool,
    /// The other side did not take all of what was to be written.
    blocked: bool,
    /// Somebody else uses the same open file: it becomes blocking again.
    restore: bool,
    /// What a read has no room for may be lost: of a packet, or of a record of a device.
    cuts: bool,
    /// Its owner has the same open file.
    shared: bool,
    /// This side has ended the only direction that there is.
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Pipe,
    Socket,
    Other,
}

impl Fd {
    /// Takes a descriptor over; it is closed with the transport.
    ///
    /// # Errors
    /// `Unsupported` for a regular file, a directory or a disk: those are always ready, so there is nothing to
    /// wait for; see [`or_file`](Self::or_file).
    pub fn new(fd: impl Into<OwnedFd>) -> io::Result<Self> {
        let mut fd = Self::or_file(fd)?;
        if fd.kind == Kind::File {
            let text = "a regular file, a directory or a disk can't be waited for";
            return Err(io::Error::new(ErrorKind::Unsupported, text));
        }
        fd.always_ready = false;
        Ok(fd)
    }

    /// As [`new`](Self::new), but takes also what is always ready, such as a regular file or `/dev/null`: it is
    /// read from where it stands to its end in portions, between the others. The disk may block the
    /// loop for a moment.
    ///
    /// # Errors
    /// As the system says.
    pub fn or_file(fd: impl Into<OwnedFd>) -> io::Result<Self> {
        Self::make(File::from(fd.into()))
    }

    /// Uses a descriptor that stays its owner's.
    ///
    /// A terminal or a pipe is opened a second time, so that nobody else finds it non-blocking. Where that is impossible
    /// the same open file is used: it is non-blocking for everybody who has it, until the transport is dropped.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn borrow(fd: impl AsFd) -> io::Result<Self> {
        Self::lent(fd.as_fd(), Self::new)
    }

    /// The standard input of this process, whatever it is: a terminal, a pipe, a file. Used as
    /// [`borrow`](Self::borrow) does.
    ///
    /// # Errors
    /// As the system says; when it is closed, for example.
    pub fn stdin() -> io::Result<Self> {
        Self::lent(io::stdin().as_fd(), Self::or_file)
    }

    /// The standard output of this process, as [`stdin`](Self::stdin). What is written through it and through
    /// `println!` comes out in any order.
    ///
    /// # Errors
    /// As the system says; when it is closed, for example.
    pub fn stdout() -> io::Result<Self> {
        Self::lent(io::stdout().as_fd(), Self::or_file)
    }

    fn lent(fd: BorrowedFd<'_>, make: fn(OwnedFd) -> io::Result<Self>) -> io::Result<Self> {
        let non_blocking = || Ok::<_, io::Error>(flags(fd)?.contains(OFlag::O_NONBLOCK));
        let before = non_blocking()?;
        let (again, shared) = Self::again(fd)?;
        let mut made = make(again)?;
        made.restore = !before && non_blocking()?;
        made.shared = shared;
        Ok(made)
    }

    /// The same open file (`true`), or the same thing opened a second time where that is the same.
    fn again(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, bool)> {
        let shared = fd.try_clone_to_owned()?;
        let found = File::from(shared.try_clone()?).metadata()?;
        // To open /dev/ptmx (5:2) again makes another terminal.
        let terminal = nix::unistd::isatty(fd).unwrap_or(false) && found.rdev() != libc::makedev(5, 2);
        if !terminal && !found.file_type().is_fifo() {
            return Ok((shared, true));
        }
        let access = flags(fd)? & OFlag::O_ACCMODE;
        let wanted = access | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        Ok(match open(path.as_str(), wanted, Mode::empty()) {
            Ok(again) => (again, false),
            Err(_) => (shared, true),
        })
    }

    fn make(file: File) -> io::Result<Self> {
        let found = file.metadata()?.file_type();
        let kind = if found.is_file() || found.is_dir() || found.is_block_device() {
            Kind::File
        } else if found.is_fifo() {
            Kind::Pipe
        } else if found.is_socket() {
            Kind::Socket
        } else {
            Kind::Other
        };
        let cuts = match kind {
            Kind::File | Kind::Pipe => false,
            Kind::Socket => getsockopt(&file, sockopt::SockType)? != SockType::Stream,
            Kind::Other => !nix::unistd::isatty(&file).unwrap_or(false),
        };
        let before = flags(&file)?;
        let access = before & OFlag::O_ACCMODE;
        fcntl(&file, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
        if kind != Kind::File {
            fcntl(&file, FcntlArg::F_SETFL(before | OFlag::O_NONBLOCK))?;
        }
        Ok(Self {
            file: Some(file),
            kind,
            reads: access != OFlag::O_WRONLY,
            writes: access != OFlag::O_RDONLY,
            always_ready: true,
            blocked: false,
            restore: false,
            cuts,
            shared: false,
            ended: false,
        })
    }

    /// With the reading direction only, whatever it was opened for.
    pub(super) fn only_reading(mut self) -> Self {
        self.writes = false;
        self
    }

    /// Whether it can be read, as it was opened.
    pub fn reads(&self) -> bool {
        self.reads
    }

    /// Whether it can be written, as it was opened.
    pub fn writes(&self) -> bool {
        self.writes
    }

    /// Whether its owner has the same open file, of which the poll does not forget that it was registered here when it is closed
    /// here.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Whether the other side has gone altogether.
    pub(super) fn is_gone(&self) -> io::Result<bool> {
        self.file.as_ref().map_or(Ok(true), is_gone)
    }
}

fn is_gone(file: &File) -> io::Result<bool> {
    let mut asked = [PollFd::new(file.as_fd(), PollFlags::empty())];
    poll(&mut asked, PollTimeout::ZERO)?;
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
    Ok(asked[0].revents().is_some_and(|found| found.intersects(gone)))
}

fn flags(fd: impl AsFd) -> io::Result<OFlag> {
    Ok(OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?))
}

impl Drop for Fd {
    fn drop(&mut self) {
        if let (true, Some(file)) = (self.restore, &self.file)
            && let Ok(now) = flags(file)
        {
            let _ = fcntl(file, FcntlArg::F_SETFL(now.difference(OFlag::O_NONBLOCK)));
        }
    }
}

impl Read for Fd {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.file {
            None => Ok(0),
            Some(_) if self.ended => Ok(0),
            Some(file) if self.reads => file.read(into),
            Some(file) if !is_gone(file)? => Err(ErrorKind::WouldBlock.into()),
            Some(_) if self.blocked => Err(ErrorKind::BrokenPipe.into()),
            Some(_) => Ok(0),
        }
    }
}

impl Write for Fd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) if self.writes && !self.ended => {
                let written = file.write(bytes);
                self.blocked = matches!(&written, Err(error) if error.kind() == ErrorKind::WouldBlock);
                written
            }
            _ => Err(io::Error::new(ErrorKind::Unsupported, "the descriptor is for reading only")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Fd {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        match SourceFd(&file.as_raw_fd()).register(registry, token, interest) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                if self.always_ready {
                    return Ok(());
                }
                let text = "the descriptor can't be waited for: it is always ready";
                Err(io::Error::new(ErrorKind::Unsupported, text))
            }
            registered => {
                self.always_ready &= registered.is_err();
                registered
            }
        }
    }
    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match &self.file {
            Some(file) if !self.always_ready => {
                SourceFd(&file.as_raw_fd()).reregister(registry, token, interest)
            }
            _ => Ok(()),
        }
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &self.file {
            Some(file) if !self.always_ready => SourceFd(&file.as_raw_fd()).deregister(registry),
            _ => Ok(()),
        }
    }
}

impl Transport for Fd {
    fn source(&mut self) -> Option<&mut dyn Source> {
        Some(self)
    }
    fn kind(&self) -> &'static str {
        match self.kind {
            Kind::File => "file",
            Kind::Pipe => "pipe",
            Kind::Socket => "socket",
            Kind::Other => "fd",
        }
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        match &self.file {
            Some(file) if self.kind == Kind::Socket => {
                Ok(rustix::net::shutdown(file, rustix::net::Shutdown::Write)?)
            }
            Some(_) if !self.reads => {
                self.ended = true;
                // The poll forgets by itself what nobody has open any more; what its owner has must be taken out of it, and
                // made as it was, in the end.
                if !self.shared {
                    self.file = None;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
    fn waiting(&self) -> Option<usize> {
        waiting(self.file.as_ref()?)
    }
    fn loses_what_has_no_room(&self) -> bool {
        self.cuts
    }
    fn resets_on_close(&self) -> bool {
        self.kind == Kind::Socket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Lines, Raw};
    use crate::{Closed, Communicator, Cx, Handler, HandlerResult, on_item};
    use std::cell::RefCell;
    use std::io::{Seek, SeekFrom};
    use std::net::Shutdown;
    use std::rc::Rc;

    /// Notes what happens.
    #[derive(Clone, Default)]
    struct Notes(Rc<RefCell<Vec<String>>>);

    impl Handler<Lines> for Notes {
        fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
            self.0.borrow_mut().push(line.into());
            if line == "stop" {
                cx.close();
            }
            Ok(())
        }
        fn closed(&mut self, why: &Closed, _: &Cx<'_, Lines>) {
            self.0.borrow_mut().push(format!("closed: {why}"));
        }
    }

    #[test]
    fn what_was_opened_says_what_it_can_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = File::create(&path).unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let cases: [(OwnedFd, &str, bool, bool); 4] = [
            (reader.into(), "pipe", true, false),
            (writer.into(), "pipe", false, true),
            (one.into(), "socket", true, true),
            (file.into(), "file", false, true),
        ];
        for (fd, kind, reads, writes) in cases {
            let fd = Fd::or_file(fd).unwrap();
            assert_eq!((fd.kind(), fd.reads(), fd.writes()), (kind, reads, writes));
            let file = fd.file.as_ref().unwrap();
            assert_eq!(flags(file).unwrap().contains(OFlag::O_NONBLOCK), kind != "file", "{kind}");
            let close_on_exec = fcntl(file, FcntlArg::F_GETFD).unwrap();
            assert_eq!(close_on_exec, libc::FD_CLOEXEC, "{kind}");
        }
        drop(other);
    }

    #[test]
    fn what_can_not_be_waited_for_is_refused_unless_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        std::fs::write(&path, "one\ntwo\nrest").unwrap();
        for (path, seen) in [
            (path.as_path(), "one two closed: ended by the other side"),
            ("/dev/null".as_ref(), "closed: ended by the other side"),
        ] {
            let communicator = Communicator::new().unwrap();
            let refused = Fd::new(File::open(path).unwrap())
                .and_then(|fd| communicator.stream(fd, Lines::new(), Notes::default()));
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains("can't be waited for"), "{error}");
            let notes = Notes::default();
            let fd = Fd::or_file(File::open(path).unwrap()).unwrap();
            communicator.stream(fd, Lines::new(), notes.clone()).unwrap();
            communicator.run().unwrap();
            assert_eq!(notes.0.borrow().join(" "), seen, "{path:?}");
        }
        assert_eq!(Fd::new(File::open(folder.path()).unwrap()).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_file_is_written_like_everything_else() {
        let mut file = tempfile::tempfile().unwrap();
        let communicator = Communicator::new().unwrap();
        let fd = Fd::or_file(file.try_clone().unwrap()).unwrap();
        let id = communicator.stream(fd, Raw, on_item::<Raw, _>(|_, _| Ok(()))).unwrap();
        communicator.send(id, b"written").unwrap();
        communicator.run().unwrap();
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "written");
    }

    #[test]
    fn one_that_can_only_be_written_to_may_be_lent_again_and_again() {
        // Of what can only be written to, this is what can't be opened a second time, whoever tries.
        let writes = OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let terminal = open("/dev/ptmx", writes, Mode::empty()).unwrap();
        let communicator = Communicator::new().unwrap();
        for _ in 0..3 {
            let notes = Notes::default();
            let id =
                communicator.stream(Fd::borrow(&terminal).unwrap(), Lines::new(), notes.clone()).unwrap();
            communicator.send(id, "x").unwrap();
            assert!(communicator.shutdown_write(id));
            communicator.run().unwrap();
            assert_eq!(*notes.0.borrow(), ["closed: ended by the other side"]);
            assert!(!flags(&terminal).unwrap().contains(OFlag::O_NONBLOCK));
        }
    }

    #[test]
    fn one_that_is_lent_is_its_owners_again_afterwards() {
        let (one, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let blocking = |fd: BorrowedFd<'_>| !flags(fd).unwrap().contains(OFlag::O_NONBLOCK);
        other.write_all(b"a\nstop\n").unwrap();
        writer.write_all(b"b\nstop\n").unwrap();
        // A pipe is opened anew and never changes for its owner; a socket has only one open file.
        for (lent, meanwhile, first) in [(one.as_fd(), false, "a"), (reader.as_fd(), true, "b")] {
            let communicator = Communicator::new().unwrap();
            let notes = Notes::default();
            communicator.stream(Fd::borrow(lent).unwrap(), Lines::new(), notes.clone()).unwrap();
            assert_eq!(blocking(lent), meanwhile, "{first}");
            if first == "a" {
                other.shutdown(Shutdown::Write).unwrap();
            }
            communicator.run().unwrap();
            assert!(blocking(lent), "{first}");
            assert_eq!(*notes.0.borrow(), [first, "stop", "closed: closed by this program"]);
        }
    }

    #[test]
    fn one_that_was_non_blocking_before_it_was_lent_stays_so() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        drop(Fd::borrow(&one).unwrap());
        assert!(flags(&one).unwrap().contains(OFlag::O_NONBLOCK));
    }

    #[test]
    fn a_direction_that_it_was_not_opened_for_is_an_error() {
        let (reader, _writer) = io::pipe().unwrap();
        let communicator = Communicator::new().unwrap();
        let notes = Notes::default();
        let id = communicator.stream(Fd::new(reader).unwrap(), Lines::new(), notes.clone()).unwrap();
        communicator.send(id, "never").unwrap();
        communicator.run().unwrap();
        assert_eq!(*notes.0.borrow(), ["closed: failed: the descriptor is for reading only"]);
    }

    #[test]
    fn a_terminal_that_is_lent_never_becomes_non_blocking_for_the_others() {
        let pair = nix::pty::openpty(None, None).unwrap();
        let communicator = Communicator::new().unwrap();
        let notes = Notes::default();
        communicator.stream(Fd::borrow(&pair.slave).unwrap(), Lines::new(), notes.clone()).unwrap();
        assert!(!flags(&pair.slave).unwrap().contains(OFlag::O_NONBLOCK));
        File::from(pair.master.try_clone().unwrap()).write_all(b"typed\nstop\n").unwrap();
        communicator.run().unwrap();
        assert_eq!(*notes.0.borrow(), ["typed", "stop", "closed: closed by this program"]);
        // The other side opened again would be another terminal.
        drop(Fd::borrow(&pair.master).unwrap());
        assert!(!flags(&pair.master).unwrap().contains(OFlag::O_NONBLOCK));
    }
}
