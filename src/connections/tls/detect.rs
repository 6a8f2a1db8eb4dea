//! TLS and plain on one listener.

use super::server::TlsServer;
use super::transport::Tls;
use crate::connections::Transport;
use mio::event::Source;
use std::any::Any;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem;
use std::rc::Rc;

/// A ClientHello is known by so many bytes: the record's type, version and length, and the message's type.
const SEEN_MAX: usize = 6;

/// The server's side of a transport whose client may speak TLS or not. The first bytes tell; nothing of them is lost.
///
/// Detecting is part of [`establish`](Transport::establish), so a client that says nothing is ended by
/// [`Timeouts::connect`](crate::Timeouts::connect); a protocol in which the server speaks first can't be detected. A client that
/// ends its direction at once is a plain one. [`Communicator::tls_info`](crate::Communicator::tls_info) tells a handler which
/// it was.
///
/// Bytes that look like the beginning of TLS belong to TLS: a plain protocol must not begin with the byte 22 (`SYN`).
pub struct DetectTls<T>(State<T>);

enum State<T> {
    Looking {
        io: T,
        below: bool,
        server: TlsServer,
        seen: Seen,
    },
    Plain {
        io: T,
        seen: Seen,
        last_was_seen: bool,
    },
    Tls(Box<Tls<T>>),
    /// Only while it changes.
    Changing,
}

/// The first bytes, which were taken from the transport.
#[derive(Default)]
struct Seen {
    bytes: [u8; SEEN_MAX],
    start: usize,
    end: usize,
}

impl<T> DetectTls<T> {
    /// With what a client is served that speaks TLS.
    pub fn new(io: T, server: &TlsServer) -> Self {
        Self(State::Looking { io, below: false, server: server.clone(), seen: Seen::default() })
    }

    /// Whether the other side speaks TLS; `None` as long as that is not known.
    pub fn is_tls(&self) -> Option<bool> {
        match &self.0 {
            State::Looking { .. } | State::Changing => None,
            State::Plain { .. } => Some(false),
            State::Tls(_) => Some(true),
        }
    }
}

/// Whether bytes are the beginning of a ClientHello; `None`: too few to know.
fn is_client_hello(seen: &[u8]) -> Option<bool> {
    // RFC 8446, section 5.1: handshake, the version 3.1 or 3.3, a length of at most 2^14; section 4: client_hello.
    let fits = |at: usize, fits: fn(u8) -> bool| seen.get(at).is_none_or(|&byte| fits(byte));
    let begins = fits(0, |byte| byte == 22)
        && fits(1, |byte| byte == 3)
        && fits(2, |byte| byte <= 4)
        && fits(3, |byte| byte <= 64)
        && fits(5, |byte| byte == 1);
    if !begins {
        Some(false)
    } else if seen.len() < SEEN_MAX {
        None
    } else {
        Some(true)
    }
}

impl<T: Transport> DetectTls<T> {
    /// Looks at the first bytes until it is known what they are.
    fn look(&mut self) -> io::Result<bool> {
        let State::Looking { io, below, seen, .. } = &mut self.0 else { return Ok(true) };
        if !*below {
            *below = io.establish()?;
            if !*below {
                return Ok(false);
            }
        }
        let tls = loop {
            if let Some(known) = is_client_hello(&seen.bytes[..seen.end]) {
                break known;
            }
            match io.read(&mut seen.bytes[seen.end..]) {
                Ok(0) => break false,
                Ok(got) => seen.end = (seen.end + got).min(SEEN_MAX),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        let State::Looking { io, server, seen, .. } = mem::replace(&mut self.0, State::Changing) else {
            return Ok(true);
        };
        self.0 = if tls {
            State::Tls(Box::new(Tls::server(io, &server)?.resume(&seen.bytes[..seen.end])))
        } else {
            State::Plain { io, seen, last_was_seen: false }
        };
        Ok(true)
    }

    fn inner(&self) -> Option<&dyn Transport> {
        match &self.0 {
            State::Looking { io, .. } | State::Plain { io, .. } => Some(io),
            State::Tls(tls) => Some(&**tls),
            State::Changing => None,
        }
    }

    fn inner_mut(&mut self) -> Option<&mut dyn Transport> {
        match &mut self.0 {
            State::Looking { io, .. } | State::Plain { io, .. } => Some(io),
            State::Tls(tls) => Some(&mut **tls),
            State::Changing => None,
        }
    }

    fn established(&mut self) -> io::Result<&mut dyn Transport> {
        match &mut self.0 {
            State::Plain { io, .. } => Ok(io),
            State::Tls(tls) => Ok(&mut **tls),
            State::Looking { .. } | State::Changing => Err(ErrorKind::NotConnected.into()),
        }
    }
}

impl<T: Transport> Read for DetectTls<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let State::Plain { io, seen, last_was_seen } = &mut self.0 else {
            return self.established()?.read(into);
        };
        *last_was_seen = seen.start < seen.end;
        if *last_was_seen {
            let got = (&seen.bytes[seen.start..seen.end]).read(into)?;
            seen.start += got;
            return Ok(got);
        }
        io.read(into)
    }
}

impl<T: Transport> Write for DetectTls<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.established()?.write(bytes)
    }
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.established()?.write_vectored(pieces)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.established()?.flush()
    }
}

impl<T: Transport> Transport for DetectTls<T> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.inner_mut()?.source()
    }
    fn kind(&self) -> &'static str {
        self.inner().map_or("tls", Transport::kind)
    }
    fn establish(&mut self) -> io::Result<bool> {
        if !self.look()? {
            return Ok(false);
        }
        match &mut self.0 {
            State::Tls(tls) => tls.establish(),
            _ => Ok(true),
        }
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.inner_mut().map_or(Ok(()), Transport::shutdown_write)
    }
    fn wants_write(&self) -> bool {
        self.inner().is_some_and(Transport::wants_write)
    }
    fn short_read_means_empty(&self) -> bool {
        match &self.0 {
            State::Plain { io, last_was_seen: false, .. } => io.short_read_means_empty(),
            _ => false,
        }
    }
    fn waiting(&self) -> Option<usize> {
        match &self.0 {
            State::Plain { io, .. } => io.waiting(),
            _ => None,
        }
    }
    fn resets_on_close(&self) -> bool {
        self.inner().is_some_and(Transport::resets_on_close)
    }
    fn about(&self) -> Option<Rc<dyn Any>> {
        self.inner()?.about()
    }
}

impl<T> fmt::Debug for DetectTls<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_tls() {
            None => "DetectTls(looking)",
            Some(false) => "DetectTls(plain)",
            Some(true) => "DetectTls(tls)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_hello_is_known_by_its_first_bytes() {
        fn check(seen: &[u8], known: Option<bool>) {
            assert_eq!(is_client_hello(seen), known, "{seen:?}");
        }
        let hello = [22, 3, 1, 2, 0, 1];
        for len in 0..hello.len() {
            check(&hello[..len], None);
        }
        check(&hello, Some(true));
        check(&[22, 3, 3, 64, 0, 1], Some(true));
        check(b"GET / ", Some(false));
        check(b"\x16", None);
        check(b"\x16\x16", Some(false));
        check(&[22, 3, 5], Some(false));
        check(&[22, 3, 1, 65], Some(false));
        check(&[22, 3, 1, 2, 0, 2], Some(false));
    }
}
