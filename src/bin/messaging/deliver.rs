//! Sending one message, and waiting for its answer.

use super::address::{Address, FileKind};
use super::encryption::Encryption;
use eventdispatcher::codec::ByteLines;
use eventdispatcher::connections::datagram::{Address as DatagramAddress, Datagrams};
use eventdispatcher::dispatcher::{
    DATAGRAM_MAX_UDP, DATAGRAM_MAX_UNIX, Message, MessageRef, SERIAL, read_message,
};
use eventdispatcher::{
    Blocking, BlockingError, Packet, Packets, Transport, UdpBind, UnixAddress, UnixBind, UnixDatagrams,
    tcp_stream, unix_stream,
};
use nix::errno::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Why a message was not delivered, or not answered.
#[derive(Debug)]
pub(crate) enum Failure {
    NotSent(String),
    NoAnswer(String),
}

impl Failure {
    fn not_sent(address: &Address, why: impl std::fmt::Display) -> Self {
        Self::NotSent(format!("not sent to {address}: {why}"))
    }

    fn no_answer(address: &Address, why: impl std::fmt::Display) -> Self {
        Self::NoAnswer(format!("sent to {address}, but {why}"))
    }
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Delivery<'a> {
    pub(crate) message: &'a Message,
    /// In JSON.
    pub(crate) json: bool,
    /// For all of it: connecting, sending, and the answer.
    pub(crate) timeout: Duration,
    /// Wait for the answer.
    pub(crate) reply: bool,
    /// Of a TCP connection.
    pub(crate) encryption: &'a Encryption,
}

/// So long a service that got a message over TCP has to end its side too, before it is left alone.
const PARTING_MAX: Duration = Duration::from_secs(1);

impl Delivery<'_> {
    /// The bytes that are sent, without the line end of a stream.
    ///
    /// # Errors
    /// When the message can't be expressed, or is too long.
    pub(crate) fn bytes(&self, address: &Address) -> Result<Vec<u8>, Failure> {
        let view = self.message.view();
        let written = if self.json { view.to_json().map(String::into_bytes) } else { view.to_text() };
        let bytes = written.map_err(|error| Failure::not_sent(address, error))?;
        let limit = match address {
            Address::Udp(..) => DATAGRAM_MAX_UDP,
            Address::File(_, Some(FileKind::Datagram)) => DATAGRAM_MAX_UNIX,
            _ => usize::MAX,
        };
        if bytes.len() > limit { Err(too_long(address, &bytes, limit)) } else { Ok(bytes) }
    }

    /// Sends it; gives the answer as it came, without its line end, if it was to wait for one.
    ///
    /// # Errors
    /// When it could not be sent, or the answer did not come in time.
    pub(crate) fn send(&self, address: &Address) -> Result<Option<Vec<u8>>, Failure> {
        let end = Instant::now() + self.timeout;
        let bytes = self.bytes(address)?;
        match address {
            Address::Udp(host, port) => {
                let to = resolve(host, *port, end).map_err(|error| Failure::not_sent(address, error))?;
                self.udp(address, &to, &bytes, end)
            }
            Address::Tcp(host, port) => {
                let stream = connect(host, *port, end)
                    .and_then(tcp_stream)
                    .map_err(|error| Failure::not_sent(address, error))?;
                if *self.encryption == Encryption::Off {
                    return self.stream(address, stream, &bytes, end);
                }
                let encrypted = self.encryption.around(stream, host);
                self.stream(
                    address,
                    encrypted.map_err(|error| Failure::not_sent(address, error))?,
                    &bytes,
                    end,
                )
            }
            Address::File(path, Some(FileKind::Datagram)) => self.unix_datagram(address, path, &bytes, end),
            Address::File(path, kind) => match connect_file(path, end) {
                Ok(stream) => {
                    let stream = unix_stream(stream).map_err(|error| Failure::not_sent(address, error))?;
                    self.stream(address, stream, &bytes, end)
                }
                Err(error) if kind.is_none() && error.raw_os_error() == Some(Errno::EPROTOTYPE as i32) => {
                    self.unix_datagram(address, path, &bytes, end)
                }
                Err(error) => Err(Failure::not_sent(address, error)),
            },
        }
    }

    fn stream(
        &self,
        address: &Address,
        transport: impl Transport,
        bytes: &[u8],
        end: Instant,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let not_sent = |error: BlockingError| Failure::not_sent(address, error);
        let mut stream =
            Blocking::new(transport, ByteLines::new()).map_err(|error| Failure::not_sent(address, error))?;
        stream.send(bytes, left(end)).map_err(not_sent)?;
        if !self.reply {
            if !matches!(address, Address::Tcp(..)) {
                return Ok(None);
            }
            return match stream.finish(left(end).min(PARTING_MAX)) {
                // It may wait for more messages.
                Ok(()) | Err(BlockingError::TimedOut) => Ok(None),
                // It has ended without the mark of TLS, as some do.
                Err(BlockingError::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
                Err(error) => Err(not_sent(error)),
            };
        }
        loop {
            match stream.receive(left(end), |line| self.answer(line)) {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) => {}
                Err(error) => return Err(Failure::no_answer(address, error)),
            }
        }
    }

    /// To the first address where somebody is.
    fn udp(
        &self,
        address: &Address,
        to: &[SocketAddr],
        bytes: &[u8],
        end: Instant,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let mut last = Failure::not_sent(address, "it has no address");
        for &to in to {
            let socket = UdpBind::any_for(to).broadcast(true).bind();
            let socket = socket.map_err(|error| Failure::not_sent(address, error))?;
            // The answer may come from another port: services of the C++ library have a socket of its own for that.
            let answers = |peer: &SocketAddr| peer.ip() == to.ip();
            match self.datagram(address, socket, &to, answers, bytes, end) {
                Err(failed @ Failure::NotSent(_)) => last = failed,
                other => return other,
            }
        }
        Err(last)
    }

    fn unix_datagram(
        &self,
        address: &Address,
        path: &Path,
        bytes: &[u8],
        end: Instant,
    ) -> Result<Option<Vec<u8>>, Failure> {
        if bytes.len() > DATAGRAM_MAX_UNIX {
            return Err(too_long(address, bytes, DATAGRAM_MAX_UNIX));
        }
        let not_sent = |error: io::Error| Failure::not_sent(address, error);
        let to = UnixAddress::file(path).map_err(not_sent)?;
        // With a name it can be answered. It has no file, so nothing is left behind.
        let socket =
            if self.reply { UnixBind::automatic().bind_datagrams() } else { UnixDatagrams::unnamed() };
        // A receiver whose queue is full is waited for.
        let socket = socket.map_err(not_sent)?.patience(left(end));
        self.datagram(address, socket, &to, |_| true, bytes, end)
    }

    /// Sends a packet, and waits for the answer. That nobody is there is seen, at least on this computer.
    fn datagram<A: DatagramAddress>(
        &self,
        address: &Address,
        socket: Datagrams<A>,
        to: &A,
        answers: impl Fn(&A) -> bool,
        bytes: &[u8],
        end: Instant,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let not_sent = |error: &dyn std::fmt::Display| Failure::not_sent(address, error);
        let socket = Blocking::new(socket, Packets::new());
        let mut socket = socket.map_err(|error| not_sent(&error))?;
        socket.send((bytes, to), left(end)).map_err(|error| not_sent(&error))?;
        loop {
            let wait = if self.reply { left(end) } else { Duration::ZERO };
            let received = socket.receive(wait, |packet| match packet {
                Packet::Received { bytes, from } if self.reply && answers(&from) => Ok(self.answer(bytes)),
                Packet::Undelivered { error, .. } => Err(not_sent(&error)),
                _ => Ok(None),
            });
            match received {
                Ok(Ok(None)) if !left(end).is_zero() => {}
                Ok(Ok(None)) | Err(BlockingError::TimedOut) if !self.reply => return Ok(None),
                Ok(Ok(None)) => return Err(Failure::no_answer(address, BlockingError::TimedOut)),
                Ok(found) => return found,
                Err(error) => return Err(Failure::no_answer(address, error)),
            }
        }
    }

    /// What came, if it is the answer: anything, unless the request has a serial and what came is a message with another
    /// one.
    fn answer(&self, came: &[u8]) -> Option<Vec<u8>> {
        if came.trim_ascii().is_empty() {
            return None;
        }
        let other = self.message.get(SERIAL).is_some_and(|serial| {
            let mut scratch = None;
            let theirs = |message: MessageRef<'_>| message.get(SERIAL).map(std::borrow::Cow::into_owned);
            let theirs = read_message(came, &mut scratch).ok().and_then(theirs);
            theirs.is_some_and(|theirs| theirs != serial)
        });
        (!other).then(|| came.to_vec())
    }
}

