//! TLS from mid-stream on, for connections that reconnect by themselves: what is said before, anew on each transport.

use super::client::TlsClient;
use super::error::TlsError;
use super::transport::{self, Tls};
use crate::connections::{Attempt, Connect, Transport};
use mio::event::Source;
use rustls::pki_types::ServerName;
use std::any::Any;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem;
use std::rc::Rc;

/// The longest line before TLS, and so many of them.
const LINE_MAX: usize = 8192;
const LINES_MAX: usize = 256;

/// What comes next in the talk before TLS: see [`ToStartTls`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BeforeTls {
    /// The next line of the other side is waited for.
    Listen,
    /// This is said, with its line ends, and then the next line is waited for.
    Say(Vec<u8>),
    /// The other side has agreed: the handshake begins.
    Start,
}

type Talk = dyn Fn(usize, &str) -> io::Result<BeforeTls>;

/// Starts TLS in mid-stream (STARTTLS) over what another connector makes, for
/// [`Communicator::permanent`](crate::Communicator::permanent). The talk and the handshake are part of each attempt: nothing that is
/// queued leaves before, or without TLS.
///
/// The closure is called first with 0 and an empty line, then with each line of the other side and its number, counted from 1. It
/// says what comes next; an error ends the attempt.
///
/// ```no_run
/// use eventdispatcher::codec::Lines;
/// use eventdispatcher::tls::{BeforeTls, TlsClient, ToStartTls};
/// use eventdispatcher::{Communicator, Reconnect, TcpConnect, on_item};
///
/// let communicator = Communicator::new()?;
/// let below = TcpConnect::to("service.example", 4040);
/// let server = ToStartTls::new(below, "service.example", &TlsClient::new()?, |number, line| match (number, line) {
///     (0, _) => Ok(BeforeTls::Say(b"STARTTLS\n".to_vec())),
///     (_, "GO ON") => Ok(BeforeTls::Start),
///     _ => Err(std::io::Error::other(format!("no TLS: {line:?}"))),
/// })?;
/// communicator.permanent(server, Reconnect::default(), Lines::new, on_item::<Lines, _>(|_, _| Ok(())));
/// communicator.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ToStartTls<K> {
    below: K,
    expected: ServerName<'static>,
    client: TlsClient,
    talk: Rc<Talk>,
}

impl<K: Connect> ToStartTls<K> {
    /// Over `below`, to a server that must have a certificate for `name`: a host name, which is told to it (SNI), or an IP
    /// address.
    ///
    /// # Errors
    /// `InvalidInput` when `name` is no name.
    pub fn new(
        below: K,
        name: &str,
        client: &TlsClient,
        talk: impl Fn(usize, &str) -> io::Result<BeforeTls> + 'static,
    ) -> io::Result<Self> {
        let expected = transport::server_name(name)?;
        Ok(Self { below, expected, client: client.clone(), talk: Rc::new(talk) })
    }
}

impl<K: Connect> Connect for ToStartTls<K> {
    type Transport = StartTls<K::Transport>;

    fn connect(&mut self, attempt: Attempt<Self::Transport>) {
        let (expected, client, talk) = (self.expected.clone(), self.client.clone(), self.talk.clone());
        self.below.connect(attempt.map(move |io| Ok(StartTls::new(io, expected, client, talk))));
    }

    fn name(&self) -> String {
        format!("{} ({})", self.expected.to_str(), self.below.name())
    }
}

impl<K: fmt::Debug> fmt::Debug for ToStartTls<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToStartTls")
            .field("below", &self.below)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// A transport that [talks](ToStartTls) before TLS begins. Both are part of [`establish`](Transport::establish).
pub struct StartTls<T>(State<T>);

enum State<T> {
    Talking(Box<Talking<T>>),
    Tls(Box<Tls<T>>),
    /// Only while it changes.
    Changing,
}

struct Talking<T> {
    io: T,
    below: bool,
    expected: ServerName<'static>,
    client: TlsClient,
    talk: Rc<Talk>,
    /// So many lines have come; `None`: nobody has said anything yet.
    lines: Option<usize>,
    /// What has come and is no line yet.
    input: Vec<u8>,
    /// What is to be said, and how much of it was.
    output: Vec<u8>,
    said: usize,
}

