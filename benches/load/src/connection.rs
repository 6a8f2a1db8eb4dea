//! One connection to a server.

use crate::counter::Counter;
use crate::failure::Failure;
use crate::poller::Poller;
use crate::protocol::Protocol;
use crate::tally::Tally;
use crate::target::{Address, Target};
use crate::tls::Tls;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long a server may take for its welcome.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection to a server, logged in.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    pub(crate) protocol: Protocol,
    pub(crate) counter: Counter,
    /// What is to be written; [`Connection::flush`] does it.
    pub(crate) out: Vec<u8>,
    written: usize,
    is_blocked: bool,
}

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<Tls>),
}

impl Connection {
    /// Connects and logs in; [`Connection::welcome`] is to follow. `client` is different for each connection.
    pub(crate) fn dial(target: &Target, client: usize) -> Result<Self, Failure> {
        let stream = Stream::connect(&target.address).map_err(Failure::connection("connect"))?;
        let protocol = target.protocol;
        let out = protocol.hello(client, &target.user, &target.password);
        let mut connection =
            Self { stream, protocol, counter: Counter::new(protocol), out, written: 0, is_blocked: false };
        connection.write_all()?;
        Ok(connection)
    }

    /// Waits for the welcome.
    pub(crate) fn welcome(&mut self) -> Result<(), Failure> {
        let mut came = Vec::new();
        let mut buffer = [0; 4096];
        while !self.protocol.is_welcome(&came)? {
            let length = match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Failure::told(&came)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(Failure::connection("welcome"))?,
            };
            came.extend_from_slice(buffer.get(..length).unwrap_or_default());
        }
        self.out.extend_from_slice(self.protocol.after_welcome());
        self.write_all()?;
        self.stream
            .socket(|socket| socket.set_nonblocking(true), |socket| socket.set_nonblocking(true))
            .map_err(Failure::connection("welcome"))
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Unix(socket) => socket.as_fd(),
            Stream::Tcp(socket) => socket.as_fd(),
            Stream::Tls(tls) => tls.socket.as_fd(),
        }
    }

    /// Who has the other end, where the system says it.
    pub(crate) fn process(&self) -> Option<i32> {
        match &self.stream {
            Stream::Unix(socket) => {
                let peer = rustix::net::sockopt::socket_peercred(socket).ok()?;
                Some(peer.pid.as_raw_nonzero().get())
            }
            _ => None,
        }
    }

    /// Whether everything is written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.out.is_empty() && !self.is_blocked
    }

    /// Writes what the socket takes; for the rest `poller` is to tell when it takes more.
    pub(crate) fn flush(&mut self, poller: &Poller, connection: usize) -> Result<(), Failure> {
        let is_blocked = match self.stream.write(&self.out, &mut self.written) {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(error) => return Err(Failure::connection("write")(error)),
        };
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        if is_blocked != self.is_blocked {
            self.is_blocked = is_blocked;
            poller
                .want_write(self.socket(), connection, is_blocked)
                .map_err(Failure::connection("wait to write"))?;
        }
        Ok(())
    }

    /// Reads once, with TLS until there is nothing more, and counts it.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => return Err(Failure::Server("it has closed the connection".to_owned())),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(tally),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::connection("read")(error)),
            };
            // What a server's pings are answered with goes out with whatever is written next.
            self.counter.take(buffer.get(..length).unwrap_or_default(), &mut tally, &mut self.out)?;
            if !matches!(self.stream, Stream::Tls(_)) {
                return Ok(tally);
            }
        }
    }

    fn write_all(&mut self) -> Result<(), Failure> {
        let result = self.stream.write(&self.out, &mut self.written);
        self.out.clear();
        self.written = 0;
        result.map_err(Failure::connection("log in"))
    }
}

impl Stream {
    fn connect(address: &Address) -> io::Result<Self> {
        let stream = match address {
            Address::Unix(path) => Self::Unix(UnixStream::connect(path)?),
            Address::Tcp(address) => Self::Tcp(TcpStream::connect(address)?),
            Address::Tls(address) => {
                let host = address.rsplit_once(':').map_or(&**address, |(host, _)| host);
                Self::Tls(Box::new(Tls::connect(TcpStream::connect(address)?, host)?))
            }
        };
        stream.socket(
            |socket| socket.set_read_timeout(Some(PATIENCE)),
            |socket| {
                socket.set_nodelay(true)?;
                socket.set_read_timeout(Some(PATIENCE))
            },
        )?;
        Ok(stream)
    }

    fn socket(
        &self,
        unix: impl FnOnce(&UnixStream) -> io::Result<()>,
        tcp: impl FnOnce(&TcpStream) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::Unix(socket) => unix(socket),
            Self::Tcp(socket) => tcp(socket),
            Self::Tls(tls) => tcp(&tls.socket),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => socket.read(buffer),
            Self::Tcp(socket) => socket.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// Until everything is written, or with an error.
    fn write(&mut self, bytes: &[u8], written: &mut usize) -> io::Result<()> {
        let socket: &mut dyn Write = match self {
            Self::Unix(socket) => socket,
            Self::Tcp(socket) => socket,
            Self::Tls(tls) => return tls.write(bytes, written),
        };
        while let Some(rest) = bytes.get(*written..).filter(|rest| !rest.is_empty()) {
            match socket.write(rest) {
                Ok(length) => *written += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
