//! A clacksd to test, and clients that talk to it line by line.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod daemon;
pub(crate) mod recorded;
pub(crate) mod script;
mod sha1;
pub(crate) mod talk;
pub(crate) mod text;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use memchr::memchr;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tempfile::TempDir;
use text::Expected;

/// How long to wait for what must come, on the slowest machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A server process of its own, in a temporary folder. It ends with this value.
#[derive(Debug)]
pub(crate) struct Clacksd {
    process: Child,
    folder: TempDir,
    socket: PathBuf,
}

impl Clacksd {
    /// Starts `program` with the configuration `xml`, in which `wire.sock` is the place for the
    /// socket.
    pub(crate) fn start(program: &str, xml: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let socket = folder.path().join("wire.sock");
        let placed = xml.replace("wire.sock", socket.to_str().expect("the temporary folder is text"));
        assert_ne!(placed, xml, "the configuration names no wire.sock");
        let config = folder.path().join("clacksd.xml");
        fs::write(&config, placed).expect("the configuration can be written");
        let log = File::create(folder.path().join("log")).expect("a log can be made");

        let mut command = Command::new(program);
        command.arg(&config).current_dir(folder.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("the log can be shared")).stderr(log);
        // The server replaces their names in its configuration.
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PC_")) {
            command.env_remove(name);
        }
        let process = command.spawn().unwrap_or_else(|error| panic!("{program} can't be started: {error}"));
        Self { process, folder, socket }
    }

    /// Connects, as soon as the server listens.
    pub(crate) fn connect(&mut self) -> Result<Client, String> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => return Client::new(stream).map_err(|error| error.to_string()),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                    self.alive()?;
                    if Instant::now() > deadline {
                        return Err(format!("{}: {error} for {DEADLINE:?}", self.socket.display()));
                    }
                    // There is nothing to wait on before the socket exists.
                    thread::yield_now();
                }
                Err(error) => return Err(format!("{}: {error}", self.socket.display())),
            }
        }
    }

    /// Connects and logs in as `user`, with the name `wire_<name>`.
    pub(crate) fn join(&mut self, name: &str, user: &str) -> Result<Client, String> {
        let mut client = self.connect()?;
        client.log_in(name, user)?;
        Ok(client)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// An error if the process has ended.
    pub(crate) fn alive(&mut self) -> Result<(), String> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("the server has ended: {status}")),
            Err(error) => Err(format!("the server's state is unknown: {error}")),
        }
    }

    /// What the server wrote to its standard output and error.
    pub(crate) fn log(&self) -> String {
        read_text(&self.folder.path().join("log"))
    }
}

impl Drop for Clacksd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read_text(path: &Path) -> String {
    fs::read(path)
        .map_or_else(|error| error.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A connection to a [`Clacksd`]. What the test itself has to send, so as to know how far the server
/// is, does not show in what is received.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    received: Vec<u8>,
    /// Whether the server has said that we are welcome.
    logged_in: bool,
    /// Whether what was sent last is a line without its end.
    in_line: bool,
    barriers: usize,
}

/// The start of the FLUSH of a [`Client::barrier`].
const BARRIER: &str = "barrier-";

impl Client {
    /// Of a connection that is there.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self { stream, received: Vec::new(), logged_in: false, in_line: false, barriers: 0 })
    }

    /// Connects to a server that listens already.
    pub(crate) fn connect(socket: &Path) -> Result<Self, String> {
        let stream = UnixStream::connect(socket);
        stream.and_then(Self::new).map_err(|error| format!("{}: {error}", socket.display()))
    }

