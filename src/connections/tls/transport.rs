//! The transport: a session around any other transport.

use super::client::TlsClient;
use super::error::TlsError;
use super::info::{TlsInfo, TlsVersion};
use super::server::TlsServer;
use crate::connections::Transport;
use mio::event::Source;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConnection, Connection, HandshakeKind, IoState, ProtocolVersion, ServerConnection,
    SupportedCipherSuite,
};
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// What one read of the transport below brings at most: four records of the largest size.
const READ: usize = 64 << 10;
/// After so many reads that have brought nothing for the reader, the others get their turn.
const ROUNDS: usize = 4;
/// What one record holds at most.
const RECORD: usize = 16 << 10;
/// More records than one write makes.
const RECORDS_SPARE: u64 = 64;
/// Input that is thrown away at most after a failure, so that closing does not take the alert back.
const DISCARD_READS: usize = 4;

/// TLS around the transport `T`.
///
/// The handshake is part of [`establish`](Transport::establish), so
/// [`Timeouts::connect`](crate::Timeouts::connect) covers it, and nothing is sent before the other side is verified.
/// Reading ends with 0 after the other side's `close_notify`, and with [`TlsError::CutOff`] when the stream ends without.
/// [`shutdown_write`](Transport::shutdown_write) sends `close_notify`; the other direction stays open, if the other
/// side knows that (TLS 1.3 does, with many programs TLS 1.2 does not).
pub struct Tls<T> {
    io: T,
    session: Connection,
    /// What `T` has given and the session has not taken yet.
    ahead: Ahead,
    /// `T` is established.
    below: bool,
    /// Set when the handshake is complete.
    info: Option<Rc<TlsInfo>>,
    /// What a client expects; empty on a server.
    expected: Option<String>,
    verifies: bool,
    /// `T` has ended.
    ended: bool,
    failed: Option<TlsError>,
    /// As many may still be written with the keys that TLS 1.2 can't change. The session would end the stream behind
    /// them, but not say so.
    records_left: u64,
    /// `close_notify` is on its way, or was sent.
    closing: bool,
    /// `T` was told to end its direction.
    shut: bool,
}

impl<T> Tls<T> {
    /// A client that expects the server to be `name`: a host name or an IP address. A host name is sent to the
    /// server, too (SNI).
    ///
    /// # Errors
    /// `InvalidInput` when it is no name, and when the system gives no random numbers.
    pub fn client(io: T, name: &str, client: &TlsClient) -> io::Result<Self> {
        Self::client_of(io, server_name(name)?, client)
    }

    pub(super) fn client_of(io: T, name: ServerName<'static>, client: &TlsClient) -> io::Result<Self> {
        let (made, expected) = (client.current(), name.to_str().into_owned());
        let session = ClientConnection::new(made.config.clone(), name).map_err(io::Error::other)?;
        Ok(Self::new(io, Connection::Client(session), Some(expected), made.verifies))
    }

    /// A server.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn server(io: T, server: &TlsServer) -> io::Result<Self> {
        let session = ServerConnection::new(server.config()).map_err(io::Error::other)?;
        Ok(Self::new(io, Connection::Server(session), None, true))
    }

    fn new(io: T, session: Connection, expected: Option<String>, verifies: bool) -> Self {
        Self {
            io,
            session,
            ahead: Ahead::default(),
            below: false,
            info: None,
            expected,
            verifies,
            ended: false,
            failed: None,
            records_left: u64::MAX,
            closing: false,
            shut: false,
        }
    }

    /// `T` is established, and `bytes` were read from it already.
    pub(super) fn resume(mut self, bytes: &[u8]) -> Self {
        self.below = true;
        self.ahead.put(bytes);
        self
    }

    /// What the handshake has agreed on, once it is complete.
    pub fn info(&self) -> Option<&TlsInfo> {
        self.info.as_deref()
    }

    /// The transport below.
    pub fn get_ref(&self) -> &T {
        &self.io
    }
}

