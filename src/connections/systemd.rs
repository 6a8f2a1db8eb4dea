//! What a service manager gives and wants to hear: inherited sockets, and how the service is
//! (sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3)).

use super::listener::Accept;
use super::unix_address::UnixAddress;
use crate::communicator::{Communicator, TimerId};
use mio::net::{TcpListener, UnixListener, UnixStream};
use nix::sys::socket::{ControlMessage, MsgFlags, getsockopt, sendmsg, sockopt};
use nix::time::{ClockId, clock_gettime};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, getsockname};
use std::env;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;
/// As many are taken at most.
const MOST: usize = 1024;

/// A descriptor that the service manager has opened before the service was started, such as a listening socket.
///
/// ```no_run
/// use eventdispatcher::codec::Lines;
/// use eventdispatcher::{Communicator, systemd::Inherited, on_item};
///
/// let communicator = Communicator::new()?;
/// for socket in Inherited::take()? {
///     communicator.listen(socket.into_tcp_listener()?, |client| {
///         client.serve(Lines::new(), on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?)))?;
///         Ok(())
///     })?;
/// }
/// communicator.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Inherited {
    fd: OwnedFd,
    name: String,
}

impl Inherited {
    /// Takes all that were handed to this very process (`LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`); none if there are none.
    /// A second call finds none. They are close-on-exec from now on.
    ///
    /// # Errors
    /// When the variables make no sense, a descriptor is not open, or none is left.
    pub fn take() -> io::Result<Vec<Self>> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let get = |name| env::var(name).ok();
        let names = names(get, std::process::id())?;
        if names.is_empty() || TAKEN.swap(true, Ordering::AcqRel) {
            return Ok(Vec::new());
        }
        let about = |raw: RawFd, name: &str, error: &io::Error| {
            io::Error::new(error.kind(), format!("LISTEN_FDS: descriptor {raw} ({name}): {error}"))
        };
        // All are looked at before the first is taken: then no new descriptor gets one of these numbers.
        for (raw, name) in (FIRST..).zip(&names) {
            duplicate(raw).map_err(|error| about(raw, name, &error))?;
        }
        let mut taken = Vec::new();
        for (raw, name) in (FIRST..).zip(names) {
            let fd = duplicate(raw).map_err(|error| about(raw, &name, &error))?;
            let _ = nix::unistd::close(raw);
            taken.push(Self { fd, name });
        }
        Ok(taken)
    }

    /// What the manager calls it (`FileDescriptorName=`), which may be empty; `unknown` if it says nothing.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens, if it is a Unix socket that has a file which others can address: not one whose path has 108 bytes.
    pub fn unix_path(&self) -> Option<PathBuf> {
        UnixAddress::of_socket(getsockname(&self.fd).ok()?)?.path().map(Path::to_owned)
    }

    /// Where it listens, if it is a socket of the internet.
    pub fn tcp_address(&self) -> Option<net::SocketAddr> {
        net::SocketAddr::try_from(getsockname(&self.fd).ok()?).ok()
    }

    /// As a listener for TCP, for [`Communicator::listen`].
    ///
    /// # Errors
    /// `InvalidInput` when it is something else.
    pub fn into_tcp_listener(self) -> io::Result<impl Accept<Stream = mio::net::TcpStream>> {
        self.listens()?;
        let listener = std::net::TcpListener::from(self.fd);
        listener.local_addr().map_err(|_| wrong(&self.name, "a TCP socket"))?;
        listener.set_nonblocking(true)?;
        Ok(TcpListener::from_std(listener))
    }

    /// As a listener for Unix streams, for [`Communicator::listen`]. Its file is the manager's: it stays.
    ///
    /// # Errors
    /// `InvalidInput` when it is something else.
    pub fn into_unix_listener(self) -> io::Result<impl Accept<Stream = UnixStream>> {
        self.listens()?;
        let listener = std::os::unix::net::UnixListener::from(self.fd);
        listener.local_addr().map_err(|_| wrong(&self.name, "a Unix socket"))?;
        listener.set_nonblocking(true)?;
        Ok(UnixListener::from_std(listener))
    }

    /// The descriptor, whatever it is: a datagram socket, a named pipe …
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    fn listens(&self) -> io::Result<()> {
        let kind = getsockopt(&self.fd, sockopt::SockType);
        let listens = getsockopt(&self.fd, sockopt::AcceptConn);
        match (kind, listens) {
            (Ok(nix::sys::socket::SockType::Stream), Ok(true)) => Ok(()),
            _ => Err(wrong(&self.name, "a listening stream socket")),
        }
    }
}

