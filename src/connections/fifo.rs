//! Named pipes.

use super::fd::Fd;
use super::own_file::OwnFile;
use super::transport::Transport;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::mkfifo;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So long a writer waits for its reader between two looks: first and last.
const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// A named pipe in the file system, about to be opened.
///
/// ```
/// use eventdispatcher::codec::Lines;
/// use eventdispatcher::{Communicator, Fifo, on_item};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("control");
/// let communicator = Communicator::new()?;
/// let reader = Fifo::new(&path).mode(0o600).reader()?;
/// communicator.stream(reader, Lines::new(), on_item::<Lines, _>(|line, cx| {
///     println!("somebody wrote {line}");
///     cx.close();
///     Ok(())
/// }))?;
/// std::fs::write(&path, "hello\n")?; // any process, any number of times
/// communicator.run()?;
/// assert!(!path.exists());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Fifo {
    path: PathBuf,
    mode: u32,
    /// What was made stays.
    keeps: bool,
}

impl Fifo {
    /// The named pipe `path`. It is made when it does not exist, and then removed again with the transport.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), mode: 0o600, keeps: false }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it where it is, even if this has made it.
    #[must_use]
    pub fn keep(mut self) -> Self {
        self.keeps = true;
        self
    }

    /// Sets the mode that it is made with, exactly; 0600 unless set.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// Opens it for reading. Writers come and go; the stream does not end with the last of them.
    ///
    /// # Errors
    /// `AlreadyExists` when there is something else than a named pipe; else as the system says: it must be
    /// allowed to write, too. All name the path.
    pub fn reader(self) -> io::Result<FifoReader> {
        self.open(true)
    }

    /// Opens it for reading until the last writer has gone. Before the first has come it waits.
    ///
    /// # Errors
    /// As [`reader`](Self::reader), but it needs not to be allowed to write.
    pub fn reader_until_end(self) -> io::Result<FifoReader> {
        self.open(false)
    }

    fn open(self, keeps: bool) -> io::Result<FifoReader> {
        let name = self.name()?;
        // Its own writing end keeps the stream from ending, in one descriptor.
        let file =
            OpenOptions::new().read(true).write(keeps).custom_flags(nix::libc::O_NONBLOCK).open(&name.path);
        let file = file.and_then(check).map_err(|error| about(&name.path, "can't read", &error))?;
        Ok(FifoReader { fd: Fd::new(file)?.only_reading(), keeps, name })
    }

    /// Will open it for writing as soon as somebody reads. Until then the connection is not established: it looks
    /// again after 10 ms, then ever more rarely, at last once a second, for
    /// [`Timeouts::connect`](crate::Timeouts::connect) (set that to `None` to wait for ever). When all readers have gone, the stream
    /// ends.
    ///
    /// # Errors
    /// As [`reader`](Self::reader).
    pub fn writer(self) -> io::Result<FifoWriter> {
        let name = self.name()?;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        Ok(FifoWriter { end: End::Waits { timer, pause: LOOK_MIN, set: false, registered: None }, name })
    }

    /// Sees to it that there is one.
    fn name(self) -> io::Result<Name> {
        let Self { path, mode, keeps } = self;
        let made = match mkfifo(&path, Mode::from_bits_truncate(mode & 0o700)) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(error) => return Err(about(&path, "can't make", &error.into())),
        };
        let mut name = Name { path, made: None };
        if made {
            let mut file = OwnFile::made(&name.path, SFlag::S_IFIFO)
                .map_err(|error| about(&name.path, "can't look at", &error))?;
            name.made = Some(file.identity());
            // The umask has taken bits away.
            file.set_mode(mode & 0o777)
                .map_err(|error| about(&name.path, "can't set the mode of", &error))?;
        }
        name.made = name.made.filter(|_| !keeps);
        Ok(name)
    }
}

/// What stands under the name may be something else.
fn check(file: File) -> io::Result<File> {
    if file.metadata()?.file_type().is_fifo() {
        return Ok(file);
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "there is something else than a named pipe"))
}

fn about(path: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

/// Removes what it has made.
#[derive(Debug)]
struct Name {
    path: PathBuf,
    /// Device and inode: what stands there later under the same name may be somebody else's.
    made: Option<(u64, u64)>,
}

impl Drop for Name {
    fn drop(&mut self) {
        let Some(made) = self.made else { return };
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == made);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("can't remove {}: {error}", self.path.display());
        }
    }
}

/// The reading end of a named pipe, as a [`Transport`]; made by [`Fifo::reader`].
#[derive(Debug)]
pub struct FifoReader {
    fd: Fd,
    /// It does not end with the last writer.
    keeps: bool,
    name: Name,
}