fn too_long(address: &Address, bytes: &[u8], limit: usize) -> Failure {
    let length = bytes.len();
    Failure::not_sent(address, format!("the message has {length} bytes, and a datagram no more than {limit}"))
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

/// Sockets take 0 for "for ever".
fn positive(time: Duration) -> Duration {
    time.max(Duration::from_millis(1))
}

/// The addresses of a host. The system may take far longer for a name than there is time.
fn resolve(host: &str, port: u16, end: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let host = host.to_owned();
    let found = in_time(end, move || (host, port).to_socket_addrs().map(Iterator::collect))?;
    found.unwrap_or_else(|| Err(io::Error::new(ErrorKind::TimedOut, "its name was not resolved in time")))
}

/// What comes of something that can't be told to end: nothing if that takes too long, and then it is left alone.
fn in_time<R: Send + 'static>(
    end: Instant,
    work: impl FnOnce() -> R + Send + 'static,
) -> io::Result<Option<R>> {
    let (give, take) = channel();
    // That nobody waits for it any more is no error.
    thread::Builder::new().spawn(move || give.send(work()).unwrap_or_default())?;
    Ok(take.recv_timeout(left(end)).ok())
}

/// Connects to a socket file; who has as many callers as it takes is waited for.
fn connect_file(path: &Path, end: Instant) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    loop {
        set_socket_timeout(&socket, Timeout::Send, Some(positive(left(end))))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket.into()),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                return Err(io::Error::new(ErrorKind::TimedOut, "it accepts no connection"));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Connects to the first address that answers.
fn connect(host: &str, port: u16, end: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "it has no address");
    for address in resolve(host, port, end)? {
        match TcpStream::connect_timeout(&address, positive(left(end))) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_not_waited_for() {
        let (_never, ends) = channel::<()>();
        let end = Instant::now() + Duration::from_millis(10);
        let hangs = in_time(end, move || ends.recv().is_err()).unwrap();
        assert_eq!(hangs, None);
        assert_eq!(in_time(Instant::now() + Duration::from_secs(60), || 7).unwrap(), Some(7));
        let numbers = resolve("::1", 7, Instant::now()).unwrap();
        assert_eq!(numbers, ["[::1]:7".parse().unwrap()]);
    }
}