fn wrong(name: &str, what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("the inherited descriptor {name} is not {what}"))
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    fn accept_one(&self) -> io::Result<(UnixStream, String)> {
        let (stream, peer) = self.accept()?;
        let peer = peer.as_pathname().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        Ok((stream, peer))
    }
    fn kind(&self) -> &'static str {
        "unix listener"
    }
}

/// The names of those that are for the process `pid`, in order.
fn names(get: impl Fn(&'static str) -> Option<String>, pid: u32) -> io::Result<Vec<String>> {
    let (Some(count), Some(whose)) = (get("LISTEN_FDS"), get("LISTEN_PID")) else { return Ok(Vec::new()) };
    let bad = |name, value: &str| {
        io::Error::new(ErrorKind::InvalidInput, format!("{name} is not a number that can be: {value:?}"))
    };
    if whose.parse::<u32>().map_err(|_| bad("LISTEN_PID", &whose))? != pid {
        return Ok(Vec::new());
    }
    let number = count.parse::<usize>().ok().filter(|&count| count <= MOST);
    let number = number.ok_or_else(|| bad("LISTEN_FDS", &count))?;
    let given = get("LISTEN_FDNAMES");
    let mut given = given.iter().flat_map(|names| names.split(':'));
    Ok((0..number).map(|_| given.next().unwrap_or("unknown").to_owned()).collect())
}

/// An owned descriptor of what a number stands for: it is sent to this process itself, and what arrives is new and
/// close-on-exec.
fn duplicate(raw: RawFd) -> io::Result<OwnedFd> {
    let (here, there) = UnixDatagram::pair()?;
    if [here.as_raw_fd(), there.as_raw_fd()].contains(&raw) {
        return Err(rustix::io::Errno::BADF.into()); // it was free until now
    }
    sendmsg::<()>(
        here.as_raw_fd(),
        &[IoSlice::new(&[0])],
        &[ControlMessage::ScmRights(&[raw])],
        MsgFlags::empty(),
        None,
    )?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(&there, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut came = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    came.next().ok_or_else(|| io::Error::other("it did not arrive"))
}

/// How the service is, for its manager: one datagram for each word. Without a manager, or one that does not
/// want to hear, nothing is sent.
///
/// ```
/// use eventdispatcher::Notify;
///
/// let notify = Notify::from_env()?;
/// notify.ready()?;
/// notify.status("serving 12 clients")?;
/// notify.stopping()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl Notify {
    /// To where `NOTIFY_SOCKET` says.
    ///
    /// # Errors
    /// When that is no address of a Unix socket, or no descriptor is left.
    pub fn from_env() -> io::Result<Self> {
        match env::var("NOTIFY_SOCKET") {
            Ok(address) => Self::to(&address),
            Err(_) => Ok(Self { socket: None }),
        }
    }

    /// To a socket file, by its absolute path, or to an abstract name after an `@`.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn to(address: &str) -> io::Result<Self> {
        let to = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                let text = format!("NOTIFY_SOCKET is neither a path nor an abstract name: {address:?}");
                return Err(io::Error::new(ErrorKind::Unsupported, text));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some((socket, to)) })
    }

    /// Whether somebody is to hear it.
    pub fn is_wanted(&self) -> bool {
        self.socket.is_some()
    }

    /// The service has started, or has read its configuration again.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1")
    }

    /// The service reads its configuration again; [`ready`](Self::ready) tells when it is done.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn reloading(&self) -> io::Result<()> {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()))
    }

    /// The service begins to end.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1")
    }

    /// One line about the service, for people.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn status(&self, text: &str) -> io::Result<()> {
        // A second line would be another word.
        self.send(&format!("STATUS={}", text.replace(['\n', '\r'], " ")))
    }

    /// The service lives.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn watchdog(&self) -> io::Result<()> {
        self.send("WATCHDOG=1")
    }

    /// Sends assignments, one a line, as they stand.
    ///
    /// # Errors
    /// When the manager does not listen or does not read.
    pub fn send(&self, assignments: &str) -> io::Result<()> {
        let Some((socket, to)) = &self.socket else { return Ok(()) };
        match socket.send_to_addr(assignments.as_bytes(), to) {
            Ok(_) => Ok(()),
            Err(error) => {
                let what = assignments.lines().next().unwrap_or_default();
                Err(io::Error::new(error.kind(), format!("can't tell the service manager {what}: {error}")))
            }
        }
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_wanted() { "a service manager that listens" } else { "no service manager" })
    }
}