impl FifoReader {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.name.path
    }
}

impl Read for FifoReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.fd.read(into)? {
            // So it is before the first writer, too.
            0 if !into.is_empty() && !self.keeps => {
                if !self.fd.is_gone()? {
                    return Err(ErrorKind::WouldBlock.into());
                }
                // One may have come, written and gone since.
                self.fd.read(into)
            }
            got => Ok(got),
        }
    }
}

impl Write for FifoReader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.fd.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for FifoReader {
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.fd.source()
    }
    fn kind(&self) -> &'static str {
        "fifo"
    }
    fn waiting(&self) -> Option<usize> {
        self.fd.waiting()
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The writing end of a named pipe, as a [`Transport`]; made by [`Fifo::writer`].
#[derive(Debug)]
pub struct FifoWriter {
    end: End,
    name: Name,
}

#[derive(Debug)]
enum End {
    Waits {
        timer: TimerFd,
        pause: Duration,
        /// The timer runs.
        set: bool,
        /// Where, to put the pipe in the place of the timer.
        registered: Option<(Registry, Token)>,
    },
    Open(Fd),
}

impl FifoWriter {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.name.path
    }
}

impl Read for FifoWriter {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.end {
            End::Open(fd) => fd.read(into),
            End::Waits { .. } => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for FifoWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.end {
            End::Open(fd) => fd.write(bytes),
            End::Waits { .. } => Err(ErrorKind::WouldBlock.into()),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for FifoWriter {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match &mut self.end {
            End::Open(fd) => fd.register(registry, token, interest),
            End::Waits { timer, registered, .. } => {
                *registered = Some((registry.try_clone()?, token));
                SourceFd(&timer.as_fd().as_raw_fd()).register(registry, token, Interest::READABLE)
            }
        }
    }
    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match &mut self.end {
            End::Open(fd) => fd.reregister(registry, token, interest),
            End::Waits { .. } => Ok(()),
        }
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.end {
            End::Open(fd) => fd.deregister(registry),
            End::Waits { timer, registered, .. } => {
                *registered = None;
                SourceFd(&timer.as_fd().as_raw_fd()).deregister(registry)
            }
        }
    }
}

impl Transport for FifoWriter {
    fn source(&mut self) -> Option<&mut dyn Source> {
        Some(self)
    }
    fn kind(&self) -> &'static str {
        "fifo"
    }
    fn establish(&mut self) -> io::Result<bool> {
        let Self { end: End::Waits { timer, pause, set, registered }, name } = self else { return Ok(true) };
        let over = timer.wait();
        if over.is_err() && *set {
            return Ok(false); // not yet
        }
        let opened = OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&name.path);
        let file = match opened {
            Err(error) if error.raw_os_error() == Some(nix::libc::ENXIO) => {
                let once = Expiration::OneShot(TimeSpec::from_duration(*pause));
                timer.set(once, TimerSetTimeFlags::empty())?;
                (*pause, *set) = ((*pause * 2).min(LOOK_MAX), true);
                return Ok(false);
            }
            opened => opened.and_then(check).map_err(|error| about(&name.path, "can't write", &error))?,
        };
        let mut fd = Fd::new(file)?;
        if let Some((registry, token)) = registered.take() {
            SourceFd(&timer.as_fd().as_raw_fd()).deregister(&registry)?;
            fd.register(&registry, token, Interest::READABLE | Interest::WRITABLE)?;
        }
        self.end = End::Open(fd);
        Ok(true)
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        match &mut self.end {
            End::Open(fd) => fd.shutdown_write(),
            End::Waits { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Lines;
    use crate::{Blocking, Closed, Communicator, Cx, Handler, HandlerResult, Timeouts};
    use std::cell::RefCell;
    use std::os::unix::fs::PermissionsExt;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Notes(Rc<RefCell<Vec<String>>>);

    impl Handler<Lines> for Notes {
        fn connected(&mut self, _: &Cx<'_, Lines>) -> HandlerResult {
            self.0.borrow_mut().push("connected".into());
            Ok(())
        }
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
    fn what_a_writer_leaves_that_comes_and_goes_while_it_is_read_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        // They meet at the wrong moment once in some dozens of times.
        for _ in 0..2000 {
            let mut reader = Fifo::new(&path).reader_until_end().unwrap();
            let begin = std::sync::Barrier::new(2);
            let mut all = Vec::new();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    begin.wait();
                    fs::write(&path, "hello").unwrap();
                });
                begin.wait();
                let mut some = [0; 64];
                loop {
                    match reader.read(&mut some) {
                        Ok(0) => break,
                        Ok(got) => all.extend_from_slice(&some[..got]),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                }
            });
            assert_eq!(all, b"hello");
        }
    }

    #[test]
    fn a_reader_outlives_its_writers_and_rests_between_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let (communicator, notes) = (Communicator::new().unwrap(), Notes::default());
        let id =
            communicator.stream(Fifo::new(&path).reader().unwrap(), Lines::new(), notes.clone()).unwrap();
        let settle = || {
            for _ in 0..50 {
                communicator.turn(Some(Duration::ZERO)).unwrap();
            }
        };
        for line in ["one", "two"] {
            fs::write(&path, format!("{line}\n")).unwrap();
            settle();
            assert_ne!(communicator.wait_hint(), Some(Duration::ZERO), "it does not rest after {line}");
            assert!(communicator.is_alive(id));
        }
        fs::write(&path, "stop\n").unwrap();
        communicator.run().unwrap();
        assert_eq!(*notes.0.borrow(), ["connected", "one", "two", "stop", "closed: closed by this program"]);
        assert!(!path.exists());
    }

    #[test]
    fn a_reader_until_the_end_waits_for_the_first_writer_and_ends_with_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let (communicator, notes) = (Communicator::new().unwrap(), Notes::default());
        let reader = Fifo::new(&path).reader_until_end().unwrap();
        let id = communicator.stream(reader, Lines::new(), notes.clone()).unwrap();
        for _ in 0..10 {
            communicator.turn(Some(Duration::ZERO)).unwrap();
        }
        assert!(communicator.is_alive(id) && communicator.wait_hint() != Some(Duration::ZERO));
        fs::write(&path, "one\n").unwrap();
        communicator.run().unwrap();
        assert_eq!(*notes.0.borrow(), ["connected", "one", "closed: ended by the other side"]);
    }

    #[test]
    fn a_writer_is_established_when_a_reader_comes_and_ends_when_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let (communicator, notes) = (Communicator::new().unwrap(), Notes::default());
        let writer = Fifo::new(&path).writer().unwrap();
        let id = communicator.stream(writer, Lines::new(), notes.clone()).unwrap();
        communicator.send(id, "early").unwrap();
        communicator.turn(Some(Duration::ZERO)).unwrap();
        communicator.turn(None).unwrap(); // a look in vain
        assert!(notes.0.borrow().is_empty());
        let reader = Fifo::new(&path).reader_until_end().unwrap();
        let read = Notes::default();
        communicator
            .stream(
                reader,
                Lines::new(),
                crate::on_item::<Lines, _>({
                    let read = read.clone();
                    move |line, cx| {
                        read.0.borrow_mut().push(line.into());
                        cx.close();
                        Ok(())
                    }
                }),
            )
            .unwrap();
        communicator.run().unwrap();
        assert_eq!(*read.0.borrow(), ["early"]);
        assert_eq!(*notes.0.borrow(), ["connected", "closed: ended by the other side"]);
    }

    #[test]
    fn a_writer_without_a_reader_gives_up_when_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (communicator, notes) = (Communicator::new().unwrap(), Notes::default());
        let writer = Fifo::new(folder.path().join("fifo")).writer().unwrap();
        let id = communicator.stream(writer, Lines::new(), notes.clone()).unwrap();
        let connect = Some(Duration::from_millis(30));
        communicator.set_timeouts(id, Timeouts { connect, ..Timeouts::default() });
        communicator.run().unwrap();
        assert_eq!(notes.0.borrow().len(), 1);
        assert!(notes.0.borrow()[0].contains("not connected in time"), "{:?}", notes.0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_blocking_writer_waits_for_its_reader() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let mut writer = Blocking::new(Fifo::new(&path).writer().unwrap(), Lines::new()).unwrap();
        let reading = std::thread::spawn(move || fs::read_to_string(path).unwrap());
        writer.send("hello", Duration::from_secs(10)).unwrap();
        drop(writer);
        assert_eq!(reading.join().unwrap(), "hello\n");
    }

    #[test]
    fn only_what_was_made_is_removed_and_its_mode_is_exact() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let reader = Fifo::new(&path).mode(0o622).reader().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o622);
        assert_eq!(reader.path(), path);
        drop(Fifo::new(&path).reader().unwrap());
        assert!(path.exists(), "removed by one that found it");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "somebody else's").unwrap();
        drop(reader);
        assert!(path.exists(), "removed what was not its own");
    }

    #[test]
    fn something_else_under_the_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "text").unwrap();
        let error = Fifo::new(&path).reader().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        let mut writer = Fifo::new(&path).writer().unwrap();
        assert_eq!(writer.establish().unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        let missing = Fifo::new(folder.path().join("no/where")).reader().unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}