pub(super) fn server_name(name: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(name).map(|name| name.to_owned()).map_err(|_| {
        io::Error::new(ErrorKind::InvalidInput, format!("{name:?} is neither a host name nor an address"))
    })
}

impl<T: Transport> Tls<T> {
    /// Writes what the session wants to send.
    fn push(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.io) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.io.wants_write() {
            self.io.flush()?;
        }
        if self.closing && !self.shut {
            self.shut = true;
            self.io.shutdown_write()?;
        }
        Ok(())
    }

    /// Reads from `T`, which has nothing waiting in `ahead`. How much came.
    fn fill(&mut self) -> io::Result<usize> {
        let Self { io, ahead, .. } = self;
        loop {
            match ahead.fill(|buffer| io.read(buffer)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) => {
                    self.ended = true;
                    return Ok(0);
                }
                filled => return filled,
            }
        }
    }

    /// Gives the session more of what has come. It may say something to that.
    fn feed(&mut self) {
        let mut rest = self.ahead.bytes();
        let before = rest.len();
        let taken = self.session.read_tls(&mut rest);
        let used = before - rest.len();
        self.ahead.use_up(used);
        let handshaking = self.info.is_none();
        match (taken, self.process()) {
            (_, Err(error)) => self.fail(TlsError::of_session(&error, handshaking)),
            (Err(error), _) => self.fail(TlsError::Protocol(error.to_string())),
            // It takes nothing behind the end.
            (Ok(0), Ok(state)) if !state.peer_has_closed() => {
                self.fail(TlsError::Protocol("a record is too long".to_owned()));
            }
            // What can't be written shows when it is written.
            (Ok(_), Ok(_)) => drop(self.push()),
        }
    }

    fn process(&mut self) -> Result<IoState, rustls::Error> {
        if !self.closing {
            return self.session.process_new_packets();
        }
        // Built with debug assertions, rustls 0.23 panics when bad input behind the own end mark makes it send an alert.
        // Nothing that a peer sends may do that.
        catch_unwind(AssertUnwindSafe(|| self.session.process_new_packets()))
            .unwrap_or_else(|_| Err(rustls::Error::General("bad input behind the end mark".to_owned())))
    }

    /// The session is over; the other side is told why, if it still listens.
    fn fail(&mut self, error: TlsError) {
        self.failed = Some(error);
        self.ahead.clear();
        if self.push().is_err() {
            return;
        }
        if !self.shut {
            self.shut = true;
            let _ = self.io.shutdown_write();
        }
        if self.io.resets_on_close() {
            for _ in 0..DISCARD_READS {
                match self.fill() {
                    Ok(1..) => self.ahead.clear(),
                    _ => break,
                }
            }
        }
    }

    /// What was agreed on.
    fn agreed(&self) -> TlsInfo {
        let peer_certificates: Vec<_> = self
            .session
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| certificate.to_vec())
            .collect();
        TlsInfo {
            version: match self.session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
                _ => TlsVersion::Tls13,
            },
            cipher: self
                .session
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or(""),
            alpn: self.session.alpn_protocol().map(<[u8]>::to_vec),
            server_name: match &self.session {
                Connection::Client(_) => self.expected.clone(),
                Connection::Server(session) => session.server_name().map(str::to_owned),
            },
            verified: self.verifies && !peer_certificates.is_empty(),
            peer_certificates,
            resumed: self.session.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    fn may_write(&self) -> io::Result<()> {
        match &self.failed {
            Some(error) => Err(error.clone().into()),
            None if self.closing => Err(ErrorKind::BrokenPipe.into()),
            None if self.records_left <= RECORDS_SPARE => {
                Err(TlsError::Protocol("the keys of this session are used up; connect anew".to_owned())
                    .into())
            }
            None => Ok(()),
        }
    }

    /// Has the session encrypt something, by `write`, and sends it. A session that is full takes nothing: then it is
    /// tried once more behind what it had.
    fn write_by(&mut self, write: impl Fn(&mut Connection) -> io::Result<usize>) -> io::Result<usize> {
        self.may_write()?;
        for _ in 0..2 {
            let taken = write(&mut self.session)?;
            self.records_left = self.records_left.saturating_sub(taken.div_ceil(RECORD) as u64);
            match self.push() {
                Err(error) if !is_blocked(&error) => return Err(error),
                _ if taken > 0 => return Ok(taken),
                pushed => pushed?,
            }
        }
        Err(ErrorKind::WouldBlock.into()) // the handshake is not complete
    }
}