impl<T: Transport> Talking<T> {
    /// Whether TLS may begin. As long as it may not, it blocks.
    fn go_on(&mut self) -> io::Result<bool> {
        if !self.below {
            self.below = self.io.establish()?;
            if !self.below {
                return Ok(false);
            }
        }
        loop {
            self.push()?;
            match self.next()? {
                Some(BeforeTls::Listen) => {}
                Some(BeforeTls::Say(bytes)) => (self.output, self.said) = (bytes, 0),
                Some(BeforeTls::Start) if self.input.is_empty() => return Ok(true),
                Some(BeforeTls::Start) => {
                    // Anybody on the way may have put it there.
                    let left = self.input.len();
                    let text = format!("{left} bytes of input stand before the layer, where none may be");
                    return Err(io::Error::new(ErrorKind::InvalidData, text));
                }
                None => self.fill()?,
            }
        }
    }

    /// What the program says to the next line; `None`: there is none yet.
    fn next(&mut self) -> io::Result<Option<BeforeTls>> {
        let Some(lines) = self.lines else {
            self.lines = Some(0);
            return (self.talk)(0, "").map(Some);
        };
        let Some(end) = self.input.iter().position(|&byte| byte == b'\n') else {
            return if self.input.len() > LINE_MAX { Err(too_much()) } else { Ok(None) };
        };
        if lines >= LINES_MAX {
            return Err(too_much());
        }
        let line: Vec<u8> = self.input.drain(..=end).collect();
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).map_err(io::Error::other)?;
        self.lines = Some(lines + 1);
        (self.talk)(lines + 1, line).map(Some)
    }

    fn push(&mut self) -> io::Result<()> {
        while self.said < self.output.len() {
            match self.io.write(&self.output[self.said..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => self.said += taken,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.io.flush()
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut some = [0; 512];
        loop {
            match self.io.read(&mut some) {
                Ok(0) => return Err(TlsError::CutOffInHandshake.into()),
                Ok(got) => {
                    self.input.extend_from_slice(&some[..got]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn too_much() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the other side says too much before TLS")
}

impl<T> StartTls<T> {
    fn new(io: T, expected: ServerName<'static>, client: TlsClient, talk: Rc<Talk>) -> Self {
        Self(State::Talking(Box::new(Talking {
            io,
            below: false,
            expected,
            client,
            talk,
            lines: None,
            input: Vec::new(),
            output: Vec::new(),
            said: 0,
        })))
    }
}

impl<T: Transport> StartTls<T> {
    fn inner(&self) -> Option<&dyn Transport> {
        match &self.0 {
            State::Talking(talking) => Some(&talking.io),
            State::Tls(tls) => Some(&**tls),
            State::Changing => None,
        }
    }

    fn tls(&mut self) -> io::Result<&mut Tls<T>> {
        match &mut self.0 {
            State::Tls(tls) => Ok(tls),
            State::Talking(_) | State::Changing => Err(ErrorKind::NotConnected.into()),
        }
    }
}

impl<T: Transport> Read for StartTls<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.tls()?.read(into)
    }
}

impl<T: Transport> Write for StartTls<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tls()?.write(bytes)
    }
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.tls()?.write_vectored(pieces)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.tls()?.flush()
    }
}

impl<T: Transport> Transport for StartTls<T> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        match &mut self.0 {
            State::Talking(talking) => talking.io.source(),
            State::Tls(tls) => tls.source(),
            State::Changing => None,
        }
    }
    fn kind(&self) -> &'static str {
        "tls"
    }
    fn establish(&mut self) -> io::Result<bool> {
        if let State::Talking(talking) = &mut self.0 {
            if !talking.go_on()? {
                return Ok(false);
            }
            if let State::Talking(talking) = mem::replace(&mut self.0, State::Changing) {
                let Talking { io, expected, client, .. } = *talking;
                self.0 = State::Tls(Box::new(Tls::client_of(io, expected, &client)?.resume(&[])));
            }
        }
        self.tls()?.establish()
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.tls()?.shutdown_write()
    }
    fn wants_write(&self) -> bool {
        self.inner().is_some_and(Transport::wants_write)
    }
    fn resets_on_close(&self) -> bool {
        self.inner().is_some_and(Transport::resets_on_close)
    }
    fn about(&self) -> Option<Rc<dyn Any>> {
        self.inner()?.about()
    }
}

impl<T> fmt::Debug for StartTls<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Tls(_) => "StartTls(tls)",
            State::Talking(_) | State::Changing => "StartTls(talking)",
        })
    }
}