impl Communicator {
    /// Tells the service manager twice in each `WATCHDOG_USEC`, from now on, that the loop turns. `None`: it does not want to
    /// know. As every timer it keeps the loop running until it is cancelled.
    ///
    /// # Errors
    /// When the variables make no sense, or it can't be told now.
    pub fn watchdog(&self, notify: Notify) -> io::Result<Option<TimerId>> {
        let Some(period) = watchdog_period(|name| env::var(name).ok(), std::process::id())? else {
            return Ok(None);
        };
        self.ping(notify, period).map(Some)
    }

    fn ping(&self, notify: Notify, period: Duration) -> io::Result<TimerId> {
        notify.watchdog()?;
        Ok(self.every(period / 2, move |_| {
            if let Err(error) = notify.watchdog() {
                log::warn!("{error}");
            }
        }))
    }
}

/// How often the process `pid` must say that it lives.
fn watchdog_period(get: impl Fn(&'static str) -> Option<String>, pid: u32) -> io::Result<Option<Duration>> {
    let Some(period) = get("WATCHDOG_USEC") else { return Ok(None) };
    let number = |name: &str, text: &str| {
        text.parse::<u64>().ok().filter(|&number| number > 0).ok_or_else(|| {
            io::Error::new(ErrorKind::InvalidInput, format!("{name} is not a number above 0: {text:?}"))
        })
    };
    if let Some(whose) = get("WATCHDOG_PID")
        && number("WATCHDOG_PID", &whose)? != u64::from(pid)
    {
        return Ok(None);
    }
    Ok(Some(Duration::from_micros(number("WATCHDOG_USEC", &period)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, socket};

    type Set = &'static [(&'static str, &'static str)];

    fn from(set: Set) -> impl Fn(&'static str) -> Option<String> {
        |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn descriptors_are_for_one_process_and_have_names() {
        let cases: [(Set, Option<&[&str]>); 11] = [
            (&[], Some(&[])),
            (&[("LISTEN_FDS", "2")], Some(&[])),
            (&[("LISTEN_FDS", "2"), ("LISTEN_PID", "8")], Some(&[])),
            (&[("LISTEN_FDS", "2"), ("LISTEN_PID", "7")], Some(&["unknown", "unknown"])),
            (&[("LISTEN_FDS", "0"), ("LISTEN_PID", "7")], Some(&[])),
            (
                &[("LISTEN_FDS", "3"), ("LISTEN_PID", "7"), ("LISTEN_FDNAMES", "web:control")],
                Some(&["web", "control", "unknown"]),
            ),
            (
                &[("LISTEN_FDS", "3"), ("LISTEN_PID", "7"), ("LISTEN_FDNAMES", "web::control")],
                Some(&["web", "", "control"]),
            ),
            (&[("LISTEN_FDS", "1"), ("LISTEN_PID", "7"), ("LISTEN_FDNAMES", "")], Some(&[""])),
            (&[("LISTEN_FDS", "-1"), ("LISTEN_PID", "7")], None),
            (&[("LISTEN_FDS", "99999999999"), ("LISTEN_PID", "7")], None),
            (&[("LISTEN_FDS", "1"), ("LISTEN_PID", "x")], None),
        ];
        for (set, expected) in cases {
            match (names(from(set), 7), expected) {
                (Ok(names), Some(expected)) => assert_eq!(names, expected, "{set:?}"),
                (Err(error), None) => assert!(error.to_string().contains("LISTEN_"), "{error}"),
                (got, _) => panic!("{set:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_socket_says_where_it_listens_however_long_its_path_is() {
        let folder = tempfile::tempdir().unwrap();
        let room = 108 - folder.path().as_os_str().len() - 1;
        for (length, addressed) in [(5, true), (room - 1, true), (room, false)] {
            let path = folder.path().join("n".repeat(length));
            let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
            bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
            let inherited = Inherited { fd: listener, name: "test".to_owned() };
            assert_eq!(inherited.unix_path(), addressed.then_some(path));
            assert_eq!(inherited.tcp_address(), None);
        }
        let (pair, _) = UnixDatagram::pair().unwrap();
        assert_eq!(Inherited { fd: pair.into(), name: "test".to_owned() }.unix_path(), None);
    }

    #[test]
    fn a_watchdog_is_for_one_process() {
        let cases: [(Set, Option<Option<u64>>); 6] = [
            (&[], Some(None)),
            (&[("WATCHDOG_USEC", "30000000")], Some(Some(30))),
            (&[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "7")], Some(Some(2))),
            (&[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "8")], Some(None)),
            (&[("WATCHDOG_USEC", "0")], None),
            (&[("WATCHDOG_USEC", "soon")], None),
        ];
        for (set, expected) in cases {
            let got = watchdog_period(from(set), 7);
            match (&got, expected) {
                (Ok(period), Some(seconds)) => {
                    assert_eq!(*period, seconds.map(Duration::from_secs), "{set:?}")
                }
                (Err(_), None) => {}
                _ => panic!("{set:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn every_word_is_a_datagram_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("eventdispatcher-test-{}", std::process::id());
        let name = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let listeners = [
            (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned()),
            (UnixDatagram::bind_addr(&name).unwrap(), format!("@{abstract_name}")),
        ];
        for (manager, address) in listeners {
            let notify = Notify::to(&address).unwrap();
            let heard = || {
                let mut text = [0; 500];
                let length = manager.recv(&mut text).unwrap();
                String::from_utf8(text[..length].to_vec()).unwrap()
            };
            notify.ready().unwrap();
            assert_eq!(heard(), "READY=1");
            notify.status("two\nlines").unwrap();
            assert_eq!(heard(), "STATUS=two lines");
            notify.stopping().unwrap();
            assert_eq!(heard(), "STOPPING=1");
            let before = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap()).as_micros();
            notify.reloading().unwrap();
            let text = heard();
            let time: u128 = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
            let after = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap()).as_micros();
            assert!((before..=after).contains(&time), "{before} {time} {after}");
        }
        drop(folder);
        let error = Notify::to(path.to_str().unwrap()).unwrap().ready().unwrap_err();
        assert!(error.to_string().contains("READY=1"), "{error}");
        assert_eq!(Notify::to("vsock:2:1234").unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(!Notify { socket: None }.is_wanted() && Notify { socket: None }.ready().is_ok());
    }

    #[test]
    fn the_watchdog_is_told_at_once_and_twice_in_each_period() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let communicator = Communicator::new().unwrap();
        let period = Duration::from_millis(40);
        let timer = communicator.ping(Notify::to(path.to_str().unwrap()).unwrap(), period).unwrap();
        let mut text = [0; 50];
        let mut heard = || {
            let length = manager.recv(&mut text).unwrap();
            assert_eq!(&text[..length], b"WATCHDOG=1");
        };
        heard();
        manager.set_nonblocking(true).unwrap();
        communicator.turn(Some(period)).unwrap();
        heard();
        communicator.turn(Some(period)).unwrap();
        heard();
        assert!(communicator.cancel(timer));
    }
}