    /// Sends `bytes` in one packet, and waits until the server has read it if that can be known.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let was_in_line = self.in_line;
        self.in_line = !bytes.ends_with(b"\n");
        if self.in_line && !was_in_line && self.logged_in {
            // After these bytes there is no place for a barrier: it goes before them.
            let id = self.next_barrier();
            self.write(&[format!("FLUSH {id}\r\n").as_bytes(), bytes].concat())?;
            self.await_barrier(&id)
        } else {
            self.write(bytes)
        }
    }

    /// Sends each byte on its own, and calls `read` after each, which waits until the server has read it.
    pub(crate) fn send_bytewise(
        &mut self,
        bytes: &[u8],
        mut read: impl FnMut() -> Result<(), String>,
    ) -> Result<(), String> {
        self.in_line = !bytes.ends_with(b"\n");
        for byte in bytes.chunks(1) {
            self.write(byte)?;
            read()?;
        }
        Ok(())
    }

    /// Logs in as `user`, with the name `wire_<name>`, and expects to be greeted and welcomed.
    pub(crate) fn log_in(&mut self, name: &str, user: &str) -> Result<(), String> {
        self.send(format!("CLACKS wire_{name}\r\nOVERHEAD A {}\r\n", text::token(user)).as_bytes())?;
        for expected in text::to_receive(&format!("{}OVERHEAD O Welcome!\r\n", recorded::GREETING)) {
            match (expected, self.line()?) {
                (Expected::Line(pattern), Some(line)) if pattern.matches(&line) => {}
                (expected, line) => return Err(format!("{name} expected {expected:?}, got {line:?}")),
            }
        }
        Ok(())
    }

    /// The socket itself, for what goes beyond lines. Reading from it has a deadline too.
    pub(crate) fn stream(&self) -> &UnixStream {
        self.stream.set_read_timeout(Some(DEADLINE)).expect("the timeout is not zero");
        &self.stream
    }

    /// Ends what is sent; what is received goes on.
    pub(crate) fn half_close(&self) -> Result<(), String> {
        self.stream.shutdown(Shutdown::Write).map_err(|error| format!("can't half-close: {error}"))
    }

    /// The next line, without its CR LF; `None` if the server closed.
    pub(crate) fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(end) = memchr(b'\n', &self.received) {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let line =
                    line.strip_suffix(b"\r\n").ok_or_else(|| format!("{} ends without CR", show(&line)))?;
                if is_echo_of_barrier(line) {
                    continue;
                }
                self.logged_in |= line == b"OVERHEAD O Welcome!";
                return Ok(Some(line.to_vec()));
            }
            if self.read(deadline)? == 0 {
                return match &self.received[..] {
                    b"" => Ok(None),
                    rest => Err(format!("the server closed after {}", show(rest))),
                };
            }
        }
    }

    /// The next lines, and perhaps the end, must be those of `text`.
    pub(crate) fn receives(&mut self, text: &str) -> Result<(), String> {
        for expected in text::to_receive(text) {
            match (expected, self.line()?) {
                (Expected::Line(pattern), Some(line)) if pattern.matches(&line) => {}
                (Expected::End, None) => {}
                (expected, Some(line)) => {
                    let line = show(&line);
                    return Err(format!("expected {expected:?}, {line} came{}", self.what_follows()));
                }
                (expected, None) => return Err(format!("expected {expected:?}, the end came")),
            }
        }
        Ok(())
    }

    /// Waits for this time, in which nothing may come but the end. Whether the server is still there.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> Result<bool, String> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(true);
            }
            let timeout = self.stream.set_read_timeout(Some(left));
            match timeout.and_then(|()| self.stream.read(&mut [0; 16])) {
                Ok(0) => return Ok(false),
                Ok(_) => return Err("something came".to_owned()),
                Err(error) => match error.kind() {
                    // What was sent in the last moment was not read any more.
                    ErrorKind::ConnectionReset => return Ok(false),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(format!("can't receive: {error}")),
                },
            }
        }
    }

    /// Proves that all that was sent before had its effect, and that nothing more was received
    /// because of it: if we ask for a sign, it is the next to come. As long as we are not logged in
    /// (or in a line) this can't be known.
    pub(crate) fn barrier(&mut self) -> Result<(), String> {
        if !self.logged_in || self.in_line {
            return Ok(());
        }
        let id = self.next_barrier();
        self.write(format!("FLUSH {id}\r\n").as_bytes())?;
        self.await_barrier(&id)
    }

    /// As [`barrier`](Self::barrier), but gives all that comes before the sign.
    pub(crate) fn drain(&mut self) -> Result<Vec<Vec<u8>>, String> {
        let mut lines = Vec::new();
        if !self.logged_in || self.in_line {
            return Ok(lines);
        }
        let id = self.next_barrier();
        self.write(format!("FLUSH {id}\r\n").as_bytes())?;
        loop {
            match self.line()? {
                Some(line) if line == format!("FLUSHED {id}").as_bytes() => return Ok(lines),
                Some(line) => lines.push(line),
                None => return Err("the server closed".to_owned()),
            }
        }
    }

    /// Proves that nothing more was received: where no [`barrier`](Self::barrier) can, by a login as
    /// the main user.
    pub(crate) fn nothing_more(&mut self) -> Result<(), String> {
        if self.logged_in {
            return self.barrier();
        }
        self.write(format!("OVERHEAD A {}\r\n", text::token("admin")).as_bytes())?;
        self.await_line("OVERHEAD O Welcome!")
    }

    fn next_barrier(&mut self) -> String {
        self.barriers += 1;
        format!("{BARRIER}{}", self.barriers)
    }

    fn await_barrier(&mut self, id: &str) -> Result<(), String> {
        self.await_line(&format!("FLUSHED {id}"))
    }

    fn await_line(&mut self, expected: &str) -> Result<(), String> {
        match self.line()? {
            Some(line) if line == expected.as_bytes() => Ok(()),
            Some(line) => Err(format!("nothing was expected, {} came{}", show(&line), self.what_follows())),
            None => Err("nothing was expected, the server closed".to_owned()),
        }
    }

    /// What else has come, for an error message.
    pub(crate) fn what_follows(&self) -> String {
        if self.received.is_empty() { String::new() } else { format!(", then {}", show(&self.received)) }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| format!("{} can't be sent: {error}", show(bytes)))
    }

    fn read(&mut self, deadline: Instant) -> Result<usize, String> {
        let failed = |error: io::Error, received: &[u8]| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("nothing came for {DEADLINE:?}, after the start {} of a line", show(received))
            }
            _ => format!("can't receive, after {}: {error}", show(received)),
        };
        let mut bytes = [0; 16 * 1024];
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let read =
            self.stream.set_read_timeout(Some(left)).and_then(|()| read_once(&mut self.stream, &mut bytes));
        let count = read.map_err(|error| failed(error, &self.received))?;
        self.received.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

/// The next one that connects.
pub(crate) fn accept_in_time(listener: &UnixListener) -> Result<UnixStream, String> {
    let timeout = PollTimeout::try_from(DEADLINE).map_err(|error| error.to_string())?;
    loop {
        let mut wanted = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut wanted, timeout) {
            Ok(0) => return Err(format!("nobody connected for {DEADLINE:?}")),
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    listener.accept().map(|(stream, _)| stream).map_err(|error| error.to_string())
}

/// One read that is not ended by a stop of the whole machine: with a time limit the system gives that as an interruption.
pub(crate) fn read_once(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// What a client in monitor mode is shown of the barriers of all clients.
fn is_echo_of_barrier(line: &[u8]) -> bool {
    let command = format!("=FLUSH {BARRIER}");
    line.strip_prefix(b"DEBUG ")
        .is_some_and(|line| line.windows(command.len()).any(|part| part == command.as_bytes()))
}

/// `bytes` as they can be read, and not too many of them.
pub(crate) fn show(bytes: &[u8]) -> String {
    match bytes.get(..300) {
        Some(start) => format!("\"{}…\" ({} bytes)", start.escape_ascii(), bytes.len()),
        None => format!("\"{}\"", bytes.escape_ascii()),
    }
}