impl<T: Transport> Read for Tls<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (mut filled, mut rounds) = (0, 0);
        while filled < into.len() {
            // What the session holds comes first, also before an error that stands behind it.
            match self.session.reader().read(&mut into[filled..]) {
                Ok(0) => return Ok(filled),
                Ok(got) => filled += got,
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Err(_) if !self.ahead.is_empty() => self.feed(),
                Err(_) if filled > 0 => return Ok(filled),
                Err(_) => {
                    if let Some(error) = &self.failed {
                        return Err(error.clone().into());
                    }
                    if self.ended {
                        return Err(TlsError::CutOff.into());
                    }
                    if rounds == ROUNDS {
                        return Err(ErrorKind::Interrupted.into());
                    }
                    rounds += 1;
                    self.fill()?;
                }
            }
        }
        Ok(filled)
    }
}

impl<T: Transport> Write for Tls<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.write_by(|session| session.writer().write(bytes))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if pieces.iter().all(|piece| piece.is_empty()) {
            return Ok(0);
        }
        self.write_by(|session| session.writer().write_vectored(pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.push()?;
        self.io.flush()
    }
}

impl<T: Transport> Transport for Tls<T> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.io.source()
    }

    fn kind(&self) -> &'static str {
        "tls"
    }

    fn establish(&mut self) -> io::Result<bool> {
        if !self.below {
            self.below = self.io.establish()?;
            if !self.below {
                return Ok(false);
            }
        }
        while self.info.is_none() {
            // When the other side has given up, why it did still waits to be read.
            let pushed = self.push();
            if let Some(error) = &self.failed {
                return Err(error.clone().into());
            }
            if !self.session.is_handshaking() {
                self.info = Some(Rc::new(self.agreed()));
                if let Some(SupportedCipherSuite::Tls12(suite)) = self.session.negotiated_cipher_suite() {
                    self.records_left = suite.common.confidentiality_limit;
                }
            } else if !self.ahead.is_empty() {
                self.feed();
            } else if self.ended {
                return Err(TlsError::CutOffInHandshake.into());
            } else {
                match (self.fill(), pushed) {
                    (Ok(_), _) => {}
                    (Err(read), Err(write)) if is_blocked(&read) && !is_blocked(&write) => return Err(write),
                    (Err(error), _) => return Err(error),
                }
            }
        }
        Ok(true)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        if !self.closing && self.failed.is_none() {
            self.closing = true;
            self.session.send_close_notify();
        }
        match self.push() {
            Err(error) if is_blocked(&error) => Ok(()), // `wants_write` until it is gone
            pushed => pushed,
        }
    }

    fn wants_write(&self) -> bool {
        self.session.wants_write() || (self.closing && !self.shut) || self.io.wants_write()
    }

    fn resets_on_close(&self) -> bool {
        self.io.resets_on_close()
    }

    fn about(&self) -> Option<Rc<dyn Any>> {
        let info = self.info.clone()?;
        Some(info)
    }
}

fn is_blocked(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

impl<T: fmt::Debug> fmt::Debug for Tls<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("info", &self.info).field("io", &self.io).finish_non_exhaustive()
    }
}

/// Bytes that were read and not used yet. Only as long as there are any it has a buffer, which is one of the
/// thread's otherwise.
#[derive(Default)]
struct Ahead {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Ahead {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn use_up(&mut self, count: usize) {
        self.start += count;
        if self.is_empty() {
            self.clear();
        }
    }

    fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        self.take_buffer(READ);
        let got = read(&mut self.buffer);
        match got {
            Ok(got @ 1..) => (self.start, self.end) = (0, got.min(self.buffer.len())),
            _ => self.clear(),
        }
        got
    }

    fn put(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.take_buffer(READ.max(bytes.len()));
            self.buffer[..bytes.len()].copy_from_slice(bytes);
            (self.start, self.end) = (0, bytes.len());
        }
    }

    fn take_buffer(&mut self, len: usize) {
        if self.buffer.is_empty() {
            self.buffer = SPARE.try_with(Cell::take).unwrap_or_default();
        }
        self.buffer.resize(len, 0);
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
        let buffer = std::mem::take(&mut self.buffer);
        if !buffer.is_empty() {
            // Only a thread that ends has no place for it.
            let _ = SPARE.try_with(|spare| spare.set(buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::wire::{Far, Wire, wire};
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    struct Pair {
        client: Tls<Wire>,
        server: Tls<Wire>,
        /// What the client sends comes out here, and what the server sends goes in.
        from_client: Far,
        from_server: Far,
    }

    /// Two that have not shaken hands yet.
    fn pair(version: TlsVersion) -> Pair {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let server = TlsServer::builder().certificate_pem(cert.pem(), signing_key.serialize_pem());
        let client = TlsClient::builder().roots_pem(cert.pem()).versions([version]).build().unwrap();
        let ((ours, from_client), (theirs, from_server)) = (wire(), wire());
        Pair {
            client: Tls::client(ours, "localhost", &client).unwrap(),
            server: Tls::server(theirs, &server.build().unwrap()).unwrap(),
            from_client,
            from_server,
        }
    }

    fn open(version: TlsVersion) -> Pair {
        let mut pair = pair(version);
        for _ in 0..4 {
            let _ = pair.client.establish();
            pair.carry();
            let _ = pair.server.establish();
            pair.carry();
        }
        assert!(pair.client.establish().unwrap() && pair.server.establish().unwrap());
        // The tickets of TLS 1.3 are read behind the handshake.
        assert_eq!(kind(pair.client.read(&mut [0; 10])), ErrorKind::WouldBlock);
        pair
    }

    impl Pair {
        /// Everything that was sent arrives.
        fn carry(&self) {
            for (from, to) in [(&self.from_client, &self.from_server), (&self.from_server, &self.from_client)]
            {
                let sent = std::mem::take(&mut from.state().output);
                to.put(sent);
            }
        }
    }

    const BOTH: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];

    fn kind<R: fmt::Debug>(result: io::Result<R>) -> ErrorKind {
        result.unwrap_err().kind()
    }

    #[test]
    fn it_wants_to_write_as_long_as_it_holds_bytes_back_and_no_longer() {
        for version in BOTH {
            let Pair { mut client, from_client, .. } = pair(version);
            from_client.state().room = 10;
            assert_eq!(kind(client.establish()), ErrorKind::WouldBlock);
            assert!(client.wants_write());
            from_client.state().room = usize::MAX;
            assert_eq!(kind(client.establish()), ErrorKind::WouldBlock);
            assert!(!client.wants_write(), "it waits for the other side");

            let mut pair = open(version);
            assert!(!pair.client.wants_write() && !pair.server.wants_write());
            pair.from_client.state().room = 10;
            assert_eq!(pair.client.write(b"hello").unwrap(), 5);
            assert!(pair.client.wants_write());
            assert_eq!(kind(pair.client.flush()), ErrorKind::WouldBlock);
            pair.from_client.state().room = usize::MAX;
            pair.client.flush().unwrap();
            assert!(!pair.client.wants_write());
            pair.carry();
            let mut into = [0; 10];
            assert_eq!(pair.server.read(&mut into).unwrap(), 5);
            assert_eq!(&into[..5], b"hello");
        }
    }

    #[test]
    fn the_end_mark_is_sent_before_the_end_of_the_stream_also_when_it_has_to_wait() {
        for version in BOTH {
            let mut pair = open(version);
            pair.client.write_all(b"last").unwrap();
            pair.from_client.state().room = 3;
            pair.client.shutdown_write().unwrap();
            assert!(pair.client.wants_write() && !pair.from_client.state().shut);
            assert_eq!(kind(pair.client.write(b"more")), ErrorKind::BrokenPipe);
            pair.from_client.state().room = usize::MAX;
            pair.client.flush().unwrap();
            assert!(!pair.client.wants_write() && pair.from_client.state().shut);
            pair.carry();
            let mut into = [0; 10];
            assert_eq!(pair.server.read(&mut into).unwrap(), 4);
            assert_eq!(pair.server.read(&mut into).unwrap(), 0);
            assert_eq!(pair.server.read(&mut into).unwrap(), 0);
            // The other direction is open.
            pair.server.write_all(b"still here").unwrap();
            pair.carry();
            assert_eq!(pair.client.read(&mut into).unwrap(), 10);
        }
    }

    #[test]
    fn a_stream_that_ends_without_the_end_mark_was_cut_off() {
        for version in BOTH {
            let mut pair = open(version);
            pair.client.write_all(b"last").unwrap();
            pair.carry();
            pair.from_server.state().ended = true;
            let mut into = [0; 10];
            assert_eq!(pair.server.read(&mut into).unwrap(), 4);
            for _ in 0..2 {
                let error = pair.server.read(&mut into).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                assert_eq!(TlsError::of(&error), Some(&TlsError::CutOff));
            }
            let Pair { mut server, from_server, .. } = self::pair(version);
            from_server.state().ended = true;
            let error = server.establish().unwrap_err();
            assert_eq!(TlsError::of(&error), Some(&TlsError::CutOffInHandshake));
        }
    }

    #[test]
    fn what_came_before_a_damaged_record_is_read_and_the_other_side_is_told() {
        for version in BOTH {
            let mut pair = open(version);
            pair.client.write_all(b"good").unwrap();
            pair.client.write_all(b"bad").unwrap();
            let mut sent = std::mem::take(&mut pair.from_client.state().output);
            if let Some(last) = sent.last_mut() {
                *last ^= 1;
            }
            pair.from_server.put(sent);
            let mut into = [0; 10];
            assert_eq!(pair.server.read(&mut into).unwrap(), 4);
            let error = pair.server.read(&mut into).unwrap_err();
            assert_eq!(error.to_string(), "TLS: cannot decrypt peer's message");
            assert_eq!(kind(pair.server.write(b"answer")), ErrorKind::InvalidData);
            assert!(pair.from_server.state().shut);
            pair.carry();
            let error = pair.client.read(&mut into).unwrap_err();
            assert_eq!(TlsError::of(&error), Some(&TlsError::Alert("BadRecordMac".to_owned())));
        }
    }

    #[test]
    fn after_a_failure_what_else_came_is_thrown_away_so_that_closing_does_not_take_the_alert_back() {
        for (resets, left) in [(true, 0), (false, 100_000 - READ)] {
            let Pair { mut server, from_server, .. } = pair(TlsVersion::Tls13);
            from_server.state().resets = resets;
            from_server.put(vec![b'x'; 100_000]);
            let error = server.establish().unwrap_err();
            assert_eq!(TlsError::of(&error), Some(&TlsError::NotTls));
            let state = from_server.state();
            assert_eq!((state.input.len(), state.output.len(), state.shut), (left, 7, true));
        }
        // Not for ever.
        let Pair { mut server, from_server, .. } = pair(TlsVersion::Tls13);
        (from_server.state().resets, from_server.state().endless) = (true, true);
        server.establish().unwrap_err();
        assert_eq!(from_server.state().reads, 1 + DISCARD_READS);
    }

    #[test]
    fn damage_behind_the_own_end_mark_is_an_error_and_no_more() {
        for version in BOTH {
            let mut pair = open(version);
            pair.server.shutdown_write().unwrap();
            pair.from_server.put([23, 3, 3, 0, 32]);
            pair.from_server.put([0; 32]);
            for _ in 0..2 {
                let error = pair.server.read(&mut [0; 10]).unwrap_err();
                assert!(matches!(TlsError::of(&error), Some(TlsError::Protocol(_))), "{error}");
            }
        }
    }

    #[test]
    fn what_the_other_side_does_not_take_is_bounded() {
        for version in BOTH {
            let mut pair = open(version);
            pair.from_client.state().room = 0;
            let (chunk, mut taken) = ([7; 10_000], 0);
            let full = loop {
                match pair.client.write(&chunk) {
                    Ok(count) => taken += count,
                    Err(error) => break error,
                }
            };
            assert_eq!(full.kind(), ErrorKind::WouldBlock);
            assert!((32 << 10..=64 << 10).contains(&taken), "{taken}");
            // As soon as there is room it goes on.
            pair.from_client.state().room = usize::MAX;
            assert_eq!(pair.client.write(&chunk).unwrap(), chunk.len());
        }
    }

    #[test]
    fn small_reads_get_everything_and_nothing_waits_inside() {
        for version in BOTH {
            let mut pair = open(version);
            let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
            for part in sent.chunks(30_000) {
                pair.client.write_all(part).unwrap();
            }
            pair.carry();
            let (mut got, mut into) = (Vec::new(), [0; 1000]);
            let error = loop {
                match pair.server.read(&mut into) {
                    Ok(count) => got.extend_from_slice(&into[..count]),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
            assert!(pair.server.ahead.buffer.is_empty(), "an idle session holds no buffer");
        }
    }

    #[test]
    fn input_that_brings_nothing_does_not_keep_the_reader() {
        let mut pair = open(TlsVersion::Tls13);
        pair.client.write_all(b"hello").unwrap();
        let sent = std::mem::take(&mut pair.from_client.state().output);
        pair.from_server.state().drip = true;
        pair.from_server.put(&sent);
        let (mut interrupted, mut into) = (0, [0; 10]);
        while let Err(error) = pair.server.read(&mut into) {
            assert_eq!(error.kind(), ErrorKind::Interrupted);
            interrupted += 1;
        }
        assert_eq!(interrupted, (sent.len() - 1) / ROUNDS);
        assert_eq!(&into[..5], b"hello");
    }

    #[test]
    fn a_session_of_tls_1_2_says_when_its_keys_are_used_up() {
        let mut pair = open(TlsVersion::Tls12);
        assert_eq!(pair.client.records_left, 1 << 24);
        pair.client.records_left = RECORDS_SPARE + 2;
        assert_eq!(pair.client.write(&[0; RECORD + 1]).unwrap(), RECORD + 1);
        let error = pair.client.write(b"x").unwrap_err();
        assert_eq!(error.to_string(), "TLS: the keys of this session are used up; connect anew");
        assert_eq!(open(TlsVersion::Tls13).client.records_left, u64::MAX);
    }

    #[test]
    fn nothing_is_read_or_written_before_the_handshake() {
        let mut pair = pair(TlsVersion::Tls13);
        assert_eq!(kind(pair.server.read(&mut [0; 10])), ErrorKind::WouldBlock);
        while let Ok(taken @ 1..) = pair.client.write(&[0; 10_000]) {
            assert!(taken <= 10_000);
        }
        assert_eq!(kind(pair.client.write(&[0; 10_000])), ErrorKind::WouldBlock);
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let client = TlsClient::builder().dangerously_without_verification().build().unwrap();
        for name in ["", "a b", "-", "host:443", "under_score..x", "ä.example"] {
            let error = Tls::client(wire().0, name, &client).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}");
        }
        for name in ["localhost", "a.example", "127.0.0.1", "::1"] {
            Tls::client(wire().0, name, &client).unwrap();
        }
    }
}
